//! Single cases, by name. The general properties are in [`super::properties`].

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::namespace::{Enforcement, NamespaceState};
use crate::role::Roles;

const PRIMARY: Roles = roles(Role::Primary);
const SECONDARY: Roles = roles(Role::Secondary);

const fn roles(role: Role) -> Roles {
    Roles {
        volumes: Some(role),
        workloads: Some(role),
        gitops: Some(role),
        traffic: Some(role),
    }
}

/// The namespace `shop` with these entries in force.
fn shop(enforcement: Enforcement, roles: Roles, objects: &str) -> EnrolledNamespace {
    let annotations = BTreeMap::from([(
        crate::names::OBJECTS_ANNOTATION.to_owned(),
        objects.to_owned(),
    )]);
    let (state, problems) = NamespaceState::parse(None, Some(&annotations));
    assert!(problems.is_empty(), "{problems:?}");
    EnrolledNamespace {
        name: "shop".into(),
        state: NamespaceState {
            enforcement: Some(enforcement),
            roles,
            ..state
        },
    }
}

/// A policy whose transition, if it orders a state, has reached all layers.
fn policy(name: &str, state: Option<&str>, resources: &[(&str, &str)]) -> FailoverPolicy {
    let resources: Vec<Value> = resources
        .iter()
        .map(|(kind, name)| json!({"kind": kind, "name": name}))
        .collect();
    let mut policy = json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "FailoverPolicy",
        "metadata": {"namespace": "shop", "name": name, "generation": 1},
        "spec": {"managedResources": resources},
    });
    if let Some(state) = state {
        policy["spec"]["desiredState"] = json!(state);
    }
    let mut policy = serde_json::from_value(policy).unwrap();
    transition_to(&mut policy, &Layer::ALL);
    policy
}

/// The transition of the policy's current generation has reached these layers.
pub(super) fn transition_to(policy: &mut FailoverPolicy, layers: &[Layer]) {
    let status = policy.status.get_or_insert_default();
    status.observed_generation = policy.metadata.generation;
    let named = policy.spec.managed_resources.iter();
    status.resources = named.map(|named| reported(named, None)).collect();
    let Some(state) = policy.spec.desired_state else {
        return;
    };
    let mut ordered = Roles::default();
    for layer in layers {
        ordered.set(*layer, Some(state));
    }
    let journal = json!({
        "id": "r1", "to": state, "epoch": 1, "layers": ordered, "startedAt": "2026-01-01T00:00:00Z", "steps": [],
    });
    status.transition = Some(serde_json::from_value(journal).unwrap());
}

fn reported(
    named: &ManagedResource,
    reason: Option<ManagedResourceReason>,
) -> crate::api::ManagedResourceStatus {
    crate::api::ManagedResourceStatus {
        kind: named.kind,
        name: named.name.clone(),
        namespace: named.namespace.clone().unwrap_or_else(|| "shop".into()),
        state: None,
        since: None,
        reason,
        error: None,
    }
}

/// Updates the status of a policy with its result.
pub(super) fn report(policy: &mut FailoverPolicy, result: &PolicyResult) {
    let found = result.resources.iter();
    let resources = found.map(|found| {
        let refused = found.refused.as_ref();
        reported(&found.resource, refused.map(|(reason, _)| *reason))
    });
    let status = policy.status.get_or_insert_default();
    status.observed_generation = policy.metadata.generation;
    status.resources = resources.collect();
}

const WEB: &[(&str, &str)] = &[("Deployment", "web")];

fn run(
    namespace: &EnrolledNamespace,
    exempt: &[&str],
    policies: &[&FailoverPolicy],
    settled: bool,
) -> Compiled {
    let exempt = exempt
        .iter()
        .map(|name| ObjectKey {
            namespace: "shop".into(),
            resource: "deployments".into(),
            name: (*name).to_owned(),
        })
        .collect();
    compile(&Inputs {
        namespaces: std::slice::from_ref(namespace),
        exempt: &exempt,
        policies,
        rules: &RuleSet::built_in(),
        settled,
        unused: &BTreeSet::new(),
        absent: &BTreeSet::new(),
        origins: &crate::origin::Origins::default(),
    })
}

fn objects(compiled: &Compiled) -> String {
    compiled.objects["shop"].to_string()
}

