//! Verifies that all objects match the role by listing them, independently of what the controller reports.

use failover_core::Role;
use failover_core::guards::{GuardId, Overrides};
use failover_core::transition::EnrolledNamespace;

use crate::cluster::{ApiError, Cluster, Survey, Unseen};
use crate::commands::site_view::left;
use crate::output::{clean, counted};
use crate::plan::standing;

/// The most objects that a message names.
const NAMED: usize = 10;

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) namespaces: usize,
    /// Objects that a rule matches.
    pub(super) objects: usize,
    /// Namespaces whose labels do not have the role.
    pub(super) unlabelled: Vec<String>,
    /// Namespaces that are no longer enrolled, without an override: their objects are not made passive.
    pub(super) left: Vec<String>,
    /// Objects that do not conform without an override, with the reason if it is known.
    pub(super) not_conforming: Vec<(String, Option<String>)>,
    /// Objects that do not conform, which the request overrides.
    pub(super) waived: Vec<String>,
    pub(super) unseen: Vec<Unseen>,
}

impl Verified {
    /// Everything was readable, and every object conforms or is overridden.
    pub(super) fn is_complete(&self) -> bool {
        self.unlabelled.is_empty()
            && self.left.is_empty()
            && self.not_conforming.is_empty()
            && self.unseen.is_empty()
    }

    pub(super) fn summary(&self) -> String {
        let parts: Vec<String> = [
            (
                self.unlabelled.len(),
                "without the label of the role",
                "namespace",
            ),
            (self.left.len(), "no longer enrolled", "namespace"),
            (
                self.not_conforming.len(),
                "not conforming to the role",
                "object",
            ),
            (self.unseen.len(), "not readable", "list"),
        ]
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, how, what)| format!("{} {how}", counted(count, what)))
        .collect();
        parts.join(", ")
    }

    pub(super) fn details(&self) -> Vec<String> {
        let unlabelled = self
            .unlabelled
            .iter()
            .map(|name| format!("namespace {name}"));
        let left = self.left.iter().map(|name| {
            format!("namespace {name}: it lost its label failover.dev/enforce without kubectl failover unenroll")
        });
        let not_conforming = self.not_conforming.iter().map(|(object, why)| match why {
            Some(why) => format!("{}: {}", clean(object), clean(why)),
            None => clean(object).into_owned(),
        });
        let unseen = self
            .unseen
            .iter()
            .map(|unseen| format!("{}: {}", clean(&unseen.what), clean(&unseen.why)));
        let all: Vec<String> = unlabelled
            .chain(left)
            .chain(not_conforming)
            .chain(unseen)
            .collect();
        let more = all.len().saturating_sub(NAMED);
        let mut named: Vec<String> = all.into_iter().take(NAMED).collect();
        if more > 0 {
            named.push(format!("and {more} more"));
        }
        named
    }
}

pub(super) async fn verify(
    cluster: &Cluster,
    role: Role,
    overrides: &Overrides,
) -> Result<Verified, ApiError> {
    let enrolled = cluster.enrolled().await?;
    let survey = cluster.survey(&enrolled).await?;
    let mut verified = evaluate(role, &enrolled, &survey, overrides);
    if let (Role::Secondary, Some(site)) = (role, cluster.site().await?) {
        let mut left = left(cluster, &site, &enrolled).await?;
        left.retain(|name| {
            let object = format!("{name}/namespaces/{name}");
            !overrides.allows_object(GuardId::NamespaceLeft, &object)
        });
        verified.left = left;
    }
    Ok(verified)
}

fn evaluate(
    role: Role,
    enrolled: &[EnrolledNamespace],
    survey: &Survey,
    overrides: &Overrides,
) -> Verified {
    let mut verified = Verified {
        namespaces: enrolled.len(),
        unlabelled: enrolled
            .iter()
            .filter(|namespace| namespace.state.roles.uniform() != Some(role))
            .map(|namespace| namespace.name.clone())
            .collect(),
        unseen: survey.unseen.clone(),
        ..Verified::default()
    };
    for namespace in standing(enrolled, survey) {
        verified.objects += namespace.objects;
        for (object, why) in namespace.astray {
            let object = object.to_string();
            if overrides.allows_object(GuardId::NotConforming, &object) {
                verified.waived.push(object);
            } else {
                verified.not_conforming.push((object, why));
            }
        }
    }
    verified
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{deployment, enrolled, survey};

    #[test]
    fn a_namespace_that_is_no_longer_enrolled_fails_the_verification() {
        let verified = Verified {
            left: vec!["blog".to_owned()],
            ..Verified::default()
        };
        assert!(!verified.is_complete());
        assert_eq!(verified.summary(), "1 namespace no longer enrolled");
        assert!(verified.details()[0].starts_with("namespace blog: "));
    }

    fn evaluated(role: Role, overrides: &[&str]) -> Verified {
        let namespace = enrolled("shop", Some(Role::Secondary));
        let survey = survey(
            &namespace,
            vec![
                deployment("web", 0, Some("{\"/spec/replicas\":3}")),
                deployment("api", 2, None),
            ],
        );
        evaluate(
            role,
            &[namespace],
            &survey,
            &Overrides::parse(overrides).unwrap(),
        )
    }

    #[test]
    fn an_object_that_does_not_conform_fails_the_verification() {
        let verified = evaluated(Role::Secondary, &[]);
        assert!(!verified.is_complete());
        assert_eq!(verified.objects, 2);
        assert_eq!(verified.details(), ["shop/deployments/api"]);
        assert_eq!(verified.summary(), "1 object not conforming to the role");
    }

    #[test]
    fn an_object_that_is_overridden_by_name_is_listed_as_waived() {
        let verified = evaluated(Role::Secondary, &["not-conforming=shop/deployments/api"]);
        assert!(verified.is_complete());
        assert_eq!(verified.waived, ["shop/deployments/api"]);
    }

    #[test]
    fn a_namespace_labelled_with_the_other_role_fails_the_verification() {
        let verified = evaluated(Role::Primary, &["not-conforming"]);
        assert!(!verified.is_complete());
        assert_eq!(verified.details(), ["namespace shop"]);
    }

    #[test]
    fn an_unreadable_list_fails_the_verification() {
        let namespace = enrolled("shop", Some(Role::Secondary));
        let mut survey = survey(&namespace, vec![]);
        survey.unseen.push(Unseen {
            what: "jobs in namespace shop".into(),
            why: "forbidden".into(),
        });
        let verified = evaluate(
            Role::Secondary,
            &[namespace],
            &survey,
            &Overrides::default(),
        );
        assert!(!verified.is_complete());
    }
}
