//! `failover-webhook`: see the library's documentation.

use clap::Parser as _;
use failover_webhook::args::Args;
use failover_webhook::run::run;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Before anything creates a TLS configuration: the only provider of this process.
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing has installed another one yet");
    run(Args::parse()).await
}
