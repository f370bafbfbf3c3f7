use proptest::prelude::*;

use super::*;
use crate::authority::{AUTHORITY_LIFETIME, LEAF_LIFETIME, issue_authority, issue_leaf};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The Secret, the webhook configuration, and a controller that may be killed between any two acts. API servers and
/// replicas observe writes as late as the decision allows for.
struct World {
    now: Timestamp,
    names: BTreeSet<Name>,
    stored: Stored,
    published: String,
    /// Since when the controller knows the published bundle; a controller that has just started does not.
    known_since: Option<Timestamp>,
    /// Every bundle that was published, and every leaf that was stored, with the time.
    bundles: Vec<(Timestamp, String)>,
    leaves: Vec<(Timestamp, Pair)>,
    /// The delays of API servers and replicas.
    servers: Vec<SignedDuration>,
    replicas: Vec<SignedDuration>,
}

impl World {
    fn new() -> Self {
        Self::with_lags(vec![SignedDuration::ZERO], vec![SignedDuration::ZERO])
    }

    fn with_lags(servers: Vec<SignedDuration>, replicas: Vec<SignedDuration>) -> Self {
        Self {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            names: [
                Name::Dns("failover-webhook.failover-system.svc".into()),
                Name::Ip([127, 0, 0, 1].into()),
            ]
            .into(),
            stored: Stored::default(),
            published: String::new(),
            known_since: None,
            bundles: Vec::new(),
            leaves: Vec::new(),
            servers,
            replicas,
        }
    }

    fn settled() -> Self {
        let mut world = Self::new();
        world.settle();
        world
    }

    fn act(&mut self) -> Act {
        let known_since = *self.known_since.get_or_insert(self.now);
        let act = decide(&Situation {
            stored: &self.stored,
            names: &self.names,
            published: &self.published,
            published_for: self.now.duration_since(known_since),
            now: self.now,
        });
        match &act {
            Act::NewAuthority { previous, .. } => {
                self.stored.authority = Some(issue_authority(self.now).unwrap());
                self.stored.previous.clone_from(previous);
            }
            Act::Publish { bundle } => self.publish(bundle.clone()),
            Act::NewLeaf { .. } => {
                let authority = self.stored.authority.as_ref().unwrap();
                let leaf = issue_leaf(authority, &self.names, self.now).unwrap();
                self.leaves.push((self.now, leaf.clone()));
                self.stored.leaf = Some(leaf);
            }
            Act::DropPrevious => self.stored.previous = None,
            Act::Wait { .. } => {}
        }
        act
    }

    fn publish(&mut self, bundle: String) {
        self.bundles.push((self.now, bundle.clone()));
        self.published = bundle;
        self.known_since = Some(self.now);
    }

    /// Acts until there is nothing to do now. Returns until when.
    fn settle(&mut self) -> Timestamp {
        for _ in 0..10 {
            if let Act::Wait { until } = self.act() {
                assert!(until > self.now, "waiting for {until} would spin");
                self.check();
                return until;
            }
            self.check();
        }
        panic!("never settles")
    }

    /// The controller runs for this long and does what is due in time.
    fn run_for(&mut self, duration: SignedDuration) {
        let end = self.now + duration;
        while self.now < end {
            self.now = self.settle().min(end);
            self.check();
        }
        self.settle();
    }

    /// Continues until no rotation is in progress: one may just have become due. Returns until when there is nothing to
    /// do.
    fn quiesce(&mut self) -> Timestamp {
        for _ in 0..4 {
            let until = self.settle();
            if self.stored.previous.is_none() && Bundle::parse(&self.published).len() == 1 {
                return until;
            }
            self.run_for(until.duration_since(self.now));
        }
        panic!("a rotation does not end")
    }

    /// Asserts that every API server trusts every replica.
    fn check(&self) {
        for server in &self.servers {
            for replica in &self.replicas {
                let Some(serving) = self.served(*replica) else {
                    continue;
                };
                let trusted = Bundle::parse(&self.trusted(*server));
                if let Err(error) = verify(serving, &self.names, &trusted, self.now) {
                    panic!(
                        "{}: an API server {server:#} behind does not trust a replica {replica:#} behind: {error}",
                        self.now
                    );
                }
            }
        }
    }

    fn served(&self, late: SignedDuration) -> Option<&Pair> {
        // Nothing is served before there is a bundle to trust.
        self.bundles.first()?;
        let leaf = |(at, _): &&(Timestamp, Pair)| *at + late <= self.now;
        Some(&self.leaves.iter().rfind(leaf)?.1)
    }

    fn trusted(&self, late: SignedDuration) -> String {
        let bundle = |(at, _): &&(Timestamp, String)| *at + late <= self.now;
        let first = &self.bundles[0];
        self.bundles.iter().rfind(bundle).unwrap_or(first).1.clone()
    }
}

