//! Whether everything is as a role wants it, by an own list: what the controller says is not asked.

use failover_core::Role;
use failover_core::guards::{GuardId, Overrides};
use failover_core::transition::EnrolledNamespace;

use crate::cluster::{ApiError, Cluster, Survey, Unseen};
use crate::commands::site_view::left;
use crate::output::{clean, counted};
use crate::plan::standing;

/// The most objects that a message names.
const NAMED: usize = 10;

/// What a check of everything found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) namespaces: usize,
    /// Objects that a rule reaches.
    pub(super) objects: usize,
    /// Namespaces whose labels do not say the role.
    pub(super) unlabelled: Vec<String>,
    /// Namespaces that have left, and that the request does not go on without: what is in them is not made passive.
    pub(super) left: Vec<String>,
    /// Objects that do not agree, and why nothing can be done, where that is known.
    pub(super) astray: Vec<(String, Option<String>)>,
    /// Of those, the ones that the order goes on without.
    pub(super) waived: Vec<String>,
    pub(super) unseen: Vec<Unseen>,
}

impl Verified {
    /// Everything was seen, and everything agrees or was waived by name.
    pub(super) fn is_complete(&self) -> bool {
        self.unlabelled.is_empty()
            && self.left.is_empty()
            && self.astray.is_empty()
            && self.unseen.is_empty()
    }

    pub(super) fn left_over(&self) -> String {
        let parts: Vec<String> = [
            (
                self.unlabelled.len(),
                "without the label of the role",
                "namespace",
            ),
            (self.left.len(), "no longer enrolled", "namespace"),
            (self.astray.len(), "not conforming to the role", "object"),
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
        let astray = self.astray.iter().map(|(object, why)| match why {
            Some(why) => format!("{}: {}", clean(object), clean(why)),
            None => clean(object).into_owned(),
        });
        let unseen = self
            .unseen
            .iter()
            .map(|unseen| format!("{}: {}", clean(&unseen.what), clean(&unseen.why)));
        let all: Vec<String> = unlabelled.chain(left).chain(astray).chain(unseen).collect();
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
    let mut verified = judge(role, &enrolled, &survey, overrides);
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

fn judge(
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
    for standing in standing(enrolled, survey) {
        verified.objects += standing.objects;
        for (object, why) in standing.astray {
            let object = object.to_string();
            if overrides.allows_object(GuardId::NotConforming, &object) {
                verified.waived.push(object);
            } else {
                verified.astray.push((object, why));
            }
        }
    }
    verified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_has_left_spoils_it() {
        let verified = Verified {
            left: vec!["blog".to_owned()],
            ..Verified::default()
        };
        assert!(!verified.is_complete());
        assert_eq!(verified.left_over(), "1 namespace no longer enrolled");
        assert!(verified.details()[0].starts_with("namespace blog: "));
    }

    use crate::plan::tests::{deployment, enrolled, survey};

    fn judged(role: Role, overrides: &[&str]) -> Verified {
        let namespace = enrolled("shop", Some(Role::Secondary));
        let survey = survey(
            &namespace,
            vec![
                deployment("web", 0, Some("{\"/spec/replicas\":3}")),
                deployment("api", 2, None),
            ],
        );
        judge(
            role,
            &[namespace],
            &survey,
            &Overrides::parse(overrides).unwrap(),
        )
    }

    #[test]
    fn an_object_that_does_not_agree_spoils_it() {
        let verified = judged(Role::Secondary, &[]);
        assert!(!verified.is_complete());
        assert_eq!(verified.objects, 2);
        assert_eq!(verified.details(), ["shop/deployments/api"]);
        assert_eq!(verified.left_over(), "1 object not conforming to the role");
    }

    #[test]
    fn one_that_was_waived_by_name_is_named_and_does_not() {
        let verified = judged(Role::Secondary, &["not-conforming=shop/deployments/api"]);
        assert!(verified.is_complete());
        assert_eq!(verified.waived, ["shop/deployments/api"]);
    }

    #[test]
    fn a_namespace_that_still_says_the_other_role_spoils_it() {
        let verified = judged(Role::Primary, &["not-conforming"]);
        assert!(!verified.is_complete());
        assert_eq!(verified.details(), ["namespace shop"]);
    }

    #[test]
    fn what_could_not_be_seen_is_not_taken_for_good() {
        let namespace = enrolled("shop", Some(Role::Secondary));
        let mut survey = survey(&namespace, vec![]);
        survey.unseen.push(Unseen {
            what: "jobs in namespace shop".into(),
            why: "forbidden".into(),
        });
        let verified = judge(
            Role::Secondary,
            &[namespace],
            &survey,
            &Overrides::default(),
        );
        assert!(!verified.is_complete());
    }
}
