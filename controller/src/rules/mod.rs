//! RoleRules, reconciled: what is in force of them, what they need, and what their status says.
//!
//! ```text
//!   watches ──► in_force::next (core, pure) ──► status.enforced, finalizer ──► webhook, sweeper and plan go by it
//!                     ▲                                  │
//!   Namespaces ───────┤ only on a primary ◄── spend ◄────┤ looser, or deleted
//!                     │                                  └ tighter ──► sweep the kind at once
//!   rights, webhook, policies ──► readiness (core, pure) ──► conditions
//! ```
//!
//! What has been adopted is let go only [under the lock of the roles](crate::role_lock), with the Namespaces just read and the
//! records of the kind spent: the roles cannot move in between.

mod keeper;
mod needs;
mod part;
mod spend;
mod write;

pub use keeper::Keeper;
pub use part::RulesPart;

/// The API server's answer to one of our requests, as far as it is none.
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
    /// Decided on an old version: the next check decides anew.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Write { source: kube::Error::Api(status), .. } if [404, 409].contains(&status.code))
    }
}
