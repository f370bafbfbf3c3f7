//! The objects that hold the roles: Namespaces, the Site, and the CRDs.

use failover_core::api::FailoverPolicy;
use failover_core::names;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use rstest::rstest;
use serde_json::{Value, json};
use testbed::site::shared::Lease;
use testbed::site::{Options, PROMOTE, Site};
use testbed::{eventually, fixtures};

use super::{assert_forbidden, release, secondary_with_backstop_alone};

/// `alice` is an operator with the custom verb `enforce`. `bob` may only edit Namespaces, CRDs, Sites and FailoverPolicies.
async fn with_people() -> Lease {
    let site = secondary_with_backstop_alone().await;
    for arguments in [
        [
            "create",
            "clusterrolebinding",
            "alice",
            "--clusterrole=failover-operator",
            "--user=alice",
        ]
        .as_slice(),
        &[
            "create",
            "clusterrole",
            "namespaces",
            "--verb=*",
            "--resource=namespaces,customresourcedefinitions.apiextensions.k8s.io,sites.failover.dev",
        ],
        &[
            "create",
            "clusterrolebinding",
            "bob",
            "--clusterrole=namespaces",
            "--user=bob",
        ],
    ] {
        site.kubectl(arguments).await.expect(0);
    }
    // `*` would include `enforce`: bob gets all verbs but that.
    let verbs = json!({"rules": [{
        "apiGroups": ["", "apiextensions.k8s.io", "failover.dev"],
        "resources": ["namespaces", "namespaces/status", "customresourcedefinitions", "sites", "failoverpolicies"],
        "verbs": ["get", "list", "create", "update", "patch", "delete"],
    }]});
    site.kubectl(&[
        "patch",
        "clusterrole",
        "namespaces",
        "--type=merge",
        "-p",
        &verbs.to_string(),
    ])
    .await
    .expect(0);
    site
}

async fn release_with_people(site: Lease) {
    let delete = [
        "delete",
        "clusterrolebinding/alice",
        "clusterrolebinding/bob",
        "clusterrole/namespaces",
    ];
    site.kubectl(&delete).await.expect(0);
    release(site).await;
}

async fn as_user(site: &Site, user: &str) -> kube::Client {
    testbed::control_plane::client(&site.plane.user_kubeconfig(user))
        .await
        .unwrap()
}

