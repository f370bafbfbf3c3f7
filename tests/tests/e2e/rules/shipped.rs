//! The shipped rules, each against the real CRD of its kind.

use std::collections::BTreeSet;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use testbed::crds;
use testbed::site::{DEMOTE, PROMOTE, Site, guards};

use super::{at, essence, merge_patch, metadata, primary, stored, version};

fn scaled_object() -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata("web"),
        "spec": {
            "scaleTargetRef": {"name": "web"}, "minReplicaCount": 2,
            "triggers": [{"type": "cron", "metadata": {"timezone": "UTC", "start": "0 6 * * *", "end": "0 20 * * *", "desiredReplicas": "5"}}],
        },
    })
}

fn scaled_job() -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": metadata("import"),
        "spec": {
            "maxReplicaCount": 5,
            "jobTargetRef": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "import", "image": "import"}]}}},
            "triggers": [{"type": "rabbitmq", "metadata": {"queueName": "orders", "host": "amqp://queue", "mode": "QueueLength", "value": "1"}}],
        },
    })
}

fn canary() -> Value {
    json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": metadata("web"),
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "service": {"port": 80},
            "analysis": {"interval": "1m", "threshold": 5, "maxWeight": 50, "stepWeight": 10},
        },
    })
}

fn rollout() -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": metadata("web"),
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web"}]}},
            "strategy": {"canary": {"steps": [{"setWeight": 20}]}},
        },
    })
}

/// A running machine, by either of the two fields.
fn virtual_machine(name: &str, field: &str, running: &Value) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": metadata(name),
        "spec": {field: running, "template": {"spec": {"domain": {"devices": {}}}}},
    })
}

fn service() -> Value {
    let mut metadata = metadata("db");
    metadata["annotations"] = json!({"external-dns.kubernetes.io/hostname": "db.example.com"});
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {"selector": {"app": "db"}, "ports": [{"port": 5432}]},
    })
}

/// An object of each kind with a shipped rule, and its passive value. Of the routes and gateways whose rules differ only in
/// the kind, a selection.
fn of_shipped_kinds() -> Vec<(Value, &'static str, Value)> {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let dns = "/metadata/annotations/external-dns.kubernetes.io~1controller";
    vec![
        (
            scaled_object(),
            "/metadata/annotations/autoscaling.keda.sh~1paused-replicas",
            json!("0"),
        ),
        (
            scaled_job(),
            "/metadata/annotations/autoscaling.keda.sh~1paused",
            json!("true"),
        ),
        (canary(), "/spec/suspend", json!(true)),
        (rollout(), "/spec/replicas", json!(0)),
        (
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata("web"),
                "spec": {"rules": [{"host": "shop.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]},
            }),
            dns,
            json!("ignore"),
        ),
        (
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata("web"),
                "spec": {"hostnames": ["shop.example.com"], "parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]},
            }),
            dns,
            json!("ignore"),
        ),
        (
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": metadata("api"),
                "spec": {"hostnames": ["api.example.com"], "parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": [{"name": "api", "port": 80}]}]},
            }),
            dns,
            json!("ignore"),
        ),
        (
            json!({
                "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata("web"),
                "spec": {"selector": {"istio": "ingress"}, "servers": [{
                    "hosts": ["istio.example.com"], "port": {"name": "http", "number": 80, "protocol": "HTTP"},
                }]},
            }),
            dns,
            json!("ignore"),
        ),
        (service(), dns, json!("ignore")),
        (
            json!({
                "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource", "metadata": metadata("data"),
                "spec": {"sourcePVC": "data", "trigger": {"schedule": "*/5 * * * *"}, "restic": {"repository": "restic", "copyMethod": "Snapshot"}},
            }),
            "/spec/paused",
            json!(true),
        ),
        (
            json!({
                "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationDestination", "metadata": metadata("data"),
                "spec": {"paused": true, "trigger": {"schedule": "*/5 * * * *"}, "restic": {"repository": "restic", "copyMethod": "Snapshot"}},
            }),
            "/spec/paused",
            json!(false),
        ),
        (
            virtual_machine("by-strategy", "runStrategy", &json!("Always")),
            "/spec/runStrategy",
            json!("Halted"),
        ),
        (
            virtual_machine("by-running", "running", &json!(true)),
            "/spec/running",
            json!(false),
        ),
    ]
}

const SHIPPED: [&str; 12] = [
    "service-external-dns",
    "grpcroute-external-dns",
    "istio-gateway-external-dns",
    "flagger-canary",
    "keda-scaledjob",
    "keda-scaledobject",
    "argo-rollout",
    "ingress-external-dns",
    "httproute-external-dns",
    "volsync-replicationsource",
    "volsync-replicationdestination",
    "kubevirt-virtualmachine",
];

