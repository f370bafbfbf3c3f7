//! Batch work, with Kubernetes' own CronJob and Job controllers: a promotion starts missed runs and held Jobs only with
//! consent.

use failover_core::names::HELD_ANNOTATION;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use testbed::site::{DEMOTE, Options, PROMOTE, Site};
use testbed::{eventually, fixtures};

/// The CronJob controller writes here when a Job was due.
const DUE: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// The batch work in Git. None has a `startingDeadlineSeconds`, so each would start a missed run at once.
fn from_git() -> Vec<Value> {
    let yearly = fixtures::cron_job("shop", "yearly");
    let mut minutely = fixtures::cron_job("shop", "minutely");
    minutely["spec"]["schedule"] = json!("* * * * *");
    // Both day fields are restricted, so either matches: it was due yesterday.
    let mut either = fixtures::cron_job("shop", "either");
    let yesterday = (Timestamp::now() - SignedDuration::from_hours(24)).strftime("%a");
    either["spec"]["schedule"] = json!(format!("0 0 */31 * {yesterday}"));
    let mut retired = fixtures::cron_job("shop", "retired");
    retired["spec"]["suspend"] = json!(true);
    vec![
        yearly,
        minutely,
        either,
        retired,
        fixtures::job("shop", "done"),
    ]
}

async fn cron_job(site: &Site, name: &str) -> CronJob {
    let api: Api<CronJob> = Api::namespaced(site.client(), "shop");
    api.get(name).await.unwrap()
}

fn is_suspended(cron_job: &CronJob) -> bool {
    cron_job.spec.as_ref().unwrap().suspend == Some(true)
}

async fn job(site: &Site, name: &str) -> Job {
    let api: Api<Job> = Api::namespaced(site.client(), "shop");
    api.get(name).await.unwrap()
}

async fn until_succeeded(site: &Site, name: &str) {
    eventually("a Job that has run", || async {
        let status = job(site, name).await.status.unwrap_or_default();
        if status.succeeded == Some(1) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
}

/// The Jobs of CronJobs.
async fn runs(site: &Site, namespace: &str) -> Vec<Job> {
    let api: Api<Job> = Api::namespaced(site.client(), namespace);
    let mut jobs = api.list(&ListParams::default()).await.unwrap().items;
    jobs.retain(|job| job.annotations().contains_key(DUE));
    jobs
}

fn of<'a>(runs: &'a [Job], cron_job: &str) -> Vec<&'a Job> {
    let is_of = |job: &&Job| {
        job.owner_references()
            .iter()
            .any(|owner| owner.name == cron_job)
    };
    runs.iter().filter(is_of).collect()
}

fn is_one_of(run: &Job, runs: &[Job]) -> bool {
    runs.iter().any(|other| other.uid() == run.uid())
}

/// Backdates the last run by years, so that the CronJob controller finds a missed run.
async fn miss_a_run(site: &Site, namespace: &str, name: &str) {
    set_last_run(site, namespace, name, "2020-01-01T00:00:00Z").await;
}

async fn set_last_run(site: &Site, namespace: &str, name: &str, at: &str) {
    let api: Api<CronJob> = Api::namespaced(site.client(), namespace);
    let mark = json!({"status": {"lastScheduleTime": at}});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(mark))
        .await
        .unwrap();
}

/// Waits until the CronJob controller has processed all earlier changes: a CronJob outside enforcement misses a run now, and
/// the controller starts it.
async fn until_the_controller_has_caught_up(site: &Site) {
    let before = runs(site, "elsewhere").await.len();
    let name = format!("witness-{before}");
    let witness = fixtures::cron_job("elsewhere", &name);
    site.apply_as_person(&witness).await.unwrap();
    miss_a_run(site, "elsewhere", &name).await;
    eventually("the run that the witness missed", || async {
        let runs = runs(site, "elsewhere").await;
        if of(&runs, &name).is_empty() {
            Err("no run")
        } else {
            Ok(())
        }
    })
    .await;
}

