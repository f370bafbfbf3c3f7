//! Which replica leads: the one that holds the Lease.
//!
//! ```text
//!   candidate   pure: what to do next, until when we lead         (candidate.rs)
//!   Elector     asks the API server, and polls the leader's work  (here)
//! ```
//!
//! The elector itself polls the work, and never after the end of its term: there is no separate task that could
//! continue because a message has not reached it yet. A request sent within the term may still arrive after it, so
//! leaders write on the version they have read; leadership only keeps them from getting in each other's way.
//!
//! Losing the API server for two thirds of the Lease's duration ends leadership; it can be acquired again afterwards. A
//! process that stops releases the Lease, so that the next one need not wait. Deleting the Lease by hand gives
//! leadership away before the current leader has noticed.

mod candidate;
mod failures;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use failover_core::names::{CONTROLLER_MANAGER, LEADER_LEASE};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::Api;
use kube::{Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::kube::field_manager;

pub use candidate::Terms;
use candidate::{Answer, Candidate, LeaseRecord, Step};
use failures::{LeaseError, LeaseFailures};

/// Takes part in leader election.
pub struct Elector {
    leases: Api<Lease>,
    namespace: String,
    identity: String,
    terms: Terms,
    now: fn() -> Timestamp,
    leading: watch::Sender<bool>,
    /// The Lease as last read or written: a write keeps its other fields.
    lease: Option<Lease>,
    failures: LeaseFailures,
}

impl std::fmt::Debug for Elector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Elector")
            .field("identity", &self.identity)
            .field("terms", &self.terms)
            .field("leading", &*self.leading.borrow())
            .finish_non_exhaustive()
    }
}

impl Elector {
    /// `name` is the pod's. The holder identity is unique to this process, so that neither a restarted container nor a
    /// second process of the same name takes the first one's term for its own.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        terms: Terms,
        now: fn() -> Timestamp,
    ) -> Self {
        // The standard library seeds it randomly for every process.
        let unique = RandomState::new().build_hasher().finish();
        Self {
            leases: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            identity: format!("{name}_{unique:016x}"),
            terms,
            now,
            leading: watch::Sender::new(false),
            lease: None,
            failures: LeaseFailures::default(),
        }
    }

    /// Whether this process leads, for metrics and the like. Work that must run on the leader only belongs in
    /// [`Self::run`].
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leading.subscribe()
    }

    /// Calls `work` whenever this process becomes the leader, and drops the returned future when it no longer leads.
    ///
    /// Ends with `None` when `stop` is cancelled, and with the work's output if the work ends by itself. In both cases
    /// the work is dropped before the Lease is released for the next leader.
    pub async fn run<W: Future>(
        mut self,
        stop: &CancellationToken,
        mut work: impl FnMut() -> W,
    ) -> Option<W::Output> {
        let mut candidate = Candidate::new(self.identity.clone(), self.terms, Instant::now());
        let mut working: Option<Pin<Box<W>>> = None;
        let output = loop {
            let now = Instant::now();
            match (candidate.leads(now), working.is_some()) {
                (true, false) => {
                    tracing::info!(identity = self.identity, "leading");
                    self.leading.send_replace(true);
                    working = Some(Box::pin(work()));
                }
                (false, true) => {
                    working = None;
                    self.leading.send_replace(false);
                    tracing::warn!(
                        identity = self.identity,
                        holder = candidate.holder().unwrap_or_default(),
                        "no longer leading: another replica holds the Lease, or it could not be renewed for {:.1?}; stopping all work",
                        self.terms.give_up_after()
                    );
                }
                (true, true) | (false, false) => {}
            }
            let step = candidate.next(now);
            let until = candidate.leads_until().filter(|_| working.is_some());
            match within(until, self.carry_out(step), working.as_mut(), stop).await {
                Event::Answered(answer) => candidate.answered(answer, Instant::now()),
                Event::TermOver => {}
                Event::Ended(output) => break Some(output),
                Event::Stopped => break None,
            }
        };
        drop(working);
        self.leading.send_replace(false);
        self.release(&mut candidate).await;
        output
    }

    async fn carry_out(&mut self, step: Step) -> Answer {
        match step {
            Step::Wait { until } => {
                sleep_until(until).await;
                Answer::Waited
            }
            Step::Read => {
                let read = timeout(self.terms.request_timeout(), self.leases.get(LEADER_LEASE));
                match read.await {
                    Ok(Ok(lease)) => {
                        self.failures.over();
                        let record = record(&lease);
                        self.lease = Some(lease);
                        Answer::Read(record)
                    }
                    Ok(Err(error)) => self.failed("read", error),
                    Err(_) => self.silent("read"),
                }
            }
            Step::Write { version } => {
                let Some(lease) = self.acquired(&version) else {
                    return Answer::Conflict;
                };
                let sent = Instant::now();
                self.replace("renew", &lease)
                    .await
                    .map_or_else(Into::into, |record| Answer::Written { sent, record })
            }
        }
    }

    /// Releases the Lease if it is ours. A failure only makes the next leader wait.
    async fn release(&mut self, candidate: &mut Candidate) {
        // A second attempt, for when a cancelled request has changed the version after all.
        for _ in 0..2 {
            let Some(version) = candidate.resign() else {
                return;
            };
            let answer = match self.released(&version) {
                Some(lease) => self.replace("vacate", &lease).await,
                None => Err(LeaseRefusal::Conflict),
            };
            match answer {
                Ok(_) => {
                    tracing::info!(identity = self.identity, "released the leader Lease");
                    return;
                }
                Err(LeaseRefusal::Conflict) => {
                    let answer = self.carry_out(Step::Read).await;
                    candidate.answered(answer, Instant::now());
                }
                Err(LeaseRefusal::Missing | LeaseRefusal::Unknown) => return,
            }
        }
    }

    async fn replace(
        &mut self,
        verb: &'static str,
        lease: &Lease,
    ) -> Result<LeaseRecord, LeaseRefusal> {
        let params = field_manager::post(CONTROLLER_MANAGER);
        let write = self.leases.replace(LEADER_LEASE, &params, lease);
        match timeout(self.terms.request_timeout(), write).await {
            Ok(Ok(lease)) => {
                self.failures.over();
                let record = record(&lease);
                self.lease = Some(lease);
                Ok(record)
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(LeaseRefusal::Conflict),
            Ok(Err(error)) => Err(match self.failed(verb, error) {
                Answer::Missing => LeaseRefusal::Missing,
                _ => LeaseRefusal::Unknown,
            }),
            Err(_) => {
                self.silent(verb);
                Err(LeaseRefusal::Unknown)
            }
        }
    }

    /// The Lease with us as its holder.
    fn acquired(&self, version: &str) -> Option<Lease> {
        let mut lease = self.version(version)?;
        let now = MicroTime((self.now)());
        let before = lease.spec.take().unwrap_or_default();
        let stays = before.holder_identity.as_deref() == Some(self.identity.as_str());
        let transitions = before.lease_transitions.unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            acquire_time: before
                .acquire_time
                .filter(|_| stays)
                .or_else(|| Some(now.clone())),
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(whole_seconds(self.terms.duration)),
            lease_transitions: Some(transitions + i32::from(!stays)),
            renew_time: Some(now),
            ..before
        });
        Some(lease)
    }

    /// The Lease without a holder. Its other fields stay for people to read.
    fn released(&self, version: &str) -> Option<Lease> {
        let mut lease = self.version(version)?;
        lease.spec.as_mut()?.holder_identity = None;
        Some(lease)
    }

    fn version(&self, version: &str) -> Option<Lease> {
        let mut lease = self.lease.clone()?;
        lease.metadata.managed_fields = None;
        (lease.metadata.resource_version.as_deref() == Some(version)).then_some(lease)
    }

    fn failed(&mut self, verb: &'static str, source: kube::Error) -> Answer {
        let namespace = self.namespace.clone();
        let missing = matches!(&source, kube::Error::Api(status) if status.code == 404);
        let error = if missing {
            LeaseError::Missing { namespace }
        } else {
            LeaseError::Request {
                verb,
                namespace,
                source,
            }
        };
        self.failures.report(&error);
        if missing {
            Answer::Missing
        } else {
            Answer::Unknown
        }
    }

    fn silent(&mut self, verb: &'static str) -> Answer {
        self.failures.report(&LeaseError::Silent {
            verb,
            namespace: self.namespace.clone(),
            after: self.terms.request_timeout(),
        });
        Answer::Unknown
    }
}

