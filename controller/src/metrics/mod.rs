//! The controller's Prometheus metrics.

mod transitions;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use failover_core::api::{Phase, Site};
use failover_core::{Layer, Role};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use transitions::TransitionMetrics;

/// Cheap to clone: all clones count into the same registry.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    pub leader: Gauge,
    site_role: Family<RoleLabels, Gauge>,
    site_phase: Family<PhaseLabels, Gauge>,
    layer_role: Family<LayerLabels, Gauge>,
    epoch: Gauge,
    pub transitions: TransitionMetrics,
    pub sweeps: Family<SweepLabels, Counter>,
    pub sweep_duration: Histogram,
    pub objects_rewritten: Family<WriterLabels, Counter>,
    pub nonconforming_objects: Gauge,
    pub forced_objects: Gauge,
    pub guard_refusals: Family<GuardLabels, Counter>,
    pub reconcile_errors: Counter,
    pub certificate_expiry: Family<CertificateLabels, Gauge<f64, AtomicU64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RoleLabels {
    pub site: String,
    pub role: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LayerLabels {
    pub layer: String,
    pub role: String,
}

/// `phase` is one of the Site's `status.phase`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PhaseLabels {
    pub phase: String,
}

/// `result` is `clean`, `corrected`, `blocked` or `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SweepLabels {
    pub result: String,
}

/// `by` is `webhook` or `controller`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WriterLabels {
    pub by: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GuardLabels {
    pub guard: String,
}

