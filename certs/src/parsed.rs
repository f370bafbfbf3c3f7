//! The parsed fields of a certificate.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::name::Name;

/// How far the clocks of the controller, the webhook and an API server may differ. Certificates are valid from this
/// much before they are issued, so that a server whose clock is behind accepts them at once.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(1);

/// Why a text is not a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("it holds no certificate in PEM")]
    NotPem,
    #[error("it holds a certificate that cannot be parsed")]
    Malformed,
}

/// One certificate, as far as decisions depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) der: Vec<u8>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) is_authority: bool,
    /// Whether it is for TLS servers. Go's verifier requires that.
    pub(crate) is_for_servers: bool,
    pub(crate) names: BTreeSet<Name>,
    /// SubjectPublicKeyInfo in DER.
    pub(crate) public_key: Vec<u8>,
}

impl Parsed {
    /// The first certificate of a text.
    pub(crate) fn from_pem(text: &str) -> Result<Self, ParseError> {
        let der =
            CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| ParseError::NotPem)?;
        Self::from_der(&der)
    }

    pub(crate) fn from_der(der: &[u8]) -> Result<Self, ParseError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| ParseError::Malformed)?;
        let time =
            |seconds: i64| Timestamp::from_second(seconds).map_err(|_| ParseError::Malformed);
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| ParseError::Malformed)?
            .into_iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(Name::Dns((*name).to_owned())),
                GeneralName::IPAddress(bytes) => <[u8; 4]>::try_from(*bytes)
                    .map(|b| Name::Ip(b.into()))
                    .or_else(|_| <[u8; 16]>::try_from(*bytes).map(|b| Name::Ip(b.into())))
                    .ok(),
                _ => None,
            })
            .collect();
        Ok(Self {
            der: der.to_vec(),
            not_before: time(certificate.validity().not_before.timestamp())?,
            not_after: time(certificate.validity().not_after.timestamp())?,
            is_authority: certificate.is_ca(),
            is_for_servers: certificate
                .extended_key_usage()
                .map_err(|_| ParseError::Malformed)?
                .is_some_and(|usage| usage.value.server_auth),
            names,
            public_key: certificate.public_key().raw.to_vec(),
        })
    }

    /// When it was issued; it is valid from a little earlier.
    pub(crate) fn issued_at(&self) -> Timestamp {
        self.not_before + CLOCK_SKEW
    }

    pub(crate) fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// When two thirds of its lifetime are over.
    pub(crate) fn renew_at(&self) -> Timestamp {
        let lifetime = self.not_after.duration_since(self.issued_at());
        self.not_after - lifetime / 3
    }

    /// Whether this was signed by `authority`.
    pub(crate) fn is_signed_by(&self, authority: &Self) -> bool {
        let (Ok((_, own)), Ok((_, issuer))) = (
            X509Certificate::from_der(&self.der),
            X509Certificate::from_der(&authority.der),
        ) else {
            return false;
        };
        own.issuer() == issuer.subject() && own.verify_signature(Some(issuer.public_key())).is_ok()
    }
}
