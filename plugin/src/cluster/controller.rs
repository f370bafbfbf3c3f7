//! Whether a controller leads: its Lease, and whether that is still renewed.

use std::time::Duration;

use failover_core::names::{LEADER_LEASE, SYSTEM_NAMESPACE};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use tokio::time::Instant;

use super::{ApiError, Cluster, found};

/// For a Lease that does not say.
const DEFAULT_DURATION: Duration = Duration::from_secs(15);

/// The Lease at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// `None`: given up, or never taken.
    pub holder: Option<String>,
    pub renewed: Option<jiff::Timestamp>,
    duration: Duration,
    resource_version: Option<String>,
}

impl Leadership {
    fn of(lease: Lease) -> Self {
        let spec = lease.spec.unwrap_or_default();
        Self {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            renewed: spec.renew_time.map(|time| time.0),
            duration: spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .filter(|seconds| *seconds > 0)
                .map_or(DEFAULT_DURATION, Duration::from_secs),
            resource_version: lease.metadata.resource_version,
        }
    }

    /// Whether it is older than it should be, by the clocks of two machines: no more than a suspicion.
    pub fn looks_late(&self, now: jiff::Timestamp) -> bool {
        let limit = jiff::SignedDuration::try_from(self.duration).unwrap_or_default();
        self.renewed
            .is_some_and(|then| now.duration_since(then) >= limit)
    }

    /// Whether it was renewed recently, by the clocks of two machines. For a single check; [`Silence`] is more reliable.
    pub fn looks_alive(&self, now: jiff::Timestamp) -> bool {
        // Twice its duration: clocks of a person's machine differ by seconds.
        let limit = jiff::SignedDuration::try_from(self.duration * 2).unwrap_or_default();
        self.holder.is_some()
            && self
                .renewed
                .is_some_and(|then| now.duration_since(then) < limit)
    }
}

impl Cluster {
    /// `None`: there is no such Lease, so nothing is installed.
    pub async fn leadership(&self) -> Result<Option<Leadership>, ApiError> {
        let leases: Api<Lease> = Api::namespaced(self.client(), SYSTEM_NAMESPACE);
        let answer = self.read("read the controller's Lease", || {
            let leases = leases.clone();
            async move { leases.get(LEADER_LEASE).await }
        });
        Ok(found(answer.await)?.map(Leadership::of))
    }
}

/// Follows the Lease and reports when it was not renewed in time, by this process's own clock.
#[derive(Debug, Default)]
pub struct Silence {
    last: Option<(Option<String>, Instant)>,
}

impl Silence {
    /// `true`: no controller leads.
    pub fn observe(&mut self, lease: Option<&Leadership>, now: Instant) -> bool {
        let Some(lease) = lease.filter(|lease| lease.holder.is_some()) else {
            self.last = None;
            return true;
        };
        match &self.last {
            Some((version, since)) if *version == lease.resource_version => {
                now.duration_since(*since) >= lease.duration
            }
            _ => {
                self.last = Some((lease.resource_version.clone(), now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(version: &str, holder: Option<&str>) -> Leadership {
        Leadership::of(
            serde_json::from_value(json!({
                "metadata": {"resourceVersion": version},
                "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-03-01T12:00:00.000000Z"}
            }))
            .unwrap(),
        )
    }

    #[test]
    fn a_lease_that_is_renewed_is_not_silent() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut silence = Silence::default();
        assert!(!silence.observe(Some(&lease("1", Some("a"))), at(0)));
        assert!(!silence.observe(Some(&lease("1", Some("a"))), at(14)));
        assert!(silence.observe(Some(&lease("1", Some("a"))), at(15)));
        assert!(!silence.observe(Some(&lease("2", Some("a"))), at(16)));
    }

    #[test]
    fn a_lease_that_nobody_holds_is_silent_at_once() {
        let mut silence = Silence::default();
        assert!(silence.observe(None, Instant::now()));
        assert!(silence.observe(Some(&lease("1", None)), Instant::now()));
        assert!(silence.observe(Some(&lease("1", Some(""))), Instant::now()));
    }

    #[test]
    fn a_single_look_allows_for_clocks_that_differ() {
        let at = |text: &str| text.parse().unwrap();
        let lease = lease("1", Some("a"));
        assert!(!lease.looks_late(at("2026-03-01T12:00:14Z")));
        assert!(lease.looks_late(at("2026-03-01T12:00:15Z")));
        assert!(lease.looks_alive(at("2026-03-01T12:00:29Z")));
        assert!(lease.looks_alive(at("2026-03-01T11:59:00Z")));
        assert!(!lease.looks_alive(at("2026-03-01T12:00:30Z")));
    }
}