#[test]
fn an_empty_secret_gets_authority_bundle_and_leaf_without_waiting() {
    let mut world = World::new();
    assert_eq!(
        world.act(),
        Act::NewAuthority {
            why: Why::Missing,
            previous: None
        }
    );
    assert!(matches!(world.act(), Act::Publish { .. }));
    assert_eq!(world.act(), Act::NewLeaf { why: Why::Missing });
    assert_eq!(
        world.act(),
        Act::Wait {
            until: world.now + LEAF_LIFETIME * 2 / 3
        }
    );
}

#[test]
fn a_leaf_is_renewed_after_two_thirds_of_its_life_by_the_same_authority() {
    let mut world = World::settled();
    let published = world.published.clone();
    world.now += LEAF_LIFETIME * 2 / 3;
    assert_eq!(world.act(), Act::NewLeaf { why: Why::Due });
    assert_eq!(
        world.act(),
        Act::Wait {
            until: world.now + LEAF_LIFETIME * 2 / 3
        }
    );
    assert_eq!(world.published, published);
}

#[test]
fn a_changed_name_gets_a_new_leaf_at_once() {
    let mut world = World::settled();
    let name = Name::Dns("webhook.example.com".into());
    world.names.insert(name.clone());
    assert_eq!(
        world.act(),
        Act::NewLeaf {
            why: Why::Unusable(VerifyError::MissingName(name))
        }
    );
}

#[test]
fn renewing_an_authority_never_breaks_trust_in_what_is_served() {
    let mut world = World::settled();
    let old = world.published.clone();
    world.run_for(AUTHORITY_LIFETIME * 2 / 3 - DAY);
    assert_eq!(world.published, old);
    world.now += DAY;
    assert_eq!(
        world.act(),
        Act::NewAuthority {
            why: Why::Due,
            previous: Some(old.clone())
        }
    );
    let Act::Publish { bundle } = world.act() else {
        panic!("both are published before anything is signed")
    };
    assert_eq!(Bundle::parse(&bundle).len(), 2);
    assert_eq!(
        world.act(),
        Act::Wait {
            until: world.now + SETTLE
        }
    );
    world.now += SETTLE;
    assert_eq!(
        world.act(),
        Act::NewLeaf {
            why: Why::Unusable(VerifyError::Untrusted)
        }
    );
    assert_eq!(
        world.act(),
        Act::Wait {
            until: world.now + OVERLAP
        }
    );
    world.now += OVERLAP;
    assert_eq!(world.act(), Act::DropPrevious);
    let Act::Publish { bundle } = world.act() else {
        panic!("the new one alone is published last")
    };
    assert_eq!(Bundle::parse(&bundle).len(), 1);
    assert_ne!(bundle, old);
    world.settle();
}

#[test]
fn a_restarted_controller_waits_as_if_the_bundle_was_just_published() {
    let mut world = World::settled();
    world.stored.authority = None;
    world.act();
    world.act();
    world.now += SETTLE * 3;
    world.known_since = None;
    assert_eq!(
        world.act(),
        Act::Wait {
            until: world.now + SETTLE
        }
    );
}

#[test]
fn a_foreign_bundle_is_kept_for_the_overlap_and_then_dropped() {
    let mut world = World::settled();
    world.run_for(DAY);
    let own = world.published.clone();
    // Somebody restored an older Secret: replicas keep serving the newer leaf until they have loaded the older one.
    let newer = issue_authority(world.now).unwrap();
    world.publish(newer.certificate.clone());
    let Act::Publish { bundle } = world.act() else {
        panic!("the stored one is published beside what is there")
    };
    assert_eq!(Bundle::parse(&bundle).len(), 2);
    assert_eq!(
        world.act(),
        Act::Wait {
            until: world.now + OVERLAP
        }
    );
    world.now += OVERLAP;
    assert!(matches!(world.act(), Act::Publish { bundle } if bundle == own));
}

#[test]
fn a_wiped_or_overwritten_bundle_is_published_again_at_once() {
    for published in ["", "garbage", "-----BEGIN CERTIFICATE-----\n!\n"] {
        let mut world = World::settled();
        let before = world.published.clone();
        world.published = published.into();
        assert_eq!(
            world.act(),
            Act::Publish { bundle: before },
            "{published:?}"
        );
        world.settle();
    }
}

#[test]
fn an_authority_whose_key_is_lost_stays_trusted_even_if_it_is_not_published() {
    let mut world = World::settled();
    let old = world.published.clone();
    world.stored.authority.as_mut().unwrap().key = String::new();
    world.published = String::new();
    assert_eq!(
        world.act(),
        Act::NewAuthority {
            why: Why::Unusable(VerifyError::Key),
            previous: Some(old)
        }
    );
    assert!(matches!(world.act(), Act::Publish { bundle } if Bundle::parse(&bundle).len() == 2));
}

