//! An object that replicates a volume must not be deleted while its role is not primary: its deletion ends the
//! replication, and with many drivers it deletes the standby copy. A commit that removes it, or a mistake, is refused.
//!
//! A person who means it annotates the object first, as with the Site, and may enforce; GitOps may not, even with the
//! annotation. Deleting a namespace deletes its objects: that is decided for the Namespace, see `state.yaml`.

use serde_json::{Value, json};

use super::cel::literal;
use super::{binding_of, name, policy_of, role, variable};
use crate::names::ALLOW_DELETION_ANNOTATION;
use crate::role::Layer;
use crate::rules::rule::Rule;

/// GitOps by its ServiceAccounts, as in `state.yaml`: a deletion has no field manager.
const BY_GITOPS: &str = "request.userInfo.username.matches('^system:serviceaccount:[^:]+:\
                         (kustomize-controller|helm-controller|argocd-application-controller|argocd-applicationset-controller)$')";

/// A ServiceAccount deletes it, and a group owns it. csi-addons does not make the group its controller
/// (`SetOwnerReference` in `volumegroupreplication_controller.go`).
const GOES_WITH_ITS_GROUP: &str = "request.userInfo.username.startsWith('system:serviceaccount:') && !variables.byGitOps \
    && dyn(oldObject)[?'metadata'][?'ownerReferences'].orValue([]).exists(owner, \
    dyn(owner)[?'kind'].orValue(dyn('')) == 'VolumeGroupReplication')";

/// The policy and its binding, for a rule of the volumes layer.
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
    let mut variables = role::variables(rule, "oldObject");
    variables.push(variable("byGitOps", BY_GITOPS));
    variables.push(variable(
        "annotated",
        &format!(
            "dyn(oldObject)[?'metadata'][?'annotations'][?{annotation}].orValue('') == 'true'"
        ),
    ));
    // The deletion is already decided.
    variables.push(variable(
        "goesAnyway",
        "namespaceObject.?metadata.?deletionTimestamp.hasValue() || dyn(oldObject)[?'metadata'][?'deletionTimestamp'].hasValue()",
    ));
    // A member is deleted with its group: csi-addons deletes it itself, and the group's own deletion is guarded.
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
