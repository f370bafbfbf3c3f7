//! RoleRules, reconciled: what is in force of them, what they need, and what their status says.
//!
//! ```text
//!   watches ──► in_force::next (core, pure) ──► status.enforced, finalizer ──► read by webhook, sweeper and plan
//!                     ▲                                  │
//!   Namespaces ───────┤ only on a primary ◄─ release ◄───┤ looser, or deleted
//!                     │                                  └ tighter ──► sweep the kind at once
//!   rights, webhook, policies ──► readiness (core, pure) ──► conditions
//! ```
//!
//! An adopted rule is released only [under the role lock](crate::role_lock), with the Namespaces just read and the
//! restore records of the kind applied: the roles cannot change in between.

mod keeper;
mod needs;
mod part;
mod release;
mod write;

pub use keeper::Keeper;
pub use part::RulesPart;

/// Why a reconcile of RoleRules failed.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error(transparent)]
    Discovery(#[from] failover_runtime::kube::discovery::DiscoveryError),
    #[error("cannot read the enrolled Namespaces")]
    Namespaces(#[source] kube::Error),
    #[error("cannot ask what the controller may do")]
    Rights(#[source] kube::Error),
    #[error("cannot write RoleRule {name}")]
    Write { name: String, source: kube::Error },
    #[error(transparent)]
    Sweep(#[from] crate::sweep::SweepError),
}

impl RulesError {
    /// Decided on a stale version: the next reconcile decides again.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Write { source: kube::Error::Api(status), .. } if [404, 409].contains(&status.code))
    }
}
