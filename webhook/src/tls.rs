//! The serving certificate, read from a folder.
//!
//! kubelet swaps a mounted Secret by renaming a symlink, which file watches miss; so the folder is polled by content.
//! An invalid pair (half written, key of another certificate, expired) is not loaded: the last valid one stays in use,
//! and the log reports each distinct failure once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use failover_certs::Pair;
use failover_runtime::serve::certificate::{Certificate, PairError, ServingCertificate};
use jiff::Timestamp;

use crate::metrics::Metrics;
use crate::readiness::Readiness;

/// How often the folder is checked: two small files.
const POLL: Duration = Duration::from_secs(2);

/// How often it is checked while there is no certificate yet.
const POLL_FIRST: Duration = Duration::from_millis(100);

fn read(folder: &Path) -> Result<Pair, PairError> {
    let read = |name: &str| {
        let file = folder.join(name);
        std::fs::read_to_string(&file).map_err(|source| PairError::Unreadable {
            file: file.display().to_string(),
            source,
        })
    };
    Ok(Pair {
        certificate: read("tls.crt")?,
        key: read("tls.key")?,
    })
}

/// Follows a folder for as long as it is polled.
#[derive(Debug)]
pub struct Follower {
    pub folder: PathBuf,
    pub serving: ServingCertificate,
    pub readiness: Readiness,
    pub metrics: Metrics,
}

