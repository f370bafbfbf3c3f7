//! The document `Status`: everything that is shown, as values.

use failover_core::api::{HistoryEntry, Phase, Site, SiteStatus, Transition};
use failover_core::namespace::Enforcement;
use failover_core::object_roles::Deferred;
use failover_core::transition::EnrolledNamespace;
use failover_core::{Role, Roles};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::{Serialize, Serializer};

use crate::cluster::{Leadership, Survey, Unseen, WebhookState};
use crate::commands::site_view::effective_role;
use crate::plan::object_roles::{ObjectRoleEntry, Policy, in_force};
use crate::plan::{NamespaceStanding, held_hooks, standing};

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    /// `null`: the Site is lost; the rest is read from the namespaces.
    pub site: Option<String>,
    /// The requested role.
    pub role: Option<Role>,
    /// The role that objects have.
    pub role_in_effect: Option<Role>,
    pub epoch: Option<i64>,
    pub phase: Option<Phase>,
    /// Since when the site has had its role.
    pub since: Option<Timestamp>,
    pub layers: Roles,
    pub conditions: Vec<Condition>,
    pub transition: Option<Transition>,
    /// Newest first.
    pub history: Vec<HistoryEntry>,
    /// Who paused the site, and why.
    pub paused: Option<failover_core::api::Pause>,
    pub enforcers: Vec<failover_core::api::EnforcerStatus>,
    /// `null`: it could not be checked.
    pub webhook: Option<Webhook>,
    /// `null`: it could not be checked.
    pub backstop: Option<Backstop>,
    pub controller: Option<Controller>,
    pub namespaces: Vec<Namespace>,
    /// Namespaces that lost their enrolment label without being unenrolled.
    pub left: Vec<String>,
    /// Objects with a role or an exemption of their own.
    pub object_roles: Vec<ObjectRoleEntry>,
    /// Requests for single objects that are not in force yet.
    #[serde(serialize_with = "as_notes")]
    pub deferred: Vec<Deferred>,
    /// Objects that stay passive because their installer is gone.
    #[serde(serialize_with = "as_notes")]
    pub orphaned: Vec<Deferred>,
    /// Forced hook Jobs: they do not run, although an installer waits for them.
    pub hooks: Vec<ObjectNote>,
    pub policies: Vec<Policy>,
    pub unseen: Vec<Unseen>,
    /// When all this was read.
    #[serde(skip)]
    pub now: Timestamp,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    pub configured: bool,
    pub trusted: bool,
}

/// The admission policies of the built-in kinds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backstop {
    /// `policy NAME` or `binding NAME`; empty: the API server enforces every built-in kind by itself.
    pub missing: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Controller {
    pub leader: Option<String>,
    pub renewed: Option<Timestamp>,
    /// It was renewed within twice its duration.
    pub alive: bool,
    /// It was not renewed within its duration: either clocks differ, or the leader is gone.
    pub late: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    pub name: String,
    pub enforcement: Option<&'static str>,
    pub roles: Roles,
    pub revision: Option<i64>,
    /// `null`: objects could not be checked.
    pub objects: Option<usize>,
    /// Objects with a restore record.
    pub forced: Option<usize>,
    /// Objects that stay passive on a primary: they have no restore record, or their manifest makes them passive.
    pub stays_passive: Option<Vec<ObjectNote>>,
    pub not_conforming: Option<Vec<ObjectNote>>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectNote {
    pub object: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl StatusReport {
    pub fn new(
        site: Option<&Site>,
        enrolled: &[EnrolledNamespace],
        survey: Option<&Survey>,
        webhook: Option<WebhookState>,
        leadership: Option<&Leadership>,
        now: Timestamp,
    ) -> Self {
        let status = site
            .and_then(|site| site.status.clone())
            .unwrap_or_default();
        let standings = survey.map(|survey| standing(enrolled, survey));
        let namespaces = enrolled
            .iter()
            .enumerate()
            .map(|(i, namespace)| Namespace::new(namespace, standings.as_ref().map(|s| &s[i])))
            .collect();
        Self {
            site: site.map(|site| site.spec.site_name.clone()),
            role: site.map(|site| site.spec.role),
            role_in_effect: effective_role(site, enrolled),
            epoch: site.map(|site| site.spec.epoch.0),
            phase: status.phase,
            since: since(&status),
            layers: status.layers,
            conditions: status.conditions,
            transition: status.transition,
            history: status.history,
            paused: site.and_then(|site| site.spec.paused.clone()),
            enforcers: status.enforcers,
            webhook: webhook.map(|webhook| Webhook {
                configured: webhook.configured,
                trusted: webhook.trusted,
            }),
            backstop: None,
            controller: leadership.map(|leadership| Controller {
                leader: leadership.holder.clone(),
                renewed: leadership.renewed,
                alive: leadership.looks_alive(now),
                late: leadership.looks_late(now),
            }),
            namespaces,
            left: Vec::new(),
            object_roles: in_force(enrolled),
            deferred: Vec::new(),
            orphaned: Vec::new(),
            hooks: survey.map(hooks).unwrap_or_default(),
            policies: Vec::new(),
            unseen: survey
                .map(|survey| survey.unseen.clone())
                .unwrap_or_default(),
            now,
        }
    }
}

impl Namespace {
    fn new(namespace: &EnrolledNamespace, standing: Option<&NamespaceStanding>) -> Self {
        Self {
            name: namespace.name.clone(),
            enforcement: namespace.state.enforcement.map(Enforcement::as_str),
            roles: namespace.state.roles,
            revision: namespace.state.revision,
            objects: standing.map(|standing| standing.objects),
            forced: standing.map(|standing| standing.forced),
            stays_passive: standing.map(|standing| {
                let passive = standing.passive.iter();
                passive
                    .map(|(object, why)| ObjectNote {
                        object: object.to_string(),
                        why: Some(why.clone()),
                    })
                    .collect()
            }),
            not_conforming: standing.map(|standing| {
                standing
                    .astray
                    .iter()
                    .map(|(object, why)| ObjectNote {
                        object: object.to_string(),
                        why: why.clone(),
                    })
                    .collect()
            }),
        }
    }
}

fn hooks(survey: &Survey) -> Vec<ObjectNote> {
    held_hooks(survey)
        .iter()
        .map(|job| ObjectNote {
            object: job.object.to_string(),
            why: Some(job.why()),
        })
        .collect()
}

fn as_notes<S: Serializer>(deferred: &[Deferred], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(deferred.iter().map(|item| ObjectNote {
        object: item.object.to_string(),
        why: Some(item.why.clone()),
    }))
}

/// When the last transition to the role in effect ended; `None` while one is running.
fn since(status: &SiteStatus) -> Option<Timestamp> {
    if status.transition.is_some() {
        return None;
    }
    let role = status.layers.uniform()?;
    status
        .history
        .iter()
        .find(|entry| entry.to == role)
        .map(|entry| entry.finished_at.0)
}
