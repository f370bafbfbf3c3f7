use clap::Parser as _;
use failover_core::Role;
use serde_json::{Value, json};

use super::*;
use crate::cli::{Cli, Command};
use crate::exit_code::ExitCode;
use crate::fake_cluster::{self, FakeCluster, Ran};

async fn command(fake: &FakeCluster, words: &[&str]) -> Ran<Result<(), Failure>> {
    let line = ["kubectl-failover"].iter().chain(words);
    let command = Cli::try_parse_from(line).unwrap().command;
    fake_cluster::run(fake, async |session| match &command {
        Command::Pause(args) => pause(session, args).await,
        Command::Resume(args) => resume(session, args).await,
        other => panic!("{other:?}"),
    })
    .await
}

const PAUSE: [&str; 3] = ["pause", "--reason", "upgrade"];

#[tokio::test(start_paused = true)]
async fn a_pause_says_who_and_why_and_is_taken_up() {
    let fake = FakeCluster::settled(Role::Primary);
    let said = command(&fake, &PAUSE).await;
    assert_eq!(
        said.out, "site east paused by alice: upgrade\n",
        "{:?}",
        said.result
    );
    assert_eq!(
        fake.spec()["paused"],
        json!({"reason": "upgrade", "by": "alice"})
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_for_a_time_has_an_end_in_whole_seconds() {
    let fake = FakeCluster::settled(Role::Primary);
    let before = Timestamp::now();
    let said = command(&fake, &["pause", "--reason", "upgrade", "--for", "2h"]).await;
    assert!(said.result.is_ok());
    let until: Timestamp = fake.spec()["paused"]["until"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(until >= before + SignedDuration::from_hours(2), "{until}");
    assert_eq!(until.subsec_nanosecond(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_newer_pause_takes_the_place_of_an_older_one_whole() {
    let fake = FakeCluster::settled(Role::Primary);
    command(&fake, &["pause", "--reason", "first", "--for", "2h"]).await;
    let said = command(&fake, &PAUSE).await;
    assert!(
        said.out.contains("before, it was paused by alice until"),
        "{}",
        said.out
    );
    assert_eq!(
        fake.spec()["paused"],
        json!({"reason": "upgrade", "by": "alice"})
    );
}

#[tokio::test(start_paused = true)]
async fn resuming_takes_the_pause_off_and_says_what_goes_on() {
    let fake = FakeCluster::settled(Role::Primary);
    command(&fake, &PAUSE).await;
    fake.change(|world| {
        world.touch_site(|site| {
            site["spec"]["role"] = json!("secondary");
            site["spec"]["request"] = json!({"id": "r1", "requestedBy": "bob"});
        });
    });
    let said = command(&fake, &["resume"]).await;
    assert_eq!(
        said.out,
        "site east resumed (it was paused by alice: upgrade); the demotion goes on: kubectl failover status -w\n"
    );
    assert_eq!(fake.spec()["paused"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_site_that_is_not_paused_is_left_alone() {
    let fake = FakeCluster::settled(Role::Primary);
    let said = command(&fake, &["resume"]).await;
    assert_eq!(said.out, "site east is not paused: nothing to do\n");
    assert!(fake.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn dry_runs_change_nothing() {
    let fake = FakeCluster::settled(Role::Primary);
    let said = command(&fake, &["pause", "--reason", "x", "--dry-run"]).await;
    assert_eq!(said.out, "site east would be paused by alice: x\n");
    command(&fake, &["pause", "--reason", "x", "--dry-run=server"]).await;
    assert_eq!(fake.spec()["paused"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn without_a_controller_the_pause_stands_and_is_not_called_done() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| world.controller = false);
    let said = command(&fake, &PAUSE).await;
    assert_eq!(said.out, "");
    let failure = said.result.unwrap_err();
    assert_eq!(failure.exit, ExitCode::TimedOut);
    assert!(
        failure
            .message
            .contains("the controller has not observed it after 30s"),
        "{failure}"
    );
    assert_eq!(fake.spec()["paused"]["reason"], "upgrade");
}

#[tokio::test(start_paused = true)]
async fn a_site_that_is_written_meanwhile_is_read_again() {
    let fake = FakeCluster::settled(Role::Primary);
    let mut once = true;
    fake.fail(move |method, _, world| {
        if *method == http::Method::PATCH && std::mem::take(&mut once) {
            world.touch_site(|site| site["metadata"]["labels"] = json!({"a": "b"}));
        }
        None
    });
    let said = command(&fake, &PAUSE).await;
    assert!(said.result.is_ok(), "{:?}", said.result);
    assert_eq!(fake.spec()["paused"]["reason"], "upgrade");
}
