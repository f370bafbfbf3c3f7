//! `install`: a dry run of what has expressions, the manifests, then the Site, then waiting until it works.
//!
//! The same command upgrades. What is there and as wanted stays as it is; the Site is founded once and never touched again
//! from here, because a role is changed by `promote` and `demote` alone.

mod found;
mod ready;
mod report;

use failover_core::Role;
use failover_core::api::Site;
use tokio::time::Instant;

use self::report::InstallationReport;
use super::preflight::preflight;
use super::rule;
use super::site_view::{effective_role, preview};
use crate::cli::{DryRun, InstallArgs};
use crate::cluster::{ApiError, Applied};
use crate::error::Failure;
use crate::manifests::{self, Options, print_rendered};
use crate::output::confirm::{Consent, declined};
use crate::output::progress::Progress;
use crate::output::{Format, Report as _, Screen, Tone, counted};
use crate::plan::summary;
use crate::session::Session;

/// Whether only the manifests are to be printed, for which no cluster is needed.
pub fn is_rendering(args: &InstallArgs) -> bool {
    args.dry_run == DryRun::Client
}

/// Prints what would be applied.
pub fn render(args: &InstallArgs, screen: &Screen) -> Result<(), Failure> {
    let mut objects = manifests::objects(&options(args));
    match (&args.site_name, args.role) {
        (Some(name), Some(role)) => objects.push(found::manifest(name, role)),
        (None, None) => {}
        _ => return Err(half_a_site()),
    }
    print_rendered(&objects, args.output, screen);
    if matches!(args.output, Format::Table | Format::Wide) {
        screen.note("as manifests: -o yaml");
    }
    Ok(())
}

pub async fn run(session: &Session<'_>, args: &InstallArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let present = session.cluster.site().await?;
    let founding = match &present {
        Some(site) => {
            check_unchanged(site, args)?;
            None
        }
        None => Some(first_install(args)?),
    };
    if let Some((name, role)) = &founding {
        ask_before_founding(session, args, name, *role).await?;
    }
    let dry_run = args.dry_run == DryRun::Server;
    let progress = Progress::new(session.screen);
    let mut report = InstallationReport::new(args, present.as_ref(), founding.is_some());
    let objects = manifests::objects(&options(args));
    progress.now("checking what has expressions");
    // What is built in is not all: RoleRules may be there already, as after an uninstall that left them.
    let rules = rule::policies_of_present_rules(&session.cluster)
        .await
        .map_err(|error| not_applied(error, &report))?;
    preflight(
        session,
        &[objects.clone(), rules].concat(),
        args.force_conflicts,
    )
    .await?;
    progress.now(&format!("applying {}", counted(objects.len(), "object")));
    for manifest in objects {
        let reference = manifest.reference();
        progress.detail(&format!("applying {reference}"));
        match session
            .cluster
            .apply(&manifest, args.force_conflicts, dry_run)
            .await
        {
            Ok(applied) => report.add(reference, applied),
            // The namespace is only pretended to be there.
            Err(error) if dry_run && error.is_not_found() => {
                report.add(reference, Applied::Created);
            }
            Err(error) => return Err(not_applied(error, &report)),
        }
        if !dry_run {
            session.is_underway(
                "what was applied stays, the rest is missing",
                "run the same command again to complete it",
            );
        }
    }
    for (reference, applied) in
        rule::for_present_rules(&session.cluster, args.force_conflicts, dry_run)
            .await
            .map_err(|error| not_applied(error, &report))?
    {
        report.add(reference, applied);
    }
    if dry_run {
        drop(progress);
        report.print(args.output, session.screen);
        return Ok(());
    }
    let deadline = started + args.timeout;
    ready::wait_for_crds(session, &progress, deadline).await?;
    if let Some((name, role)) = founding {
        progress.now(&format!("founding site {name}"));
        found::create(session, &name, role, deadline).await?;
    }
    if args.wait {
        ready::wait(session, &progress, deadline).await?;
        report.is_ready(started.elapsed());
    }
    drop(progress);
    report.print(args.output, session.screen);
    Ok(())
}

fn options(args: &InstallArgs) -> Options {
    Options {
        webhook_url: args.webhook_url.clone(),
        image: args.image.clone(),
    }
}

fn half_a_site() -> Failure {
    Failure::usage("--site-name and --role belong together: pass both, or neither")
}

/// What a site is called and what it is, which nobody can know but the one who installs it.
fn first_install(args: &InstallArgs) -> Result<(String, Role), Failure> {
    match (&args.site_name, args.role) {
        (Some(name), Some(role)) => Ok((name.clone(), role)),
        _ => Err(Failure::usage(
            "there is no Site in this cluster yet: a first install needs --site-name NAME and --role primary|secondary",
        )
        .next("primary if the applications are live here now: as secondary everything enrolled is made passive")),
    }
}

/// A Site that is there is never changed by an install.
fn check_unchanged(site: &Site, args: &InstallArgs) -> Result<(), Failure> {
    let spec = &site.spec;
    if let Some(name) = args
        .site_name
        .as_ref()
        .filter(|name| **name != spec.site_name)
    {
        return Err(Failure::refused(format!(
            "this cluster is site {} already, and nothing was changed: the name of a site cannot be changed to {name}",
            spec.site_name
        ))
        .next("leave --site-name out to upgrade, or check --context"));
    }
    if let Some(role) = args.role.filter(|role| *role != spec.role) {
        let command = crate::output::words::words(role).command;
        return Err(Failure::refused(format!(
            "site {} is {}, and nothing was changed: install does not change a role",
            spec.site_name, spec.role
        ))
        .next(format!(
            "leave --role out to upgrade; to change the role: kubectl failover {command}"
        )));
    }
    Ok(())
}

