//! The certificate authority and the leaf it issues: P-256, explicit validity, and the extensions that Go's verifier
//! requires.
//!
//! Serial numbers are rcgen's, a hash of the public key: every certificate has its own key, so they are unique.

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::PrivateKeyDer;

use crate::name::Name;
use crate::parsed::CLOCK_SKEW;
use crate::parsed::{ParseError, Parsed};

/// How long an authority is valid. It is renewed after two thirds; the last third is long enough for every leaf it has
/// issued to expire, even if nobody renews anything.
pub const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(3 * 365 * 24);

/// How long a leaf is valid. It is renewed after two thirds, so that a controller may be down for a month.
pub const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);

const _: () = assert!(AUTHORITY_LIFETIME.as_secs() / 3 > LEAF_LIFETIME.as_secs());

/// A certificate with its key, in PEM. Debug never shows the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Why a certificate cannot be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("the authority cannot be used: {0}")]
    Authority(#[from] ParseError),
    #[error("{0:?} is not a DNS name")]
    Name(String),
    #[error("a certificate cannot be made")]
    Make(#[source] rcgen::Error),
}

/// Issues a new authority, valid from now.
pub fn issue_authority(now: Timestamp) -> Result<Pair, IssueError> {
    let key = KeyPair::generate().map_err(IssueError::Make)?;
    let mut params = CertificateParams::default();
    // Each has its own name: Go's verifier finds issuers by name, and old and new are trusted side by side for a while.
    params.distinguished_name = name(&format!("failover-webhook-ca {}", fingerprint(&key)));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, now + AUTHORITY_LIFETIME);
    let certificate = params.self_signed(&key).map_err(IssueError::Make)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// Issues a leaf for the names under which the webhook is called. It never outlives its authority.
pub fn issue_leaf(
    authority: &Pair,
    names: &BTreeSet<Name>,
    now: Timestamp,
) -> Result<Pair, IssueError> {
    let parsed = Parsed::from_pem(&authority.certificate)?;
    let authority_key = KeyPair::from_pem(&authority.key).map_err(IssueError::Make)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, authority_key)
        .map_err(IssueError::Make)?;
    let key = KeyPair::generate().map_err(IssueError::Make)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name("failover-webhook");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = names
        .iter()
        .map(alternative_name)
        .collect::<Result<_, _>>()?;
    set_validity(
        &mut params,
        now,
        (now + LEAF_LIFETIME).min(parsed.not_after),
    );
    let certificate = params.signed_by(&key, &issuer).map_err(IssueError::Make)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

impl Pair {
    /// SubjectPublicKeyInfo of the key, in DER; `None` if there is no readable key.
    pub(crate) fn public_key(&self) -> Option<Vec<u8>> {
        let key = KeyPair::from_pem(&self.key).ok()?;
        Some(rcgen::PublicKeyData::subject_public_key_info(&key))
    }

    /// The key for a TLS library.
    pub fn private_key(&self) -> Option<PrivateKeyDer<'static>> {
        use rustls_pki_types::pem::PemObject as _;
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).ok()
    }
}

fn alternative_name(name: &Name) -> Result<SanType, IssueError> {
    Ok(match name {
        Name::Dns(name) => SanType::DnsName(
            name.as_str()
                .try_into()
                .map_err(|_| IssueError::Name(name.clone()))?,
        ),
        Name::Ip(address) => SanType::IpAddress(*address),
    })
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// A short fingerprint of a key.
fn fingerprint(key: &KeyPair) -> String {
    let last = key.public_key_raw().last_chunk::<4>();
    let last = last.expect("a point on P-256 is longer than that");
    format!("{:08x}", u32::from_be_bytes(*last))
}

/// rcgen's own default is 1975 to 4096.
fn set_validity(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    let date = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
    };
    params.not_before = date(from - CLOCK_SKEW);
    params.not_after = date(until);
}
