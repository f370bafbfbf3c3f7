//! What an install did.

use std::time::Duration;

use failover_core::Role;
use failover_core::api::Site;
use serde::Serialize;

use crate::cli::{DryRun, InstallArgs};
use crate::cluster::Applied;
use crate::output::age::took;
use crate::output::report::SITE_NAME;
use crate::output::{Report, Screen, Tone};

/// The document `Installation`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InstallationReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    /// The Site is founded by this run.
    founded: bool,
    dry_run: bool,
    objects: Vec<Object>,
    /// Everything was seen to work.
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Object {
    object: String,
    result: &'static str,
}

impl InstallationReport {
    pub(super) fn new(args: &InstallArgs, present: Option<&Site>, founding: bool) -> Self {
        Self {
            site: present
                .map(|site| site.spec.site_name.clone())
                .or_else(|| args.site_name.clone()),
            role: present.map(|site| site.spec.role).or(args.role),
            founded: founding,
            dry_run: args.dry_run != DryRun::None,
            objects: Vec::new(),
            ready: false,
            seconds: None,
        }
    }

    pub(super) fn add(&mut self, object: String, applied: Applied) {
        self.objects.push(Object {
            object,
            result: applied.as_str(),
        });
    }

    pub(super) fn is_untouched(&self) -> bool {
        let unchanged = Applied::Unchanged.as_str();
        self.dry_run || self.objects.iter().all(|object| object.result == unchanged)
    }

    pub(super) fn is_ready(&mut self, took: Duration) {
        self.ready = true;
        self.seconds = Some(took.as_secs_f64());
    }
}

impl Report for InstallationReport {
    const KIND: &'static str = "Installation";

    fn names(&self) -> Vec<String> {
        let objects = self.objects.iter().map(|object| object.object.clone());
        objects.chain([SITE_NAME.to_owned()]).collect()
    }

    fn text(&self, _wide: bool, screen: &Screen) {
        let dry_run = if self.dry_run {
            " (server dry run)"
        } else {
            ""
        };
        for Object { object, result } in &self.objects {
            screen.data(&format!("{object} {result}{dry_run}"));
        }
        if let (Some(site), Some(role)) = (&self.site, self.role) {
            let applied = if self.founded {
                Applied::Created
            } else {
                Applied::Unchanged
            };
            screen.data(&format!("{SITE_NAME} {}{dry_run}", applied.as_str()));
            if let Some(seconds) = self.seconds {
                let took = took(jiff::SignedDuration::from_secs_f64(seconds));
                screen.say(
                    Tone::Good,
                    &format!("site {site} is {role} and ready after {took}"),
                );
                screen.note("next: kubectl failover enroll NAMESPACE");
            } else if !self.dry_run {
                screen.note("not waited for: kubectl failover status");
            }
        }
    }
}
