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
//! One function, [`rewrite::rewrite`], decides what an object must look like under a role. The webhook runs it on every
//! write, the sweeper on every stored object, `plan` on a copy: what is previewed is what happens.

pub mod annotations;
pub mod api;
pub mod backstop;
pub mod batch;
pub mod birth;
pub mod causes;
pub mod compile;
pub mod cron;
pub mod guard;
pub mod hooks;
pub mod lean;
pub mod names;
pub mod namespace;
pub mod origin;
pub mod patch;
pub mod plan;
pub mod pointer;
pub mod record;
pub mod refusal;
pub mod request;
pub mod rewrite;
pub mod role;
pub mod role_rule;
pub mod rule;
mod scale;
pub mod transition;
pub mod uncovered;
mod values;
mod view;
pub mod waits;

pub use namespace::NamespaceState;
pub use pointer::Pointer;
pub use role::{Epoch, Layer, Role, Roles};
pub use rule::{Rule, RuleSet};
