//! What several commands read before they decide anything.

use failover_core::api::Site;
use failover_core::checks::replication;
use failover_core::guards::{self, Facts, Hold};
use failover_core::transition::{
    self, EnrolledNamespace, Presence, pause, remembered, role_in_effect,
};
use failover_core::{Layer, Role};
use kube::ResourceExt as _;

use crate::cluster::{ApiError, Cluster};
use crate::error::Failure;
use crate::plan::object_roles::{settled, with_orphans};
use crate::plan::{Plan, plan};
use crate::session::Session;
use crate::transition_view::paused;

/// The site as it is at one moment.
#[derive(Clone, Debug)]
pub struct View {
    pub site: Site,
    pub enrolled: Vec<EnrolledNamespace>,
    /// Namespaces that lost their enrolment label without being unenrolled.
    pub left: Vec<String>,
    pub facts: Facts,
}

impl View {
    pub fn name(&self) -> &str {
        &self.site.spec.site_name
    }

    pub fn resource_version(&self) -> String {
        self.site.resource_version().unwrap_or_default()
    }

    /// The role that objects have now; `None`: not yet known.
    pub fn role_in_effect(&self) -> Option<Role> {
        effective_role(Some(&self.site), &self.enrolled)
    }
}

/// The role that objects have now, from the Site or, where it is lost, from the namespaces.
pub fn effective_role(site: Option<&Site>, enrolled: &[EnrolledNamespace]) -> Option<Role> {
    let status = site
        .and_then(|site| site.status.clone())
        .unwrap_or_default();
    role_in_effect(&status, enrolled)
}

/// Nothing is installed, or nothing was founded.
pub fn no_site(session: &Session<'_>) -> Failure {
    Failure::error(format!(
        "there is no Site in this cluster ({})",
        session.cluster.connection()
    ))
    .next("found it with kubectl failover install --site-name NAME --role primary|secondary, or pass another --context")
}

/// Reads the site, or says that there is none.
pub async fn look(session: &Session<'_>) -> Result<View, Failure> {
    let cluster = &session.cluster;
    let (site, enrolled, webhook, missing) = futures::try_join!(
        cluster.site(),
        cluster.enrolled(),
        cluster.webhook(),
        Box::pin(cluster.missing_of_backstop())
    )?;
    let site = site.ok_or_else(|| no_site(session))?;
    let left = left(cluster, &site, &enrolled).await?;
    Ok(View {
        facts: Facts {
            webhook_configured: webhook.configured,
            policy_configured: missing.is_empty(),
        },
        site,
        enrolled,
        left,
    })
}

/// Namespaces that have left. Asked of the API server and not read from the status alone: the controller may be gone.
pub async fn left(
    cluster: &Cluster,
    site: &Site,
    enrolled: &[EnrolledNamespace],
) -> Result<Vec<String>, ApiError> {
    let Some(status) = &site.status else {
        return Ok(vec![]);
    };
    let mut known = remembered(status);
    known.retain(|name| !enrolled.iter().any(|e| e.name == *name));
    if known.is_empty() {
        return Ok(vec![]);
    }
    let there = cluster.presences().await?;
    let presence = |name: &str| there.get(name).copied().unwrap_or(Presence::Absent);
    Ok(transition::left(status, presence))
}

/// What `role` would change in these namespaces.
pub async fn preview(
    session: &Session<'_>,
    site: &str,
    role: Role,
    enrolled: &[EnrolledNamespace],
) -> Result<Plan, ApiError> {
    let cluster = &session.cluster;
    let (survey, (uncovered, unseen), (published, unseen_traffic), without_rule, requests) = futures::try_join!(
        cluster.survey(enrolled),
        Box::pin(cluster.uncovered(enrolled)),
        Box::pin(cluster.published(enrolled)),
        Box::pin(cluster.without_rule(enrolled)),
        cluster.requests()
    )?;
    let compiled = settled(enrolled, &survey, &requests);
    let survey = with_orphans(survey, &compiled);
    let mut plan = plan(site, role, enrolled, &survey, jiff::Timestamp::now());
    plan.uncovered = uncovered;
    plan.published = published;
    plan.deferred = compiled.held;
    plan.orphaned = compiled.orphaned;
    plan.unseen.extend(unseen.into_iter().chain(unseen_traffic));
    plan.without_rule = without_rule;
    plan.unseen.extend(requests.unseen);
    let writes = cluster.ask_writes(&plan.planned_writes()).await?;
    plan.writes = writes;
    Ok(plan)
}

/// Says so where the site is paused: nothing that is asked of it comes about until that ends.
pub fn warn_of_pause(session: &Session<'_>, view: &View) {
    let now = jiff::Timestamp::now();
    if let Some(pause) = pause(&view.site, now) {
        session.screen.warn(&format!(
            "site {} is {}; nothing moves until: kubectl failover resume",
            view.name(),
            paused(pause, now)
        ));
    }
}

/// Whether the controller has not yet carried out what is ordered.
pub fn is_moving(site: &Site) -> bool {
    site.status.as_ref().is_none_or(|status| {
        status.transition.is_some() || status.layers.uniform() != Some(site.spec.role)
    })
}

/// The guards that hold what is planned before it starts, whatever is overridden.
pub fn standing(view: &View, plan: &Plan) -> Vec<Hold> {
    let mut holds = guards::standing(view.role_in_effect(), plan.role, &view.facts);
    if plan.role == Role::Secondary {
        holds.extend(guards::of_uncovered(&plan.uncovered));
        holds.extend(guards::of_published(&plan.published));
        holds.extend(guards::of_left(&view.left));
    }
    let refused = plan
        .writes
        .refused
        .iter()
        .map(|refused| (&refused.object, &refused.by, refused.message.clone()));
    holds.extend(
        refused.map(|(object, by, message)| guards::of_refused(&object.to_string(), by, &message)),
    );
    let hopeless = plan.hopeless.iter();
    holds.extend(hopeless.map(|(object, why)| guards::of_hopeless(&object.to_string(), why)));
    let volumes = plan.changed().filter(|planned| {
        let item = &planned.item;
        item.layer == Layer::Volumes
            && item.role == Role::Primary
            && item.object.group == replication::GROUP
    });
    holds.extend(
        volumes.flat_map(|planned| {
            guards::of_volume(&planned.item.object.to_string(), &planned.before)
        }),
    );
    holds
}
