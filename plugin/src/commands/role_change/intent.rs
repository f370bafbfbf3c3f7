//! The intent: the flags of the command, parsed into values.

use failover_core::Role;
use failover_core::api::Mode;
use failover_core::guards::{self, Overrides};

use crate::cli::SwitchArgs;
use crate::cli::batch::BatchConsent;
use crate::error::Failure;
use crate::output::words::words;

/// The role change that the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    /// The desired role of the site.
    pub(super) role: Role,
    /// Abort the running transition to the other role.
    pub(super) abort: bool,
    /// The overrides, as typed and as parsed.
    pub(super) typed: Vec<String>,
    pub(super) overrides: Overrides,
    /// `None`: not given.
    pub(super) mode: Option<Mode>,
    pub(super) batch: BatchConsent,
}

impl Intent {
    /// The intent of `command`. Refuses contradictions that can be found without a cluster.
    pub(super) fn of(
        command: Role,
        args: &SwitchArgs,
        batch: BatchConsent,
    ) -> Result<Self, Failure> {
        let role = if args.abort {
            command.opposite()
        } else {
            command
        };
        if args.abort && (batch != BatchConsent::default() || args.mode.is_some()) {
            return Err(Failure::usage(format!(
                "--abort only aborts the running {}: it cannot be combined with --mode, --run-missed or --run-held-jobs",
                words(command).noun
            )));
        }
        let overrides = Overrides::parse(&args.overrides)
            .map_err(|error| Failure::usage(format!("--override: {error}")))?;
        if let Some(unneeded) = guards::out_of_place(role, &overrides) {
            return Err(Failure::usage(format!("--override {unneeded}"))
                .next("nothing was changed; leave it out"));
        }
        Ok(Self {
            role,
            abort: args.abort,
            typed: args.overrides.clone(),
            overrides,
            mode: args.mode.map(Into::into),
            batch,
        })
    }
}
