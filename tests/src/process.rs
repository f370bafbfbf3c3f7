//! A child process with a log, which never outlives the test: it runs under `tests/supervise`, which
//! kills it when this process goes away, however that happens.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How a process is started; kept, so that it can be started again.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: BTreeMap<String, OsString>,
    pub log: PathBuf,
}

impl Spec {
    pub fn new(name: &str, program: impl Into<PathBuf>, logs: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            arguments: vec![],
            environment: BTreeMap::new(),
            log: logs.join(format!("{name}.log")),
        }
    }

    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    #[must_use]
    pub fn args<I: IntoIterator<Item = A>, A: Into<OsString>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.environment.insert(key.to_owned(), value.into());
        self
    }

    pub fn start(self) -> Result<Process> {
        Process::start(self)
    }
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    supervisor: Child,
    pid: Pid,
}

impl Process {
    fn start(spec: Spec) -> Result<Self> {
        let mut supervisor = Command::new(crate::toolchain::supervise()?)
            .arg(&spec.log)
            .arg(&spec.program)
            .args(&spec.arguments)
            .envs(&spec.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be supervised", spec.name))?;
        let mut line = String::new();
        BufReader::new(supervisor.stdout.take().expect("piped above")).read_line(&mut line)?;
        let Ok(pid) = line.trim().parse() else {
            let _ = supervisor.wait();
            bail!(
                "{} ({}) cannot be started",
                spec.name,
                spec.program.display()
            );
        };
        Ok(Self {
            spec,
            supervisor,
            pid: Pid::from_raw(pid),
        })
    }

    pub fn name(&self) -> &str {
        &self.spec.name
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.supervisor.try_wait(), Ok(None))
    }

    /// Sends a signal; that the process is gone already is no error.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            let _ = kill(self.pid, signal);
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.supervisor.wait();
    }

    /// SIGTERM; its exit code, or an error when it takes longer than `within`.
    pub fn terminate(&mut self, within: Duration) -> Result<i32> {
        self.signal(Signal::SIGTERM);
        self.wait(within)
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, within: Duration) -> Result<i32> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.supervisor.try_wait()? {
                return status.code().context("the supervisor was killed");
            }
            if Instant::now() > deadline {
                bail!(
                    "{} still runs after {within:?}\n{}",
                    self.spec.name,
                    self.log_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it again as it was started, after it has ended or been killed.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let fresh = Self::start(self.spec.clone())?;
        *self = fresh;
        Ok(())
    }

    /// As [`Self::restart`], but differently: with another flag, say.
    pub fn restart_as(&mut self, change: impl FnOnce(Spec) -> Spec) -> Result<()> {
        self.spec = change(self.spec.clone());
        self.restart()
    }

    /// The resident memory, in KiB.
    pub fn resident_kib(&self) -> Option<u64> {
        self.status_kib("VmRSS:")
    }

    /// The most that it has been, in KiB.
    pub fn peak_resident_kib(&self) -> Option<u64> {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, key: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    }

    /// What it has used of the cores so far.
    pub fn cpu_time(&self) -> Duration {
        /// `USER_HZ`, which Linux promises to userspace.
        const TICKS_PER_SECOND: u64 = 100;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
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

    pub fn log(&self) -> String {
        fs::read_to_string(&self.spec.log).unwrap_or_default()
    }

    /// The end of the log, for a message.
    pub fn log_tail(&self) -> String {
        tail(&self.spec.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}

/// The last lines of a log with its path.
pub fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(25)..];
    format!("--- {} ---\n{}", log.display(), last.join("\n"))
}

/// A port on 127.0.0.1 that nobody else listens on, and that this process has not given out before.
pub fn free_port() -> Result<u16> {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().expect("no panic while it is held");
    loop {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if !given.contains(&port) {
            given.push(port);
            return Ok(port);
        }
    }
}
