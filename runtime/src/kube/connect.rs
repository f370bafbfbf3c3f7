//! A client like kube's, with one difference: it accepts a server certificate that is itself in the authority data, see
//! [`crate::kube::server_certificate`]. kube has no option for that, and its stack is small enough to be assembled
//! here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper::rt::{Read, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config, Error};
use tower::{BoxError, Service, ServiceBuilder};

use crate::kube::server_certificate::Verifier;

/// A client for a configuration. Requests are not retried behind the caller's back, whatever `default_retry` says.
///
/// # Errors
///
/// The credentials or the authority data cannot be read, or the proxy's protocol is not known.
pub fn client(config: &Config) -> Result<Client, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let Some(proxy) = &config.proxy_url else {
        return stack(config, tcp);
    };
    match proxy.scheme_str() {
        Some("socks5") => stack(config, SocksV5::new(proxy.clone(), tcp)),
        Some("http") => stack(config, authorized(proxy, Tunnel::new(proxy.clone(), tcp))),
        Some("https") => {
            let tls = https(config, tcp)?;
            stack(config, authorized(proxy, Tunnel::new(proxy.clone(), tls)))
        }
        _ => Err(Error::ProxyProtocolUnsupported {
            proxy_url: Box::new(proxy.clone()),
        }),
    }
}

fn stack<H>(config: &Config, connector: H) -> Result<Client, Error>
where
    H: Service<Uri> + Clone + Send + Sync + 'static,
    H::Response: Connection + Read + Write + Send + Unpin + 'static,
    H::Future: Send + 'static,
    H::Error: Into<BoxError>,
{
    let mut connector = TimeoutConnector::new(https(config, connector)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let http: legacy::Client<_, Body> = legacy::Builder::new(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}

fn https<H>(config: &Config, connector: H) -> Result<HttpsConnector<H>, Error> {
    let mut base = config.clone();
    let verifier = if config.accept_invalid_certs {
        None
    } else {
        Verifier::of(config)?
    };
    if verifier.is_some() {
        // Our verifier is used instead. Like kubectl, it skips authorities that cannot be read, where kube's would
        // refuse all of them.
        base.root_cert = Some(Vec::new());
        base.root_cert_file = None;
    }
    let mut tls = base.rustls_client_config()?;
    if let Some(verifier) = verifier {
        tls.dangerous().set_certificate_verifier(verifier);
    }
    let mut builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into().map_err(|error| {
            Error::RustlsTls(kube::client::RustlsTlsError::InvalidServerName(error))
        })?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_http1().wrap_connector(connector))
}

/// Sets the user and password of the proxy's address, which are percent-encoded there.
fn authorized<H>(proxy: &Uri, tunnel: Tunnel<H>) -> Tunnel<H> {
    let credentials = proxy
        .authority()
        .and_then(|authority| authority.as_str().split_once('@'))
        .and_then(|(credentials, _)| basic(credentials));
    match credentials {
        Some(header) => tunnel.with_auth(header),
        None => tunnel,
    }
}

fn basic(credentials: &str) -> Option<HeaderValue> {
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(credentials).collect();
    let mut header = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(decoded))).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_proxy_is_decoded_before_it_is_encoded() {
        let header = basic("user:p%40ss").unwrap();
        assert_eq!(header.as_bytes(), b"Basic dXNlcjpwQHNz"); // user:p@ss
    }
}
