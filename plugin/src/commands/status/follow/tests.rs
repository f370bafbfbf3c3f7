use failover_core::Role;
use http::Method;
use serde_json::json;

use super::*;
use crate::exit_code::ExitCode;
use crate::fake_cluster::{self, FakeCluster};

#[tokio::test(start_paused = true)]
async fn a_settled_site_is_not_followed() {
    let fake = FakeCluster::settled(Role::Primary);
    let said = fake_cluster::run(&fake, async |session| follow(session, None).await).await;
    assert!(said.result.is_ok());
    assert_eq!(said.err, "");
}

fn walking(fake: &FakeCluster) {
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
async fn a_walk_is_followed_to_its_end() {
    let fake = FakeCluster::settled(Role::Primary);
    walking(&fake);
    let mut looks = 0;
    fake.fail(move |method, path, world| {
        looks += usize::from(*method == Method::GET && path.ends_with("/sites/cluster"));
        if looks == 4 {
            world.controller = true;
            world.touch_site(|site| site["status"]["transition"] = json!(null));
        }
        None
    });
    let said = fake_cluster::run(&fake, async |session| follow(session, None).await).await;
    assert!(said.result.is_ok(), "{:?}", said.result);
    assert_eq!(
        said.err,
        "site east: demotion 1/2 guards: done\nsite east: demotion 2/2 traffic: done\n"
    );
}

#[tokio::test(start_paused = true)]
async fn it_is_followed_no_longer_than_asked() {
    let fake = FakeCluster::settled(Role::Primary);
    walking(&fake);
    let timeout = Some(Duration::from_secs(5));
    let said = fake_cluster::run(&fake, async |session| {
        let result = follow(session, timeout).await;
        (result, session.interrupted())
    })
    .await;
    let (result, interrupted) = said.result;
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
