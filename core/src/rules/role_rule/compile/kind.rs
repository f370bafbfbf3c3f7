//! The kinds that may have a rule.

use super::RuleError;
use crate::api::RoleRuleSpec;
use crate::names::GROUP;

/// Groups of access control, of enforcement and of the cluster's own state.
const PROTECTED_GROUPS: [&str; 8] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "rbac.authorization.k8s.io",
];

/// Kinds of the core group that grant access, or that other controllers generate and no rule can keep passive.
const PROTECTED_CORE: [&str; 9] = [
    "bindings",
    "endpoints",
    "events",
    "namespaces",
    "nodes",
    "persistentvolumes",
    "pods",
    "secrets",
    "serviceaccounts",
];

pub(super) fn check(spec: &RoleRuleSpec) -> Result<(), RuleError> {
    let what = || match spec.group.as_str() {
        "" => spec.resource.clone(),
        group => format!("{}.{group}", spec.resource),
    };
    if spec.group == GROUP || spec.group.ends_with(".failover.dev") {
        return Err(RuleError::OwnGroup(what()));
    }
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    for (field, value, sound, expected) in [
        (
            "group",
            &spec.group,
            spec.group.is_empty() || is_subdomain(&spec.group),
            "use the API group in lower case, or nothing for the core group",
        ),
        (
            "version",
            &spec.version,
            spec.version.starts_with('v') && spec.version.chars().all(lower),
            "use a version such as v1 or v1beta1",
        ),
        (
            "kind",
            &spec.kind,
            spec.kind.starts_with(|c: char| c.is_ascii_uppercase())
                && spec.kind.chars().all(|c| c.is_ascii_alphanumeric()),
            "use the kind in CamelCase",
        ),
        (
            "resource",
            &spec.resource,
            is_label(&spec.resource),
            "use the plural in lower case, as in its URL, without a subresource",
        ),
    ] {
        if !sound {
            return Err(RuleError::Name {
                field,
                value: value.clone(),
                expected,
            });
        }
    }
    let protected = PROTECTED_GROUPS.contains(&spec.group.as_str())
        || (spec.group.is_empty() && PROTECTED_CORE.contains(&spec.resource.as_str()));
    if protected {
        return Err(RuleError::Protected(what()));
    }
    Ok(())
}

/// A DNS label of RFC 1123.
fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}
