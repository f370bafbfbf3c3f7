//! The whole command against a fake cluster: its writes, its output and its exit code.

mod on_the_way;
mod unavailable;

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
    let output = Box::pin(fake_cluster::run(fake, async |session| {
        run(session, role, &args, batch).await
    }))
    .await;
    // A failure must not look like a success.
    if output.result.is_err() {
        assert_eq!(output.out, "", "a failure prints nothing on stdout");
    }
    output
}

fn exit(output: &Ran<Result<(), Failure>>) -> ExitCode {
    output
        .result
        .as_ref()
        .map_or_else(|failure| failure.exit, |()| ExitCode::Done)
}

fn failure(output: Ran<Result<(), Failure>>) -> String {
    output.result.unwrap_err().to_string()
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
async fn a_promotion_is_requested_followed_verified_and_only_then_reported() {
    let fake = FakeCluster::settled(Role::Secondary);
    let output = command(&fake, &PROMOTE).await;
    assert_eq!(exit(&output), ExitCode::Done, "{:?}", output.result);
    assert!(
        output.out.starts_with("site east promoted to primary in "),
        "{}",
        output.out
    );
    assert!(
        output
            .out
            .ends_with(": 1 object changed, 1 object verified in 1 namespace\n"),
        "{}",
        output.out
    );
    assert!(
        output
            .err
            .contains("changes 1 of 1 object in 1 namespace (workloads 1)"),
        "{}",
        output.err
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
    let output = command(&fake, &["demote"]).await;
    assert_eq!(exit(&output), ExitCode::Done, "{:?}", output.result);
    assert!(
        output.out.starts_with("site east demoted to secondary in "),
        "{}",
        output.out
    );
    assert_eq!(fake.spec()["epoch"], 4);
    assert_eq!(fake.deployment()["spec"]["replicas"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_promotion_has_nothing_to_do() {
    let fake = FakeCluster::settled(Role::Primary);
    let output = command(&fake, &["promote"]).await;
    assert_eq!(exit(&output), ExitCode::Done);
    assert_eq!(
        output.out,
        "site east is already primary: nothing to do (1 object verified in 1 namespace)\n"
    );
    assert!(fake.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_blocking_guard_prevents_all_writes() {
    let fake = FakeCluster::settled(Role::Secondary);
    let output = command(&fake, &["promote"]).await;
    assert_eq!(exit(&output), ExitCode::Refused);
    assert!(failure(output).contains("guard peer-unknown"));
    assert!(fake.writes().is_empty());

    fake.change(|world| {
        world.remove_webhook();
    });
    let output = command(&fake, &PROMOTE).await;
    assert_eq!(exit(&output), ExitCode::Refused);
    assert!(failure(output).contains("guard no-enforcement"));
    assert!(orders(&fake).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_can_never_conform_blocks_before_the_request() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| world.deployment()["spec"]["replicas"] = json!("three"));
    let output = command(&fake, &["demote"]).await;
    assert_eq!(exit(&output), ExitCode::Refused);
    assert!(failure(output).contains("guard not-conforming (shop/deployments/web)"));
    assert!(orders(&fake).is_empty());
}

#[tokio::test(start_paused = true)]
async fn dry_runs_change_nothing() {
    let fake = FakeCluster::settled(Role::Primary);
    let output = command(&fake, &["demote", "--dry-run"]).await;
    assert_eq!(
        output.out,
        "site east would be demoted to secondary (dry run): 1 object would change\n"
    );
    assert!(fake.writes().is_empty());

    let output = command(&fake, &["demote", "--dry-run=server", "-o", "json"]).await;
    let document: Value = serde_json::from_str(&output.out).unwrap();
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
async fn without_wait_a_demotion_is_reported_as_requested() {
    let fake = FakeCluster::settled(Role::Primary);
    let output = command(&fake, &["demote", "--wait=false"]).await;
    assert_eq!(
        output.out,
        "demotion of site east requested, not waiting for it: kubectl failover status -w\n"
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_conflict_on_the_site_leads_to_a_new_decision() {
    let fake = FakeCluster::settled(Role::Primary);
    let mut once = true;
    fake.fail(move |method, path, world| {
        if *method == Method::PATCH && path.ends_with("/sites/cluster") && std::mem::take(&mut once)
        {
            world.touch_site(|site| site["metadata"]["labels"] = json!({"a": "b"}));
        }
        None
    });
    let output = command(&fake, &["demote"]).await;
    assert_eq!(exit(&output), ExitCode::Done, "{:?}", output.result);
    let orders = orders(&fake);
    assert_eq!(orders.len(), 2);
    assert_ne!(
        orders[0][0]["value"], orders[1][0]["value"],
        "decided on another version"
    );
}

#[tokio::test(start_paused = true)]
async fn a_concurrent_request_for_the_same_role_is_joined() {
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
    let output = command(&fake, &["demote", "-o", "json"]).await;
    assert_eq!(exit(&output), ExitCode::Done, "{:?}", output.result);
    assert!(
        output.err.contains("the demotion is already requested"),
        "{}",
        output.err
    );
    let document: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!(document["requestId"], "bobs");
}

#[tokio::test(start_paused = true)]
async fn break_glass_is_refused_while_a_controller_leads() {
    let fake = FakeCluster::settled(Role::Primary);
    let output = command(&fake, &["demote", "--break-glass"]).await;
    assert_eq!(exit(&output), ExitCode::Refused);
    assert!(failure(output).contains("a controller leads"));
    assert_eq!(orders(&fake), [Value::Null; 0]);
}

#[tokio::test(start_paused = true)]
async fn objects_are_verified_after_the_controller_reports_success() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| world.overlooked.push("web".to_owned()));
    let output = command(&fake, &["demote", "--timeout", "20s"]).await;
    assert_eq!(exit(&output), ExitCode::Partial);
    let failure = failure(output);
    assert!(
        failure.contains("1 object not conforming to the role"),
        "{failure}"
    );
    assert!(failure.contains("\n  shop/deployments/web\n"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_list_makes_the_result_partial() {
    let fake = FakeCluster::settled(Role::Primary);
    let mut ordered = false;
    fake.fail(move |method, path, _| {
        // Not the dry-run writes of the preview.
        ordered |= *method == Method::PATCH && path.contains("/sites/");
        (ordered && path.ends_with("/deployments")).then_some(Fault::Status(403))
    });
    let output = command(&fake, &["demote"]).await;
    assert_eq!(exit(&output), ExitCode::Partial);
    assert!(failure(output).contains("deployments.apps in namespace shop"));
}

#[tokio::test(start_paused = true)]
async fn a_superseding_request_is_named() {
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
    let output = command(&fake, &["demote"]).await;
    assert_eq!(exit(&output), ExitCode::Error);
    assert!(failure(output).contains("a request to become primary by bob: no! superseded"));
}

#[tokio::test(start_paused = true)]
async fn objects_that_block_a_step_make_the_result_partial() {
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
    let output = command(&fake, &["demote", "--timeout", "20s"]).await;
    assert_eq!(exit(&output), ExitCode::Partial);
    let blocked = "not-conforming (shop/deployments/web): refused by \\u{1b}[1mme";
    assert_eq!(
        output.err.matches(blocked).count(),
        1,
        "reported once: {}",
        output.err
    );
    assert!(failure(output).contains(blocked));
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
    let output = command(&fake, &["demote"]).await;
    assert_eq!(exit(&output), ExitCode::Error);
    assert!(failure(output).contains("the Site was deleted"));
}

#[tokio::test(start_paused = true)]
async fn without_a_site_the_failure_names_the_install_command() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| {
        world.remove_site();
    });
    let output = command(&fake, &["demote"]).await;
    assert_eq!(exit(&output), ExitCode::Error);
    assert!(failure(output).contains("kubectl failover install --site-name"));
}
