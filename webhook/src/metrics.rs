//! Metrics by Prometheus' conventions. Label values are bounded: a resource without a rule counts as `other`.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::outcome::About;
use crate::outcome::ReviewOutcome;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    resource: String,
    operation: String,
    outcome: ReviewOutcome,
}

/// The registry and its metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    duration: Histogram,
    connections: Gauge,
    certificate_expiry: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("failover_webhook");
        let requests = Family::default();
        registry.register(
            "requests",
            "Admission requests by resource, operation and outcome",
            requests.clone(),
        );
        // From far below the promised millisecond to the second at which the API server gives up.
        let duration = Histogram::new([
            50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 0.25, 1.0,
        ]);
        registry.register_with_unit(
            "request_duration",
            "Time from the last byte of a request to the first of its answer",
            Unit::Seconds,
            duration.clone(),
        );
        let connections = Gauge::default();
        registry.register("connections", "Open TLS connections", connections.clone());
        let certificate_expiry = Gauge::default();
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the serving certificate expires, in Unix time",
            Unit::Seconds,
            certificate_expiry.clone(),
        );
        registry.register(
            "build",
            "Version of the webhook",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self(Arc::new(Inner {
            registry,
            requests,
            duration,
            connections,
            certificate_expiry,
        }))
    }
}

impl Metrics {
    /// The text exposition.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    pub fn count(&self, about: &About, outcome: ReviewOutcome) {
        let bounded = |text: &str, known: bool| {
            if known {
                text.to_owned()
            } else {
                "other".to_owned()
            }
        };
        let operation_known =
            ["CREATE", "UPDATE", "DELETE", "CONNECT"].contains(&about.operation.as_str());
        let resource_known =
            about.is_ruled && (!about.resource.contains('/') || about.resource.ends_with("/scale"));
        self.0
            .requests
            .get_or_create(&RequestLabels {
                resource: bounded(&about.resource, resource_known),
                operation: bounded(&about.operation, operation_known),
                outcome,
            })
            .inc();
    }

    pub fn observe(&self, duration: Duration) {
        self.0.duration.observe(duration.as_secs_f64());
    }

    /// Counts a connection for as long as the guard lives.
    pub fn connection(&self) -> ConnectionGuard {
        self.0.connections.inc();
        ConnectionGuard(self.clone())
    }

    pub fn certificate_expires(&self, unix_seconds: i64) {
        self.0.certificate_expiry.set(unix_seconds);
    }
}

/// One open connection.
#[derive(Debug)]
pub struct ConnectionGuard(Metrics);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.0.connections.dec();
    }
}
