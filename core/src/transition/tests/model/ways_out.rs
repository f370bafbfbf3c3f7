//! Whether a state has a way out: without further events, with one live leader. A permanent failure stays, and then a
//! person overrides the guards that the transition names; without failures, it completes alone.

use std::collections::HashMap;
use std::sync::RwLock;

use super::Exploration;
use super::cluster::{Cluster, Event, Leader, Left};
use super::decision::{Deed, Liberty};
use crate::role::Roles;

/// A state on the way, and how often the request has been repeated.
type Milestone = (Cluster, u8);

/// More guards than this cannot block in sequence, in a transition and the takeover of new namespaces after it.
const REPEATS: u8 = 8;

#[derive(Debug, Default)]
pub(super) struct WaysOut(RwLock<HashMap<Milestone, bool>>);

impl WaysOut {
    /// Whether the ordered role is reached.
    pub(super) fn exists(&self, exploration: &Exploration, from: &Cluster) -> bool {
        let mut cluster = from.clone();
        cluster.leaders[1] = Leader::default();
        cluster.left = Left::default();
        cluster.liberty = Liberty::None;
        if cluster.site.site.spec.paused.is_some() {
            cluster.happen(exploration, Event::Resume);
        }
        let mut repeats = 0;
        let mut trail: Vec<Milestone> = Vec::new();
        let exists = loop {
            let milestone = (cluster.clone(), repeats);
            if let Some(known) = self.0.read().unwrap().get(&milestone) {
                break *known;
            }
            let is_at_rest = trail.contains(&milestone);
            trail.push(milestone);
            if !is_at_rest {
                cluster.advance(exploration);
            } else if cluster.site.transition().is_none() {
                let role = cluster.site.site.spec.role;
                break cluster.each(|_, labels, _| labels.roles == Roles::all(role));
            } else if !cluster.late {
                cluster.happen(exploration, Event::DeadlinesPass);
            } else {
                let whole = cluster.each(|_, _, reality| reality.broken.is_none());
                if whole || repeats == REPEATS || !cluster.orders_again(exploration, repeats) {
                    break false;
                }
                repeats += 1;
            }
        };
        let mut known = self.0.write().unwrap();
        known.extend(trail.into_iter().map(|milestone| (milestone, exists)));
        exists
    }
}

impl Cluster {
    /// The next undisturbed events.
    fn advance(&mut self, exploration: &Exploration) {
        self.perform(exploration, 0);
        let due = |soon: &bool| self.decide(exploration, 0, *soon) != Deed::Wait;
        if let Some(soon) = [false, true].into_iter().find(due) {
            self.happen(exploration, Event::Decide { leader: 0, soon });
            self.perform(exploration, 0);
        }
        let mut events = Vec::new();
        for namespace in 0..self.reality.len() {
            self.happens_by_itself(namespace, &mut events);
        }
        for event in events {
            self.happen(exploration, event);
        }
        self.happen(exploration, Event::See);
    }

    /// Repeats the request with the overrides that the transition has named so far. `false`: there are no new ones.
    fn orders_again(&mut self, exploration: &Exploration, repeats: u8) -> bool {
        let asked = self.site.asked();
        let blocked: Vec<_> = self.site.blocked_by();
        if blocked.iter().all(|guard| asked.contains(guard)) {
            return false;
        }
        let mut overrides = [asked, &blocked, &["peer-unknown".to_owned()]].concat();
        overrides.sort();
        overrides.dedup();
        let role = self.site.site.spec.role;
        let id = format!("again-{repeats}");
        self.order(exploration, role, id, overrides);
        true
    }
}
