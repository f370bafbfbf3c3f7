use failover_core::namespace::Enforcement;
use failover_core::transition::CheckOwner;
use failover_core::{NamespaceState, Roles};
use serde_json::{Value, json};

use super::*;
use crate::testing::fake_api::{FakeApi, status};

/// What the guards find before the demotion of a site with the one namespace `shop`.
async fn guards(api: &FakeApi) -> CheckReport {
    let checker = Checker::new(api.client(), 100, || Timestamp::UNIX_EPOCH);
    let shop = EnrolledNamespace {
        name: "shop".into(),
        state: NamespaceState {
            enforcement: Some(Enforcement::Enabled),
            roles: Roles::all(Role::Primary),
            ..NamespaceState::default()
        },
    };
    let check_scope = CheckScope {
        to: Role::Secondary,
        namespaces: vec![shop],
        moving: Moving::Layers(BTreeSet::new()),
        terminating: BTreeSet::new(),
        rules: RuleSet::built_in(),
        held_jobs: failover_core::checks::batch::HeldJobs::None,
    };
    let check = Check {
        at: StepName::Guards,
        revision: 1,
        transition: "r1".into(),
        owner: CheckOwner::Site,
    };
    checker.check(check, check_scope).await.unwrap()
}

fn blocking(report: &CheckReport) -> Vec<(&str, Option<&str>)> {
    let blocked = report.blocked.iter();
    blocked
        .map(|blocked| (blocked.guard.as_str(), blocked.object.as_deref()))
        .collect()
}

fn in_shop(metadata: &Value, spec: &Value) -> Value {
    let mut object = json!({"metadata": metadata, "spec": spec});
    object["metadata"]["namespace"] = json!("shop");
    object
}

/// A Service that names a host, and one that does not; a route that gets its hostnames from a shared Gateway.
fn publishing() -> FakeApi {
    let api = FakeApi::new();
    api.serve("", "v1", "services");
    let hostname = json!({"external-dns.alpha.kubernetes.io/hostname": "db.example.com"});
    let named = in_shop(&json!({"annotations": hostname}), &json!({}));
    api.put("/api/v1/namespaces/shop/services/db", named);
    let plain = in_shop(&json!({}), &json!({"type": "ClusterIP"}));
    api.put("/api/v1/namespaces/shop/services/web", plain);

    let gateway_api = "gateway.networking.k8s.io";
    // Served only in a version other than the default one.
    api.serve(gateway_api, "v1beta1", "httproutes");
    api.serve(gateway_api, "v1beta1", "gateways");
    let root = format!("/apis/{gateway_api}/v1beta1/namespaces");
    let attached = json!({"parentRefs": [{"name": "public", "namespace": "infra"}]});
    api.put(
        &format!("{root}/shop/httproutes/web"),
        in_shop(&json!({}), &attached),
    );
    let listener = json!({"name": "web", "protocol": "HTTPS", "hostname": "shop.example.com"});
    let gateway = json!({"metadata": {"namespace": "infra"}, "spec": {"listeners": [listener]}});
    api.put(&format!("{root}/infra/gateways/public"), gateway);
    api
}

#[tokio::test]
async fn hostnames_that_both_sites_would_publish_block_a_demotion() {
    let report = guards(&publishing()).await;
    assert_eq!(
        blocking(&report),
        [
            ("uncovered-traffic", Some("shop/services/db")),
            ("uncovered-traffic", Some("shop/httproutes/web")),
        ]
    );
    assert_eq!((report.total, report.left), (3, 2));
}

#[tokio::test]
async fn a_refused_list_blocks_under_its_own_guard_and_hides_nothing_else() {
    let api = publishing();
    api.set_fault(|asked, _| {
        let refused = ["/services", "/pods"];
        let is_refused = refused.iter().any(|kind| asked.path.ends_with(kind));
        is_refused.then(|| status(403, "no"))
    });
    let report = guards(&api).await;
    assert_eq!(
        blocking(&report),
        [
            ("uncovered-workloads", None),
            ("uncovered-traffic", None),
            ("uncovered-traffic", Some("shop/httproutes/web")),
        ]
    );
    let message = &report.blocked[1].message;
    assert!(
        message.starts_with("cannot list services in namespace shop"),
        "{message}"
    );
}

/// Ten are shown. Overriding those ten by name does not override the eleventh.
#[tokio::test]
async fn every_object_that_a_guard_blocks_is_named() {
    let api = FakeApi::new();
    for i in 0..12 {
        let pod = in_shop(&json!({}), &json!({}));
        api.put(&format!("/api/v1/namespaces/shop/pods/bare-{i}"), pod);
    }
    let report = guards(&api).await;
    assert_eq!((report.left, report.blocked.len()), (12, 12));
}
