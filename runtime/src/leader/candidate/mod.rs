//! One candidate for leadership, without I/O: what it knows, what it does next, and until when it leads.
//!
//! Three rules ensure that there is never more than one leader:
//!
//! - A leader counts its term from the moment *before* it sent the write that began or renewed it, and ends it after
//!   [`Terms::give_up_after`], two thirds of the duration it has promised.
//! - A follower counts from the moment *after* it first saw that write, and waits out the whole duration.
//! - Both write on the version they have read, so if two take the Lease at once, one of them is refused.
//!
//! Each measures only differences, with its own monotonic clock: clocks may be off by any amount, and their rates may
//! differ by up to a half. Wall clocks are written into the Lease for people, and never read back.

use std::time::Duration;

use tokio::time::Instant;

/// A leader's term is this part of the duration that the others wait: the difference is the margin for clocks that run
/// at different rates. The term also leaves room for several attempts to renew.
const TERM: (u32, u32) = (2, 3);
/// How many attempts fit into a term when the API server does not answer at all.
const ATTEMPTS: u32 = 3;

/// The timing of the election, from the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long the others wait after the last renewal. At least three times `renew_every`.
    pub duration: Duration,
    /// How often a leader renews, and a follower checks the Lease.
    pub renew_every: Duration,
}

impl Terms {
    /// A leader that could not renew for this long stops leading, before anyone else may begin.
    pub fn give_up_after(self) -> Duration {
        self.duration * TERM.0 / TERM.1
    }

    /// A request that takes longer is abandoned, so that there is time for another.
    pub fn request_timeout(self) -> Duration {
        self.give_up_after() / ATTEMPTS
    }
}

/// The relevant part of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseRecord {
    pub(super) version: String,
    /// Absent if the Lease was released, or never held.
    pub(super) holder: Option<String>,
    /// The duration that the holder has promised: the others wait this long, whatever their own flags say.
    pub(super) duration: Option<Duration>,
}

/// What this candidate may do with the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The Lease is ours: write it again.
    Renew,
    /// The Lease has no holder, or its holder has been silent for the whole duration: write it on the version read.
    Take,
    /// Another candidate holds the Lease, and it may not be taken before.
    Follow { until: Instant },
}

/// Decides on a record whose version was first seen at `observed_at`.
pub(super) fn decide(
    record: &LeaseRecord,
    observed_at: Instant,
    now: Instant,
    me: &str,
    terms: Terms,
) -> Decision {
    match &record.holder {
        None => Decision::Take,
        Some(holder) if holder == me => Decision::Renew,
        Some(_) => {
            let until = observed_at + record.duration.unwrap_or(terms.duration);
            if now < until {
                Decision::Follow { until }
            } else {
                Decision::Take
            }
        }
    }
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait {
        until: Instant,
    },
    Read,
    /// Become or stay the holder, provided that the Lease still has this version.
    Write {
        version: String,
    },
}

/// The outcome of a step. Anything uncertain is `Unknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Waited,
    Read(LeaseRecord),
    Written {
        sent: Instant,
        record: LeaseRecord,
    },
    /// The Lease has changed in between. It may have been us, with a request whose answer was lost.
    Conflict,
    /// There is no Lease any more. We do not create it: every candidate could take a new one at once.
    Missing,
    /// Failed or not answered in time: a write may have been applied, or may still be.
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct Candidate {
    me: String,
    terms: Terms,
    seen: Option<Seen>,
    /// Whether `seen` is from the last answer; otherwise it must be read again before a write.
    fresh: bool,
    next: Instant,
    leads_until: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Seen {
    record: LeaseRecord,
    at: Instant,
}

impl Candidate {
    /// `me` must be unique to this process, also after a restart: the holder's name is taken as proof of having written
    /// the Lease.
    pub(super) fn new(me: String, terms: Terms, now: Instant) -> Self {
        Self {
            me,
            terms,
            seen: None,
            fresh: false,
            next: now,
            leads_until: None,
        }
    }

    /// The end of our term, if there is one.
    pub(super) fn leads_until(&self) -> Option<Instant> {
        self.leads_until
    }

    pub(super) fn leads(&self, now: Instant) -> bool {
        self.leads_until.is_some_and(|until| now < until)
    }

    /// The last known holder of the Lease.
    pub(super) fn holder(&self) -> Option<&str> {
        self.seen.as_ref()?.record.holder.as_deref()
    }

    pub(super) fn next(&self, now: Instant) -> Step {
        if now < self.next {
            return Step::Wait { until: self.next };
        }
        let Some(seen) = self.seen.as_ref().filter(|_| self.fresh) else {
            return Step::Read;
        };
        match decide(&seen.record, seen.at, now, &self.me, self.terms) {
            Decision::Renew | Decision::Take => Step::Write {
                version: seen.record.version.clone(),
            },
            Decision::Follow { .. } => Step::Read,
        }
    }

    pub(super) fn answered(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Waited => {}
            Answer::Read(record) => {
                self.see(record, now);
                self.plan_after_read(now);
            }
            Answer::Written { sent, record } => {
                self.see(record, now);
                self.leads_until = Some(sent + self.terms.give_up_after());
                self.next = sent + self.terms.renew_every;
            }
            Answer::Conflict => {
                self.fresh = false;
                self.next = now;
            }
            Answer::Missing => {
                self.seen = None;
                self.fresh = false;
                self.leads_until = None;
                self.next = now + self.terms.renew_every;
            }
            Answer::Unknown => {
                self.fresh = false;
                self.next = now + self.retry_after();
            }
        }
    }

    /// Stops leading. Returns the version on which to release the Lease, if the last known holder is us.
    pub(super) fn resign(&mut self) -> Option<String> {
        self.leads_until = None;
        let seen = self.seen.as_ref()?;
        (seen.record.holder.as_deref() == Some(self.me.as_str()))
            .then(|| seen.record.version.clone())
    }

    fn see(&mut self, record: LeaseRecord, now: Instant) {
        self.fresh = true;
        match &mut self.seen {
            // Unchanged: the holder's silence continues to count.
            Some(seen) if seen.record.version == record.version => seen.record = record,
            seen => *seen = Some(Seen { record, at: now }),
        }
    }

    fn plan_after_read(&mut self, now: Instant) {
        let Some(seen) = &self.seen else { return };
        self.next = match decide(&seen.record, seen.at, now, &self.me, self.terms) {
            Decision::Renew | Decision::Take => now,
            Decision::Follow { until } => {
                self.leads_until = None;
                // Must be read again by then: a write on a stale version would only be refused.
                self.fresh = false;
                until.min(now + self.terms.renew_every)
            }
        };
    }

    /// Sooner than the next renewal, because the term is about to end.
    fn retry_after(&self) -> Duration {
        self.terms.renew_every / 4
    }
}

#[cfg(test)]
mod tests;
