//! RoleRules: rules as data.
//!
//! ```text
//!   RoleRule.spec ──Rule::try_from──► Rule (or why not) ──┐
//!                                                         ├─► in_force::next ──► status.enforced ──► RuleSet
//!   RoleRule.status.enforced ─────────────────────────────┘        │
//!   effective roles of the enrolled namespaces ────────────────────┘
//!
//!   Rule ──► rendered: what the API server and RBAC have to know of it
//!   all of it, and what is there ──► readiness: the conditions
//! ```

pub mod in_force;
pub mod readiness;
pub mod rendered;

mod compile;
#[cfg(test)]
mod shipped_tests;

pub use compile::{RuleError, written};
