//! What the Site says about an order, read from its status: pure.

use failover_core::Role;
use failover_core::api::{HistoryEntry, Outcome, Phase, RoleRequest, Site, condition};

use crate::output::clean;

/// What the Site says about an order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sight {
    /// The controller has not begun, or still walks for an older order.
    Waiting,
    Walking,
    Done(Box<HistoryEntry>),
    /// Another order has taken its place.
    Superseded(String),
}

/// Reads what the Site says about the order `id`.
pub(super) fn sight(site: &Site, id: &str, role: Role) -> Sight {
    let (spec, status) = (&site.spec, site.status.clone().unwrap_or_default());
    let entry = status.history.iter().find(|entry| entry.id == id);
    let request = spec.request.clone().unwrap_or_default();
    let replaced = !request.id.is_empty() && request.id != id;
    if replaced || entry.is_some_and(|entry| entry.outcome == Outcome::Superseded) {
        return Sight::Superseded(order_in_words(spec.role, &request));
    }
    match &status.transition {
        Some(transition) if transition.id == id => Sight::Walking,
        Some(_) => Sight::Waiting,
        None => match entry {
            Some(entry)
                if entry.to == role
                    && status.phase == Some(Phase::Stable)
                    && status.layers.uniform() == Some(role) =>
            {
                Sight::Done(Box::new(entry.clone()))
            }
            _ => Sight::Waiting,
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
    let mut text = format!("an order to become {role}");
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
