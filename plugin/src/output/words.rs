//! The words for a direction, and for what is under way.

use failover_core::Role;

/// The words of a direction.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    pub command: &'static str,
    pub noun: &'static str,
    pub done: &'static str,
}

pub fn words(role: Role) -> Words {
    match role {
        Role::Primary => Words {
            command: "promote",
            noun: "promotion",
            done: "promoted",
        },
        Role::Secondary => Words {
            command: "demote",
            noun: "demotion",
            done: "demoted",
        },
    }
}
