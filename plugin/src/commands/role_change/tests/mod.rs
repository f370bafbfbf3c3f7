//! The whole command against a cluster of a few lines: what is written, what is said, and how it ends.

mod on_the_way;

use clap::Parser as _;
use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::cli::{Cli, Command};
use crate::exit_code::ExitCode;
use crate::fake_cluster::{self, FakeCluster, Fault, Ran, layers};

async fn command(fake: &FakeCluster, words: &[&str]) -> Ran<Result<(), Failure>> {
    let line = ["kubectl-failover"].iter().chain(words).chain(&["--yes"]);
    let (role, args, batch) = match Cli::try_parse_from(line).unwrap().command {
        Command::Promote(args) => (Role::Primary, args.switch, args.batch.consent()),
        Command::Demote(args) => (Role::Secondary, args.switch, BatchConsent::default()),
        other => panic!("{other:?}"),
    };
    let said = Box::pin(fake_cluster::run(fake, async |session| {
        run(session, role, &args, batch).await
    }))
    .await;
    // Whatever goes wrong, nothing else may look like success.
    if said.result.is_err() {
        assert_eq!(said.out, "", "a failure says nothing on stdout");
    }
    said
}

fn exit(said: &Ran<Result<(), Failure>>) -> ExitCode {
    said.result
        .as_ref()
        .map_or_else(|failure| failure.exit, |()| ExitCode::Done)
}

fn failure(said: Ran<Result<(), Failure>>) -> String {
    said.result.unwrap_err().to_string()
}

fn orders(fake: &FakeCluster) -> Vec<Value> {
    fake.writes()
        .into_iter()
        .filter(|write| write.method == Method::PATCH)
        .map(|write| write.body)
        .collect()
}

const PROMOTE: [&str; 5] = ["promote", "--override", "peer-unknown", "--reason", "drill"];

