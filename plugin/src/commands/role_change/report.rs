//! The document `RoleChange`: the result of the command.

use failover_core::Role;
use failover_core::api::HistoryEntry;
use serde::Serialize;

use super::Order;
use super::verify::Verified;
use crate::commands::site_view::View;
use crate::output::age::took;
use crate::output::report::SITE_NAME;
use crate::output::words::words;
use crate::output::{Report, Screen, Tone, clean, counted};
use crate::plan::Plan;

/// How a successful command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum RoleChangeOutcome {
    /// Carried out and verified.
    Done,
    /// The site had the role already.
    Already,
    /// Requested, and not waited for.
    Ordered,
    DryRun,
}

/// The document `RoleChange`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoleChangeReport {
    site: String,
    role: Role,
    outcome: RoleChangeOutcome,
    /// A transition to the other role was aborted for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    aborted: bool,
    /// The request waits until the site is resumed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    when_resumed: bool,
    epoch: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    requested_by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    overrides: Vec<String>,
    /// Enrolled namespaces that were verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespaces: Option<usize>,
    /// Objects that were verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<usize>,
    /// Objects that were changed, or would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<i64>,
    /// Objects that do not conform, which the request overrides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waived: Vec<String>,
    /// From the request to the end of the verification.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

impl Report for RoleChangeReport {
    const KIND: &'static str = "RoleChange";

    fn names(&self) -> Vec<String> {
        vec![SITE_NAME.to_owned()]
    }

    fn text(&self, _wide: bool, screen: &Screen) {
        screen.say(Tone::Good, &self.sentence());
        if !self.waived.is_empty() {
            let objects: Vec<_> = self.waived.iter().map(|object| clean(object)).collect();
            screen.warn(&format!(
                "these objects do not match the role, as was consented to: {}",
                objects.join(", ")
            ));
        }
    }
}

impl RoleChangeReport {
    pub(super) fn new(
        view: &View,
        role: Role,
        outcome: RoleChangeOutcome,
        order: &Order,
        verified: Option<&Verified>,
    ) -> Self {
        let epoch = order
            .write
            .as_ref()
            .map_or(view.site.spec.epoch, |write| write.epoch);
        Self {
            site: view.name().to_owned(),
            role,
            outcome,
            aborted: order.aborts,
            when_resumed: order.when_resumed,
            epoch: epoch.0,
            request_id: Some(order.request.id.clone()).filter(|id| !id.is_empty()),
            requested_by: order.request.requested_by.clone(),
            reason: order.request.reason.clone(),
            overrides: order.request.overrides.clone(),
            namespaces: verified.map(|verified| verified.namespaces),
            verified: verified.map(|verified| verified.objects - verified.waived.len()),
            changed: None,
            waived: verified
                .map(|verified| verified.waived.clone())
                .unwrap_or_default(),
            seconds: (outcome == RoleChangeOutcome::Done)
                .then(|| order.started.elapsed().as_secs_f64()),
        }
    }

    pub(super) fn take_history(&mut self, entry: &HistoryEntry) {
        self.changed = Some(entry.objects);
    }

    pub(super) fn take_plan(&mut self, plan: &Plan) {
        self.changed = i64::try_from(plan.changed().count()).ok();
    }

    fn sentence(&self) -> String {
        let (site, role, words) = (clean(&self.site), self.role, words(self.role));
        match self.outcome {
            RoleChangeOutcome::Done => format!(
                "site {site}{} {} to {role} in {}: {}{} verified in {}",
                if self.aborted {
                    format!(
                        ": {} aborted,",
                        crate::output::words::words(role.opposite()).noun
                    )
                } else {
                    String::new()
                },
                words.done,
                took(jiff::SignedDuration::from_secs_f64(
                    self.seconds.unwrap_or_default()
                )),
                self.changed.map_or_else(String::new, |changed| format!(
                    "{} changed, ",
                    counted(changed, "object")
                )),
                counted(self.verified.unwrap_or_default(), "object"),
                counted(self.namespaces.unwrap_or_default(), "namespace"),
            ),
            RoleChangeOutcome::Already => match self.verified {
                Some(verified) => format!(
                    "site {site} is already {role}: nothing to do ({} verified in {})",
                    counted(verified, "object"),
                    counted(self.namespaces.unwrap_or_default(), "namespace"),
                ),
                None => format!("site {site} is already {role}: nothing to do"),
            },
            RoleChangeOutcome::Ordered if self.when_resumed => format!(
                "{} of site {site} requested; it starts when the pause ends: kubectl failover resume",
                words.noun
            ),
            RoleChangeOutcome::Ordered => format!(
                "{} of site {site} requested, not waiting for it: kubectl failover status -w",
                words.noun
            ),
            RoleChangeOutcome::DryRun => format!(
                "site {site} would be {} to {role} (dry run): {} would change",
                words.done,
                counted(self.changed.unwrap_or_default(), "object")
            ),
        }
    }
}