/// Demotes, lets every CronJob miss a run, and promotes with these flags. Returns the runs before the promotion, and when
/// the promotion began.
async fn demote_and_promote(site: &Site, consent: &[&str]) -> (Vec<Job>, Timestamp) {
    site.failover(DEMOTE).await.expect(0);
    let before = runs(site, "shop").await;
    for name in ["yearly", "minutely", "retired"] {
        assert!(is_suspended(&cron_job(site, name).await), "{name}");
        miss_a_run(site, "shop", name).await;
    }
    let days_ago = Timestamp::now() - SignedDuration::from_hours(72);
    let days_ago = days_ago.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    set_last_run(site, "shop", "either", &days_ago).await;
    // Git adds these while the site is on standby.
    let mut hook = fixtures::job("shop", "hook");
    hook["metadata"]["annotations"] = json!({"helm.sh/hook": "post-upgrade"});
    for job in [fixtures::job("shop", "import"), hook] {
        site.apply_as_flux(&job).await.unwrap();
    }
    until_the_controller_has_caught_up(site).await;
    let now = runs(site, "shop").await;
    assert!(
        now.iter().all(|run| is_one_of(run, &before)),
        "none runs on a standby: {now:?}"
    );

    let start = Timestamp::now();
    site.failover(&[PROMOTE, consent].concat()).await.expect(0);
    assert!(!is_suspended(&cron_job(site, "yearly").await));
    assert!(!is_suspended(&cron_job(site, "minutely").await));
    assert!(
        is_suspended(&cron_job(site, "retired").await),
        "as Git says"
    );
    (before, start)
}

async fn assert_held(site: &Site, name: &str) {
    let held = job(site, name).await;
    assert_eq!(held.spec.as_ref().unwrap().suspend, Some(true));
    assert!(held.annotations().contains_key(HELD_ANNOTATION));
    assert_eq!(held.status.unwrap_or_default().start_time, None);
    let pods: Api<Pod> = Api::namespaced(site.client(), "shop");
    let of_it = ListParams::default().labels(&format!("job-name={name}"));
    assert!(pods.list(&of_it).await.unwrap().items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_runs_only_the_batch_work_that_was_consented_to() {
    let site = Site::start(Options {
        nodes: 1,
        ..Options::default()
    })
    .await
    .unwrap();
    site.kubectl(&["create", "namespace", "elsewhere"])
        .await
        .expect(0);
    site.enrolled_namespace("shop").await;
    for manifest in from_git() {
        site.apply_as_flux(&manifest).await.unwrap();
    }
    until_succeeded(&site, "done").await;
    let done = job(&site, "done").await;

    let (before, start) = demote_and_promote(&site, &[]).await;
    until_the_controller_has_caught_up(&site).await;
    let after = runs(&site, "shop").await;
    assert!(of(&after, "yearly").is_empty(), "{after:?}");
    assert!(of(&after, "either").is_empty(), "{after:?}");
    // A run that is due after the promotion starts as usual.
    for run in of(&after, "minutely") {
        let due: Timestamp = run.annotations()[DUE].parse().unwrap();
        assert!(is_one_of(run, &before) || due > start, "{run:?}");
    }
    assert_held(&site, "import").await;

    demote_and_promote(&site, &["--run-missed"]).await;
    eventually("the runs that were missed", || async {
        let runs = runs(&site, "shop").await;
        match ["yearly", "either"].map(|name| of(&runs, name).len()) {
            [1, 1] => Ok(()),
            _ => Err(format!("{runs:?}")),
        }
    })
    .await;
    assert_held(&site, "import").await;

    let status = site.document(&["status"]).await;
    let hooks: Vec<_> = status["hooks"].as_array().unwrap().iter().collect();
    assert_eq!(hooks.len(), 1, "{hooks:?}");
    assert_eq!(hooks[0]["object"], "shop/jobs/hook");

    demote_and_promote(&site, &["--run-held-jobs=shop/import"]).await;
    until_succeeded(&site, "import").await;
    assert_held(&site, "hook").await;
    let history = site.document(&["history"]).await;
    assert_eq!(
        history["changes"][0]["heldJobsToRun"],
        json!(["shop/import"])
    );
    demote_and_promote(&site, &["--run-held-jobs"]).await;
    until_succeeded(&site, "hook").await;
    until_the_controller_has_caught_up(&site).await;
    let after = runs(&site, "shop").await;
    assert_eq!(
        of(&after, "yearly").len(),
        1,
        "the one of before: {after:?}"
    );
    assert!(of(&after, "retired").is_empty());

    // A Job that had completed before does not run again.
    let again = job(&site, "done").await;
    assert_eq!((again.uid(), &again.spec), (done.uid(), &done.spec));
    let ended = |job: &Job| job.status.clone().unwrap_or_default().completion_time;
    assert_eq!(ended(&again), ended(&done));
}
