//! Generated files that are checked in, so that people can read them and `install` can embed them.
//!
//! Each module returns the expected content of its files; only [`run`] reads and writes. A test compares, as `--check`
//! does.

mod cli;
mod crds;
mod policies;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::workspace;

/// Write the files that the code generates: CRDs, admission policies, the CLI reference
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Write nothing; fail where a file differs from what would be written
    #[arg(long)]
    check: bool,
}

const EXAMPLES: &str = "\
Examples:
  # After a change of an API type, a rule or a command
  cargo xtask generate

  # As CI does
  cargo xtask generate --check";

/// A generated file.
struct Generated {
    /// Relative to the workspace's root.
    path: String,
    content: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let differing = differing()?;
    if args.check {
        if differing.is_empty() {
            return Ok(());
        }
        let paths: Vec<_> = differing.iter().map(|file| file.path.as_str()).collect();
        bail!(
            "not what the code generates: {}; run cargo xtask generate and commit the result",
            paths.join(", ")
        );
    }
    for file in differing {
        let path = workspace().join(&file.path);
        fs::write(&path, file.content)
            .with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("wrote {}", file.path);
    }
    Ok(())
}

/// The files that are missing or differ.
fn differing() -> anyhow::Result<Vec<Generated>> {
    let mut files = crds::files()?;
    files.extend(policies::files()?);
    files.push(cli::file());
    files.retain(|file| {
        let path: PathBuf = workspace().join(&file.path);
        fs::read_to_string(path).ok().as_ref() != Some(&file.content)
    });
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checked_in_files_match_what_the_code_generates() {
        let differing: Vec<_> = differing()
            .unwrap()
            .into_iter()
            .map(|file| file.path)
            .collect();
        assert!(
            differing.is_empty(),
            "run cargo xtask generate: {differing:?}"
        );
    }
}
