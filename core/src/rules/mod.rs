//! Which fields make an object passive, and how they become active again: built-in rules and RoleRules.

pub mod role_rule;
pub mod rule;
pub(crate) mod values;
