//! Exempt labels, and the exemptions in force.

use super::*;

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
