//! Who may do what. That each rule is needed and enough is tested on a real API server in `tests/`.

use std::collections::BTreeSet;

use failover_core::checks::uncovered::external_dns::SOURCES;
use failover_core::checks::uncovered::traffic::ParentKind;
use failover_core::rules::role_rule::rendered::{TO_CONTROLLER_LABEL, TO_VIEWER_LABEL};
use failover_core::{RuleSet, names};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use rstest::rstest;

use super::object::{all, named};

const READING: [&str; 3] = ["get", "list", "watch"];

/// A role with where it holds: `None` for the whole cluster.
struct Rights {
    namespace: Option<String>,
    name: String,
    rules: Vec<PolicyRule>,
}

fn rights() -> Vec<Rights> {
    let cluster = all::<ClusterRole>("ClusterRole")
        .into_iter()
        .map(|role| Rights {
            namespace: None,
            name: role.metadata.name.unwrap(),
            // None of its own, where they are aggregated.
            rules: role.rules.unwrap_or_default(),
        });
    let namespaced = all::<Role>("Role").into_iter().map(|role| Rights {
        namespace: Some(role.metadata.namespace.unwrap()),
        name: role.metadata.name.unwrap(),
        rules: role.rules.unwrap(),
    });
    cluster.chain(namespaced).collect()
}

struct Binding {
    namespace: Option<String>,
    role: RoleRef,
    subjects: Vec<Subject>,
}

fn bindings() -> Vec<Binding> {
    let cluster = all::<ClusterRoleBinding>("ClusterRoleBinding")
        .into_iter()
        .map(|binding| Binding {
            namespace: None,
            role: binding.role_ref,
            subjects: binding.subjects.unwrap(),
        });
    let namespaced = all::<RoleBinding>("RoleBinding")
        .into_iter()
        .map(|binding| Binding {
            namespace: Some(binding.metadata.namespace.unwrap()),
            role: binding.role_ref,
            subjects: binding.subjects.unwrap(),
        });
    cluster.chain(namespaced).collect()
}

fn cluster_role(name: &str) -> Vec<PolicyRule> {
    named::<ClusterRole>("ClusterRole", name).rules.unwrap()
}

#[test]
fn every_binding_joins_a_role_and_an_account_that_are_there() {
    let accounts: BTreeSet<_> = all::<ServiceAccount>("ServiceAccount")
        .into_iter()
        .map(|account| {
            (
                account.metadata.namespace.unwrap(),
                account.metadata.name.unwrap(),
            )
        })
        .collect();
    let roles: BTreeSet<_> = rights()
        .into_iter()
        .map(|rights| (rights.namespace, rights.name))
        .collect();
    let mut bound = BTreeSet::new();
    for binding in bindings() {
        assert_eq!(binding.role.api_group, "rbac.authorization.k8s.io");
        let role = match binding.role.kind.as_str() {
            "ClusterRole" => (None, binding.role.name),
            "Role" => (binding.namespace, binding.role.name),
            other => panic!("{other}"),
        };
        assert!(roles.contains(&role), "{role:?}");
        for subject in binding.subjects {
            assert_eq!(subject.kind, "ServiceAccount");
            let account = (subject.namespace.unwrap(), subject.name);
            assert!(accounts.contains(&account), "{account:?}");
            bound.insert(account);
        }
    }
    assert_eq!(bound, accounts, "an account without rights is of no use");
}

#[test]
fn the_accounts_are_those_of_the_code_and_mount_no_token_by_default() {
    let accounts = all::<ServiceAccount>("ServiceAccount");
    let ours: Vec<_> = accounts
        .iter()
        .map(|account| account.metadata.name.as_deref().unwrap())
        .collect();
    assert_eq!(
        ours,
        [
            names::WEBHOOK_SERVICE_ACCOUNT,
            names::CONTROLLER_SERVICE_ACCOUNT,
            names::PEER_SERVICE_ACCOUNT
        ]
    );
    for account in &accounts {
        assert_eq!(
            account.automount_service_account_token,
            Some(false),
            "{:?}",
            account.metadata.name
        );
        assert_eq!(
            account.metadata.namespace.as_deref(),
            Some(names::SYSTEM_NAMESPACE)
        );
    }
}

#[test]
fn nothing_is_granted_by_wildcard_and_no_right_leads_to_more_rights() {
    for Rights { name, rules, .. } in rights() {
        for rule in rules {
            let groups = rule.api_groups.as_ref().unwrap();
            let resources = rule.resources.as_ref().unwrap();
            for word in groups.iter().chain(resources).chain(&rule.verbs) {
                assert!(!word.contains('*'), "{name}: {rule:?}");
                assert!(
                    !["impersonate", "escalate", "bind"].contains(&word.as_str()),
                    "{name}: {rule:?}"
                );
                assert_ne!(word, "rbac.authorization.k8s.io", "{name}: {rule:?}");
            }
        }
    }
}

