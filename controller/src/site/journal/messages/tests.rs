use serde_json::{Value, json};

use super::*;

fn status(value: Value) -> SiteStatus {
    serde_json::from_value(value).unwrap()
}

fn transition(id: &str, steps: &Value) -> Value {
    json!({ "id": id, "from": "primary", "to": "secondary", "epoch": 3, "requestedBy": "jo", "reason": "drill",
            "startedAt": "2026-01-01T00:00:00Z", "steps": steps })
}

/// The status of a site in this transition.
fn in_transition(id: &str, steps: &Value) -> SiteStatus {
    status(json!({ "transition": transition(id, steps) }))
}

#[track_caller]
fn assert_reasons(before: &SiteStatus, after: &SiteStatus, expected: &[&str]) {
    let reasons: Vec<_> = of_status(before, after)
        .into_iter()
        .map(|message| message.reason)
        .collect();
    assert_eq!(reasons, expected);
}

/// Asserts that a change of the status gives just this message.
#[track_caller]
fn assert_message(before: &SiteStatus, after: &SiteStatus, expected: Message) {
    assert_eq!(of_status(before, after), [expected]);
}

fn started() -> Message {
    Message::normal(
        "TransitionStarted",
        "primary to secondary, epoch 3, request 1 by jo: drill".into(),
    )
}

#[test]
fn a_transition_is_reported_from_start_to_end_and_each_step_once() {
    let idle = status(json!({}));
    let begun = in_transition("1", &json!([{ "name": "traffic", "state": "Running" }]));
    let written = in_transition(
        "1",
        &json!([{
            "name": "traffic", "state": "Done", "total": 4, "changed": 3,
            "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:02Z"
        }]),
    );
    let ended = status(json!({ "history": [{
        "id": "1", "to": "secondary", "epoch": 3, "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": "2026-01-01T00:00:02Z", "objects": 12, "outcome": "Succeeded"
    }] }));
    assert_message(&idle, &begun, started());
    assert_message(
        &begun,
        &written,
        Message::normal(
            "StepFinished",
            "to secondary: traffic after 2 s, 3 objects changed".into(),
        ),
    );
    assert_reasons(&written, &written, &[]);
    assert_message(
        &written,
        &ended,
        Message::normal(
            "TransitionFinished",
            "secondary after 2 s, 12 objects changed, request 1".into(),
        ),
    );
    assert_reasons(&ended, &ended, &[]);
}

#[test]
fn a_newer_request_is_reported_with_the_one_it_supersedes() {
    let old = in_transition("1", &json!([]));
    let new = status(json!({
        "transition": transition("2", &json!([])),
        "history": [{ "id": "1", "to": "secondary", "epoch": 3, "startedAt": "2026-01-01T00:00:00Z",
                      "finishedAt": "2026-01-01T00:00:01Z", "outcome": "Superseded" }]
    }));
    assert_reasons(&old, &new, &["Superseded", "TransitionStarted"]);
}

#[test]
fn a_guard_is_reported_when_it_starts_to_block_and_when_another_does() {
    let blocked = |guard: &str, message: &str| {
        in_transition(
            "1",
            &json!([
                { "name": "guards", "state": "Blocked", "blocked": [{ "guard": guard, "message": message }] }
            ]),
        )
    };
    let started = in_transition("1", &json!([{ "name": "guards", "state": "Running" }]));
    let peer = blocked("peer-unknown", "no peer");
    assert_message(
        &started,
        &peer,
        Message::warning(
            "GuardBlocked",
            "to secondary, guards: peer-unknown: no peer".into(),
        ),
    );
    assert_reasons(&peer, &blocked("peer-unknown", "still no peer"), &[]);
    let other = blocked("no-enforcement", "x");
    assert_reasons(&peer, &other, &["GuardBlocked"]);
    assert_eq!(
        newly_blocking_guards(Journal::of_site(&peer), Journal::of_site(&other)),
        BTreeSet::from(["no-enforcement".to_owned()])
    );
    let journal = Journal::of_site(&peer);
    assert!(newly_blocking_guards(journal, journal).is_empty());
}

#[test]
fn the_transition_of_a_policy_is_reported_like_that_of_a_site() {
    let before = FailoverPolicyStatus::default();
    let begun: FailoverPolicyStatus =
        serde_json::from_value(json!({ "transition": transition("1", &json!([])) })).unwrap();
    let (before, begun) = (Journal::of_policy(&before), Journal::of_policy(&begun));
    assert_eq!(of_transition(before, begun), [started()]);
    assert_eq!(of_transition(begun, begun), []);
}

#[test]
fn enrolled_and_unenrolled_namespaces_are_reported() {
    let before = status(json!({ "namespaces": ["a", "b"] }));
    let after = status(json!({ "namespaces": ["b", "c"] }));
    assert_eq!(
        of_status(&before, &after),
        [
            Message::normal("NamespaceEnrolled", "enrolled: c".into()),
            Message::normal("NamespaceLeft", "no longer enrolled: a".into())
        ]
    );
}

#[test]
fn deferred_requests_are_reported_once_and_in_one_event() {
    let deferred: Vec<Deferred> = (0..1000)
        .map(|i| Deferred {
            object: failover_core::object::ObjectKey {
                namespace: "shop".into(),
                resource: "deployments".into(),
                name: format!("web-{i:03}"),
            },
            why: "waits".into(),
        })
        .collect();
    let message = of_deferred(&BTreeSet::new(), &deferred).unwrap();
    assert!(message.warning);
    assert!(
        message
            .note
            .starts_with("shop/deployments/web-000: waits; ")
            && message.note.contains("and 997 more"),
        "{}",
        message.note
    );
    assert_eq!(
        of_deferred(&deferred.iter().cloned().collect(), &deferred),
        None
    );
}

#[test]
fn corrections_are_reported_with_names_and_warn_unless_they_were_expected() {
    let swept = Swept {
        readmitted: 1,
        rewritten: 12,
        names: vec!["shop/deployments/web".into()],
        ..Swept::default()
    };
    let note = "13 objects did not conform and were corrected (1 by the webhook, 12 by the controller): shop/deployments/web and 12 more";
    assert_eq!(
        of_sweep(&swept, false),
        Some(Message::warning("SweepCorrected", note.into()))
    );
    assert!(!of_sweep(&swept, true).unwrap().warning);
    assert_eq!(of_sweep(&Swept::default(), false), None);
}

#[test]
fn what_a_step_did_not_wait_for_is_reported_when_it_ends() {
    let step = |state: &str| {
        json!([{ "name": "available", "state": state, "notWaitedFor": [
            { "object": "shop/deployments/web", "message": "it is being deleted" }
        ] }])
    };
    let before = in_transition("a", &step("Running"));
    let after = in_transition("a", &step("Done"));
    let messages = of_status(&before, &after);
    let [message] = &messages[..] else {
        panic!("one message: {messages:?}")
    };
    assert!(
        message
            .note
            .contains("shop/deployments/web: it is being deleted"),
        "{}",
        message.note
    );
}
