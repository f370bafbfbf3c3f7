//! Tests of the test bed itself.

use std::fmt::Debug;
use std::process::{Command, Stdio};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testbed::process::{Process, Spec};
use testbed::secret_mirror::SecretMirror;
use testbed::site::{DEMOTE, Options};
use testbed::{
    ControlPlane, Site, control_plane, crds, eventually, fixtures, identity, kwok, toolchain,
};

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
async fn kubectl_and_the_api_server_know_each_others_version() {
    let plane = ControlPlane::shared().await;
    let output = Command::new(toolchain::control_plane().unwrap().join("kubectl"))
        .args(["version", "--output=json"])
        .env("KUBECONFIG", plane.admin_kubeconfig())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // kubectl warns on stderr about versions too far apart.
    assert!(output.stderr.is_empty(), "{output:?}");
    let versions: Value = serde_json::from_slice(&output.stdout).unwrap();
    for side in ["clientVersion", "serverVersion"] {
        assert_eq!(
            versions[side]["gitVersion"],
            toolchain::release().unwrap().version,
            "{versions:#}"
        );
    }
}

#[track_caller]
fn assert_forbidden<T: Debug>(result: kube::Result<T>, who: &str) {
    match result {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            assert!(status.message.contains(who), "{status:?}");
        }
        other => panic!("{who} should have been refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_has_the_rights_of_its_service_account_and_no_more() {
    let plane = ControlPlane::shared().await;
    let kubeconfig = identity::service_account(plane, "default", "default")
        .await
        .unwrap();
    let client = control_plane::client(&kubeconfig).await.unwrap();
    let secrets: Api<Secret> = Api::default_namespaced(client);
    assert_forbidden(
        secrets.list(&ListParams::default()).await,
        "system:serviceaccount:default:default",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_the_rights_that_are_bound_to_their_name_and_no_more() {
    let plane = ControlPlane::shared().await;
    let binding = serde_json::from_value(json!({
        "metadata": {"name": "bob-looks"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    }))
    .unwrap();
    let bindings: Api<RoleBinding> = Api::default_namespaced(plane.client());
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
    let of = async |user| {
        control_plane::client(&plane.user_kubeconfig(user))
            .await
            .unwrap()
    };
    let pods: Api<Pod> = Api::default_namespaced(of("bob").await);
    eventually("the binding to take effect", || async {
        pods.list(&ListParams::default()).await
    })
    .await;
    assert_forbidden(
        pods.delete("web", &DeleteParams::default()).await,
        "\"bob\"",
    );
    let pods: Api<Pod> = Api::default_namespaced(of("alice").await);
    assert_forbidden(pods.list(&ListParams::default()).await, "\"alice\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirrored_secret_is_followed() {
    let plane = ControlPlane::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let secrets: Api<Secret> = Api::default_namespaced(plane.client());
    let secret = |key: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mirrored"},
            "stringData": {"tls.key": key, "ca.key": "not for the one who mounts it"},
        })
    };
    let _mirror = SecretMirror::start(
        plane.client(),
        "default",
        "mirrored",
        &["tls.key"],
        folder.path().join("tls"),
    );
    for key in ["first", "second"] {
        secrets
            .patch(
                "mirrored",
                &PatchParams::apply("testbed").force(),
                &Patch::Apply(secret(key)),
            )
            .await
            .unwrap();
        eventually("the mirrored key", || async {
            match std::fs::read_to_string(folder.path().join("tls/tls.key")) {
                Ok(text) if text == key => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
    assert!(!folder.path().join("tls/ca.key").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_crds_are_served_and_outlive_a_restart_of_the_api_server() {
    let plane = ControlPlane::start().await.unwrap();
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
async fn what_was_written_outlives_a_kill_of_etcd_and_of_the_api_server() {
    let plane = ControlPlane::start().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(plane.client());
    let map = serde_json::from_value(json!({"metadata": {"name": "kept"}})).unwrap();
    let uid = maps
        .create(&PostParams::default(), &map)
        .await
        .unwrap()
        .metadata
        .uid;

    plane.api_server.kill();
    maps.get("kept").await.unwrap_err();
    plane.restart_api_server().await.unwrap();
    assert_eq!(maps.get("kept").await.unwrap().metadata.uid, uid);

    plane.etcd.kill();
    plane.restart_etcd().await.unwrap();
    assert_eq!(maps.get("kept").await.unwrap().metadata.uid, uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_test_leaves_behind_on_a_shared_site_is_named() {
    let site = Site::shared(Options::default()).await.unwrap();
    assert_eq!(site.left().await.unwrap(), [""; 0]);
    site.enrolled_namespace("left").await;
    let policy = fixtures::failover_policy("left", "p", None, &[("Deployment", "web")]);
    site.apply_as_person(&policy).await.unwrap();
    site.failover(DEMOTE).await.expect(0);
    let left = site.left().await.unwrap().join("\n");
    for what in [
        "namespaces left was left",
        "failoverpolicies left/p was left",
        "and is secondary",
    ] {
        assert!(left.contains(what), "{left}");
    }
    site.clear(&["left"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_leaves_something_behind_on_a_shared_site_fails() {
    let test = tokio::spawn(async {
        let site = Site::shared(Options::default()).await.unwrap();
        let create = ["create", "namespace", "forgotten"];
        site.kubectl(&create).await.expect(0);
        drop(site.with_patience(std::time::Duration::ZERO));
    });
    let panic = test.await.unwrap_err().into_panic();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(said.contains("namespaces forgotten was left"), "{said}");
}

fn is_alive(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

async fn until_gone(pids: &[i32]) {
    eventually("no process", || async {
        let left: Vec<_> = pids.iter().filter(|pid| is_alive(**pid)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_running() {
    let plane = ControlPlane::start().await.unwrap();
    let pids = plane.pids();
    assert!(pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
    drop(plane);
    until_gone(&pids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_process_is_killed_too() {
    let folder = tempfile::tempdir().unwrap();
    let process = sleep(folder.path());
    process.signal(Signal::SIGSTOP);
    let pid = process.pid();
    drop(process);
    until_gone(&[pid]).await;
}

/// Runs this test a second time in its own process and kills that while it has a child.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_test_binary_that_is_killed() {
    const PID_FILE: &str = "TESTBED_HELD_PID_FILE";
    if let Some(file) = std::env::var_os(PID_FILE) {
        let process = sleep(std::path::Path::new(&file).parent().unwrap());
        std::fs::write(&file, process.pid().to_string()).unwrap();
        return std::future::pending().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let mut binary = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "bed::nothing_outlives_a_test_binary_that_is_killed",
        ])
        .env(PID_FILE, &file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = eventually("a process of the other binary", || async {
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        text.parse::<i32>().map_err(|error| error.to_string())
    })
    .await;
    assert!(is_alive(pid));
    binary.kill().unwrap();
    binary.wait().unwrap();
    until_gone(&[pid]).await;
}

fn sleep(logs: &std::path::Path) -> Process {
    Spec::new("sleep", "sleep", logs)
        .arg("600")
        .start()
        .unwrap()
}
