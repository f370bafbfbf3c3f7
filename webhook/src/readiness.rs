//! Whether answers can be relied upon: a valid certificate, synced watches, and contact with the API server.
//!
//! Contact is proven by the own Lease. The controller counts a replica as dead once its Lease has not been renewed for
//! its duration, and no longer waits for it to observe a change of roles. So a replica that cannot renew must stop
//! answering before that: with a stale cache it would allow what a newer role forbids.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long the Lease is valid for the controller.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

/// How long answers are given after the last renewal. A write that is allowed at the last moment is stored up to a
/// second later, when the API server has called the other webhooks too: still before the Lease counts as expired. One
/// renewal may be lost without a gap (see [`crate::enforcer`]).
pub const CONTACT_LIMIT: Duration = Duration::from_secs(12);

/// Shared by the parts that report and the requests that ask. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    synced: Synced,
    /// Until when the serving certificate is valid, in Unix seconds.
    certificate_until: Option<i64>,
    last_contact: Option<Instant>,
    draining: bool,
}

impl State {
    fn can_enforce(&self, unix_seconds: i64) -> Result<(), NotReady> {
        if self
            .certificate_until
            .is_none_or(|until| until <= unix_seconds)
        {
            return Err(NotReady::Certificate);
        }
        let Synced {
            namespaces,
            rules,
            site,
        } = self.synced;
        if namespaces && rules && site {
            Ok(())
        } else {
            Err(NotReady::Watches)
        }
    }
}

/// Which watches have delivered their first list.
#[derive(Clone, Copy, Debug, Default)]
struct Synced {
    namespaces: bool,
    rules: bool,
    site: bool,
}

/// One of the watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    Namespaces,
    RoleRules,
    Site,
}

/// Why no answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    #[error("there is no valid certificate yet: the controller issues it")]
    Certificate,
    #[error(
        "the watches of Namespaces, RoleRules and the Site have not all delivered their first list yet"
    )]
    Watches,
    #[error("the API server has not been reached for {} s", CONTACT_LIMIT.as_secs())]
    Contact,
    #[error("the process is shutting down")]
    Draining,
}

impl Readiness {
    pub fn synced(&self, watched: Watched) {
        self.update(|state| match watched {
            Watched::Namespaces => state.synced.namespaces = true,
            Watched::RoleRules => state.synced.rules = true,
            Watched::Site => state.synced.site = true,
        });
    }

    pub fn certificate_valid_until(&self, unix_seconds: i64) {
        self.update(|state| state.certificate_until = Some(unix_seconds));
    }

    /// The Lease was renewed by a request that was sent at this time.
    pub fn contact(&self, sent: Instant) {
        self.update(|state| state.last_contact = Some(sent));
    }

    pub fn drain(&self) {
        self.update(|state| state.draining = true);
    }

    pub fn is_draining(&self) -> bool {
        self.with(|state| state.draining)
    }

    /// Whether answers could be given if there were contact. The Lease claims this; its renewal is what proves contact.
    pub fn can_enforce(&self) -> Result<(), NotReady> {
        self.with(|state| state.can_enforce(jiff::Timestamp::now().as_second()))
    }

    /// Whether new work should be sent here.
    pub fn check(&self) -> Result<(), NotReady> {
        self.check_at(Instant::now(), jiff::Timestamp::now().as_second(), true)
    }

    /// Whether a request that arrives can be answered: while draining it is.
    pub fn can_answer(&self) -> Result<(), NotReady> {
        self.check_at(Instant::now(), jiff::Timestamp::now().as_second(), false)
    }

    fn check_at(&self, now: Instant, unix_seconds: i64, new_work: bool) -> Result<(), NotReady> {
        self.with(|state| {
            if new_work && state.draining {
                return Err(NotReady::Draining);
            }
            state.can_enforce(unix_seconds)?;
            match state.last_contact {
                Some(at) if now.saturating_duration_since(at) < CONTACT_LIMIT => Ok(()),
                _ => Err(NotReady::Contact),
            }
        })
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(
            &mut self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
    }

    fn with<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(
            &self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The state after a successful start.
    pub(crate) fn ready() -> Readiness {
        let readiness = Readiness::default();
        readiness.certificate_valid_until(i64::MAX);
        for watched in [Watched::Namespaces, Watched::RoleRules, Watched::Site] {
            readiness.synced(watched);
        }
        readiness.contact(Instant::now());
        readiness
    }

    #[test]
    fn reports_what_is_missing_until_everything_is_there() {
        let now = Instant::now();
        let readiness = Readiness::default();
        let check = || readiness.check_at(now, 100, true);
        assert_eq!(check(), Err(NotReady::Certificate));
        readiness.certificate_valid_until(100);
        assert_eq!(check(), Err(NotReady::Certificate), "expired this second");
        readiness.certificate_valid_until(101);
        assert_eq!(check(), Err(NotReady::Watches));
        readiness.synced(Watched::Namespaces);
        readiness.synced(Watched::RoleRules);
        assert_eq!(check(), Err(NotReady::Watches));
        readiness.synced(Watched::Site);
        assert_eq!(check(), Err(NotReady::Contact));
        readiness.contact(now);
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn every_watch_is_needed() {
        const ALL: [Watched; 3] = [Watched::Namespaces, Watched::RoleRules, Watched::Site];
        for missing in ALL {
            let readiness = Readiness::default();
            readiness.certificate_valid_until(i64::MAX);
            for watched in ALL.into_iter().filter(|watched| *watched != missing) {
                readiness.synced(watched);
            }
            assert_eq!(
                readiness.can_enforce(),
                Err(NotReady::Watches),
                "{missing:?}"
            );
            readiness.synced(missing);
            assert_eq!(readiness.can_enforce(), Ok(()));
        }
    }

    #[test]
    fn stops_answering_before_its_lease_counts_as_expired() {
        assert!(CONTACT_LIMIT + Duration::from_secs(2) < LEASE_DURATION);
        let readiness = ready();
        let now = Instant::now();
        readiness.contact(now);
        let at = |seconds| readiness.check_at(now + Duration::from_secs(seconds), 0, false);
        assert_eq!(at(11), Ok(()));
        assert_eq!(at(12), Err(NotReady::Contact));
    }

    #[test]
    fn while_draining_it_is_not_ready_but_still_answers() {
        let readiness = ready();
        readiness.drain();
        assert_eq!(readiness.check(), Err(NotReady::Draining));
        assert_eq!(readiness.can_answer(), Ok(()));
    }
}
