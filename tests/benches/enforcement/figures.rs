//! Durations of one thing done many times.

use std::fmt;
use std::fs;
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

/// What a process uses of the cores from now on.
#[derive(Debug)]
pub(crate) struct CpuTime(Duration);

impl CpuTime {
    pub(crate) fn of(process: &Process) -> Self {
        Self(cpu_time(process))
    }

    pub(crate) fn used_by(&self, process: &Process) -> Duration {
        cpu_time(process).saturating_sub(self.0)
    }
}

fn cpu_time(process: &Process) -> Duration {
    /// USER_HZ, which Linux promises to userspace.
    const TICKS_PER_SECOND: u64 = 100;
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap_or_default();
    // The name, in parentheses, may hold blanks; utime and stime are the 12th and 13th after it.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}