impl Follower {
    pub async fn follow(self) {
        let mut last = Last::default();
        loop {
            self.check(&mut last, Timestamp::now());
            let pause = if self.serving.has_certificate() {
                POLL
            } else {
                POLL_FIRST
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Checks the folder once.
    fn check(&self, last: &mut Last, now: Timestamp) {
        let loaded = read(&self.folder).and_then(|pair| {
            if last.served.as_ref() == Some(&pair) {
                return Ok(None);
            }
            Certificate::check(&pair, now).map(|certificate| Some((pair, certificate)))
        });
        match loaded {
            Ok(None) => last.failure = None,
            Ok(Some((pair, certificate))) => {
                self.serving.set(&certificate);
                let until = certificate.valid_until;
                self.readiness.certificate_valid_until(until.as_second());
                self.metrics.certificate_expires(until.as_second());
                tracing::info!(valid_until = %until, "serving a new certificate");
                *last = Last {
                    served: Some(pair),
                    failure: None,
                };
            }
            Err(error) => {
                let failure = Failure::of(&error);
                if last.failure.as_ref() == Some(&failure) {
                    return;
                }
                last.failure = Some(failure);
                let folder = self.folder.display();
                if last.served.is_some() {
                    tracing::warn!(%folder, %error, "cannot load the new certificate; still serving the previous one");
                } else {
                    tracing::warn!(%folder, %error, "waiting for a certificate: the controller issues it");
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Last {
    served: Option<Pair>,
    failure: Option<Failure>,
}

/// The failure that was logged last. Not its whole message: that of an expired certificate is different at every check.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    OutOfTime(Timestamp),
    Other(String),
}

impl Failure {
    fn of(error: &PairError) -> Self {
        match error {
            PairError::OutOfTime { until, .. } => Self::OutOfTime(*until),
            other => Self::Other(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use failover_certs::{Name, issue_authority, issue_leaf};
    use rustls::pki_types::CertificateDer as Der;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::readiness::NotReady;

    fn pair() -> Pair {
        let now = Timestamp::now();
        let names = BTreeSet::from([Name::Dns("localhost".into())]);
        issue_leaf(&issue_authority(now).unwrap(), &names, now).unwrap()
    }

    fn write(folder: &Path, pair: &Pair) {
        std::fs::write(folder.join("tls.crt"), &pair.certificate).unwrap();
        std::fs::write(folder.join("tls.key"), &pair.key).unwrap();
    }

    fn leaf(pair: &Pair) -> Der<'static> {
        Der::from_pem_slice(pair.certificate.as_bytes()).unwrap()
    }

    struct Bed {
        folder: tempfile::TempDir,
        follower: Follower,
        last: Last,
    }

    impl Bed {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let follower = Follower {
                folder: folder.path().to_owned(),
                serving: ServingCertificate::default(),
                readiness: Readiness::default(),
                metrics: Metrics::default(),
            };
            Self {
                folder,
                follower,
                last: Last::default(),
            }
        }

        fn check_at(&mut self, now: Timestamp) -> Option<Der<'static>> {
            self.follower.check(&mut self.last, now);
            let served = self.follower.serving.current();
            served.map(|certified| certified.cert[0].clone())
        }

        fn check(&mut self) -> Option<Der<'static>> {
            self.check_at(Timestamp::now())
        }
    }

    #[test]
    fn waits_for_a_first_certificate_and_loads_the_next() {
        let mut bed = Bed::new();
        assert_eq!(bed.check(), None);
        assert_eq!(bed.follower.readiness.check(), Err(NotReady::Certificate));
        let (first, second) = (pair(), pair());
        write(bed.folder.path(), &first);
        assert_eq!(bed.check(), Some(leaf(&first)));
        assert_eq!(bed.follower.readiness.check(), Err(NotReady::Watches));
        let expiry = Certificate::check(&first, Timestamp::now()).unwrap();
        let metric = format!(
            "failover_webhook_certificate_expiry_timestamp_seconds {}",
            expiry.valid_until.as_second()
        );
        let metrics = bed.follower.metrics.encode().unwrap();
        assert!(metrics.contains(&metric), "{metrics}");
        write(bed.folder.path(), &second);
        assert_eq!(bed.check(), Some(leaf(&second)));
    }

    #[test]
    fn keeps_the_last_valid_pair_when_the_next_is_invalid() {
        let mut bed = Bed::new();
        let (good, other) = (pair(), pair());
        write(bed.folder.path(), &good);
        bed.check();
        for (certificate, key) in [
            (other.certificate.as_str(), good.key.as_str()),
            ("", good.key.as_str()),
            ("garbage", "garbage"),
            (&other.certificate, "garbage"),
        ] {
            std::fs::write(bed.folder.path().join("tls.crt"), certificate).unwrap();
            std::fs::write(bed.folder.path().join("tls.key"), key).unwrap();
            assert_eq!(bed.check(), Some(leaf(&good)));
            assert!(bed.last.failure.is_some(), "{certificate} {key}");
        }
        std::fs::remove_file(bed.folder.path().join("tls.key")).unwrap();
        assert_eq!(bed.check(), Some(leaf(&good)));
        write(bed.folder.path(), &other);
        assert_eq!(bed.check(), Some(leaf(&other)));
        assert_eq!(bed.last.failure, None);
    }

    /// Returns what is logged while `act` runs.
    fn logged(act: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);
        impl std::io::Write for Lines {
            fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(text)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, act);
        let text = lines.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn an_expired_certificate_is_not_loaded_and_each_failure_is_logged_once() {
        let mut bed = Bed::new();
        let pair = pair();
        write(bed.folder.path(), &pair);
        let later = Timestamp::now() + failover_certs::LEAF_LIFETIME;
        let lines = logged(|| {
            for seconds in 0..3 {
                // Nothing changes but the time in the message.
                let now = later + jiff::SignedDuration::from_secs(seconds);
                assert_eq!(bed.check_at(now), None);
            }
            std::fs::remove_file(bed.folder.path().join("tls.key")).unwrap();
            for _ in 0..3 {
                assert_eq!(bed.check_at(later), None);
            }
        });
        assert_eq!(lines.lines().count(), 2, "{lines}");
        let logged: Vec<&str> = lines.lines().collect();
        assert!(
            logged[0].contains("and it is") && logged[1].contains("tls.key"),
            "{lines}"
        );
        assert!(!lines.contains("PRIVATE"), "{lines}");
    }
}
