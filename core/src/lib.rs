//! The decisions of kubectl-failover, pure: no I/O, no clock, no async, no randomness.
//!
//! ```text
//!   Namespace labels + annotations ──► NamespaceState ─┐
//!   rule table (built-in + RoleRules) ──► RuleSet ─────┤
//!   object, old object, field manager ──► View ────────┴─► rewrite() ──► Rewrite { patch, changes, notes }
//!                                                             ▲  ▲  ▲
//!                                             webhook ────────┘  │  └──────── plan (what the user previews)
//!                                                             sweeper
//!   Site + namespaces + enforcers ──► transition::decide() ──► the controller's next act
//! ```
//!
//! One function, [`admission::rewrite::rewrite`], decides the desired state of an object under a role. The webhook runs
//! it on every write, the sweeper on every stored object, `plan` on a copy: the preview is what happens.

pub mod admission;
pub mod api;
pub mod backstop;
pub mod checks;
pub mod guards;
pub mod json;
pub mod names;
pub mod namespace;
pub mod object;
pub mod object_roles;
pub mod origin;
pub mod plan;
pub mod role;
pub mod rules;
pub mod transition;

pub use json::pointer::Pointer;
pub use namespace::NamespaceState;
pub use role::{Epoch, Layer, Role, Roles};
pub use rules::rule::Rule;
pub use rules::set::RuleSet;
