//! The fields that make an object passive, and how they become active again: built-in rules and RoleRules.

pub mod role_rule;
pub mod rule;
pub mod set;
pub(crate) mod values;

pub use rule::{Active, Field, Reach, Ready, Rule};
pub use set::RuleSet;