fn reasons(compiled: &Compiled) -> Vec<Option<ManagedResourceReason>> {
    let resources = compiled.policies.iter().flat_map(|p| &p.resources);
    resources
        .map(|r| r.refused.as_ref().map(|(reason, _)| *reason))
        .collect()
}

#[rstest]
#[case::a_commit_activates_nothing_on_a_standby(SECONDARY, "", &["web"], "")]
#[case::nor_with_an_unknown_role(Roles::default(), "", &["web"], "")]
#[case::in_force_on_a_primary(PRIMARY, "", &["web"], "deployments/web=exempt")]
#[case::put_in_force_by_an_operator(SECONDARY, "deployments/web=exempt", &["web"], "deployments/web=exempt")]
#[case::ends_with_its_label(SECONDARY, "deployments/web=exempt", &[], "")]
#[case::ends_with_its_label_on_a_primary(PRIMARY, "deployments/web=exempt", &[], "")]
fn an_exempt_label(
    #[case] roles: Roles,
    #[case] in_force: &str,
    #[case] labels: &[&str],
    #[case] expected: &str,
) {
    let compiled = run(
        &shop(Enforcement::Enabled, roles, in_force),
        labels,
        &[],
        true,
    );
    assert_eq!(objects(&compiled), expected);
    assert_eq!(
        compiled.held.is_empty(),
        labels.is_empty() || !expected.is_empty()
    );
}

/// Deleted, as a hook Job is before it is created again.
#[rstest]
#[case::waits_on_a_standby(
    SECONDARY,
    "deployments/web=exempt",
    true,
    "deployments/web=exempt-if-labelled"
)]
#[case::still_waits_on_a_standby(
    SECONDARY,
    "deployments/web=exempt-if-labelled",
    true,
    "deployments/web=exempt-if-labelled"
)]
#[case::waits_while_the_site_moves(
    PRIMARY,
    "deployments/web=exempt",
    false,
    "deployments/web=exempt-if-labelled"
)]
#[case::not_needed_on_a_primary(PRIMARY, "deployments/web=exempt", true, "")]
#[case::forgotten_on_a_primary(PRIMARY, "deployments/web=exempt-if-labelled", true, "")]
#[case::not_kept_if_it_was_not_exempt(SECONDARY, "deployments/web=primary", true, "")]
fn an_exemption_of_an_object_that_is_gone(
    #[case] roles: Roles,
    #[case] in_force: &str,
    #[case] settled: bool,
    #[case] expected: &str,
) {
    let namespace = shop(Enforcement::Enabled, roles, in_force);
    let gone = run_without(&namespace, &["web"], settled);
    assert_eq!(objects(&gone), expected);
    // It exists again: with the label, or without.
    let waiting = shop(
        Enforcement::Enabled,
        SECONDARY,
        "deployments/web=exempt-if-labelled",
    );
    let labelled = run(&waiting, &["web"], &[], true);
    assert_eq!(objects(&labelled), "deployments/web=exempt");
    let unlabelled = run(&waiting, &[], &[], true);
    assert_eq!(objects(&unlabelled), "");
    assert_eq!(unlabelled.awaited.len(), 1, "asked for by name");
}

fn run_without(namespace: &EnrolledNamespace, absent: &[&str], settled: bool) -> Compiled {
    let absent = absent.iter().map(|name| ObjectKey {
        namespace: "shop".into(),
        resource: "deployments".into(),
        name: (*name).into(),
    });
    compile(&Inputs {
        namespaces: std::slice::from_ref(namespace),
        exempt: &BTreeSet::new(),
        policies: &[],
        rules: &RuleSet::built_in(),
        absent: &absent.collect(),
        settled,
        unused: &BTreeSet::new(),
        origins: &crate::origin::Origins::default(),
    })
}

#[test]
fn a_deferred_exemption_says_what_it_waits_for() {
    let compiled = run(
        &shop(Enforcement::Enabled, SECONDARY, ""),
        &["web"],
        &[],
        true,
    );
    assert_eq!(compiled.held[0].object.to_string(), "shop/deployments/web");
    assert!(
        compiled.held[0]
            .why
            .starts_with("exemption of deployments/web is deferred until promotion"),
        "{}",
        compiled.held[0].why
    );
}

