//! `unenroll`: namespaces leave the role of the site.

use failover_core::api::Site;
use failover_core::transition::EnrolledNamespace;
use failover_core::transition::{Presence, remembered};
use failover_core::{NamespaceState, Role};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

use super::leave_guards;
use super::site_view::effective_role;
use crate::cli::UnenrollArgs;
use crate::cluster::{ApiError, WriteError, enrolled_state, presence};
use crate::error::Failure;
use crate::output::confirm::{Consent, declined};
use crate::output::{Report, Screen, Tone};
use crate::plan::recorded;
use crate::session::Session;

/// The document `Unenrolment`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UnenrolmentReport {
    role: Option<Role>,
    left: Vec<String>,
    /// Namespaces that were not enrolled.
    already: Vec<String>,
    /// Names that the site remembered of namespaces that were deleted.
    forgotten: Vec<String>,
    /// Objects that still carry a record of what they were.
    records: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub async fn run(session: &Session<'_>, args: &UnenrollArgs) -> Result<(), Failure> {
    let overrides = leave_guards::overrides(&args.overrides)?;
    let mut names = args.namespaces.clone();
    names.sort();
    names.dedup();
    let site = session.cluster.site().await?;
    let status = site.as_ref().and_then(|site| site.status.as_ref());
    let is_known =
        |name: &String| status.is_some_and(|status| remembered(status).contains(name.as_str()));
    let (mut leaving_now, mut already, mut forgotten) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        let Some(metadata) = session.cluster.namespace(&name).await? else {
            if !is_known(&name) {
                return Err(Failure::error(format!(
                    "there is no namespace {name}: nothing was changed"
                )));
            }
            forgotten.push(name);
            continue;
        };
        match (enrolled_state(&metadata), presence(&metadata)) {
            (Some(enrolled), _) => leaving_now.push((metadata, enrolled)),
            // It has lost its label, and the site still answers for it.
            (None, Presence::Outside) if is_known(&name) => {
                let (labels, annotations) = (&metadata.labels, &metadata.annotations);
                let (state, _) = NamespaceState::parse(labels.as_ref(), annotations.as_ref());
                leaving_now.push((metadata, EnrolledNamespace { name, state }));
            }
            (None, _) => already.push(name),
        }
    }
    let enrolled: Vec<EnrolledNamespace> = leaving_now.iter().map(|(_, e)| e.clone()).collect();
    // What these namespaces say counts as well: one secondary layer among them is a standby.
    let role = effective_role(site.as_ref(), &enrolled);
    let survey = session.cluster.survey(&enrolled).await?;
    if let Some(unseen) = survey.unseen.first() {
        return Err(Failure::error(format!(
            "cannot check whether restore records are left, so nothing was changed: {}: {}",
            unseen.what, unseen.why
        )));
    }
    let records = recorded(&survey);
    // On a secondary every forced object carries one; the guard of the site says it all.
    let held_by = if role == Some(Role::Secondary) {
        &[][..]
    } else {
        &records
    };
    if !enrolled.is_empty() || !forgotten.is_empty() {
        leave_guards::check("leaving enforcement", role, held_by, &overrides)?;
        let names = enrolled.iter().map(|e| &e.name).chain(&forgotten);
        let names: Vec<&str> = names.map(String::as_str).collect();
        ask(session, args, role, &names, records.len()).await?;
    }
    let mut report = UnenrolmentReport {
        role,
        left: Vec::new(),
        already,
        forgotten: Vec::new(),
        records: records.iter().map(ToString::to_string).collect(),
        reason: args.reason.clone(),
    };
    let mark = if leaving_now.is_empty() {
        String::new()
    } else {
        // Admission wants the caller's own name in it, and one that was not there before.
        format!(
            "{:.0} {}",
            Timestamp::now(),
            session.cluster.user_name().await?
        )
    };
    for (metadata, enrolled) in leaving_now {
        unmark(session, metadata, Some(&mark)).await?;
        session.is_underway(
            format!("namespace {} has left, others may not have", enrolled.name),
            "check with kubectl failover status",
        );
        report.left.push(enrolled.name);
    }
    if let Some(site) = site.filter(|_| !forgotten.is_empty()) {
        forget(session, site, &forgotten).await?;
        report.forgotten = forgotten;
    }
    report.print(args.output, session.screen);
    Ok(())
}

