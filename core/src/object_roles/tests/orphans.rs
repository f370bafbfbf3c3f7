//! Objects whose HelmRelease or Kustomization is gone.

use super::*;
use crate::origin::Origin;

const RELEASE: &str = "shop/helmreleases/web";

fn key(text: &str) -> ObjectKey {
    let parts: Vec<&str> = text.split('/').collect();
    ObjectKey {
        namespace: parts[0].into(),
        resource: parts[1].into(),
        name: parts[2].into(),
    }
}

fn origin(owner: &str) -> Origin {
    let labels = |group: &str, owner: &ObjectKey| {
        BTreeMap::from([
            (format!("{group}/name"), owner.name.clone()),
            (format!("{group}/namespace"), owner.namespace.clone()),
        ])
    };
    let owner = key(owner);
    let group = match owner.resource.as_str() {
        "helmreleases" => "helm.toolkit.fluxcd.io",
        _ => "kustomize.toolkit.fluxcd.io",
    };
    let origin = Origin::of(&labels(group, &owner), &BTreeMap::new()).unwrap();
    assert_eq!(origin.owner, owner);
    origin
}

/// Installed objects, as `object <- owner`, and the existing owners.
fn origins(installed: &[(&str, &str)], existing: &[&str]) -> Origins {
    Origins {
        installed: installed
            .iter()
            .map(|(object, owner)| (key(object), origin(owner)))
            .collect(),
        existing: existing.iter().map(|owner| key(owner)).collect(),
        listed: [
            "deployments",
            "helmreleases",
            "kustomizations",
            "virtualservices",
            "volumereplications",
        ]
        .map(str::to_owned)
        .into(),
    }
}

fn namespace(name: &str, enforcement: Enforcement, role: Role, objects: &str) -> EnrolledNamespace {
    let annotation = (
        crate::names::OBJECTS_ANNOTATION.to_owned(),
        objects.to_owned(),
    );
    let (state, problems) = NamespaceState::parse(None, Some(&BTreeMap::from([annotation])));
    assert!(problems.is_empty(), "{problems:?}");
    EnrolledNamespace {
        name: name.into(),
        state: NamespaceState {
            enforcement: Some(enforcement),
            roles: Roles::all(role),
            ..state
        },
    }
}

fn compiled(namespaces: &[EnrolledNamespace], origins: &Origins, exempt: &[&str]) -> Compiled {
    compile(&Inputs {
        namespaces,
        exempt: &exempt.iter().map(|object| key(object)).collect(),
        policies: &[],
        rules: &RuleSet::built_in(),
        settled: true,
        unused: &BTreeSet::new(),
        absent: &BTreeSet::new(),
        origins,
    })
}

fn in_force(compiled: &Compiled) -> String {
    compiled.objects["shop"].to_string()
}

#[rstest]
#[case::its_release_is_there(Role::Secondary, "", &[RELEASE], "")]
#[case::its_release_is_gone(Role::Secondary, "", &[], "deployments/web=orphaned")]
#[case::named_by_a_policy(Role::Secondary, "deployments/web=site", &[], "deployments/web=orphaned")]
#[case::after_the_promotion(Role::Primary, "deployments/web=orphaned", &[], "deployments/web=orphaned")]
#[case::live_without_its_release(Role::Primary, "", &[], "")]
#[case::its_release_is_back(Role::Secondary, "deployments/web=orphaned", &[RELEASE], "")]
#[case::its_release_is_back_on_a_primary(Role::Primary, "deployments/web=orphaned", &[RELEASE], "")]
#[case::exempt_by_an_operator(Role::Secondary, "deployments/web=exempt", &[], "deployments/web=exempt")]
#[case::demoted_by_a_policy(Role::Secondary, "deployments/web=secondary", &[], "")]
fn a_secondary_object_without_its_release_stays_passive(
    #[case] role: Role,
    #[case] before: &str,
    #[case] existing: &[&str],
    #[case] after: &str,
) {
    let shop = namespace("shop", Enforcement::Enabled, role, before);
    let origins = origins(&[("shop/deployments/web", RELEASE)], existing);
    let exempt: &[&str] = if before.contains("exempt") {
        &["shop/deployments/web"]
    } else {
        &[]
    };
    let compiled = compiled(&[shop], &origins, exempt);
    // An entry that follows the site is removed with its policy: the object follows the site anyway.
    assert_eq!(in_force(&compiled), after);
    let named: Vec<_> = compiled
        .orphaned
        .iter()
        .map(|deferred| deferred.object.to_string())
        .collect();
    let is_orphaned = after.ends_with("orphaned");
    assert_eq!(named.len(), usize::from(is_orphaned), "{named:?}");
    let is_new = is_orphaned && !before.ends_with("orphaned");
    assert_eq!(compiled.missing.contains(&key(RELEASE)), is_new);
}

