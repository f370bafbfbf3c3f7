//! The rules: which fields make an object passive, and how they become active again.
//!
//! The built-in ones are one table, [`RuleSet::built_in`]. The webhook configuration, the RBAC and the admission policies
//! in `manifests/` name the same kinds; tests hold them against this table.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::api::{RoleRule, ValueType};
use crate::json::pointer::Pointer;
use crate::role::Layer;
use crate::rules::role_rule::{RuleError, in_force};

/// What makes objects of one kind passive.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub group: Cow<'static, str>,
    /// The version in which the controller and the CLI read and write the kind. The webhook serves every version: the
    /// fields are the same in all of them.
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    /// Plural, as in URLs.
    pub resource: Cow<'static, str>,
    pub layer: Layer,
    pub fields: Vec<Field>,
    /// Whether `/scale` is a second door to the first field.
    pub scale: bool,
    pub reach: Reach,
    /// How an active object reports that it is up; `None`: by its available replicas, if it has any.
    pub ready: Option<Ready>,
}

/// How an active object reports that it is up.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    /// Type of the condition that is True then.
    pub condition: Cow<'static, str>,
    /// Objects whose field has one of these values are started by a person, and not waited for.
    pub except: Vec<(Pointer, Vec<Value>)>,
}

/// Which objects of the kind a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    All,
    /// Only those without a controlling owner: the others follow their owner, which has a rule of its own.
    Uncontrolled,
    /// Only those that a FailoverPolicy names.
    Named,
}

/// One field of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub pointer: Pointer,
    pub value_type: ValueType,
    /// The value that is forced.
    pub passive: Value,
    /// Other values that are passive too and are left alone, as `resync` is of a VolumeReplication.
    pub also_passive: Vec<Value>,
    /// Whether an absent field is passive too. Otherwise absence is the API's default, which is active.
    pub absent_is_passive: bool,
    pub active: Active,
    /// Whether the field keeps the passive value of the first field from destroying something, as a StatefulSet's
    /// `whenScaled: Retain` keeps the claims that `replicas: 0` would delete. The first field does not become passive without
    /// it, and it becomes active again only where the first field does, or was recorded as passive.
    pub safeguard: bool,
}

/// How a field becomes active again.
#[derive(Clone, Debug, PartialEq)]
pub enum Active {
    /// From the record; `or` where there is none.
    Restore { or: Option<Value> },
    /// Always this value; nothing is recorded.
    Fixed(Value),
    /// From the record, but never by itself where the object was created while its layer was not primary: what never ran
    /// runs only on consent.
    Manual,
}

impl Field {
    /// Whether a value, or its absence, is passive.
    pub fn is_passive(&self, value: Option<&Value>) -> bool {
        match value {
            Some(value) => *value == self.passive || self.also_passive.contains(value),
            None => self.absent_is_passive,
        }
    }
}

impl Rule {
    /// The fields without whose passive value that of the first field destroys something.
    pub fn safeguards(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.safeguard)
    }

    /// Whether an object of the kind may be scaled through `/scale` only once it is safe: a Scale shows the count alone.
    pub fn scale_is_unsafe(&self) -> bool {
        self.scale && self.safeguards().next().is_some()
    }

    /// `deployments.apps`, or `replicationcontrollers` for the core group.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_string()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    /// Whether this rule is about a stored object of its kind, whatever the namespace says. What follows a controlling
    /// owner is not: it has copies of its owner's annotations, too, which mean nothing on it.
    pub fn reaches(&self, object: &Value) -> bool {
        let controlled = || {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners
                .into_iter()
                .flatten()
                .any(|owner| owner["controller"] == Value::Bool(true))
        };
        self.reach != Reach::Uncontrolled || !controlled()
    }

    /// Whether nothing of a stored object is active.
    pub fn is_passive(&self, object: &Value) -> bool {
        self.fields
            .iter()
            .all(|field| field.is_passive(field.pointer.lookup(object)))
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

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

    /// The built-in rules and those of RoleRules, as far as they are in force: see [`in_force`]. One that is invalid, or
    /// about a kind that already has a rule, is left out and reported.
    pub fn with_role_rules<'a>(
        role_rules: impl IntoIterator<Item = &'a RoleRule>,
    ) -> (Self, Vec<(String, RuleError)>) {
        let mut set = Self::built_in();
        let mut errors = Vec::new();
        let mut sorted: Vec<_> = role_rules.into_iter().collect();
        // Which of two rules for one kind wins must not depend on the order in which a watch delivers them; and a new one
        // must not take the place of one that is in force, since that could loosen it.
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

    /// Those of these layers.
    #[must_use]
    pub fn of_layers(&self, layers: &[Layer]) -> Self {
        let rules = self.iter().filter(|rule| layers.contains(&rule.layer));
        Self {
            rules: rules.cloned().collect(),
        }
    }

    pub fn find(&self, group: &str, resource: &str) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|r| r.resource == resource && r.group == group)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }
}

fn rule(
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

fn restore() -> Active {
    Active::Restore { or: None }
}

fn replicas() -> Field {
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

fn suspend(active: Active) -> Field {
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

/// Scaled down under `Delete`, a StatefulSet takes its claims along, and with them the volumes.
fn claims_are_retained() -> Field {
    Field {
        pointer: Pointer::of(&["spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"]),
        value_type: ValueType::String,
        passive: json!("Retain"),
        also_passive: vec![],
        // That is the API's default, and what a server without the field does.
        absent_is_passive: true,
        active: restore(),
        safeguard: true,
    }
}

/// With `autoResync` csi-addons forces a resync as soon as a volume is secondary: it throws away what this site has, before
/// anybody has said that the other site's copy is the good one. Whoever wants that writes `resync`.
fn no_forced_resync() -> Field {
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
fn external_dns() -> Vec<Field> {
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

fn replication_state() -> Field {
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
