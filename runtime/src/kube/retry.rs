//! Retries: how often, and after how long.

use std::time::Duration;

use backon::BackoffBuilder as _;

use super::error::ObjectError;

/// The longest wait for a `Retry-After` in one go; for a longer one, a sweep asks in between.
const LONGEST: Duration = Duration::from_secs(30);

/// The minimum delay before the second try.
const SHORTEST: Duration = Duration::from_millis(100);

/// Backoff of a failed reconcile: from half a second up to about ten (these delays and as much again at random). A
/// change cuts the wait short, but never below the shortest.
pub const SHORTEST_BACKOFF: Duration = Duration::from_millis(500);
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// The delays of consecutive failures of a control loop.
pub fn backoff() -> backon::ExponentialBackoff {
    growing(SHORTEST_BACKOFF, LONGEST_BACKOFF).build()
}

/// Delays that grow from `shortest` to `longest`, each with as much again at random, and never end.
pub fn growing(shortest: Duration, longest: Duration) -> backon::ExponentialBuilder {
    backon::ExponentialBuilder::default()
        .with_min_delay(shortest)
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times()
}

/// Calls until there is an answer, or the retries are used up.
///
/// A busy server is asked again after the time it names, plus a random delay that grows: callers that were refused
/// together would otherwise return together, and the last of them would be refused for good. A server that is
/// unavailable or fails internally (as during a leader election of etcd) is asked again after 0.1, 0.2, 0.4 s or up to
/// twice that; the control loop waits out longer outages. The same applies while its admission policies have not
/// observed the new role yet: their caches lag behind the Namespace's labels by milliseconds. Every other answer is
/// final.
pub async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, ObjectError>
where
    F: Future<Output = Result<T, ObjectError>>,
{
    let mut delays = backon::ExponentialBuilder::default()
        .with_min_delay(SHORTEST)
        .with_jitter()
        .without_max_times()
        .build();
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match call().await {
            Err(error) if tries < max_tries(&error) => error,
            answer => return answer,
        };
        let asked = match error {
            ObjectError::Busy { retry_after } => retry_after.unwrap_or_default().min(LONGEST),
            _ => Duration::ZERO,
        };
        tokio::time::sleep(asked + delays.next().unwrap_or_default()).await;
    }
}

/// How many times to ask in all.
fn max_tries(error: &ObjectError) -> u32 {
    match error {
        ObjectError::Busy { .. } => 8,
        ObjectError::Unavailable(_)
        | ObjectError::Unserved(_)
        | ObjectError::Refused { status: 500, .. } => 4,
        ObjectError::Refused {
            status: 403,
            message,
        } if is_our_backstop(message) => 5,
        ObjectError::NotFound
        | ObjectError::Conflict
        | ObjectError::Expired
        | ObjectError::Refused { .. } => 1,
    }
}

/// Whether one of our admission policies refused.
fn is_our_backstop(message: &str) -> bool {
    message.contains("ValidatingAdmissionPolicy") && message.contains(".failover.dev' with binding")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use rstest::rstest;
    use tokio::time::Instant;

    use super::*;

    fn refused(status: u16) -> ObjectError {
        ObjectError::Refused {
            status,
            message: "no".into(),
        }
    }

    async fn tries_until(errors: &[ObjectError]) -> (usize, Result<(), ObjectError>) {
        let left = RefCell::new(errors.to_vec());
        let tries = RefCell::new(0);
        let answer = patiently(|| async {
            *tries.borrow_mut() += 1;
            let mut left = left.borrow_mut();
            if left.is_empty() {
                Ok(())
            } else {
                Err(left.remove(0))
            }
        })
        .await;
        (tries.into_inner(), answer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_is_asked_again_after_retry_after() {
        let start = Instant::now();
        let busy = ObjectError::Busy {
            retry_after: Some(Duration::from_secs(3)),
        };
        assert_eq!(tries_until(&[busy.clone(), busy]).await, (3, Ok(())));
        let waited = start.elapsed();
        assert!(
            (Duration::from_secs(6)..Duration::from_millis(6700)).contains(&waited),
            "{waited:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_were_refused_together_do_not_return_together() {
        let busy = ObjectError::Busy {
            retry_after: Some(Duration::from_secs(1)),
        };
        let start = Instant::now();
        let herd = (0..16).map(async |_| {
            tries_until(std::slice::from_ref(&busy)).await.1.unwrap();
            start.elapsed()
        });
        let mut back = futures::future::join_all(herd).await;
        back.sort();
        back.dedup();
        assert!(back.len() > 8, "{back:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_retry_after_is_capped() {
        let start = Instant::now();
        let busy = ObjectError::Busy {
            retry_after: Some(Duration::from_secs(86_400)),
        };
        assert_eq!(tries_until(&[busy]).await, (2, Ok(())));
        assert!(start.elapsed() <= Duration::from_secs(31));
    }

    #[rstest]
    #[case(ObjectError::Unavailable("gone".into()), 4)]
    #[case(ObjectError::Unserved("away".into()), 4)]
    #[case(refused(500), 4)]
    #[case(refused(403), 1)]
    #[case(ObjectError::Refused { status: 403, message: "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'deployments.apps.failover.dev' with binding 'deployments.apps.failover.dev' denied request: site east is secondary".into() }, 5)]
    #[case(refused(422), 1)]
    #[case(ObjectError::Conflict, 1)]
    #[case(ObjectError::NotFound, 1)]
    #[case(ObjectError::Expired, 1)]
    #[tokio::test(start_paused = true)]
    async fn retries_are_bounded(#[case] error: ObjectError, #[case] tries: usize) {
        assert_eq!(
            tries_until(&vec![error.clone(); 20]).await,
            (tries, Err(error))
        );
    }
}
