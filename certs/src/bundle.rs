//! The authorities that API servers trust.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::parsed::Parsed;

/// A set of authorities. Their order does not matter: two bundles with the same authorities are equal.
#[derive(Clone, Debug, Default)]
pub struct Bundle(Vec<Parsed>);

impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|authority| other.contains(authority))
    }
}

impl Eq for Bundle {}

impl Bundle {
    /// Parses the authorities of a text and skips everything else.
    pub fn parse(text: &str) -> Self {
        let mut bundle = Self::default();
        for der in CertificateDer::pem_slice_iter(text.as_bytes()).flatten() {
            if let Ok(parsed) = Parsed::from_der(&der) {
                bundle.add(parsed);
            }
        }
        bundle
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The certificates in DER, for a TLS library.
    pub fn certificates(&self) -> impl Iterator<Item = CertificateDer<'static>> {
        self.0
            .iter()
            .map(|parsed| CertificateDer::from(parsed.der.clone()))
    }

    /// In PEM.
    pub fn to_pem(&self) -> String {
        self.0.iter().map(|parsed| to_pem(&parsed.der)).collect()
    }

    /// Adds those that are not there yet.
    pub(crate) fn add_all(&mut self, other: &Self) {
        for authority in &other.0 {
            self.add(authority.clone());
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Parsed> {
        self.0.iter()
    }

    pub(crate) fn contains(&self, authority: &Parsed) -> bool {
        self.0.iter().any(|known| known.der == authority.der)
    }

    /// Adds an authority that is not there yet. Other certificates are not trusted to sign anything.
    pub(crate) fn add(&mut self, authority: Parsed) {
        if authority.is_authority && !self.contains(&authority) {
            self.0.push(authority);
        }
    }
}

fn to_pem(der: &[u8]) -> String {
    let line_feeds = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der), line_feeds)
}
