//! The installer of an object, and whether it still exists.
//!
//! When a suspended HelmRelease is deleted, Flux does not uninstall its objects, nor does it prune those of a suspended
//! Kustomization. So when an application is removed from Git while its site is secondary, its workloads stay, with
//! their records, and a promotion would start workloads that nobody wants any more. Flux labels what it installs:
//!
//! ```text
//!   Deployment web   helm.toolkit.fluxcd.io/name: web, /namespace: shop ──► HelmRelease shop/web: is there?
//!   HelmRelease web  kustomize.toolkit.fluxcd.io/name: apps, ...         ──► Kustomization flux-system/apps
//! ```
//!
//! Only installers that enforcement suspends count: a HelmRelease of a namespace that is not enrolled is reconciled
//! here, or belongs to another cluster and installs from there. Objects installed without Flux have no such label.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::namespace::{EnrolledNamespace, ExemptLabel, ObjectStanding};
use crate::object::ObjectKey;
use crate::role::Layer;
use crate::rules::rule::Rule;
use crate::rules::set::RuleSet;

/// Annotations of Helm, also on objects installed without Flux.
const RELEASE_NAME: &str = "meta.helm.sh/release-name";
const RELEASE_NAMESPACE: &str = "meta.helm.sh/release-namespace";

/// The installer of an object, according to its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The HelmRelease or Kustomization.
    pub owner: ObjectKey,
    /// Its API group, and the prefix of the labels.
    pub group: &'static str,
    pub kind: &'static str,
    /// Namespace and name of the Helm release.
    pub release: Option<(String, String)>,
}

/// The kinds that install others.
pub const INSTALLERS: [(&str, &str, &str); 2] = [
    ("helm.toolkit.fluxcd.io", "HelmRelease", "helmreleases"),
    (
        "kustomize.toolkit.fluxcd.io",
        "Kustomization",
        "kustomizations",
    ),
];

impl Origin {
    /// Parses it from an object's metadata.
    pub fn of(
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Option<Self> {
        INSTALLERS.into_iter().find_map(|(group, kind, resource)| {
            let label = |key: &str| labels.get(&format!("{group}/{key}")).cloned();
            Some(Self {
                owner: ObjectKey {
                    namespace: label("namespace")?,
                    resource: resource.to_owned(),
                    name: label("name")?,
                },
                group,
                kind,
                release: annotations
                    .get(RELEASE_NAMESPACE)
                    .cloned()
                    .zip(annotations.get(RELEASE_NAME).cloned()),
            })
        })
    }
}

/// All known installers and their objects.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Objects of ruled kinds whose labels name an origin.
    pub installed: BTreeMap<ObjectKey, Origin>,
    /// The existing HelmReleases and Kustomizations.
    pub existing: BTreeSet<ObjectKey>,
    /// Plurals of the kinds that are served and were listed; the others are unknown.
    pub listed: BTreeSet<String>,
}

/// Whether the installer of an object still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed<'a> {
    /// Its owner exists, or it has none that enforcement suspends.
    Kept,
    Orphaned {
        origin: &'a Origin,
        /// The missing owner: its own, or that of its owner.
        gone: &'a Origin,
    },
    Unknown,
}

impl Origins {
    /// Whether enforcement keeps an object of this rule passive once its owner is gone. Volumes follow their site:
    /// their data may be the only copy left.
    pub fn concerns(rule: &Rule) -> bool {
        rule.layer != Layer::Volumes
    }

    pub fn of<'a>(
        &'a self,
        key: &ObjectKey,
        namespaces: &[EnrolledNamespace],
        rules: &RuleSet,
    ) -> Installed<'a> {
        self.follow(key, namespaces, rules, &mut HashSet::new())
    }

    fn follow<'a>(
        &'a self,
        key: &ObjectKey,
        namespaces: &[EnrolledNamespace],
        rules: &RuleSet,
        seen: &mut HashSet<ObjectKey>,
    ) -> Installed<'a> {
        if !self.listed.contains(&key.resource) {
            return Installed::Unknown;
        }
        let Some(origin) = self.installed.get(key) else {
            return Installed::Kept;
        };
        let owner = &origin.owner;
        if !seen.insert(owner.clone()) || !is_suspended_here(origin, namespaces, rules) {
            return Installed::Kept;
        }
        if !self.listed.contains(&owner.resource) {
            return Installed::Unknown;
        }
        if !self.existing.contains(owner) {
            return Installed::Orphaned {
                origin,
                gone: origin,
            };
        }
        // Another release, which is gone, may have installed this one.
        match self.follow(owner, namespaces, rules, seen) {
            Installed::Orphaned { gone, .. } => Installed::Orphaned { origin, gone },
            other => other,
        }
    }
}

/// Whether enforcement rules such an owner in its namespace, or would, and so suspends it while the site is secondary.
fn is_suspended_here(origin: &Origin, namespaces: &[EnrolledNamespace], rules: &RuleSet) -> bool {
    let owner = &origin.owner;
    let namespace = namespaces.iter().find(|n| n.name == owner.namespace);
    let rule = rules.find(origin.group, &owner.resource);
    namespace.zip(rule).is_some_and(|(namespace, rule)| {
        let label = ExemptLabel::Unseen;
        namespace.state.standing(rule, &owner.name, label) != ObjectStanding::Free
    })
}
