//! A fake API server: 10,000 pods under 3,333 Deployments, as an API server lists them.

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

pub(crate) const PODS: usize = 10_000;
const PODS_OF_EACH: usize = 3;
const WORKLOADS: usize = PODS.div_ceil(PODS_OF_EACH);
/// One that owns the pods, and old ones at 0.
const SETS_OF_EACH: usize = 3;

/// All of it is in one namespace.
pub(crate) const NAMESPACE: &str = "shop";

#[derive(Clone, Copy)]
pub(crate) struct Cluster {
    /// Continue tokens have expired by the time they are used.
    pub(crate) expires: bool,
}

impl Cluster {
    pub(crate) fn client(self) -> Client {
        let service = service_fn(move |request: Request<Body>| async move {
            // On a thread of its own: only the check itself may block the task.
            let answer = tokio::task::spawn_blocking(move || {
                let uri = request.uri();
                self.answer(uri.path(), uri.query().unwrap_or_default())
            });
            let (status, body) = answer.await?;
            let answer = Response::builder().status(status);
            Ok::<_, BoxError>(answer.body(Body::from(body))?)
        });
        Client::new(service, "default")
    }

    fn answer(self, path: &str, query: &str) -> (u16, Vec<u8>) {
        let served = |group: &str, plurals: &[&str]| {
            let resources: Vec<_> = plurals
                .iter()
                .map(|plural| json!({"resource": plural, "scope": "Namespaced"}))
                .collect();
            let group = json!({"metadata": {"name": group}, "versions": [{"version": "v1", "resources": resources}]});
            json!({"items": [group]}).to_string().into_bytes()
        };
        match path {
            "/api" => return (200, served("", &["replicationcontrollers"])),
            "/apis" => {
                let apps = ["deployments", "statefulsets", "replicasets"];
                return (200, served("apps", &apps));
            }
            _ => {}
        }
        let parameter = |name: &str| {
            let of = |pair: &str| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
            query.split('&').find_map(of)
        };
        let limit: usize = parameter("limit").unwrap_or(usize::MAX);
        let from: usize = parameter("continue").unwrap_or_default();
        if self.expires && from > 0 {
            return (410, br#"{"message": "expired"}"#.to_vec());
        }
        let kind = path.rsplit('/').next().unwrap_or_default();
        let (count, object): (usize, fn(usize) -> Value) = match kind {
            "pods" => (PODS, pod),
            "replicasets" => (WORKLOADS * SETS_OF_EACH, replica_set),
            "deployments" => (WORKLOADS, deployment),
            _ => (0, deployment),
        };
        let next = count.min(from.saturating_add(limit));
        let token = if next < count {
            next.to_string()
        } else {
            String::new()
        };
        // Written one by one: the server's own memory is not what is measured.
        let mut body = format!(r#"{{"metadata":{{"continue":"{token}"}},"items":["#).into_bytes();
        for i in from..next {
            if i > from {
                body.push(b',');
            }
            serde_json::to_writer(&mut body, &object(i)).expect("to memory");
        }
        body.extend(b"]}");
        (200, body)
    }
}

pub(crate) fn pod_size() -> f64 {
    f64::from(u32::try_from(pod(0).to_string().len()).expect("some kB"))
}

fn pod(i: usize) -> Value {
    let workload = i % WORKLOADS;
    let set = format!("web-{workload}-0");
    let mut pod = json!({
        "metadata": metadata(&format!("{set}-{i}"), &format!("pod-{i}")),
        "spec": pod_spec(),
        "status": {
            "phase": "Running", "podIP": "10.1.2.3", "startTime": "2026-01-01T00:00:00Z", "qosClass": "Burstable",
            "conditions": (0..5).map(|i| json!({
                "type": if i == 0 { "Ready".to_owned() } else { format!("Condition{i}") },
                "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z",
            })).collect::<Vec<_>>(),
            "containerStatuses": (0..2).map(|i| json!({
                "name": format!("c{i}"), "ready": true, "restartCount": 0, "image": "registry.example.com/team/app:1.2.3",
                "imageID": format!("registry.example.com/team/app@sha256:{}", "0".repeat(64)),
                "containerID": format!("containerd://{}", "0".repeat(64)), "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            })).collect::<Vec<_>>(),
        },
    });
    pod["spec"]["nodeName"] = json!(format!("node-{}", i % 200));
    pod["metadata"]["ownerReferences"] = owner("ReplicaSet", &set, &format!("set-{workload}-0"));
    pod
}

fn replica_set(i: usize) -> Value {
    let (workload, old) = (i / SETS_OF_EACH, i % SETS_OF_EACH);
    let mut set = json!({
        "metadata": metadata(&format!("web-{workload}-{old}"), &format!("set-{workload}-{old}")),
        "spec": {"replicas": 0, "template": {"spec": pod_spec()}},
        "status": {"replicas": 0, "observedGeneration": 1},
    });
    let deployment = format!("web-{workload}");
    set["metadata"]["ownerReferences"] =
        owner("Deployment", &deployment, &format!("deployment-{workload}"));
    set
}

fn deployment(i: usize) -> Value {
    json!({
        "metadata": metadata(&format!("web-{i}"), &format!("deployment-{i}")),
        "spec": {"replicas": 0, "template": {"spec": pod_spec()}},
        "status": {"replicas": 0, "observedGeneration": 1},
    })
}

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}])
}

fn metadata(name: &str, uid: &str) -> Value {
    let managed = |manager: &str| {
        let fields: serde_json::Map<String, Value> = (0..25)
            .map(|i| (format!("f:field{i}"), json!({"f:name": {}, "f:value": {}})))
            .collect();
        json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields})
    };
    json!({
        "name": name, "namespace": NAMESPACE, "uid": uid, "resourceVersion": "1234567", "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop", "pod-template-hash": "7d9f8c6b5"},
        "managedFields": [managed("kube-controller-manager"), managed("kubelet")],
    })
}

fn pod_spec() -> Value {
    let containers: Vec<_> = (0..2)
        .map(|i| json!({
            "name": format!("c{i}"), "image": "registry.example.com/team/app:1.2.3",
            "env": (0..20).map(|i| json!({"name": format!("SETTING_{i}"), "value": "a value of some length"})).collect::<Vec<_>>(),
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}, {"name": "token", "mountPath": "/var/run/secrets"}],
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10},
        }))
        .collect();
    json!({
        "containers": containers, "restartPolicy": "Always", "serviceAccountName": "web", "schedulerName": "default-scheduler",
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        "volumes": [
            {"name": "config", "configMap": {"name": "web", "defaultMode": 420}},
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        ],
    })
}
