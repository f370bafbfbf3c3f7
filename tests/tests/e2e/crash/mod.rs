//! The process that executes a transition is killed (SIGKILL) at every write (every third in the short form), before and
//! after the write, in both directions, and started again. The transition reaches the requested role and keeps the safe
//! order.
//!
//! The writes pass a [`Turnstile`] that closes at a given one. The states of the cluster are read from etcd's revisions, see
//! [`order`].

mod middle;
mod order;
mod policy;

use std::process::Stdio;
use std::time::Duration;

use failover_core::Role;
use failover_core::api::{Outcome, Phase};
use failover_core::names;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use rstest::rstest;
use serde_json::{Value, json};
use testbed::csi_addons::{CsiAddons, Volume};
use testbed::reconciled::Reconciled;
use testbed::recorder::Recorder;
use testbed::site::{Deadlines, Options, Site};
use testbed::turnstile::{Side, Turnstile};
use testbed::{eventually_within, fixtures, identity};
use tokio::task::JoinSet;

use order::Scope;

const NAMESPACE: &str = "shop";

const DEMOTE: &[&str] = &["demote", "--yes", "--reason=drill"];
const PROMOTE: &[&str] = &[
    "promote",
    "--yes",
    "--override=peer-unknown",
    "--reason=drill",
];

/// More than a transition of this size ever needs.
const MAX_KILLS: usize = 150;

/// Each step begins with a write of the journal, and most write more.
const STEPS: usize = 14;

/// After how many writes a process is killed: after one in the long form.
fn writes_per_kill() -> usize {
    if testbed::long() { 1 } else { 3 }
}

/// The fewest restarts that a transition can take.
fn least_kills() -> usize {
    STEPS / writes_per_kill()
}

/// A primary site with an application on a replicated volume: running pods, traffic, batch work, a chart.
struct Bed {
    site: Site,
    _csi_addons: CsiAddons,
    _reconciled: Reconciled,
    volume: Volume,
    turnstile: Turnstile,
}

