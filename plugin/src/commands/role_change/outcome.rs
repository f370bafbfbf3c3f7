//! The state of a request, read from the status of the Site: pure.

use failover_core::Role;
use failover_core::api::{HistoryEntry, Outcome, Phase, RoleRequest, Site, condition};

use crate::output::clean;

/// The state of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OrderState {
    /// The controller has not started it, or still runs an earlier transition.
    Waiting,
    Running,
    Done(Box<HistoryEntry>),
    /// Another request replaced it.
    Superseded(String),
}

/// Reads the state of the request `id`.
pub(super) fn order_state(site: &Site, id: &str, role: Role) -> OrderState {
    let (spec, status) = (&site.spec, site.status.clone().unwrap_or_default());
    let entry = status.history.iter().find(|entry| entry.id == id);
    let request = spec.request.clone().unwrap_or_default();
    let replaced = !request.id.is_empty() && request.id != id;
    if replaced || entry.is_some_and(|entry| entry.outcome == Outcome::Superseded) {
        return OrderState::Superseded(describe_request(spec.role, &request));
    }
    match &status.transition {
        Some(transition) if transition.id == id => OrderState::Running,
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

/// Warns about a success without live admission: only the sweeper enforces the role.
pub(super) fn caveat(site: &Site) -> Option<String> {
    let conditions = &site.status.as_ref()?.conditions;
    conditions
        .iter()
        .find(|c| c.type_ == condition::ENFORCED && c.status == "True" && c.reason == "SweeperOnly")
        .map(|c| clean(&c.message).into_owned())
}

fn describe_request(role: Role, request: &RoleRequest) -> String {
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

    fn site(phase: &str, layers: &str, transition: Option<&str>, outcome: &str) -> Site {
        let transition = transition.map_or(Value::Null, |id| {
            json!({"id": id, "to": "secondary", "epoch": 4, "startedAt": "2026-03-01T12:00:00Z", "steps": []})
        });
        serde_json::from_value(json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": {"name": "cluster"},
            "spec": {"siteName": "east", "role": "secondary", "epoch": 4, "request": {"id": "r1", "requestedBy": "bob"}},
            "status": {
                "phase": phase, "transition": transition,
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
    #[case::running(site("Demoting", "primary", Some("r1"), "Succeeded"), "running")]
    #[case::an_earlier_transition_is_running(
        site("Demoting", "primary", Some("r0"), "Succeeded"),
        "waiting"
    )]
    #[case::a_layer_has_the_other_role(site("Stable", "primary", None, "Succeeded"), "waiting")]
    #[case::superseded(site("Stable", "secondary", None, "Superseded"), "superseded")]
    fn the_state_of_a_request_is_read_from_the_status_of_the_site(
        #[case] site: Site,
        #[case] expected: &str,
    ) {
        let seen = match order_state(&site, "r1", Role::Secondary) {
            OrderState::Waiting => "waiting",
            OrderState::Running => "running",
            OrderState::Done(_) => "done",
            OrderState::Superseded(_) => "superseded",
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_superseding_request_is_reported_with_its_author() {
        let site = site("Stable", "secondary", None, "Succeeded");
        assert_eq!(
            order_state(&site, "r0", Role::Secondary),
            OrderState::Superseded("a request to become secondary by bob".into())
        );
    }
}
