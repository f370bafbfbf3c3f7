//! Every page, and the result of [`decide`] for it: each computed once, for all states of the exploration that share
//! it.

use std::collections::{BTreeMap, HashMap};
use std::sync::RwLock;

use jiff::SignedDuration;

use super::cluster::{Labels, NAMES};
use super::decision::{Deed, Draft, Liberty, Question, checked, enrolled, objects, passed};
use super::page::{CURRENT, LATE, Page, SOON, START, canonical};
use super::{Exploration, Fault};
use crate::api::{Pause, RoleRequest, Site, SiteSpec, SiteStatus, StepState};
use crate::guards::{Facts, GuardId, Overrides};
use crate::role::Role;
use crate::transition::tests::world::EVERY;
use crate::transition::{Act, Deadlines, Enforcer, Observation, decide};

#[derive(Debug, Default)]
pub(super) struct Book {
    pages: RwLock<HashMap<String, Page>>,
    decisions: RwLock<HashMap<Question, Deed>>,
    orders: RwLock<HashMap<(Page, Order), Page>>,
}

/// A change of the Site's spec.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Order {
    Role {
        role: Role,
        id: String,
        overrides: Vec<String>,
    },
    Pause,
    Resume,
}

impl Order {
    fn change(self, spec: &mut SiteSpec) {
        match self {
            Self::Role {
                role,
                id,
                overrides,
            } => {
                spec.role = role;
                spec.request = Some(RoleRequest {
                    id,
                    overrides,
                    ..RoleRequest::default()
                });
            }
            Self::Pause => spec.paused = Some(Pause::default()),
            Self::Resume => spec.paused = None,
        }
    }
}

impl Book {
    pub(super) fn ordered(&self, page: &Page, order: Order) -> Page {
        let key = (page.clone(), order);
        if let Some(known) = self.orders.read().unwrap().get(&key) {
            return known.clone();
        }
        let mut site = page.site.clone();
        key.1.clone().change(&mut site.spec);
        let ordered = self.page(site);
        self.orders.write().unwrap().insert(key, ordered.clone());
        ordered
    }

    /// The page of a Site, in canonical form.
    pub(super) fn page(&self, mut site: Site) -> Page {
        site.metadata.generation = Some(2);
        if let Some(status) = &mut site.status {
            canonical(status);
        }
        let mut pages = self.pages.write().unwrap();
        let number = pages.len();
        let page = pages
            .entry(format!("{site:?}"))
            .or_insert_with(|| Page::new(number, site));
        page.clone()
    }

    pub(super) fn decide(&self, exploration: &Exploration, question: &Question) -> Deed {
        if let Some(deed) = self.decisions.read().unwrap().get(question) {
            return deed.clone();
        }
        let deed = self.decide_anew(exploration, question);
        let mut decisions = self.decisions.write().unwrap();
        decisions.insert(question.clone(), deed.clone());
        deed
    }

    fn decide_anew(&self, exploration: &Exploration, question: &Question) -> Deed {
        let fault = exploration.fault;
        let mut site = question.site.site.clone();
        if fault == Some(Fault::GoesOnInAPause) {
            site.spec.paused = None;
        }
        let transition = site.status.as_mut().and_then(|s| s.transition.as_mut());
        if let Some(transition) = transition.filter(|_| fault == Some(Fault::OverridesUnasked)) {
            transition
                .overrides
                .extend(GuardId::ALL.map(|id| id.to_string()));
        }
        let late = if question.late {
            LATE
        } else {
            SignedDuration::ZERO
        };
        let soon = if question.soon {
            SOON
        } else {
            SignedDuration::ZERO
        };
        let now = START + late + soon;
        let namespaces: Vec<_> = question.labels.iter().zip(NAMES).map(enrolled).collect();
        let sweep = question.sweep.map(|swept| swept.report(START + late));
        let check = question
            .check
            .and_then(|found| checked(&question.site, found, START + late));
        let enforcers: Vec<_> = question
            .replica
            .filter(|_| fault != Some(Fault::ForgetsReplicas))
            .map(|(revision, seen)| Enforcer {
                name: "replica".to_owned(),
                revision: revision.to_i64(),
                namespaces: i64::try_from(seen).unwrap(),
                last_seen: START,
            })
            .into_iter()
            .collect();
        let act = decide(&Observation {
            site: &site,
            namespaces: &namespaces,
            objects: &BTreeMap::from([(NAMES[0].to_owned(), objects(question.exempt))]),
            outside: &[],
            unenrolled: &[],
            terminating: &[],
            refused: &BTreeMap::new(),
            enforcers: &enforcers,
            facts: Facts {
                webhook_configured: true,
                ..Facts::default()
            },
            sweep: sweep.as_ref(),
            sweep_progress: None,
            failing_sweep: None,
            failing_check: None,
            unreadable: &[],
            check: check.as_ref(),
            deadlines: Deadlines::default(),
            sweep_every: EVERY,
            now,
        });
        match act {
            Act::WriteStatus(status) => Deed::WriteStatus(self.draft(question, *status)),
            Act::Label(desired) => Deed::Label(
                (0..question.labels.len())
                    .map(|i| {
                        let wanted = desired.iter().find(|n| n.name == NAMES[i]);
                        wanted.map(|wanted| Labels::of(&wanted.state))
                    })
                    .collect(),
            ),
            Act::Sweep { layers, .. } => Deed::Sweep {
                over: question.labels.clone(),
                layers,
                current: true,
            },
            Act::Check(_) => Deed::Check,
            Act::Wait { .. } => Deed::Wait,
        }
    }

    fn draft(&self, question: &Question, status: SiteStatus) -> Draft {
        let running = status.transition.as_ref().map(|t| {
            let step = t.steps.iter().find(|s| s.state != StepState::Done);
            step.and_then(|s| s.started_at.clone())
        });
        let raises = status.revision > CURRENT;
        let passed = passed(question, &status);
        let named = passed.iter().all(|guard| {
            let named = Overrides::parse_known(question.site.asked()).allows(*guard);
            // A nonconforming object blocks at once; a wait blocks after its deadline.
            named && (question.is_overdue() || *guard == GuardId::NotConforming)
        });
        let paused = question.site.site.spec.paused.is_some();
        let mut site = question.site.site.clone();
        site.status = Some(status);
        Draft {
            raises,
            restarts_clock: match running {
                None => true,
                Some(at) => at.is_some_and(|at| at.0 >= START + LATE),
            },
            liberty: if !named || (paused && raises) {
                Liberty::Forbidden
            } else if passed.is_empty() {
                Liberty::None
            } else {
                Liberty::Named
            },
            site: self.page(site),
        }
    }
}
