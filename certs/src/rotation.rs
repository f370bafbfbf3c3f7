//! What to do next about the certificates: a pure decision, repeated until there is nothing left to do.
//!
//! ```text
//!   new authority, the old one kept beside it
//!        ► both published in the webhook configuration
//!        ► SETTLE: every API server has seen that
//!        ► new leaf
//!        ► OVERLAP: every replica serves it
//!        ► old authority dropped ► the new one published alone
//! ```
//!
//! The order makes sure that whatever a replica serves is trusted by what is published, at every moment and whatever crash
//! comes between two acts. Each act is idempotent and is decided from what is stored and published alone.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::authority::{Name, Pair};
use crate::bundle::Bundle;
use crate::parsed::Parsed;
use crate::verify::verify;

/// How long a bundle must have been published before a leaf is issued that only the new one trusts. API servers follow the
/// webhook configuration by a watch, which takes well under a second; this is for one that is slow.
pub const SETTLE: SignedDuration = SignedDuration::from_secs(10);

/// How long old and new authority are trusted side by side after a new leaf was issued. kubelet takes up to about two
/// minutes to swap a mounted Secret; a replica that could not be reached for longer than an hour is another matter.
pub const OVERLAP: SignedDuration = SignedDuration::from_hours(1);

/// What the Secret holds. Any part may be missing or garbage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub authority: Option<Pair>,
    pub leaf: Option<Pair>,
    /// Authorities of before, in PEM, while they are still trusted.
    pub previous: Option<String>,
}

/// Everything a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub stored: &'a Stored,
    /// The names under which the webhook is called.
    pub names: &'a BTreeSet<Name>,
    /// `caBundle` of the webhook configuration, in PEM; empty where there is none.
    pub published: &'a str,
    /// For how long it is known to have been what it is. A controller that has just started knows of no time at all.
    pub published_for: SignedDuration,
    pub now: Timestamp,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Make a new authority; keep these, in PEM, as the previous ones. The leaf is left as it is.
    NewAuthority { previous: Option<String> },
    /// Write this into the webhook configuration.
    Publish { bundle: String },
    /// Issue a leaf by the stored authority.
    NewLeaf,
    /// Forget the previous authorities.
    DropPrevious,
    /// Nothing before this time.
    Wait { until: Timestamp },
}

/// Decides what to do next.
pub fn decide(situation: &Situation<'_>) -> Act {
    let Situation {
        stored,
        names,
        published,
        published_for,
        now,
    } = *situation;
    let published = Bundle::parse(published);
    let previous = valid_previous(stored, now);

    let Some(authority) = usable_authority(stored, now) else {
        // Whatever is published may still vouch for what replicas serve.
        let mut old = previous;
        for authority in published.iter().filter(|a| a.is_valid_at(now)) {
            old.add(authority.clone());
        }
        return Act::NewAuthority {
            previous: non_empty(&old),
        };
    };
    if now >= authority.renew_at() && previous.is_empty() {
        let mut old = Bundle::default();
        old.add(authority);
        return Act::NewAuthority {
            previous: non_empty(&old),
        };
    }

    let mut current = Bundle::default();
    current.add(authority.clone());
    let leaf = stored
        .leaf
        .as_ref()
        .filter(|leaf| verify(leaf, names, &current, now).is_ok())
        .and_then(|leaf| Parsed::from_pem(&leaf.certificate).ok());
    // Until every replica has had time to take the present authority's leaf, some serve one that only an older authority
    // vouches for: whatever is published stays so.
    let overlap_until = leaf.as_ref().map(|leaf| leaf.issued_at() + OVERLAP);
    let is_over = overlap_until.is_some_and(|until| now >= until);
    if is_over && stored.previous.is_some() {
        return Act::DropPrevious;
    }
    let mut wanted = current;
    if !is_over {
        let vouching = published
            .iter()
            .filter(|a| a.is_valid_at(now))
            .chain(previous.iter());
        vouching.for_each(|old| wanted.add(old.clone()));
    }
    if published != wanted {
        return Act::Publish {
            bundle: wanted.to_pem(),
        };
    }

    let Some(leaf) = leaf.filter(|leaf| now < leaf.renew_at()) else {
        // Where nothing that is stored works there is nothing to be careful of.
        let serves = stored
            .leaf
            .as_ref()
            .is_some_and(|leaf| verify(leaf, &BTreeSet::new(), &wanted, now).is_ok());
        if serves && published_for < SETTLE {
            return Act::Wait {
                until: now + (SETTLE - published_for),
            };
        }
        return Act::NewLeaf;
    };
    let due = leaf.renew_at().min(authority.renew_at());
    match overlap_until.filter(|_| !is_over && (wanted.len() > 1 || stored.previous.is_some())) {
        Some(until) => Act::Wait {
            until: until.min(due),
        },
        None => Act::Wait { until: due },
    }
}

