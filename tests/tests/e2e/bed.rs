//! The test bed itself.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::{ControlPlane, crds, eventually, identity, kwok};

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_deployment_become_ready_and_go() {
    let plane = ControlPlane::start().await.unwrap();
    let _kwok = kwok::start(&plane, 1).await.unwrap();
    let deployments: Api<Deployment> = Api::default_namespaced(plane.client());
    let pods: Api<Pod> = Api::default_namespaced(plane.client());
    let deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web"}]},
            },
        },
    }))
    .unwrap();
    deployments
        .create(&PostParams::default(), &deployment)
        .await
        .unwrap();
    eventually("three available replicas", || async {
        let status = deployments
            .get("web")
            .await
            .unwrap()
            .status
            .unwrap_or_default();
        if status.available_replicas == Some(3) {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    deployments
        .patch("web", &PatchParams::default(), &none)
        .await
        .unwrap();
    eventually("no pod", || async {
        let left = pods.list(&ListParams::default()).await.unwrap().items.len();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    eprintln!(
        "control plane: {} MiB resident",
        plane.resident_kib() / 1024
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_has_the_rights_of_its_service_account_and_no_more() {
    let plane = ControlPlane::start().await.unwrap();
    let kubeconfig = identity::service_account(&plane, "default", "default")
        .await
        .unwrap();
    let client = testbed::control_plane::client(&kubeconfig).await.unwrap();
    let secrets: Api<Secret> = Api::default_namespaced(client);
    let error = secrets.list(&ListParams::default()).await.unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.code == 403),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_crds_are_served_and_outlive_a_restart_of_the_api_server() {
    let mut plane = ControlPlane::start().await.unwrap();
    crds::apply(&plane).await.unwrap();
    plane.restart_api_server().await.unwrap();
    let discovery = kube::Discovery::new(plane.client()).run().await.unwrap();
    for rule in failover_core::RuleSet::built_in().iter() {
        let served = discovery.get(&rule.group).is_some_and(|group| {
            group
                .versioned_resources(&rule.version)
                .iter()
                .any(|(resource, _)| resource.plural == rule.resource)
        });
        assert!(served, "{}", rule.group_resource());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_running() {
    let plane = ControlPlane::start().await.unwrap();
    let pids = [plane.etcd.pid(), plane.api_server.pid()];
    let alive = |pid: i32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(pids.iter().all(|pid| alive(*pid)));
    drop(plane);
    eventually("no process", || async {
        let left: Vec<_> = pids.iter().filter(|pid| alive(**pid)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
}
