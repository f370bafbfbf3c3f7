//! What `install` applies: the files of `manifests/`, embedded as they are, in the order in which they are applied.
//!
//! The order is that of `manifests/kustomization.yaml`. A namespace comes before what lives in it, the CRDs before anything
//! that could be of their kinds, identities and the objects that the controller may only fill in (the Secret, the Lease)
//! before what runs under them, and the webhook configuration only then, because the API server calls the webhook from the
//! moment it exists. The policies come last: what the webhook rewrites, they would refuse. The Site is not among them: it is founded once, by [`crate::commands::install`].

use serde_json::Value;

use crate::cluster::Manifest;
use crate::output::document::render as document;
use crate::output::{Format, Notation, Screen};

#[rustfmt::skip] // one file, one line
pub const FILES: [(&str, &str); 23] = [
    ("namespaces.yaml", include_str!("../../manifests/namespaces.yaml")),
    ("crds/sites.failover.dev.yaml", include_str!("../../manifests/crds/sites.failover.dev.yaml")),
    ("crds/failoverpolicies.failover.dev.yaml", include_str!("../../manifests/crds/failoverpolicies.failover.dev.yaml")),
    ("crds/rolerules.failover.dev.yaml", include_str!("../../manifests/crds/rolerules.failover.dev.yaml")),
    ("critical-pods-quota.yaml", include_str!("../../manifests/critical-pods-quota.yaml")),
    ("service-accounts.yaml", include_str!("../../manifests/service-accounts.yaml")),
    ("webhook-rbac.yaml", include_str!("../../manifests/webhook-rbac.yaml")),
    ("controller-rbac.yaml", include_str!("../../manifests/controller-rbac.yaml")),
    ("operator-role.yaml", include_str!("../../manifests/operator-role.yaml")),
    ("viewer-role.yaml", include_str!("../../manifests/viewer-role.yaml")),
    ("peer-rbac.yaml", include_str!("../../manifests/peer-rbac.yaml")),
    ("webhook-tls-secret.yaml", include_str!("../../manifests/webhook-tls-secret.yaml")),
    ("leader-lease.yaml", include_str!("../../manifests/leader-lease.yaml")),
    ("network-policies.yaml", include_str!("../../manifests/network-policies.yaml")),
    ("controller-deployment.yaml", include_str!("../../manifests/controller-deployment.yaml")),
    ("webhook-service.yaml", include_str!("../../manifests/webhook-service.yaml")),
    ("webhook-disruption-budget.yaml", include_str!("../../manifests/webhook-disruption-budget.yaml")),
    ("webhook-deployment.yaml", include_str!("../../manifests/webhook-deployment.yaml")),
    ("webhook-configuration.yaml", include_str!("../../manifests/webhook-configuration.yaml")),
    ("policies/state.yaml", include_str!("../../manifests/policies/state.yaml")),
    ("policies/activation.yaml", include_str!("../../manifests/policies/activation.yaml")),
    ("policies/deletion.yaml", include_str!("../../manifests/policies/deletion.yaml")),
    ("policies/pod-gate.yaml", include_str!("../../manifests/policies/pod-gate.yaml")),
];

/// What differs from the files.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The webhook runs elsewhere.
    pub webhook_url: Option<String>,
    pub image: Option<String>,
}

/// All objects, in order.
pub fn objects(options: &Options) -> Vec<Manifest> {
    FILES
        .iter()
        .flat_map(|(file, text)| {
            let documents: Vec<Value> = serde_saphyr::from_multiple(text)
                .unwrap_or_else(|error| unreachable!("{file} is embedded and tested: {error}"));
            documents
        })
        .map(Manifest::new)
        .filter(|manifest| options.webhook_url.is_none() || !runs_the_webhook(manifest))
        .map(|mut manifest| {
            adapt(&mut manifest, options);
            manifest
        })
        .collect()
}

/// Prints what would be applied, for `--dry-run=client`.
pub fn print_rendered(objects: &[Manifest], format: Format, screen: &Screen) {
    match format {
        Format::Yaml => {
            let documents: Vec<_> = objects
                .iter()
                .map(|manifest| document(Notation::Yaml, manifest.object()))
                .collect();
            screen.raw(&documents.join("---\n"));
        }
        Format::Json => {
            let items: Vec<_> = objects.iter().map(Manifest::object).collect();
            let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
            screen.raw(&document(Notation::Json, &list));
        }
        Format::Name => {
            for manifest in objects {
                screen.data(&manifest.reference());
            }
        }
        Format::Table | Format::Wide => {
            for manifest in objects {
                screen.data(&format!(
                    "{} would be applied (dry run)",
                    manifest.reference()
                ));
            }
        }
    }
}

