//! A test's own network, with addresses like those of pods.
//!
//! An EndpointSlice must not have an address of 127.0.0.0/8, so replicas behind a Service need others. In a network
//! namespace the loopback device can have them: nothing leaves the machine, nothing clashes with the machine or another
//! test, and the network ends with the last process.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, unshare};

/// Addresses of the first pods.
pub const PODS: [IpAddr; 4] = [pod(1), pod(2), pod(3), pod(4)];

const fn pod(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 203, 0, number))
}

/// The message if no such network can be created.
const NEEDED: &str = "this test needs a network namespace of its own: run it as root, or under `unshare --user --map-root-user`, \
                      with the command `ip` (package iproute2)";

/// Runs a test in its own network. `before` runs in the network of the machine.
///
/// A namespace belongs to a thread and is inherited by everything that the thread starts: the whole runtime and every
/// process.
///
/// # Panics
/// If no such network can be created, with what is needed; and if the test panics.
pub fn in_own_network<F: Future<Output = ()>>(
    before: impl FnOnce() -> Result<()>,
    test: impl FnOnce() -> F + Send + 'static,
) {
    before().expect("what the test needs can be built");
    let run = thread::Builder::new().name(thread::current().name().unwrap_or("test").to_owned());
    let ended = run
        .spawn(move || {
            if let Err(error) = enter() {
                panic!("{NEEDED}: {error:#}");
            }
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(test());
        })
        .expect("a thread")
        .join();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

fn enter() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("unshare")?;
    ip(&["link", "set", "lo", "up"])?;
    for address in PODS {
        ip(&["address", "add", &format!("{address}/32"), "dev", "lo"])?;
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("ip")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}
