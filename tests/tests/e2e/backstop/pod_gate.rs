//! The pod gate, which refuses pods.

use kube::api::{DynamicObject, PostParams};
use serde_json::json;
use testbed::eventually;

use super::{assert_forbidden, release, secondary_with_backstop_alone};

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_gate_admits_only_pods_of_exempt_or_primary_objects() {
    let site = secondary_with_backstop_alone().await;
    let pods = site
        .api_of(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop"}}))
        .await
        .unwrap();
    let pod = |owner: Option<(&str, &str)>| -> DynamicObject {
        let owners: Vec<_> = owner
            .into_iter()
            .map(|(kind, name)| json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true}))
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"generateName": "p-", "namespace": "shop", "ownerReferences": owners},
            "spec": {"containers": [{"name": "c", "image": "registry.example.com/c:1"}]},
        }))
        .unwrap()
    };
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let create = async |owner| pods.create(&dry, &pod(owner)).await;
    create(None).await.unwrap();

    for arguments in [
        [
            "label",
            "namespace",
            "shop",
            "failover.dev/pod-gate=enabled",
        ],
        [
            "annotate",
            "namespace",
            "shop",
            "failover.dev/objects=deployments/web=exempt statefulsets/db=primary",
        ],
    ] {
        let ours = ["--overwrite", "--field-manager=kubectl-failover"];
        site.kubectl(&[&arguments[..], &ours].concat())
            .await
            .expect(0);
    }
    eventually("the gate to be in force", || async {
        match create(None).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let says = ["site east is not primary", "pod gate of namespace shop"];
    assert_forbidden(create(None).await, &says);
    assert_forbidden(create(Some(("DaemonSet", "agent"))).await, &says);
    assert_forbidden(create(Some(("ReplicaSet", "web-api-5d4f"))).await, &says);
    assert_forbidden(create(Some(("StatefulSet", "db2"))).await, &says);
    create(Some(("ReplicaSet", "web-5d4f"))).await.unwrap();
    create(Some(("StatefulSet", "db"))).await.unwrap();
    release(site).await;
}
