//! The flags by which kubectl finds its cluster, accepted after every subcommand: kubectl takes none before the name of a
//! plugin.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::duration;

const HEADING: &str = "Connection (as for kubectl)";

#[derive(Args, Clone, Debug, Default)]
pub struct ConnectionFlags {
    /// The kubeconfig file; only this one is read
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING, hide_short_help = true)]
    pub kubeconfig: Option<PathBuf>,

    /// The context to use
    #[arg(long, global = true, value_name = "NAME", help_heading = HEADING)]
    pub context: Option<String>,

    /// The cluster to use, in the place of the context's
    #[arg(long, global = true, value_name = "NAME", help_heading = HEADING, hide_short_help = true)]
    pub cluster: Option<String>,

    /// The user to use, in the place of the context's
    #[arg(long, global = true, value_name = "NAME", help_heading = HEADING, hide_short_help = true)]
    pub user: Option<String>,

    /// Limit status and plan to one namespace; for exempt, where the objects are
    #[arg(short, long, global = true, value_name = "NAME", help_heading = HEADING)]
    pub namespace: Option<String>,

    /// Address and port of the API server
    #[arg(short, long, global = true, value_name = "URL", help_heading = HEADING, hide_short_help = true)]
    pub server: Option<String>,

    /// Bearer token for the API server
    #[arg(long, global = true, value_name = "TOKEN", help_heading = HEADING, hide_short_help = true)]
    pub token: Option<Secret>,

    /// User to impersonate
    #[arg(long = "as", id = "as", global = true, value_name = "USER", help_heading = HEADING, hide_short_help = true)]
    pub as_user: Option<String>,

    /// Group to impersonate; may be repeated
    #[arg(long, global = true, value_name = "GROUP", action = ArgAction::Append, help_heading = HEADING, hide_short_help = true)]
    pub as_group: Vec<String>,

    /// UID to impersonate
    #[arg(long, global = true, value_name = "UID", help_heading = HEADING, hide_short_help = true)]
    pub as_uid: Option<String>,

    /// How long to wait for one answer of the API server (for example 10s); 0: for ever
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = duration::parse, help_heading = HEADING, hide_short_help = true)]
    pub request_timeout: Duration,

    /// Do not check the API server's certificate: anybody on the way can then read and change everything
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = HEADING, hide_short_help = true)]
    pub insecure_skip_tls_verify: Option<bool>,

    /// Certificate file of the authority that the API server's certificate is from
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING, hide_short_help = true)]
    pub certificate_authority: Option<PathBuf>,

    /// Client certificate file
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING, hide_short_help = true)]
    pub client_certificate: Option<PathBuf>,

    /// Client key file
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING, hide_short_help = true)]
    pub client_key: Option<PathBuf>,

    /// The name that the API server's certificate is checked for, in the place of its address
    #[arg(long, global = true, value_name = "NAME", help_heading = HEADING, hide_short_help = true)]
    pub tls_server_name: Option<String>,
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_printed() {
        let flags = ConnectionFlags {
            token: Some("s3cret".into()),
            ..ConnectionFlags::default()
        };
        assert!(!format!("{flags:?}").contains("s3cret"));
    }
}
