//! When a transition evaluates a guard, and which overrides it cannot use.

use super::{GuardId, Hold, Overrides};
use crate::role::Role;

/// When a guard is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applicability {
    /// Before the first layer moves, so that a block is reported in advance.
    AtTheStart,
    /// Later in the transition; whether it will block is unknown before.
    OnTheWay,
}

impl GuardId {
    /// When a transition to this role evaluates it; `None`: never.
    pub fn asked(self, to: Role) -> Option<Applicability> {
        match self {
            Self::PeerUnknown | Self::VolumeDegraded | Self::VolumeNotSynced => {
                (to == Role::Primary).then_some(Applicability::AtTheStart)
            }
            Self::UncoveredWorkloads | Self::UncoveredTraffic | Self::NamespaceLeft => {
                (to == Role::Secondary).then_some(Applicability::AtTheStart)
            }
            Self::NoEnforcement | Self::WriteRefused | Self::TransitionRunning => {
                Some(Applicability::AtTheStart)
            }
            Self::WorkloadsUnavailable | Self::BatchUnsettled => {
                (to == Role::Primary).then_some(Applicability::OnTheWay)
            }
            Self::PodsRunning => (to == Role::Secondary).then_some(Applicability::OnTheWay),
            Self::EnforcerSilent
            | Self::NotConforming
            | Self::NotVerified
            | Self::ReplicationUnconfirmed => Some(Applicability::OnTheWay),
            Self::SiteSecondary | Self::RecordsLeft => None,
        }
    }

    /// Whether it can be overridden for a single object.
    pub fn names_objects(self) -> bool {
        match self {
            Self::NotConforming
            | Self::UncoveredWorkloads
            | Self::UncoveredTraffic
            | Self::NamespaceLeft
            | Self::WriteRefused
            | Self::VolumeDegraded
            | Self::VolumeNotSynced
            | Self::PodsRunning
            | Self::ReplicationUnconfirmed
            | Self::WorkloadsUnavailable
            | Self::BatchUnsettled => true,
            Self::PeerUnknown
            | Self::NoEnforcement
            | Self::EnforcerSilent
            | Self::NotVerified
            | Self::TransitionRunning
            | Self::SiteSecondary
            | Self::RecordsLeft => false,
        }
    }

    /// Why it blocks, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::PeerUnknown => "it is unknown whether the other site is live",
            Self::NoEnforcement => "neither the webhook nor an admission policy is configured",
            Self::EnforcerSilent => "a live webhook replica does not report the new roles",
            Self::NotConforming => "objects do not conform to the role",
            Self::NotVerified => "objects cannot be swept or checked",
            Self::UncoveredWorkloads => "pods run that no rule covers",
            Self::UncoveredTraffic => "external-dns publishes names that no rule covers",
            Self::NamespaceLeft => "a namespace lost its enrolment label without being unenrolled",
            Self::WriteRefused => "the API server would refuse what has to be written",
            Self::VolumeDegraded => "a volume to be promoted is degraded",
            Self::VolumeNotSynced => "a volume to be promoted is not known to be in sync",
            Self::PodsRunning => "a pod that could write is still running",
            Self::ReplicationUnconfirmed => "a volume is not confirmed to have the requested role",
            Self::WorkloadsUnavailable => "restored workloads are not available",
            Self::BatchUnsettled => {
                "a CronJob or Job could not be updated as requested (--run-missed, --run-held-jobs)"
            }
            Self::TransitionRunning => "another transition is running",
            Self::SiteSecondary => "the site is secondary",
            Self::RecordsLeft => "objects still carry restore records",
        }
    }
}

/// Why an override cannot be used. A user who passes one misunderstands the state of the site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unneeded {
    #[error("{0}: this guard does not apply to a {noun}", noun = noun(*.1))]
    NeverAsked(GuardId, Role),
    #[error("{0}={1}: this guard cannot be overridden for single objects, use {0}")]
    NotOfObjects(GuardId, String),
    #[error("{0}: this guard does not block now")]
    DoesNotHold(GuardId),
    #[error("{0}={1}: this guard does not block that object now")]
    DoesNotHoldFor(GuardId, String),
}

