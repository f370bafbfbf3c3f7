//! The role of the site, as a part of the controller.

use std::convert::Infallible;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::informers::Caches;
use super::reconcile::{Dependencies, Reconciler};
use crate::part::{Context, Part};

#[derive(Debug)]
pub struct SitePart {
    context: Context,
    caches: Caches,
}

impl SitePart {
    /// Starts its watches. The watches that all parts share notify `changed`.
    pub fn start(context: &Context, changed: Arc<Notify>, tasks: &mut JoinSet<()>) -> Self {
        Self {
            caches: Caches::start(
                &context.clients.watches,
                context.informers.clone(),
                changed,
                &context.args.site.lease_namespace,
                tasks,
            ),
            context: context.clone(),
        }
    }
}

impl Part for SitePart {
    fn synced(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.caches.synced())
    }

    fn lead(&self) -> BoxFuture<'_, Infallible> {
        let Context {
            args,
            clients,
            metrics,
            role_lock,
            ..
        } = &self.context;
        let (client, role_lock) = (&clients.requests, role_lock.clone());
        Box::pin(async move {
            self.caches.synced().await;
            let name = &args.name;
            let parts =
                Dependencies::new(client, &self.caches, metrics, role_lock, name, &args.site);
            Reconciler::new(client.clone(), parts).run().await
        })
    }
}
