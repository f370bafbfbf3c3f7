//! `cargo xtask`: tasks for developing the project. None of it is shipped.
//!
//! ```text
//!   krew       the plugin's binary ──► release archive, and the krew manifest that names and checksums it
//!   generate   the code ──► CRDs, admission policies, CLI reference; --check compares only
//! ```

#![allow(
    clippy::print_stderr,
    reason = "a command line tool: what went wrong is a line on stderr"
)]

mod generate;
mod krew;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the project's own
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    Krew(krew::Args),
    Generate(generate::Args),
}

fn main() -> ExitCode {
    let done = match Args::parse().task {
        Task::Krew(args) => krew::run(args),
        Task::Generate(args) => generate::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a folder of the workspace")
}
