//! The body of a request, read within bounds of size, time and memory.
//!
//! ```text
//!   up to SMALL ─────────────────────────────► read     (times the connections there may be: 64 MiB)
//!   up to BODY_LIMIT ─► one of LARGE_AT_ONCE ─► read     (28 MiB)
//! ```
//!
//! So ordinary reviews never wait for rare large ones, and the total stays well below the memory limit of the shipped
//! Deployment.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The largest review that is read: an object and an old object of the API server's limit of 3 MiB each, and the other
/// fields.
pub const BODY_LIMIT: usize = 7 * 1024 * 1024;

/// How long a body may take to arrive. The API server itself gives up after 1 s; this bounds other clients.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Reviews of ordinary objects are a tenth of this.
const SMALL: usize = 128 * 1024;

/// More at once would be no faster: a decision on a large object keeps a whole core busy.
const LARGE_AT_ONCE: usize = 4;

/// How long a large body waits for a permit: the API server would not wait longer.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("a review may have at most {} MiB", BODY_LIMIT >> 20)]
    TooLarge,
    #[error("the body did not arrive within {} s", BODY_TIMEOUT.as_secs())]
    Late,
    #[error("the body could not be read: {0}")]
    Broken(#[source] axum::Error),
    #[error("other large reviews are being answered")]
    Busy,
}

/// Reads bodies, few of the large ones at a time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bodies(Arc<Semaphore>);

/// A body, with the permit for the memory that it takes.
#[derive(Debug)]
pub struct BoundedBody {
    pub bytes: Vec<u8>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_AT_ONCE)))
    }
}

impl Bodies {
    pub async fn read(&self, body: Body) -> Result<BoundedBody, BodyError> {
        let size = body.size_hint();
        // Refused before a byte is read, if the sender declares the length.
        if size.lower() > BODY_LIMIT as u64 {
            return Err(BodyError::TooLarge);
        }
        let is_small = size.upper().is_some_and(|most| most <= SMALL as u64);
        let permit = if is_small {
            None
        } else {
            let permit = timeout(PERMIT_TIMEOUT, self.0.clone().acquire_owned());
            let permit = permit.await.map_err(|_| BodyError::Busy)?;
            Some(permit.expect("never closed"))
        };
        let bytes = timeout(BODY_TIMEOUT, collect(body))
            .await
            .map_err(|_| BodyError::Late)??;
        Ok(BoundedBody {
            bytes,
            _permit: permit,
        })
    }
}

/// Reads into one buffer, of the right size from the start if the length is known: joining the pieces at the end would
/// need twice the memory.
async fn collect(mut body: Body) -> Result<Vec<u8>, BodyError> {
    let size = usize::try_from(body.size_hint().lower()).unwrap_or(BODY_LIMIT);
    let mut bytes = Vec::with_capacity(size.min(BODY_LIMIT));
    while let Some(frame) = body.frame().await {
        let data: Option<Bytes> = frame.map_err(BodyError::Broken)?.into_data().ok();
        let data = data.unwrap_or_default();
        if bytes.len() + data.len() > BODY_LIMIT {
            return Err(BodyError::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt as _, stream};

    use super::*;

    /// A body of unknown length that never ends.
    fn endless() -> Body {
        let beginning = stream::iter([Ok::<_, Infallible>("{")]);
        Body::from_stream(beginning.chain(stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_wait_for_a_permit_and_small_ones_do_not() {
        let bodies = Bodies::default();
        let large = || bodies.read(Body::from(vec![b' '; SMALL + 1]));
        let mut permits = Vec::new();
        for _ in 0..LARGE_AT_ONCE {
            permits.push(large().await.unwrap());
        }
        assert!(matches!(large().await, Err(BodyError::Busy)));
        bodies.read(Body::from(vec![b' '; SMALL])).await.unwrap();

        let (permit, ()) = tokio::join!(large(), async {
            tokio::time::sleep(PERMIT_TIMEOUT / 2).await;
            permits.pop();
        });
        assert_eq!(permit.unwrap().bytes.len(), SMALL + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_is_released_when_its_body_times_out() {
        let bodies = Bodies::default();
        let stuck = (0..LARGE_AT_ONCE).map(|_| bodies.read(endless()));
        for ended in futures::future::join_all(stuck).await {
            assert!(matches!(ended, Err(BodyError::Late)), "{ended:?}");
        }
        bodies
            .read(Body::from(vec![b' '; SMALL + 1]))
            .await
            .unwrap();
    }
}