#[test]
fn nothing_leaves_enforcement_during_a_transition() {
    let namespace = shop(Enforcement::Policy, PRIMARY, "deployments/api=site");
    assert_eq!(
        objects(&run(&namespace, &["web"], &[], false)),
        "deployments/api=site"
    );
    assert_eq!(objects(&run(&namespace, &["web"], &[], true)), "");
}

/// Nothing reaches it, so it needs no entry; an entry would put it under the role of its layer when its label is lost.
#[rstest]
#[case::labelled("", &["web"])]
#[case::with_an_entry_of_an_earlier_version("deployments/web=exempt", &["web"])]
#[case::that_has_lost_its_label("deployments/web=exempt", &[])]
fn an_object_that_is_not_reached_has_no_entry(
    #[values(PRIMARY, SECONDARY)] roles: Roles,
    #[case] current: &str,
    #[case] labelled: &[&str],
) {
    let namespace = shop(Enforcement::Policy, roles, current);
    assert_eq!(objects(&run(&namespace, labelled, &[], true)), "");
}

#[test]
fn an_exemption_without_a_known_label_is_reported_for_a_check() {
    let namespace = shop(Enforcement::Enabled, SECONDARY, "deployments/web=exempt");
    let compiled = run(&namespace, &[], &[], true);
    let unasked: Vec<_> = compiled.unasked.iter().map(ToString::to_string).collect();
    assert_eq!(unasked, ["shop/deployments/web"]);
    assert!(run(&namespace, &["web"], &[], true).unasked.is_empty());
}

#[rstest]
#[case::enrols_at_once(SECONDARY, "", true, "deployments/web=site")]
#[case::no_longer_named_on_a_secondary(
    SECONDARY,
    "deployments/web=site",
    false,
    "deployments/web=site"
)]
#[case::no_longer_named_on_a_primary(PRIMARY, "deployments/web=site", false, "")]
#[case::no_longer_named_with_a_role_of_its_own(
    SECONDARY,
    "deployments/web=primary",
    false,
    "deployments/web=site"
)]
fn a_policy_that_follows_the_site(
    #[case] roles: Roles,
    #[case] in_force: &str,
    #[case] named: bool,
    #[case] expected: &str,
) {
    let policy = policy("p", None, WEB);
    let policies: &[&FailoverPolicy] = if named { &[&policy] } else { &[] };
    let namespace = shop(Enforcement::Policy, roles, in_force);
    assert_eq!(objects(&run(&namespace, &[], policies, true)), expected);
}

#[rstest]
#[case::promotes_on_a_secondary(SECONDARY, "", Some("primary"), "deployments/web=primary")]
#[case::demotes_on_a_primary(PRIMARY, "", Some("secondary"), "deployments/web=secondary")]
#[case::promotes_again(
    PRIMARY,
    "deployments/web=secondary",
    Some("primary"),
    "deployments/web=primary"
)]
#[case::deleted_on_a_secondary(SECONDARY, "deployments/web=primary", None, "")]
#[case::deleted_while_it_keeps_the_object_secondary(
    PRIMARY,
    "deployments/web=secondary",
    None,
    "deployments/web=secondary"
)]
#[case::deleted_with_a_secondary_site(SECONDARY, "deployments/web=secondary", None, "")]
fn a_policy_that_orders(
    #[case] roles: Roles,
    #[case] in_force: &str,
    #[case] order: Option<&str>,
    #[case] expected: &str,
) {
    let policy = policy("p", order, WEB);
    let policies: &[&FailoverPolicy] = if order.is_some() { &[&policy] } else { &[] };
    let namespace = shop(Enforcement::Enabled, roles, in_force);
    assert_eq!(objects(&run(&namespace, &[], policies, true)), expected);
}

