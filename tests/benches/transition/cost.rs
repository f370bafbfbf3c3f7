//! What a transition costs our two processes and the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use failover_core::names;
use testbed::process::Process;
use testbed::site::Site;

/// The usage before.
pub(crate) struct Cost {
    cpu: [Duration; 2],
    audited: usize,
}

impl Cost {
    pub(crate) fn so_far(site: &Site) -> Self {
        Self {
            cpu: processes(site).map(Process::cpu_time),
            audited: site.plane.audit().len(),
        }
    }

    /// The usage since then, as text.
    pub(crate) fn since(&self, site: &Site) -> String {
        let mut lines: Vec<String> = vec![];
        for (process, before) in processes(site).into_iter().zip(self.cpu) {
            lines.push(format!(
                "{}: {:.1} s of a core, {} MiB resident at most",
                process.name(),
                process.cpu_time().saturating_sub(before).as_secs_f64(),
                process.peak_resident_kib().unwrap_or_default() >> 10,
            ));
        }
        let requests: Vec<String> = self
            .requests(site)
            .into_iter()
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        lines.push(format!(
            "requests of the controller: {}",
            requests.join(", ")
        ));
        lines.join("\n  ")
    }

    /// The controller's requests by verb; watches are their own verb.
    fn requests(&self, site: &Site) -> BTreeMap<String, usize> {
        let controller = format!(
            "system:serviceaccount:{}:{}",
            names::SYSTEM_NAMESPACE,
            names::CONTROLLER_SERVICE_ACCOUNT
        );
        let mut requests = BTreeMap::new();
        for event in site.plane.audit().into_iter().skip(self.audited) {
            if event["user"]["username"] == controller {
                let verb = event["verb"].as_str().unwrap_or_default();
                *requests.entry(verb.to_owned()).or_default() += 1;
            }
        }
        requests
    }
}

fn processes(site: &Site) -> [&Process; 2] {
    [&site.controller, &site.webhook]
}
