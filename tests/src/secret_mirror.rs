//! Plays the kubelet that mounts a Secret: mirrors some of its keys into a folder, and changes all of them at once.
//!
//! ```text
//!   tls/tls.crt ─► ..data/tls.crt        tls/..data ─► ..4711        tls/..4711/{tls.crt,tls.key}
//! ```
//!
//! As kubelet does it, a new version is written beside the old one, then the link `..data` is replaced. A reader through it
//! gets a matching certificate and key; a watch of the files gets no event.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

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
                let Ok(secret) = event else { continue }; // the watcher restarts by itself
                let version = secret.metadata.resource_version.unwrap_or_default();
                let files = secret.data.unwrap_or_default().into_iter();
                let files = files
                    .filter(|(key, _)| keys.contains(&key.as_str()))
                    .map(|(key, value)| (key, value.0))
                    .collect();
                project(&folder, &version, &files).expect("the run's folder can be written");
            }
        }))
    }
}

impl Drop for SecretMirror {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes `folder` contain exactly `files`. A `version` names one state of them.
fn project(folder: &Path, version: &str, files: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    let data = folder.join("..data");
    let old = match fs::read_link(&data) {
        Ok(link) => Some(folder.join(link)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(old) = &old
        && read(old)? == *files
    {
        return Ok(());
    }

    let name = format!("..{version}");
    fs::create_dir(folder.join(&name))?;
    for (key, value) in files {
        fs::write(folder.join(&name).join(key), value)?;
    }
    let fresh = folder.join("..data_tmp");
    symlink(&name, &fresh)?;
    fs::rename(&fresh, &data)?;

    let gone = old
        .iter()
        .map(|old| read(old))
        .collect::<io::Result<Vec<_>>>()?;
    for key in gone.iter().flat_map(BTreeMap::keys) {
        if !files.contains_key(key) {
            fs::remove_file(folder.join(key))?;
        }
    }
    for key in files.keys() {
        match symlink(Path::new("..data").join(key), folder.join(key)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    old.map_or(Ok(()), fs::remove_dir_all)
}

fn read(folder: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    fs::read_dir(folder)?
        .map(|entry| {
            let entry = entry?;
            let key = entry.file_name().to_string_lossy().into_owned();
            Ok((key, fs::read(entry.path())?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    fn pair(of: &str) -> BTreeMap<String, Vec<u8>> {
        ["tls.crt", "tls.key"]
            .map(|key| (key.to_owned(), of.as_bytes().to_vec()))
            .into()
    }

    #[test]
    fn readers_never_see_a_certificate_with_the_key_of_another() {
        let folder = tempfile::tempdir().unwrap();
        project(folder.path(), "0", &pair("0")).unwrap();
        let path = folder.path().to_owned();
        let reader = std::thread::spawn(move || {
            // Each attempt follows the link once, and is repeated if that version was removed meanwhile.
            let read = || {
                let version = fs::canonicalize(path.join("..data")).ok()?;
                let read = |key| fs::read(version.join(key)).ok();
                Some((read("tls.crt")?, read("tls.key")?))
            };
            let mut seen = 0;
            for (certificate, key) in iter::repeat_with(read).flatten() {
                assert_eq!(certificate, key);
                seen += 1;
                if certificate == b"last" {
                    return seen;
                }
            }
            unreachable!("it reads until it has seen the last one")
        });
        for version in 1..500 {
            let version = version.to_string();
            project(folder.path(), &version, &pair(&version)).unwrap();
        }
        project(folder.path(), "last", &pair("last")).unwrap();
        assert!(reader.join().unwrap() > 0);
    }

    #[test]
    fn the_folder_shows_what_the_secret_has_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let shown = || {
            let mut names: Vec<String> = fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        project(folder.path(), "1", &BTreeMap::new()).unwrap();
        assert_eq!(shown(), ["..1", "..data"]);
        project(folder.path(), "2", &pair("a")).unwrap();
        assert_eq!(shown(), ["..2", "..data", "tls.crt", "tls.key"]);
        assert_eq!(fs::read(folder.path().join("tls.key")).unwrap(), b"a");

        // The same content with another resourceVersion is no change.
        project(folder.path(), "3", &pair("a")).unwrap();
        assert_eq!(shown(), ["..2", "..data", "tls.crt", "tls.key"]);

        let mut only_one = pair("b");
        only_one.remove("tls.key");
        project(folder.path(), "4", &only_one).unwrap();
        assert_eq!(shown(), ["..4", "..data", "tls.crt"]);
        assert_eq!(fs::read(folder.path().join("tls.crt")).unwrap(), b"b");
    }
}
