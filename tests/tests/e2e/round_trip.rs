//! Two hundred objects that other projects ship are the same after a demotion and a promotion, byte for byte.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use failover_core::names::RESTORE_ANNOTATION;
use kube::Api;
use kube::api::{DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};
use testbed::site::{DEMOTE, Options, PROMOTE_VOLUMES, Site};
use testbed::{eventually_within, fixtures, manifests};

use crate::main_job::assert_passive;

const OBJECTS: usize = 200;
/// So many more are created, since the cluster adopts or deletes some.
const SPARE: usize = 20;

/// The ruled kinds.
const RULED: [(&str, &str); 11] = [
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "ReplicaSet"),
    ("v1", "ReplicationController"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease"),
    ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
    ("networking.istio.io/v1alpha3", "VirtualService"),
    (REPLICATION, "VolumeReplication"),
    (REPLICATION, "VolumeGroupReplication"),
];

const REPLICATION: &str = "replication.storage.openshift.io/v1alpha1";

const UNRULED: [(&str, &str); 9] = [
    ("v1", "ConfigMap"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("v1", "PersistentVolumeClaim"),
    ("apps/v1", "DaemonSet"),
    ("networking.k8s.io/v1", "Ingress"),
    ("policy/v1", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
];

/// One object of each type, again and again until none is left, so that rare kinds are included.
fn mixed(types: &[(&str, &str)]) -> Vec<Value> {
    let mut shipped = manifests::shipped("shop", types).unwrap();
    // Two objects of Flux's own tests have no spec, and become invalid with its first field.
    shipped.retain(|object| object["spec"].is_object() || !is_ruled(&object["kind"]));
    let mut rounds: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    // Our fixtures cover the kinds of which nobody ships a complete object.
    for object in fixtures::every_kind("shop").into_iter().chain(shipped) {
        let round = seen.entry(object["kind"].to_string()).or_default();
        rounds.entry(*round).or_default().push(object);
        *round += 1;
    }
    rounds.into_values().flatten().collect()
}

fn is_ruled(kind: &Value) -> bool {
    RULED.iter().any(|(_, ruled)| kind == ruled)
}

/// The APIs of all types, from one discovery each.
struct Apis(Vec<(&'static str, Api<DynamicObject>)>);

impl Apis {
    async fn of(site: &Site) -> Self {
        let mut apis = Vec::new();
        for (version, kind) in RULED.iter().chain(&UNRULED) {
            let probe =
                json!({"apiVersion": version, "kind": kind, "metadata": {"namespace": "shop"}});
            apis.push((*kind, site.api_of(&probe).await.unwrap()));
        }
        Self(apis)
    }

    fn kind(&self, kind: &str) -> &Api<DynamicObject> {
        let found = self.0.iter().find(|(known, _)| *known == kind);
        &found.unwrap().1
    }

    /// All stored objects of the types without owner references, by kind and name.
    async fn stored(&self) -> BTreeMap<String, DynamicObject> {
        let mut all = BTreeMap::new();
        for (kind, api) in &self.0 {
            let mut objects = api.list(&ListParams::default()).await.unwrap().items;
            objects.retain(|object| object.metadata.owner_references.is_none());
            for mut object in objects {
                object.types = None;
                let name = object.metadata.name.clone().unwrap();
                all.insert(format!("{kind}/{name}"), object);
            }
        }
        all
    }

    /// The same, once the cluster's own controllers no longer write.
    async fn settled(&self) -> BTreeMap<String, DynamicObject> {
        let last = Mutex::new((BTreeMap::new(), Instant::now()));
        eventually_within(
            Duration::from_secs(180),
            "objects that nobody writes",
            || async {
                let now: BTreeMap<_, _> = self.stored().await.iter().map(content).collect();
                let mut last = last.lock().unwrap();
                if last.0 != now {
                    *last = (now, Instant::now());
                }
                if last.1.elapsed() > Duration::from_secs(2) {
                    Ok(())
                } else {
                    Err(last.0.len())
                }
            },
        )
        .await;
        self.stored().await
    }
}

/// Everything that a person, Git or defaulting sets on an object, as bytes.
fn content((name, object): (&String, &DynamicObject)) -> (String, String) {
    let mut value = serde_json::to_value(object).unwrap();
    value.as_object_mut().unwrap().remove("status");
    let metadata = value["metadata"].as_object_mut().unwrap();
    for counted in ["resourceVersion", "generation", "managedFields"] {
        metadata.remove(counted);
    }
    (name.clone(), value.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_objects_of_others_come_back_byte_for_byte() {
    let site = Site::start(Options {
        nodes: 2,
        ..Options::default()
    })
    .await
    .unwrap();
    site.enrolled_namespace("shop").await;
    let apis = Apis::of(&site).await;
    let types = [&RULED[..], &UNRULED].concat();
    let mut taken = Vec::new();
    for manifest in mixed(&types) {
        if taken.len() == OBJECTS + SPARE {
            break;
        }
        let kind = manifest["kind"].as_str().unwrap().to_owned();
        let Ok(object) = serde_json::from_value::<DynamicObject>(manifest) else {
            continue;
        };
        // Objects that are invalid on purpose, or outdated, are refused.
        if let Ok(created) = apis
            .kind(&kind)
            .create(&PostParams::default(), &object)
            .await
        {
            taken.push((kind, created.metadata.name.unwrap()));
        }
    }
    // A Deployment adopts a ReplicaSet that it selects, and some Jobs are deleted after they have run.
    let there = apis.settled().await;
    taken.retain(|(kind, name)| there.contains_key(&format!("{kind}/{name}")));
    taken.truncate(OBJECTS);
    assert_eq!(taken.len(), OBJECTS);
    let names = |kind: &str| {
        let of_kind = taken.iter().filter(|(k, _)| k == kind);
        of_kind
            .map(|(kind, name)| (kind.clone(), name.clone()))
            .collect::<Vec<_>>()
    };
    for (_, kind) in types {
        assert!(!names(kind).is_empty(), "no {kind} among them");
    }
    // Kustomizations are ruled only where a policy names them.
    let kustomizations = names("Kustomization");
    let named: Vec<_> = kustomizations
        .iter()
        .map(|(k, n)| (k.as_str(), n.as_str()))
        .collect();
    let policy = fixtures::failover_policy("shop", "flux", None, &named);
    site.apply_as_person(&policy).await.unwrap();
    let last = format!("kustomizations/{}=site", kustomizations.last().unwrap().1);
    eventually_within(Duration::from_secs(60), "the policy in force", || async {
        let objects = site.objects_in_force("shop").await;
        if objects.contains(&last) {
            Ok(())
        } else {
            Err(objects)
        }
    })
    .await;
    let before = apis.settled().await;

    // Some objects run pods or publish names without a rule.
    let overrides = [
        "--override=uncovered-workloads",
        "--override=uncovered-traffic",
    ];
    let demote = [DEMOTE, &overrides].concat();
    site.failover(&demote).await.expect(0);
    let demoted = apis.settled().await;
    for (kind, name) in &taken {
        let key = format!("{kind}/{name}");
        if is_ruled(&json!(kind)) {
            let mut object = demoted[&key].clone();
            object.data["kind"] = json!(kind);
            assert_passive(&object);
        } else {
            assert_eq!(
                content((&key, &demoted[&key])),
                content((&key, &before[&key]))
            );
        }
    }

    site.failover(PROMOTE_VOLUMES).await.expect(0);
    let after = apis.settled().await;
    for (kind, name) in &taken {
        let key = format!("{kind}/{name}");
        assert_eq!(
            content((&key, &after[&key])),
            content((&key, &before[&key]))
        );
        let annotations = after[&key].metadata.annotations.clone().unwrap_or_default();
        assert!(!annotations.contains_key(RESTORE_ANNOTATION), "{key}");
    }
}
