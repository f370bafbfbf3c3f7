//! `install` and `uninstall`.

use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use failover_core::Role;

use super::duration;
use crate::output::Format;

/// Whether anything is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// It is carried out
    None,
    /// Nothing is sent
    Client,
    /// The API server checks it and stores nothing
    Server,
}

/// Install or upgrade the components in the cluster, and create the Site
///
/// Applies the built-in manifests with server-side apply, then the Site last. A first install needs --site-name and --role;
/// neither has a default, because a live cluster that is taken for a secondary would be stopped. Run again it upgrades, and
/// leaves the Site as it is. Nothing is enforced until a namespace is enrolled.
#[derive(Args, Debug)]
#[command(after_help = INSTALL_EXAMPLES)]
pub struct InstallArgs {
    /// Name of this site, such as east. Cannot be changed later
    #[arg(long, value_name = "NAME", value_parser = site_name)]
    pub site_name: Option<String>,

    /// What this site is now
    #[arg(long, value_name = "ROLE", value_parser = role)]
    pub role: Option<Role>,

    /// The webhook runs outside the cluster, at this URL; its Deployment and Service are left out
    #[arg(long, value_name = "URL", value_parser = webhook_url)]
    pub webhook_url: Option<String>,

    /// Image to run in the place of the released one
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,

    /// Take over fields that another field manager has changed
    #[arg(long)]
    pub force_conflicts: bool,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,

    /// Change nothing: client prints the manifests, server has the API server check them
    #[arg(long, value_enum, default_value_t = DryRun::None, num_args = 0..=1, require_equals = true, default_missing_value = "client", value_name = "KIND")]
    pub dry_run: DryRun,

    /// Wait until a controller leads, the webhook is trusted and live, and the site is ready
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub wait: bool,

    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = duration::parse_positive, value_name = "DURATION")]
    pub timeout: Duration,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

const INSTALL_EXAMPLES: &str = "\
Examples:
  # On the live site
  kubectl failover install --site-name east --role primary

  # On the site that stands by
  kubectl failover install --site-name west --role secondary

  # Show only, or keep it in Git
  kubectl failover install --site-name east --role primary --dry-run=client -o yaml

  # Upgrade
  kubectl failover install";

/// Remove everything that install created
///
/// First the webhook's configuration, so that no write waits for a webhook that is gone; then what runs, its rights, the
/// Site and the CRDs. Objects of yours are not touched, but for the labels and annotations of kubectl failover on
/// namespaces, which are removed. FailoverPolicies and RoleRules are yours: while there are any, their CRDs stay.
#[derive(Args, Debug)]
#[command(after_help = UNINSTALL_EXAMPLES)]
pub struct UninstallArgs {
    /// Why. Required with --override
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Override this guard: site-secondary, records-left; may be repeated
    #[arg(long = "override", id = "override", value_name = "ID", action = ArgAction::Append, requires = "reason")]
    pub overrides: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,

    /// Change nothing: client names what would be removed, server has the API server check it
    #[arg(long, value_enum, default_value_t = DryRun::None, num_args = 0..=1, require_equals = true, default_missing_value = "client", value_name = "KIND")]
    pub dry_run: DryRun,

    /// How long to wait until everything is gone
    #[arg(long, default_value = "2m", value_parser = duration::parse_positive, value_name = "DURATION")]
    pub timeout: Duration,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

const UNINSTALL_EXAMPLES: &str = "\
Examples:
  # On a primary site on which everything is as Git says
  kubectl failover uninstall

  # On a secondary site: Flux will start what Git describes
  kubectl failover uninstall --override site-secondary --override records-left --reason \"cluster is given up\"";

fn role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// The same as the schema of the Site, said before anything is applied.
fn site_name(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let sound = (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if sound {
        Ok(text.to_owned())
    } else {
        Err(
            "use at most 63 lower-case letters, digits and hyphens, with no hyphen at either end"
                .to_owned(),
        )
    }
}

/// The API server only calls https, and takes neither user, query nor fragment.
fn webhook_url(text: &str) -> Result<String, String> {
    let sound = text.parse::<http::Uri>().is_ok_and(|uri| {
        uri.scheme_str() == Some("https")
            && uri
                .authority()
                .is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.query().is_none()
    });
    if sound && !text.contains('#') {
        Ok(text.to_owned())
    } else {
        Err("use https://HOST[:PORT]/mutate, without user, query or fragment".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("east", true)]
    #[case("e", true)]
    #[case("dc-2", true)]
    #[case("", false)]
    #[case("-east", false)]
    #[case("east-", false)]
    #[case("East", false)]
    #[case("east.eu", false)]
    fn site_names_are_those_of_the_schema(#[case] name: &str, #[case] taken: bool) {
        assert_eq!(site_name(name).is_ok(), taken);
    }

    #[rstest]
    #[case("https://127.0.0.1:9443/mutate", true)]
    #[case("https://hooks.example.com/mutate", true)]
    #[case("http://127.0.0.1/mutate", false)]
    #[case("https://u:p@127.0.0.1/mutate", false)]
    #[case("https://127.0.0.1/mutate?x=1", false)]
    #[case("https://127.0.0.1/mutate#x", false)]
    #[case("127.0.0.1:9443", false)]
    fn webhook_urls_are_those_the_api_server_takes(#[case] url: &str, #[case] taken: bool) {
        assert_eq!(webhook_url(url).is_ok(), taken);
    }
}