/// A transition to this role.
fn noun(to: Role) -> &'static str {
    match to {
        Role::Primary => "promotion",
        Role::Secondary => "demotion",
    }
}

/// The first override that a transition to this role cannot use, in any state of the site.
pub fn out_of_place(to: Role, overrides: &Overrides) -> Option<Unneeded> {
    overrides.iter().find_map(|(guard, object)| {
        if guard.asked(to).is_none() {
            return Some(Unneeded::NeverAsked(guard, to));
        }
        let object = object.filter(|_| !guard.names_objects())?;
        Some(Unneeded::NotOfObjects(guard, object.to_owned()))
    })
}

/// The first override that this transition does not need: it is out of place, or its guard is evaluated at the start
/// and is not among those that `standing` says would block.
pub fn unneeded(to: Role, standing: &[Hold], overrides: &Overrides) -> Option<Unneeded> {
    out_of_place(to, overrides).or_else(|| {
        overrides.iter().find_map(|(guard, object)| {
            let blocks = |hold: &Hold| {
                hold.guard == guard && object.is_none_or(|o| hold.object.as_deref() == Some(o))
            };
            // If the controller cannot check the cluster, it cannot know whether any of these guards would block.
            let unverified = guard.names_objects() && overrides.allows(GuardId::NotVerified);
            if guard.asked(to) != Some(Applicability::AtTheStart)
                || unverified
                || standing.iter().any(blocks)
            {
                return None;
            }
            Some(match object {
                Some(object) => Unneeded::DoesNotHoldFor(guard, object.to_owned()),
                None => Unneeded::DoesNotHold(guard),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn standing(guards: &[(GuardId, Option<&str>)]) -> Vec<Hold> {
        guards
            .iter()
            .map(|(guard, object)| Hold {
                guard: *guard,
                object: object.map(str::to_owned),
                message: String::new(),
                hint: String::new(),
            })
            .collect()
    }

    #[rstest]
    #[case::blocks(Role::Primary, "peer-unknown", None)]
    #[case::may_block_later(Role::Secondary, "pods-running", None)]
    #[case::one_object_that_may_block_later(Role::Secondary, "pods-running=shop/pods/web-1", None)]
    #[case::one_object_that_blocks(Role::Secondary, "uncovered-workloads=shop/pods/bare", None)]
    #[case::all_objects_that_block(Role::Secondary, "uncovered-workloads", None)]
    #[case::does_not_block(
        Role::Primary,
        "no-enforcement",
        Some("no-enforcement: this guard does not block now")
    )]
    #[case::object_does_not_block(
        Role::Secondary,
        "uncovered-workloads=shop/pods/other",
        Some("uncovered-workloads=shop/pods/other: this guard does not block that object now")
    )]
    #[case::other_direction(
        Role::Secondary,
        "peer-unknown",
        Some("peer-unknown: this guard does not apply to a demotion")
    )]
    #[case::wait_of_the_other_direction(
        Role::Primary,
        "pods-running",
        Some("pods-running: this guard does not apply to a promotion")
    )]
    #[case::of_leaving(
        Role::Primary,
        "records-left",
        Some("records-left: this guard does not apply to a promotion")
    )]
    #[case::not_of_objects(
        Role::Primary,
        "peer-unknown=a/b/c",
        Some(
            "peer-unknown=a/b/c: this guard cannot be overridden for single objects, use peer-unknown"
        )
    )]
    fn an_override_that_a_transition_does_not_need_is_reported(
        #[case] to: Role,
        #[case] given: &str,
        #[case] expected: Option<&str>,
    ) {
        let standing = standing(&[
            (GuardId::PeerUnknown, None),
            (GuardId::UncoveredWorkloads, Some("shop/pods/bare")),
        ]);
        let overrides = Overrides::parse(&[given]).unwrap();
        let unneeded = unneeded(to, &standing, &overrides).map(|u| u.to_string());
        assert_eq!(unneeded.as_deref(), expected);
    }

    #[test]
    fn an_override_out_of_place_is_found_without_the_state_of_the_site() {
        let of = |text| out_of_place(Role::Secondary, &Overrides::parse(&[text]).unwrap());
        assert!(of("peer-unknown").is_some());
        assert!(of("no-enforcement").is_none());
    }
}
