//! An impostor with the address and the certificate of the webhook.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// Its answer to every request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Says {
    Noise,
    ServerError,
    /// The answer to another request.
    ForAnother,
    /// The worst on a secondary: it allows everything unchanged.
    Yes,
}

pub(super) struct Impostor {
    answered: watch::Receiver<usize>,
    serving: AbortOnDropHandle<()>,
}

impl Impostor {
    pub(super) async fn start(address: SocketAddr, tls: &Path, says: Says) -> Self {
        let certificates = CertificateDer::pem_file_iter(tls.join("tls.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(tls.join("tls.key")).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(certificates.map(Result::unwrap).collect(), key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(address).await.unwrap();
        let (count, answered) = watch::channel(0);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, count) = (acceptor.clone(), count.clone());
                connections.spawn(async move {
                    // A client that disconnects does not count.
                    if answer(acceptor, stream, says).await.is_ok() {
                        count.send_modify(|count| *count += 1);
                    }
                });
            }
        });
        Self {
            answered,
            serving: AbortOnDropHandle::new(serving),
        }
    }

    /// How many requests it has answered.
    pub(super) fn answered(&self) -> usize {
        *self.answered.borrow()
    }

    /// Frees the address at once. Dropping it does so a little later.
    pub(super) async fn stop(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }
}

async fn answer(acceptor: TlsAcceptor, stream: TcpStream, says: Says) -> std::io::Result<()> {
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let asked: Value = serde_json::from_slice(&body)?;
    let (status, body) = says.to(&asked["request"]["uid"]);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

impl Says {
    fn to(self, uid: &Value) -> (&'static str, String) {
        let allowed = |uid: Value| {
            json!({
                "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "response": {"uid": uid, "allowed": true},
            })
            .to_string()
        };
        match self {
            Self::Noise => ("200 OK", "\u{1}\u{2}{{{ no review".to_owned()),
            Self::ServerError => ("500 Internal Server Error", "{}".to_owned()),
            Self::ForAnother => ("200 OK", allowed(json!("another"))),
            Self::Yes => ("200 OK", allowed(uid.clone())),
        }
    }
}