/// `certificate` is `ca` or `leaf`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CertificateLabels {
    pub certificate: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("failover");
        let leader = Gauge::default();
        registry.register("leader", "1 on the replica that leads", leader.clone());
        let site_role = Family::default();
        registry.register(
            "site_role",
            "1 for the role that is requested for this site",
            site_role.clone(),
        );
        let site_phase = Family::default();
        registry.register(
            "site_phase",
            "1 for the phase of this site",
            site_phase.clone(),
        );
        let transitions = TransitionMetrics::register(&mut registry);
        let layer_role = Family::default();
        registry.register(
            "layer_role",
            "1 for the role that a layer has now",
            layer_role.clone(),
        );
        let epoch = Gauge::default();
        registry.register("epoch", "Epoch of this site's claim", epoch.clone());
        let sweeps = Family::default();
        registry.register(
            "sweeps",
            "Sweeps over all objects, by result",
            sweeps.clone(),
        );
        // 20 ms to 80 s.
        let sweep_duration = Histogram::new(exponential_buckets(0.02, 2.0, 13));
        registry.register_with_unit(
            "sweep_duration",
            "How long sweeps take",
            Unit::Seconds,
            sweep_duration.clone(),
        );
        let objects_rewritten = Family::default();
        registry.register(
            "objects_rewritten",
            "Objects that a sweep corrected, by who rewrote them",
            objects_rewritten.clone(),
        );
        let nonconforming_objects = Gauge::default();
        registry.register(
            "nonconforming_objects",
            "Objects that did not conform at the end of the last sweep",
            nonconforming_objects.clone(),
        );
        let forced_objects = Gauge::default();
        registry.register(
            "held_objects",
            "Objects that were forced passive at the end of the last sweep of all of them",
            forced_objects.clone(),
        );
        let guard_refusals = Family::default();
        registry.register(
            "guard_refusals",
            "How often a guard blocked a transition",
            guard_refusals.clone(),
        );
        let reconcile_errors = Counter::default();
        registry.register(
            "reconcile_errors",
            "Failed reconciles of the control loop",
            reconcile_errors.clone(),
        );
        let certificate_expiry = Family::default();
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the webhook's certificates expire",
            Unit::Seconds,
            certificate_expiry.clone(),
        );
        Self {
            registry: Arc::new(registry),
            leader,
            site_role,
            site_phase,
            transitions,
            layer_role,
            epoch,
            sweeps,
            sweep_duration,
            objects_rewritten,
            nonconforming_objects,
            forced_objects,
            guard_refusals,
            reconcile_errors,
            certificate_expiry,
        }
    }

    pub fn show(&self, site: &Site) {
        for role in [Role::Primary, Role::Secondary] {
            let labels = RoleLabels {
                site: site.spec.site_name.clone(),
                role: role.to_string(),
            };
            self.site_role
                .get_or_create(&labels)
                .set(i64::from(site.spec.role == role));
        }
        self.epoch.set(site.spec.epoch.0);
        let Some(status) = &site.status else { return };
        for phase in Phase::ALL {
            let labels = PhaseLabels {
                phase: phase.as_str().to_owned(),
            };
            self.site_phase
                .get_or_create(&labels)
                .set(i64::from(status.phase == Some(phase)));
        }
        for layer in Layer::ALL {
            for role in [Role::Primary, Role::Secondary] {
                let labels = LayerLabels {
                    layer: layer.to_string(),
                    role: role.to_string(),
                };
                self.layer_role
                    .get_or_create(&labels)
                    .set(i64::from(status.layers.of(layer) == Some(role)));
            }
        }
    }

    /// Clears the site's metrics: without a Site, or without the lead, this replica must not report a role.
    pub fn forget_site(&self) {
        self.site_role.clear();
        self.site_phase.clear();
        self.layer_role.clear();
        self.epoch.set(0);
    }

    pub fn certificate_expires(&self, certificate: &str, at: jiff::Timestamp) {
        let labels = CertificateLabels {
            certificate: certificate.to_owned(),
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds since 1970 are far below 2^52"
        )]
        self.certificate_expiry
            .get_or_create(&labels)
            .set(at.as_second() as f64);
    }

    /// The text that `/metrics` answers with.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use failover_core::Roles;
    use failover_core::api::{SiteSpec, SiteStatus};

    use super::*;

    fn site(role: Role) -> Site {
        let spec = serde_json::json!({ "siteName": "east", "role": role, "epoch": 7 });
        let mut site = Site::new("cluster", serde_json::from_value::<SiteSpec>(spec).unwrap());
        site.status = Some(SiteStatus {
            layers: Roles::all(role),
            ..SiteStatus::default()
        });
        site
    }

    #[test]
    fn only_the_current_role_of_a_site_is_1_and_a_deleted_site_is_forgotten() {
        let metrics = Metrics::new();
        metrics.show(&site(Role::Primary));
        metrics.show(&site(Role::Secondary));
        let text = metrics.encode().unwrap();
        assert!(
            text.contains("failover_site_role{site=\"east\",role=\"secondary\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("failover_site_role{site=\"east\",role=\"primary\"} 0"),
            "{text}"
        );
        assert!(
            text.contains("failover_layer_role{layer=\"traffic\",role=\"primary\"} 0"),
            "{text}"
        );
        assert!(text.contains("failover_epoch 7"), "{text}");
        metrics.forget_site();
        assert!(!metrics.encode().unwrap().contains("east"));
    }

    #[test]
    fn names_follow_prometheus() {
        let metrics = Metrics::new();
        metrics.certificate_expires("leaf", jiff::Timestamp::from_second(1_900_000_000).unwrap());
        metrics
            .objects_rewritten
            .get_or_create(&WriterLabels {
                by: "webhook".into(),
            })
            .inc();
        metrics.sweep_duration.observe(0.5);
        metrics.reconcile_errors.inc();
        let text = metrics.encode().unwrap();
        for line in [
            "failover_objects_rewritten_total{by=\"webhook\"} 1",
            "failover_reconcile_errors_total 1",
            "failover_sweep_duration_seconds_count 1",
            "failover_nonconforming_objects 0",
            "failover_leader 0",
            "failover_certificate_expiry_timestamp_seconds{certificate=\"leaf\"} 1900000000.0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
