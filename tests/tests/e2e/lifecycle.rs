//! Install, enrol, unenrol, uninstall.

use failover_core::names;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use testbed::site::{DEMOTE, Options, PROMOTE, Site, assert_names, guards};
use testbed::{ControlPlane, binaries, fixtures};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_manifests_are_accepted_by_a_real_api_server_twice() {
    let plane = ControlPlane::start().await.unwrap();
    let install = async |arguments: &[&str]| {
        let mut command = Command::new(&binaries::build().unwrap().cli);
        command.args([
            "install",
            "--site-name",
            "east",
            "--role",
            "secondary",
            "--yes",
            "--wait=false",
        ]);
        command
            .args(arguments)
            .env("KUBECONFIG", plane.admin_kubeconfig())
            .output()
            .await
            .unwrap()
    };
    let dry = install(&["--dry-run=server"]).await;
    let text = String::from_utf8_lossy(&dry.stderr).into_owned();
    let crds: Api<CustomResourceDefinition> = Api::all(plane.client());
    assert!(
        crds.list(&kube::api::ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty(),
        "a dry run stores nothing: {text}"
    );

    for _ in 0..2 {
        let installed = install(&[]).await;
        assert!(
            installed.status.success(),
            "{}",
            String::from_utf8_lossy(&installed.stderr)
        );
    }
    let deployments: Api<Deployment> = Api::namespaced(plane.client(), names::SYSTEM_NAMESPACE);
    for name in ["failover-webhook", "failover-controller"] {
        let spec = deployments.get(name).await.unwrap().spec.unwrap();
        assert_eq!(spec.replicas, Some(2), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn installing_again_changes_neither_the_site_nor_its_certificates() {
    let site = Site::shared(Options::default()).await.unwrap();
    let before = site
        .kubectl(&["get", "site", "cluster", "-o", "jsonpath={.spec}"])
        .await
        .expect(0);
    let bundle = "jsonpath={.webhooks[0].clientConfig}";
    let webhook = [
        "get",
        "mutatingwebhookconfiguration",
        names::WEBHOOK_CONFIGURATION,
        "-o",
        bundle,
    ];
    let trusted = site.kubectl(&webhook).await.expect(0);
    assert!(trusted.stdout.contains("caBundle"), "{trusted:?}");
    let url: serde_json::Value = serde_json::from_str(&trusted.stdout).unwrap();
    let again = [
        "install",
        "--site-name",
        "east",
        "--role",
        "primary",
        "--yes",
        "--webhook-url",
        url["url"].as_str().unwrap(),
    ];
    site.failover(&again).await.expect(0);
    let after = site
        .kubectl(&["get", "site", "cluster", "-o", "jsonpath={.spec}"])
        .await
        .expect(0);
    assert_eq!(before.stdout, after.stdout);
    assert_eq!(
        trusted.stdout,
        site.kubectl(&webhook).await.expect(0).stdout
    );

    let rename = [
        "install",
        "--site-name",
        "west",
        "--role",
        "primary",
        "--yes",
        "--wait=false",
    ];
    let refused = site.failure(&rename, 3).await;
    assert_names(&refused["message"], &["east", "west"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_needs_to_come_up_is_never_enrolled() {
    let site = Site::shared(Options::default()).await.unwrap();
    for namespace in [
        "kube-system",
        names::SYSTEM_NAMESPACE,
        names::ENFORCER_NAMESPACE,
    ] {
        let refused = site.failure(&["enroll", namespace, "--yes"], 3).await;
        assert_names(&refused["message"], &[namespace]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstalling_and_unenrolling_are_refused_on_a_secondary_and_keep_the_objects() {
    let site = Site::start(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    let web = fixtures::deployment("shop", "web", 3);
    site.apply_as_flux(&web).await.unwrap();
    site.failover(DEMOTE).await.expect(0);
    for arguments in [
        &["uninstall", "--yes"][..],
        &["unenroll", "shop", "--yes"][..],
    ] {
        let refused = site.failure(arguments, 3).await;
        assert_eq!(guards(&refused)[0].0, "site-secondary", "{refused:#}");
    }

    site.failover(PROMOTE).await.expect(0);
    site.failover(&["uninstall", "--yes"]).await.expect(0);
    let object = site.api_of(&web).await.unwrap().get("web").await.unwrap();
    assert_eq!(object.data["spec"]["replicas"], 3);
    assert!(
        object
            .metadata
            .annotations
            .unwrap_or_default()
            .keys()
            .all(|key| !key.starts_with("failover.dev/"))
    );
    let crds: Api<CustomResourceDefinition> = Api::all(site.client());
    testbed::eventually("our CRDs to be gone", || async {
        let left = crds
            .list(&kube::api::ListParams::default())
            .await
            .unwrap()
            .items;
        let left: Vec<_> = left
            .into_iter()
            .filter_map(|c| c.metadata.name)
            .filter(|n| n.ends_with("failover.dev"))
            .collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    let namespace = site
        .kubectl(&["get", "namespace", "shop", "-o", "jsonpath={.metadata}"])
        .await
        .expect(0);
    assert!(!namespace.stdout.contains("failover.dev/"), "{namespace:?}");
}
