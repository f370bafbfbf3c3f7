//! All rules in force: the table of built-in rules, [`RuleSet::built_in`], followed by the RoleRules.
//!
//! The webhook configuration, the RBAC and the admission policies in `manifests/` name the same kinds; tests compare
//! them with this table.

use serde_json::json;

use super::rule::{Active, Field, Reach, Ready, Rule};
use crate::api::{RoleRule, ValueType};
use crate::json::pointer::Pointer;
use crate::role::Layer;
use crate::rules::role_rule::{RuleError, in_force};

/// All rules in force, built-in ones first.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

impl RuleSet {
    /// The table of built-in rules. Kinds whose CRD is absent are inert.
    pub fn built_in() -> Self {
        use Layer::{Gitops, Traffic, Volumes, Workloads};
        use Reach::{All, Named, Uncontrolled};
        const FLUX_HELM: &str = "helm.toolkit.fluxcd.io";
        const FLUX_KUSTOMIZE: &str = "kustomize.toolkit.fluxcd.io";
        const ISTIO: &str = "networking.istio.io";
        const CSI_ADDONS: &str = "replication.storage.openshift.io";
        #[rustfmt::skip] // a table reads as a table
        let rules = vec![
            rule("apps", "v1", "Deployment", "deployments", Workloads, All, vec![replicas()]),
            rule("apps", "v1", "StatefulSet", "statefulsets", Workloads, All, vec![replicas(), claims_are_retained()]),
            rule("apps", "v1", "ReplicaSet", "replicasets", Workloads, Uncontrolled, vec![replicas()]),
            rule("", "v1", "ReplicationController", "replicationcontrollers", Workloads, Uncontrolled, vec![replicas()]),
            rule("batch", "v1", "CronJob", "cronjobs", Workloads, All, vec![suspend(restore())]),
            rule("batch", "v1", "Job", "jobs", Workloads, All, vec![suspend(Active::Manual)]),
            rule(FLUX_HELM, "v2", "HelmRelease", "helmreleases", Gitops, All, vec![suspend(restore())]),
            rule(FLUX_KUSTOMIZE, "v1", "Kustomization", "kustomizations", Gitops, Named, vec![suspend(restore())]),
            rule(ISTIO, "v1", "VirtualService", "virtualservices", Traffic, All, external_dns()),
            rule(CSI_ADDONS, "v1alpha1", "VolumeReplication", "volumereplications", Volumes, All, vec![replication_state(), no_forced_resync()]),
            rule(CSI_ADDONS, "v1alpha1", "VolumeGroupReplication", "volumegroupreplications", Volumes, All, vec![replication_state(), no_forced_resync()]),
        ];
        Self { rules }
    }

    /// The built-in rules and the RoleRules in force: see [`in_force`]. A rule that is invalid, or whose kind already
    /// has a rule, is left out and reported.
    pub fn with_role_rules<'a>(
        role_rules: impl IntoIterator<Item = &'a RoleRule>,
    ) -> (Self, Vec<(String, RuleError)>) {
        let mut set = Self::built_in();
        let mut errors = Vec::new();
        let mut sorted: Vec<_> = role_rules.into_iter().collect();
        // Which of two rules for one kind wins must not depend on the order of watch events; and a new one must not
        // replace one in force, because that could loosen it.
        sorted
            .sort_by_key(|role_rule| (!in_force::is_adopted(role_rule), &role_rule.metadata.name));
        for role_rule in sorted {
            let name = role_rule.metadata.name.clone().unwrap_or_default();
            match Rule::try_from(in_force::spec(role_rule)) {
                Ok(rule) if set.find(&rule.group, &rule.resource).is_some() => {
                    errors.push((name, RuleError::Taken(rule.group_resource())));
                }
                Ok(rule) => set.rules.push(rule),
                Err(error) => errors.push((name, error)),
            }
        }
        (set, errors)
    }

    /// One rule alone.
    pub fn only(rule: Rule) -> Self {
        Self { rules: vec![rule] }
    }

    /// The rules of these layers.
    #[must_use]
    pub fn of_layers(&self, layers: &[Layer]) -> Self {
        let rules = self.iter().filter(|rule| layers.contains(&rule.layer));
        Self {
            rules: rules.cloned().collect(),
        }
    }

    pub fn find(&self, group: &str, resource: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.is_of(group, resource))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }
}

pub(super) fn rule(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    resource: &'static str,
    layer: Layer,
    reach: Reach,
    fields: Vec<Field>,
) -> Rule {
    let scale = fields[0].pointer.field() == "replicas";
    Rule {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        resource: resource.into(),
        layer,
        fields,
        scale,
        reach,
        // Flux's kinds report what they install.
        ready: (layer == Layer::Gitops).then(|| Ready {
            condition: "Ready".into(),
            except: vec![],
        }),
    }
}

pub(super) fn restore() -> Active {
    Active::Restore { or: None }
}

pub(super) fn replicas() -> Field {
    Field {
        pointer: Pointer::of(&["spec", "replicas"]),
        value_type: ValueType::Integer,
        passive: json!(0),
        also_passive: vec![],
        absent_is_passive: false,
        active: restore(),
        safeguard: false,
    }
}

pub(super) fn suspend(active: Active) -> Field {
    Field {
        pointer: Pointer::of(&["spec", "suspend"]),
        value_type: ValueType::Boolean,
        passive: json!(true),
        also_passive: vec![],
        absent_is_passive: false,
        active,
        safeguard: false,
    }
}

/// A StatefulSet that is scaled down under `Delete` deletes its claims, and with them the volumes.
pub(super) fn claims_are_retained() -> Field {
    Field {
        pointer: Pointer::of(&["spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"]),
        value_type: ValueType::String,
        passive: json!("Retain"),
        also_passive: vec![],
        // The API's default, and the behaviour of a server without the field.
        absent_is_passive: true,
        active: restore(),
        safeguard: true,
    }
}

/// With `autoResync` csi-addons forces a resync as soon as a volume is secondary: it discards the data of this site
/// before anybody has decided that the other site's copy is the good one. A user who wants that writes `resync`.
pub(super) fn no_forced_resync() -> Field {
    Field {
        pointer: Pointer::of(&["spec", "autoResync"]),
        value_type: ValueType::Boolean,
        passive: json!(false),
        also_passive: vec![],
        absent_is_passive: true,
        active: restore(),
        safeguard: true,
    }
}

/// external-dns from 0.22 on reads the second annotation, older ones the first; any value but `dns-controller` makes it
/// ignore the object.
pub(super) fn external_dns() -> Vec<Field> {
    [
        "external-dns.alpha.kubernetes.io/controller",
        "external-dns.kubernetes.io/controller",
    ]
    .map(|key| Field {
        pointer: Pointer::annotation(key),
        value_type: ValueType::String,
        passive: json!("ignore"),
        also_passive: vec![],
        absent_is_passive: false,
        active: restore(),
        safeguard: false,
    })
    .into()
}

pub(super) fn replication_state() -> Field {
    Field {
        pointer: Pointer::of(&["spec", "replicationState"]),
        value_type: ValueType::String,
        passive: json!("secondary"),
        also_passive: vec![json!("resync")],
        absent_is_passive: false,
        active: Active::Restore {
            or: Some(json!("primary")),
        },
        safeguard: false,
    }
}
