//! What csi-addons reports about a volume, status by status, and our verdict on each: recorded sequences, including
//! misleading ones.
//!
//! The driver knows the real state of the volume. A role that the driver does not have must not be confirmed: such a line
//! reads `confirmed WRONGLY`.

mod watched;

mod group;
mod healthy;
mod refused;
mod slow;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use futures::FutureExt as _;
use testbed::csi_addons::CsiAddons;
use testbed::{ControlPlane, eventually};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use watched::Watched;

/// One csi-addons for all scenarios: they mostly wait, and do not disturb each other.
struct Bed {
    csi_addons: CsiAddons,
    _plane: ControlPlane,
}

impl Bed {
    async fn start() -> Self {
        let plane = ControlPlane::start().await.unwrap();
        let csi_addons = CsiAddons::start(&plane).await.unwrap();
        Self {
            csi_addons,
            _plane: plane,
        }
    }

    async fn volume(&self, name: &str) -> Watched {
        Watched::new(self.csi_addons.volume("default", name).await.unwrap()).await
    }

    /// A primary volume at generation 1.
    async fn primary(&self, name: &str) -> Watched {
        let volume = self.volume(name).await;
        volume.order("primary").await;
        volume
            .reports(&["primary@1: nothing | doubt", PRIMARY])
            .await;
        volume
    }
}

const PRIMARY: &str = "primary@1: Primary Promoted@1 Healthy@1 Replicating@1 | confirmed";

macro_rules! begin {
    ($bed:ident, $scenario:path) => {{
        let bed = $bed.clone();
        RUNTIME.spawn(async move { $scenario(&*bed.await).await })
    }};
}

/// Each scenario is a test. All start when the first test waits for its own, since one takes three minutes. The bed ends
/// with the last.
macro_rules! concurrently {
    (tests: $($file:ident::$scenario:ident)*; awaited_elsewhere: $($other:ident::$slow:ident)*) => {
        static BEGUN: LazyLock<Mutex<HashMap<&str, JoinHandle<()>>>> = LazyLock::new(|| {
            let bed = async { Arc::new(Bed::start().await) }.boxed().shared();
            Mutex::new(HashMap::from([
                $((stringify!($scenario), begin!(bed, $file::$scenario)),)*
                $((stringify!($slow), begin!(bed, $other::$slow)),)*
            ]))
        });

        $(#[test]
        fn $scenario() {
            end_of(stringify!($scenario));
        })*
    };
}

concurrently! {
    tests:
    healthy::a_volume_is_demoted_and_promoted_again
    healthy::pending_calls_leave_the_last_report_unchanged
    healthy::a_resync_takes_a_second_call
    healthy::a_resync_that_never_ends_does_not_block_a_promotion
    healthy::a_primary_is_resynced
    healthy::a_primary_that_does_not_replicate_is_still_primary
    healthy::an_info_call_that_fails_leaves_the_last_report_unchanged
    refused::a_forced_promotion_leaves_no_trace
    refused::a_promotion_that_fails_even_by_force
    refused::a_promotion_that_is_aborted
    refused::a_promotion_with_an_internal_error
    refused::prerequisites_that_are_met_late
    refused::a_resync_that_fails
    refused::a_demotion_that_fails_and_is_reverted
    slow::a_promotion_that_is_reverted_before_its_answer
    slow::a_demotion_that_is_reverted_before_its_answer
    group::a_group_is_demoted_and_promoted_again
    group::a_group_reports_ahead_of_its_volume;
    awaited_elsewhere:
    slow::a_promotion_that_never_returns
}

/// The runtime of all scenarios. Each test has its own runtime, with which shared tasks would end.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// # Panics
/// If the scenario panicked, with its message, since the output of the scenario is not that of this test.
pub(super) fn end_of(scenario: &str) {
    let begun = BEGUN.lock().unwrap().remove(scenario).unwrap();
    if let Err(error) = RUNTIME.block_on(begun) {
        let panic = error.into_panic();
        let said = panic.downcast_ref::<String>().map(String::as_str);
        panic!("{}", said.unwrap_or("it panicked"));
    }
}

/// Has its own bed, since it removes the Lease of the driver.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_nothing_new_is_reported() {
    let bed = Bed::start().await;
    let old = bed.primary("old").await;
    bed.csi_addons.lose_leader().await.unwrap();
    old.order("secondary").await;
    let unanswered = "secondary@2: Primary Promoted@1 Healthy@1 Replicating@1 | doubt, not synced";
    old.reports(&[unanswered]).await;
    let fresh = bed.volume("fresh").await;
    fresh.order("primary").await;
    fresh.reports(&["primary@1: nothing | doubt"]).await;
    eventually("csi-addons to have reconciled both", || async {
        let log = bed.csi_addons.controller.log();
        let reconciled = |name: &str| {
            let of_it = |line: &&str| line.contains("no leader") && line.contains(name);
            log.lines().filter(of_it).count() > 1
        };
        if reconciled("\"old\"") && reconciled("\"fresh\"") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    old.reports_nothing_new();
    fresh.reports_nothing_new();

    bed.csi_addons.regain_leader().await.unwrap();
    fresh.reports(&[PRIMARY]).await;
    let demoted =
        "secondary@2: Secondary Demoted@2 VolumeDegraded@2 Replicating@1 | doubt, degraded";
    old.reports(&[demoted]).await;
}
