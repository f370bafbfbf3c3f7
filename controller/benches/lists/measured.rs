//! Memory and time of a piece of work on one task.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Its text is three numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Resident at most, in MiB.
    pub peak_mib: f64,
    pub seconds: f64,
    /// The longest that nothing else on the task had its turn, in ms.
    pub held_ms: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.peak_mib, self.seconds, self.held_ms)
    }
}

impl FromStr for Measured {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<f64>, _> = text.split(' ').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[peak_mib, seconds, held_ms]) => Ok(Self {
                peak_mib,
                seconds,
                held_ms,
            }),
            _ => Err("not three numbers".to_owned()),
        }
    }
}

/// Does the work, and beside it, on the same task, nothing but to see how long it has to wait for its turn.
pub(crate) fn measured(work: impl Future<Output = ()>) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let started = Instant::now();
    let longest = Cell::new(Duration::ZERO);
    let last = Cell::new(started);
    let turn = || longest.set(longest.get().max(last.replace(Instant::now()).elapsed()));
    runtime.block_on(async {
        let turns = async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                turn();
            }
        };
        tokio::select! {
            biased;
            () = work => {}
            () = turns => {}
        }
        // What held the task at the very end.
        turn();
    });
    Measured {
        peak_mib: peak_mib(),
        seconds: started.elapsed().as_secs_f64(),
        held_ms: longest.get().as_secs_f64() * 1000.0,
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
