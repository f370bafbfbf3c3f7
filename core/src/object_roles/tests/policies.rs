//! FailoverPolicies: those that follow the site, those that order a state, and conflicts.

use super::*;

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
