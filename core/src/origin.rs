//! What installed an object, and whether that is still there.
//!
//! Flux does not uninstall what a suspended HelmRelease has installed when that is deleted, nor prune what a suspended
//! Kustomization has applied. So when an application is removed from Git while its site stands by, its workloads stay, with
//! their records, and a promotion would start what nobody wants any more. Flux labels what it installs:
//!
//! ```text
//!   Deployment web   helm.toolkit.fluxcd.io/name: web, /namespace: shop ──► HelmRelease shop/web: is there?
//!   HelmRelease web  kustomize.toolkit.fluxcd.io/name: apps, ...         ──► Kustomization flux-system/apps
//! ```
//!
//! Only what enforcement suspends counts: a HelmRelease of a namespace that is not enrolled is reconciled here, or lives in
//! another cluster and installs from there. What was installed without Flux carries no such label.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::namespace::{EnrolledNamespace, ExemptLabel, ObjectStanding};
use crate::object::ObjectKey;
use crate::role::Layer;
use crate::rules::rule::Rule;
use crate::rules::set::RuleSet;

/// Annotations of Helm, also on what was installed without Flux.
const RELEASE_NAME: &str = "meta.helm.sh/release-name";
const RELEASE_NAMESPACE: &str = "meta.helm.sh/release-namespace";

/// What an object's labels say installed it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The HelmRelease or Kustomization.
    pub owner: ObjectKey,
    /// API group of that, and the prefix of the labels.
    pub group: &'static str,
    pub kind: &'static str,
    /// Namespace and name of the Helm release.
    pub release: Option<(String, String)>,
}

/// The kinds that install others, and how they label what they install.
pub const INSTALLERS: [(&str, &str, &str); 2] = [
    ("helm.toolkit.fluxcd.io", "HelmRelease", "helmreleases"),
    (
        "kustomize.toolkit.fluxcd.io",
        "Kustomization",
        "kustomizations",
    ),
];

impl Origin {
    /// Reads it from an object's metadata.
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

/// Everything that is known of what installed what.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Objects of ruled kinds whose labels name an origin.
    pub installed: BTreeMap<ObjectKey, Origin>,
    /// HelmReleases and Kustomizations that there are.
    pub existing: BTreeSet<ObjectKey>,
    /// Plurals of the kinds that are served and were listed; of others nothing is known.
    pub listed: BTreeSet<String>,
}

/// How an object stands to what installed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed<'a> {
    /// Its owner is there, or it has none that enforcement suspends.
    Kept,
    Orphaned {
        origin: &'a Origin,
        /// The owner that is gone: its own, or that of its owner.
        gone: &'a Origin,
    },
    Unknown,
}

impl Origins {
    /// Whether enforcement leaves an object of this rule passive once its owner is gone. Volumes follow their site: what is
    /// on them may be all that is left.
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
        // A release may have been installed by another one that is gone.
        match self.follow(owner, namespaces, rules, seen) {
            Installed::Orphaned { gone, .. } => Installed::Orphaned { origin, gone },
            other => other,
        }
    }
}

/// Whether enforcement rules such an owner where it is, or would be, and so suspends it while the site stands by.
fn is_suspended_here(origin: &Origin, namespaces: &[EnrolledNamespace], rules: &RuleSet) -> bool {
    let owner = &origin.owner;
    let namespace = namespaces.iter().find(|n| n.name == owner.namespace);
    let rule = rules.find(origin.group, &owner.resource);
    namespace.zip(rule).is_some_and(|(namespace, rule)| {
        let label = ExemptLabel::Unseen;
        namespace.state.standing(rule, &owner.name, label) != ObjectStanding::Free
    })
}
