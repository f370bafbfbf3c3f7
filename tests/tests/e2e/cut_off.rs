//! Components that fail in the middle of a transition: a clear message, the right exit code, and no false success.

use std::process::Stdio;
use std::time::Duration;

use failover_core::api;
use failover_core::names::{self, RESTORE_ANNOTATION};
use failover_core::{Role, Roles};
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::json;
use testbed::site::shared::Lease;
use testbed::site::{
    DEMOTE, JSON, Options, Output, PROMOTE, Site, assert_names, assert_role_change, guards,
};
use testbed::{eventually, eventually_within, fixtures};
use tokio::io::AsyncReadExt as _;

/// A site with enough objects that a sweep takes a while.
async fn busy_site(role: Role) -> Lease {
    let site = Site::shared(Options {
        controller: vec!["--sweep-concurrency=1".to_owned()],
        ..Options::default()
    })
    .await
    .unwrap();
    if role == Role::Secondary {
        site.failover(DEMOTE).await.expect(0);
    }
    site.enrolled_namespace("shop").await;
    let deployments: Vec<_> = (0..60)
        .map(|i| fixtures::deployment("shop", &format!("web-{i}"), 2))
        .collect();
    site.create_all(&deployments).await.unwrap();
    site
}

/// Starts what was killed, and leaves the site as it was found.
async fn give_back(site: Lease) {
    for process in [&site.webhook, &site.controller] {
        if !process.is_running() {
            process.restart().unwrap();
        }
    }
    site.until_ready().await;
    site.clear(&["shop"]).await;
}

async fn status(site: &Site) -> Option<api::SiteStatus> {
    Api::<api::Site>::all(site.client())
        .get(names::SITE)
        .await
        .ok()?
        .status
}

/// Starts the CLI with `-o json` and waits until the controller has begun the transition.
async fn start_until_running(site: &Site, arguments: &[&str]) -> tokio::process::Child {
    let mut command = site.failover_command(&[arguments, JSON].concat());
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("a running transition", || async {
        let status = status(site).await.ok_or("no status")?;
        if status.transition.is_some() {
            Ok(())
        } else {
            Err("none yet")
        }
    })
    .await;
    child
}

async fn finish(mut child: tokio::process::Child) -> Output {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let both = async {
        tokio::join!(
            out.read_to_string(&mut stdout),
            err.read_to_string(&mut stderr)
        )
    };
    let (status, _) = tokio::time::timeout(Duration::from_secs(120), async {
        tokio::join!(child.wait(), both)
    })
    .await
    .expect("the CLI ends");
    Output {
        code: status.unwrap().code().unwrap_or(-1),
        stdout,
        stderr,
    }
}

async fn deployments(site: &Site) -> Vec<DynamicObject> {
    let api = site
        .api_of(&fixtures::deployment("shop", "web", 1))
        .await
        .unwrap();
    api.list(&ListParams::default()).await.unwrap().items
}

