//! Requests whose transition is blocked, paused, aborted or interrupted.

use super::*;

/// Makes the controller stop at this step of every request.
fn controller_stops_at(fake: &FakeCluster, step: Value) {
    fake.change(|world| world.controller = false);
    fake.fail(move |method, path, world| {
        if *method == Method::GET && path.contains("leases") {
            world.controller_leads = true;
            let step = step.clone();
            world.touch_site(|site| {
                let (id, to) = (site["spec"]["request"]["id"].clone(), site["spec"]["role"].clone());
                site["status"]["phase"] = json!("Demoting");
                site["status"]["transition"] = json!({
                    "id": id, "from": "primary", "to": to, "epoch": 4, "startedAt": "2026-03-01T12:00:00Z",
                    "steps": [{"name": "guards", "state": "Done"}, step]
                });
            });
        }
        None
    });
}

fn pods_gone(state: &str) -> Value {
    json!({
        "name": "podsGone", "state": state, "total": 2, "done": 1, "activity": "Waiting", "startedAt": "2026-03-01T12:00:00Z",
        "blocked": [{"guard": "pods-running", "object": "shop/pods/db-0", "message": "it is being ended"}]
    })
}

#[tokio::test(start_paused = true)]
async fn what_a_walk_waited_for_when_time_was_over_is_named() {
    let fake = FakeCluster::settled(Role::Primary);
    controller_stops_at(&fake, pods_gone("Running"));
    let output = command(&fake, &["demote", "--timeout", "20s"]).await;
    assert_eq!(exit(&output), ExitCode::TimedOut);
    insta::assert_snapshot!(failure(output));
}

