//! What replicates a volume must not go while its role is not primary: with it goes the replication, and with that, by many
//! a driver, the copy that the site stands by with. A commit that removes it, or a slip of the hand, is refused.
//!
//! A person who means it annotates the object first, as with the Site, and may enforce; GitOps may not, whatever it brings.
//! A namespace that is being deleted takes along what it holds: that is decided about the Namespace, see `state.yaml`.

use serde_json::{Value, json};

use super::cel::literal;
use super::{binding_of, name, policy_of, role_variables, variable};
use crate::names::ALLOW_DELETION_ANNOTATION;
use crate::role::Layer;
use crate::rules::rule::Rule;

/// By its ServiceAccounts, as `state.yaml` has them: who deletes tells no field manager.
const BY_GITOPS: &str = "request.userInfo.username.matches('^system:serviceaccount:[^:]+:\
                         (kustomize-controller|helm-controller|argocd-application-controller|argocd-applicationset-controller)$')";

/// Deleted by a part of the cluster, and owned by a group. csi-addons does not make the group its controller
/// (`SetOwnerReference` in `volumegroupreplication_controller.go`).
const GOES_WITH_ITS_GROUP: &str = "request.userInfo.username.startsWith('system:serviceaccount:') && !variables.byGitOps \
    && dyn(oldObject)[?'metadata'][?'ownerReferences'].orValue([]).exists(owner, \
    dyn(owner)[?'kind'].orValue(dyn('')) == 'VolumeGroupReplication')";

/// The policy and its binding, for a rule about volumes.
pub(super) fn policy(rule: &Rule) -> Option<[Value; 2]> {
    if rule.layer != Layer::Volumes {
        return None;
    }
    let name = format!("deletion.{}", name(rule));
    let about = json!({
        "apiGroups": [rule.group],
        "apiVersions": ["*"],
        "operations": ["DELETE"],
        "resources": [rule.resource],
        "scope": "Namespaced",
    });
    let annotation = literal(ALLOW_DELETION_ANNOTATION);
    let mut variables = role_variables(rule, "oldObject");
    variables.push(variable("byGitOps", BY_GITOPS));
    variables.push(variable(
        "annotated",
        &format!(
            "dyn(oldObject)[?'metadata'][?'annotations'][?{annotation}].orValue('') == 'true'"
        ),
    ));
    // No decision is left to make.
    variables.push(variable(
        "goesAnyway",
        "namespaceObject.?metadata.?deletionTimestamp.hasValue() || dyn(oldObject)[?'metadata'][?'deletionTimestamp'].hasValue()",
    ));
    // What a group has made goes with it: csi-addons takes it away itself, and the group's own deletion is what is guarded.
    variables.push(variable("goesWithItsGroup", GOES_WITH_ITS_GROUP));
    let what = format!(
        " may not be deleted, as its replication would end with it: promote the site first, or annotate it with \
         {ALLOW_DELETION_ANNOTATION}=true and delete it by hand (ClusterRole failover-operator)"
    );
    let validation = json!({
        "expression":
            "variables.role in ['primary', 'exempt'] || variables.goesAnyway || variables.goesWithItsGroup \
             || (variables.annotated && !variables.byGitOps \
             && authorizer.group('failover.dev').resource('sites').check('enforce').allowed())",
        "message": format!("a replication object{what}"),
        "messageExpression": format!(
            "(variables.role == 'unknown' ? 'the role of namespace ' + request.?namespace.orValue('') + ' is not known yet: ' : \
             'site ' + variables.site + ' is secondary: ') + variables.object + {}",
            literal(&what)
        ),
        "reason": "Forbidden",
    });
    Some([
        policy_of(&name, &about, &variables, &[validation]),
        binding_of(&name),
    ])
}
