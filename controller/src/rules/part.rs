//! RoleRules, as a part of the controller.

use std::convert::Infallible;
use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::Keeper;
use crate::events::Events;
use crate::part::{Context, Part};
use crate::sweep::Sweeper;

#[derive(Debug)]
pub struct RulesPart {
    context: Context,
    changed: Arc<Notify>,
}

impl RulesPart {
    /// The watches that all parts share notify `changed`.
    pub fn new(context: &Context, changed: Arc<Notify>) -> Self {
        Self {
            context: context.clone(),
            changed,
        }
    }
}

impl Part for RulesPart {
    fn synced(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.context.informers.synced())
    }

    fn lead(&self) -> BoxFuture<'_, Infallible> {
        let Context {
            args,
            clients,
            informers,
            role_lock,
            ..
        } = &self.context;
        let client = &clients.requests;
        Box::pin(async move {
            informers.synced().await;
            let keeper = Keeper::new(
                client.clone(),
                informers.clone(),
                Arc::clone(&self.changed),
                Sweeper::new(client.clone(), args.site.sweep_concurrency),
                role_lock.clone(),
                Events::new(client.clone(), &args.name),
                Timestamp::now,
            );
            keeper.run().await
        })
    }
}
