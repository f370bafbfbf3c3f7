//! The serving certificate: checked before it is used, and swapped under open connections.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use failover_certs::Pair;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Why a pair is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        file: String,
        source: std::io::Error,
    },
    #[error("{file} is not PEM of a {what}")]
    NotPem {
        file: &'static str,
        what: &'static str,
    },
    #[error("the certificate in tls.crt cannot be parsed")]
    Malformed,
    #[error("tls.key is not the key of the certificate in tls.crt: {0}")]
    Mismatch(#[source] rustls::Error),
    #[error(
        "the certificate in tls.crt is valid from {from} to {until}, and it is {now}: check the clocks"
    )]
    OutOfTime {
        from: Timestamp,
        until: Timestamp,
        now: Timestamp,
    },
}

/// A certificate chain with its key, checked.
#[derive(Clone, Debug)]
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    pub valid_until: Timestamp,
}

impl Certificate {
    /// Checks that a pair belongs together and is valid now. The API server checks the issuer and the names.
    pub fn check(pair: &Pair, now: Timestamp) -> Result<Self, PairError> {
        let not_pem = |file, what| PairError::NotPem { file, what };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| not_pem("tls.crt", "certificate"))?;
        let leaf = chain
            .first()
            .ok_or_else(|| not_pem("tls.crt", "certificate"))?;
        let (from, until) = validity(leaf).ok_or(PairError::Malformed)?;
        if now < from || now >= until {
            return Err(PairError::OutOfTime { from, until, now });
        }
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())
            .map_err(|_| not_pem("tls.key", "private key"))?;
        // This also checks the key against the certificate.
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(PairError::Mismatch)?;
        Ok(Self {
            certified: Arc::new(certified),
            valid_until: until,
        })
    }
}

fn validity(certificate: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    let validity = parsed.validity();
    Some((at(validity.not_before)?, at(validity.not_after)?))
}

/// The certificate that new handshakes get. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ServingCertificate(Arc<ArcSwapOption<CertifiedKey>>);

impl ServingCertificate {
    pub fn has_certificate(&self) -> bool {
        self.0.load().is_some()
    }

    /// The current certificate.
    pub fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }

    pub fn set(&self, certificate: &Certificate) {
        self.0.store(Some(certificate.certified.clone()));
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// The TLS configuration of the server: no client certificates, HTTP/1.1, as the API server speaks to webhooks.
pub fn config(serving: ServingCertificate) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(serving));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