#[tokio::test(start_paused = true)]
async fn a_promotion_is_ordered_followed_verified_and_only_then_reported() {
    let fake = FakeCluster::settled(Role::Secondary);
    let said = command(&fake, &PROMOTE).await;
    assert_eq!(exit(&said), ExitCode::Done, "{:?}", said.result);
    assert!(
        said.out.starts_with("site east promoted to primary in "),
        "{}",
        said.out
    );
    assert!(
        said.out
            .ends_with(": 1 object changed, 1 object verified in 1 namespace\n"),
        "{}",
        said.out
    );
    assert!(
        said.err
            .contains("changes 1 of 1 object in 1 namespace (workloads 1)"),
        "{}",
        said.err
    );
    let spec = fake.spec();
    assert_eq!(
        (&spec["role"], &spec["epoch"]),
        (&json!("primary"), &json!(5))
    );
    assert_eq!(spec["request"]["requestedBy"], "alice");
    assert_eq!(spec["request"]["reason"], "drill");
    assert_eq!(spec["request"]["overrides"], json!(["peer-unknown"]));
    assert_eq!(fake.deployment()["spec"]["replicas"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_demotion_keeps_the_epoch() {
    let fake = FakeCluster::settled(Role::Primary);
    let said = command(&fake, &["demote"]).await;
    assert_eq!(exit(&said), ExitCode::Done, "{:?}", said.result);
    assert!(
        said.out.starts_with("site east demoted to secondary in "),
        "{}",
        said.out
    );
    assert_eq!(fake.spec()["epoch"], 4);
    assert_eq!(fake.deployment()["spec"]["replicas"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_promotion_has_nothing_to_do() {
    let fake = FakeCluster::settled(Role::Primary);
    let said = command(&fake, &["promote"]).await;
    assert_eq!(exit(&said), ExitCode::Done);
    assert_eq!(
        said.out,
        "site east is already primary: nothing to do (1 object verified in 1 namespace)\n"
    );
    assert!(fake.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_holds_lets_nothing_be_written() {
    let fake = FakeCluster::settled(Role::Secondary);
    let said = command(&fake, &["promote"]).await;
    assert_eq!(exit(&said), ExitCode::Refused);
    assert!(failure(said).contains("guard peer-unknown"));
    assert!(fake.writes().is_empty());

    fake.change(|world| {
        world.remove_webhook();
    });
    let said = command(&fake, &PROMOTE).await;
    assert_eq!(exit(&said), ExitCode::Refused);
    assert!(failure(said).contains("guard no-enforcement"));
    assert!(orders(&fake).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_can_never_agree_holds_it_before_it_starts() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| world.deployment()["spec"]["replicas"] = json!("three"));
    let said = command(&fake, &["demote"]).await;
    assert_eq!(exit(&said), ExitCode::Refused);
    assert!(failure(said).contains("guard not-conforming (shop/deployments/web)"));
    assert!(orders(&fake).is_empty());
}

#[tokio::test(start_paused = true)]
async fn dry_runs_change_nothing() {
    let fake = FakeCluster::settled(Role::Primary);
    let said = command(&fake, &["demote", "--dry-run"]).await;
    assert_eq!(
        said.out,
        "site east would be demoted to secondary (dry run): 1 object would change\n"
    );
    assert!(fake.writes().is_empty());

    let said = command(&fake, &["demote", "--dry-run=server", "-o", "json"]).await;
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(document["outcome"], "DryRun");
    let sent = fake.writes().pop().unwrap();
    assert!(
        sent.query.contains("dryRun=All") && sent.query.contains("fieldManager=kubectl-failover"),
        "{}",
        sent.query
    );
    assert_eq!(fake.spec()["role"], "primary");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_waited_for_is_not_called_done() {
    let fake = FakeCluster::settled(Role::Primary);
    let said = command(&fake, &["demote", "--wait=false"]).await;
    assert_eq!(
        said.out,
        "demotion of site east requested, not waiting for it: kubectl failover status -w\n"
    );
}

#[tokio::test(start_paused = true)]
async fn a_site_that_is_written_meanwhile_is_looked_at_again() {
    let fake = FakeCluster::settled(Role::Primary);
    let mut once = true;
    fake.fail(move |method, path, world| {
        if *method == Method::PATCH && path.ends_with("/sites/cluster") && std::mem::take(&mut once)
        {
            world.touch_site(|site| site["metadata"]["labels"] = json!({"a": "b"}));
        }
        None
    });
    let said = command(&fake, &["demote"]).await;
    assert_eq!(exit(&said), ExitCode::Done, "{:?}", said.result);
    let orders = orders(&fake);
    assert_eq!(orders.len(), 2);
    assert_ne!(
        orders[0][0]["value"], orders[1][0]["value"],
        "decided on another version"
    );
}

#[tokio::test(start_paused = true)]
async fn somebody_who_orders_the_same_first_is_joined() {
    let fake = FakeCluster::settled(Role::Primary);
    let mut once = true;
    fake.fail(move |method, path, world| {
        if *method == Method::PATCH && path.ends_with("/sites/cluster") && std::mem::take(&mut once)
        {
            world.touch_site(|site| {
                site["spec"]["role"] = json!("secondary");
                site["spec"]["request"] = json!({"id": "bobs", "requestedBy": "bob"});
            });
            world.controller = false;
        }
        if *method == Method::GET && path.contains("leases") {
            world.controller = true;
        }
        None
    });
    let said = command(&fake, &["demote", "-o", "json"]).await;
    assert_eq!(exit(&said), ExitCode::Done, "{:?}", said.result);
    assert!(
        said.err.contains("the demotion is already requested"),
        "{}",
        said.err
    );
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(document["requestId"], "bobs");
}

#[tokio::test(start_paused = true)]
async fn the_glass_is_not_broken_while_a_controller_leads() {
    let fake = FakeCluster::settled(Role::Primary);
    let said = command(&fake, &["demote", "--break-glass"]).await;
    assert_eq!(exit(&said), ExitCode::Refused);
    assert!(failure(said).contains("a controller leads"));
    assert_eq!(orders(&fake), [Value::Null; 0]);
}

#[tokio::test(start_paused = true)]
async fn without_a_controller_the_order_stands_and_is_not_called_done() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| world.controller = false);
    let said = command(&fake, &["demote", "--timeout", "30s"]).await;
    assert_eq!(exit(&said), ExitCode::TimedOut);
    assert!(
        said.err
            .contains("no controller leads: the request is stored"),
        "{}",
        said.err
    );
    let failure = failure(said);
    assert!(
        failure.contains("but no controller leads after 30s"),
        "{failure}"
    );
    assert_eq!(fake.spec()["role"], "secondary");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_goes_away_leaves_it_open() {
    let fake = FakeCluster::settled(Role::Primary);
    let mut ordered = false;
    fake.fail(move |method, path, _| {
        let fault = ordered.then_some(Fault::Refused);
        // Not what is only asked, as a dry run.
        ordered |= *method == Method::PATCH && path.contains("/sites/");
        fault
    });
    let said = command(&fake, &["demote", "--timeout", "30s"]).await;
    assert_eq!(exit(&said), ExitCode::TimedOut);
    assert!(said.err.contains("does not answer"), "{}", said.err);
    assert!(
        failure(said).contains("it is unknown whether the demotion of site east is carried out")
    );
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_at_first_changes_nothing() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.fail(|_, _, _| Some(Fault::Refused));
    let said = command(&fake, &["demote"]).await;
    assert_eq!(exit(&said), ExitCode::Error);
    assert!(fake.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_comes_back_is_followed_on() {
    let fake = FakeCluster::settled(Role::Primary);
    let (mut ordered, mut refusals) = (false, 8);
    fake.fail(move |method, path, _| {
        let fault = (ordered && refusals > 0).then(|| {
            refusals -= 1;
            // One that starts refuses what it allows a moment later.
            if refusals < 3 {
                Fault::Status(403)
            } else {
                Fault::Refused
            }
        });
        // Not what is only asked, as a dry run.
        ordered |= *method == Method::PATCH && path.contains("/sites/");
        fault
    });
    let said = command(&fake, &["demote"]).await;
    assert_eq!(exit(&said), ExitCode::Done, "{:?}", said.result);
    assert!(
        said.err.contains("the API server answers again"),
        "{}",
        said.err
    );
}

#[tokio::test(start_paused = true)]
async fn an_order_whose_answer_is_lost_is_looked_for() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.fail(|method, path, _| {
        (*method == Method::PATCH && path.ends_with("/sites/cluster")).then_some(Fault::AnswerLost)
    });
    let said = command(&fake, &["demote"]).await;
    assert_eq!(exit(&said), ExitCode::Done, "{:?}", said.result);
    assert!(
        said.err.contains("checking whether the request was stored"),
        "{}",
        said.err
    );
    assert_eq!(orders(&fake).len(), 1, "an order is never sent twice");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_was_never_sent_needs_no_looking_for() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.fail(|method, path, _| {
        (*method == Method::PATCH && path.ends_with("/sites/cluster")).then_some(Fault::Refused)
    });
    let said = command(&fake, &["demote"]).await;
    assert_eq!(exit(&said), ExitCode::Error);
    assert!(!said.err.contains("finding out"), "{}", said.err);
    assert!(failure(said).contains("nothing was changed"));
}

#[tokio::test(start_paused = true)]
async fn an_order_that_was_not_stored_after_all_changed_nothing() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.fail(|method, path, _| {
        (*method == Method::PATCH && path.ends_with("/sites/cluster")).then_some(Fault::Status(503))
    });
    let said = command(&fake, &["demote"]).await;
    assert_eq!(exit(&said), ExitCode::Error);
    assert!(failure(said).contains("nothing was changed"));
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_calls_it_done_is_not_believed() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| world.overlooked.push("web".to_owned()));
    let said = command(&fake, &["demote", "--timeout", "20s"]).await;
    assert_eq!(exit(&said), ExitCode::Partial);
    let failure = failure(said);
    assert!(
        failure.contains("1 object not conforming to the role"),
        "{failure}"
    );
    assert!(failure.contains("\n  shop/deployments/web\n"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_listed_is_not_called_verified() {
    let fake = FakeCluster::settled(Role::Primary);
    let mut ordered = false;
    fake.fail(move |method, path, _| {
        // Not what is only asked, as a dry run.
        ordered |= *method == Method::PATCH && path.contains("/sites/");
        (ordered && path.ends_with("/deployments")).then_some(Fault::Status(403))
    });
    let said = command(&fake, &["demote"]).await;
    assert_eq!(exit(&said), ExitCode::Partial);
    assert!(failure(said).contains("deployments.apps in namespace shop"));
}

#[tokio::test(start_paused = true)]
async fn another_order_that_takes_its_place_is_named() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| world.controller = false);
    fake.fail(|method, path, world| {
        if *method == Method::GET && path.contains("leases") {
            world.touch_site(|site| {
                site["spec"]["role"] = json!("primary");
                site["spec"]["request"] =
                    json!({"id": "bobs", "requestedBy": "bob", "reason": "no!"});
            });
        }
        None
    });
    let said = command(&fake, &["demote"]).await;
    assert_eq!(exit(&said), ExitCode::Error);
    assert!(failure(said).contains("a request to become primary by bob: no! superseded"));
}

#[tokio::test(start_paused = true)]
async fn objects_that_hold_it_half_way_make_it_partial() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| {
        world.controller = false;
        world.controller_leads = true;
    });
    fake.fail(|method, path, world| {
        if *method == Method::GET && path.contains("leases") {
            world.touch_site(|site| {
                let id = site["spec"]["request"]["id"].clone();
                site["status"]["phase"] = json!("Stalled");
                site["status"]["layers"] = layers(Role::Secondary);
                site["status"]["transition"] = json!({
                    "id": id, "from": "primary", "to": "secondary", "epoch": 4, "startedAt": "2026-03-01T12:00:00Z",
                    "steps": [{"name": "workloads", "state": "Blocked", "total": 2, "done": 1, "blocked": [
                        {"guard": "not-conforming", "object": "shop/deployments/web", "message": "refused by \u{1b}[1mme"}
                    ]}]
                });
            });
        }
        None
    });
    let said = command(&fake, &["demote", "--timeout", "20s"]).await;
    assert_eq!(exit(&said), ExitCode::Partial);
    let held = "not-conforming (shop/deployments/web): refused by \\u{1b}[1mme";
    assert_eq!(said.err.matches(held).count(), 1, "told once: {}", said.err);
    assert!(failure(said).contains(held));
}

#[tokio::test(start_paused = true)]
async fn a_site_that_is_deleted_meanwhile_is_an_error() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.fail(|method, path, world| {
        if *method == Method::GET && path.contains("leases") {
            world.remove_site();
        }
        None
    });
    fake.change(|world| world.controller = false);
    let said = command(&fake, &["demote"]).await;
    assert_eq!(exit(&said), ExitCode::Error);
    assert!(failure(said).contains("the Site was deleted"));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_a_site_says_how_to_found_one() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| {
        world.remove_site();
    });
    let said = command(&fake, &["demote"]).await;
    assert_eq!(exit(&said), ExitCode::Error);
    assert!(failure(said).contains("kubectl failover install --site-name"));
}
