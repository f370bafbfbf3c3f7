//! The two Deployments, and everything that selects their pods or names their ports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use failover_core::names;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, PodSpec, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rstest::rstest;

use super::object::{all, folder, named};

const WEBHOOK: &str = "failover-webhook";
const CONTROLLER: &str = "failover-controller";

type Labels = BTreeMap<String, String>;

fn deployment(name: &str) -> Deployment {
    named("Deployment", name)
}

fn pod_labels(name: &str) -> Labels {
    deployment(name)
        .spec
        .unwrap()
        .template
        .metadata
        .unwrap()
        .labels
        .unwrap()
}

fn pod(name: &str) -> PodSpec {
    deployment(name).spec.unwrap().template.spec.unwrap()
}

fn container(name: &str) -> Container {
    let [container] = pod(name).containers.try_into().unwrap();
    container
}

/// The Deployments whose pods a selector takes.
fn selected(selector: &Labels) -> Vec<&'static str> {
    assert!(!selector.is_empty(), "an empty selector takes everything");
    [WEBHOOK, CONTROLLER]
        .into_iter()
        .filter(|name| {
            let labels = pod_labels(name);
            selector
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
        })
        .collect()
}

fn labels(selector: LabelSelector) -> Labels {
    assert_eq!(selector.match_expressions, None);
    selector.match_labels.unwrap()
}

#[test]
fn each_selector_takes_the_pods_it_is_meant_for_and_no_others() {
    for name in [WEBHOOK, CONTROLLER] {
        let spec = deployment(name).spec.unwrap();
        assert_eq!(selected(&labels(spec.selector)), [name]);

        let policy: NetworkPolicy = named("NetworkPolicy", name);
        assert_eq!(
            selected(&labels(policy.spec.unwrap().pod_selector.unwrap())),
            [name]
        );

        let pod = spec.template.spec.unwrap();
        let affinity = pod.affinity.unwrap().pod_anti_affinity.unwrap();
        let terms = affinity
            .preferred_during_scheduling_ignored_during_execution
            .unwrap();
        let term = terms[0].pod_affinity_term.clone();
        assert_eq!(term.topology_key, "kubernetes.io/hostname");
        assert_eq!(selected(&labels(term.label_selector.unwrap())), [name]);
        for constraint in pod.topology_spread_constraints.unwrap() {
            assert_eq!(
                selected(&labels(constraint.label_selector.unwrap())),
                [name]
            );
        }
    }
    let service: Service = named("Service", names::WEBHOOK_SERVICE);
    assert_eq!(
        selected(&service.spec.unwrap().selector.unwrap()),
        [WEBHOOK]
    );
    let budget: PodDisruptionBudget = named("PodDisruptionBudget", WEBHOOK);
    assert_eq!(
        selected(&labels(budget.spec.unwrap().selector.unwrap())),
        [WEBHOOK]
    );
    assert_eq!(all::<NetworkPolicy>("NetworkPolicy").len(), 2);
}

/// A required rule would leave a rollout without a place for its third pod on two nodes, and so hang.
#[rstest]
#[case(WEBHOOK)]
#[case(CONTROLLER)]
fn a_rollout_keeps_both_replicas_and_cannot_hang_on_two_nodes(#[case] name: &str) {
    let spec = deployment(name).spec.unwrap();
    assert_eq!(spec.replicas, Some(2));
    let rolling = spec.strategy.unwrap().rolling_update.unwrap();
    assert_eq!(
        (rolling.max_surge, rolling.max_unavailable),
        (Some(IntOrString::Int(1)), Some(IntOrString::Int(0)))
    );
    let pod = spec.template.spec.unwrap();
    let affinity = pod.affinity.unwrap().pod_anti_affinity.unwrap();
    assert_eq!(
        affinity.required_during_scheduling_ignored_during_execution,
        None
    );
    for constraint in pod.topology_spread_constraints.unwrap() {
        assert_eq!(constraint.when_unsatisfiable, "ScheduleAnyway");
        assert_eq!(constraint.match_label_keys.unwrap(), ["pod-template-hash"]);
    }
}

#[test]
fn the_api_server_reaches_the_port_on_which_the_webhook_serves() {
    let configuration: MutatingWebhookConfiguration =
        named("MutatingWebhookConfiguration", names::WEBHOOK_CONFIGURATION);
    let called = configuration
        .webhooks
        .unwrap()
        .remove(0)
        .client_config
        .service
        .unwrap();
    assert_eq!(
        (called.namespace.as_str(), called.name.as_str()),
        (names::SYSTEM_NAMESPACE, names::WEBHOOK_SERVICE)
    );
    assert_eq!(called.path.as_deref(), Some(names::WEBHOOK_PATH));

    let service: Service = named("Service", &called.name);
    assert_eq!(service.metadata.namespace, Some(called.namespace));
    let [port] = service.spec.unwrap().ports.unwrap().try_into().unwrap();
    assert_eq!(Some(port.port), called.port);
    let Some(IntOrString::String(target)) = port.target_port else {
        panic!("a named port: {:?}", port.target_port)
    };
    assert_eq!(ports(WEBHOOK)[&target], 8443);
}

