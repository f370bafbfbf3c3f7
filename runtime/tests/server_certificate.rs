//! Which server certificates are accepted, over real handshakes: the client of all our programs against a TLS server.

#![allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use failover_runtime::client;
use failover_runtime::kube::server_certificate::refusal;
use kube::Config;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use rstest::rstest;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A certificate with its key.
struct Pair {
    certificate: Certificate,
    key: KeyPair,
}

impl Pair {
    fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }
}

fn parameters(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

fn expired(mut parameters: CertificateParams) -> CertificateParams {
    parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
    parameters
}

fn authority(mut parameters: CertificateParams) -> CertificateParams {
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
}

fn of_clients(mut parameters: CertificateParams) -> CertificateParams {
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    parameters
}

fn of_servers(mut parameters: CertificateParams) -> CertificateParams {
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters
}

fn self_signed(parameters: &CertificateParams) -> Pair {
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    Pair { certificate, key }
}

/// Signed by a new authority, which is returned too.
fn signed(parameters: &CertificateParams) -> (Pair, Pair) {
    let of_issuer = authority(CertificateParams::default());
    let issuer = self_signed(&of_issuer);
    let key = KeyPair::generate().unwrap();
    let certificate = parameters
        .signed_by(&key, &Issuer::from_params(&of_issuer, &issuer.key))
        .unwrap();
    (Pair { certificate, key }, issuer)
}

/// Answers one request.
async fn serve(pair: &Pair) -> u16 {
    let key = PrivateKeyDer::Pkcs8(pair.key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![pair.der()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else {
            return; // the client refuses it
        };
        let _ = stream.read(&mut [0; 4096]).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    });
    port
}

fn config(port: u16, authorities: &[CertificateDer<'_>]) -> Config {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::new(format!("https://127.0.0.1:{port}").parse().unwrap());
    config.root_cert = Some(authorities.iter().map(|der| der.to_vec()).collect());
    config.read_timeout = Some(Duration::from_secs(30));
    config.default_retry = false;
    config
}

async fn ask(config: &Config) -> kube::Result<String> {
    let request = http::Request::get("/readyz").body(vec![]).unwrap();
    client(config)?.request_text(request).await
}

fn why(result: kube::Result<String>) -> CertificateError {
    let error = result.unwrap_err();
    refusal(&error)
        .unwrap_or_else(|| panic!("{error:?} is not about a certificate: {:?}", error.source()))
        .clone()
}

const HOST: &str = "127.0.0.1";

#[rstest]
#[case::self_signed(parameters(HOST))]
#[case::self_signed_authority(authority(parameters(HOST)))]
#[case::self_signed_of_servers(authority(of_servers(parameters(HOST))))]
#[tokio::test]
async fn a_self_signed_certificate_that_is_its_own_authority_is_accepted(
    #[case] parameters: CertificateParams,
) {
    let pair = self_signed(&parameters);
    let port = serve(&pair).await;
    assert_eq!(ask(&config(port, &[pair.der()])).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_leaf_that_is_given_as_authority_is_accepted_without_its_issuer() {
    let (leaf, _) = signed(&parameters(HOST));
    let port = serve(&leaf).await;
    let other = self_signed(&authority(CertificateParams::default()));
    let config = config(port, &[other.der(), leaf.der()]);
    assert_eq!(ask(&config).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_signed_certificate_is_accepted_beside_an_unreadable_authority() {
    let (leaf, issuer) = signed(&parameters(HOST));
    let port = serve(&leaf).await;
    let config = config(port, &[CertificateDer::from(vec![1, 2, 3]), issuer.der()]);
    assert_eq!(ask(&config).await.unwrap(), "ok");
}

#[tokio::test]
async fn an_authority_in_a_file_counts_as_one_in_the_kubeconfig() {
    let pair = self_signed(&authority(parameters(HOST)));
    let port = serve(&pair).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pair.certificate.pem()).unwrap();
    let mut config = config(port, &[]);
    config.root_cert_file = Some(file.path().to_owned());
    assert_eq!(ask(&config).await.unwrap(), "ok");
}

#[tokio::test]
async fn another_certificate_of_the_same_names_is_refused() {
    let pair = self_signed(&authority(parameters(HOST)));
    let twin = self_signed(&authority(parameters(HOST)));
    let port = serve(&twin).await;
    let refused = why(ask(&config(port, &[pair.der()])).await);
    assert_eq!(refused, CertificateError::UnknownIssuer);
}

/// It has the certificate, which is public, but not the key.
#[tokio::test]
async fn a_server_without_the_key_of_its_certificate_is_refused() {
    let pair = self_signed(&authority(parameters(HOST)));
    let impostor = Pair {
        certificate: pair.certificate.clone(),
        key: KeyPair::generate().unwrap(),
    };
    // rustls does not serve such a pair by default.
    let key = rustls::crypto::ring::sign::any_supported_type(&PrivateKeyDer::Pkcs8(
        impostor.key.serialize_der().into(),
    ))
    .unwrap();
    let certified = rustls::sign::CertifiedKey::new(vec![impostor.der()], key);
    let config_of_server = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = TlsAcceptor::from(Arc::new(config_of_server))
            .accept(stream)
            .await;
    });
    let refused = why(ask(&config(port, &[pair.der()])).await);
    assert_eq!(refused, CertificateError::BadSignature);
}

#[rstest]
#[case::name(authority(parameters("elsewhere.example")), |e: &CertificateError| {
    matches!(e, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
})]
#[case::time(authority(expired(parameters(HOST))), |e: &CertificateError| {
    matches!(e, CertificateError::Expired | CertificateError::ExpiredContext { .. })
})]
#[case::purpose(authority(of_clients(parameters(HOST))), |e: &CertificateError| {
    matches!(e, CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. })
})]
#[tokio::test]
async fn a_certificate_that_is_its_own_authority_still_has_to_be_valid(
    #[case] parameters: CertificateParams,
    #[case] expected: fn(&CertificateError) -> bool,
) {
    let pair = self_signed(&parameters);
    let port = serve(&pair).await;
    let refused = why(ask(&config(port, &[pair.der()])).await);
    assert!(expected(&refused), "{refused:?}");
}

#[tokio::test]
async fn an_unreachable_server_is_not_a_certificate_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let authority = self_signed(&authority(parameters(HOST)));
    let error = ask(&config(port, &[authority.der()])).await.unwrap_err();
    assert_eq!(refusal(&error), None);
}
