use failover_core::Role;
use http::Method;
use serde_json::json;

use super::*;
use crate::exit_code::ExitCode;
use crate::fake_cluster::{self, FakeCluster};

#[tokio::test(start_paused = true)]
async fn a_settled_site_is_not_followed() {
    let fake = FakeCluster::settled(Role::Primary);
    let output = fake_cluster::run(&fake, async |session| follow(session, None).await).await;
    assert!(output.result.is_ok());
    assert_eq!(output.err, "");
}

fn start_demotion(fake: &FakeCluster) {
    fake.change(|world| {
        world.controller = false;
        world.controller_leads = true;
        world.touch_site(|site| {
            site["spec"]["role"] = json!("secondary");
            site["spec"]["request"] = json!({"id": "r1", "requestedBy": "bob"});
            site["status"]["transition"] = json!({
                "id": "r1", "from": "primary", "to": "secondary", "epoch": 4, "requestedBy": "bob",
                "startedAt": "2026-03-01T12:00:00Z", "steps": [
                    {"name": "guards", "state": "Done"}, {"name": "traffic", "state": "Running"}]
            });
        });
    });
}

#[tokio::test(start_paused = true)]
async fn a_transition_is_followed_to_its_end() {
    let fake = FakeCluster::settled(Role::Primary);
    start_demotion(&fake);
    let mut reads = 0;
    fake.fail(move |method, path, world| {
        reads += usize::from(*method == Method::GET && path.ends_with("/sites/cluster"));
        if reads == 4 {
            world.controller = true;
            world.touch_site(|site| site["status"]["transition"] = json!(null));
        }
        None
    });
    let output = fake_cluster::run(&fake, async |session| follow(session, None).await).await;
    assert!(output.result.is_ok(), "{:?}", output.result);
    assert_eq!(
        output.err,
        "site east: demotion 1/2 guards: done\nsite east: demotion 2/2 traffic: done\n"
    );
}

#[tokio::test(start_paused = true)]
async fn following_stops_at_the_timeout() {
    let fake = FakeCluster::settled(Role::Primary);
    start_demotion(&fake);
    let timeout = Some(Duration::from_secs(5));
    let output = fake_cluster::run(&fake, async |session| {
        let result = follow(session, timeout).await;
        (result, session.interrupted())
    })
    .await;
    let (result, interrupted) = output.result;
    let failure = result.unwrap_err();
    assert_eq!(failure.exit, ExitCode::TimedOut);
    assert_eq!(
        failure.message,
        "not done after 5s: it has come to step traffic"
    );
    assert_eq!(
        interrupted.message,
        "interrupted; the transition continues: kubectl failover status -w"
    );
}