/// When the stored leaf expires, if it can be read.
pub fn leaf_expiry(stored: &Stored) -> Option<Timestamp> {
    Parsed::from_pem(&stored.leaf.as_ref()?.certificate)
        .ok()
        .map(|leaf| leaf.not_after)
}

fn usable_authority(stored: &Stored, now: Timestamp) -> Option<Parsed> {
    let pair = stored.authority.as_ref().filter(|pair| pair.matches())?;
    Parsed::from_pem(&pair.certificate)
        .ok()
        .filter(|parsed| parsed.is_authority && parsed.is_valid_at(now))
}

fn valid_previous(stored: &Stored, now: Timestamp) -> Bundle {
    let mut bundle = Bundle::default();
    for authority in Bundle::parse(stored.previous.as_deref().unwrap_or_default()).iter() {
        if authority.is_valid_at(now) {
            bundle.add(authority.clone());
        }
    }
    bundle
}

fn non_empty(bundle: &Bundle) -> Option<String> {
    (!bundle.is_empty()).then(|| bundle.to_pem())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::authority::{LEAF_LIFETIME, issue_authority, issue_leaf};

    fn names() -> BTreeSet<Name> {
        [
            Name::Dns("failover-webhook.failover-system.svc".into()),
            Name::Ip([127, 0, 0, 1].into()),
        ]
        .into()
    }

    /// Secret, webhook configuration, what a replica serves, and a controller that may be killed between any two acts.
    struct World {
        stored: Stored,
        published: String,
        published_at: Timestamp,
        serving: Option<Pair>,
        names: BTreeSet<Name>,
        now: Timestamp,
    }

    impl World {
        fn new() -> Self {
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            Self {
                stored: Stored::default(),
                published: String::new(),
                published_at: now,
                serving: None,
                names: names(),
                now,
            }
        }

        fn decide(&self) -> Act {
            decide(&Situation {
                stored: &self.stored,
                names: &self.names,
                published: &self.published,
                published_for: self.now.duration_since(self.published_at),
                now: self.now,
            })
        }

        fn act(&mut self) -> Act {
            let act = self.decide();
            match &act {
                Act::NewAuthority { previous } => {
                    self.stored.authority = Some(issue_authority(self.now).unwrap());
                    self.stored.previous.clone_from(previous);
                }
                Act::Publish { bundle } => {
                    self.published.clone_from(bundle);
                    self.published_at = self.now;
                }
                Act::NewLeaf => {
                    let authority = self.stored.authority.as_ref().unwrap();
                    self.stored.leaf = Some(issue_leaf(authority, &self.names, self.now).unwrap());
                }
                Act::DropPrevious => self.stored.previous = None,
                Act::Wait { .. } => {}
            }
            act
        }

        /// Until there is nothing to do now.
        fn settle(&mut self) -> Timestamp {
            for _ in 0..20 {
                if let Act::Wait { until } = self.act() {
                    assert!(until > self.now);
                    return until;
                }
            }
            panic!("never comes to rest");
        }

        fn replica_follows(&mut self) {
            if let Some(leaf) = self.stored.leaf.clone()
                && crate::verify_alone(&leaf, self.now).is_ok()
            {
                self.serving = Some(leaf);
            }
        }

        fn trusted(&self) -> Result<(), crate::VerifyError> {
            let Some(serving) = &self.serving else {
                return Ok(());
            };
            verify(
                serving,
                &self.names,
                &Bundle::parse(&self.published),
                self.now,
            )
            .map(|_| ())
        }
    }

    #[test]
    fn from_nothing_authority_bundle_and_leaf_come_in_this_order() {
        let mut world = World::new();
        assert_eq!(world.act(), Act::NewAuthority { previous: None });
        assert!(matches!(world.act(), Act::Publish { .. }));
        assert_eq!(world.act(), Act::NewLeaf);
        assert!(matches!(world.act(), Act::Wait { .. }));
        world.replica_follows();
        assert_eq!(world.trusted(), Ok(()));
    }

    #[test]
    fn a_leaf_is_renewed_after_two_thirds_of_its_life() {
        let mut world = World::new();
        let until = world.settle();
        assert_eq!(until, world.now + LEAF_LIFETIME / 3 * 2);
        world.now = until;
        assert_eq!(world.act(), Act::NewLeaf);
    }

    #[test]
    fn other_names_get_another_leaf() {
        let mut world = World::new();
        world.settle();
        world.now += SETTLE;
        world.names.insert(Name::Dns("webhook.example.com".into()));
        assert_eq!(world.act(), Act::NewLeaf);
    }

    #[test]
    fn old_and_new_are_published_before_the_new_one_signs_and_the_old_one_goes_last() {
        let mut world = World::new();
        world.settle();
        world.replica_follows();
        let old = world.published.clone();
        world.stored.authority = None; // somebody deleted it
        let Act::NewAuthority {
            previous: Some(previous),
        } = world.act()
        else {
            panic!("the old one is kept")
        };
        assert_eq!(previous, old);
        let Act::Publish { bundle } = world.act() else {
            panic!("published first")
        };
        assert_eq!(Bundle::parse(&bundle).len(), 2);
        assert_eq!(
            world.act(),
            Act::Wait {
                until: world.now + SETTLE
            }
        );
        world.now += SETTLE;
        assert_eq!(world.act(), Act::NewLeaf);
        assert_eq!(
            world.act(),
            Act::Wait {
                until: world.now + OVERLAP
            }
        );
        world.replica_follows();
        world.now += OVERLAP;
        assert_eq!(world.act(), Act::DropPrevious);
        assert!(matches!(world.act(), Act::Publish { .. }));
        assert_eq!(Bundle::parse(&world.published).len(), 1);
        assert_eq!(world.trusted(), Ok(()));
    }

    #[derive(Clone, Debug)]
    enum Event {
        Act,
        Replica,
        Hours(i64),
        Seconds(i64),
        Rename,
        Lose(u8),
        Tamper,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => Just(Event::Act),
            3 => Just(Event::Replica),
            1 => (0i64..1000).prop_map(Event::Hours),
            2 => (0i64..20).prop_map(Event::Seconds),
            1 => Just(Event::Rename),
            1 => (0u8..4).prop_map(Event::Lose),
            1 => Just(Event::Tamper),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        #[test]
        fn what_is_served_is_trusted_at_every_moment_and_it_comes_to_rest(
            events in proptest::collection::vec(event(), 0..60),
        ) {
            let mut world = World::new();
            world.settle();
            world.replica_follows();
            for event in events {
                match event {
                    Event::Act => { world.act(); }
                    Event::Replica => world.replica_follows(),
                    // The controller and the replica are alive while days go by; within them anything may be killed.
                    Event::Hours(hours) => {
                        for _ in 0..hours / 24 {
                            world.now += SignedDuration::from_hours(24);
                            world.settle();
                            world.replica_follows();
                        }
                    }
                    Event::Seconds(seconds) => {
                        world.now += SignedDuration::from_secs(seconds);
                        world.replica_follows();
                    }
                    Event::Rename => {} // names change only by hand, and nothing can vouch for that moment
                    Event::Lose(0) => world.stored.authority = None,
                    Event::Lose(1) => world.stored.leaf = None,
                    Event::Lose(2) => world.stored = Stored::default(),
                    Event::Lose(_) => world.stored.previous = Some("garbage".into()),
                    Event::Tamper => {
                        if let Some(authority) = &mut world.stored.authority {
                            authority.key = issue_authority(world.now).unwrap().key;
                        }
                    }
                }
                prop_assert_eq!(world.trusted(), Ok(()));
            }
            for _ in 0..4 {
                world.now = world.settle();
                world.replica_follows();
                prop_assert_eq!(world.trusted(), Ok(()));
            }
            prop_assert_eq!(&world.stored.previous, &None::<String>);
            prop_assert_eq!(Bundle::parse(&world.published).len(), 1);
        }
    }
}
