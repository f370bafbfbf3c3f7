use clap::Parser as _;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::cli::{Cli, Command};
use crate::exit_code::ExitCode;
use crate::fake_cluster::{self, FakeCluster};

#[rstest]
#[case::plain(&["shop"], None)]
#[case::system(&["shop", "kube-system"], Some("is never enrolled"))]
#[case::any_kube(&["kube-flannel", "--force"], Some("is never enrolled"))]
#[case::ourselves(&["failover-system", "--force"], Some("is never enrolled"))]
#[case::sensitive(&["cert-manager"], Some("belongs to cert-manager"))]
#[case::sensitive_by_force(&["cert-manager", "--force"], None)]
#[case::flux_by_force(&["flux-system", "--force"], Some("only be enrolled for what a FailoverPolicy names"))]
#[case::flux_as_policy(&["flux-system", "--force", "--policy-only"], None)]
fn some_namespaces_are_not_enrolled(#[case] args: &[&str], #[case] refusal: Option<&str>) {
    let line = ["kubectl-failover", "enroll"].iter().chain(args);
    let Command::Enroll(args) = Cli::try_parse_from(line).unwrap().command else {
        panic!("not enroll");
    };
    match (check_usage(&args), refusal) {
        (Ok(()), None) => {}
        (Err(failure), Some(text)) => {
            assert_eq!(failure.exit, ExitCode::Refused);
            assert!(failure.message.contains(text), "{failure}");
        }
        (result, _) => panic!("{result:?}"),
    }
}

fn enroll(words: &[&str]) -> EnrollArgs {
    let line = ["kubectl-failover", "enroll", "--yes"].iter().chain(words);
    match Cli::try_parse_from(line).unwrap().command {
        Command::Enroll(args) => args,
        other => panic!("{other:?}"),
    }
}

