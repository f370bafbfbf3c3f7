//! One cluster and one user out of a kubeconfig, with the flags laid over them as kubectl does it:
//!
//! - `--context`, `--cluster` and `--user` must name something that is there; a user that the *context* names need not be.
//! - `--insecure-skip-tls-verify` or `--certificate-authority` replaces everything the kubeconfig says about trust: the one
//!   would contradict an authority that is there, the other would lose to inline data.
//! - `--server` also drops the kubeconfig's `tls-server-name`, which belongs to the other address.
//! - `--client-certificate` and `--client-key` replace file and inline data alike.
//! - `--token` comes before a plugin or provider that would fetch one.

use std::path::Path;

use kube::config::{
    AuthInfo, Cluster, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};

use super::ConnectionError;
use crate::cli::ConnectionFlags;

/// The name of the one cluster, user and context that are left.
const ONLY: &str = "selected";

/// A kubeconfig in which nothing is left to choose.
pub(super) struct Selected {
    pub(super) kubeconfig: Kubeconfig,
    /// As the user calls it.
    pub(super) context: Option<String>,
}

pub(super) fn select(
    kubeconfig: &Kubeconfig,
    flags: &ConnectionFlags,
) -> Result<Selected, ConnectionError> {
    let name = flags
        .context
        .clone()
        .or_else(|| kubeconfig.current_context.clone());
    let context = match &name {
        Some(name) => find_context(kubeconfig, name, flags)?,
        None => Context::default(),
    };
    let cluster = select_cluster(kubeconfig, &context, flags)?;
    let user = select_user(kubeconfig, &context, flags)?;
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster {
            name: ONLY.to_owned(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: ONLY.to_owned(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: ONLY.to_owned(),
            context: Some(Context {
                cluster: ONLY.to_owned(),
                user: Some(ONLY.to_owned()),
                namespace: context.namespace,
                ..Context::default()
            }),
            ..NamedContext::default()
        }],
        current_context: Some(ONLY.to_owned()),
        ..Kubeconfig::default()
    };
    Ok(Selected {
        kubeconfig,
        context: name,
    })
}

fn find_context(
    kubeconfig: &Kubeconfig,
    name: &str,
    flags: &ConnectionFlags,
) -> Result<Context, ConnectionError> {
    let found = kubeconfig
        .contexts
        .iter()
        .find(|context| context.name == name)
        .and_then(|named| named.context.clone());
    match found {
        Some(context) => Ok(context),
        // kubectl goes on without a current context that is not there, and so do we where the flags say enough.
        None if flags.context.is_none() && flags.server.is_some() => Ok(Context::default()),
        None => Err(ConnectionError::Missing {
            what: "context",
            name: name.to_owned(),
            hint: if flags.context.is_some() {
                known(
                    kubeconfig.contexts.iter().map(|c| c.name.as_str()),
                    "--context",
                )
            } else {
                "; it is the current one: kubectl config use-context NAME".to_owned()
            },
        }),
    }
}

fn select_cluster(
    kubeconfig: &Kubeconfig,
    context: &Context,
    flags: &ConnectionFlags,
) -> Result<Cluster, ConnectionError> {
    let name = flags.cluster.as_deref().unwrap_or(&context.cluster);
    let found = kubeconfig
        .clusters
        .iter()
        .find(|cluster| cluster.name == name)
        .and_then(|named| named.cluster.clone());
    let mut cluster = match found {
        Some(cluster) => cluster,
        None if flags.cluster.is_some() => {
            return Err(ConnectionError::Missing {
                what: "cluster",
                name: name.to_owned(),
                hint: known(
                    kubeconfig.clusters.iter().map(|c| c.name.as_str()),
                    "--cluster",
                ),
            });
        }
        None if flags.server.is_some() => Cluster::default(),
        None if name.is_empty() => return Err(ConnectionError::NoCluster),
        None => {
            return Err(ConnectionError::Missing {
                what: "cluster",
                name: name.to_owned(),
                hint: "; the context names it".to_owned(),
            });
        }
    };
    let insecure = flags.insecure_skip_tls_verify;
    if insecure == Some(true) && flags.certificate_authority.is_some() {
        return Err(ConnectionError::AuthorityAndInsecure);
    }
    if insecure == Some(true) || flags.certificate_authority.is_some() {
        cluster.insecure_skip_tls_verify = insecure;
        cluster.certificate_authority = path(
            flags.certificate_authority.as_deref(),
            "certificate-authority",
        )?;
        cluster.certificate_authority_data = None;
    } else if insecure == Some(false) {
        cluster.insecure_skip_tls_verify = Some(false);
    }
    if flags.server.is_some() || flags.tls_server_name.is_some() {
        cluster.tls_server_name.clone_from(&flags.tls_server_name);
    }
    let origin = if flags.server.is_some() {
        "--server"
    } else {
        "in the kubeconfig"
    };
    if let Some(server) = &flags.server {
        cluster.server = Some(with_scheme(server));
    }
    match cluster
        .server
        .as_deref()
        .filter(|server| !server.is_empty())
    {
        None => Err(ConnectionError::NoServer {
            cluster: name.to_owned(),
        }),
        Some(server) if !is_address(server) => Err(ConnectionError::Server {
            value: server.to_owned(),
            origin,
        }),
        Some(_) => Ok(cluster),
    }
}