/// What a webhook outside the cluster makes superfluous. Its identity stays: it needs one.
fn runs_the_webhook(manifest: &Manifest) -> bool {
    matches!(
        (manifest.kind(), manifest.name()),
        (
            "Deployment" | "Service" | "PodDisruptionBudget" | "NetworkPolicy",
            "failover-webhook"
        )
    )
}

fn adapt(manifest: &mut Manifest, options: &Options) {
    let kind = manifest.kind().to_owned();
    let object = manifest.object_mut();
    if let (Some(image), "Deployment") = (&options.image, kind.as_str()) {
        for container in each(&mut object["spec"]["template"]["spec"]["containers"]) {
            container["image"] = Value::String(image.clone());
        }
    }
    if let (Some(url), "MutatingWebhookConfiguration") = (&options.webhook_url, kind.as_str()) {
        for webhook in each(&mut object["webhooks"]) {
            webhook["clientConfig"] = serde_json::json!({ "url": url });
        }
    }
}

fn each(list: &mut Value) -> impl Iterator<Item = &mut Value> {
    list.as_array_mut().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(options: &Options) -> Vec<String> {
        objects(options).iter().map(Manifest::reference).collect()
    }

    #[test]
    fn the_embedded_files_are_those_of_the_kustomization_in_its_order() {
        let kustomization: Value =
            serde_saphyr::from_str(include_str!("../../manifests/kustomization.yaml")).unwrap();
        let listed: Vec<_> = kustomization["resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file.as_str().unwrap())
            .collect();
        assert_eq!(FILES.map(|(file, _)| file).to_vec(), listed);
    }

    #[test]
    fn what_is_called_comes_last_and_what_is_needed_comes_first() {
        let names = names(&Options::default());
        assert_eq!(names[0], "namespace/failover-system");
        let position = |name: &str| names.iter().position(|n| n == name).unwrap();
        let webhook =
            position("mutatingwebhookconfiguration.admissionregistration.k8s.io/failover.dev");
        assert!(
            names[webhook + 1..]
                .iter()
                .all(|name| name.starts_with("validatingadmissionpolic"))
        );
        assert!(position("deployment.apps/failover-webhook") < webhook);
        assert!(
            position("customresourcedefinition.apiextensions.k8s.io/sites.failover.dev")
                < position("deployment.apps/failover-controller")
        );
        assert!(
            position("secret/failover-webhook-tls") < position("deployment.apps/failover-webhook")
        );
    }

    #[test]
    fn every_object_says_where_it_belongs() {
        for manifest in objects(&Options::default()) {
            assert!(!manifest.name().is_empty() && !manifest.kind().is_empty());
            let cluster_wide = [
                "Namespace",
                "CustomResourceDefinition",
                "ClusterRole",
                "ClusterRoleBinding",
                "MutatingWebhookConfiguration",
                "ValidatingAdmissionPolicy",
                "ValidatingAdmissionPolicyBinding",
            ];
            assert_eq!(
                manifest.namespace().is_none(),
                cluster_wide.contains(&manifest.kind()),
                "{}",
                manifest.reference()
            );
        }
    }

    #[test]
    fn a_webhook_elsewhere_leaves_out_what_would_run_it_and_is_called_by_its_url() {
        let options = Options {
            webhook_url: Some("https://127.0.0.1:9443/mutate".into()),
            ..Options::default()
        };
        let (with, without) = (names(&Options::default()), names(&options));
        let left_out: Vec<_> = with.iter().filter(|name| !without.contains(name)).collect();
        assert_eq!(
            left_out,
            [
                "networkpolicy.networking.k8s.io/failover-webhook",
                "service/failover-webhook",
                "poddisruptionbudget.policy/failover-webhook",
                "deployment.apps/failover-webhook",
            ]
        );
        let objects = objects(&options);
        let configuration = objects
            .iter()
            .find(|manifest| manifest.kind() == "MutatingWebhookConfiguration")
            .unwrap();
        assert_eq!(
            configuration.object()["webhooks"][0]["clientConfig"],
            serde_json::json!({"url": "https://127.0.0.1:9443/mutate"})
        );
    }

    #[test]
    fn another_image_is_run_by_both_deployments() {
        let options = Options {
            image: Some("registry.example.com/failover:dev".into()),
            ..Options::default()
        };
        let images: Vec<_> = objects(&options)
            .iter()
            .filter(|manifest| manifest.kind() == "Deployment")
            .map(|manifest| {
                manifest.object()["spec"]["template"]["spec"]["containers"][0]["image"].clone()
            })
            .collect();
        assert_eq!(images, ["registry.example.com/failover:dev"; 2]);
    }
}
