//! `kubectl-failover`: see the library for everything.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubectl_failover::main(std::env::args_os().collect()).into()
}
