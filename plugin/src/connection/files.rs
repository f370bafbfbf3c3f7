//! Which kubeconfig files are read, and how several become one.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use failover_runtime::error_chain::causes;
use kube::config::{Kubeconfig, KubeconfigError};

use super::ConnectionError;

/// What of the process's environment decides where the kubeconfig is.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub kubeconfig: Option<OsString>,
    pub home: Option<PathBuf>,
    /// The process runs in a pod.
    pub in_cluster: bool,
}

impl Environment {
    pub fn read() -> Self {
        Self {
            kubeconfig: std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()),
            home: std::env::home_dir(),
            in_cluster: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        }
    }
}

/// One file, if it is named by flag: then it must be there. Otherwise the files of `$KUBECONFIG`, those that are missing
/// left out as kubectl does, or the default file, if it is there.
pub(super) fn load(
    flag: Option<&Path>,
    environment: &Environment,
) -> Result<Kubeconfig, ConnectionError> {
    if let Some(path) = flag {
        let found = read(path)?;
        return found.ok_or_else(|| ConnectionError::File {
            what: format!("--kubeconfig {}", path.display()),
            source: io::ErrorKind::NotFound.into(),
        });
    }
    let paths = match &environment.kubeconfig {
        Some(list) => {
            let mut seen = HashSet::new();
            std::env::split_paths(list)
                .filter(|path| !path.as_os_str().is_empty() && seen.insert(path.clone()))
                .collect()
        }
        None => environment
            .home
            .iter()
            .map(|home| home.join(".kube").join("config"))
            .collect::<Vec<_>>(),
    };
    let mut merged = Kubeconfig::default();
    for path in paths {
        if let Some(next) = read(&path)? {
            merged = merged
                .merge(next)
                .map_err(|error| unusable(&path, &error))?;
        }
    }
    Ok(merged)
}

/// `None`: there is no such file.
fn read(path: &Path) -> Result<Option<Kubeconfig>, ConnectionError> {
    match Kubeconfig::read_from(path) {
        Ok(mut kubeconfig) => {
            // An empty value sets nothing: a later file decides.
            kubeconfig.current_context = kubeconfig
                .current_context
                .filter(|context| !context.is_empty());
            Ok(Some(kubeconfig))
        }
        Err(KubeconfigError::ReadConfig(source, _)) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(KubeconfigError::ReadConfig(source, _)) => Err(ConnectionError::File {
            what: format!("the kubeconfig {}", path.display()),
            source,
        }),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn unusable(path: &Path, error: &KubeconfigError) -> ConnectionError {
    ConnectionError::Kubeconfig {
        path: path.to_owned(),
        reason: causes(error),
    }
}
