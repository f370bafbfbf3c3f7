//! Requests while the API server or the controller is unavailable.

use super::*;

#[tokio::test(start_paused = true)]
async fn without_a_controller_the_request_is_stored_and_times_out() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| world.controller = false);
    let output = command(&fake, &["demote", "--timeout", "30s"]).await;
    assert_eq!(exit(&output), ExitCode::TimedOut);
    assert!(
        output
            .err
            .contains("no controller leads: the request is stored"),
        "{}",
        output.err
    );
    let failure = failure(output);
    assert!(
        failure.contains("but no controller leads after 30s"),
        "{failure}"
    );
    assert_eq!(fake.spec()["role"], "secondary");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_becomes_unavailable_leaves_the_result_unknown() {
    let fake = FakeCluster::settled(Role::Primary);
    let mut ordered = false;
    fake.fail(move |method, path, _| {
        let fault = ordered.then_some(Fault::Refused);
        // Not the dry-run writes of the preview.
        ordered |= *method == Method::PATCH && path.contains("/sites/");
        fault
    });
    let output = command(&fake, &["demote", "--timeout", "30s"]).await;
    assert_eq!(exit(&output), ExitCode::TimedOut);
    assert!(output.err.contains("does not answer"), "{}", output.err);
    assert!(
        failure(output).contains("it is unknown whether the demotion of site east is carried out")
    );
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_unavailable_at_first_changes_nothing() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.fail(|_, _, _| Some(Fault::Refused));
    let output = command(&fake, &["demote"]).await;
    assert_eq!(exit(&output), ExitCode::Error);
    assert!(fake.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_transition_is_followed_after_the_api_server_comes_back() {
    let fake = FakeCluster::settled(Role::Primary);
    let (mut ordered, mut refusals) = (false, 8);
    fake.fail(move |method, path, _| {
        let fault = (ordered && refusals > 0).then(|| {
            refusals -= 1;
            // An API server that starts refuses requests that it allows a moment later.
            if refusals < 3 {
                Fault::Status(403)
            } else {
                Fault::Refused
            }
        });
        // Not the dry-run writes of the preview.
        ordered |= *method == Method::PATCH && path.contains("/sites/");
        fault
    });
    let output = command(&fake, &["demote"]).await;
    assert_eq!(exit(&output), ExitCode::Done, "{:?}", output.result);
    assert!(
        output.err.contains("the API server answers again"),
        "{}",
        output.err
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_response_is_lost_is_read_back() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.fail(|method, path, _| {
        (*method == Method::PATCH && path.ends_with("/sites/cluster")).then_some(Fault::AnswerLost)
    });
    let output = command(&fake, &["demote"]).await;
    assert_eq!(exit(&output), ExitCode::Done, "{:?}", output.result);
    assert!(
        output
            .err
            .contains("checking whether the request was stored"),
        "{}",
        output.err
    );
    assert_eq!(orders(&fake).len(), 1, "an order is never sent twice");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_never_sent_is_not_read_back() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.fail(|method, path, _| {
        (*method == Method::PATCH && path.ends_with("/sites/cluster")).then_some(Fault::Refused)
    });
    let output = command(&fake, &["demote"]).await;
    assert_eq!(exit(&output), ExitCode::Error);
    assert!(!output.err.contains("finding out"), "{}", output.err);
    assert!(failure(output).contains("nothing was changed"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_stored_changes_nothing() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.fail(|method, path, _| {
        (*method == Method::PATCH && path.ends_with("/sites/cluster")).then_some(Fault::Status(503))
    });
    let output = command(&fake, &["demote"]).await;
    assert_eq!(exit(&output), ExitCode::Error);
    assert!(failure(output).contains("nothing was changed"));
}
