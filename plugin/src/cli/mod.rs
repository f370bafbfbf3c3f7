//! The command line as it is typed. What the flags mean together is decided by the commands.

pub mod batch;
pub mod connection;
pub mod duration;
mod enrolment;
mod exemption;
mod exit_codes;
mod guards;
mod history;
mod installation;
mod pause;
mod role_change;
mod rules;

use clap::{Args, Parser, Subcommand};

pub use connection::ConnectionFlags;
pub use enrolment::{EnrollArgs, UnenrollArgs};
pub use exemption::ExemptArgs;
#[cfg(test)]
pub use exit_codes::EXIT_CODES;
pub use history::HistoryArgs;
pub use installation::{DryRun, InstallArgs, UninstallArgs};
pub use pause::{PauseArgs, PauseWriteArgs, ResumeArgs};
pub use role_change::{BatchArgs, Demote, PlanArgs, Promote, SwitchArgs};
pub use rules::{RuleApplyArgs, RuleArgs, RuleCommand, RuleDeleteArgs, RuleListArgs};

use crate::output::Format;

/// Make this cluster, one of two that run the same applications, primary or secondary
///
/// Two clusters ("sites") are fed by the same Git repository. One is live, the other stands by: same manifests, no pods,
/// replicated volumes read-only. kubectl failover makes the role of a site a fact of the cluster and enforces it at
/// admission, so that GitOps goes on reconciling on both sides, sees no drift, and cannot undo a failover.
#[derive(Parser, Debug)]
#[command(
    name = "kubectl-failover",
    bin_name = "kubectl failover",
    version,
    max_term_width = 100,
    after_help = EXAMPLES,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub connection: ConnectionFlags,
}

const EXAMPLES: &str = "\
Examples:
  # What is the role of this site, and does every object conform?
  kubectl failover status

  # What would a demotion change?
  kubectl failover plan demote

  # Make this site passive, and wait until that is verified
  kubectl failover demote --reason \"maintenance of the east site\"

  # Make it live, having made sure that the other site is not
  kubectl failover promote --override peer-unknown --reason \"west is fenced\"

Flags go after the subcommand: kubectl takes none before the name of a plugin.";

#[derive(Subcommand, Debug)]
pub enum Command {
    Status(StatusArgs),
    Plan(PlanArgs),
    Promote(Promote),
    Demote(Demote),
    History(HistoryArgs),
    Pause(PauseArgs),
    Resume(ResumeArgs),
    Enroll(EnrollArgs),
    Unenroll(UnenrollArgs),
    Exempt(ExemptArgs),
    Rule(RuleArgs),
    Install(InstallArgs),
    Uninstall(UninstallArgs),
    Version(VersionArgs),
    Completion(CompletionArgs),
}

/// Show the role of the site, what enforces it, and which objects do not conform
///
/// Reads only. The rights of the ClusterRole failover-viewer are enough; what you may not see is named on stderr. The exit
/// code says whether the site could be read, not whether it is healthy: for that, read the conditions (-o json).
///
/// With --watch the running transition is shown step by step to its end, and the status after it. A transition that is
/// requested meanwhile is followed too. Without one, only the status is shown.
#[derive(Args, Debug)]
#[command(after_help = STATUS_EXAMPLES)]
pub struct StatusArgs {
    /// Follow the running transition to its end
    #[arg(short, long)]
    pub watch: bool,

    /// How long to follow it; then the exit code is 4 [default: for ever]
    #[arg(long, value_parser = duration::parse_some, value_name = "DURATION", requires = "watch")]
    pub timeout: Option<std::time::Duration>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

const STATUS_EXAMPLES: &str = "\
Examples:
  # At a glance
  kubectl failover status

  # Follow what is under way
  kubectl failover status -w

  # With conditions, steps, webhook replicas and the last transitions
  kubectl failover status -o wide

  # In a script
  kubectl failover status -o json | jq -r '.conditions[] | .type + \" \" + .status'";

/// Print the version of the plugin and of what runs in the cluster
#[derive(Args, Debug)]
pub struct VersionArgs {
    /// Only the plugin's own version; no cluster is asked
    #[arg(long)]
    pub client: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// Print a completion script for the plugin called by its own name
///
/// kubectl itself completes plugins by calling an executable named kubectl_complete-failover on PATH. This binary is that
/// executable too, under that name:
///
///   ln -s "$(command -v kubectl-failover)" ~/.local/bin/kubectl_complete-failover
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use rstest::rstest;

