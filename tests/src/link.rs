//! A link from one process to another on loopback that can be cut as by a network partition: nothing is refused or closed,
//! but nothing arrives.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Forwards connections to `address` to its target. Dropping it closes them all.
#[derive(Debug)]
pub struct Link {
    pub address: SocketAddr,
    whole: watch::Sender<bool>,
    _forwarding: AbortOnDropHandle<()>,
}

impl Link {
    pub async fn open(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (whole, state) = watch::channel(true);
        let forwarding = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(forward(near, to, state.clone()));
            }
        });
        Ok(Self {
            address,
            whole,
            _forwarding: AbortOnDropHandle::new(forwarding),
        })
    }

    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Data that was sent meanwhile arrives now, as by retransmission.
    pub fn restore(&self) {
        self.whole.send_replace(true);
    }
}

async fn forward(near: TcpStream, to: SocketAddr, mut whole: watch::Receiver<bool>) {
    let _ = whole.wait_for(|whole| *whole).await;
    let Ok(far) = TcpStream::connect(to).await else {
        return;
    };
    let (from_near, to_near) = near.into_split();
    let (from_far, to_far) = far.into_split();
    // The end of one direction ends the other: neither side uses half-open connections.
    tokio::select! {
        () = pump(from_near, to_far, whole.clone()) => {}
        () = pump(from_far, to_near, whole) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut whole: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let _ = whole.wait_for(|whole| *whole).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    // The end of a connection must not pass a cut link either.
    let _ = whole.wait_for(|whole| *whole).await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_is_sent_over_a_cut_link_arrives_when_it_is_restored() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link::open(listener.local_addr().unwrap()).await.unwrap();
        let mut near = TcpStream::connect(link.address).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let mut byte = [0];
        near.write_all(b"a").await.unwrap();
        far.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"a");

        link.cut();
        near.write_all(b"b").await.unwrap();
        let silence = timeout(Duration::from_millis(100), far.read_exact(&mut byte)).await;
        assert!(silence.is_err(), "{byte:?} got through");
        link.restore();
        far.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"b");
    }
}
