//! Everything that webhook, controller, operators and viewers do.

use std::time::Duration;

use failover_core::names;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::ListParams;
use testbed::site::{DEMOTE, Options, PROMOTE_VOLUMES, Site};
use testbed::{crds, eventually, fixtures};

use super::{OPERATOR, VIEWER};

const PATIENCE: Duration = Duration::from_secs(30);

/// Lets each identity do all of its work on one site.
pub(super) async fn a_days_work() -> Site {
    let mut site = Site::start(Options {
        audit: true,
        controller: vec!["--forget-after=16s".to_owned()],
        ..Options::default()
    })
    .await
    .unwrap();
    applications(&site).await;
    for (user, role) in [
        (OPERATOR, "failover-operator"),
        (OPERATOR, "failover-rules-viewer"),
        (VIEWER, "failover-viewer"),
        (VIEWER, "failover-rules-viewer"),
    ] {
        let (role, user_flag) = (format!("--clusterrole={role}"), format!("--user={user}"));
        let name = format!("{user}-{}", role.trim_start_matches("--clusterrole="));
        let bind = ["create", "clusterrolebinding", &name, &role, &user_flag];
        site.kubectl(&bind).await.expect(0);
    }
    operator_commands(&mut site).await;
    viewer_commands(&site).await;
    replace_replicas(&mut site).await;
    site
}

async fn applications(site: &Site) {
    // A plan lists the objects of kinds whose shipped rule is not applied.
    crds::apply_of_shipped_rules(&site.plane).await.unwrap();
    for namespace in ["shop", "blog"] {
        let create = ["create", "namespace", namespace];
        site.kubectl(&create).await.expect(0);
        for manifest in fixtures::every_kind(namespace) {
            site.apply_as_flux(&manifest).await.unwrap();
        }
    }
    let ingress = serde_json::json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"namespace": "shop", "name": "shop"},
        "spec": {"defaultBackend": {"service": {"name": "shop", "port": {"number": 80}}}},
    });
    site.apply_as_flux(&ingress).await.unwrap();
    let rule = ["rule", "apply", "ingress-external-dns", "--yes"];
    site.failover(&rule).await.expect(0);
    let kustomization = fixtures::kustomization("shop", "apps");
    site.apply_as_flux(&kustomization).await.unwrap();
}

/// Everything an operator does, with and without the webhook: without it the sweeper writes.
async fn operator_commands(site: &mut Site) {
    let enroll = ["enroll", "shop", "blog", "--yes"];
    site.failover_as(OPERATOR, &enroll).await.expect(0);
    // A Kustomization is ruled only where a policy names it.
    let named = [("Kustomization", "apps")];
    let policy = fixtures::failover_policy("shop", "apps", None, &named);
    site.apply_as_person(&policy).await.unwrap();
    site.until_in_force("shop", "kustomizations/apps=site")
        .await;
    let plan = ["plan", "demote"];
    site.failover_as(OPERATOR, &plan).await.expect(0);
    create_stuck_stateful_set(site).await;
    site.failover_as(OPERATOR, DEMOTE).await.expect(0);
    site.failover_as(OPERATOR, &["status"]).await.expect(0);
    miss_runs(site).await;
    site.webhook.terminate(PATIENCE).unwrap();
    site.failover_as(OPERATOR, PROMOTE_VOLUMES).await.expect(0);
    site.webhook.restart().unwrap();
    site.until_ready().await;
    let unenroll = ["unenroll", "blog", "--yes"];
    site.failover_as(OPERATOR, &unenroll).await.expect(0);
    forget_a_name(site).await;
}

async fn forget_a_name(site: &Site) {
    site.enrolled_namespace("retired").await;
    site.kubectl(&["delete", "namespace", "retired"])
        .await
        .expect(0);
    eventually("the name to be remembered", || async {
        let status = site.status().await;
        if status.deleted == ["retired"] {
            Ok(())
        } else {
            Err(status.deleted)
        }
    })
    .await;
    let unenroll = ["unenroll", "retired", "--yes"];
    site.failover_as(OPERATOR, &unenroll).await.expect(0);
    assert_eq!(site.status().await.deleted, [""; 0]);
}

/// One failed pod, and two that never become ready: the set's controller waits for the lower one before it deletes the
/// higher one.
async fn create_stuck_stateful_set(site: &Site) {
    for name in ["stuck-0", "stuck-1"] {
        let pod = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": name, "labels": {"app": "stuck"}},
            "spec": {"containers": [{"name": "main", "image": "example.org/stuck"}]},
        });
        site.apply_as_person(&pod).await.unwrap();
    }
    // A failed pod: only its node shows whether it may still run.
    let failed = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": "failed", "labels": {"failover.dev/enforce": "disabled"}},
        "spec": {"containers": [{"name": "main", "image": "example.org/failed"}]},
    });
    site.apply_as_person(&failed).await.unwrap();
    let phase = r#"{"status":{"phase":"Failed"}}"#;
    let patch = [
        "patch",
        "pod",
        "failed",
        "-n=shop",
        "--subresource=status",
        "--type=merge",
        "-p",
        phase,
    ];
    site.kubectl(&patch).await.expect(0);
    let set = fixtures::stateful_set("shop", "stuck", 2);
    site.apply_as_flux(&set).await.unwrap();
    eventually("the set to own both pods", || async {
        let owners = "-o=jsonpath={.items[*].metadata.ownerReferences[0].name}";
        let get = ["get", "pods", "-n=shop", "-l=app=stuck", owners];
        let owners = site.kubectl(&get).await.expect(0).stdout;
        if owners == "stuck stuck" {
            Ok(())
        } else {
            Err(owners)
        }
    })
    .await;
}

/// Backdates the last runs by years.
async fn miss_runs(site: &Site) {
    let mark = r#"{"status":{"lastScheduleTime":"2020-01-01T00:00:00Z"}}"#;
    let all = ["get", "cronjobs", "-n=shop", "-o=name"];
    for cron_job in site.kubectl(&all).await.expect(0).stdout.lines() {
        let patch = [
            "patch",
            cron_job,
            "-n=shop",
            "--subresource=status",
            "--type=merge",
            "-p",
            mark,
        ];
        site.kubectl(&patch).await.expect(0);
    }
}

async fn viewer_commands(site: &Site) {
    site.failover_as(VIEWER, &["status"]).await.expect(0);
    let plan = ["plan", "demote"];
    site.failover_as(VIEWER, &plan).await.expect(0);
    for user in [OPERATOR, VIEWER] {
        let file = site.plane.user_kubeconfig(user);
        let kubeconfig = format!("--kubeconfig={}", file.display());
        for resource in ["sites", "site/cluster"] {
            let get = ["get", resource, &kubeconfig];
            site.kubectl(&get).await.expect(0);
        }
    }
}

/// A killed webhook leaves its Lease, which is deleted in time; a controller hands over.
async fn replace_replicas(site: &mut Site) {
    site.webhook.kill();
    let leases: Api<Lease> = Api::namespaced(site.client(), names::ENFORCER_NAMESPACE);
    eventually("no stale Lease", || async {
        let left = leases
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    let second = site.second_controller().await.unwrap();
    site.controller.terminate(PATIENCE).unwrap();
    site.failover_as(OPERATOR, DEMOTE).await.expect(0);
    second.terminate(PATIENCE).unwrap();
}
