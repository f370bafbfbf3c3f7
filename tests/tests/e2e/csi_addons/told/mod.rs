//! What csi-addons tells of a volume, status by status, and what is thought of each: the sequences that were recorded of
//! it, and its traps.
//!
//! The driver knows what the volume really is. Whatever is thought, it may never be confirmed when the driver has not done
//! it: such a line would read `confirmed WRONGLY`.

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

/// One csi-addons for all: most of every scenario is waiting for it, and what waits does not disturb.
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

    /// One that is primary, at generation 1.
    async fn primary(&self, name: &str) -> Watched {
        let volume = self.volume(name).await;
        volume.order("primary").await;
        volume.tells(&["primary@1: nothing | doubt", PRIMARY]).await;
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

/// Each scenario is a test. They go on all at the same time, from when the first is waited for: one takes three minutes. The
/// bed ends with the last of them.
macro_rules! at_once {
    (tests: $($file:ident::$scenario:ident)*; waited_for_elsewhere: $($other:ident::$slow:ident)*) => {
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

at_once! {
    tests:
    healthy::it_goes_there_and_comes_back
    healthy::calls_that_wait_leave_what_was_told_before
    healthy::a_resync_takes_a_second_round
    healthy::a_resync_that_never_ends_is_no_obstacle_for_who_promotes
    healthy::a_primary_is_resynced
    healthy::a_primary_that_does_not_replicate_is_still_one
    healthy::what_cannot_be_asked_stays_as_it_was_told
    refused::a_forced_promotion_leaves_no_trace
    refused::a_promotion_that_fails_even_by_force
    refused::a_promotion_that_is_aborted
    refused::a_promotion_with_an_internal_error
    refused::prerequisites_that_came_late
    refused::a_resync_that_fails
    refused::a_demotion_that_fails_and_is_taken_back
    slow::a_promotion_that_is_taken_back_before_its_answer
    slow::a_demotion_that_is_taken_back_before_its_answer
    group::a_group_goes_there_and_comes_back
    group::a_group_says_what_its_volume_does_not;
    waited_for_elsewhere:
    slow::a_promotion_that_never_returns
}

/// What they run on. Every test has its own runtime otherwise, and what is shared would end with the first.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// # Panics
/// When the scenario did, with what it said: where it said it is no output of this test.
pub(super) fn end_of(scenario: &str) {
    let begun = BEGUN.lock().unwrap().remove(scenario).unwrap();
    if let Err(error) = RUNTIME.block_on(begun) {
        let panic = error.into_panic();
        let said = panic.downcast_ref::<String>().map(String::as_str);
        panic!("{}", said.unwrap_or("it panicked"));
    }
}

/// A bed of its own, as it is taken away from under the volumes.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_nothing_new_is_told() {
    let bed = Bed::start().await;
    let old = bed.primary("old").await;
    bed.csi_addons.lose_leader().await.unwrap();
    old.order("secondary").await;
    let unanswered = "secondary@2: Primary Promoted@1 Healthy@1 Replicating@1 | doubt, not synced";
    old.tells(&[unanswered]).await;
    let fresh = bed.volume("fresh").await;
    fresh.order("primary").await;
    fresh.tells(&["primary@1: nothing | doubt"]).await;
    eventually("csi-addons to have looked at both", || async {
        let log = bed.csi_addons.controller.log();
        let looked = |name: &str| {
            let of_it = |line: &&str| line.contains("no leader") && line.contains(name);
            log.lines().filter(of_it).count() > 1
        };
        if looked("\"old\"") && looked("\"fresh\"") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    old.tells_no_more();
    fresh.tells_no_more();

    bed.csi_addons.regain_leader().await.unwrap();
    fresh.tells(&[PRIMARY]).await;
    let demoted =
        "secondary@2: Secondary Demoted@2 VolumeDegraded@2 Replicating@1 | doubt, degraded";
    old.tells(&[demoted]).await;
}