fn select_user(
    kubeconfig: &Kubeconfig,
    context: &Context,
    flags: &ConnectionFlags,
) -> Result<AuthInfo, ConnectionError> {
    let name = flags.user.as_deref().or(context.user.as_deref());
    let found = name.and_then(|name| {
        kubeconfig
            .auth_infos
            .iter()
            .find(|user| user.name == name)
            .and_then(|named| named.auth_info.clone())
    });
    let mut user = match (found, &flags.user) {
        (Some(user), _) => user,
        (None, Some(name)) => {
            return Err(ConnectionError::Missing {
                what: "user",
                name: name.clone(),
                hint: known(
                    kubeconfig.auth_infos.iter().map(|u| u.name.as_str()),
                    "--user",
                ),
            });
        }
        (None, None) => AuthInfo::default(),
    };
    if flags.client_certificate.is_some() {
        user.client_certificate = path(flags.client_certificate.as_deref(), "client-certificate")?;
        user.client_certificate_data = None;
    }
    if flags.client_key.is_some() {
        user.client_key = path(flags.client_key.as_deref(), "client-key")?;
        user.client_key_data = None;
    }
    let certificate = user.client_certificate.is_some() || user.client_certificate_data.is_some();
    let key = user.client_key.is_some() || user.client_key_data.is_some();
    for (there, other, given, missing) in [
        (certificate, key, "client-certificate", "client-key"),
        (key, certificate, "client-key", "client-certificate"),
    ] {
        if there && !other {
            return Err(ConnectionError::Incomplete { given, missing });
        }
    }
    if let Some(token) = &flags.token {
        user.token = Some(token.expose().to_owned().into());
        user.token_file = None;
        user.exec = None;
        user.auth_provider = None;
        user.username = None;
        user.password = None;
    }
    impersonate(&mut user, flags);
    Ok(user)
}

/// `--as`, `--as-uid` and `--as-group`, each in the place of what is there.
pub(super) fn impersonate(user: &mut AuthInfo, flags: &ConnectionFlags) {
    if flags.as_user.is_some() {
        user.impersonate.clone_from(&flags.as_user);
    }
    if flags.as_uid.is_some() {
        user.impersonate_uid.clone_from(&flags.as_uid);
    }
    if !flags.as_group.is_empty() {
        user.impersonate_groups = Some(flags.as_group.clone());
    }
}

/// A file that a flag names: read here once, so that the error names the flag.
fn path(path: Option<&Path>, flag: &str) -> Result<Option<String>, ConnectionError> {
    let Some(path) = path else { return Ok(None) };
    let what = || format!("--{flag} {}", path.display());
    std::fs::read(path).map_err(|source| ConnectionError::File {
        what: what(),
        source,
    })?;
    match path.to_str() {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(ConnectionError::File {
            what: what(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path is not UTF-8"),
        }),
    }
}

/// kubectl takes `--server host:port`.
fn with_scheme(server: &str) -> String {
    if server.contains("://") {
        server.to_owned()
    } else {
        format!("https://{server}")
    }
}

fn is_address(server: &str) -> bool {
    server.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("https" | "http"))
            && uri.host().is_some_and(|host| !host.is_empty())
    })
}

fn known<'a>(names: impl Iterator<Item = &'a str>, flag: &str) -> String {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    if names.is_empty() {
        return format!("; {flag} has nothing to choose from");
    }
    format!("; {flag} can be {}", names.join(", "))
}
