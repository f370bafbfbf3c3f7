//! Durations of a repeated operation.

use std::fmt;
use std::time::Duration;

use testbed::process::Process;

#[derive(Clone, Debug, Default)]
pub(crate) struct Figures(Vec<Duration>);

impl Figures {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// The duration that so many of a thousand do not exceed.
    pub(crate) fn at(&self, thousandth: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted[(sorted.len() - 1) * thousandth / 1000]
    }

    pub(crate) fn median(&self) -> Duration {
        self.at(500)
    }
}

impl FromIterator<Duration> for Figures {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        Self(durations.into_iter().collect())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999] = [500, 990, 999].map(|share| millis(self.at(share)));
        let count = self.0.len();
        write!(f, "n {count}, p50 {p50}, p99 {p99}, p99.9 {p999}")
    }
}

pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

/// The CPU time that a process uses from now on.
#[derive(Debug)]
pub(crate) struct CpuTime(Duration);

impl CpuTime {
    pub(crate) fn of(process: &Process) -> Self {
        Self(process.cpu_time())
    }

    pub(crate) fn used_by(&self, process: &Process) -> Duration {
        process.cpu_time().saturating_sub(self.0)
    }
}