impl Bed {
    async fn new() -> Self {
        let patient = Deadlines {
            pods_gone: "2m",
            replication: "2m",
            available: "2m",
        };
        let site = Site::start(Options {
            nodes: 1,
            deadlines: patient,
            controller: vec!["--lease-duration=1s".into(), "--renew-every=300ms".into()],
            ..Options::default()
        })
        .await
        .unwrap();
        let csi_addons = CsiAddons::start(&site.plane).await.unwrap();
        site.enrolled_namespace(NAMESPACE).await;
        let volume = csi_addons.volume(NAMESPACE, "data").await.unwrap();
        volume.order("primary").await;
        for manifest in [
            mounting(fixtures::deployment(NAMESPACE, "web", 2), "data"),
            fixtures::stateful_set(NAMESPACE, "db", 1),
            fixtures::cron_job(NAMESPACE, "report"),
            fixtures::helm_release(NAMESPACE, "chart"),
            fixtures::virtual_service(NAMESPACE, "web"),
        ] {
            site.apply_as_flux(&manifest).await.unwrap();
        }
        let bed = Self {
            _reconciled: Reconciled::start(&site.client()),
            turnstile: Turnstile::start(&site.plane).await.unwrap(),
            site,
            _csi_addons: csi_addons,
            volume,
        };
        eventually_within(Duration::from_secs(60), "a site that works", || async {
            let web: Api<Deployment> = Api::namespaced(bed.site.client(), NAMESPACE);
            let status = web.get("web").await.unwrap().status.unwrap_or_default();
            let up = status.available_replicas == Some(2);
            if up && bed.volume.is_in_sync_as(Role::Primary) {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await;
        bed
    }

    /// From now on the controller's writes pass the turnstile.
    async fn route_controller_through_turnstile(&mut self) {
        let account = identity::service_account_at(
            &self.site.plane,
            names::SYSTEM_NAMESPACE,
            names::CONTROLLER_SERVICE_ACCOUNT,
            &self.turnstile.url(),
        )
        .await
        .unwrap();
        let controller = &mut self.site.controller;
        controller
            .restart_as(|spec| spec.env("KUBECONFIG", account))
            .unwrap();
    }

    /// Whether the last request is completed.
    async fn is_done(&self, role: Role, scope: Scope) -> bool {
        if scope == Scope::Policy {
            return self.policy_is_done(role).await;
        }
        let status = self.site.status().await;
        status.transition.is_none()
            && status.layers.uniform() == Some(role)
            && status.phase == Some(Phase::Stable)
    }

    /// Starts `executor` until the request is completed, and kills it each time at one of its next writes. Returns how often it
    /// was killed.
    async fn killed_at_every_write(
        &mut self,
        role: Role,
        scope: Scope,
        side: Side,
        executor: &mut Executor,
    ) -> usize {
        let recorder = Recorder::start(&self.site.client(), order::kinds()).await;
        let mut writes = vec![];
        for _ in 0..MAX_KILLS {
            // A process that is killed before its write completes the previous one.
            let passing = writes_per_kill() - 1 + usize::from(side == Side::Before);
            self.turnstile.close_at(passing, side);
            executor.begin(self);
            let done = eventually_within(
                Duration::from_secs(180),
                "the end of the transition",
                || async {
                    if self.is_done(role, scope).await {
                        Ok(())
                    } else {
                        Err(writes.clone())
                    }
                },
            );
            let closed = tokio::select! {
                write = self.turnstile.closed() => Some(write),
                () = done => None,
            };
            let Some(write) = closed else { break };
            executor.end(self).await;
            writes.push(write);
        }
        self.turnstile.open();
        let history = match scope {
            Scope::Site => self.site.status().await.history,
            Scope::Policy => self.policy_status().await.history,
        };
        let done = self.is_done(role, scope).await;
        assert!(done, "{writes:#?}\n{history:#?}");
        assert_eq!(history[0].outcome, Outcome::Succeeded);
        let violations = order::violations(&recorder.finish().await, NAMESPACE, scope);
        assert_eq!(violations, [""; 0], "{writes:#?}");
        writes.len()
    }
}

/// The process that executes a request, and is restarted.
enum Executor {
    Controller,
    /// A break-glass command without a controller. It is retried, since the lease of a killed one has to expire.
    Person {
        order: &'static [&'static str],
        tries: JoinSet<()>,
    },
}

impl Executor {
    fn begin(&mut self, bed: &mut Bed) {
        match self {
            Self::Controller => bed.site.controller.restart().unwrap(),
            Self::Person { order, tries } => {
                let server = format!("--server={}", bed.turnstile.url());
                let arguments = [order, &["--break-glass", &server][..]].concat();
                let mut command = bed.site.failover_command(&arguments);
                command
                    .env("FAILOVER_LEASE_DURATION", "1s")
                    .env("FAILOVER_RENEW_EVERY", "300ms")
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                tries.spawn(async move { while !command.status().await.unwrap().success() {} });
            }
        }
    }

    async fn end(&mut self, bed: &mut Bed) {
        match self {
            Self::Controller => bed.site.controller.kill(),
            // Dropping the command kills its process.
            Self::Person { tries, .. } => tries.shutdown().await,
        }
    }
}

/// The workload mounts the claim.
fn mounting(mut workload: Value, claim: &str) -> Value {
    workload["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    workload
}

/// Demotion and promotion by controllers that are killed after a few writes.
async fn demote_and_promote(side: Side) {
    let mut bed = Bed::new().await;
    bed.route_controller_through_turnstile().await;
    for (order, role) in [(DEMOTE, Role::Secondary), (PROMOTE, Role::Primary)] {
        bed.site.controller.kill();
        let order = [order, &["--wait=false"]].concat();
        bed.site.failover(&order).await.expect(0);
        let executor = &mut Executor::Controller;
        let kills = bed
            .killed_at_every_write(role, Scope::Site, side, executor)
            .await;
        assert!(kills >= least_kills(), "killed only {kills} times");
        assert!(bed.volume.is_in_sync_as(role));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_before_any_write_is_followed_by_one_that_continues() {
    Box::pin(demote_and_promote(Side::Before)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_after_any_write_is_followed_by_one_that_continues() {
    Box::pin(demote_and_promote(Side::After)).await;
}

#[rstest]
#[case::to_secondary(DEMOTE, Role::Secondary)]
#[case::to_primary(PROMOTE, Role::Primary)]
#[tokio::test(flavor = "multi_thread")]
async fn a_break_glass_command_can_be_killed_at_any_write(
    #[case] order: &'static [&'static str],
    #[case] role: Role,
) {
    let mut bed = Bed::new().await;
    if role == Role::Primary {
        bed.site.failover(DEMOTE).await.expect(0);
    }
    bed.site.controller.kill();
    let mut person = Executor::Person {
        order,
        tries: JoinSet::new(),
    };
    let side = Side::After;
    let kills = bed
        .killed_at_every_write(role, Scope::Site, side, &mut person)
        .await;
    assert!(kills >= least_kills(), "killed only {kills} times");
    assert!(bed.volume.is_in_sync_as(role));
}

/// Positive control: violations of the order are found.
#[tokio::test(flavor = "multi_thread")]
async fn unsafe_mode_does_not_keep_the_order() {
    let bed = Bed::new().await;
    let recorder = Recorder::start(&bed.site.client(), order::kinds()).await;
    let order = [DEMOTE, &["--mode=unsafe"]].concat();
    bed.site.failover(&order).await.expect(0);
    let violations = order::violations(&recorder.finish().await, NAMESPACE, Scope::Site);
    assert!(
        violations
            .iter()
            .any(|v| v.contains("volumes are demoted while")),
        "{violations:#?}"
    );
}
