//! What enforcement costs, with the real processes on a real control plane. Figures are printed; nothing is asserted on them.
//!
//! `cargo bench -p failover-tests --bench enforcement [-- PART...]`; the parts are `alone`, `in_line`, `forced` and `sweep`.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "what cannot be measured has no figures")]

mod alone;
mod figures;
mod forced;
mod in_line;
mod sweep;

use testbed::site::{Options, Site};

#[tokio::main]
async fn main() {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wants = |part: &str| asked.is_empty() || asked.iter().any(|one| one == part);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{cores} cores, load before: {}", load.trim());
    if wants("alone") || wants("in_line") {
        let site = start("secondary").await;
        if wants("alone") {
            alone::run(&site).await;
        }
        if wants("in_line") {
            in_line::run(&site).await;
        }
    }
    if wants("forced") {
        forced::run(&start("primary").await).await;
    }
    if wants("sweep") {
        sweep::run().await;
    }
}

async fn start(role: &'static str) -> Site {
    let options = Options {
        role,
        ..Options::default()
    };
    Site::start(options).await.unwrap()
}
