//! Random events: every API server trusts every replica at every moment.

use proptest::prelude::*;

use super::*;
use crate::authority::issue_authority;

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
