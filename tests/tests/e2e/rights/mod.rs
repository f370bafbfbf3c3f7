//! The shipped roles are minimal: they allow every request of a day's work, and that work uses everything that they allow.
//!
//! The API server's audit log records each request with its user and the role that allowed it. Remove a rule from a role,
//! and `nothing_is_refused` fails with the request that needs it; add an unneeded one, and `every_permission_is_used`
//! fails with its name.

mod grants;
mod webhook;
mod work;

use std::collections::BTreeSet;

use failover_core::names;
use serde_json::Value;

use grants::every_permission_is_used;
use work::a_days_work;

const OPERATOR: &str = "alice";
const VIEWER: &str = "bob";

fn service_account(name: &str) -> String {
    format!("system:serviceaccount:{}:{name}", names::SYSTEM_NAMESPACE)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_roles_are_enough_and_no_more() {
    let site = a_days_work().await;
    let events = site.plane.audit();
    let identities = [
        service_account(names::WEBHOOK_SERVICE_ACCOUNT),
        service_account(names::CONTROLLER_SERVICE_ACCOUNT),
        OPERATOR.to_owned(),
        VIEWER.to_owned(),
    ];
    nothing_is_refused(&events, &identities);
    every_permission_is_used(&site, &events).await;
}

fn nothing_is_refused(events: &[Value], identities: &[String]) {
    let refused: BTreeSet<String> = events
        .iter()
        .filter(|event| {
            identities
                .iter()
                .any(|user| event["user"]["username"] == **user)
        })
        .filter(|event| event["annotations"]["authorization.k8s.io/decision"] == "forbid")
        .map(|event| {
            format!(
                "{} may not {} {}",
                event["user"]["username"], event["verb"], event["requestURI"]
            )
        })
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}
