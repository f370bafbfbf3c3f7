//! Guards: named checks that can block a transition. Each is overridden only by its name, with a reason.
//!
//! The CLI evaluates them before it writes anything, the controller before it moves anything. Both use [`holding`], so
//! skipping one does not bypass the other.

mod applicability;
mod objects;

use std::fmt;
use std::str::FromStr;

use crate::api::Blocked;
use crate::role::Role;

pub use applicability::{Applicability, Unneeded, out_of_place, unneeded};
pub use objects::{of_hopeless, of_left, of_published, of_refused, of_uncovered, of_volume};

/// The name of a guard, as used in an override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GuardId {
    /// A promotion: this version does not query a peer whether it is live.
    PeerUnknown,
    /// Neither the webhook nor a policy is configured: nothing would keep swept objects passive.
    NoEnforcement,
    /// A live webhook replica does not report the new roles.
    EnforcerSilent,
    /// Objects do not conform after a sweep.
    NotConforming,
    /// Objects could not be swept, or the condition of a step could not be checked, so their state is unknown.
    NotVerified,
    /// Pods that no rule reaches run in an enrolled namespace, and keep running.
    UncoveredWorkloads,
    /// external-dns keeps publishing names from objects of an enrolled namespace that no rule reaches.
    UncoveredTraffic,
    /// A namespace has lost its enrolment label without being unenrolled: its objects would stay as they are.
    NamespaceLeft,
    /// The API server would refuse a write that the transition needs.
    WriteRefused,
    /// A volume that would be promoted by force is degraded.
    VolumeDegraded,
    /// A volume that would be promoted by force is not known to be in sync: a resync is under way, or it does not
    /// report the secondary state that was ordered.
    VolumeNotSynced,
    /// A pod that could still write has not ended.
    PodsRunning,
    /// A volume is not confirmed in the ordered state.
    ReplicationUnconfirmed,
    /// A restored workload is not available.
    WorkloadsUnavailable,
    /// A CronJob or a Job could not be updated as requested (--run-missed, --run-held-jobs).
    BatchUnsettled,
    /// Another transition is under way.
    TransitionRunning,
    /// Enforcement would end while the site is secondary.
    SiteSecondary,
    /// Enforcement would end while objects still have restore records.
    RecordsLeft,
}

impl GuardId {
    pub const ALL: [Self; 18] = [
        Self::PeerUnknown,
        Self::NoEnforcement,
        Self::EnforcerSilent,
        Self::NotConforming,
        Self::NotVerified,
        Self::UncoveredWorkloads,
        Self::UncoveredTraffic,
        Self::NamespaceLeft,
        Self::WriteRefused,
        Self::VolumeDegraded,
        Self::VolumeNotSynced,
        Self::PodsRunning,
        Self::ReplicationUnconfirmed,
        Self::WorkloadsUnavailable,
        Self::BatchUnsettled,
        Self::TransitionRunning,
        Self::SiteSecondary,
        Self::RecordsLeft,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::PeerUnknown => "peer-unknown",
            Self::NoEnforcement => "no-enforcement",
            Self::EnforcerSilent => "enforcer-silent",
            Self::NotConforming => "not-conforming",
            Self::NotVerified => "not-verified",
            Self::UncoveredWorkloads => "uncovered-workloads",
            Self::UncoveredTraffic => "uncovered-traffic",
            Self::NamespaceLeft => "namespace-left",
            Self::WriteRefused => "write-refused",
            Self::VolumeDegraded => "volume-degraded",
            Self::VolumeNotSynced => "volume-not-synced",
            Self::PodsRunning => "pods-running",
            Self::ReplicationUnconfirmed => "replication-unconfirmed",
            Self::WorkloadsUnavailable => "workloads-unavailable",
            Self::BatchUnsettled => "batch-unsettled",
            Self::TransitionRunning => "transition-running",
            Self::SiteSecondary => "site-secondary",
            Self::RecordsLeft => "records-left",
        }
    }
}

impl fmt::Display for GuardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of an unknown guard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a guard: the guards are {known}", known = GuardId::ALL.map(GuardId::as_str).join(", "))]
pub struct UnknownGuard(pub String);

impl FromStr for GuardId {
    type Err = UnknownGuard;

    fn from_str(s: &str) -> Result<Self, UnknownGuard> {
        Self::ALL
            .into_iter()
            .find(|id| id.as_str() == s)
            .ok_or_else(|| UnknownGuard(s.to_owned()))
    }
}

/// The guards that a request overrides: completely, or for one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(Vec<(GuardId, Option<String>)>);

