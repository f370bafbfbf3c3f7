//! Memory and time of a piece of work on one task.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Displayed as three numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Peak resident memory, in MiB.
    pub peak_mib: f64,
    pub seconds: f64,
    /// The longest time that the work blocked the task, in ms.
    pub blocked_ms: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.peak_mib, self.seconds, self.blocked_ms)
    }
}

impl FromStr for Measured {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<f64>, _> = text.split(' ').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[peak_mib, seconds, blocked_ms]) => Ok(Self {
                peak_mib,
                seconds,
                blocked_ms,
            }),
            _ => Err("not three numbers".to_owned()),
        }
    }
}

/// Runs the work, and beside it, on the same task, a timer that measures how long it has to wait to be polled.
pub(crate) fn measured(work: impl Future<Output = ()>) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let started = Instant::now();
    let longest = Cell::new(Duration::ZERO);
    let last = Cell::new(started);
    let tick = || longest.set(longest.get().max(last.replace(Instant::now()).elapsed()));
    runtime.block_on(async {
        let ticks = async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                tick();
            }
        };
        tokio::select! {
            biased;
            () = work => {}
            () = ticks => {}
        }
        // What blocked the task at the very end.
        tick();
    });
    Measured {
        peak_mib: peak_mib(),
        seconds: started.elapsed().as_secs_f64(),
        blocked_ms: longest.get().as_secs_f64() * 1000.0,
    }
}

fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .expect("a peak");
    kib.parse::<f64>().expect("a number") / 1024.0
}