async fn ask(
    session: &Session<'_>,
    args: &UnenrollArgs,
    role: Option<Role>,
    names: &[&str],
    records: usize,
) -> Result<(), Failure> {
    let names = names.join(", ");
    let screen = session.screen;
    screen.note(&format!(
        "Leaving enforcement: {names} ({})",
        session.cluster.connection()
    ));
    if role == Some(Role::Secondary) {
        screen.tell(
            Tone::Bad,
            &format!("this site is secondary: the next reconcile of Flux starts what Git describes in {names}, while the other site may be live"),
        );
    }
    if records > 0 {
        screen.warn(&format!(
            "{records} objects keep their forced values until someone changes them; their original values stay in the annotation failover.dev/restore"
        ));
    }
    let consent = Consent::of(args.yes, screen.terminal().interactive, "unenroll")?;
    if consent.obtain(screen, &format!("Unenrol {names}?")).await? {
        Ok(())
    } else {
        Err(declined())
    }
}

/// Has the site forget these names, again on a newer version where somebody else wrote the Site meanwhile.
async fn forget(session: &Session<'_>, mut site: Site, names: &[String]) -> Result<(), Failure> {
    const ATTEMPTS: usize = 5;
    for attempt in 1.. {
        // One that came back while a question was open, or since the Site was read, has left and must stay listed.
        for name in names {
            if session.cluster.namespace(name).await?.is_some() {
                return Err(Failure::error(format!(
                    "namespace {name} exists again, so the site still lists it"
                ))
                .next("run the same again"));
            }
        }
        match session.cluster.forget(&site, names).await {
            Ok(()) => break,
            Err(WriteError::Conflict) if attempt < ATTEMPTS => {
                let Some(newer) = session.cluster.site().await? else {
                    break;
                };
                site = newer;
            }
            Err(WriteError::Conflict) => {
                return Err(Failure::error(
                    "write conflicts with the Site: the deleted namespaces are still listed",
                )
                .next("run the same again"));
            }
            Err(WriteError::Api(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Takes our keys off, again on a newer version where somebody else wrote the namespace meanwhile.
pub async fn unmark(
    session: &Session<'_>,
    mut metadata: ObjectMeta,
    unenrolled: Option<&str>,
) -> Result<(), ApiError> {
    const ATTEMPTS: usize = 5;
    for _ in 1..ATTEMPTS {
        match session.cluster.unmark(&metadata, unenrolled).await {
            Err(error) if error.is_conflict() => {
                let name = metadata.name.clone().unwrap_or_default();
                match session.cluster.namespace(&name).await? {
                    Some(newer) => metadata = newer,
                    None => return Ok(()),
                }
            }
            Err(error) if error.is_not_found() => return Ok(()),
            other => return other,
        }
    }
    session.cluster.unmark(&metadata, unenrolled).await
}

impl Report for UnenrolmentReport {
    const KIND: &'static str = "Unenrolment";

    fn names(&self) -> Vec<String> {
        let names = self.left.iter().chain(&self.already).chain(&self.forgotten);
        names.map(|name| format!("namespace/{name}")).collect()
    }

    fn text(&self, _wide: bool, screen: &Screen) {
        for (names, what) in [
            (&self.left, "has left enforcement"),
            (&self.already, "was not enrolled"),
            (&self.forgotten, "does not exist and is forgotten"),
        ] {
            for name in names {
                screen.say(Tone::Good, &format!("namespace {name} {what}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::exit_code::ExitCode;
    use crate::fake_cluster::{self, FakeCluster, Fault, Ran};

    async fn unenroll(fake: &FakeCluster, words: &[&str]) -> Ran<Result<(), Failure>> {
        let line = ["kubectl-failover", "unenroll", "--yes"]
            .iter()
            .chain(words);
        let Command::Unenroll(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("not unenroll");
        };
        fake_cluster::run(fake, async |session| run(session, &args).await).await
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_primary_all_of_ours_goes_in_one_write() {
        let fake = FakeCluster::settled(Role::Primary);
        let said = unenroll(&fake, &["shop"]).await;
        said.result.unwrap();
        assert_eq!(said.out, "namespace shop has left enforcement\n");
        let mut writes = fake.writes();
        // Who the caller is is asked by a POST that stores nothing.
        writes.retain(|write| write.body["metadata"]["labels"] != json!(null));
        assert_eq!(writes.len(), 1);
        let mark = &writes[0].body["metadata"]["annotations"]["failover.dev/unenrolled"];
        assert!(mark.as_str().unwrap().ends_with(" alice"), "{mark}");
        assert_eq!(
            writes[0].body["metadata"]["labels"]["failover.dev/enforce"],
            json!(null)
        );
        assert_eq!(
            writes[0].body["metadata"]["labels"]["failover.dev/workloads"],
            json!(null)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_that_is_left_holds_it() {
        let fake = FakeCluster::settled(Role::Primary);
        fake.change(|world| {
            world.deployment()["metadata"]["annotations"] = json!({"failover.dev/restore": "{}"});
        });
        let said = unenroll(&fake, &["shop"]).await;
        let failure = said.result.unwrap_err();
        assert_eq!(failure.exit, ExitCode::Refused);
        assert!(
            failure.to_string().contains("shop/deployments/web"),
            "{failure}"
        );
        assert!(fake.writes().is_empty());
        let said = unenroll(
            &fake,
            &["shop", "--override", "records-left", "--reason", "x"],
        )
        .await;
        said.result.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_standby_is_opened_only_by_name_and_says_what_follows() {
        let fake = FakeCluster::settled(Role::Secondary);
        let said = unenroll(&fake, &["shop"]).await;
        assert_eq!(said.result.unwrap_err().exit, ExitCode::Refused);
        assert!(fake.writes().is_empty());
        let said = unenroll(
            &fake,
            &["shop", "--override", "site-secondary", "--reason", "x"],
        )
        .await;
        said.result.unwrap();
        assert!(
            said.err
                .contains("the next reconcile of Flux starts what Git describes in shop"),
            "{}",
            said.err
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_was_deleted_is_forgotten() {
        let fake = FakeCluster::settled(Role::Primary);
        fake.change(|world| {
            world.touch_site(|site| site["status"]["deleted"] = json!(["blog", "old"]));
        });
        let said = unenroll(&fake, &["blog", "-o", "json"]).await;
        said.result.unwrap();
        let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(report["forgotten"], json!(["blog"]));
        fake.change(|world| {
            assert_eq!(world.site()["status"]["deleted"], json!(["old"]));
        });

        let unknown = unenroll(&fake, &["never"]).await;
        assert_eq!(unknown.result.unwrap_err().exit, ExitCode::Error);
    }

    /// Its Namespace is created again, without its label, just before the Site is written.
    #[tokio::test(start_paused = true)]
    async fn a_name_that_comes_back_meanwhile_is_not_forgotten() {
        let fake = FakeCluster::settled(Role::Primary);
        fake.change(|world| {
            world.touch_site(|site| site["status"]["deleted"] = json!(["blog"]));
        });
        fake.fail(|method, path, world| {
            let writes = *method == http::Method::PATCH && path.ends_with("/sites/cluster/status");
            if writes && world.site()["status"]["left"].is_null() {
                world.put(json!({"metadata": {"name": "blog", "labels": {}}}));
                world.touch_site(|site| site["status"]["left"] = json!(["blog"]));
            }
            None
        });
        let failure = unenroll(&fake, &["blog"]).await.result.unwrap_err();
        assert!(failure.message.contains("exists again"), "{failure}");
        fake.change(|world| {
            assert_eq!(world.site()["status"]["left"], json!(["blog"]));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_a_standby_remembers_is_forgotten_only_by_name() {
        let fake = FakeCluster::settled(Role::Secondary);
        fake.change(|world| {
            world.touch_site(|site| {
                site["status"]["namespaces"] = json!(["blog", "shop"]);
                site["status"]["deleted"] = json!(["blog"]);
            });
        });
        let said = unenroll(&fake, &["blog"]).await;
        assert_eq!(said.result.unwrap_err().exit, ExitCode::Refused);
        assert!(fake.writes().is_empty());
        let words = ["blog", "--override", "site-secondary", "--reason", "x"];
        unenroll(&fake, &words).await.result.unwrap();
        fake.change(|world| {
            let status = &world.site()["status"];
            assert_eq!(status["namespaces"], json!(["shop"]));
            assert_eq!(status["deleted"], json!([]));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_deleted_and_came_back_without_its_label_can_be_let_go() {
        let fake = FakeCluster::settled(Role::Primary);
        fake.change(|world| {
            world.touch_site(|site| site["status"]["deleted"] = json!(["blog"]));
            world.put(json!({"metadata": {"name": "blog", "labels": {}}}));
        });
        let said = unenroll(&fake, &["blog", "-o", "json"]).await;
        said.result.unwrap();
        let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(report["left"], json!(["blog"]));
    }

    #[tokio::test(start_paused = true)]
    async fn records_that_cannot_be_looked_for_are_not_taken_for_none() {
        let fake = FakeCluster::settled(Role::Primary);
        fake.fail(|_, path, _| path.ends_with("/deployments").then_some(Fault::Status(403)));
        let said = unenroll(&fake, &["shop"]).await;
        let failure = said.result.unwrap_err();
        assert!(
            failure
                .message
                .contains("cannot check whether restore records are left"),
            "{failure}"
        );
        assert!(fake.writes().is_empty());
    }
}