#[rstest]
#[case(WEBHOOK)]
#[case(CONTROLLER)]
fn the_network_policy_opens_every_port_of_the_pod_and_no_other(#[case] name: &str) {
    let policy: NetworkPolicy = named("NetworkPolicy", name);
    let spec = policy.spec.unwrap();
    assert_eq!(spec.policy_types.unwrap(), ["Ingress"]);
    let opened: BTreeSet<_> = spec
        .ingress
        .unwrap()
        .into_iter()
        .flat_map(|rule| {
            assert_eq!(
                rule.from, None,
                "API servers and kubelets have no address that could be selected"
            );
            rule.ports.unwrap()
        })
        .map(|port| match port.port.unwrap() {
            IntOrString::Int(number) => number,
            IntOrString::String(name) => panic!("{name}: not every network plugin resolves names"),
        })
        .collect();
    assert_eq!(ports(name).into_values().collect::<BTreeSet<_>>(), opened);
}

#[rstest]
#[case(WEBHOOK)]
#[case(CONTROLLER)]
fn probes_and_scrapes_go_to_the_admin_port(#[case] name: &str) {
    let container = container(name);
    for (probe, path) in [
        (container.readiness_probe, "/readyz"),
        (container.liveness_probe, "/livez"),
    ] {
        let get = probe.unwrap().http_get.unwrap();
        assert_eq!(get.path.as_deref(), Some(path));
        assert_eq!(get.port, IntOrString::String("admin".to_owned()));
    }
    let annotations = deployment(name)
        .spec
        .unwrap()
        .template
        .metadata
        .unwrap()
        .annotations
        .unwrap();
    assert_eq!(
        annotations["prometheus.io/port"],
        ports(name)["admin"].to_string()
    );
}

#[rstest]
#[case(WEBHOOK)]
#[case(CONTROLLER)]
fn a_pod_runs_with_no_more_than_it_needs(#[case] name: &str) {
    let pod = pod(name);
    assert_eq!(pod.service_account_name.as_deref(), Some(name));
    assert_eq!(pod.automount_service_account_token, Some(true));
    assert_eq!(
        (pod.host_network, pod.host_pid, pod.host_ipc),
        (None, None, None)
    );
    let security = pod.security_context.unwrap();
    assert_eq!(security.run_as_non_root, Some(true));
    assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");

    let container = container(name);
    let security = container.security_context.unwrap();
    assert_eq!(security.allow_privilege_escalation, Some(false));
    assert_eq!(security.read_only_root_filesystem, Some(true));
    let capabilities = security.capabilities.unwrap();
    assert_eq!(
        (capabilities.drop.unwrap(), capabilities.add),
        (vec!["ALL".to_owned()], None)
    );
    let resources = container.resources.unwrap();
    let requests = resources.requests.unwrap();
    assert!(requests.contains_key("cpu") && requests.contains_key("memory"));
    assert_eq!(
        resources.limits.unwrap().into_keys().collect::<Vec<_>>(),
        ["memory"]
    );
    let environment = container.env.unwrap();
    let [name] = environment.as_slice() else {
        panic!("{environment:?}")
    };
    assert_eq!(name.name, "POD_NAME");
    let field = name
        .value_from
        .as_ref()
        .unwrap()
        .field_ref
        .as_ref()
        .unwrap();
    assert_eq!(field.field_path, "metadata.name");
}

#[test]
fn the_webhook_sees_its_own_certificate_and_never_the_key_of_the_authority() {
    let [volume] = pod(WEBHOOK).volumes.unwrap().try_into().unwrap();
    let secret = volume.secret.unwrap();
    assert_eq!(secret.secret_name.as_deref(), Some(names::TLS_SECRET));
    assert_eq!(secret.optional, Some(true));
    assert_eq!(secret.default_mode, Some(0o444));
    let items: Vec<_> = secret
        .items
        .unwrap()
        .into_iter()
        .map(|item| (item.key, item.path))
        .collect();
    assert_eq!(
        items,
        ["tls.crt", "tls.key"].map(|key| (key.to_owned(), key.to_owned()))
    );
    let [mount] = container(WEBHOOK)
        .volume_mounts
        .unwrap()
        .try_into()
        .unwrap();
    assert_eq!(
        (mount.name, mount.mount_path.as_str()),
        (volume.name, "/etc/failover/tls")
    );
    assert_eq!(mount.read_only, Some(true));
    assert_eq!(pod(CONTROLLER).volumes, None);
}

#[rstest]
#[case(WEBHOOK)]
#[case(CONTROLLER)]
fn the_image_is_the_one_of_this_version_and_holds_the_command(#[case] name: &str) {
    let container = container(name);
    assert_eq!(
        container.image.unwrap(),
        concat!(
            "ghcr.io/kubectl-failover/failover:v",
            env!("CARGO_PKG_VERSION")
        )
    );
    assert_eq!(
        container.command.unwrap(),
        [format!("/usr/local/bin/{name}")]
    );
    let dockerfile = fs::read_to_string(folder().join("Dockerfile")).unwrap();
    let copied = dockerfile.lines().any(|line| {
        line.starts_with("COPY --from=build")
            && line.contains(&format!("/{name} "))
            && line.ends_with("/usr/local/bin/")
    });
    assert!(
        copied,
        "the Dockerfile does not put {name} into /usr/local/bin"
    );
}

/// Container ports by name.
fn ports(name: &str) -> BTreeMap<String, i32> {
    container(name)
        .ports
        .unwrap()
        .into_iter()
        .map(|port| (port.name.unwrap(), port.container_port))
        .collect()
}
