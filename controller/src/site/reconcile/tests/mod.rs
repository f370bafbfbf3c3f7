//! The loop as it runs, with a fake API server and caches that lag behind it.

mod hanging;
mod namespaces;
mod site;
mod sweeps;
mod transitions;
mod unavailable;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use failover_core::api::{Outcome, Phase, StepActivity, StepState, Transition};
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::testing::fake_api::{Asked, Fault, status as answer};
use crate::testing::harness::{Bed, LAG, SHOP, SITE, WEB, is_ready, lease};

/// A site in this role that has settled, and its controller.
async fn settled(role: &str) -> (Bed, AbortOnDropHandle<()>) {
    let bed = Bed::new(role).await;
    let controller = bed.controller();
    bed.until_settled("birth-east").await;
    (bed, controller)
}

/// Asserts that this did not take longer.
#[track_caller]
fn assert_within(start: Instant, seconds: u64) {
    let took = start.elapsed();
    assert!(took < Duration::from_secs(seconds), "{took:?}");
}