impl Overrides {
    /// Parses `ID` and `ID=namespace/resource/name`.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, UnknownGuard> {
        texts
            .iter()
            .map(|text| match text.as_ref().split_once('=') {
                Some((id, object)) => Ok((id.parse()?, Some(object.to_owned()))),
                None => Ok((text.as_ref().parse()?, None)),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Parses the known ones; for stored overrides, of which an unknown name overrides nothing.
    pub fn parse_known<S: AsRef<str>>(texts: &[S]) -> Self {
        Self(
            texts
                .iter()
                .filter_map(|text| Self::parse(&[text]).ok())
                .flat_map(|parsed| parsed.0)
                .collect(),
        )
    }

    pub fn allows(&self, guard: GuardId) -> bool {
        self.0
            .iter()
            .any(|(id, object)| *id == guard && object.is_none())
    }

    pub fn allows_object(&self, guard: GuardId, object: &str) -> bool {
        self.allows(guard)
            || self
                .0
                .iter()
                .any(|(id, o)| *id == guard && o.as_deref() == Some(object))
    }

    /// Whether a finding is overridden.
    pub fn waives(&self, found: &Blocked) -> bool {
        found.guard.parse().is_ok_and(|guard| match &found.object {
            Some(object) => self.allows_object(guard, object),
            None => self.allows(guard),
        })
    }

    /// Whether overrides cover all findings of a guard. `left` counts all findings; those that are not named are
    /// covered only by an override of the whole guard.
    pub fn waive(&self, guard: GuardId, found: &[Blocked], left: i64) -> bool {
        let all_are_named = i64::try_from(found.len()) == Ok(left);
        left == 0
            || self.allows(guard)
            || (all_are_named && found.iter().all(|found| self.waives(found)))
    }

    pub fn iter(&self) -> impl Iterator<Item = (GuardId, Option<&str>)> {
        self.0.iter().map(|(id, object)| (*id, object.as_deref()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The facts of the cluster that guards are evaluated on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The MutatingWebhookConfiguration exists and contains our webhook.
    pub webhook_configured: bool,
    /// A ValidatingAdmissionPolicy of ours exists and is bound.
    pub policy_configured: bool,
}

/// A guard that blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub guard: GuardId,
    /// `namespace/resource/name`, where the guard is about an object.
    pub object: Option<String>,
    /// Why it blocks.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.guard, self.message, self.hint)
    }
}

/// The guards that block a transition before it starts, with overrides applied.
///
/// `from` is the role in effect; `None` for a site whose namespaces have no role yet. Labelling such a site primary
/// changes no object and makes no new claim, so no peer needs to be asked.
pub fn holding(from: Option<Role>, to: Role, facts: &Facts, overrides: &Overrides) -> Vec<Hold> {
    standing(from, to, facts)
        .into_iter()
        .filter(|hold| !overrides.allows(hold.guard))
        .collect()
}

/// The guards that would block without any override: those that need one.
pub fn standing(from: Option<Role>, to: Role, facts: &Facts) -> Vec<Hold> {
    let mut holds = Vec::new();
    if to == Role::Primary && from == Some(Role::Secondary) {
        holds.push(Hold {
            guard: GuardId::PeerUnknown,
            object: None,
            message:
                "this version does not contact the other site, so it is unknown whether that site is still live"
                    .to_owned(),
            hint: "make sure that it is not, then pass --override peer-unknown --reason TEXT"
                .to_owned(),
        });
    }
    if !facts.webhook_configured && !facts.policy_configured {
        holds.push(Hold {
            guard: GuardId::NoEnforcement,
            object: None,
            message: "neither the webhook nor an admission policy is configured, so any writer could undo the change".to_owned(),
            hint: "run kubectl failover install again, or pass --override no-enforcement --reason TEXT".to_owned(),
        });
    }
    holds
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SOUND: Facts = Facts {
        webhook_configured: true,
        policy_configured: true,
    };

    #[rstest]
    #[case::promotion(Some(Role::Secondary), Role::Primary, SOUND, &[], &[GuardId::PeerUnknown])]
    #[case::overridden(Some(Role::Secondary), Role::Primary, SOUND, &["peer-unknown"], &[])]
    #[case::other_override(Some(Role::Secondary), Role::Primary, SOUND, &["no-enforcement"], &[GuardId::PeerUnknown])]
    #[case::demotion_needs_no_peer(Some(Role::Primary), Role::Secondary, SOUND, &[], &[])]
    #[case::birth_as_primary(None, Role::Primary, SOUND, &[], &[])]
    #[case::policy_alone_is_enough(Some(Role::Primary), Role::Secondary, Facts { webhook_configured: false, ..SOUND }, &[], &[])]
    #[case::no_enforcement(Some(Role::Primary), Role::Secondary, Facts { webhook_configured: false, policy_configured: false }, &[], &[GuardId::NoEnforcement])]
    fn guards_that_block_a_transition(
        #[case] from: Option<Role>,
        #[case] to: Role,
        #[case] facts: Facts,
        #[case] overrides: &[&str],
        #[case] expected: &[GuardId],
    ) {
        let overrides = Overrides::parse(overrides).unwrap();
        let guards: Vec<_> = holding(from, to, &facts, &overrides)
            .into_iter()
            .map(|h| h.guard)
            .collect();
        assert_eq!(guards, expected);
    }

    #[test]
    fn an_override_of_one_object_does_not_cover_all() {
        let overrides = Overrides::parse(&["not-conforming=shop/deployments/web"]).unwrap();
        assert!(overrides.allows_object(GuardId::NotConforming, "shop/deployments/web"));
        assert!(!overrides.allows_object(GuardId::NotConforming, "shop/deployments/api"));
        assert!(!overrides.allows(GuardId::NotConforming));
    }

    #[test]
    fn an_unknown_guard_is_named_with_the_known_ones() {
        let error = Overrides::parse(&["peer-unknwon"]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("\"peer-unknwon\" is not a guard: the guards are peer-unknown,"),
            "{error}"
        );
        assert!(
            Overrides::parse_known(&["peer-unknwon", "records-left"]).allows(GuardId::RecordsLeft)
        );
    }
}
