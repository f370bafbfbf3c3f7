//! Orders that are held, paused, turned round or interrupted on their way.

use super::*;

/// Has the controller stand still at this step of the order that it is given.
fn standing_at(fake: &FakeCluster, step: Value) {
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
    standing_at(&fake, pods_gone("Running"));
    let said = command(&fake, &["demote", "--timeout", "20s"]).await;
    assert_eq!(exit(&said), ExitCode::TimedOut);
    insta::assert_snapshot!(failure(said));
}

#[tokio::test(start_paused = true)]
async fn a_walk_that_is_held_on_its_way_is_followed_on_and_the_order_that_lets_it_go_on_is_named() {
    let fake = FakeCluster::settled(Role::Primary);
    standing_at(&fake, pods_gone("Blocked"));
    let said = command(&fake, &["demote", "--timeout", "20s"]).await;
    assert_eq!(exit(&said), ExitCode::TimedOut);
    let order = "kubectl failover demote --override pods-running=shop/pods/db-0 --reason TEXT";
    assert_eq!(
        said.err.matches(order).count(),
        1,
        "told once, at once: {}",
        said.err
    );
    let failure = failure(said);
    assert!(
        failure.contains("it is blocked at step podsGone"),
        "{failure}"
    );
    assert!(failure.contains(order), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_site_that_is_paused_in_the_middle_says_so_and_why_nothing_was_done() {
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
    let said = command(&fake, &["demote", "--timeout", "20s"]).await;
    assert_eq!(exit(&said), ExitCode::TimedOut);
    assert!(
        said.err.contains("site east: paused by bob: look first"),
        "{}",
        said.err
    );
    let failure = failure(said);
    assert!(
        failure.contains("is not done after 20s: the site is paused by bob: look first"),
        "{failure}"
    );
    assert!(failure.ends_with("kubectl failover resume"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_walk_is_turned_round_by_an_order_of_the_other_role() {
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
        // The transition must still be under way when it is checked first.
        world.controller |= *method == Method::PATCH;
        None
    });
    let said = command(&fake, &["promote", "--abort", "--reason", "wrong volumes"]).await;
    assert_eq!(exit(&said), ExitCode::Done, "{:?}", said.result);
    assert!(
        said.out
            .starts_with("site east: promotion aborted, demoted to secondary in "),
        "{}",
        said.out
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
async fn what_is_not_under_way_is_not_turned_round() {
    let fake = FakeCluster::settled(Role::Primary);
    let said = command(&fake, &["promote", "--abort", "--reason", "x"]).await;
    assert_eq!(exit(&said), ExitCode::Refused);
    assert!(orders(&fake).is_empty());
}

#[tokio::test(start_paused = true)]
async fn consent_to_batch_work_is_part_of_the_order() {
    let fake = FakeCluster::settled(Role::Secondary);
    let line = [&PROMOTE[..], &["--run-missed", "--run-held-jobs"]].concat();
    let said = command(&fake, &line).await;
    assert_eq!(exit(&said), ExitCode::Done, "{:?}", said.result);
    let request = &fake.spec()["request"];
    assert_eq!(
        (&request["runMissed"], &request["runHeldJobs"]),
        (&json!(true), &json!(true))
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_not_held_is_not_let_run() {
    let fake = FakeCluster::settled(Role::Secondary);
    let line = [&PROMOTE[..], &["--run-held-jobs=shop/import"]].concat();
    let said = command(&fake, &line).await;
    assert_eq!(exit(&said), ExitCode::Usage, "{:?}", said.result);
    assert!(orders(&fake).is_empty());
}

#[tokio::test(start_paused = true)]
async fn consent_that_comes_after_the_promotion_is_warned_about() {
    let fake = FakeCluster::settled(Role::Primary);
    let said = command(&fake, &["promote", "--run-held-jobs=shop/import"]).await;
    assert_eq!(exit(&said), ExitCode::Done, "{:?}", said.result);
    assert!(
        said.err.contains("--run-held-jobs has no effect"),
        "{}",
        said.err
    );
    assert!(orders(&fake).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_order_is_warned_about_and_does_not_stick() {
    let fake = FakeCluster::settled(Role::Primary);
    let said = command(&fake, &["demote", "--mode", "unsafe", "--reason", "now"]).await;
    assert_eq!(exit(&said), ExitCode::Done, "{:?}", said.result);
    assert!(
        said.err
            .contains("warning: mode unsafe: all layers move at once"),
        "{}",
        said.err
    );
    assert_eq!(fake.spec()["mode"], "unsafe");
    let said = command(&fake, &PROMOTE).await;
    assert_eq!(exit(&said), ExitCode::Done, "{:?}", said.result);
    assert_eq!(fake.spec()["mode"], "safe");
}

#[tokio::test(start_paused = true)]
async fn what_was_ordered_goes_on_when_it_is_interrupted() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| world.controller = false);
    let line = ["kubectl-failover", "demote", "--yes"];
    let Command::Demote(args) = Cli::try_parse_from(line).unwrap().command else {
        panic!("not a demotion");
    };
    let said = Box::pin(fake_cluster::run(&fake, async |session| {
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
        said.result
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
