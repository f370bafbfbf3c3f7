//! The serving certificate: read from a folder, checked, and swapped under open connections.
//!
//! kubelet swaps a mounted Secret by renaming a symlink, which watches of the files miss; so the folder is polled by
//! content. A pair that is not sound (half written, key of another certificate, expired) is not taken: the last good one
//! serves on, and the log says so once for each distinct failure.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::metrics::Metrics;
use crate::readiness::Readiness;

/// How often the folder is looked at: two small files.
const POLL: Duration = Duration::from_secs(2);

/// The same while there is nothing to serve with.
const POLL_FIRST: Duration = Duration::from_millis(100);

/// Why a pair is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        file: String,
        source: std::io::Error,
    },
    #[error("{file} holds no {what} in PEM")]
    NotPem { file: String, what: &'static str },
    #[error("tls.key is not the key of the certificate in tls.crt: {0}")]
    Mismatch(#[source] rustls::Error),
    #[error("the certificate in tls.crt cannot be parsed")]
    Malformed,
    #[error("the certificate in tls.crt is valid from {from} to {until}, and it is {now}")]
    OutOfTime { from: i64, until: i64, now: i64 },
}

/// A certificate chain with its key, checked.
#[derive(Clone, Debug)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    /// Unix seconds.
    pub valid_until: i64,
}

impl Pair {
    /// Reads `tls.crt` and `tls.key`; checks that they belong together and are valid now.
    pub fn read(folder: &Path, now: i64) -> Result<Self, PairError> {
        let read = |name: &str| {
            let file = folder.join(name);
            std::fs::read(&file).map_err(|source| PairError::Unreadable {
                file: file.display().to_string(),
                source,
            })
        };
        Self::parse(&read("tls.crt")?, &read("tls.key")?, now)
    }

    /// As [`Pair::read`], from PEM.
    pub fn parse(certificate: &[u8], key: &[u8], now: i64) -> Result<Self, PairError> {
        let not_pem = |file: &str, what| PairError::NotPem {
            file: file.to_owned(),
            what,
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| not_pem("tls.crt", "certificate"))?;
        let first = chain
            .first()
            .ok_or_else(|| not_pem("tls.crt", "certificate"))?;
        let (_, leaf) =
            x509_parser::parse_x509_certificate(first).map_err(|_| PairError::Malformed)?;
        let validity = leaf.validity();
        let (from, until) = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        if now < from || now >= until {
            return Err(PairError::OutOfTime { from, until, now });
        }
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|_| not_pem("tls.key", "private key"))?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(PairError::Mismatch)?;
        certified.keys_match().map_err(PairError::Mismatch)?;
        Ok(Self {
            certified: Arc::new(certified),
            valid_until: until,
        })
    }
}

/// The certificate that new handshakes get. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Serving(Arc<ArcSwapOption<CertifiedKey>>);

impl Serving {
    pub fn has_certificate(&self) -> bool {
        self.0.load().is_some()
    }

    pub fn set(&self, pair: &Pair) {
        self.0.store(Some(pair.certified.clone()));
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// The TLS side of the server: no client certificates, HTTP/1.1 as the API server speaks to webhooks.
pub fn config(serving: Serving) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(serving));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Follows a folder for as long as it is polled.
#[derive(Debug)]
pub struct Follower {
    pub folder: PathBuf,
    pub serving: Serving,
    pub readiness: Readiness,
    pub metrics: Metrics,
}

impl Follower {
    pub async fn follow(self) {
        let mut last = Last::default();
        loop {
            self.look(&mut last);
            let pause = if self.serving.has_certificate() {
                POLL
            } else {
                POLL_FIRST
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One look at the folder.
    fn look(&self, last: &mut Last) {
        let content = ["tls.crt", "tls.key"].map(|name| std::fs::read(self.folder.join(name)).ok());
        if last.content.as_ref() == Some(&content) && last.failure.is_none() {
            return;
        }
        match Pair::read(&self.folder, jiff::Timestamp::now().as_second()) {
            Ok(pair) => {
                self.serving.set(&pair);
                self.readiness.certificate_valid_until(pair.valid_until);
                self.metrics.certificate_expires(pair.valid_until);
                tracing::info!(valid_until = pair.valid_until, "serving certificate loaded");
                *last = Last {
                    content: Some(content),
                    failure: None,
                };
            }
            Err(error) => {
                let failure = error.to_string();
                // The time is part of some messages, so it is the kind of failure that is compared.
                let news = last
                    .failure
                    .as_ref()
                    .map(std::mem::discriminant::<PairError>)
                    != Some(std::mem::discriminant(&error))
                    || last.content.as_ref() != Some(&content);
                if news {
                    tracing::warn!(
                        folder = %self.folder.display(), error = failure,
                        "certificate not taken: the last good one, if any, serves on; the controller issues a new one"
                    );
                }
                *last = Last {
                    content: Some(content),
                    failure: Some(error),
                };
            }
        }
    }
}

#[derive(Debug, Default)]
struct Last {
    content: Option<[Option<Vec<u8>>; 2]>,
    failure: Option<PairError>,
}
