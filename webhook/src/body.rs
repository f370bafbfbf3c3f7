//! The body of a request, read within bounds of size, time and memory.
//!
//! ```text
//!   up to SMALL ─────────────────────────────► read     (times the connections there may be: 64 MiB)
//!   up to BODY_LIMIT ─► one of LARGE_AT_ONCE ─► read     (28 MiB)
//! ```
//!
//! So what everybody sends never waits for what hardly anybody sends, and all of it together stays well below what the
//! shipped Deployment allows a replica.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The largest review that is read: an object and an old one of the API server's limit of 3 MiB each, and the rest.
pub const BODY_LIMIT: usize = 7 * 1024 * 1024;

/// How long a body may take to arrive. The API server itself gives up after 1 s; this is for those who are not it.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Reviews of ordinary objects are a tenth of this.
const SMALL: usize = 128 * 1024;

/// More at once would be no faster: a decision on a large object is the work of a whole core.
const LARGE_AT_ONCE: usize = 4;

/// How long a large body waits for its turn: the API server would not wait for longer.
const TURN: Duration = Duration::from_secs(1);

/// Why there is no body.
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

/// A body, and with it the room that it takes.
#[derive(Debug)]
pub struct BoundedBody {
    pub bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_AT_ONCE)))
    }
}

impl Bodies {
    pub async fn read(&self, body: Body) -> Result<BoundedBody, BodyError> {
        let size = body.size_hint();
        // Said before a byte is read, where the sender says how much there is.
        if size.lower() > BODY_LIMIT as u64 {
            return Err(BodyError::TooLarge);
        }
        let is_small = size.upper().is_some_and(|most| most <= SMALL as u64);
        let room = if is_small {
            None
        } else {
            let turn = timeout(TURN, self.0.clone().acquire_owned());
            let turn = turn.await.map_err(|_| BodyError::Busy)?;
            Some(turn.expect("never closed"))
        };
        let bytes = timeout(BODY_TIMEOUT, collect(body))
            .await
            .map_err(|_| BodyError::Late)??;
        Ok(BoundedBody { bytes, _room: room })
    }
}

/// Into one buffer of the right size from the start, where that is known: joined in the end, all of it would be there twice.
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

    /// Of a length that nobody knows, and which never ends.
    fn endless() -> Body {
        let beginning = stream::iter([Ok::<_, Infallible>("{")]);
        Body::from_stream(beginning.chain(stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn large_ones_wait_for_their_turn_and_small_ones_do_not() {
        let bodies = Bodies::default();
        let large = || bodies.read(Body::from(vec![b' '; SMALL + 1]));
        let mut held = Vec::new();
        for _ in 0..LARGE_AT_ONCE {
            held.push(large().await.unwrap());
        }
        assert!(matches!(large().await, Err(BodyError::Busy)));
        bodies.read(Body::from(vec![b' '; SMALL])).await.unwrap();

        let (turn, ()) = tokio::join!(large(), async {
            tokio::time::sleep(TURN / 2).await;
            held.pop();
        });
        assert_eq!(turn.unwrap().bytes.len(), SMALL + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_not_used_passes_on() {
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
