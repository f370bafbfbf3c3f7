//! The role of an object as a CEL expression.

use serde_json::Value;

use super::cel::literal;
use super::variable;
use crate::names::{ENFORCE_LABEL, EXEMPT, OBJECTS_ANNOTATION, PREVIEW_MANAGER, SITE_ANNOTATION};
use crate::rules::rule::{Reach, Rule};

/// The role of the object, as [`crate::NamespaceState::role_for`] decides it: `primary`, `secondary`, `unknown`, or
/// `exempt` if no rule reaches it. `root`: which of `object` and `oldObject` exists.
pub(super) fn variables(rule: &Rule, root: &str) -> Vec<Value> {
    let label = |key: &str| format!("namespaceObject.?metadata.?labels[?{}]", literal(key));
    let annotation =
        |key: &str| format!("namespaceObject.?metadata.?annotations[?{}]", literal(key));
    let named_only = match rule.reach {
        Reach::Named => "true".to_owned(),
        Reach::All | Reach::Uncontrolled => {
            format!("{}.orValue('') == 'policy'", label(ENFORCE_LABEL))
        }
    };
    let layer = label(rule.layer.label());
    // The layer's role, or "unknown", which refuses activation.
    let layer = format!(
        "({layer}.orValue('') in ['primary', 'secondary'] ? {layer}.orValue('') : 'unknown')"
    );
    // An exemption applies only to an object with the label; a Scale shows no label.
    let unseen = if rule.scale {
        " || request.?subResource.orValue('') == 'scale'"
    } else {
        ""
    };
    let own = format!(
        "variables.object + '=secondary' in variables.named || variables.object + '=orphaned' in variables.named ? 'secondary' : \
         variables.object + '=exempt' in variables.named && (variables.labelled{unseen}) ? 'exempt' : \
         variables.object + '=exempt-if-labelled' in variables.named && variables.labelled ? 'exempt' : \
         variables.object + '=primary' in variables.named ? 'primary' : \
         {named_only} && !['=site', '=exempt', '=exempt-if-labelled'].exists(entry, variables.object + entry in variables.named) ? 'exempt' : {layer}"
    );
    let role = match rule.reach {
        // An object with a controlling owner follows that owner. A Scale does not show the owner, and is enforced.
        Reach::Uncontrolled => format!(
            "dyn({root})[?'metadata'][?'ownerReferences'].orValue(dyn([])).exists(owner, owner[?'controller'].orValue(false) == true) ? 'exempt' : {own}"
        ),
        Reach::All | Reach::Named => own,
    };
    // A preview asks whether a change would be accepted after the roles have changed. Nothing is stored.
    let preview = literal(PREVIEW_MANAGER);
    let role = format!(
        "request.?dryRun.orValue(false) && request.?options.?fieldManager.orValue('') == {preview} ? 'exempt' : {role}"
    );
    vec![
        variable(
            "named",
            &format!("{}.orValue('').split(' ')", annotation(OBJECTS_ANNOTATION)),
        ),
        // An object that is created may have no name in the request yet, and an object of a collection delete has none.
        variable(
            "object",
            &format!(
                "{} + (request.?name.orValue('') != '' ? request.?name.orValue('') : dyn({root})[?'metadata'][?'name'].orValue(''))",
                literal(&format!("{}/", rule.resource))
            ),
        ),
        variable(
            "labelled",
            &format!(
                "dyn({root})[?'metadata'][?'labels'][?{}].orValue('') == {}",
                literal(ENFORCE_LABEL),
                literal(EXEMPT)
            ),
        ),
        variable("role", &role),
        variable(
            "site",
            &format!("{}.orValue('')", annotation(SITE_ANNOTATION)),
        ),
    ]
}
