//! Components that die, hang, lie or vanish, on a primary and on a secondary.
//!
//! During a fault a primary works as usual, nothing becomes active on a secondary, and nothing is deleted:
//! [`Bed::assert_unaffected`]. After it the site recovers by itself: [`Bed::assert_recovers`].

mod api_server;
mod attack;
mod controller;
mod definitions;
mod impostor;
mod partition;
mod sweeper;
mod webhook;
mod work;

use std::collections::BTreeMap;

use failover_core::names::RESTORE_ANNOTATION;
use failover_core::{Role, RuleSet};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use serde_json::Value;
use testbed::site::{Options, Site};
use testbed::{eventually, fixtures};

use crate::main_job::{DEMOTE, assert_passive, stored};
use attack::attack;

/// The one namespace of applications.
const NAMESPACE: &str = "shop";

/// Short intervals, so that a dead leader is noticed soon and a sweep follows soon.
const QUICK: [&str; 3] = [
    "--lease-duration=6s",
    "--renew-every=1s",
    "--sweep-every=1s",
];

/// A site with one object of every kind, which was primary at first.
struct Bed {
    site: Site,
    role: Role,
    /// The uids of all objects at the start.
    uids: BTreeMap<String, String>,
}

impl Bed {
    async fn start(role: Role) -> Self {
        let site = Site::start(Options {
            nodes: 1,
            controller: QUICK.map(str::to_owned).to_vec(),
            ..Options::default()
        })
        .await
        .unwrap();
        site.enrolled_namespace(NAMESPACE).await;
        for manifest in fixtures::every_kind(NAMESPACE) {
            site.apply_as_flux(&manifest).await.unwrap();
        }
        if role == Role::Secondary {
            site.failover(DEMOTE).await.expect(0);
        }
        let uids = uids(&site).await;
        Self { site, role, uids }
    }

    /// Asserts what must be true during any fault while there is an API server. `fault` names new objects and messages.
    async fn assert_unaffected(&self, fault: &str) {
        match self.role {
            Role::Primary => {
                work::deploys_and_scales(&self.site.client(), fault).await;
                self.assert_all_active().await;
            }
            Role::Secondary => {
                attack(&self.site.client()).await.expect_none_active(fault);
                self.assert_all_passive().await;
            }
        }
        let left = uids(&self.site).await;
        assert_eq!(left, self.uids, "{fault}: something was deleted");
    }

    /// Asserts that no object is forced.
    async fn assert_all_active(&self) {
        for object in ruled_objects(&self.site.client()).await {
            assert_active(&object);
        }
    }

    /// Asserts that all stored objects are passive and no pod runs.
    async fn assert_all_passive(&self) {
        for object in ruled_objects(&self.site.client()).await {
            assert_passive(&object);
        }
        let get = ["get", "pods", "-n", NAMESPACE, "-o", "name"];
        eventually("no pod", || async {
            let pods = self.site.kubectl(&get).await.expect(0).stdout;
            // The pod that had completed before the demotion stays.
            let running = pods.lines().any(|pod| !pod.contains("migrate"));
            if running { Err(pods) } else { Ok(()) }
        })
        .await;
    }

    /// Asserts that after the fault the site becomes Ready, a sweep begun since then finds nothing to do, and the webhook
    /// answers.
    async fn assert_recovers(&self) {
        swept_clean(&self.site, 2).await;
        self.site.until_ready().await;
        let web = fixtures::deployment(NAMESPACE, "web", 3);
        let answers = async || metric(&self.site.webhook_admin(), "changed\"").await;
        eventually("an answer of the webhook", || async {
            let before = answers().await;
            let dry = self.site.dry_run_as_flux(&web).await;
            let object = dry.map_err(|error| error.to_string())?;
            if answers().await > before {
                Ok(object)
            } else {
                Err("it was not asked".to_owned())
            }
        })
        .await;
        match self.role {
            Role::Primary => self.assert_all_active().await,
            Role::Secondary => {
                self.assert_all_passive().await;
                let tally = attack(&self.site.client()).await;
                tally.expect_none_active("afterwards");
                assert_eq!(tally.refused, 0, "instead of rewritten: {tally:?}");
            }
        }
        assert_eq!(uids(&self.site).await, self.uids, "something was deleted");
    }
}

