use serde_json::json;

use super::*;
use crate::output::Format;
use crate::output::screen::tests::{PIPE, captured};

fn site() -> Site {
    serde_json::from_value(json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": {"name": "cluster"},
        "spec": {"siteName": "east", "role": "primary", "epoch": 8},
        "status": {
            "transition": {"id": "r3", "from": "primary", "to": "secondary", "epoch": 8, "startedAt": "2026-03-01T13:00:00Z", "steps": []},
            "history": [
                {"id": "r2", "from": "secondary", "to": "primary", "epoch": 8, "requestedBy": "alice", "reason": "west is off\nreally",
                 "overrides": ["peer-unknown", "workloads-unavailable=shop/deployments/web"], "objects": 42,
                 "startedAt": "2026-03-01T11:59:00Z", "finishedAt": "2026-03-01T12:00:25Z", "outcome": "Succeeded",
                 "steps": [{"name": "guards", "seconds": 0}, {"name": "volumes", "seconds": 2}, {"name": "available", "seconds": 70}]},
                {"id": "enrol-4", "to": "secondary", "epoch": 7, "namespaces": ["api"], "objects": 1,
                 "startedAt": "2026-02-27T12:00:00Z", "finishedAt": "2026-02-27T12:00:01Z", "outcome": "Superseded"}
            ]
        }
    }))
    .unwrap()
}

fn printed(site: &Site, format: Format) -> (String, String) {
    let (screen, out, err) = captured(PIPE);
    let now = "2026-03-01T14:00:00Z".parse().unwrap();
    HistoryReport::of(site, now).print(format, &screen);
    (out.text(), err.text())
}

#[test]
fn a_change_is_a_line() {
    let (out, err) = printed(&site(), Format::Table);
    insta::assert_snapshot!(out);
    assert_eq!(err, "a demotion is under way: kubectl failover status -w\n");
}

#[test]
fn wide_tells_how_long_each_step_took() {
    insta::assert_snapshot!(printed(&site(), Format::Wide).0);
}

#[test]
fn the_document_has_everything_that_the_site_keeps() {
    let (out, err) = printed(&site(), Format::Json);
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["kind"], "History");
    assert_eq!(document["site"], "east");
    assert_eq!(
        document["changes"][0]["steps"][2],
        json!({"name": "available", "seconds": 70})
    );
    assert_eq!(document["changes"][1]["outcome"], "Superseded");
    assert_eq!(err, "");
}

#[test]
fn a_site_without_history_prints_a_note_and_no_data() {
    let mut site = site();
    site.status = None;
    assert_eq!(
        printed(&site, Format::Table),
        (String::new(), "no transition has ended yet\n".to_owned())
    );
}
