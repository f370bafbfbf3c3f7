//! The manifests, held against their types, against each other and against the code.

mod access;
mod object;
mod pods;

use std::collections::BTreeSet;

use failover_core::{RuleSet, names};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use serde_json::Value;

use object::{folder, named, objects, resources, unknown_fields, yaml_files};

/// The rules for more kinds are a choice: `kubectl failover rule apply` brings those that are wanted.
#[test]
fn the_kustomization_lists_every_file_but_the_rules_and_nothing_else() {
    let mut listed = resources();
    listed.sort();
    let mut installed = yaml_files();
    installed.retain(|file| !file.starts_with("rules/"));
    assert_eq!(listed, installed);
}

#[test]
fn every_document_has_only_fields_that_its_type_knows() {
    for object in objects() {
        let unknown = unknown_fields(&object);
        assert!(unknown.is_empty(), "{object}: {unknown:?}");
    }
}

#[test]
fn no_object_is_there_twice() {
    let mut seen = BTreeSet::new();
    for object in objects() {
        assert!(seen.insert(object.to_string()), "{object}");
    }
}

#[test]
fn every_object_carries_the_same_two_labels() {
    for object in objects()
        .iter()
        .filter(|object| object.kind() != "CustomResourceDefinition")
    {
        let labels = object.value["metadata"]["labels"].as_object().unwrap();
        let ours: Vec<_> = labels
            .iter()
            .filter(|(key, _)| key.starts_with("app.kubernetes.io/"))
            .collect();
        let keys: Vec<_> = ours.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            ["app.kubernetes.io/component", "app.kubernetes.io/name"],
            "{object}"
        );
        assert_eq!(
            labels["app.kubernetes.io/name"], "kubectl-failover",
            "{object}"
        );
        let component = labels["app.kubernetes.io/component"].as_str().unwrap();
        assert!(
            [
                "system",
                "webhook",
                "controller",
                "operator",
                "viewer",
                "peer",
                "backstop"
            ]
            .contains(&component),
            "{object}: {component}"
        );
    }
}

#[test]
fn every_namespace_that_is_named_is_ours_or_always_there() {
    let ours: Vec<_> = objects()
        .iter()
        .filter(|object| object.kind() == "Namespace")
        .map(|object| object.name().to_owned())
        .collect();
    assert_eq!(ours, [names::SYSTEM_NAMESPACE, names::ENFORCER_NAMESPACE]);
    for object in objects() {
        if let Some(namespace) = object.namespace() {
            assert!(
                namespace == "default" || ours.iter().any(|name| name == namespace),
                "{object}"
            );
        }
    }
}

#[test]
fn our_own_pods_run_under_the_restricted_standard() {
    let namespace: Namespace = named("Namespace", names::SYSTEM_NAMESPACE);
    let labels = namespace.metadata.labels.unwrap();
    for mode in ["enforce", "audit", "warn"] {
        assert_eq!(
            labels[&format!("pod-security.kubernetes.io/{mode}")],
            "restricted"
        );
    }
}

/// Applying the manifests again must take nothing away, so what the controller fills in may not even be there empty.
#[test]
fn what_the_controller_fills_in_is_absent() {
    let secret: Secret = named("Secret", names::TLS_SECRET);
    assert_eq!(
        (secret.data, secret.string_data, secret.immutable),
        (None, None, None)
    );
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let lease: Lease = named("Lease", names::LEADER_LEASE);
    assert_eq!(lease.spec, None);
    for webhook in webhooks() {
        assert_eq!(webhook.client_config.ca_bundle, None);
    }
}

#[test]
fn the_webhook_lets_the_cluster_go_on_without_it() {
    let all = webhooks();
    let called: Vec<&str> = all.iter().map(|webhook| &*webhook.name).collect();
    assert_eq!(
        called,
        [names::WEBHOOK_NAME, names::NAMESPACES_WEBHOOK_NAME]
    );
    for webhook in &all {
        assert_eq!(webhook.failure_policy.as_deref(), Some("Ignore"));
        assert_eq!(webhook.timeout_seconds, Some(1));
        assert_eq!(webhook.side_effects, "None");
        assert_eq!(webhook.reinvocation_policy.as_deref(), Some("IfNeeded"));
        assert_eq!(webhook.match_policy.as_deref(), Some("Equivalent"));
        assert_eq!(webhook.admission_review_versions, ["v1"]);
        assert_eq!(webhook.object_selector, None);
        // Under one address: they are trusted by one certificate.
        assert_eq!(webhook.client_config, all[0].client_config);
    }
}

