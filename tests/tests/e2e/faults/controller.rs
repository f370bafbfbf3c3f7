//! The controller: killed in the middle of a sweep, and two that both believe to be the leader.

use std::time::Duration;

use failover_core::Role;
use failover_core::names::RESTORE_ANNOTATION;
use kube::api::{DynamicObject, ListParams};
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;
use testbed::site::{Options, PROMOTE, Site};
use testbed::{eventually, fixtures};

use super::{NAMESPACE, api_of, swept_clean};
use crate::main_job::DEMOTE;

/// Enough that a sweep, one object at a time, takes a while.
const APPLICATIONS: usize = 60;
const REPLICAS: i64 = 2;

async fn slow_site() -> Site {
    let flags = [
        "--lease-duration=3s",
        "--renew-every=1s",
        "--sweep-every=1s",
        "--sweep-concurrency=1",
    ];
    let site = Site::start(Options {
        controller: flags.map(str::to_owned).to_vec(),
        ..Options::default()
    })
    .await
    .unwrap();
    site.enrolled_namespace(NAMESPACE).await;
    for i in 0..APPLICATIONS {
        let manifest = fixtures::deployment(NAMESPACE, &format!("web-{i}"), REPLICAS);
        site.apply_as_flux(&manifest).await.unwrap();
    }
    site
}

async fn applications(site: &Site) -> Vec<DynamicObject> {
    let api = api_of(&site.client(), &fixtures::deployment(NAMESPACE, "web", 1));
    api.list(&ListParams::default()).await.unwrap().items
}

fn uids(objects: &[DynamicObject]) -> Vec<&str> {
    objects
        .iter()
        .map(|object| object.metadata.uid.as_deref().unwrap())
        .collect()
}

fn passive(objects: &[DynamicObject]) -> usize {
    objects
        .iter()
        .filter(|object| object.data["spec"]["replicas"] == json!(0))
        .count()
}

/// Waits until a sweep has changed some of the applications, but not all.
async fn in_the_middle(site: &Site) {
    eventually("the middle of a sweep", || async {
        let passive = passive(&applications(site).await);
        if (1..APPLICATIONS).contains(&passive) {
            Ok(())
        } else {
            Err(passive)
        }
    })
    .await;
}

#[track_caller]
fn assert_all_passive_with_their_record(objects: &[DynamicObject]) {
    assert_eq!(passive(objects), APPLICATIONS);
    for object in objects {
        let record = object
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(RESTORE_ANNOTATION));
        assert_eq!(
            record.map(String::as_str),
            Some(r#"{"/spec/replicas":2}"#),
            "{object:?}"
        );
    }
}

#[track_caller]
fn assert_all_as_they_were(objects: &[DynamicObject], uids: &[&str]) {
    for object in objects {
        assert_eq!(
            object.data["spec"]["replicas"],
            json!(REPLICAS),
            "{object:?}"
        );
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        assert!(!annotations.contains_key(RESTORE_ANNOTATION), "{object:?}");
    }
    assert_eq!(self::uids(objects), uids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_in_the_middle_of_a_sweep_loses_nothing_either_way() {
    let site = slow_site().await;
    let before = applications(&site).await;
    // Only the sweeper writes.
    site.webhook.kill();

    site.failover(&[DEMOTE, &["--wait=false"]].concat())
        .await
        .expect(0);
    in_the_middle(&site).await;
    site.controller.kill();
    site.controller.restart().unwrap();
    site.failover(DEMOTE).await.expect(0);
    assert_all_passive_with_their_record(&applications(&site).await);

    site.failover(&[PROMOTE, &["--wait=false"]].concat())
        .await
        .expect(0);
    in_the_middle(&site).await;
    site.controller.kill();
    site.controller.restart().unwrap();
    site.failover(PROMOTE).await.expect(0);
    assert_all_as_they_were(&applications(&site).await, &uids(&before));
}

/// The first controller is frozen in the middle of a transition, like a paused machine. When it resumes it would continue,
/// but the site has the opposite role by then.
#[rstest]
#[case::in_a_demotion(DEMOTE, PROMOTE, Role::Primary)]
#[case::in_a_promotion(PROMOTE, DEMOTE, Role::Secondary)]
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_resumes_after_its_lease_reverts_nothing(
    #[case] frozen_in: &[&str],
    #[case] then: &[&str],
    #[case] ends_as: Role,
) {
    let site = slow_site().await;
    let before = applications(&site).await;
    let assert_kept = async |site: &Site, role: Role| {
        let now = applications(site).await;
        match role {
            Role::Primary => assert_all_as_they_were(&now, &uids(&before)),
            Role::Secondary => assert_all_passive_with_their_record(&now),
        }
    };
    let second = site.second_controller().await.unwrap();
    // A webhook would correct much of what is written for a wrong role.
    site.webhook.kill();
    if ends_as == Role::Secondary {
        site.failover(then).await.expect(0);
    }

    site.failover(&[frozen_in, &["--wait=false"]].concat())
        .await
        .expect(0);
    in_the_middle(&site).await;
    site.controller.signal(Signal::SIGSTOP);
    site.failover(frozen_in).await.expect(0);
    assert_kept(&site, ends_as.opposite()).await;
    site.failover(then).await.expect(0);

    site.controller.signal(Signal::SIGCONT);
    site.until_not_leading().await;
    assert_kept(&site, ends_as).await;

    // It leads again once the other one stops.
    second.terminate(Duration::from_secs(10)).unwrap();
    swept_clean(&site, 2).await;
    assert_kept(&site, ends_as).await;
}
