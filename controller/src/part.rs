//! What a controller is made of: parts that do not know of each other.
//!
//! Each has a folder of its own, watches what only it goes by, and does its work while this replica leads. A new one is added to
//! the list in [`run`](crate::run).

use std::convert::Infallible;

use failover_runtime::clients::Clients;
use futures::future::BoxFuture;

use crate::args::Args;
use crate::informers::Informers;
use crate::metrics::Metrics;
use crate::role_lock::RoleLock;

/// A part of the controller.
pub trait Part: Send + Sync {
    /// Waits until it has seen once all that it goes by. On every replica.
    fn synced(&self) -> BoxFuture<'_, ()>;

    /// Its work. On the leader only; dropping it stops all of it.
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
