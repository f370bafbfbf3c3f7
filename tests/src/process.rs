//! A child process with a log, which never outlives the test: it runs under `tests/supervise`, which kills it when this
//! process ends for any reason.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How a process is started; kept for restarts.
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

/// The environment of components in Go: they live for a minute, and cores are scarcer than memory. With Go's default of 100
/// the API server spends a quarter of its time collecting garbage. The caller's setting takes precedence.
pub(crate) fn go_environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    const MEMORY_FOR_CORES: [(&str, &str); 2] = [("GOGC", "400"), ("GOMEMLIMIT", "1GiB")];
    MEMORY_FOR_CORES
        .into_iter()
        .filter(|(key, _)| std::env::var_os(key).is_none())
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    started: Mutex<Started>,
}

#[derive(Debug)]
struct Started {
    spec: Spec,
    reconfigured: bool,
    running: Running,
}

#[derive(Debug)]
struct Running {
    supervisor: Child,
    pid: Pid,
}

impl Running {
    fn start(spec: &Spec) -> Result<Self> {
        let mut supervisor = Command::new(crate::toolchain::supervise()?)
            .arg(&spec.log)
            .arg(&spec.program)
            .args(&spec.arguments)
            .envs(go_environment())
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
            supervisor,
            pid: Pid::from_raw(pid),
        })
    }

    fn is_running(&mut self) -> bool {
        matches!(self.supervisor.try_wait(), Ok(None))
    }

    fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            let _ = kill(self.pid, signal);
        }
    }

    fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.supervisor.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}

impl Process {
    fn start(spec: Spec) -> Result<Self> {
        let running = Running::start(&spec)?;
        Ok(Self {
            name: spec.name.clone(),
            started: Mutex::new(Started {
                spec,
                reconfigured: false,
                running,
            }),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> i32 {
        self.started().running.pid.as_raw()
    }

    pub fn is_running(&self) -> bool {
        self.started().running.is_running()
    }

    /// Whether it is stopped by SIGSTOP.
    pub fn is_stopped(&self) -> bool {
        self.stat().first().is_some_and(|state| state == "T")
    }

    /// Whether it was restarted with another configuration.
    pub fn is_reconfigured(&self) -> bool {
        self.started().reconfigured
    }

    /// Sends a signal; it is no error if the process has ended.
    pub fn signal(&self, signal: Signal) {
        self.started().running.signal(signal);
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&self) {
        self.started().running.kill();
    }

    /// Sends SIGTERM; returns the exit code, or an error if it takes longer than `within`.
    pub fn terminate(&self, within: Duration) -> Result<i32> {
        self.signal(Signal::SIGTERM);
        self.wait(within)
    }

    /// Waits for it to end by itself.
    pub fn wait(&self, within: Duration) -> Result<i32> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.started().running.supervisor.try_wait()? {
                return status.code().context("the supervisor was killed");
            }
            if Instant::now() > deadline {
                bail!(
                    "{} still runs after {within:?}\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it again with the same configuration, after it has ended or been killed.
    pub fn restart(&self) -> Result<()> {
        let mut started = self.started();
        started.running.kill();
        started.running = Running::start(&started.spec)?;
        Ok(())
    }

    /// As [`Self::restart`], with another configuration.
    pub fn restart_as(&self, change: impl FnOnce(Spec) -> Spec) -> Result<()> {
        {
            let mut started = self.started();
            started.spec = change(started.spec.clone());
            started.reconfigured = true;
        }
        self.restart()
    }

    fn started(&self) -> MutexGuard<'_, Started> {
        self.started.lock().expect("no panic while it is held")
    }

    /// The resident memory, in KiB.
    pub fn resident_kib(&self) -> Option<u64> {
        self.status_kib("VmRSS:")
    }

    /// The peak of the resident memory, in KiB.
    pub fn peak_resident_kib(&self) -> Option<u64> {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, key: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    }

    /// The CPU time that it has used so far.
    pub fn cpu_time(&self) -> Duration {
        /// `USER_HZ`, which Linux promises to userspace.
        const TICKS_PER_SECOND: u64 = 100;
        // utime and stime.
        let ticks = self.stat().into_iter().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }

    /// The fields of `/proc/PID/stat` after the name; none if the process is gone.
    fn stat(&self) -> Vec<String> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        // The name, in parentheses, may hold blanks and parentheses.
        let after = stat.rsplit(')').next().unwrap_or_default();
        after.split_whitespace().map(str::to_owned).collect()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.started().spec.log).unwrap_or_default()
    }

    /// The end of the log, for a message.
    pub fn log_tail(&self) -> String {
        tail(&self.started().spec.log)
    }
}

/// The last lines of a log with its path.
pub fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(25)..];
    format!("--- {} ---\n{}", log.display(), last.join("\n"))
}

/// A free port on 127.0.0.1 that this process has not returned before.
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
