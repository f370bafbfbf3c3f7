use failover_core::checks::batch::HeldJobs;
use failover_core::checks::uncovered::Uncovered;
use failover_core::checks::uncovered::traffic::Published;
use failover_core::guards::{Facts, of_published, of_uncovered, standing};
use failover_core::namespace::ObjectRole;
use failover_core::object::ObjectKey;
use failover_core::object::ObjectRef;
use failover_core::object_roles::Deferred;
use serde_json::json;

use super::*;
use crate::cli::batch::BatchConsent;
use crate::cluster::{Survey, WithoutRule};
use crate::output::screen::tests::{PIPE, captured};
use crate::plan::plan;
use crate::plan::tests::{deployment, enrolled, found};

/// One of everything that there is to say.
fn everything(role: Role) -> Plan {
    let now = "2026-03-01T12:00:30Z".parse().unwrap();
    let mut shop = enrolled("shop", Some(role.opposite()));
    shop.state
        .objects
        .set("deployments", "ingress", ObjectRole::Exempt);
    let (deployments, cron_job) = match role {
        Role::Secondary => (
            vec![deployment("web", 3, None), deployment("odd", 1, None)],
            json!({"metadata": {"name": "report"}, "spec": {"schedule": "0 * * * *"}}),
        ),
        Role::Primary => (
            vec![
                deployment("web", 0, Some("{\"/spec/replicas\":3}")),
                deployment("idle", 0, None),
            ],
            json!({
                "metadata": {"name": "report", "annotations": {"failover.dev/restore": "{\"/spec/suspend\":null}"}},
                "spec": {"schedule": "0 * * * *", "suspend": true},
                "status": {"lastScheduleTime": "2026-03-01T08:00:00Z"}
            }),
        ),
    };
    let mut survey = Survey::default();
    survey.found.extend(
        deployments
            .into_iter()
            .map(|object| found(&shop, "apps", "deployments", object)),
    );
    survey
        .found
        .push(found(&shop, "batch", "cronjobs", cron_job));
    if role == Role::Secondary {
        survey.found[1].object["spec"]["replicas"] = json!("one");
    } else {
        let job = json!({
            "metadata": {"name": "migrate", "annotations": {"failover.dev/held": "{\"/spec/suspend\":false}"}},
            "spec": {"suspend": true}
        });
        let hook = json!({
            "metadata": {
                "name": "schema",
                "annotations": {"failover.dev/held": "{\"/spec/suspend\":false}", "helm.sh/hook": "pre-upgrade"},
            },
            "spec": {"suspend": true}
        });
        survey.found.push(found(&shop, "batch", "jobs", hook));
        survey.found.push(found(&shop, "batch", "jobs", job));
    }
    let mut plan = plan("east", role, &[shop], &survey, now);
    plan.uncovered.push(Uncovered {
        object: ObjectRef {
            namespace: "shop".into(),
            group: String::new(),
            resource: "pods".into(),
            name: "bare".into(),
        },
        why: "it has no controller".into(),
    });
    plan.published.push(Published {
        object: ObjectRef {
            namespace: "shop".into(),
            group: String::new(),
            resource: "services".into(),
            name: "web".into(),
        },
        why: "external-dns publishes shop.example.com".into(),
        rule: Some("service-external-dns"),
    });
    plan.deferred.push(Deferred {
        object: ObjectKey {
            namespace: "shop".into(),
            resource: "deployments".into(),
            name: "proxy".into(),
        },
        why: "exempt label of deployments/proxy waits for the promotion".into(),
    });
    plan.without_rule.push(WithoutRule {
        rule: "flagger-canary".into(),
        kind: "Canary".into(),
        objects: vec![ObjectRef {
            namespace: "shop".into(),
            group: "flagger.app".into(),
            resource: "canaries".into(),
            name: "web".into(),
        }],
    });
    plan.holds = standing(Some(role.opposite()), role, &Facts::default());
    if role == Role::Secondary {
        plan.holds.extend(of_uncovered(&plan.uncovered));
        plan.holds.extend(of_published(&plan.published));
    }
    plan
}

fn printed(role: Role, format: PlanFormat) -> String {
    let (screen, out, err) = captured(PIPE);
    print(&everything(role), format, &screen);
    format!("--- stdout\n{}--- stderr\n{}", out.text(), err.text())
}

#[test]
fn a_demotion_as_a_table() {
    insta::assert_snapshot!(printed(Role::Secondary, PlanFormat::Table));
}

#[test]
fn a_promotion_as_a_wide_table() {
    insta::assert_snapshot!(printed(Role::Primary, PlanFormat::Wide));
}

#[test]
fn a_promotion_as_a_document() {
    insta::assert_snapshot!(printed(Role::Primary, PlanFormat::Json));
}

#[test]
fn a_demotion_as_a_diff() {
    insta::assert_snapshot!(printed(Role::Secondary, PlanFormat::Diff));
}

#[test]
fn with_consent_it_says_what_of_the_batch_work_runs() {
    let (screen, _, err) = captured(PIPE);
    let mut plan = everything(Role::Primary);
    plan.batch = BatchConsent {
        run_missed: true,
        held_jobs: HeldJobs::All,
    };
    print(&plan, PlanFormat::Table, &screen);
    let told = err.text();
    for (heading, object) in [
        (
            "CronJobs that start a missed run at once (--run-missed):",
            "shop/cronjobs/report: the run of",
        ),
        (
            "Jobs held since they were created, which now run (--run-held-jobs):",
            "shop/jobs/migrate",
        ),
    ] {
        assert!(told.contains(&format!("{heading}\n  {object}")), "{told}");
    }
}

#[test]
fn names_only_are_names_only() {
    assert_eq!(
        printed(Role::Secondary, PlanFormat::Name),
        "--- stdout\nshop/deployments/web\nshop/cronjobs/report\n--- stderr\n"
    );
}

#[test]
fn of_held_jobs_those_that_are_named_run() {
    let mut plan = everything(Role::Primary);
    let named = |plan: &mut Plan, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        plan.batch.held_jobs = HeldJobs::new(false, &names);
    };
    let runs = |plan: &Plan| PlanDocument::of(plan).held_jobs_to_run;
    assert_eq!(runs(&plan), Vec::<String>::new());
    named(&mut plan, &["shop/migrate"]);
    assert_eq!(runs(&plan), ["shop/jobs/migrate"]);
    assert_eq!(plan.not_held(plan.batch.held_jobs.names()), None);
    named(&mut plan, &["shop/migrate", "shop/other"]);
    assert_eq!(
        plan.not_held(plan.batch.held_jobs.names()),
        Some("shop/other")
    );
}
