//! The served kinds.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

/// One served kind.
#[derive(Clone, Debug)]
pub struct Kind {
    group: String,
    version: String,
    plural: String,
    /// Whether discovery lists it.
    pub(super) discovered: bool,
}

/// Discovery lists the kinds that have rules; the others are only served.
const RULED: [(&str, &str, &str); 5] = [
    ("", "v1", "replicationcontrollers"),
    ("apps", "v1", "deployments"),
    ("apps", "v1", "statefulsets"),
    ("apps", "v1", "replicasets"),
    ("batch", "v1", "cronjobs"),
];

const OTHERS: [(&str, &str, &str); 20] = [
    ("", "v1", "namespaces"),
    ("", "v1", "nodes"),
    ("", "v1", "persistentvolumeclaims"),
    ("", "v1", "pods"),
    ("", "v1", "secrets"),
    ("apps", "v1", "daemonsets"),
    ("batch", "v1", "jobs"),
    ("storage.k8s.io", "v1", "volumeattachments"),
    ("coordination.k8s.io", "v1", "leases"),
    ("events.k8s.io", "v1", "events"),
    ("failover.dev", "v1alpha1", "sites"),
    ("failover.dev", "v1alpha1", "failoverpolicies"),
    ("failover.dev", "v1alpha1", "rolerules"),
    ("authentication.k8s.io", "v1", "selfsubjectreviews"),
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
    (
        "admissionregistration.k8s.io",
        "v1",
        "mutatingwebhookconfigurations",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicies",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicybindings",
    ),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("", "v1", "services"),
];

impl Kind {
    pub(super) fn of_every_cluster() -> Vec<Self> {
        let kind = |discovered| {
            move |(group, version, plural): (&str, &str, &str)| Self {
                discovered,
                ..Self::named(group, version, plural)
            }
        };
        let ruled = RULED.into_iter().map(kind(true));
        ruled.chain(OTHERS.into_iter().map(kind(false))).collect()
    }

    pub(super) fn named(group: &str, version: &str, plural: &str) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            discovered: true,
        }
    }

    /// Whether a path is one of this kind's.
    pub(super) fn is_of(&self, path: &str) -> bool {
        let root = match self.group.as_str() {
            "" => format!("/api/{}/", self.version),
            group => format!("/apis/{group}/{}/", self.version),
        };
        let Some(rest) = path.strip_prefix(&root) else {
            return false;
        };
        let segments: Vec<_> = rest.split('/').collect();
        match segments[..] {
            ["namespaces"] | ["namespaces", _] => self.plural == "namespaces",
            ["namespaces", _, plural, ..] | [plural, ..] => self.plural == plural,
            [] => false,
        }
    }
}

/// `group/version/plural`, without the group for those that have none.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.group.is_empty() {
            write!(f, "{}/", self.group)?;
        }
        write!(f, "{}/{}", self.version, self.plural)
    }
}

/// The answer of aggregated discovery for these groups.
pub(super) fn discovery(kinds: &[Kind], of: impl Fn(&str) -> bool) -> Value {
    let mut groups: BTreeMap<&str, BTreeMap<&str, Vec<Value>>> = BTreeMap::new();
    let named = kinds
        .iter()
        .filter(|kind| kind.discovered && of(&kind.group));
    for kind in named {
        let short = kind.plural.get(..6).unwrap_or(&kind.plural);
        let versions = groups.entry(&kind.group).or_default();
        versions.entry(&kind.version).or_default().push(json!({
            "resource": kind.plural, "scope": "Namespaced", "shortNames": [short]
        }));
    }
    let items = groups.into_iter().map(|(group, versions)| {
        let versions = versions
            .into_iter()
            .map(|(version, resources)| json!({ "version": version, "resources": resources }));
        json!({ "metadata": { "name": group }, "versions": versions.collect::<Vec<_>>() })
    });
    json!({
        "apiVersion": "apidiscovery.k8s.io/v2", "kind": "APIGroupDiscoveryList", "metadata": {},
        "items": items.collect::<Vec<_>>()
    })
}