/// Namespaces can be enrolled before there is a Site. What that means for them is said before it happens.
async fn ask_before_founding(
    session: &Session<'_>,
    args: &InstallArgs,
    name: &str,
    role: Role,
) -> Result<(), Failure> {
    let enrolled = session.cluster.enrolled().await?;
    if enrolled.is_empty() {
        return Ok(());
    }
    if role == Role::Primary {
        // This site was a standby: creating it again as primary would promote it without any guard.
        if effective_role(None, &enrolled) == Some(Role::Secondary) {
            return Err(Failure::refused(
                "the labels of the enrolled namespaces say that this site is secondary, and nothing was changed: creating it as primary would be a promotion without guards",
            )
            .next("install with --role secondary, then kubectl failover promote"));
        }
        return Ok(());
    }
    let plan = preview(session, name, role, &enrolled).await?;
    if plan.changed().next().is_none() && plan.unseen.is_empty() {
        return Ok(());
    }
    session.screen.tell(
        Tone::Warning,
        "there are enrolled namespaces: creating a secondary site makes them passive",
    );
    session
        .screen
        .note(&summary::of_arrival(&plan, session.cluster.connection()));
    if args.dry_run != DryRun::None {
        return Ok(());
    }
    let consent = Consent::of(args.yes, session.screen.terminal().interactive, "install")?;
    let question = format!("Found site {name} as secondary?");
    if consent.obtain(session.screen, &question).await? {
        Ok(())
    } else {
        Err(declined())
    }
}

fn not_applied(error: ApiError, report: &InstallationReport) -> Failure {
    let conflict = error.is_conflict();
    let mut failure = Failure::from(error);
    if report.is_untouched() {
        failure.message.push_str("; nothing was changed");
    } else {
        failure
            .message
            .push_str("; what came before it was applied");
    }
    if conflict {
        failure.next = Some(
            "see who changed these fields; to take them over, run it again with --force-conflicts"
                .to_owned(),
        );
    }
    failure
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::exit_code::ExitCode;
    use crate::fake_cluster::{FakeCluster, Fault};
    use crate::output::screen::tests::{PIPE, captured};

    fn args(words: &[&str]) -> InstallArgs {
        let line = ["kubectl-failover", "install"].iter().chain(words);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Install(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn site() -> Site {
        serde_json::from_value(json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": {"name": "cluster"},
            "spec": {"siteName": "east", "role": "primary", "epoch": 1}
        }))
        .unwrap()
    }

    #[rstest]
    #[case::upgrade(&[], None)]
    #[case::same(&["--site-name", "east", "--role", "primary"], None)]
    #[case::renamed(&["--site-name", "west"], Some("cannot be changed to west"))]
    #[case::other_role(&["--role", "secondary"], Some("kubectl failover demote"))]
    fn a_site_that_is_there_stays_as_it_is(#[case] words: &[&str], #[case] refusal: Option<&str>) {
        match (check_unchanged(&site(), &args(words)), refusal) {
            (Ok(()), None) => {}
            (Err(failure), Some(text)) => {
                assert_eq!(failure.exit, ExitCode::Refused);
                assert!(failure.to_string().contains(text), "{failure}");
            }
            (result, _) => panic!("{result:?}"),
        }
    }

    #[rstest]
    #[case(&[])]
    #[case(&["--site-name", "east"])]
    #[case(&["--role", "primary"])]
    fn a_first_install_must_say_what_this_is(#[case] words: &[&str]) {
        let failure = first_install(&args(words)).unwrap_err();
        assert_eq!(failure.exit, ExitCode::Usage);
    }

    #[tokio::test]
    async fn nothing_is_applied_where_a_policy_does_not_compile() {
        const POLICY: &str = "/validatingadmissionpolicies/virtualservices.networking.istio.io";
        let fake = FakeCluster::settled(Role::Primary);
        fake.fail(|method, path, _| {
            let refused = *method == http::Method::PATCH && path.contains(POLICY);
            refused.then_some(Fault::Status(422))
        });
        let args = args(&["--yes"]);
        let said =
            crate::fake_cluster::run(&fake, async |session| super::run(session, &args).await);
        let failure = said.await.result.unwrap_err();
        assert_eq!(failure.exit, ExitCode::Refused);
        assert_eq!(failure.details.len(), 1, "{failure}");
        for part in [
            "v1.30.4",
            "virtualservices.networking.istio.io.failover.dev",
        ] {
            assert!(failure.to_string().contains(part), "{failure}");
        }
        let writes = fake.writes();
        assert!(writes.len() > 10, "all that has expressions is asked about");
        assert!(
            writes
                .iter()
                .all(|write| write.query.contains("dryRun=All"))
        );
    }

    #[test]
    fn rendered_yaml_is_what_is_applied() {
        let (screen, out, _) = captured(PIPE);
        let args = args(&[
            "--site-name",
            "east",
            "--role",
            "primary",
            "--dry-run=client",
            "-o",
            "yaml",
        ]);
        render(&args, &screen).unwrap();
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&out.text()).unwrap();
        let mut expected: Vec<_> = manifests::objects(&Options::default())
            .into_iter()
            .map(|manifest| manifest.object().clone())
            .collect();
        expected.push(json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": {"name": "cluster"},
            "spec": {"siteName": "east", "role": "primary", "epoch": 1}
        }));
        assert_eq!(documents, expected);
    }

    #[test]
    fn rendered_json_is_one_list() {
        let (screen, out, _) = captured(PIPE);
        render(&args(&["--dry-run=client", "-o", "json"]), &screen).unwrap();
        let list: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        assert_eq!(list["kind"], "List");
        assert_eq!(
            list["items"].as_array().unwrap().len(),
            manifests::objects(&Options::default()).len()
        );
    }
}
