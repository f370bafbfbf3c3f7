//! The duration and cost of a transition, with everything real but the kubelets (KWOK) and the storage driver: 500 workloads
//! with pods, a tenth of them with volumes that the real csi-addons controller demotes and promotes. Figures are printed;
//! nothing is asserted on them.
//!
//! `cargo bench -p failover-tests --bench transition [-- WORKLOADS]`

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "what cannot be measured has no figures")]

mod by_hand;
mod cost;
mod estate;
mod journal;
mod table;
mod world;

use std::time::Instant;

use failover_core::Role;
use testbed::csi_addons::CsiAddons;
use testbed::reconciled::Reconciled;
use testbed::site::{Deadlines, Options, Site};

use cost::Cost;
use estate::Estate;
use world::World;

const WORKLOADS: usize = 500;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with('-'));
    let workloads = arguments.next().map_or(WORKLOADS, |n| n.parse().unwrap());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{cores} cores, load before: {}", load.trim());

    let site = start().await;
    let _reconciled = Reconciled::start(&site.client());
    let csi_addons = CsiAddons::start(&site.plane).await.unwrap();
    let estate = Estate::build(&site, &csi_addons, workloads).await;
    println!("{estate}");

    by_hand::run(&site, &estate).await;
    transition(&site, Role::Secondary, &["demote"]).await;
    transition(
        &site,
        Role::Primary,
        &["promote", "--override=peer-unknown"],
    )
    .await;
}

async fn start() -> Site {
    let options = Options {
        nodes: 4,
        // None of them should be reached.
        deadlines: Deadlines {
            pods_gone: "10m",
            replication: "10m",
            available: "10m",
        },
        audit: true,
        ..Options::default()
    };
    Site::start(options).await.unwrap()
}

async fn transition(site: &Site, to: Role, order: &[&str]) {
    let order = [order, &["--yes", "--reason=bench"]].concat();
    let world = World::watch(&site.client(), to);
    let (cost, ordered) = (Cost::so_far(site), Instant::now());
    let command = async {
        site.failover(&order).await.expect(0);
        ordered.elapsed()
    };
    let (took, steps) = tokio::join!(command, journal::follow(site.client()));
    println!("\n{}: {:.1} s by the command", order[0], took.as_secs_f64());
    table::print(&steps, &world, ordered);
    println!("  {}", cost.since(site));
}
