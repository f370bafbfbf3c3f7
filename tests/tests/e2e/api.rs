//! The schemas and CEL rules of the custom resources, as a real API server enforces them.

use failover_core::api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rstest::rstest;
use serde_json::{Value, json};
use testbed::{ControlPlane, crds};
use tokio::sync::OnceCell;

/// One control plane for all cases of this family: each case uses its own object or only dry runs.
async fn client() -> Client {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    let plane = PLANE
        .get_or_init(|| async {
            let plane = ControlPlane::start().await.unwrap();
            let api = Api::all(plane.client());
            for crd in api::crds() {
                api.create(&PostParams::default(), &crd).await.unwrap();
                crds::established(&api, crd.metadata.name.as_deref().unwrap()).await;
            }
            plane
        })
        .await;
    // A client of this test's own runtime.
    testbed::control_plane::client(&plane.admin_kubeconfig())
        .await
        .unwrap()
}

fn site(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": {"name": name}, "spec": spec})
}

fn dynamic(client: Client, kind: &str) -> Api<DynamicObject> {
    let gvk = kube::core::GroupVersionKind::gvk("failover.dev", "v1alpha1", kind);
    Api::all_with(client, &kube::core::ApiResource::from_gvk(&gvk))
}

#[track_caller]
fn assert_refused(result: kube::Result<DynamicObject>, because: &str) {
    match result {
        Err(kube::Error::Api(status)) if status.message.contains(because) => {}
        other => panic!("expected a refusal because {because:?}, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_changes_only_as_its_rules_allow() {
    let sites = dynamic(client().await, "Site");
    let spec = json!({"siteName": "east", "role": "secondary", "epoch": 3});
    assert_refused(
        create(&sites, &site("east", &spec)).await,
        "the only allowed name of a Site is 'cluster'",
    );
    create(&sites, &site("cluster", &spec)).await.unwrap();

    let change = async |spec: Value| {
        sites
            .patch(
                "cluster",
                &PatchParams::default(),
                &Patch::Merge(json!({"spec": spec})),
            )
            .await
    };
    assert_refused(
        change(json!({"siteName": "west"})).await,
        "siteName is immutable",
    );
    assert_refused(change(json!({"epoch": 2})).await, "epoch never goes down");
    assert_refused(
        change(json!({"role": "primary", "request": {"id": "a"}})).await,
        "a change to primary must raise the epoch",
    );
    assert_refused(
        change(json!({"role": "primary", "epoch": 4})).await,
        "a change of role needs a request with a new id",
    );
    assert_refused(
        change(json!({"role": "Primary"})).await,
        "Unsupported value",
    );
    change(json!({"role": "primary", "epoch": 4, "request": {"id": "a"}}))
        .await
        .unwrap();
    assert_refused(
        change(json!({"role": "secondary"})).await,
        "a change of role needs a request with a new id",
    );
    change(json!({"role": "secondary", "request": {"id": "b"}}))
        .await
        .unwrap();
    change(json!({"paused": {"reason": "drill"}}))
        .await
        .unwrap();
}

#[rstest]
#[case(json!({"siteName": "East", "role": "primary"}), "spec.siteName")]
#[case(json!({"siteName": "", "role": "primary"}), "spec.siteName")]
#[case(json!({"siteName": "east"}), "spec.role: Required value")]
#[case(json!({"siteName": "east", "role": "primary", "epoch": -1}), "spec.epoch")]
#[case(json!({"siteName": "east", "role": "primary", "mode": "fast"}), "spec.mode: Unsupported value")]
#[case(json!({"siteName": "east", "role": "primary", "request": {"id": ""}}), "spec.request.id")]
#[case(json!({"siteName": "east", "role": "primary", "peer": {"siteName": "west"}}), "this version does not query a peer")]
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_site_is_refused(#[case] spec: Value, #[case] because: &str) {
    let sites = dynamic(client().await, "Site");
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let object = serde_json::from_value(site("cluster", &spec)).unwrap();
    assert_refused(sites.create(&dry_run, &object).await, because);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_rule_takes_values_of_the_three_types() {
    let rules = dynamic(client().await, "RoleRule");
    let rule = |name: &str, field: Value| {
        json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "RoleRule", "metadata": {"name": name},
            "spec": {"group": "example.com", "version": "v1", "kind": "Example", "resource": "examples", "layer": "workloads", "fields": [field]},
        })
    };
    for (name, value_type, passive) in [
        ("integer", "integer", json!(0)),
        ("boolean", "boolean", json!(true)),
        ("string", "string", json!("off")),
    ] {
        let field = json!({"pointer": "/spec/x", "type": value_type, "passive": passive});
        let stored = create(&rules, &rule(name, field)).await.unwrap();
        assert_eq!(stored.data["spec"]["fields"][0]["passive"], passive);
        let parsed: api::RoleRule =
            serde_json::from_value(serde_json::to_value(stored).unwrap()).unwrap();
        failover_core::Rule::try_from(&parsed.spec).unwrap();
    }
    let field = json!({"pointer": "/spec/x", "type": "number", "passive": 0});
    assert_refused(
        create(&rules, &rule("number", field)).await,
        "Unsupported value: \"number\"",
    );
    let field = json!({"pointer": "spec.x", "type": "boolean", "passive": true});
    assert_refused(
        create(&rules, &rule("pointer", field)).await,
        "spec.fields[0].pointer",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_policy_names_at_least_one_object_of_a_known_kind() {
    let gvk = kube::core::GroupVersionKind::gvk("failover.dev", "v1alpha1", "FailoverPolicy");
    let policies: Api<DynamicObject> = Api::namespaced_with(
        client().await,
        "default",
        &kube::core::ApiResource::from_gvk(&gvk),
    );
    let policy = |name: &str, resources: Value| {
        json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "FailoverPolicy",
            "metadata": {"name": name, "namespace": "default"}, "spec": {"managedResources": resources},
        })
    };
    assert_refused(
        create(&policies, &policy("none", json!([]))).await,
        "spec.managedResources",
    );
    assert_refused(
        create(
            &policies,
            &policy("pod", json!([{"kind": "Pod", "name": "x"}])),
        )
        .await,
        "Unsupported value: \"Pod\"",
    );
    // It would be read as a second entry of the Namespace's annotation.
    let forged = json!([{"kind": "Deployment", "name": "web=exempt deployments/api"}]);
    assert_refused(
        create(&policies, &policy("forged", forged)).await,
        "spec.managedResources[0].name",
    );
    let stored = create(
        &policies,
        &policy("web", json!([{"kind": "Deployment", "name": "web"}])),
    )
    .await
    .unwrap();
    assert_eq!(stored.data["spec"]["mode"], json!("safe"));
}

async fn create(api: &Api<DynamicObject>, object: &Value) -> kube::Result<DynamicObject> {
    api.create(
        &PostParams::default(),
        &serde_json::from_value(object.clone()).unwrap(),
    )
    .await
}
