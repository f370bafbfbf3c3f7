//! Plays the kubelet that mounts a Secret: keeps a folder equal to some of its keys.

use std::fs;
use std::path::PathBuf;

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::task::JoinHandle;

/// Mirrors until it is dropped.
#[derive(Debug)]
pub struct SecretMirror(JoinHandle<()>);

impl SecretMirror {
    /// Starts to mirror `keys` of a Secret into `folder`, which is created.
    pub fn start(
        client: Client,
        namespace: &str,
        name: &str,
        keys: &'static [&'static str],
        folder: PathBuf,
    ) -> Self {
        let api: Api<Secret> = Api::namespaced(client, namespace);
        let selection = watcher::Config::default().fields(&format!("metadata.name={name}"));
        Self(tokio::spawn(async move {
            fs::create_dir_all(&folder).expect("the run's folder can be written");
            let stream = watcher(api, selection).default_backoff().applied_objects();
            pin_mut!(stream);
            while let Some(event) = stream.next().await {
                let Ok(secret) = event else { continue }; // the watcher starts anew by itself
                for (key, value) in secret
                    .data
                    .iter()
                    .flatten()
                    .filter(|(key, _)| keys.contains(&key.as_str()))
                {
                    let file = folder.join(key);
                    if fs::read(&file).ok().as_deref() != Some(&value.0) {
                        let fresh = folder.join(format!(".{key}"));
                        fs::write(&fresh, &value.0)
                            .and_then(|()| fs::rename(&fresh, &file))
                            .expect("the run's folder can be written");
                    }
                }
            }
        }))
    }
}

impl Drop for SecretMirror {
    fn drop(&mut self) {
        self.0.abort();
    }
}
