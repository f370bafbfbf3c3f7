//! Asking again: how often, and after how long.

use std::time::Duration;

use backon::BackoffBuilder as _;

use super::error::ObjectError;

/// The longest `Retry-After` that is honoured in one go; a sweep that is told to wait longer asks in between.
const LONGEST: Duration = Duration::from_secs(30);

/// What the second try waits for of its own accord, at least.
const SHORTEST: Duration = Duration::from_millis(100);

/// A turn of a control loop that failed is tried again after half a second, then ever later up to about ten (this and as much
/// again at random), and sooner when something changes; but never sooner than the first.
pub const SHORTEST_BACKOFF: Duration = Duration::from_millis(500);
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// The delays of one run of failures of a control loop.
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

/// Calls until there is an answer, or patience has run out.
///
/// A busy server is asked again after the time it names, and a random while that grows: those who were turned away together
/// would come back together, and the last of them be turned away for good. One that is away, or has failed internally (a change of etcd's
/// leader does), is asked again after 0.1, 0.2, 0.4 s or up to twice that: longer absences are the control loop's to wait out. So is one whose
/// admission policies have not seen the new role yet: its caches follow the Namespace's labels by milliseconds. Every other
/// answer stands.
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
            Err(error) if tries < patience(&error) => error,
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
fn patience(error: &ObjectError) -> u32 {
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

/// Whether a refusal is that of an admission policy of ours.
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
    async fn a_busy_server_is_asked_again_when_it_says() {
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
    async fn those_who_were_turned_away_together_do_not_come_back_together() {
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
    async fn nobody_can_make_it_wait_for_hours() {
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
    async fn patience_runs_out(#[case] error: ObjectError, #[case] tries: usize) {
        assert_eq!(
            tries_until(&vec![error.clone(); 20]).await,
            (tries, Err(error))
        );
    }
}
