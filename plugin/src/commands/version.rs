//! `version`: of the plugin and of what runs in the cluster.

use serde::Serialize;

use crate::cli::VersionArgs;
use crate::error::Failure;
use crate::output::{Document, Format, Screen};
use crate::session::Session;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The document `Version`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
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
    print(args, screen, &Report::client());
}

/// The plugin's own version is always told; what cannot be asked is said on stderr.
pub async fn run(session: &Session<'_>, args: &VersionArgs) -> Result<(), Failure> {
    let mut report = Report::client();
    match session.cluster.kubernetes_version().await {
        Ok(version) => report.kubernetes = Some(version),
        Err(error) => {
            session.screen.warn(&error.to_string());
            print(args, session.screen, &report);
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
    print(args, session.screen, &report);
    Ok(())
}

impl Report {
    fn client() -> Self {
        Self {
            client: format!("v{VERSION}"),
            kubernetes: None,
            installed: Vec::new(),
        }
    }
}

fn print(args: &VersionArgs, screen: &Screen, report: &Report) {
    if let Some(notation) = args.output.notation() {
        Document::new("Version", report).print(notation, screen);
        return;
    }
    if args.output == Format::Name {
        screen.data(&report.client);
        return;
    }
    screen.data(&format!("kubectl-failover: {}", report.client));
    if let Some(kubernetes) = &report.kubernetes {
        screen.data(&format!("Kubernetes: {kubernetes}"));
        if report.installed.is_empty() {
            screen.data("Installed: nothing");
        }
    }
    for installed in &report.installed {
        screen.data(&format!("{}: {}", installed.deployment, installed.image));
    }
}
