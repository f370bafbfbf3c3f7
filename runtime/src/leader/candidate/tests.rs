use proptest::prelude::*;
use rstest::rstest;

use super::*;

const TERMS: Terms = Terms {
    duration: Duration::from_secs(15),
    renew_every: Duration::from_secs(2),
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn record(version: &str, holder: Option<&str>, duration: Option<u64>) -> LeaseRecord {
    LeaseRecord {
        version: version.into(),
        holder: holder.map(Into::into),
        duration: duration.map(seconds),
    }
}

#[rstest]
#[case::never_held(None, None, 0, Some(Decision::Take))]
#[case::ours(Some("me"), Some(15), 0, Some(Decision::Renew))]
#[case::ours_for_long(Some("me"), Some(15), 3600, Some(Decision::Renew))]
#[case::seen_just_now(Some("other"), Some(15), 0, None)]
#[case::silent_for_almost_as_long_as_promised(Some("other"), Some(15), 14, None)]
#[case::silent_for_as_long_as_promised(Some("other"), Some(15), 15, Some(Decision::Take))]
#[case::promised_more_than_we_would(Some("other"), Some(60), 59, None)]
#[case::promised_nothing_and_has_our_own_duration(Some("other"), None, 14, None)]
#[case::promised_nothing_and_that_is_over(Some("other"), None, 15, Some(Decision::Take))]
fn a_lease_is_taken_once_its_holder_was_silent_for_the_promised_duration(
    #[case] holder: Option<&str>,
    #[case] promised: Option<u64>,
    #[case] silent_for: u64,
    #[case] expected: Option<Decision>,
) {
    let seen = Instant::now();
    let expected = expected.unwrap_or_else(|| Decision::Follow {
        until: seen + seconds(promised.unwrap_or(15)),
    });
    assert_eq!(
        decide(
            &record("7", holder, promised),
            seen,
            seen + seconds(silent_for),
            "me",
            TERMS
        ),
        expected
    );
}

#[test]
fn silence_counts_from_when_a_version_was_first_seen() {
    let start = Instant::now();
    let mut candidate = Candidate::new("me".into(), TERMS, start);
    for after in 0..15 {
        candidate.answered(
            Answer::Read(record("7", Some("other"), Some(15))),
            start + seconds(after),
        );
        assert!(matches!(
            candidate.next(start + seconds(after)),
            Step::Wait { .. }
        ));
    }
    let mut renewed = candidate.clone();
    let end = start + seconds(15);
    candidate.answered(Answer::Read(record("7", Some("other"), Some(15))), end);
    assert_eq!(
        candidate.next(end),
        Step::Write {
            version: "7".into()
        }
    );
    renewed.answered(Answer::Read(record("8", Some("other"), Some(15))), end);
    assert!(matches!(renewed.next(end), Step::Wait { .. }));
}

#[test]
fn a_term_counts_from_before_the_write_was_sent() {
    let sent = Instant::now();
    let mut candidate = Candidate::new("me".into(), TERMS, sent);
    let answer = |sent| Answer::Written {
        sent,
        record: record("8", Some("me"), Some(15)),
    };
    candidate.answered(answer(sent), sent + seconds(3));
    assert_eq!(candidate.leads_until(), Some(sent + seconds(10)));
    assert!(candidate.leads(sent + seconds(9)) && !candidate.leads(sent + seconds(10)));

    let mut late = Candidate::new("me".into(), TERMS, sent);
    late.answered(answer(sent), sent + seconds(12));
    assert!(!late.leads(sent + seconds(12)));
}

#[test]
fn a_write_whose_answer_was_lost_is_recognised_as_our_own() {
    let start = Instant::now();
    let mut candidate = Candidate::new("me".into(), TERMS, start);
    candidate.answered(
        Answer::Written {
            sent: start,
            record: record("8", Some("me"), Some(15)),
        },
        start,
    );
    let later = start + seconds(4);
    candidate.answered(Answer::Unknown, later);
    let retry = later + TERMS.renew_every / 4;
    assert_eq!(candidate.next(retry), Step::Read);
    candidate.answered(Answer::Read(record("9", Some("me"), Some(15))), retry);
    assert!(candidate.leads(retry));
    assert_eq!(
        candidate.next(retry),
        Step::Write {
            version: "9".into()
        }
    );
    // Reading our own name does not extend the term.
    assert_eq!(candidate.leads_until(), Some(start + seconds(10)));
}

#[rstest]
#[case::overtaken(Answer::Read(record("9", Some("other"), Some(15))))]
#[case::deleted(Answer::Missing)]
fn leadership_ends_at_once_when_the_lease_is_not_ours(#[case] answer: Answer) {
    let start = Instant::now();
    let mut candidate = Candidate::new("me".into(), TERMS, start);
    candidate.answered(
        Answer::Written {
            sent: start,
            record: record("8", Some("me"), Some(15)),
        },
        start,
    );
    assert!(candidate.leads(start));
    candidate.answered(answer, start);
    assert!(!candidate.leads(start));
    assert_eq!(candidate.resign(), None);
}

#[test]
fn a_term_has_room_for_several_attempts_and_ends_before_the_others_begin() {
    assert!(TERMS.give_up_after() < TERMS.duration);
    assert!(TERMS.renew_every + TERMS.request_timeout() * 2 < TERMS.give_up_after());
}

/// An API server with one Lease, a network that delays and loses messages, and candidates with clocks of different
/// rates.
struct World {
    noise: u64,
    faults: Faults,
    /// True time since the beginning.
    elapsed: Duration,
    base: Instant,
    server: LeaseRecord,
    candidates: Vec<Peer>,
    network: Vec<Message>,
    peers_started: u32,
    terms_led: u32,
}

#[derive(Clone, Copy, Debug)]
struct Faults {
    /// Per thousand requests, and per thousand answers.
    lost: u64,
    longest_delay: u64,
    /// Per ten thousand ticks of a candidate.
    pauses: u64,
    restarts: u64,
}

const QUIET: Faults = Faults {
    lost: 0,
    longest_delay: 100,
    pauses: 0,
    restarts: 0,
};

struct Peer {
    me: String,
    /// Clock rate in thousandths of true time.
    rate: u32,
    offset: Duration,
    candidate: Candidate,
    paused_until: Duration,
    /// The pending request, and since when by the peer's own clock.
    waiting: Option<(u64, Instant)>,
    led: bool,
}

struct Message {
    id: u64,
    from: String,
    step: Step,
    releases: bool,
    arrives: Duration,
    answer_delay: Duration,
    answer: Option<(Answer, Duration)>,
    lost: bool,
    answer_lost: bool,
}

const TICK: Duration = Duration::from_millis(50);

impl World {
    fn new(noise: u64, rates: &[u32], faults: Faults) -> Self {
        let base = Instant::now();
        let mut world = Self {
            noise: noise | 1,
            faults,
            elapsed: Duration::ZERO,
            base,
            server: record("0", None, None),
            candidates: Vec::new(),
            network: Vec::new(),
            peers_started: 0,
            terms_led: 0,
        };
        for rate in rates {
            let peer = world.start_peer(*rate);
            world.candidates.push(peer);
        }
        world
    }

    fn start_peer(&mut self, rate: u32) -> Peer {
        self.peers_started += 1;
        let me = format!("candidate-{}", self.peers_started);
        let offset = Duration::from_millis(self.below(1_000_000));
        let now = clock(self.base, self.elapsed, rate, offset);
        Peer {
            candidate: Candidate::new(me.clone(), TERMS, now),
            me,
            rate,
            offset,
            paused_until: Duration::ZERO,
            waiting: None,
            led: false,
        }
    }

    /// Xorshift: reproducible from the seed that proptest shows and shrinks.
    fn below(&mut self, limit: u64) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        self.noise % limit
    }

    fn delay(&mut self) -> Duration {
        let limit = self.faults.longest_delay + 1;
        Duration::from_millis(self.below(limit))
    }

    fn now(&self, peer: usize) -> Instant {
        let peer = &self.candidates[peer];
        clock(self.base, self.elapsed, peer.rate, peer.offset)
    }

    fn tick(&mut self) {
        self.elapsed += TICK;
        self.deliver();
        for peer in 0..self.candidates.len() {
            self.live(peer);
        }
        let leaders: Vec<&str> = (0..self.candidates.len())
            .filter(|peer| self.candidates[*peer].candidate.leads(self.now(*peer)))
            .map(|peer| self.candidates[peer].me.as_str())
            .collect();
        assert!(
            leaders.len() <= 1,
            "{leaders:?} lead at once after {:?}",
            self.elapsed
        );
        for peer in 0..self.candidates.len() {
            let leads = self.candidates[peer].candidate.leads(self.now(peer));
            self.terms_led += u32::from(leads && !self.candidates[peer].led);
            self.candidates[peer].led = leads;
        }
    }

    /// A request that arrives at the server now is answered from the current state.
    fn deliver(&mut self) {
        let elapsed = self.elapsed;
        for message in &mut self.network {
            if message.lost || message.answer.is_some() || elapsed < message.arrives {
                continue;
            }
            let sent = self.base;
            let answer = match &message.step {
                Step::Read => Answer::Read(self.server.clone()),
                Step::Write { version } if *version == self.server.version => {
                    let next = version.parse::<u64>().unwrap() + 1;
                    self.server = record(
                        &next.to_string(),
                        (!message.releases).then_some(message.from.as_str()),
                        Some(15),
                    );
                    Answer::Written {
                        sent,
                        record: self.server.clone(),
                    }
                }
                Step::Write { .. } => Answer::Conflict,
                Step::Wait { .. } => unreachable!("waiting sends nothing"),
            };
            message.answer = Some((answer, elapsed + message.answer_delay));
        }
    }

    fn live(&mut self, peer: usize) {
        if self.elapsed < self.candidates[peer].paused_until {
            return;
        }
        if self.below(10_000) < self.faults.pauses {
            let pause = Duration::from_millis(self.below(40_000));
            self.candidates[peer].paused_until = self.elapsed + pause;
            return;
        }
        if self.below(10_000) < self.faults.restarts {
            return self.restart(peer);
        }
        let now = self.now(peer);
        if let Some((id, sent)) = self.candidates[peer].waiting {
            let answer = self
                .answer(id, sent)
                .or_else(|| (now >= sent + TERMS.request_timeout()).then_some(Answer::Unknown));
            let Some(answer) = answer else { return };
            self.candidates[peer].waiting = None;
            self.candidates[peer].candidate.answered(answer, now);
        }
        let step = self.candidates[peer].candidate.next(now);
        if !matches!(step, Step::Wait { .. }) {
            let id = self.send(peer, step, false);
            self.candidates[peer].waiting = Some((id, now));
        }
    }

    fn answer(&self, id: u64, sent: Instant) -> Option<Answer> {
        let message = self.network.iter().find(|message| message.id == id)?;
        let (answer, returns) = message.answer.as_ref().filter(|_| !message.answer_lost)?;
        (self.elapsed >= *returns).then(|| match answer {
            Answer::Written { record, .. } => Answer::Written {
                sent,
                record: record.clone(),
            },
            other => other.clone(),
        })
    }

    fn send(&mut self, peer: usize, step: Step, releases: bool) -> u64 {
        let id = self.below(u64::MAX);
        let message = Message {
            id,
            from: self.candidates[peer].me.clone(),
            step,
            releases,
            arrives: self.elapsed + self.delay(),
            answer_delay: self.delay(),
            answer: None,
            lost: self.below(1000) < self.faults.lost,
            answer_lost: self.below(1000) < self.faults.lost,
        };
        self.network.push(message);
        id
    }

    /// Half of the restarts are graceful and release the Lease. The next process has another name.
    fn restart(&mut self, peer: usize) {
        let graceful = self.below(2) == 0;
        if graceful && let Some(version) = self.candidates[peer].candidate.resign() {
            self.send(peer, Step::Write { version }, true);
        }
        let rate = self.candidates[peer].rate;
        self.candidates[peer] = self.start_peer(rate);
    }

    fn run(&mut self, duration: Duration) {
        let end = self.elapsed + duration;
        while self.elapsed < end {
            self.tick();
        }
    }
}

fn clock(base: Instant, elapsed: Duration, rate: u32, offset: Duration) -> Instant {
    base + offset + elapsed * rate / 1000
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn there_are_never_two_leaders_and_there_is_one_without_faults(
        noise in any::<u64>(),
        // The fastest clock is less than a half faster than the slowest.
        rates in proptest::collection::vec(850u32..1200, 1..5),
        lost in 0u64..400,
        longest_delay in prop_oneof![Just(200u64), Just(4_000), Just(30_000)],
        pauses in 0u64..60,
        restarts in 0u64..30,
    ) {
        let faults = Faults { lost, longest_delay, pauses, restarts };
        let mut world = World::new(noise, &rates, faults);
        world.run(seconds(120));

        world.faults = QUIET;
        // Pauses of up to 40 s, a late write of up to 30 s, and a promised 15 s to wait out, by a slow clock.
        world.run(seconds(100));
        let leading = (0..rates.len()).filter(|peer| world.candidates[*peer].led).count();
        prop_assert_eq!(leading, 1);
        let led = world.terms_led;
        world.run(seconds(60));
        prop_assert_eq!(world.terms_led, led, "leadership changes hands although nothing happens");
    }
}