/// A second namespace, which is not enrolled.
fn with_billing(role: Role) -> FakeCluster {
    let fake = FakeCluster::settled(role);
    fake.change(|world| {
        world.put(json!({"metadata": {"name": "billing"}}));
    });
    fake
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_labelled_on_the_version_that_was_looked_at_and_reported_once_taken_over() {
    let fake = with_billing(Role::Primary);
    let version = fake.get("/api/v1/namespaces/billing")["metadata"]["resourceVersion"].clone();
    // The controller comes a little later.
    let mut looks = 0;
    fake.fail(move |_, path, world| {
        looks += usize::from(path == "/api/v1/namespaces");
        if looks == 3 {
            world.label(Role::Primary);
        }
        None
    });
    let said = fake_cluster::run(&fake, async |session| {
        run(session, &enroll(&["billing"])).await
    })
    .await;
    said.result.unwrap();
    assert_eq!(
        said.out,
        "namespace billing enrolled: site east is primary, verified\n"
    );
    assert!(
        said.err
            .contains("waiting for the controller to take over billing"),
        "{}",
        said.err
    );
    assert_eq!(
        fake.writes()[0].body,
        json!({"metadata": {
            "resourceVersion": version,
            "labels": {"failover.dev/enforce": "enabled"},
            "annotations": {"failover.dev/unenrolled": null},
        }})
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_taken_over_is_not_called_enrolled() {
    let fake = with_billing(Role::Primary);
    let args = enroll(&["billing", "--timeout", "5s"]);
    let said = fake_cluster::run(&fake, async |session| run(session, &args).await).await;
    let failure = said.result.unwrap_err();
    assert_eq!(failure.exit, ExitCode::TimedOut);
    assert_eq!(said.out, "");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_enrolled_is_not_written_again() {
    let fake = FakeCluster::settled(Role::Primary);
    let said = fake_cluster::run(&fake, async |session| {
        run(session, &enroll(&["shop"])).await
    })
    .await;
    said.result.unwrap();
    assert_eq!(
        said.out,
        "namespace shop enrolled already: site east is primary, verified\n"
    );
    assert!(fake.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn on_a_secondary_it_shows_what_is_made_passive() {
    let fake = with_billing(Role::Secondary);
    fake.change(|world| {
        // As it was before it was enrolled.
        world.namespace()["metadata"]["labels"] = json!({});
        world.deployment()["spec"]["replicas"] = json!(2);
    });
    let args = enroll(&["shop", "--wait=false"]);
    let said = fake_cluster::run(&fake, async |session| run(session, &args).await).await;
    said.result.unwrap();
    assert!(
        said.err
            .contains("    shop/deployments/web replicas 2 -> 0\n"),
        "{}",
        said.err
    );
    assert_eq!(
        said.out,
        "namespace shop enrolled: site east is secondary, not waited for\n"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_enrolled_in_the_middle_of_a_walk_or_where_there_is_nothing() {
    let fake = with_billing(Role::Primary);
    let args = enroll(&["billing", "nowhere"]);
    let said = fake_cluster::run(&fake, async |session| run(session, &args).await).await;
    assert!(
        said.result
            .unwrap_err()
            .message
            .contains("there is no namespace nowhere")
    );
    fake.change(|world| {
        world.touch_site(|site| {
            site["status"]["transition"] = json!({
                "id": "r", "to": "secondary", "epoch": 4, "startedAt": "2026-03-01T12:00:00Z", "steps": []
            });
        });
    });
    let said = fake_cluster::run(&fake, async |session| {
        run(session, &enroll(&["billing"])).await
    })
    .await;
    assert_eq!(said.result.unwrap_err().exit, ExitCode::Refused);
    assert!(fake.writes().is_empty());
}

#[rstest]
#[case::it_would_open_what_no_policy_names(Role::Secondary, Some(ExitCode::Refused))]
#[case::on_a_primary_nothing_is_held(Role::Primary, None)]
#[tokio::test(start_paused = true)]
async fn from_all_to_what_policies_name_only_on_a_primary(
    #[case] role: Role,
    #[case] exit: Option<ExitCode>,
) {
    let fake = FakeCluster::settled(role);
    let said = fake_cluster::run(&fake, async |session| {
        run(session, &enroll(&["shop", "--policy-only", "--wait=false"])).await
    })
    .await;
    assert_eq!(said.result.err().map(|failure| failure.exit), exit);
    assert_eq!(fake.writes().is_empty(), exit.is_some());
}

/// The controller takes the newcomer over by a transition that is held.
fn taken_over_slowly(fake: &FakeCluster) {
    fake.change(|world| {
        world.namespace()["metadata"]["labels"] = json!({});
        world.deployment()["spec"]["replicas"] = json!(2);
        world.controller = false;
        world.controller_leads = true;
    });
    fake.fail(|method, _, world| {
        if *method == http::Method::PATCH {
            world.touch_site(|site| {
                site["status"]["transition"] = json!({
                    "id": "enrol-2", "to": "secondary", "epoch": 4, "startedAt": "2026-03-01T12:00:00Z",
                    "namespaces": ["shop"], "steps": [{"name": "podsGone", "state": "Blocked", "total": 1, "blocked": [
                        {"guard": "pods-running", "object": "shop/deployments/web", "message": "pod web-1"}]}]
                });
            });
        }
        None
    });
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_that_is_held_on_its_way_says_by_what() {
    let fake = with_billing(Role::Secondary);
    taken_over_slowly(&fake);
    let args = enroll(&["shop", "--timeout", "10s"]);
    let said = fake_cluster::run(&fake, async |session| run(session, &args).await).await;
    let failure = said.result.unwrap_err();
    assert_eq!(failure.exit, ExitCode::TimedOut);
    assert_eq!(
        failure.details,
        ["pods-running (shop/deployments/web): pod web-1"]
    );
    assert!(
        said.err.contains(
            "kubectl failover demote --override pods-running=shop/deployments/web --reason TEXT"
        ),
        "{}",
        said.err
    );
}

#[tokio::test(start_paused = true)]
async fn a_paused_site_takes_nobody_over_and_says_so_before_and_after() {
    let fake = with_billing(Role::Secondary);
    fake.change(|world| {
        world.namespace()["metadata"]["labels"] = json!({});
        world.touch_site(|site| site["spec"]["paused"] = json!({"by": "bob", "reason": "upgrade"}));
    });
    let args = enroll(&["shop", "--timeout", "10s"]);
    let said = fake_cluster::run(&fake, async |session| run(session, &args).await).await;
    assert!(
        said.err
            .contains("warning: site east is paused by bob: upgrade"),
        "{}",
        said.err
    );
    let failure = said.result.unwrap_err();
    assert_eq!(failure.details, ["the site is paused by bob: upgrade"]);
    assert!(failure.next.unwrap().ends_with("kubectl failover resume"));
}