/// Rights alone are not enough, since a tool that owns all labels has them, too. Our programs use their own field manager,
/// and `unenroll` names the user.
async fn by_hand_and_by_the_cli(alice: &kube::Client, way: &Value, dry: &PatchParams) {
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(alice.clone());
    let by_hand = namespaces.patch("shop", dry, &Patch::Merge(way)).await;
    assert_forbidden(by_hand, &["site east is not primary", "namespace shop"]);
    let ours = PatchParams {
        field_manager: Some(names::CLI_MANAGER.to_owned()),
        ..dry.clone()
    };
    let marked_for = |user: &str| {
        let mut marked = way.clone();
        marked["metadata"]["annotations"][names::UNENROLLED_ANNOTATION] =
            json!(format!("2026-01-01T00:00:00Z {user}"));
        Patch::Merge(marked)
    };
    namespaces
        .patch("shop", &ours, &marked_for("alice"))
        .await
        .unwrap();
    let leaves = way["metadata"]["labels"]
        .get("failover.dev/enforce")
        .is_some();
    if leaves {
        let for_another = namespaces.patch("shop", &ours, &marked_for("bob")).await;
        assert_forbidden(for_another, &["unenroll"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_secondary_is_changed_only_by_those_who_may_enforce() {
    let site = with_people().await;
    let namespaces =
        |client: kube::Client| Api::<k8s_openapi::api::core::v1::Namespace>::all(client);
    let (alice, bob) = (as_user(&site, "alice").await, as_user(&site, "bob").await);
    let ways_out = [
        json!({"metadata": {"labels": {"failover.dev/enforce": null}}}),
        json!({"metadata": {"labels": {"failover.dev/enforce": "policy"}}}),
        json!({"metadata": {"labels": {"failover.dev/workloads": "primary"}}}),
        json!({"metadata": {"annotations": {"failover.dev/objects": "deployments/web=exempt"}}}),
        json!({"metadata": {"annotations": {"failover.dev/site": "west"}}}),
    ];
    let dry = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    for way in &ways_out {
        println!("{way}");
        let patch = Patch::Merge(way);
        let by_bob = namespaces(bob.clone()).patch("shop", &dry, &patch).await;
        assert_forbidden(
            by_bob,
            &[
                "site east is not primary",
                "namespace shop",
                "failover-operator",
            ],
        );
        let through_status = namespaces(bob.clone())
            .patch_status("shop", &dry, &patch)
            .await;
        assert_forbidden(through_status, &["site east is not primary"]);
        by_hand_and_by_the_cli(&alice, way, &dry).await;
        // Flux usually has the administrator's rights, but its writes are not a person's decision.
        let flux = PatchParams {
            field_manager: Some(testbed::site::FLUX.to_owned()),
            ..dry.clone()
        };
        let by_flux = namespaces(site.client()).patch("shop", &flux, &patch).await;
        assert_forbidden(by_flux, &["through GitOps"]);
    }
    println!("deleted with its content");
    let dry_delete = DeleteParams {
        dry_run: true,
        ..DeleteParams::default()
    };
    assert_forbidden(
        namespaces(bob.clone()).delete("shop", &dry_delete).await,
        &["site east is not primary", "namespace shop", "may enforce"],
    );
    namespaces(site.client())
        .delete("shop", &dry_delete)
        .await
        .unwrap();
    // Other labels and annotations are free.
    let other = json!({"metadata": {"labels": {"team": "red"}, "annotations": {"note": "x"}}});
    namespaces(bob.clone())
        .patch("shop", &dry, &Patch::Merge(&other))
        .await
        .unwrap();

    println!("a namespace that is enrolled by hand with a role");
    namespaces(bob.clone())
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({"metadata": {"name": "blog"}})).unwrap(),
        )
        .await
        .unwrap();
    let claim = json!({"metadata": {"labels": {"failover.dev/enforce": "enabled", "failover.dev/workloads": "primary"}}});
    assert_forbidden(
        namespaces(bob.clone())
            .patch("blog", &dry, &Patch::Merge(&claim))
            .await,
        &["failover-operator"],
    );
    let enrolment = json!({"metadata": {"labels": {"failover.dev/enforce": "enabled"}}});
    namespaces(bob)
        .patch("blog", &dry, &Patch::Merge(&enrolment))
        .await
        .unwrap();
    let delete = ["delete", "namespace", "blog"];
    site.kubectl(&delete).await.expect(0);
    release_with_people(site).await;
}

#[rstest]
#[case::unlabelled(json!({"name": "shop"}), "was enrolled when it was deleted")]
#[case::exempting(json!({"name": "new", "labels": {"failover.dev/enforce": "enabled"}, "annotations": {"failover.dev/objects": "deployments/web=exempt"}}), "keys of namespace new")]
#[case::claiming(json!({"name": "new", "labels": {"failover.dev/enforce": "enabled", "failover.dev/workloads": "primary"}}), "may not be created as primary")]
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_cannot_come_back_outside_enforcement(
    #[case] metadata: Value,
    #[case] says: &str,
) {
    let site = secondary_with_backstop_alone().await;
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(site.client());
    namespaces
        .delete("shop", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the namespace to be gone", || async {
        match namespaces.get_opt("shop").await.unwrap() {
            None => Ok(()),
            Some(namespace) => Err(format!("{:?}", namespace.status)),
        }
    })
    .await;
    let namespace = serde_json::from_value(json!({"metadata": metadata})).unwrap();
    // With the rights that Flux usually has.
    let flux = PostParams {
        field_manager: Some(testbed::site::FLUX.to_owned()),
        ..PostParams::default()
    };
    assert_forbidden(namespaces.create(&flux, &namespace).await, &[says]);
    let enrolled =
        json!({"metadata": {"name": "shop", "labels": {"failover.dev/enforce": "enabled"}}});
    namespaces
        .create(
            &PostParams::default(),
            &serde_json::from_value(enrolled).unwrap(),
        )
        .await
        .unwrap();
    release(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_stays_registered_on_a_secondary_while_it_is_gone() {
    let options = Options {
        role: "secondary",
        ..Options::default()
    };
    let site = Site::start(options).await.unwrap();
    site.enrolled_namespace("shop").await;
    site.kubectl(&["delete", "namespace", "shop"])
        .await
        .expect(0);
    eventually(
        "the enforcers and the controller to have seen it go",
        || async {
            let status = site.status().await;
            let gone = status
                .enforcers
                .iter()
                .all(|enforcer| enforcer.namespaces == 0);
            if gone {
                Ok(())
            } else {
                Err(format!("{:?}", status.enforcers))
            }
        },
    )
    .await;
    site.webhook.terminate(super::PATIENCE).unwrap();
    let create = ["create", "namespace", "shop"];
    let refused = site.kubectl(&create).await.expect(1);
    assert!(
        refused.stderr.contains("was enrolled when it was deleted"),
        "{refused:?}"
    );
    site.webhook.restart().unwrap();
    site.until_ready().await;

    site.failover(PROMOTE).await.expect(0);
    eventually("the API server to know of the promotion", || async {
        let created = site.kubectl(&create).await;
        if created.code == 0 {
            Ok(())
        } else {
            Err(created.stderr)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_change_is_requested_in_the_users_own_name() {
    let site = with_people().await;
    let sites = |client: kube::Client| Api::<failover_core::api::Site>::all(client);
    let epoch = sites(site.client())
        .get(names::SITE)
        .await
        .unwrap()
        .spec
        .epoch
        .next();
    let order = |by: &str| json!({"spec": {"role": "primary", "epoch": epoch, "request": {"id": "next", "requestedBy": by}}});
    let dry = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let (alice, bob) = (as_user(&site, "alice").await, as_user(&site, "bob").await);

    let stolen = sites(alice.clone())
        .patch(names::SITE, &dry, &Patch::Merge(order("bob")))
        .await;
    assert_forbidden(
        stolen,
        &["requestedBy must be the user who makes the request: alice"],
    );
    sites(alice.clone())
        .patch(names::SITE, &dry, &Patch::Merge(order("alice")))
        .await
        .unwrap();
    let flux = PatchParams {
        field_manager: Some(testbed::site::FLUX.to_owned()),
        ..dry.clone()
    };
    let by_flux = sites(bob.clone())
        .patch(names::SITE, &flux, &Patch::Merge(order("bob")))
        .await;
    assert_forbidden(
        by_flux,
        &["never changed through GitOps", "kubectl failover promote"],
    );

    println!("one application alone");
    let dry_create = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let web = [("Deployment", "web")];
    let policy = |state| {
        serde_json::from_value(fixtures::failover_policy("shop", "mine", state, &web)).unwrap()
    };
    let policies = |client| Api::<FailoverPolicy>::namespaced(client, "shop");
    assert_forbidden(
        policies(bob.clone())
            .create(&dry_create, &policy(Some("primary")))
            .await,
        &["desiredState: primary", "those who may enforce"],
    );
    for state in [None, Some("secondary")] {
        policies(bob.clone())
            .create(&dry_create, &policy(state))
            .await
            .unwrap();
    }
    policies(alice.clone())
        .create(&dry_create, &policy(Some("primary")))
        .await
        .unwrap();

    let requested = |by: &str| {
        let mut order = fixtures::failover_policy("shop", "mine", Some("secondary"), &web);
        order["spec"]["request"] = serde_json::json!({ "id": "r1", "requestedBy": by });
        serde_json::from_value(order).unwrap()
    };
    let in_another_name = policies(bob.clone())
        .create(&dry_create, &requested("alice"))
        .await;
    assert_forbidden(in_another_name, &["must be the user", "bob"]);
    let own = policies(bob.clone())
        .create(&dry_create, &requested("bob"))
        .await;
    own.unwrap();

    println!("deleted");
    let delete = DeleteParams {
        dry_run: true,
        ..DeleteParams::default()
    };
    assert_forbidden(
        sites(bob.clone()).delete(names::SITE, &delete).await,
        &["those who may enforce"],
    );
    assert_forbidden(
        sites(site.client()).delete(names::SITE, &delete).await,
        &["failover.dev/allow-deletion=true"],
    );
    let crds = Api::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>::all(bob);
    assert_forbidden(
        crds.delete("sites.failover.dev", &delete).await,
        &["those who may enforce"],
    );
    crds.delete("virtualservices.networking.istio.io", &delete)
        .await
        .unwrap();
    release_with_people(site).await;
}