    use super::*;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    /// Everything by which kubectl is told where its cluster is.
    const CONNECTION: [&str; 16] = [
        "--kubeconfig=f",
        "--context=c",
        "--cluster=c",
        "--user=u",
        "--namespace=n",
        "--server=https://127.0.0.1:1",
        "--token=t",
        "--as=a",
        "--as-group=g",
        "--as-group=h",
        "--as-uid=1",
        "--request-timeout=5s",
        "--insecure-skip-tls-verify",
        "--certificate-authority=f",
        "--client-certificate=f",
        "--client-key=f",
    ];

    #[rstest]
    #[case(&["status"])]
    #[case(&["plan", "demote"])]
    #[case(&["promote"])]
    #[case(&["demote"])]
    #[case(&["history"])]
    #[case(&["pause", "--reason", "x"])]
    #[case(&["resume"])]
    #[case(&["enroll", "shop"])]
    #[case(&["unenroll", "shop"])]
    #[case(&["exempt", "deployment/web"])]
    #[case(&["rule", "apply", "keda-scaledobject"])]
    #[case(&["rule", "list"])]
    #[case(&["rule", "delete", "x"])]
    #[case(&["install"])]
    #[case(&["uninstall"])]
    #[case(&["version"])]
    #[case(&["completion", "bash"])]
    fn connection_flags_are_taken_after_every_subcommand(#[case] command: &[&str]) {
        let line = ["kubectl-failover"]
            .iter()
            .chain(command)
            .chain(&CONNECTION)
            .chain(&["--tls-server-name=n"]);
        let cli = Cli::try_parse_from(line).unwrap();
        let flags = cli.connection;
        assert_eq!(flags.as_group, ["g", "h"]);
        assert_eq!(flags.insecure_skip_tls_verify, Some(true));
        assert_eq!(flags.namespace.as_deref(), Some("n"));
        assert_eq!(flags.token.unwrap().expose(), "t");
    }

    #[rstest]
    #[case::short(&["status", "-n", "shop", "-s", "https://127.0.0.1:1", "-o", "json"])]
    #[case::false_(&["demote", "--insecure-skip-tls-verify=false", "--wait=false"])]
    #[case::safe_needs_no_reason(&["demote", "--mode", "safe"])]
    #[case::abort(&["promote", "--abort", "--reason", "x"])]
    #[case::consent(&["promote", "--run-missed", "--run-held-jobs"])]
    #[case::consent_to_single_jobs(&["promote", "--run-held-jobs=shop/import", "--run-held-jobs=shop/index.v2"])]
    #[case::pause(&["pause", "--reason", "x", "--for", "2h"])]
    #[case::dry_run_without_value(&["demote", "--dry-run"])]
    #[case::repeated(&["promote", "--override", "peer-unknown", "--override", "not-conforming=a/b/c", "--reason", "x"])]
    fn taken(#[case] line: &[&str]) {
        Cli::try_parse_from(["kubectl-failover"].iter().chain(line)).unwrap();
    }

    #[rstest]
    #[case::no_command(&[])]
    #[case::unknown_format(&["status", "-o", "xml"])]
    #[case::diff_is_for_plans(&["status", "-o", "diff"])]
    #[case::no_direction(&["plan"])]
    #[case::no_namespace(&["enroll"])]
    #[case::no_object(&["exempt"])]
    #[case::reason_for_undoing(&["exempt", "deployment/web", "--undo", "--reason", "x"])]
    #[case::no_rule(&["rule", "apply"])]
    #[case::unknown_rule(&["rule", "apply", "x"])]
    #[case::two_sources(&["rule", "apply", "--present", "-f", "x.yaml"])]
    #[case::nothing_to_delete(&["rule", "delete"])]
    #[case::override_without_reason(&["promote", "--override", "peer-unknown"])]
    #[case::abort_without_reason(&["promote", "--abort"])]
    #[case::unsafe_without_reason(&["demote", "--mode", "unsafe"])]
    #[case::nothing_is_missed_on_the_way_down(&["demote", "--run-missed"])]
    #[case::job_without_namespace(&["promote", "--run-held-jobs=import"])]
    #[case::job_with_kind(&["promote", "--run-held-jobs=shop/jobs/import"])]
    #[case::pause_without_reason(&["pause"])]
    #[case::pause_for_no_time(&["pause", "--reason", "x", "--for", "0"])]
    #[case::timeout_of_what_is_not_followed(&["status", "--timeout", "5s"])]
    #[case::no_time(&["promote", "--timeout", "0"])]
    #[case::dry_run_of_another_kind(&["promote", "--dry-run=maybe"])]
    fn not_taken(#[case] line: &[&str]) {
        let error = Cli::try_parse_from(["kubectl-failover"].iter().chain(line)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
