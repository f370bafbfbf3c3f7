//! Reading and writing the cluster. Nothing here decides anything, and nothing here speaks to a person.

mod apply;
mod backstop;
mod controller;
mod discovery;
mod error;
mod identity;
mod kinds;
mod namespaces;
mod objects;
mod preflight;
mod ready_rules;
mod rules;
mod site;
mod survey;
mod traffic;
mod webhook;
mod workloads;
mod write_answers;

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use kube::Client;

pub use apply::{Applied, Manifest};
pub use controller::{Leadership, Silence};
pub use error::ApiError;
pub use kinds::Kind;
pub use namespaces::{enrolled_state, is_taken_over, presence};
pub use preflight::{Cause, Invalid, Preflight};
pub use ready_rules::{WithoutRule, WithoutRuleReport};
pub use rules::RulesWebhook;
pub use site::{SiteWrite, WriteError};
pub use survey::{Listed, Requests, StoredObject, Survey, Unseen};
pub use webhook::WebhookState;
pub use write_answers::{PlannedWrite, RefusedWrite, WriteAnswers};

use crate::connection::Connection;

/// How often a read is tried before it counts as failed, and how long between. Writes are never repeated here.
const ATTEMPTS: usize = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// One cluster, with the rights of one user.
#[derive(Clone, Debug)]
pub struct Cluster {
    connection: Connection,
}

impl Cluster {
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    pub fn client(&self) -> Client {
        self.connection.client.clone()
    }

    /// The cluster as a person knows it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    fn error(&self, action: &str, error: &kube::Error) -> ApiError {
        ApiError::of(action, &self.connection.server, error)
    }

    /// Reads, again after a moment where the API server is busy. One that does not answer at all is not asked again: the
    /// person in front of the screen should hear about it.
    async fn read<T, F>(&self, action: &str, request: impl FnMut() -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        let mut request = request;
        (|| {
            let answer = request();
            async { answer.await.map_err(|error| self.error(action, &error)) }
        })
        .retry(
            ExponentialBuilder::default()
                .with_min_delay(FIRST_PAUSE)
                .with_max_times(ATTEMPTS - 1)
                .with_jitter(),
        )
        .when(|error| matches!(error, ApiError::Busy { .. }))
        .await
    }
}

/// `None` where the object, or its kind, is not there.
fn found<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
