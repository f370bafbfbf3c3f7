//! What the Site says about an order, read from its status: pure.

use failover_core::Role;
use failover_core::api::{HistoryEntry, Outcome, Phase, RoleRequest, Site, condition};

use crate::output::clean;

/// What the Site says about an order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OrderState {
    /// The controller has not begun, or still walks for an older order.
    Waiting,
    Walking,
    Done(Box<HistoryEntry>),
    /// Another order has taken its place.
    Superseded(String),
}

/// Reads what the Site says about the order `id`.
pub(super) fn sight(site: &Site, id: &str, role: Role) -> OrderState {
    let (spec, status) = (&site.spec, site.status.clone().unwrap_or_default());
    let entry = status.history.iter().find(|entry| entry.id == id);
    let request = spec.request.clone().unwrap_or_default();
    let replaced = !request.id.is_empty() && request.id != id;
    if replaced || entry.is_some_and(|entry| entry.outcome == Outcome::Superseded) {
        return OrderState::Superseded(order_in_words(spec.role, &request));
    }
    match &status.transition {
        Some(transition) if transition.id == id => OrderState::Walking,
        Some(_) => OrderState::Waiting,
        None => match entry {
            Some(entry)
                if entry.to == role
                    && matches!(status.phase, Some(Phase::Stable | Phase::Paused))
                    && status.layers.uniform() == Some(role) =>
            {
                OrderState::Done(Box::new(entry.clone()))
            }
            _ => OrderState::Waiting,
        },
    }
}

/// A success that rests on the sweeper alone should not look like any other.
pub(super) fn caveat(site: &Site) -> Option<String> {
    let conditions = &site.status.as_ref()?.conditions;
    conditions
        .iter()
        .find(|c| c.type_ == condition::ENFORCED && c.status == "True" && c.reason == "SweeperOnly")
        .map(|c| clean(&c.message).into_owned())
}

fn order_in_words(role: Role, request: &RoleRequest) -> String {
    let mut text = format!("a request to become {role}");
    if !request.requested_by.is_empty() {
        text.push_str(" by ");
        text.push_str(&clean(&request.requested_by));
    }
    if !request.reason.is_empty() {
        text.push_str(": ");
        text.push_str(&clean(&request.reason));
    }
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn site(phase: &str, layers: &str, walk: Option<&str>, outcome: &str) -> Site {
        let walk = walk.map_or(Value::Null, |id| {
            json!({"id": id, "to": "secondary", "epoch": 4, "startedAt": "2026-03-01T12:00:00Z", "steps": []})
        });
        serde_json::from_value(json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": {"name": "cluster"},
            "spec": {"siteName": "east", "role": "secondary", "epoch": 4, "request": {"id": "r1", "requestedBy": "bob"}},
            "status": {
                "phase": phase, "transition": walk,
                "layers": {"volumes": "secondary", "workloads": layers, "gitops": layers, "traffic": layers},
                "history": [{"id": "r1", "to": "secondary", "epoch": 4, "outcome": outcome,
                             "startedAt": "2026-03-01T12:00:00Z", "finishedAt": "2026-03-01T12:00:01Z"}]
            }
        }))
        .unwrap()
    }

    #[rstest]
    #[case::done(site("Stable", "secondary", None, "Succeeded"), "done")]
    #[case::done_and_paused_afterwards(site("Paused", "secondary", None, "Succeeded"), "done")]
    #[case::walking(site("Demoting", "primary", Some("r1"), "Succeeded"), "walking")]
    #[case::another_walk_comes_first(
        site("Demoting", "primary", Some("r0"), "Succeeded"),
        "waiting"
    )]
    #[case::something_is_not_as_ordered(site("Stable", "primary", None, "Succeeded"), "waiting")]
    #[case::given_up(site("Stable", "secondary", None, "Superseded"), "superseded")]
    fn an_order_stands_as_the_site_says(#[case] site: Site, #[case] expected: &str) {
        let seen = match sight(&site, "r1", Role::Secondary) {
            OrderState::Waiting => "waiting",
            OrderState::Walking => "walking",
            OrderState::Done(_) => "done",
            OrderState::Superseded(_) => "superseded",
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_order_in_the_place_of_another_is_told_with_who_gave_it() {
        let site = site("Stable", "secondary", None, "Succeeded");
        assert_eq!(
            sight(&site, "r0", Role::Secondary),
            OrderState::Superseded("a request to become secondary by bob".into())
        );
    }
}