#[test]
fn secrets_are_reached_by_name_only() {
    for Rights {
        namespace,
        name,
        rules,
    } in rights()
    {
        for rule in rules.into_iter().filter(|rule| {
            rule.resources
                .as_ref()
                .unwrap()
                .contains(&"secrets".to_owned())
        }) {
            assert_eq!(
                (namespace.as_deref(), name.as_str()),
                (
                    Some(names::SYSTEM_NAMESPACE),
                    names::CONTROLLER_SERVICE_ACCOUNT
                )
            );
            assert_eq!(rule.resource_names.unwrap(), [names::TLS_SECRET]);
            assert!(!rule.verbs.contains(&"create".to_owned()));
        }
    }
}

#[test]
fn the_webhook_writes_nothing_but_leases_in_a_namespace_that_holds_no_others() {
    for rule in cluster_role(names::WEBHOOK_SERVICE_ACCOUNT) {
        assert!(
            rule.verbs
                .iter()
                .all(|verb| READING.contains(&verb.as_str())),
            "{rule:?}"
        );
    }
    let elsewhere: Vec<_> = bindings()
        .into_iter()
        .filter(|binding| {
            binding
                .subjects
                .iter()
                .any(|subject| subject.name == names::WEBHOOK_SERVICE_ACCOUNT)
        })
        .filter_map(|binding| binding.namespace)
        .collect();
    assert_eq!(elsewhere, [names::ENFORCER_NAMESPACE]);
    let reporting = rights()
        .into_iter()
        .find(|rights| {
            rights.name == names::WEBHOOK_SERVICE_ACCOUNT
                && rights.namespace.as_deref() == Some(names::ENFORCER_NAMESPACE)
        })
        .unwrap();
    let [lease] = reporting.rules.as_slice() else {
        panic!("one rule: {:?}", reporting.rules)
    };
    assert_eq!(lease.resources.as_ref().unwrap(), &["leases"]);
}

#[test]
fn a_viewer_only_reads() {
    for rule in cluster_role("failover-viewer") {
        assert!(
            rule.verbs
                .iter()
                .all(|verb| READING.contains(&verb.as_str())),
            "{rule:?}"
        );
    }
}

/// What a RoleRule adds comes by labels of ours, which nobody gets to set without having the rights already.
#[test]
fn only_the_roles_for_role_rules_are_aggregated() {
    let aggregated: BTreeSet<_> = all::<ClusterRole>("ClusterRole")
        .into_iter()
        .filter(|role| role.aggregation_rule.is_some())
        .map(|role| {
            let selectors = role
                .aggregation_rule
                .unwrap()
                .cluster_role_selectors
                .unwrap();
            let labels: Vec<_> = selectors
                .into_iter()
                .flat_map(|selector| selector.match_labels.unwrap())
                .collect();
            (role.metadata.name.unwrap(), labels)
        })
        .collect();
    let by = |label: &str| vec![(label.to_owned(), "true".to_owned())];
    let expected = [
        (
            "failover-controller-rules".to_owned(),
            by(TO_CONTROLLER_LABEL),
        ),
        ("failover-rules-viewer".to_owned(), by(TO_VIEWER_LABEL)),
    ];
    assert_eq!(aggregated, expected.into());
}

#[rstest]
#[case("failover-viewer")]
#[case("failover-operator")]
fn rights_over_a_site_are_given_by_binding_never_by_aggregation(#[case] name: &str) {
    let role: ClusterRole = named("ClusterRole", name);
    assert_eq!(role.aggregation_rule, None);
    let labels = role.metadata.labels.unwrap();
    assert!(
        labels
            .keys()
            .all(|label| !label.starts_with("rbac.authorization.k8s.io/aggregate-to-")),
        "{labels:?}"
    );
}

/// A rule added to the table without the right to sweep its kind would leave those objects as they are.
#[rstest]
#[case::controller("failover-controller", &["list", "watch", "patch"])]
#[case::operator("failover-operator", &["list"])]
#[case::viewer("failover-viewer", &["list"])]
fn every_built_in_kind_is_within_reach(#[case] role: &str, #[case] verbs: &[&str]) {
    for built_in in RuleSet::built_in().iter() {
        let granted = granted(role, &built_in.group, &built_in.resource);
        assert!(
            verbs.iter().all(|verb| granted.contains(*verb)),
            "{role}: {} {granted:?}",
            built_in.group_resource()
        );
    }
}

/// A guard that may not list what it asks about holds every demotion.
#[rstest]
fn every_kind_that_names_are_published_from_can_be_listed(
    #[values("failover-controller", "failover-operator", "failover-viewer")] role: &str,
) {
    let sources = SOURCES.map(|source| (source.group, source.resource));
    let parents = ParentKind::ALL.map(|kind| (ParentKind::GROUP, kind.resource()));
    for (group, resource) in sources.into_iter().chain(parents) {
        let granted = granted(role, group, resource);
        assert!(granted.contains("list"), "{role}: {resource}.{group}");
    }
}

/// The verbs that a role has on a kind.
fn granted(role: &str, group: &str, resource: &str) -> BTreeSet<String> {
    let names =
        |list: &Option<Vec<String>>, name: &str| list.iter().flatten().any(|listed| listed == name);
    let rules = cluster_role(role).into_iter();
    rules
        .filter(|rule| names(&rule.api_groups, group) && names(&rule.resources, resource))
        .flat_map(|rule| rule.verbs)
        .collect()
}
