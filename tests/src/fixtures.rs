//! The applications that tests and the demo fail over: one object of every built-in kind, as in a Git repository.

use serde_json::{Value, json};

/// One object of every kind that is ruled without being named.
pub fn every_kind(namespace: &str) -> Vec<Value> {
    vec![
        deployment(namespace, "web", 3),
        stateful_set(namespace, "db", 2),
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata(namespace, "legacy"),
            "spec": {"replicas": 2, "selector": selector("legacy"), "template": pod("legacy")},
        }),
        json!({
            "apiVersion": "v1", "kind": "ReplicationController", "metadata": metadata(namespace, "ancient"),
            "spec": {"replicas": 1, "selector": {"app": "ancient"}, "template": pod("ancient")},
        }),
        cron_job(namespace, "report"),
        job(namespace, "migrate"),
        helm_release(namespace, "cache"),
        virtual_service(namespace, "shop"),
        volume_replication(namespace, "data"),
        volume_group_replication(namespace, "group"),
    ]
}

pub fn deployment(namespace: &str, name: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(namespace, name),
        "spec": {"replicas": replicas, "selector": selector(name), "template": pod(name)},
    })
}

pub fn stateful_set(namespace: &str, name: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata(namespace, name),
        "spec": {"replicas": replicas, "serviceName": name, "selector": selector(name), "template": pod(name)},
    })
}

/// Runs at the turn of the year only, so that nothing is due during a test.
pub fn cron_job(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata(namespace, name),
        "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": batch_pod(name)}}},
    })
}

pub fn job(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(namespace, name),
        "spec": {"template": batch_pod(name)},
    })
}

pub fn helm_release(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": metadata(namespace, name),
        "spec": {
            "interval": "5m",
            "chart": {"spec": {"chart": name, "sourceRef": {"kind": "HelmRepository", "name": "charts"}}},
            "values": {"replicas": 2},
        },
    })
}

pub fn kustomization(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": metadata(namespace, name),
        "spec": {"interval": "5m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "apps"}},
    })
}

/// A FailoverPolicy that names these objects by kind and name, and sets their role if one is given.
pub fn failover_policy(
    namespace: &str,
    name: &str,
    desired_state: Option<&str>,
    objects: &[(&str, &str)],
) -> Value {
    let resources: Vec<_> = objects
        .iter()
        .map(|(kind, name)| json!({"kind": kind, "name": name}))
        .collect();
    let mut policy = json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "FailoverPolicy", "metadata": metadata(namespace, name),
        "spec": {"managedResources": resources},
    });
    if let Some(state) = desired_state {
        policy["spec"]["desiredState"] = json!(state);
    }
    policy
}

pub fn virtual_service(namespace: &str, name: &str) -> Value {
    let mut metadata = metadata(namespace, name);
    metadata["annotations"] = json!({"external-dns.alpha.kubernetes.io/target": "203.0.113.10"});
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
        "spec": {"hosts": ["shop.example.com"], "http": [{"route": [{"destination": {"host": "web"}}]}]},
    })
}

pub fn volume_replication(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "replication.storage.openshift.io/v1alpha1", "kind": "VolumeReplication",
        "metadata": metadata(namespace, name),
        "spec": {
            "replicationState": "primary", "volumeReplicationClass": "replicated", "replicationHandle": "",
            "dataSource": {"kind": "PersistentVolumeClaim", "name": name},
        },
    })
}

/// A group of the claims with the label of its application.
pub fn volume_group_replication(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "replication.storage.openshift.io/v1alpha1", "kind": "VolumeGroupReplication",
        "metadata": metadata(namespace, name),
        "spec": {
            "replicationState": "primary", "volumeReplicationClassName": "replicated",
            "volumeGroupReplicationClassName": "replicated", "source": {"selector": selector(name)},
        },
    })
}

/// As `kubectl` names it: `deployments/web`.
pub fn label(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "{}/{}",
        text(&object["kind"]).to_lowercase(),
        text(&object["metadata"]["name"])
    )
}

fn metadata(namespace: &str, name: &str) -> Value {
    json!({"namespace": namespace, "name": name, "labels": {"app": name}})
}

fn selector(name: &str) -> Value {
    json!({"matchLabels": {"app": name}})
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {
            // How long the deletion of a namespace waits before it checks its pods again.
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": name, "image": format!("registry.example.com/{name}:1.0")}],
        },
    })
}

fn batch_pod(name: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["restartPolicy"] = json!("Never");
    pod
}