fn replicas(objects: &[DynamicObject]) -> i64 {
    objects
        .iter()
        .filter_map(|object| object.data["spec"]["replicas"].as_i64())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_webhook_dead_a_demotion_completes_and_a_promotion_restores() {
    let site = busy_site(Role::Primary).await;
    let child = start_until_running(&site, DEMOTE).await;
    site.webhook.kill();
    let demoted = finish(child).await.expect(0).document();
    assert_role_change(&demoted, "secondary", "Done");
    let objects = deployments(&site).await;
    assert_eq!(replicas(&objects), 0);
    assert!(objects.iter().all(
        |o| o.metadata.annotations.as_ref().unwrap()[RESTORE_ANNOTATION]
            == r#"{"/spec/replicas":2}"#
    ));

    let status = site.document(&["status"]).await;
    eventually("the dead replica to be noticed", || async {
        let status = self::status(&site).await.unwrap();
        if status.enforcers.is_empty() {
            Ok(())
        } else {
            Err(status.enforcers)
        }
    })
    .await;
    assert_eq!(status["role"], "secondary", "{status:#}");
    assert_eq!(status["roleInEffect"], "secondary", "{status:#}");
    assert_role_change(&site.document(PROMOTE).await, "primary", "Done");
    assert_eq!(replicas(&deployments(&site).await), 120);
    give_back(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_controller_dead_no_success_is_reported_and_the_next_one_continues() {
    let site = busy_site(Role::Secondary).await;
    let arguments: Vec<&str> = PROMOTE
        .iter()
        .copied()
        // Longer than the duration of a Lease: until then nobody can know that its holder is dead.
        .chain(["--timeout", "25s"])
        .collect();
    let child = start_until_running(&site, &arguments).await;
    site.controller.kill();
    // It names what to do about a missing controller, and about no other cause.
    let late = finish(child).await.expect(4).failure();
    assert_eq!(late["reason"], "TimedOut");
    assert_names(
        &late["next"],
        &["kubectl -n failover-system get pods", "--break-glass"],
    );

    site.controller.restart().unwrap();
    site.until_ready().await;
    assert_eq!(
        status(&site).await.unwrap().layers,
        Roles::all(Role::Primary)
    );
    assert_eq!(replicas(&deployments(&site).await), 120);
    assert_role_change(&site.document(PROMOTE).await, "primary", "Already");
    give_back(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_controller_takes_over_a_running_transition() {
    let site = busy_site(Role::Primary).await;
    let second = site.second_controller().await.unwrap();
    let child = start_until_running(&site, DEMOTE).await;
    site.controller.kill();
    let demoted = finish(child).await.expect(0).document();
    assert_role_change(&demoted, "secondary", "Done");
    assert_eq!(replicas(&deployments(&site).await), 0);
    drop(second);
    give_back(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_api_server_down_no_success_is_reported_and_the_transition_continues_when_it_is_back()
 {
    let site = busy_site(Role::Primary).await;
    let arguments: Vec<&str> = DEMOTE.iter().copied().chain(["--timeout", "10s"]).collect();
    let child = start_until_running(&site, &arguments).await;
    site.plane.api_server.kill();
    // It names the address that cannot be reached.
    let late = finish(child).await.expect(4).failure();
    assert_eq!(late["reason"], "TimedOut");
    assert_names(&late["message"], &["127.0.0.1"]);

    let refused = site.failure(DEMOTE, 1).await;
    assert_names(&refused["message"], &["127.0.0.1"]);

    site.plane.restart_api_server().await.unwrap();
    eventually_within(
        Duration::from_secs(120),
        "the demotion to be done",
        || async {
            let status = status(&site).await.ok_or("no status".to_owned())?;
            let done = status.transition.is_none() && status.layers == Roles::all(Role::Secondary);
            if done {
                Ok(())
            } else {
                Err(format!("{status:?}\n{}", site.controller.log_tail()))
            }
        },
    )
    .await;
    assert_eq!(replicas(&deployments(&site).await), 0);
    give_back(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_without_peer_is_refused_and_changes_nothing() {
    let site = Site::start(Options {
        role: "secondary",
        ..Options::default()
    })
    .await
    .unwrap();
    let before = site.stored().await;
    let promote = ["promote", "--yes", "--reason", "drill"];
    let refused = site.failure(&promote, 3).await;
    assert_eq!(guards(&refused), [("peer-unknown", "")], "{refused:#}");
    assert_names(
        &refused["guards"][0]["hint"],
        &["--override peer-unknown --reason TEXT"],
    );
    let after = site.stored().await;
    assert_eq!(before.spec, after.spec);

    // A request that is written without the CLI changes nothing either.
    let order = json!({"spec": {"role": "primary", "epoch": before.spec.epoch.0 + 1, "request": {"id": "by-hand"}}});
    let patch = kube::api::Patch::Merge(order);
    Api::<api::Site>::all(site.client())
        .patch(names::SITE, &kube::api::PatchParams::default(), &patch)
        .await
        .unwrap();
    eventually("the guard to block", || async {
        let status = status(&site).await.ok_or("no status".to_owned())?;
        if status.phase == Some(api::Phase::Stalled) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    assert_eq!(
        status(&site).await.unwrap().layers,
        Roles::all(Role::Secondary)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_enforcement_configured_no_transition_starts() {
    let site = Site::start(Options::default()).await.unwrap();
    let webhook = [
        "delete",
        "mutatingwebhookconfiguration",
        names::WEBHOOK_CONFIGURATION,
    ];
    site.kubectl(&webhook).await.expect(0);
    // The backstop alone is enough.
    let plan = [DEMOTE, &["--dry-run=server"]].concat();
    site.failover(&plan).await.expect(0);

    // A policy that matches nothing does not count.
    let policy = "validatingadmissionpolicy/deployments.apps.failover.dev";
    let never = r#"{"spec":{"matchConditions":[{"name":"never","expression":"false"}]}}"#;
    let edit = ["patch", policy, "--type=merge", "-p", never];
    site.kubectl(&edit).await.expect(0);
    let refused = site.failure(DEMOTE, 3).await;
    assert_eq!(guards(&refused), [("no-enforcement", "")], "{refused:#}");
    assert_eq!(
        status(&site).await.unwrap().layers,
        Roles::all(Role::Primary)
    );
}
