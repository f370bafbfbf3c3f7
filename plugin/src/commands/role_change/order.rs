//! The role request, as it is written to the Site.

use failover_core::api::RoleRequest;
use tokio::time::Instant;

use super::decision::Ordered;
use super::intent::Intent;
use super::wait;
use crate::cli::{DryRun, SwitchArgs};
use crate::cluster::{ApiError, SiteWrite, WriteError};
use crate::commands::site_view::View;
use crate::error::Failure;
use crate::session::Session;

/// A role request: ours, or one that somebody else wrote and that we join.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// `None`: somebody else wrote it.
    pub(super) write: Option<SiteWrite>,
    pub(super) request: RoleRequest,
    /// It aborts a running transition to the other role.
    pub(super) aborts: bool,
    /// The site is paused: the request waits until it is resumed.
    pub(super) when_resumed: bool,
    pub(super) started: Instant,
}

impl Order {
    pub(super) async fn new(
        session: &Session<'_>,
        view: &View,
        intent: &Intent,
        args: &SwitchArgs,
        ordered: &Ordered,
    ) -> Result<Self, Failure> {
        let request = RoleRequest {
            id: format!("{:032x}", rand::random::<u128>()),
            requested_by: session.cluster.user_name().await?,
            reason: args.reason.clone().unwrap_or_default(),
            overrides: ordered.overrides.clone(),
            run_missed: ordered.batch.run_missed,
            run_held_jobs: ordered.batch.held_jobs.is_all(),
            held_jobs_to_run: ordered.batch.held_jobs.names().cloned().collect(),
            ..RoleRequest::default()
        };
        Ok(Self {
            write: Some(SiteWrite {
                resource_version: view.resource_version(),
                role: intent.role,
                epoch: ordered.epoch,
                mode: Some(ordered.mode).filter(|mode| *mode != view.site.spec.mode),
                request: request.clone(),
            }),
            request,
            aborts: intent.abort,
            when_resumed: ordered.when_resumed,
            started: Instant::now(),
        })
    }

    pub(super) fn joined(view: &View, id: String) -> Self {
        let request = view.site.spec.request.clone().unwrap_or_default();
        Self {
            write: None,
            request: RoleRequest { id, ..request },
            aborts: false,
            when_resumed: false,
            started: Instant::now(),
        }
    }
}

pub(super) enum OrderWritten {
    Yes,
    /// Somebody else wrote the Site first.
    Overtaken,
}

pub(super) async fn write(
    session: &Session<'_>,
    order: &Order,
    args: &SwitchArgs,
) -> Result<OrderWritten, Failure> {
    let write = order.write.as_ref().expect("an order of ours");
    let dry_run = args.dry_run == DryRun::Server;
    if !dry_run {
        // An interrupt from here on may come too late.
        session.is_underway(
            "whether the order was written is not known",
            "check with kubectl failover status",
        );
    }
    let written = send(session, order, args, write, dry_run).await;
    if !matches!(written, Ok(OrderWritten::Yes)) {
        session.nothing_is_underway();
    }
    written
}

async fn send(
    session: &Session<'_>,
    order: &Order,
    args: &SwitchArgs,
    write: &SiteWrite,
    dry_run: bool,
) -> Result<OrderWritten, Failure> {
    match session.cluster.order(write, dry_run).await {
        Ok(_) => Ok(OrderWritten::Yes),
        Err(WriteError::Conflict) => Ok(OrderWritten::Overtaken),
        // The write may have been stored, and only the response lost.
        Err(WriteError::Api(
            error @ (ApiError::Unreachable { sent: true, .. } | ApiError::Busy { .. }),
        )) if !dry_run => {
            if wait::was_written(session, order, args.timeout, &error).await? {
                Ok(OrderWritten::Yes)
            } else {
                Err(Failure::error(format!("{error}: nothing was changed")).next("try again"))
            }
        }
        Err(WriteError::Api(error)) => {
            let mut failure = Failure::from(error);
            failure.message.push_str(": nothing was changed");
            Err(failure)
        }
    }
}