#[test]
fn a_lost_secret_keeps_the_published_authorities() {
    let mut world = World::settled();
    let published = world.published.clone();
    world.stored = Stored::default();
    assert_eq!(
        world.act(),
        Act::NewAuthority {
            why: Why::Missing,
            previous: Some(published)
        }
    );
}

/// A node whose clock is far off may become the leader: what works for everybody else must stay trusted meanwhile.
#[test]
fn a_wrong_clock_adds_authorities_and_removes_none() {
    for off in [-AUTHORITY_LIFETIME, AUTHORITY_LIFETIME * 3] {
        let mut world = World::settled();
        let (right, serving) = (world.now, world.stored.leaf.clone().unwrap());
        world.now += off;
        world.known_since = None;
        for _ in 0..5 {
            world.act();
        }
        assert!(Bundle::parse(&world.published).len() > 1);
        let trusted = Bundle::parse(&world.published);
        assert!(verify(&serving, &world.names, &trusted, right).is_ok());
        // The clock of the next leader is right.
        world.now = right;
        world.known_since = None;
        world.leaves.clear();
        world.run_for(DAY);
        assert_eq!(Bundle::parse(&world.published).len(), 1);
        assert!(usable_authority(&world.stored, right + DAY).is_ok());
    }
}

#[derive(Clone, Debug)]
enum Event {
    Act,
    Crash,
    /// The controller is down for some seconds, or minutes.
    Seconds(i64),
    Minutes(i64),
    /// Weeks in which the controller runs.
    Weeks(i64),
    Lose(Part),
}

#[derive(Clone, Copy, Debug)]
enum Part {
    All,
    Authority,
    AuthorityKey,
    Leaf,
    LeafKey,
    Previous,
}

impl World {
    fn lose(&mut self, part: Part) {
        let other = || issue_authority(self.now).unwrap().key;
        match part {
            Part::All => self.stored = Stored::default(),
            Part::Authority => self.stored.authority = None,
            Part::AuthorityKey => {
                let key = other();
                if let Some(pair) = &mut self.stored.authority {
                    pair.key = key;
                }
            }
            Part::Leaf => self.stored.leaf = None,
            Part::LeafKey => {
                if let Some(pair) = &mut self.stored.leaf {
                    pair.key = "garbage".into();
                }
            }
            Part::Previous => self.stored.previous = Some("garbage".into()),
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Act => {
                self.act();
            }
            Event::Crash => self.known_since = None,
            Event::Seconds(seconds) => self.now += SignedDuration::from_secs(seconds),
            Event::Minutes(minutes) => self.now += SignedDuration::from_mins(minutes),
            Event::Weeks(weeks) => self.run_for(DAY * i32::try_from(weeks * 7).unwrap()),
            Event::Lose(part) => self.lose(part),
        }
        self.check();
    }
}

fn event() -> impl Strategy<Value = Event> {
    let part = prop_oneof![
        Just(Part::All),
        Just(Part::Authority),
        Just(Part::AuthorityKey),
        Just(Part::Leaf),
        Just(Part::LeafKey),
        Just(Part::Previous),
    ];
    prop_oneof![
        10 => Just(Event::Act),
        2 => Just(Event::Crash),
        4 => (1i64..12).prop_map(Event::Seconds),
        2 => (1i64..90).prop_map(Event::Minutes),
        1 => (1i64..110).prop_map(Event::Weeks),
        2 => part.prop_map(Event::Lose),
    ]
}

fn lags(limit: SignedDuration) -> impl Strategy<Value = Vec<SignedDuration>> {
    // Many are hardly late at all: what matters is the order in which they observe a write.
    let lag = prop_oneof![0..5i64, 0..limit.as_secs()].prop_map(SignedDuration::from_secs);
    proptest::collection::vec(lag, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_api_server_always_trusts_every_replica_and_rotation_ends(
        servers in lags(SETTLE),
        replicas in lags(OVERLAP),
        events in proptest::collection::vec(event(), 0..80),
    ) {
        let mut world = World::with_lags(servers, replicas);
        for event in &events {
            world.happen(event);
        }
        world.run_for(DAY);
        let until = world.quiesce();
        let trusted = Bundle::parse(&world.published);
        let leaf = world.stored.leaf.as_ref().unwrap();
        prop_assert!(verify(leaf, &world.names, &trusted, world.now).is_ok());
        // Nothing is renewed early.
        let (stored, published) = (world.stored.clone(), world.published.clone());
        world.now = until - SignedDuration::from_secs(1);
        prop_assert_eq!(world.act(), Act::Wait { until });
        prop_assert_eq!(world.stored, stored);
        prop_assert_eq!(world.published, published);
    }
}
