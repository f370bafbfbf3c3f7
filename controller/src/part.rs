//! The controller consists of parts that do not know each other.
//!
//! Each part has its own folder and its own watches, and works while this replica leads. Add a new one to the list in
//! [`run`](crate::run).

use std::convert::Infallible;

use failover_runtime::clients::Clients;
use futures::future::BoxFuture;

use crate::args::Args;
use crate::informers::Informers;
use crate::metrics::Metrics;
use crate::role_lock::RoleLock;

/// A part of the controller.
pub trait Part: Send + Sync {
    /// Waits until its caches have synced. Runs on every replica.
    fn synced(&self) -> BoxFuture<'_, ()>;

    /// Its work. Runs on the leader only; dropping it stops all of it.
    fn lead(&self) -> BoxFuture<'_, Infallible>;
}

/// What parts share.
#[derive(Clone, Debug)]
pub struct Context {
    pub args: Args,
    pub clients: Clients,
    pub informers: Informers,
    pub metrics: Metrics,
    pub role_lock: RoleLock,
}