/// Asserts that an object has neither a passive value nor a record.
#[track_caller]
fn assert_active(object: &DynamicObject) {
    let value = serde_json::to_value(object).unwrap();
    // A field that only safeguards another one is harmless, and Git may set it.
    for field in rule_of(&value).fields.iter().filter(|f| !f.safeguard) {
        let passive = field.is_passive(field.pointer.lookup(&value));
        assert!(!passive, "{}: {value:#}", field.pointer);
    }
    let annotations = object.metadata.annotations.iter().flatten();
    let record = annotations
        .into_iter()
        .find(|(key, _)| *key == RESTORE_ANNOTATION);
    assert_eq!(record, None, "{value:#}");
}

/// Waits until so many more sweeps have found nothing to do.
async fn swept_clean(site: &Site, more: u64) {
    let clean = async || {
        metric(
            &site.controller_admin(),
            "failover_sweeps_total{result=\"clean\"}",
        )
        .await
    };
    let before = clean().await;
    eventually("sweeps that find nothing to do", || async {
        let now = clean().await;
        if now >= before + more {
            Ok(())
        } else {
            Err(format!(
                "{now} after {before}\n{}",
                site.controller.log_tail()
            ))
        }
    })
    .await;
}

/// The sum of all samples whose line contains this; 0 if the process does not answer.
async fn metric(admin: &str, line: &str) -> u64 {
    let text = testbed::admin::get(admin, "/metrics")
        .await
        .unwrap_or_default();
    text.lines()
        .filter(|sample| !sample.starts_with('#') && sample.contains(line))
        .filter_map(|sample| sample.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

async fn uids(site: &Site) -> BTreeMap<String, String> {
    let mut uids = BTreeMap::new();
    for manifest in fixtures::every_kind(NAMESPACE) {
        let object = stored(site, &manifest).await;
        uids.insert(fixtures::label(&manifest), object.metadata.uid.unwrap());
    }
    uids
}

/// Every object of the namespace that a rule reaches.
async fn ruled_objects(client: &Client) -> Vec<DynamicObject> {
    let mut objects = Vec::new();
    for rule in RuleSet::built_in().iter() {
        let resource = api_resource(rule);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
        let listed = api.list(&ListParams::default()).await.unwrap().items;
        let own = listed.into_iter().filter(|object| {
            // A controlled object follows its owner.
            object
                .metadata
                .owner_references
                .iter()
                .flatten()
                .all(|o| o.controller != Some(true))
        });
        objects.extend(own.map(|mut object| {
            object.types = Some(kube::core::TypeMeta {
                api_version: resource.api_version.clone(),
                kind: resource.kind.clone(),
            });
            object
        }));
    }
    objects
}

fn api_resource(rule: &failover_core::Rule) -> ApiResource {
    ApiResource {
        group: rule.group.to_string(),
        version: rule.version.to_string(),
        api_version: rule.api_version(),
        kind: rule.kind.to_string(),
        plural: rule.resource.to_string(),
    }
}

/// An API for a manifest of a built-in kind, without discovery.
fn api_of(client: &Client, manifest: &Value) -> Api<DynamicObject> {
    let rule = rule_of(manifest);
    Api::namespaced_with(client.clone(), NAMESPACE, &api_resource(&rule))
}

fn rule_of(manifest: &Value) -> failover_core::Rule {
    let rules = RuleSet::built_in();
    let rule = rules
        .iter()
        .find(|rule| rule.kind == manifest["kind"].as_str().unwrap());
    rule.expect("a built-in kind").clone()
}
