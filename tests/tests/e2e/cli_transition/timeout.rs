//! A command that times out, and the override that lets the transition continue.

use failover_core::api::Phase;
use serde_json::{Value, json};
use testbed::eventually;
use testbed::site::{Deadlines, Options, Site, assert_names, assert_role_change, waits_for};

use super::{DEMOTE, assert_contains, finish, history, spawn, with_application};

async fn until_phase(site: &Site, wanted: Phase) {
    eventually(&format!("phase {wanted:?}"), || async {
        let status = site.status().await;
        if status.phase == Some(wanted) {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
}

/// A demotion with this override.
fn overriding(given: &str) -> Vec<&str> {
    [DEMOTE, &["--override", given]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_names_what_blocks_the_transition_and_the_command_that_lets_it_continue() {
    let site = Site::start(Options {
        nodes: 1,
        deadlines: Deadlines {
            pods_gone: "8s",
            ..Deadlines::default()
        },
        ..Options::default()
    })
    .await
    .unwrap();
    with_application(&site).await;
    site.freeze_kubelets();
    let short = [DEMOTE, &["--timeout", "4s"]].concat();
    let late = site.failure(&short, 4).await;
    assert_eq!(late["reason"], "TimedOut");
    assert_names(&late["message"], &["podsGone"]);
    let web = waits_for(&late, "pods-running", "shop/deployments/web");
    assert_contains(web, " web-");
    // It is not blocked yet, so there is nothing to override.
    assert_names(&late["next"], &["kubectl failover status -w"]);
    let first = site.stored().await.spec.request.unwrap().id;

    // No such guard; a guard of promotions; and two guards that could block but do not, which only the status shows.
    let no_guard = site.failure(&overriding("pods-runing"), 2).await;
    assert_eq!(no_guard["reason"], "Usage");
    assert_names(&no_guard["message"], &["pods-runing", "pods-running"]);
    assert_eq!(no_guard["next"], json!(null), "{no_guard:#}");
    for (given, depends_on_the_site) in [
        ("peer-unknown", false),
        ("no-enforcement", true),
        ("uncovered-workloads=shop/pods/web", true),
    ] {
        let unneeded = site.failure(&overriding(given), 2).await;
        assert_eq!(unneeded["reason"], "Usage");
        assert_names(&unneeded["message"], &[given]);
        let next = unneeded["next"].as_str().unwrap();
        let sends_there = next.contains("kubectl failover status");
        assert_eq!(sends_there, depends_on_the_site, "{unneeded:#}");
    }
    assert_eq!(site.stored().await.spec.request.unwrap().id, first);

    // The same request again joins the running transition. That stalls; the command reports it at once and keeps following.
    let join = spawn(&site, &[DEMOTE, &["--timeout", "30s"]].concat());
    until_phase(&site, Phase::Stalled).await;
    let shown = site.failover(&["status"]).await.expect(0);
    assert_contains(&shown.stdout, "! podsGone");
    let way_on =
        "kubectl failover demote --override pods-running=shop/deployments/web --reason TEXT";
    assert_contains(&shown.stdout, way_on);
    let arguments = [
        "demote",
        "--override",
        "pods-running=shop/deployments/web",
        "--reason",
        "its node is off",
        "--yes",
    ];
    assert_role_change(&site.document(&arguments).await, "secondary", "Done");
    let joined = finish(join).await.expect(1);
    assert_contains(&joined.stderr, "podsGone: blocked");
    assert_contains(&joined.stderr, way_on);
    assert_names(&joined.failure()["message"], &["admin", "its node is off"]);

    let history = history(&site).await;
    let entry_of = |i: usize| {
        let change = &history[i];
        (
            change["reason"].as_str().unwrap().to_owned(),
            change["outcome"].as_str().unwrap().to_owned(),
            change["overrides"].clone(),
        )
    };
    assert_eq!(
        entry_of(0),
        (
            "its node is off".to_owned(),
            "Succeeded".to_owned(),
            serde_json::json!(["pods-running=shop/deployments/web"])
        )
    );
    assert_eq!(
        entry_of(1),
        ("drill".to_owned(), "Superseded".to_owned(), Value::Null)
    );
}
