use clap::Parser as _;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::cli::{Cli, Command};
use crate::exit_code::ExitCode;
use crate::fake_cluster::{self, FakeCluster, Fault, Ran};

async fn exempt(fake: &FakeCluster, words: &[&str]) -> Ran<Result<(), Failure>> {
    let line = ["kubectl-failover", "exempt", "--yes"].iter().chain(words);
    let Command::Exempt(args) = Cli::try_parse_from(line).unwrap().command else {
        panic!("not exempt");
    };
    Box::pin(fake_cluster::run(fake, async |session| {
        run(session, &args, Some("shop")).await
    }))
    .await
}

fn in_force(fake: &FakeCluster) -> Value {
    let mut objects = Value::Null;
    fake.change(|world| {
        objects = world.namespace()["metadata"]["annotations"]["failover.dev/objects"].clone();
    });
    objects
}

fn set_in_force(fake: &FakeCluster, objects: &str) {
    fake.change(|world| {
        world.namespace()["metadata"]["annotations"]["failover.dev/objects"] = json!(objects);
    });
}

#[tokio::test(start_paused = true)]
async fn on_a_secondary_it_says_what_becomes_active_and_writes_the_label_first() {
    let fake = FakeCluster::settled(Role::Secondary);
    let said = exempt(&fake, &["deployment/web", "--reason", "error page"]).await;
    said.result.unwrap();
    assert_eq!(said.out, "shop/deployments/web is exempt\n");
    assert!(
        said.err.contains("shop/deployments/web replicas 0 -> 3"),
        "{}",
        said.err
    );
    assert!(said.err.contains("this site is secondary"), "{}", said.err);
    let writes = fake.writes();
    let paths: Vec<_> = writes.iter().map(|write| write.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/apis/apps/v1/namespaces/shop/deployments/web",
            "/api/v1/namespaces/shop"
        ]
    );
    assert_eq!(
        writes[0].body["metadata"],
        json!({
            "labels": {"failover.dev/enforce": "disabled"},
            "annotations": {"failover.dev/exempt-reason": "error page"}
        })
    );
    assert_eq!(in_force(&fake), "deployments/web=exempt");
    assert_eq!(fake.deployment()["spec"]["replicas"], 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_exempt_already_is_left_as_it_is() {
    let fake = FakeCluster::settled(Role::Primary);
    exempt(&fake, &["deploy/web"]).await.result.unwrap();
    let written = fake.writes().len();
    let said = exempt(&fake, &["deploy/web"]).await;
    said.result.unwrap();
    assert_eq!(said.out, "shop/deployments/web is exempt already\n");
    assert_eq!(fake.writes().len(), written);
}

#[tokio::test(start_paused = true)]
async fn undone_on_a_secondary_it_becomes_passive() {
    let fake = FakeCluster::settled(Role::Secondary);
    exempt(&fake, &["deployment/web"]).await.result.unwrap();
    let said = exempt(&fake, &["deployment/web", "--undo"]).await;
    said.result.unwrap();
    assert_eq!(said.out, "shop/deployments/web follows its namespace\n");
    assert!(said.err.contains("replicas 3 -> 0"), "{}", said.err);
    assert_eq!(in_force(&fake), Value::Null);
    assert_eq!(fake.deployment()["spec"]["replicas"], 0);
}

#[tokio::test(start_paused = true)]
async fn undoing_lets_go_of_what_a_deleted_policy_left_in_force() {
    let fake = FakeCluster::settled(Role::Primary);
    set_in_force(&fake, "deployments/web=secondary");
    fake.change(|world| {
        world.deployment()["spec"]["replicas"] = json!(0);
        world.deployment()["metadata"]["annotations"] =
            json!({"failover.dev/restore": "{\"/spec/replicas\":3}"});
    });
    let said = exempt(&fake, &["deployment/web", "--undo"]).await;
    said.result.unwrap();
    assert!(said.err.contains("replicas 0 -> 3"), "{}", said.err);
    assert_eq!(in_force(&fake), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_writes_nothing() {
    let fake = FakeCluster::settled(Role::Secondary);
    let said = exempt(&fake, &["deployment/web", "--dry-run", "-o", "json"]).await;
    said.result.unwrap();
    assert!(fake.writes().is_empty());
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (report["dryRun"].clone(), report["changes"].clone()),
        (json!(true), json!(["shop/deployments/web replicas 0 -> 3"]))
    );
}

#[rstest]
#[case::no_object("web", ExitCode::Usage, "TYPE/NAME")]
#[case::no_rule("pod/web", ExitCode::Usage, "no rule covers \"pod\"")]
#[case::not_there("deployment/wbe", ExitCode::Error, "there is no deployments/wbe")]
#[tokio::test(start_paused = true)]
async fn what_is_not_under_the_role_cannot_be_exempt(
    #[case] object: &str,
    #[case] exit: ExitCode,
    #[case] says: &str,
) {
    let fake = FakeCluster::settled(Role::Primary);
    let failure = exempt(&fake, &[object]).await.result.unwrap_err();
    assert_eq!(failure.exit, exit);
    assert!(failure.to_string().contains(says), "{failure}");
    assert!(fake.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_policy_orders_is_not_undone_by_hand() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| {
        world.put(json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "FailoverPolicy",
            "metadata": {"namespace": "shop", "name": "east", "generation": 1},
            "spec": {"desiredState": "secondary", "managedResources": [{"kind": "Deployment", "name": "web"}]}
        }));
    });
    let failure = exempt(&fake, &["deployment/web"]).await.result.unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    assert!(failure.message.contains("FailoverPolicy east"), "{failure}");
    assert!(fake.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_somebody_else_writes_meanwhile_is_read_again() {
    let fake = FakeCluster::settled(Role::Primary);
    let mut conflicts = 0;
    fake.fail(move |method, path, world| {
        let writes = *method == http::Method::PATCH && path == "/api/v1/namespaces/shop";
        if writes && conflicts == 0 {
            conflicts += 1;
            world.namespace()["metadata"]["annotations"]["failover.dev/objects"] =
                json!("deployments/api=site");
            return Some(Fault::Status(409));
        }
        None
    });
    exempt(&fake, &["deployment/web"]).await.result.unwrap();
    assert_eq!(
        in_force(&fake),
        "deployments/api=site deployments/web=exempt"
    );
}

#[test]
fn a_cron_job_that_would_start_what_it_missed_is_named() {
    use failover_core::names::ENFORCE_LABEL;
    use failover_core::object::ObjectKey;

    let shop = crate::plan::tests::enrolled("shop", Some(Role::Secondary));
    let rules = failover_core::RuleSet::built_in();
    let selected = Selected {
        rule: rules.find("batch", "cronjobs").unwrap().clone().into(),
        key: ObjectKey {
            namespace: "shop".into(),
            resource: "cronjobs".into(),
            name: "report".into(),
        },
        object: json!({
            "metadata": {
                "name": "report",
                "labels": {ENFORCE_LABEL: "disabled"},
                "annotations": {"failover.dev/restore": "{\"/spec/suspend\":null}"},
            },
            "spec": {"schedule": "0 * * * *", "suspend": true},
            "status": {"lastScheduleTime": "2026-03-01T08:00:00Z"},
        }),
    };
    let requests = Requests {
        policies: vec![],
        rules,
        unseen: vec![],
    };
    let change = change(
        &shop,
        Some(Role::Secondary),
        &[selected],
        &std::collections::BTreeSet::new(),
        &requests,
        true,
    )
    .unwrap();
    let missed = "2026-03-01T12:00:00Z".parse().unwrap();
    assert_eq!(
        change.missed_runs("2026-03-01T12:00:30Z".parse().unwrap()),
        [("shop/cronjobs/report".to_owned(), missed)]
    );
}