#[rstest]
#[case::to_secondary(PRIMARY, "", "secondary", Layer::Workloads)]
#[case::to_primary(SECONDARY, "", "primary", Layer::Workloads)]
#[case::with_a_role_of_its_own(SECONDARY, "deployments/web=primary", "secondary", Layer::Workloads)]
fn an_order_of_a_policy_waits_until_its_transition_reaches_the_layer(
    #[case] roles: Roles,
    #[case] in_force: &str,
    #[case] order: &str,
    #[case] layer: Layer,
) {
    let namespace = shop(Enforcement::Enabled, roles, in_force);
    let others: Vec<Layer> = Layer::ALL.into_iter().filter(|l| *l != layer).collect();
    let mut policy = policy("p", Some(order), WEB);
    for ordered in [&[][..], &others] {
        transition_to(&mut policy, ordered);
        let compiled = run(&namespace, &[], &[&policy], true);
        assert_eq!(objects(&compiled), in_force);
        assert_eq!(reasons(&compiled), [None]);
    }
    transition_to(&mut policy, &[layer]);
    let there = format!("deployments/web={order}");
    assert_eq!(objects(&run(&namespace, &[], &[&policy], true)), there);
    // A transition of another generation of the policy does not count for this one.
    policy.metadata.generation = Some(2);
    assert_eq!(objects(&run(&namespace, &[], &[&policy], true)), in_force);
}

#[test]
fn the_first_policy_demotes_an_object_and_the_last_promotes_it() {
    let both = |state| {
        let ahead = policy("a", Some(state), WEB);
        let mut behind = policy("b", Some(state), WEB);
        transition_to(&mut behind, &[]);
        (ahead, behind)
    };
    let (a, b) = both("secondary");
    let namespace = shop(Enforcement::Enabled, PRIMARY, "");
    assert_eq!(
        objects(&run(&namespace, &[], &[&a, &b], true)),
        "deployments/web=secondary"
    );
    let (a, mut b) = both("primary");
    let namespace = shop(Enforcement::Enabled, SECONDARY, "");
    assert_eq!(objects(&run(&namespace, &[], &[&a, &b], true)), "");
    transition_to(&mut b, &Layer::ALL);
    assert_eq!(
        objects(&run(&namespace, &[], &[&a, &b], true)),
        "deployments/web=primary"
    );
}

#[rstest]
#[case::its_policy_is_gone("primary", false)]
#[case::its_policy_follows_the_site_now("primary", true)]
#[case::its_exemption_is_gone("exempt", false)]
fn a_volume_that_nothing_orders_to_be_active_becomes_passive_once_unused(
    #[case] before: &str,
    #[case] is_named: bool,
) {
    let in_force = format!("volumereplications/data={before}");
    let namespace = shop(Enforcement::Enabled, SECONDARY, &in_force);
    let policy = policy("p", None, &[("VolumeReplication", "data")]);
    let policies: &[&FailoverPolicy] = if is_named { &[&policy] } else { &[] };
    let volume = ObjectKey {
        namespace: "shop".into(),
        resource: "volumereplications".into(),
        name: "data".into(),
    };
    let compiled = |unused: BTreeSet<ObjectKey>| {
        compile(&Inputs {
            namespaces: std::slice::from_ref(&namespace),
            exempt: &BTreeSet::new(),
            policies,
            rules: &RuleSet::built_in(),
            settled: true,
            unused: &unused,
            absent: &BTreeSet::new(),
            origins: &crate::origin::Origins::default(),
        })
    };
    let used = compiled(BTreeSet::new());
    assert_eq!(objects(&used), in_force);
    assert_eq!(used.closing, BTreeSet::from([volume.clone()]));
    assert!(used.held[0].why.contains("stays primary while pods use it"));
    let unused = compiled(BTreeSet::from([volume]));
    assert!(!objects(&unused).contains(before), "{}", objects(&unused));
    assert!(unused.closing.is_empty());
}

#[test]
fn an_order_takes_precedence_over_a_label() {
    let order = policy("p", Some("secondary"), WEB);
    let namespace = shop(Enforcement::Enabled, PRIMARY, "deployments/web=exempt");
    assert_eq!(
        objects(&run(&namespace, &["web"], &[&order], true)),
        "deployments/web=secondary"
    );
    // ... and after its deletion the label does not take effect while the object itself is secondary.
    let namespace = shop(Enforcement::Enabled, PRIMARY, "deployments/web=secondary");
    assert_eq!(
        objects(&run(&namespace, &["web"], &[], true)),
        "deployments/web=secondary"
    );
}

#[test]
fn a_label_that_replaces_an_order_activates_nothing_on_a_secondary() {
    let namespace = shop(Enforcement::Enabled, SECONDARY, "deployments/web=primary");
    assert_eq!(objects(&run(&namespace, &["web"], &[], true)), "");
}