/// Why a write was not answered with the written Lease.
enum LeaseRefusal {
    Conflict,
    Missing,
    Unknown,
}

impl From<LeaseRefusal> for Answer {
    fn from(refusal: LeaseRefusal) -> Self {
        match refusal {
            LeaseRefusal::Conflict => Self::Conflict,
            LeaseRefusal::Missing => Self::Missing,
            LeaseRefusal::Unknown => Self::Unknown,
        }
    }
}

enum Event<T> {
    Answered(Answer),
    TermOver,
    Ended(T),
    Stopped,
}

/// Runs a step while the work continues, but not past `until`.
async fn within<W: Future>(
    until: Option<Instant>,
    step: impl Future<Output = Answer>,
    mut working: Option<&mut Pin<Box<W>>>,
    stop: &CancellationToken,
) -> Event<W::Output> {
    let mut stopped = pin!(stop.cancelled());
    let mut timer = pin!(async {
        match until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    });
    let mut step = pin!(step);
    std::future::poll_fn(|context| {
        if stopped.as_mut().poll(context).is_ready() {
            return Poll::Ready(Event::Stopped);
        }
        // The clock is read as well: after a pause of the process, the timer may fire after the work is woken.
        let fired = timer.as_mut().poll(context).is_ready();
        if fired || until.is_some_and(|until| Instant::now() >= until) {
            return Poll::Ready(Event::TermOver);
        }
        if let Poll::Ready(answer) = step.as_mut().poll(context) {
            return Poll::Ready(Event::Answered(answer));
        }
        match &mut working {
            Some(working) => working.as_mut().poll(context).map(Event::Ended),
            None => Poll::Pending,
        }
    })
    .await
}

fn record(lease: &Lease) -> LeaseRecord {
    let spec = lease.spec.as_ref();
    LeaseRecord {
        version: lease.resource_version().unwrap_or_default(),
        holder: spec
            .and_then(|spec| spec.holder_identity.clone())
            .filter(|holder| !holder.is_empty()),
        duration: spec
            .and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok())
            .map(Duration::from_secs),
    }
}

/// Rounded up: the others may wait longer than we promised, never shorter.
fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