/// A Kustomization is suspended only where a FailoverPolicy names it. Otherwise Flux prunes what it installed.
#[rstest]
#[case::named_by_a_policy("kustomizations/apps=site", true)]
#[case::not_named("", false)]
fn only_a_suspended_kustomization_leaves_orphans(#[case] before: &str, #[case] is_orphaned: bool) {
    let shop = namespace("shop", Enforcement::Enabled, Role::Secondary, before);
    let origins = origins(&[("shop/deployments/web", "shop/kustomizations/apps")], &[]);
    let compiled = compiled(&[shop], &origins, &[]);
    let orphaned: Vec<_> = compiled
        .orphaned
        .iter()
        .map(|o| o.object.to_string())
        .collect();
    let expected: &[&str] = if is_orphaned {
        &["shop/deployments/web"]
    } else {
        &[]
    };
    assert_eq!(orphaned, expected);
}

#[test]
fn both_remedies_are_named() {
    let shop = namespace("shop", Enforcement::Enabled, Role::Secondary, "");
    let mut origins = origins(&[("shop/deployments/web", RELEASE)], &[]);
    let origin = origins.installed.values_mut().next().unwrap();
    origin.release = Some(("shop".into(), "storefront".into()));
    let why = &compiled(&[shop], &origins, &[]).orphaned[0].why;
    assert!(why.contains("helm uninstall storefront -n shop"), "{why}");
    let label = "kubectl label deployments.apps/web -n shop helm.toolkit.fluxcd.io/name- helm.toolkit.fluxcd.io/namespace-";
    assert!(why.contains(label), "{why}");
}

#[rstest]
#[case::enrolled(Some(Enforcement::Enabled), true)]
#[case::of_policies_alone(Some(Enforcement::Policy), false)]
#[case::not_enrolled(None, false)]
fn only_a_release_that_is_suspended_here_leaves_orphans(
    #[case] apps: Option<Enforcement>,
    #[case] is_orphaned: bool,
) {
    let mut namespaces = vec![namespace("shop", Enforcement::Enabled, Role::Secondary, "")];
    namespaces.extend(apps.map(|apps| namespace("apps", apps, Role::Secondary, "")));
    let origins = origins(&[("shop/deployments/web", "apps/helmreleases/web")], &[]);
    let compiled = compiled(&namespaces, &origins, &[]);
    assert_eq!(
        in_force(&compiled) == "deployments/web=orphaned",
        is_orphaned
    );
}

#[test]
fn a_release_is_orphaned_with_the_release_that_installed_it() {
    let shop = namespace("shop", Enforcement::Enabled, Role::Secondary, "");
    let installed = [
        ("shop/deployments/web", RELEASE),
        (RELEASE, "shop/helmreleases/all"),
        ("shop/virtualservices/web", RELEASE),
        ("shop/volumereplications/data", RELEASE),
    ];
    let compiled = compiled(&[shop], &origins(&installed, &[RELEASE]), &[]);
    assert_eq!(
        in_force(&compiled),
        "deployments/web=orphaned helmreleases/web=orphaned virtualservices/web=orphaned"
    );
    assert_eq!(
        compiled.missing,
        BTreeSet::from([key("shop/helmreleases/all")])
    );
}

#[test]
fn an_unknown_owner_changes_nothing() {
    for before in ["", "deployments/web=orphaned"] {
        for listed in [&["deployments"][..], &["helmreleases"], &[]] {
            let shop = namespace("shop", Enforcement::Enabled, Role::Secondary, before);
            let mut origins = origins(&[("shop/deployments/web", RELEASE)], &[]);
            origins.listed = listed.iter().map(|kind| (*kind).to_owned()).collect();
            assert_eq!(in_force(&compiled(&[shop], &origins, &[])), before);
        }
    }
}

#[test]
fn releases_that_name_each_other_terminate() {
    let shop = namespace("shop", Enforcement::Enabled, Role::Secondary, "");
    let (a, b) = ("shop/helmreleases/a", "shop/helmreleases/b");
    let compiled = compiled(&[shop], &origins(&[(a, b), (b, a)], &[a, b]), &[]);
    assert_eq!(in_force(&compiled), "");
}

#[test]
fn an_object_installed_by_helm_without_flux_has_no_origin() {
    let annotations = [
        ("meta.helm.sh/release-name", "web"),
        ("meta.helm.sh/release-namespace", "shop"),
    ];
    let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(Origin::of(&BTreeMap::new(), &annotations.into()), None);
}
