//! The backstop: what the API server refuses by itself, with the webhook and the controller gone.

use std::time::Duration;

use failover_core::{RuleSet, backstop, names};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use rstest::rstest;
use serde_json::{Value, json};
use testbed::site::{Options, Site};
use testbed::{eventually, fixtures};

const PATIENCE: Duration = Duration::from_secs(30);

/// A secondary site with one of everything, already passive, on which nothing of ours runs any more.
async fn on_its_own() -> Site {
    let mut site = Site::start(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    for manifest in everything() {
        site.apply_as_flux(&manifest).await.unwrap();
    }
    let named = [("Kustomization", "apps")];
    let policy = fixtures::failover_policy("shop", "apps", None, &named);
    site.apply_as_person(&policy).await.unwrap();
    site.until_in_force("shop", "kustomizations/apps=site")
        .await;
    let demote = ["demote", "--yes", "--reason", "drill"];
    site.failover(&demote).await.expect(0);
    site.controller.terminate(PATIENCE).unwrap();
    site.webhook.terminate(PATIENCE).unwrap();
    site
}

fn everything() -> Vec<Value> {
    let mut all = fixtures::every_kind("shop");
    all.push(fixtures::kustomization("shop", "apps"));
    all
}

/// Refused with 403 and a message that says all of this. Anything but 403 would make Flux delete and create anew.
#[track_caller]
fn forbidden<T: std::fmt::Debug>(result: kube::Result<T>, says: &[&str]) {
    match result {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            for part in says {
                assert!(
                    status.message.contains(part),
                    "{part:?} in {:?}",
                    status.message
                );
            }
        }
        other => panic!("expected 403, got {other:?}"),
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// The rule about an object's kind.
fn rule_of(object: &Value) -> failover_core::Rule {
    let kind = object["kind"].as_str().unwrap();
    let rules = RuleSet::built_in();
    rules.iter().find(|rule| rule.kind == kind).unwrap().clone()
}

/// What makes an object active again, as a merge patch.
fn activation(object: &Value) -> Value {
    let rule = rule_of(object);
    let pointer = &rule.fields[0].pointer;
    let active = match pointer.field() {
        "replicas" => json!(3),
        "replicationState" => json!("primary"),
        "suspend" => json!(false),
        _ => json!("dns-controller"),
    };
    pointer
        .segments()
        .rev()
        .fold(active, |inner, segment| json!({ segment: inner }))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_becomes_active_on_a_secondary_with_all_of_ours_dead() {
    let site = on_its_own().await;
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
        forbidden(site.apply_as_flux(&says_active).await, &says);
        println!("{object}: patched");
        let activate = Patch::Merge(activation(&manifest));
        let patched = api
            .patch(name_of(&manifest), &PatchParams::default(), &activate)
            .await;
        forbidden(patched, &says);
        println!("{object}: replaced");
        let stored = api.get(name_of(&manifest)).await.unwrap();
        let mut replacement = serde_json::to_value(stored).unwrap();
        json_patch::merge(&mut replacement, &activation(&manifest));
        // No annotation at all is active, too.
        replacement["metadata"]["annotations"] = Value::Null;
        let replacement: DynamicObject = serde_json::from_value(replacement).unwrap();
        let replaced = api
            .replace(name_of(&manifest), &PostParams::default(), &replacement)
            .await;
        forbidden(replaced, &says);
        println!("{object}: created");
        let mut second = manifest.clone();
        second["metadata"]["name"] = json!("second");
        let second: DynamicObject = serde_json::from_value(second).unwrap();
        // A kustomization that no policy names is nobody's business.
        if rule.reach != failover_core::rule::Reach::Named {
            let created = api.create(&PostParams::default(), &second).await;
            forbidden(created, &["site east is secondary", "/second"]);
        }
        if rule.scale {
            println!("{object}: scaled");
            let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
            let scaled = api
                .patch_scale(name_of(&manifest), &PatchParams::default(), &scale)
                .await;
            forbidden(scaled, &says);
        }

        println!("{object}: changed otherwise, and deactivated once more");
        let label = Patch::Merge(json!({"metadata": {"labels": {"touched": "yes"}}}));
        api.patch(name_of(&manifest), &PatchParams::default(), &label)
            .await
            .unwrap();
        api.delete(name_of(&manifest), &DeleteParams::default())
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_active_when_the_role_changes_may_only_become_less_so() {
    let mut site = Site::start(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    site.controller.terminate(PATIENCE).unwrap();
    site.webhook.terminate(PATIENCE).unwrap();
    let web = fixtures::deployment("shop", "web", 3);
    site.apply_as_flux(&web).await.unwrap();
    let labels = "failover.dev/workloads=secondary";
    site.kubectl(&["label", "namespace", "shop", labels, "--overwrite"])
        .await
        .expect(0);

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
    // The same again, as Flux does every few minutes, is not more.
    site.apply_as_flux(&web).await.unwrap();
    scale(2).await.unwrap();
    forbidden(scale(3).await, &["deployments/web"]);
    scale(0).await.unwrap();
    forbidden(scale(1).await, &["deployments/web"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_not_known_holds_and_what_is_exempt_goes_on() {
    let mut site = Site::start(Options::default()).await.unwrap();
    site.controller.terminate(PATIENCE).unwrap();
    site.webhook.terminate(PATIENCE).unwrap();
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {names::ENFORCE_LABEL: "enabled"}},
    });
    site.apply_as_flux(&namespace).await.unwrap();
    let web = fixtures::deployment("shop", "web", 3);
    forbidden(
        site.apply_as_flux(&web).await,
        &[
            "the role of namespace shop is not known yet",
            "deployments/web",
        ],
    );

    let named = "failover.dev/objects=deployments/web=exempt deployments/web2=primary statefulsets/db=secondary";
    site.kubectl(&["annotate", "namespace", "shop", named])
        .await
        .expect(0);
    eventually("the API server to know of the exemption", || async {
        site.apply_as_flux(&web)
            .await
            .map(|_| ())
            .map_err(|error| error.to_string())
    })
    .await;
    site.apply_as_flux(&fixtures::deployment("shop", "web2", 1))
        .await
        .unwrap();
    forbidden(
        site.apply_as_flux(&fixtures::deployment("shop", "web3", 1))
            .await,
        &["deployments/web3"],
    );
    forbidden(
        site.apply_as_flux(&fixtures::stateful_set("shop", "db", 1))
            .await,
        &["statefulsets/db"],
    );
}

/// Type checking looks at the kinds that a policy names in so many words, so each is checked as if it named its version.
#[tokio::test(flavor = "multi_thread")]
async fn no_expression_is_wrong_about_its_kind() {
    let site = Site::start(Options::default()).await.unwrap();
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
}

/// What the custom verb is for. `alice` is an operator, `bob` may edit Namespaces and no more.
async fn with_people() -> Site {
    let site = on_its_own().await;
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
    // `*` is every verb, `enforce` among them: bob has all others.
    let verbs = json!({"rules": [{
        "apiGroups": ["", "apiextensions.k8s.io", "failover.dev"],
        "resources": ["namespaces", "namespaces/status", "customresourcedefinitions", "sites"],
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

async fn as_user(site: &Site, user: &str) -> kube::Client {
    testbed::control_plane::client(&site.plane.user_kubeconfig(user))
        .await
        .unwrap()
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
        forbidden(
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
        forbidden(through_status, &["site east is not primary"]);
        namespaces(alice.clone())
            .patch("shop", &dry, &patch)
            .await
            .unwrap();
        // The administrator's rights, as Flux usually has them, do not make it a person's decision.
        let flux = PatchParams {
            field_manager: Some(testbed::site::FLUX.to_owned()),
            ..dry.clone()
        };
        let by_flux = namespaces(site.client()).patch("shop", &flux, &patch).await;
        forbidden(by_flux, &["through GitOps"]);
    }
    // What is not ours is nobody's business here.
    let other = json!({"metadata": {"labels": {"team": "red"}, "annotations": {"note": "x"}}});
    namespaces(bob.clone())
        .patch("shop", &dry, &Patch::Merge(&other))
        .await
        .unwrap();

    println!("a namespace that is enrolled by hand, and brings a role");
    namespaces(bob.clone())
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({"metadata": {"name": "blog"}})).unwrap(),
        )
        .await
        .unwrap();
    let claim = json!({"metadata": {"labels": {"failover.dev/enforce": "enabled", "failover.dev/workloads": "primary"}}});
    forbidden(
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
    let site = on_its_own().await;
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
    forbidden(namespaces.create(&flux, &namespace).await, &[says]);
    let enrolled =
        json!({"metadata": {"name": "shop", "labels": {"failover.dev/enforce": "enabled"}}});
    namespaces
        .create(
            &PostParams::default(),
            &serde_json::from_value(enrolled).unwrap(),
        )
        .await
        .unwrap();
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
    let sites: Api<failover_core::api::Site> = Api::all(site.client());
    eventually(
        "the enforcers and the controller to have seen it go",
        || async {
            let status = sites.get(names::SITE).await.unwrap().status.unwrap();
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
    let create = ["create", "namespace", "shop"];
    let refused = site.kubectl(&create).await.expect(1);
    assert!(
        refused.stderr.contains("was enrolled when it was deleted"),
        "{refused:?}"
    );

    let promote = [
        "promote",
        "--yes",
        "--override",
        "peer-unknown",
        "--reason",
        "drill",
    ];
    site.failover(&promote).await.expect(0);
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
async fn a_site_is_turned_over_by_a_person_in_that_persons_name() {
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
    forbidden(
        stolen,
        &["requestedBy must be the user who makes the request: alice"],
    );
    sites(alice)
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
    forbidden(
        by_flux,
        &["never changed through GitOps", "kubectl failover promote"],
    );

    println!("deleted");
    let delete = DeleteParams {
        dry_run: true,
        ..DeleteParams::default()
    };
    forbidden(
        sites(bob.clone()).delete(names::SITE, &delete).await,
        &["those who may enforce"],
    );
    forbidden(
        sites(site.client()).delete(names::SITE, &delete).await,
        &["failover.dev/allow-deletion=true"],
    );
    let crds = Api::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>::all(bob);
    forbidden(
        crds.delete("sites.failover.dev", &delete).await,
        &["those who may enforce"],
    );
    crds.delete("virtualservices.networking.istio.io", &delete)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_gate_lets_no_pod_in_but_those_of_what_is_exempt() {
    let site = on_its_own().await;
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
        site.kubectl(&[&arguments[..], &["--overwrite"]].concat())
            .await
            .expect(0);
    }
    eventually("the gate to shut", || async {
        match create(None).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let says = ["site east is not primary", "pod gate of namespace shop"];
    forbidden(create(None).await, &says);
    forbidden(create(Some(("DaemonSet", "agent"))).await, &says);
    forbidden(create(Some(("ReplicaSet", "web-api-5d4f"))).await, &says);
    forbidden(create(Some(("StatefulSet", "db2"))).await, &says);
    create(Some(("ReplicaSet", "web-5d4f"))).await.unwrap();
    create(Some(("StatefulSet", "db"))).await.unwrap();
}
