//! One admission request, and the decision about it.

use crate::namespace::NamespaceState;
use crate::rewrite::{Rewrite, RewriteError, Subject, rewrite};
use crate::rule::RuleSet;
use crate::scale;
use crate::view::View;

/// What is done to the object. Nothing else changes what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
}

/// What of an admission request a decision depends on, borrowed from the review.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub operation: Operation,
    pub group: &'a str,
    /// Plural.
    pub resource: &'a str,
    pub subresource: Option<&'a str>,
    /// Empty where the object is created with `generateName`.
    pub name: &'a str,
    pub field_manager: Option<&'a str>,
    /// JSON.
    pub object: &'a str,
    /// JSON; present on an update.
    pub old_object: Option<&'a str>,
}

/// Decides about one request from the state of its namespace alone: no look-up, no clock.
pub fn admit(
    rules: &RuleSet,
    namespace: &NamespaceState,
    request: &Request<'_>,
) -> Result<Rewrite, RewriteError> {
    let Some(rule) = rules.find(request.group, request.resource) else {
        return Ok(Rewrite::default());
    };
    let created_name;
    let name = if request.name.is_empty() {
        created_name = View::parse(request.object, [])
            .map_err(RewriteError::NotJson)?
            .name()
            .unwrap_or_default();
        &created_name
    } else {
        request.name
    };
    let Some(role) = namespace.role_for(rule, name) else {
        return Ok(Rewrite::default());
    };
    match request.subresource.filter(|s| !s.is_empty()) {
        Some("scale") if rule.scale => {
            scale::rewrite(rule, role, request.object, request.old_object)
        }
        Some(_) => Ok(Rewrite::default()),
        None => {
            let subject = Subject::parse(
                rule,
                request.operation,
                request.field_manager,
                request.object,
                request.old_object,
            )?;
            rewrite(rule, role, &subject)
        }
    }
}
