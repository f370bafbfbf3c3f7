//! The part of gRPC that the sidecar of a driver needs: one message in, one message or an error out, over plain HTTP/2.
//!
//! It uses h2 alone: a gRPC server crate enables HTTP/2 in hyper, so that all of kube would be built twice, for the tests
//! and for the tested programs.

use std::future::{Future, poll_fn};

use anyhow::{Result, ensure};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::bytes::{Bytes, BytesMut};
use tokio::net::{TcpListener, TcpStream};

/// Why a call failed; the numbers are gRPC's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    NotFound = 5,
    FailedPrecondition = 9,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
}

pub(super) trait Service: Clone + Send + 'static {
    /// Answers a call of `/package.Service/Method`.
    fn call(
        &self,
        method: &str,
        message: Bytes,
    ) -> impl Future<Output = Result<Vec<u8>, Code>> + Send;
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, service: impl Service) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, service.clone()));
    }
}

/// If it breaks the caller reconnects.
async fn connection(stream: TcpStream, service: impl Service) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let mut calls = tokio::task::JoinSet::new();
    while let Some(Ok((request, answer))) = connection.accept().await {
        calls.spawn(one_call(request, answer, service.clone()));
    }
}

async fn one_call(
    request: Request<RecvStream>,
    mut answer: SendResponse<Bytes>,
    service: impl Service,
) -> Result<()> {
    let method = request.uri().path().to_owned();
    let message = read(request.into_body()).await?;
    let result = tokio::select! {
        result = service.call(&method, message) => result,
        // The caller has cancelled.
        _ = poll_fn(|cx| answer.poll_reset(cx)) => return Ok(()),
    };
    let mut head = Response::new(());
    let headers = head.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    match result {
        Ok(message) => {
            let mut body = answer.send_response(head, false)?;
            body.send_data(framed(&message), false)?;
            body.send_trailers(status(0, "", HeaderMap::new()))?;
        }
        Err(code) => {
            let message = format!("the driver says {code:?}");
            *headers = status(code as u16, &message, std::mem::take(headers));
            answer.send_response(head, true)?;
        }
    }
    Ok(())
}

fn status(code: u16, message: &str, mut headers: HeaderMap) -> HeaderMap {
    headers.insert("grpc-status", code.into());
    let message = HeaderValue::from_str(message).expect("plain letters");
    headers.insert("grpc-message", message);
    headers
}

/// A message is prefixed by one byte for compression and four for its length.
const PREFIX: usize = 5;

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("messages are small");
    [&[0], length.to_be_bytes().as_slice(), message]
        .concat()
        .into()
}

async fn read(mut body: RecvStream) -> Result<Bytes> {
    let mut all = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        all.extend_from_slice(&part);
    }
    ensure!(all.len() >= PREFIX, "a message without its prefix");
    Ok(all.split_off(PREFIX).freeze())
}
