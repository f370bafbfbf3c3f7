//! RoleRules: rules as data.
//!
//! ```text
//!   RoleRule.spec ──Rule::try_from──► Rule (or why not) ──┐
//!                                                         ├─► in_force::next ──► status.enforced ──► RuleSet
//!   RoleRule.status.enforced ─────────────────────────────┘        │
//!   effective roles of the enrolled namespaces ────────────────────┘
//!
//!   Rule ──► rendered: the webhook rule and the RBAC for it
//!   all of it, and what exists ──► readiness: the conditions
//! ```

pub mod in_force;
pub mod readiness;
pub mod rendered;

mod compile;
#[cfg(test)]
mod shipped_tests;

pub use compile::{RuleError, written};