#[test]
fn the_webhook_is_asked_about_enrolled_namespaces_only_and_never_about_those_the_cluster_needs() {
    let [objects, namespaces] = webhooks().map(|webhook| webhook.namespace_selector.unwrap());
    assert_eq!(
        (objects.match_labels, namespaces.match_labels),
        (None, None)
    );
    let [enrolled, never] = objects.match_expressions.unwrap().try_into().unwrap();
    // One that is created may lack its label.
    assert_eq!(
        namespaces.match_expressions.unwrap(),
        std::slice::from_ref(&never)
    );
    assert_eq!(
        (enrolled.key.as_str(), enrolled.operator.as_str()),
        (names::ENFORCE_LABEL, "In")
    );
    assert_eq!(enrolled.values.unwrap(), ["enabled", "policy"]);
    assert_eq!(
        (never.key.as_str(), never.operator.as_str()),
        ("kubernetes.io/metadata.name", "NotIn")
    );
    assert_eq!(never.values.unwrap(), names::NEVER_ENROLLED);
}

#[test]
fn the_webhook_is_asked_about_every_built_in_kind_and_its_scale_and_about_new_namespaces() {
    let mut expected: BTreeSet<(String, String, &str)> = BTreeSet::new();
    for rule in RuleSet::built_in().iter() {
        let mut resources = vec![rule.resource.to_string()];
        if rule.scale {
            resources.push(format!("{}/scale", rule.resource));
        }
        for resource in resources {
            expected.insert((rule.group.to_string(), resource, "Namespaced CREATE,UPDATE"));
        }
    }
    expected.insert((String::new(), "namespaces".to_owned(), "Cluster CREATE"));

    let mut configured = BTreeSet::new();
    let [objects, namespaces] = webhooks().map(|webhook| webhook.rules.unwrap());
    assert!(
        objects
            .iter()
            .all(|rule| rule.scope.as_deref() == Some("Namespaced"))
    );
    for rule in objects.into_iter().chain(namespaces) {
        assert_eq!(rule.api_versions.unwrap(), ["*"]);
        let how = match (
            rule.scope.as_deref(),
            rule.operations.unwrap().join(",").as_str(),
        ) {
            (Some("Namespaced"), "CREATE,UPDATE") => "Namespaced CREATE,UPDATE",
            (Some("Cluster"), "CREATE") => "Cluster CREATE",
            other => panic!("{other:?}"),
        };
        for group in rule.api_groups.unwrap() {
            for resource in rule.resources.as_ref().unwrap() {
                assert!(
                    configured.insert((group.clone(), resource.clone(), how)),
                    "{group}/{resource} is listed twice"
                );
            }
        }
    }
    assert_eq!(configured, expected);
}

#[test]
fn a_cluster_can_be_installed_from_the_folder_alone() {
    let kustomization: Value = serde_saphyr::from_str(
        &std::fs::read_to_string(folder().join("kustomization.yaml")).unwrap(),
    )
    .unwrap();
    let keys: Vec<_> = kustomization
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    // No transformer: what `install` applies, from the same files without kustomize, is the same.
    assert_eq!(keys, ["apiVersion", "kind", "resources"]);
    let listed = resources();
    assert_eq!(listed.first().map(String::as_str), Some("namespaces.yaml"));
    let policies = listed
        .iter()
        .position(|file| file.starts_with("policies/"))
        .unwrap();
    assert_eq!(listed[policies - 1], "webhook-configuration.yaml");
    assert!(
        listed[policies..]
            .iter()
            .all(|file| file.starts_with("policies/"))
    );
}

/// For objects in enrolled namespaces, and for new Namespaces.
fn webhooks() -> [MutatingWebhook; 2] {
    let configuration: MutatingWebhookConfiguration =
        named("MutatingWebhookConfiguration", names::WEBHOOK_CONFIGURATION);
    configuration.webhooks.unwrap().try_into().unwrap()
}

/// The image is built from the whole workspace: cargo does not start where a member's folder is missing.
#[test]
fn every_member_of_the_workspace_reaches_the_build_of_the_image() {
    let read = |file: &str| std::fs::read_to_string(folder().join(file)).unwrap();
    let workspace = read("../Cargo.toml");
    let members = workspace
        .lines()
        .find_map(|line| line.strip_prefix("members = ["))
        .expect("a list of members on one line");
    let let_through = read("Dockerfile.dockerignore");
    for member in members.trim_end_matches(']').split(',') {
        let member = member.trim().trim_matches('"');
        let line = format!("!{member}");
        assert!(let_through.lines().any(|l| l == line), "{line} is missing");
    }
}
