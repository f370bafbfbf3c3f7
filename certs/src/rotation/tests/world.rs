//! A cluster in which a rotation happens.

use super::*;
use crate::authority::{issue_authority, issue_leaf};

/// The Secret, the webhook configuration, and a controller that may be killed between any two acts. API servers and
/// replicas observe writes as late as the decision allows for.
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) names: BTreeSet<Name>,
    pub(super) stored: Stored,
    pub(super) published: String,
    /// Since when the controller knows the published bundle; a controller that has just started does not.
    pub(super) known_since: Option<Timestamp>,
    /// Every bundle that was published, and every leaf that was stored, with the time.
    pub(super) bundles: Vec<(Timestamp, String)>,
    pub(super) leaves: Vec<(Timestamp, Pair)>,
    /// The delays of API servers and replicas.
    pub(super) servers: Vec<SignedDuration>,
    pub(super) replicas: Vec<SignedDuration>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_lags(vec![SignedDuration::ZERO], vec![SignedDuration::ZERO])
    }

    pub(super) fn with_lags(servers: Vec<SignedDuration>, replicas: Vec<SignedDuration>) -> Self {
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

    pub(super) fn settled() -> Self {
        let mut world = Self::new();
        world.settle();
        world
    }

    pub(super) fn act(&mut self) -> Act {
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

    pub(super) fn publish(&mut self, bundle: String) {
        self.bundles.push((self.now, bundle.clone()));
        self.published = bundle;
        self.known_since = Some(self.now);
    }

    /// Acts until there is nothing to do now. Returns until when.
    pub(super) fn settle(&mut self) -> Timestamp {
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
    pub(super) fn run_for(&mut self, duration: SignedDuration) {
        let end = self.now + duration;
        while self.now < end {
            self.now = self.settle().min(end);
            self.check();
        }
        self.settle();
    }

    /// Continues until no rotation is in progress: one may just have become due. Returns until when there is nothing to
    /// do.
    pub(super) fn quiesce(&mut self) -> Timestamp {
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
    pub(super) fn check(&self) {
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

    /// Asserts that there is nothing to do for this long.
    #[track_caller]
    pub(super) fn expect_wait(&mut self, duration: SignedDuration) {
        let until = self.now + duration;
        assert_eq!(self.act(), Act::Wait { until });
    }

    /// Asserts that a bundle of so many authorities is published next, and returns it.
    #[track_caller]
    pub(super) fn expect_publish(&mut self, authorities: usize) -> String {
        let act = self.act();
        let Act::Publish { bundle } = act else {
            panic!("{authorities} authorities are to be published: {act:?}")
        };
        assert_eq!(Bundle::parse(&bundle).len(), authorities);
        bundle
    }
}