#[tokio::test(flavor = "multi_thread")]
async fn shipped_rules_make_their_kinds_passive_on_a_standby_and_restore_everything() {
    let site = primary().await;
    crds::apply_of_shipped_rules(&site.plane).await.unwrap();
    let mut live = Vec::new();
    for (manifest, ..) in of_shipped_kinds() {
        live.push(site.apply_as_flux(&manifest).await.unwrap());
    }
    names_that_both_sites_would_publish_block_the_demotion(&site).await;
    let hinted = || async {
        let plan = site.document(&["plan", "demote"]).await;
        let rules = plan["withoutRule"].as_array().unwrap().iter();
        rules
            .map(|hint| hint["rule"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let mut expected: Vec<_> = SHIPPED
        .iter()
        .filter(|name| !name.ends_with("external-dns"))
        .collect();
    expected.sort();
    assert_eq!(hinted().await.iter().collect::<Vec<_>>(), expected);
    let apply = [&["rule", "apply", "--yes"][..], &SHIPPED].concat();
    let applied = site.document(&apply).await;
    assert_eq!(hinted().await, Vec::<String>::new());
    for rule in applied["rules"].as_array().unwrap() {
        assert_ne!(rule["objects"], 0, "{rule:#}");
        assert_eq!(rule["changes"], json!([]), "{rule:#}");
    }
    assert_eq!(applied["ready"], true, "{applied:#}");
    for ((manifest, ..), live) in of_shipped_kinds().iter().zip(&live) {
        let now = stored(&site, manifest).await;
        assert_eq!(
            version(live),
            version(&now),
            "nothing is touched on a primary"
        );
    }

    site.failover(DEMOTE).await.expect(0);
    for (manifest, pointer, passive) in of_shipped_kinds() {
        assert_eq!(
            at(&stored(&site, &manifest).await, pointer),
            passive,
            "{manifest}"
        );
        // Flux still reconciles and finds no drift.
        let first = version(&site.apply_as_flux(&manifest).await.unwrap());
        let dry = site.dry_run_as_flux(&manifest).await.unwrap();
        assert_eq!(at(&dry, pointer), passive);
        for _ in 0..3 {
            let again = site.apply_as_flux(&manifest).await.unwrap();
            assert_eq!(
                (version(&again), at(&again, pointer)),
                (first.clone(), passive.clone())
            );
        }
    }
    let scaled = [
        "scale",
        "rollouts.argoproj.io/web",
        "-n",
        "shop",
        "--replicas=4",
    ];
    site.kubectl(&scaled).await.expect(0);
    assert_eq!(
        at(&stored(&site, &rollout()).await, "/spec/replicas"),
        json!(0)
    );

    // The backstop enforces the rules, too.
    site.webhook.kill();
    site.kubectl(&scaled).await.expect(1);
    for ((manifest, pointer, passive), live) in of_shipped_kinds().iter().zip(&live) {
        let api = site.api_of(manifest).await.unwrap();
        let back = merge_patch(pointer, at(live, pointer));
        let name = manifest["metadata"]["name"].as_str().unwrap();
        let answer = api
            .patch(name, &PatchParams::default(), &Patch::Merge(back))
            .await;
        assert!(
            matches!(&answer, Err(kube::Error::Api(status)) if status.code == 403),
            "{manifest}: {answer:?}"
        );
        assert_eq!(at(&stored(&site, manifest).await, pointer), *passive);
    }
    site.webhook.restart().unwrap();
    site.until_ready().await;

    site.failover(PROMOTE).await.expect(0);
    for ((manifest, ..), live) in of_shipped_kinds().iter().zip(&live) {
        assert_eq!(essence(&stored(&site, manifest).await), essence(live));
    }
}

/// The guard blocks as long as they have no rule.
async fn names_that_both_sites_would_publish_block_the_demotion(site: &Site) {
    let published = [
        "shop/services/db",
        "shop/ingresses/web",
        "shop/grpcroutes/api",
        "shop/httproutes/web",
        "shop/gateways/web",
    ];
    let plan = site.document(&["plan", "demote"]).await;
    let blocking: BTreeSet<&str> = guards(&plan)
        .into_iter()
        .filter(|(guard, _)| *guard == "uncovered-traffic")
        .map(|(_, object)| object)
        .collect();
    assert_eq!(blocking, BTreeSet::from(published), "{plan:#}");
    site.failover(DEMOTE).await.expect(3);
}
