//! The webhook may write nothing but its own Lease.

use std::collections::BTreeSet;

use failover_core::names;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::PostParams;
use kube::{Api, Client};
use testbed::site::{Options, Site};
use testbed::{eventually, identity};

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_can_write_nothing_but_its_lease() {
    let site = Site::shared(Options::default()).await.unwrap();
    let kubeconfig = identity::service_account(
        &site.plane,
        names::SYSTEM_NAMESPACE,
        names::WEBHOOK_SERVICE_ACCOUNT,
    )
    .await
    .unwrap();
    let client = testbed::control_plane::client(&kubeconfig).await.unwrap();
    let discovery = kube::Discovery::new(site.client()).run().await.unwrap();
    let mut allowed = BTreeSet::new();
    for group in discovery.groups() {
        for (resource, _) in group.recommended_resources() {
            for namespace in [
                "default",
                names::SYSTEM_NAMESPACE,
                names::ENFORCER_NAMESPACE,
                "kube-system",
            ] {
                for verb in ["create", "update", "patch", "delete", "deletecollection"] {
                    if may(&client, verb, &resource.group, &resource.plural, namespace).await {
                        allowed.insert(format!("{verb} {} in {namespace}", resource.plural));
                    }
                }
            }
        }
    }
    // Every authenticated user may create self-reviews, which store nothing.
    allowed.retain(|grant| !grant.starts_with("create self"));
    let leases: BTreeSet<String> = allowed
        .iter()
        .filter(|g| g.ends_with("leases in failover-enforcers"))
        .cloned()
        .collect();
    assert_eq!(allowed, leases, "nothing but leases where enforcers report");
    assert!(leases.contains("create leases in failover-enforcers"));

    // Real requests are refused, too.
    let error = Api::<ClusterRole>::all(client.clone())
        .delete("view", &kube::api::DeleteParams::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.code == 403),
        "{error:?}"
    );
    let lease: Api<Lease> = Api::namespaced(client, names::SYSTEM_NAMESPACE);
    let steal = kube::api::Patch::Merge(serde_json::json!({"spec": {"holderIdentity": "thief"}}));
    let error = lease
        .patch(
            names::LEADER_LEASE,
            &kube::api::PatchParams::default(),
            &steal,
        )
        .await
        .unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.code == 403),
        "{error:?}"
    );
    eventually("the webhook's own lease", || async {
        let leases: Api<Lease> = Api::namespaced(site.client(), names::ENFORCER_NAMESPACE);
        leases.get("webhook-0").await.map(|_| ())
    })
    .await;
}

async fn may(client: &Client, verb: &str, group: &str, resource: &str, namespace: &str) -> bool {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = Api::all(client.clone())
        .create(&PostParams::default(), &review)
        .await
        .unwrap();
    answer.status.is_some_and(|status| status.allowed)
}
