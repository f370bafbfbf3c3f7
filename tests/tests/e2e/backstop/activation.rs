//! No object becomes more active.

use failover_core::{RuleSet, backstop, names};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::site::shared::Lease;
use testbed::site::{Options, Site};
use testbed::{eventually, fixtures};

use super::{
    PATIENCE, activation, assert_forbidden, everything, name_of, release, rule_of,
    secondary_with_backstop_alone,
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_becomes_active_on_a_secondary_without_webhook_and_controller() {
    let site = secondary_with_backstop_alone().await;
    for manifest in everything() {
        let object = fixtures::label(&manifest);
        let rule = rule_of(&manifest);
        let own_name = format!("{}/{}", rule.resource, name_of(&manifest));
        let says = [
            "site east is secondary",
            own_name.as_str(),
            "kubectl failover status",
        ];
        let api = site.api_of(&manifest).await.unwrap();

        println!("{object}: applied by Flux");
        let mut says_active = manifest.clone();
        json_patch::merge(&mut says_active, &activation(&manifest));
        assert_forbidden(site.apply_as_flux(&says_active).await, &says);
        println!("{object}: patched");
        let activate = Patch::Merge(activation(&manifest));
        let patched = api
            .patch(name_of(&manifest), &PatchParams::default(), &activate)
            .await;
        assert_forbidden(patched, &says);
        println!("{object}: replaced");
        let stored = api.get(name_of(&manifest)).await.unwrap();
        let mut replacement = serde_json::to_value(stored).unwrap();
        json_patch::merge(&mut replacement, &activation(&manifest));
        // An object without any annotation counts as active, too.
        replacement["metadata"]["annotations"] = Value::Null;
        let replacement: DynamicObject = serde_json::from_value(replacement).unwrap();
        let replaced = api
            .replace(name_of(&manifest), &PostParams::default(), &replacement)
            .await;
        assert_forbidden(replaced, &says);
        println!("{object}: created");
        let mut second = manifest.clone();
        second["metadata"]["name"] = json!("second");
        let second: DynamicObject = serde_json::from_value(second).unwrap();
        // A Kustomization that no policy names is not enforced.
        if rule.reach != failover_core::rules::rule::Reach::Named {
            let created = api.create(&PostParams::default(), &second).await;
            assert_forbidden(created, &["site east is secondary", "/second"]);
        }
        if rule.scale {
            println!("{object}: scaled");
            let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
            let scaled = api
                .patch_scale(name_of(&manifest), &PatchParams::default(), &scale)
                .await;
            assert_forbidden(scaled, &says);
        }

        println!("{object}: changed otherwise, and deactivated once more");
        // A VolumeReplication is deleted only with this annotation.
        let touched = Patch::Merge(json!({"metadata": {
            "labels": {"touched": "yes"},
            "annotations": {names::ALLOW_DELETION_ANNOTATION: "true"},
        }}));
        api.patch(name_of(&manifest), &PatchParams::default(), &touched)
            .await
            .unwrap();
        api.delete(name_of(&manifest), &DeleteParams::default())
            .await
            .unwrap();
    }
    release(site).await;
}

/// A secondary without webhook and controller, before any sweep: its Deployment still has three replicas.
async fn unswept_secondary() -> (Lease, Value) {
    let site = Site::shared(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    site.controller.terminate(PATIENCE).unwrap();
    site.webhook.terminate(PATIENCE).unwrap();
    let web = fixtures::deployment("shop", "web", 3);
    site.apply_as_flux(&web).await.unwrap();
    let labels = "failover.dev/workloads=secondary";
    site.kubectl(&["label", "namespace", "shop", labels, "--overwrite"])
        .await
        .expect(0);
    (site, web)
}

/// A stale webhook replica would do this: it takes the site for primary and drops the record from the controller's write.
#[tokio::test(flavor = "multi_thread")]
async fn the_controller_makes_nothing_passive_whose_record_is_dropped() {
    let (site, web) = unswept_secondary().await;
    let api = site.api_of(&web).await.unwrap();
    let ours = PatchParams {
        field_manager: Some(names::CONTROLLER_MANAGER.to_owned()),
        dry_run: true,
        ..PatchParams::default()
    };
    let mut passive = json!({"spec": {"replicas": 0}});
    eventually("the API server to know the role", || async {
        match api.patch("web", &ours, &Patch::Merge(&passive)).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let without = api.patch("web", &ours, &Patch::Merge(&passive)).await;
    assert_forbidden(
        without,
        &["deployments/web", "the restore record of /spec/replicas"],
    );
    passive["metadata"]["annotations"] =
        json!({names::RESTORE_ANNOTATION: r#"{"/spec/replicas":3}"#});
    api.patch("web", &ours, &Patch::Merge(&passive))
        .await
        .unwrap();
    release(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_object_may_only_become_less_active_once_the_role_has_changed() {
    let (site, web) = unswept_secondary().await;
    let api = site.api_of(&web).await.unwrap();
    let scale = async |replicas: i64| {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        api.patch_scale("web", &PatchParams::default(), &patch)
            .await
    };
    eventually("the API server to know the role", || async {
        match scale(4).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // Applying the same again, as Flux does every few minutes, does not make it more active.
    site.apply_as_flux(&web).await.unwrap();
    scale(2).await.unwrap();
    assert_forbidden(scale(3).await, &["deployments/web"]);
    scale(0).await.unwrap();
    assert_forbidden(scale(1).await, &["deployments/web"]);
    release(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_role_refuses_activation_of_all_but_exempt_objects() {
    let site = Site::shared(Options::default()).await.unwrap();
    site.controller.terminate(PATIENCE).unwrap();
    site.webhook.terminate(PATIENCE).unwrap();
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {names::ENFORCE_LABEL: "enabled"}},
    });
    site.apply_as_flux(&namespace).await.unwrap();
    let labelled = |name| {
        let mut deployment = fixtures::deployment("shop", name, 3);
        deployment["metadata"]["labels"][names::ENFORCE_LABEL] = json!(names::EXEMPT);
        deployment
    };
    let web = labelled("web");
    assert_forbidden(
        site.apply_as_flux(&web).await,
        &[
            "the role of namespace shop is not known yet",
            "deployments/web",
        ],
    );

    let named = "failover.dev/objects=deployments/web=exempt deployments/gone=exempt-if-labelled deployments/web2=primary statefulsets/db=secondary";
    let ours = "--field-manager=kubectl-failover";
    site.kubectl(&["annotate", "namespace", "shop", named, ours])
        .await
        .expect(0);
    eventually("the API server to know of the exemption", || async {
        site.apply_as_flux(&web)
            .await
            .map(|_| ())
            .map_err(|error| error.to_string())
    })
    .await;
    println!("an exemption counts for an object with the label, and through its Scale");
    site.apply_as_flux(&labelled("gone")).await.unwrap();
    for (name, code) in [("web", 0), ("gone", 1)] {
        let deployment = format!("deployment/{name}");
        let scale = ["scale", "-n=shop", &deployment, "--replicas=4"];
        let scaled = site.kubectl(&scale).await;
        assert_eq!(scaled.code, code, "{name}: {scaled:?}");
        site.kubectl(&["delete", "-n=shop", &deployment])
            .await
            .expect(0);
        assert_forbidden(
            site.apply_as_flux(&fixtures::deployment("shop", name, 3))
                .await,
            &[name],
        );
        site.apply_as_flux(&fixtures::deployment("shop", name, 0))
            .await
            .unwrap();
    }
    site.apply_as_flux(&fixtures::deployment("shop", "web2", 1))
        .await
        .unwrap();
    assert_forbidden(
        site.apply_as_flux(&fixtures::deployment("shop", "web3", 1))
            .await,
        &["deployments/web3"],
    );
    assert_forbidden(
        site.apply_as_flux(&fixtures::stateful_set("shop", "db", 1))
            .await,
        &["statefulsets/db"],
    );
    release(site).await;
}

/// The API server type-checks only kinds that a policy names without wildcards, so each policy is checked with an explicit
/// version.
#[tokio::test(flavor = "multi_thread")]
async fn no_expression_has_a_type_error() {
    let site = Site::shared(Options::default()).await.unwrap();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(site.client());
    for rule in RuleSet::built_in().iter() {
        let mut policy = backstop::policy(rule);
        policy["metadata"]["name"] = json!(format!("checked.{}", backstop::name(rule)));
        policy["spec"]["matchConstraints"]["resourceRules"][0]["apiVersions"] =
            json!([rule.version]);
        let policy: ValidatingAdmissionPolicy = serde_json::from_value(policy).unwrap();
        policies
            .create(&PostParams::default(), &policy)
            .await
            .unwrap();
    }
    eventually("type checking of every policy", || async {
        let unchecked: Vec<_> = policies
            .list(&kube::api::ListParams::default())
            .await
            .unwrap()
            .items
            .into_iter()
            .filter(|policy| {
                policy.status.as_ref().and_then(|s| s.observed_generation)
                    != policy.metadata.generation
            })
            .map(|policy| policy.metadata.name.unwrap())
            .collect();
        if unchecked.is_empty() {
            Ok(())
        } else {
            Err(unchecked)
        }
    })
    .await;
    for policy in policies
        .list(&kube::api::ListParams::default())
        .await
        .unwrap()
    {
        let warnings = policy
            .status
            .and_then(|s| s.type_checking)
            .and_then(|t| t.expression_warnings);
        assert_eq!(warnings, None, "{:?}", policy.metadata.name);
    }
    let checked = RuleSet::built_in();
    for rule in checked.iter() {
        let name = format!("checked.{}", backstop::name(rule));
        policies
            .delete(&name, &DeleteParams::default())
            .await
            .unwrap();
    }
}
