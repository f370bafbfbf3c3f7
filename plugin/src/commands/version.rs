//! `version`: of the plugin and of what runs in the cluster.

use serde::Serialize;

use crate::cli::VersionArgs;
use crate::error::Failure;
use crate::output::{Report, Screen};
use crate::session::Session;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The document `Version`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionReport {
    client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes: Option<String>,
    /// What is installed, by Deployment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    installed: Vec<Installed>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Installed {
    deployment: String,
    image: String,
}

pub fn client_only(args: &VersionArgs, screen: &Screen) {
    VersionReport::client().print(args.output, screen);
}

/// The plugin's own version is always printed; what cannot be read is reported on stderr.
pub async fn run(session: &Session<'_>, args: &VersionArgs) -> Result<(), Failure> {
    let mut report = VersionReport::client();
    match session.cluster.kubernetes_version().await {
        Ok(version) => report.kubernetes = Some(version),
        Err(error) => {
            session.screen.warn(&error.to_string());
            report.print(args.output, session.screen);
            return Ok(());
        }
    }
    match session.cluster.installed_images().await {
        Ok(images) => {
            report.installed = images
                .into_iter()
                .map(|(deployment, image)| Installed { deployment, image })
                .collect();
        }
        Err(error) => session.screen.warn(&error.to_string()),
    }
    report.print(args.output, session.screen);
    Ok(())
}

impl VersionReport {
    fn client() -> Self {
        Self {
            client: format!("v{VERSION}"),
            kubernetes: None,
            installed: Vec::new(),
        }
    }
}

impl Report for VersionReport {
    const KIND: &'static str = "Version";

    fn names(&self) -> Vec<String> {
        vec![self.client.clone()]
    }

    fn text(&self, _wide: bool, screen: &Screen) {
        screen.data(&format!("kubectl-failover: {}", self.client));
        if let Some(kubernetes) = &self.kubernetes {
            screen.data(&format!("Kubernetes: {kubernetes}"));
            if self.installed.is_empty() {
                screen.data("Installed: nothing");
            }
        }
        for installed in &self.installed {
            screen.data(&format!("{}: {}", installed.deployment, installed.image));
        }
    }
}
