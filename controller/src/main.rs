//! Process entry of `failover-controller`: see [`failover_controller`].

use anyhow::Context as _;
use clap::Parser as _;
use failover_controller::{args::Args, run};
use failover_runtime::logs;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Err(message) = args.check() {
        <Args as clap::CommandFactory>::command()
            .error(clap::error::ErrorKind::ValueValidation, message)
            .exit();
    }
    logs::init(&args.log)?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    run::run(args).await.context("failover-controller")
}