#[tokio::test(start_paused = true)]
async fn a_blocked_transition_is_followed_and_the_override_command_is_named() {
    let fake = FakeCluster::settled(Role::Primary);
    controller_stops_at(&fake, pods_gone("Blocked"));
    let output = command(&fake, &["demote", "--timeout", "20s"]).await;
    assert_eq!(exit(&output), ExitCode::TimedOut);
    let order = "kubectl failover demote --override pods-running=shop/pods/db-0 --reason TEXT";
    assert_eq!(
        output.err.matches(order).count(),
        1,
        "reported once, at once: {}",
        output.err
    );
    let failure = failure(output);
    assert!(
        failure.contains("it is blocked at step podsGone"),
        "{failure}"
    );
    assert!(failure.contains(order), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_site_that_is_paused_during_a_transition_is_reported_as_paused() {
    let fake = FakeCluster::settled(Role::Primary);
    let mut ordered = false;
    fake.change(|world| world.controller = false);
    fake.fail(move |method, path, world| {
        ordered |= *method == Method::PATCH;
        if ordered && path.contains("leases") {
            world.touch_site(|site| {
                site["spec"]["paused"] = json!({"by": "bob", "reason": "look first"});
            });
        }
        None
    });
    let output = command(&fake, &["demote", "--timeout", "20s"]).await;
    assert_eq!(exit(&output), ExitCode::TimedOut);
    assert!(
        output.err.contains("site east: paused by bob: look first"),
        "{}",
        output.err
    );
    let failure = failure(output);
    assert!(
        failure.contains("is not done after 20s: the site is paused by bob: look first"),
        "{failure}"
    );
    assert!(failure.ends_with("kubectl failover resume"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_running_transition_is_aborted_by_a_request_for_the_other_role() {
    let fake = FakeCluster::settled(Role::Secondary);
    fake.change(|world| {
        world.controller = false;
        world.touch_site(|site| {
            site["spec"]["role"] = json!("primary");
            site["spec"]["epoch"] = json!(5);
            site["spec"]["request"] = json!({"id": "r1", "requestedBy": "bob"});
            site["status"]["layers"]["volumes"] = json!("primary");
        });
    });
    fake.fail(|method, _, world| {
        // The transition must still be running at the first read.
        world.controller |= *method == Method::PATCH;
        None
    });
    let output = command(&fake, &["promote", "--abort", "--reason", "wrong volumes"]).await;
    assert_eq!(exit(&output), ExitCode::Done, "{:?}", output.result);
    assert!(
        output
            .out
            .starts_with("site east: promotion aborted, demoted to secondary in "),
        "{}",
        output.out
    );
    let spec = fake.spec();
    assert_eq!(
        (&spec["role"], &spec["epoch"]),
        (&json!("secondary"), &json!(5))
    );
    assert_ne!(spec["request"]["id"], "r1");
    assert_eq!(spec["request"]["reason"], "wrong volumes");
}

#[tokio::test(start_paused = true)]
async fn a_transition_that_is_not_running_cannot_be_aborted() {
    let fake = FakeCluster::settled(Role::Primary);
    let output = command(&fake, &["promote", "--abort", "--reason", "x"]).await;
    assert_eq!(exit(&output), ExitCode::Refused);
    assert!(orders(&fake).is_empty());
}

#[tokio::test(start_paused = true)]
async fn consent_to_batch_work_is_part_of_the_request() {
    let fake = FakeCluster::settled(Role::Secondary);
    let line = [&PROMOTE[..], &["--run-missed", "--run-held-jobs"]].concat();
    let output = command(&fake, &line).await;
    assert_eq!(exit(&output), ExitCode::Done, "{:?}", output.result);
    let request = &fake.spec()["request"];
    assert_eq!(
        (&request["runMissed"], &request["runHeldJobs"]),
        (&json!(true), &json!(true))
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_not_suspended_since_its_creation_is_refused() {
    let fake = FakeCluster::settled(Role::Secondary);
    let line = [&PROMOTE[..], &["--run-held-jobs=shop/import"]].concat();
    let output = command(&fake, &line).await;
    assert_eq!(exit(&output), ExitCode::Usage, "{:?}", output.result);
    assert!(orders(&fake).is_empty());
}

#[tokio::test(start_paused = true)]
async fn consent_after_the_promotion_causes_a_warning() {
    let fake = FakeCluster::settled(Role::Primary);
    let output = command(&fake, &["promote", "--run-held-jobs=shop/import"]).await;
    assert_eq!(exit(&output), ExitCode::Done, "{:?}", output.result);
    assert!(
        output.err.contains("--run-held-jobs has no effect"),
        "{}",
        output.err
    );
    assert!(orders(&fake).is_empty());
}

#[tokio::test(start_paused = true)]
async fn unsafe_mode_causes_a_warning_and_applies_to_one_request() {
    let fake = FakeCluster::settled(Role::Primary);
    let output = command(&fake, &["demote", "--mode", "unsafe", "--reason", "now"]).await;
    assert_eq!(exit(&output), ExitCode::Done, "{:?}", output.result);
    assert!(
        output
            .err
            .contains("warning: mode unsafe: all layers move at once"),
        "{}",
        output.err
    );
    assert_eq!(fake.spec()["mode"], "unsafe");
    let output = command(&fake, &PROMOTE).await;
    assert_eq!(exit(&output), ExitCode::Done, "{:?}", output.result);
    assert_eq!(fake.spec()["mode"], "safe");
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_command_says_that_the_transition_continues() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| world.controller = false);
    let line = ["kubectl-failover", "demote", "--yes"];
    let Command::Demote(args) = Cli::try_parse_from(line).unwrap().command else {
        panic!("not a demotion");
    };
    let output = Box::pin(fake_cluster::run(&fake, async |session| {
        let before = session.interrupted();
        let demote = run(
            session,
            Role::Secondary,
            &args.switch,
            BatchConsent::default(),
        );
        tokio::time::timeout(std::time::Duration::from_secs(5), demote)
            .await
            .unwrap_err();
        [before, session.interrupted()]
    }))
    .await;
    assert_eq!(
        output
            .result
            .map(|failure| (failure.exit, failure.to_string())),
        [
            (
                ExitCode::Interrupted,
                "interrupted: nothing was changed".to_owned()
            ),
            (
                ExitCode::Interrupted,
                "interrupted; the transition continues: kubectl failover status -w".to_owned()
            ),
        ]
    );
}
