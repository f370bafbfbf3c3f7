//! A rotation as TLS libraries see it: real handshakes, in memory.

#![allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

use std::collections::BTreeSet;
use std::sync::Arc;

use failover_certs::{
    Act, Bundle, LEAF_LIFETIME, Name, OVERLAP, Pair, SETTLE, Situation, Stored, decide,
    issue_authority, issue_leaf,
};
use jiff::{SignedDuration, Timestamp};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, RootCertStore, ServerConfig,
    ServerConnection,
};

const SERVICE: &str = "failover-webhook.failover-system.svc";

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn names() -> BTreeSet<Name> {
    [Name::Dns(SERVICE.into()), Name::Ip([127, 0, 0, 1].into())].into()
}

#[derive(Debug)]
struct At(Timestamp);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.as_second()).unwrap();
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            seconds,
        )))
    }
}

/// The result of a handshake between a client that trusts `bundle` at `now` and a server with `pair` that it calls by
/// `name`.
fn handshake(pair: &Pair, bundle: &str, name: &str, now: Timestamp) -> Result<(), Error> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in Bundle::parse(bundle).certificates() {
        roots.add(authority).unwrap();
    }
    let client = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(At(now)))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], pair.private_key().unwrap())?;

    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

fn refusal(result: Result<(), Error>) -> CertificateError {
    match result {
        Err(Error::InvalidCertificate(error)) => error,
        other => panic!("{other:?} is no refusal of a certificate"),
    }
}

struct Cluster {
    stored: Stored,
    published: String,
    published_at: Timestamp,
    now: Timestamp,
}

impl Cluster {
    /// Does what is due. Returns until when there is nothing more to do.
    fn settle(&mut self) -> Timestamp {
        loop {
            match decide(&Situation {
                stored: &self.stored,
                names: &names(),
                published: &self.published,
                published_for: self.now.duration_since(self.published_at),
                now: self.now,
            }) {
                Act::NewAuthority { previous, .. } => {
                    self.stored.authority = Some(issue_authority(self.now).unwrap());
                    self.stored.previous = previous;
                }
                Act::Publish { bundle } => {
                    self.published = bundle;
                    self.published_at = self.now;
                }
                Act::NewLeaf { .. } => {
                    let authority = self.stored.authority.as_ref().unwrap();
                    self.stored.leaf = Some(issue_leaf(authority, &names(), self.now).unwrap());
                }
                Act::DropPrevious => self.stored.previous = None,
                Act::Wait { until } => return until,
            }
        }
    }

    fn leaf(&self) -> Pair {
        self.stored.leaf.clone().unwrap()
    }
}

#[test]
fn a_client_that_trusts_the_published_bundle_does_not_notice_a_rotation() {
    let mut cluster = Cluster {
        stored: Stored::default(),
        published: String::new(),
        published_at: start(),
        now: start(),
    };
    cluster.settle();
    let (old_leaf, old_bundle) = (cluster.leaf(), cluster.published.clone());
    for name in [SERVICE, "127.0.0.1"] {
        handshake(&old_leaf, &old_bundle, name, cluster.now).unwrap();
    }

    cluster.now += SignedDuration::from_hours(24 * 30);
    cluster.stored.authority = None;
    assert_eq!(cluster.settle(), cluster.now + SETTLE);
    let both = cluster.published.clone();
    handshake(&cluster.leaf(), &both, SERVICE, cluster.now).unwrap();

    cluster.now += SETTLE;
    assert_eq!(cluster.settle(), cluster.now + OVERLAP);
    let new_leaf = cluster.leaf();
    handshake(&old_leaf, &both, SERVICE, cluster.now).unwrap();
    handshake(&new_leaf, &both, SERVICE, cluster.now).unwrap();
    assert_eq!(
        refusal(handshake(&new_leaf, &old_bundle, SERVICE, cluster.now)),
        CertificateError::UnknownIssuer
    );

    cluster.now += OVERLAP;
    cluster.settle();
    for name in [SERVICE, "127.0.0.1"] {
        handshake(&new_leaf, &cluster.published, name, cluster.now).unwrap();
    }
    assert_eq!(
        refusal(handshake(
            &old_leaf,
            &cluster.published,
            SERVICE,
            cluster.now
        )),
        CertificateError::UnknownIssuer
    );
}

#[test]
fn a_leaf_is_valid_only_for_its_names_and_lifetime() {
    let authority = issue_authority(start()).unwrap();
    let leaf = issue_leaf(&authority, &names(), start()).unwrap();
    let trusted = &authority.certificate;
    assert!(matches!(
        refusal(handshake(&leaf, trusted, "elsewhere.svc", start())),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    ));
    let late = start() + LEAF_LIFETIME + SignedDuration::from_secs(1);
    assert!(matches!(
        refusal(handshake(&leaf, trusted, SERVICE, late)),
        CertificateError::Expired | CertificateError::ExpiredContext { .. }
    ));
}
