mod reviews;
mod texts;

use std::time::Duration;

/// The time limit of a target: this, or two minutes in the long form of the tests.
fn unless_long(short: Duration) -> Duration {
    match std::env::var("FAILOVER_TEST_LONG").as_deref() {
        Err(_) | Ok("" | "0") => short,
        Ok(_) => Duration::from_secs(120),
    }
}
