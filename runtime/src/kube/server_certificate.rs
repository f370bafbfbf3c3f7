//! Which server certificates are accepted: those that webpki accepts, and one that is byte for byte in the authority
//! data.
//!
//! An API server may have a self-signed certificate, and a kubeconfig may give the server's own certificate as its
//! authority. kubectl accepts both: for Go, a certificate among the roots is a chain by itself. webpki knows only
//! authorities that sign others, and refuses both. Such a certificate is trusted like an authority, but it must still
//! be valid for the name, in time, and for servers; and the handshake proves, as always, that the server has its key.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use kube::{Config, Error};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// How long authorities from a file are used before it is read again: a cluster's authority is rotated while we run.
const REREAD_AFTER: Duration = Duration::from_secs(60);

/// The verifier of server certificates for one configuration.
#[derive(Debug)]
pub struct Verifier {
    file: Option<PathBuf>,
    current: RwLock<(Arc<Authorities>, Instant)>,
}

#[derive(Debug)]
struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
    webpki: Arc<WebPkiServerVerifier>,
}

impl Verifier {
    /// For the authorities of a configuration; `None` if it names none, so that those of the operating system apply.
    pub(crate) fn of(config: &Config) -> Result<Option<Arc<Self>>, Error> {
        let file = config.root_cert_file.clone();
        let authorities = match (&file, &config.root_cert) {
            (Some(file), _) => Authorities::read(file)?,
            (None, Some(certificates)) => {
                Authorities::new(certificates.iter().cloned().map(CertificateDer::from))?
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(Arc::new(Self {
            file,
            current: RwLock::new((Arc::new(authorities), Instant::now())),
        })))
    }

    /// The current authorities. If the file cannot be read any more, the last ones stay in use.
    fn current(&self) -> Arc<Authorities> {
        let Some(file) = &self.file else {
            return Arc::clone(
                &self
                    .current
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .0,
            );
        };
        {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if current.1.elapsed() < REREAD_AFTER {
                return Arc::clone(&current.0);
            }
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.1.elapsed() >= REREAD_AFTER {
            match Authorities::read(file) {
                Ok(fresh) => current.0 = Arc::new(fresh),
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "cannot read the authorities of the API server again");
                }
            }
            current.1 = Instant::now();
        }
        Arc::clone(&current.0)
    }
}

impl Authorities {
    fn read(file: &Path) -> Result<Self, Error> {
        let pem = std::fs::read(file).map_err(|error| unusable(Box::new(error)))?;
        Self::new(CertificateDer::pem_slice_iter(&pem).flatten())
    }

    fn new(certificates: impl Iterator<Item = CertificateDer<'static>>) -> Result<Self, Error> {
        let certificates: Vec<_> = certificates.collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let webpki = WebPkiServerVerifier::builder(Arc::new(roots))
            .build()
            .map_err(|error| unusable(Box::new(error)))?;
        Ok(Self {
            certificates,
            webpki,
        })
    }
}

fn unusable(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::RustlsTls(kube::client::RustlsTlsError::AddRootCertificate(error))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authorities = self.current();
        authorities
            .webpki
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .or_else(|refusal| {
                if authorities.certificates.contains(end_entity) {
                    verify_itself(end_entity, server_name, now)
                } else {
                    Err(plain(refusal, end_entity))
                }
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let webpki = Arc::clone(&self.current().webpki);
        webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let webpki = Arc::clone(&self.current().webpki);
        webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().webpki.supported_verify_schemes()
    }
}

/// Replaces webpki's own error for a self-signed certificate that is not among the authorities.
fn plain(refusal: rustls::Error, end_entity: &CertificateDer<'_>) -> rustls::Error {
    let is_authority = || {
        X509Certificate::from_der(end_entity).is_ok_and(|(_, parsed)| {
            let constraints = parsed.basic_constraints().ok().flatten();
            constraints.is_some_and(|constraints| constraints.value.ca)
        })
    };
    match refusal {
        rustls::Error::InvalidCertificate(CertificateError::Other(_)) if is_authority() => {
            CertificateError::UnknownIssuer.into()
        }
        refusal => refusal,
    }
}

/// The remaining checks of a certificate that is trusted itself.
fn verify_itself(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, rustls::Error> {
    // Parsing refuses unknown critical extensions.
    verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)?;
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let time = |time: x509_parser::time::ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    };
    let (not_before, not_after) = (
        time(parsed.validity.not_before),
        time(parsed.validity.not_after),
    );
    if now < not_before {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before,
        }
        .into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after,
        }
        .into());
    }
    let usage = parsed
        .extended_key_usage()
        .map_err(|_| CertificateError::BadEncoding)?;
    if usage.is_some_and(|usage| !usage.value.server_auth && !usage.value.any) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    Ok(ServerCertVerified::assertion())
}

/// Why the server's certificate was not accepted, if that caused the error: the request then failed before any of it
/// was sent.
pub fn refusal<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
            return Some(why);
        }
        // An I/O error hides the error it wraps, and its source is only what is behind that.
        next = match error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