#[test]
fn contradicting_policies_are_both_refused_and_name_each_other() {
    let (a, b) = (
        policy("a", Some("primary"), WEB),
        policy("b", Some("secondary"), WEB),
    );
    let namespace = shop(Enforcement::Enabled, SECONDARY, "deployments/web=secondary");
    let compiled = run(&namespace, &[], &[&a, &b], true);
    assert_eq!(objects(&compiled), "deployments/web=secondary");
    for result in &compiled.policies {
        let (reason, why) = result.resources[0].refused.as_ref().unwrap();
        assert_eq!(*reason, ManagedResourceReason::Conflict);
        assert!(
            why.contains("shop/a (primary)") && why.contains("shop/b (secondary)"),
            "{why}"
        );
    }
}

#[test]
fn the_end_of_a_conflict_does_not_activate() {
    let mut a = policy("a", Some("primary"), WEB);
    let b = policy("b", Some("secondary"), WEB);
    let namespace = shop(Enforcement::Enabled, SECONDARY, "deployments/web=secondary");
    let reported = run(&namespace, &[], &[&a, &b], true);
    report(&mut a, &reported.policies[0]);
    let alone = run(&namespace, &[], &[&a], true);
    assert_eq!(objects(&alone), "deployments/web=secondary");
    assert_eq!(reasons(&alone), [Some(ManagedResourceReason::Waiting)]);

    // Written again, it is an order.
    a.metadata.generation = Some(3);
    let anew = run(&namespace, &[], &[&a], true);
    assert_eq!(reasons(&anew), [None]);
    report(&mut a, &anew.policies[0]);
    transition_to(&mut a, &Layer::ALL);
    assert_eq!(
        objects(&run(&namespace, &[], &[&a], true)),
        "deployments/web=primary"
    );
}

#[test]
fn policies_that_agree_are_no_conflict() {
    let (a, b) = (
        policy("a", Some("primary"), WEB),
        policy("b", Some("primary"), WEB),
    );
    let compiled = run(
        &shop(Enforcement::Enabled, SECONDARY, ""),
        &[],
        &[&a, &b],
        true,
    );
    assert_eq!(objects(&compiled), "deployments/web=primary");
    assert_eq!(reasons(&compiled), [None, None]);
}

#[rstest]
#[case::another_entry("web=exempt deployments/api")]
#[case::a_role("web=primary")]
#[case::a_path("web/scale")]
#[case::nothing("")]
fn an_invalid_name_never_reaches_the_annotation(#[case] name: &str) {
    let policy = policy("p", None, &[("Deployment", name)]);
    let compiled = run(
        &shop(Enforcement::Enabled, SECONDARY, ""),
        &[name],
        &[&policy],
        true,
    );
    assert_eq!(objects(&compiled), "");
    assert_eq!(reasons(&compiled), [Some(ManagedResourceReason::Invalid)]);
}

#[test]
fn a_namespace_that_is_not_enrolled_is_reported() {
    let mut policy = policy("p", None, WEB);
    policy.spec.managed_resources[0].namespace = Some("elsewhere".into());
    let compiled = run(
        &shop(Enforcement::Enabled, PRIMARY, ""),
        &[],
        &[&policy],
        true,
    );
    assert_eq!(objects(&compiled), "");
    assert_eq!(
        reasons(&compiled),
        [Some(ManagedResourceReason::NotEnrolled)]
    );
}

#[test]
fn any_number_of_labels_leaves_a_namespace_writable() {
    let names: Vec<String> = (0..5000)
        .map(|i| format!("a-deployment-with-a-rather-long-name-{i:05}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let order = policy("p", Some("secondary"), &[("Deployment", "zzz")]);
    let compiled = run(
        &shop(Enforcement::Enabled, PRIMARY, "deployments/b=exempt"),
        &[&names[..], &["b"]].concat(),
        &[&order],
        true,
    );
    let text = objects(&compiled);
    assert!(text.len() <= limit::ROOM && text.len() > limit::ROOM - 100);
    assert!(
        text.contains("deployments/zzz=secondary"),
        "an order goes before an exemption"
    );
    assert!(
        text.contains("deployments/b=exempt"),
        "what is in force stays"
    );
    assert_eq!(
        compiled.held.len() + compiled.objects["shop"].iter().count(),
        5002
    );
}
