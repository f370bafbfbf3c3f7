//! One admission request, and the decision about it.

pub mod annotations;
pub mod namespace;
mod operation;
pub mod record;
pub mod refusal;
pub mod rewrite;
pub(crate) mod scale;

use crate::admission::rewrite::{Rewrite, RewriteError, Subject, rewrite};
use crate::json::view::View;
use crate::namespace::{ExemptLabel, NamespaceState};
use crate::rules::rule::Rule;
pub use operation::Operation;

/// The parts of an admission request that a decision depends on, borrowed from the review.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The rule of the object's kind.
    pub rule: &'a Rule,
    pub operation: Operation,
    /// Never empty.
    pub subresource: Option<&'a str>,
    /// Empty where the object is created with `generateName`.
    pub name: &'a str,
    pub field_manager: Option<&'a str>,
    /// JSON.
    pub object: &'a str,
    /// JSON; present on an update.
    pub old_object: Option<&'a str>,
}

/// Decides about one request from the state of its namespace alone: no API call, no clock.
pub fn admit(namespace: &NamespaceState, request: &Request<'_>) -> Result<Rewrite, RewriteError> {
    let rule = request.rule;
    let created_name;
    let name = if request.name.is_empty() {
        created_name = View::parse(request.object, [])
            .map_err(RewriteError::NotJson)?
            .own_name()
            .unwrap_or_default();
        &created_name
    } else {
        request.name
    };
    let label = exempt_label(namespace, request, name)?;
    let Some(role) = namespace.role_for(rule, name, label) else {
        return Ok(Rewrite::default());
    };
    match request.subresource {
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

/// The exempt label of the object as it will be stored. Read only if the decision depends on it.
fn exempt_label(
    namespace: &NamespaceState,
    request: &Request<'_>,
    name: &str,
) -> Result<ExemptLabel, RewriteError> {
    if request.subresource.is_some() || !namespace.asks_for_label(request.rule, name) {
        return Ok(ExemptLabel::Unseen);
    }
    let view = View::parse(request.object, []).map_err(RewriteError::NotJson)?;
    let label = ExemptLabel::of_value(view.enforce_label().as_deref());
    Ok(match request.operation {
        Operation::Create => label,
        Operation::Update => label.kept(request.rule),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::admission::rewrite::rewrite_stored;
    use crate::names::{ENFORCE_LABEL, EXEMPT};
    use crate::namespace::{Enforcement, ObjectRole};
    use crate::plan::role_of;
    use crate::role::{Role, Roles};
    use crate::rules::set::RuleSet;

    const NAME: &str = "web";

    fn standby(enforcement: Enforcement, entry: Option<ObjectRole>) -> NamespaceState {
        let mut state = NamespaceState {
            enforcement: Some(enforcement),
            roles: Roles::all(Role::Secondary),
            ..NamespaceState::default()
        };
        for resource in ["deployments", "jobs"] {
            if let Some(entry) = entry {
                state.objects.set(resource, NAME, entry);
            }
        }
        state
    }

    fn object(kind: &str, labelled: bool) -> Value {
        let labels = if labelled {
            json!({ENFORCE_LABEL: EXEMPT})
        } else {
            json!({"app": NAME})
        };
        let spec = match kind {
            "jobs" => json!({"suspend": false}),
            _ => json!({"replicas": 3}),
        };
        json!({"metadata": {"name": NAME, "labels": labels}, "spec": spec})
    }

    fn is_active(object: &Value) -> bool {
        object["spec"]["replicas"] == 3 || object["spec"]["suspend"] == false
    }

    /// The object as it is stored.
    fn admitted(
        state: &NamespaceState,
        resource: &str,
        object: &Value,
        old: Option<&Value>,
    ) -> Value {
        let rules = RuleSet::built_in();
        let rule = rules.iter().find(|rule| rule.resource == resource).unwrap();
        let (text, old) = (object.to_string(), old.map(Value::to_string));
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let request = Request {
            operation: if old.is_some() {
                Operation::Update
            } else {
                Operation::Create
            },
            rule,
            subresource: None,
            name,
            field_manager: Some("kustomize-controller"),
            object: &text,
            old_object: old.as_deref(),
        };
        let rewrite = admit(state, &request).unwrap();
        let mut stored = object.clone();
        json_patch::patch(&mut stored, &rewrite.patch).unwrap();
        // The sweeper and `plan` have nothing to change.
        if let Some(role) = role_of(rule, state, &stored) {
            assert!(rewrite_stored(rule, role, &stored).unwrap().is_empty());
        }
        stored
    }

    #[rstest]
    fn an_exemption_counts_for_an_object_with_the_label(
        #[values("deployments", "jobs")] resource: &str,
        #[values(Enforcement::Enabled, Enforcement::Policy)] enforcement: Enforcement,
        #[values(ObjectRole::Exempt, ObjectRole::ExemptIfLabelled)] entry: ObjectRole,
        #[values(true, false)] labelled: bool,
    ) {
        let state = standby(enforcement, Some(entry));
        let created = admitted(&state, resource, &object(resource, labelled), None);
        assert_eq!(is_active(&created), labelled);

        // An object that loses the label, for example by a commit, becomes passive in the same write. One that keeps it
        // stays active.
        let before = object(resource, true);
        let after = object(resource, labelled);
        let updated = admitted(&state, resource, &after, Some(&before));
        assert_eq!(is_active(&updated), labelled);
    }

    /// It may be in use. An object that is created without the label is a new object.
    #[test]
    fn a_volume_that_loses_its_label_is_not_demoted_before_its_exemption_ends() {
        let mut state = standby(Enforcement::Enabled, None);
        state
            .objects
            .set("volumereplications", NAME, ObjectRole::Exempt);
        let volume = |labels: Value| json!({"metadata": {"name": NAME, "labels": labels}, "spec": {"replicationState": "primary", "autoResync": false}});
        let (labelled, bare) = (volume(json!({ENFORCE_LABEL: EXEMPT})), volume(json!({})));
        let updated = admitted(&state, "volumereplications", &bare, Some(&labelled));
        assert_eq!(updated["spec"]["replicationState"], "primary");
        let created = admitted(&state, "volumereplications", &bare, None);
        assert_eq!(created["spec"]["replicationState"], "secondary");
        // A sweep does not demote it either.
        let rules = RuleSet::built_in();
        let rule = rules
            .iter()
            .find(|rule| rule.resource == "volumereplications")
            .unwrap();
        assert_eq!(role_of(rule, &state, &bare), None);
    }

    /// A label on an object of another name asks for an exemption that is not in force.
    #[rstest]
    #[case::another_name(Some("web-2"))]
    #[case::generated(None)]
    fn a_label_alone_exempts_nothing(#[case] name: Option<&str>) {
        let state = standby(Enforcement::Enabled, Some(ObjectRole::ExemptIfLabelled));
        let mut job = object("jobs", true);
        match name {
            Some(name) => job["metadata"]["name"] = json!(name),
            None => {
                job["metadata"] =
                    json!({"generateName": NAME, "labels": job["metadata"]["labels"]});
            }
        }
        assert!(!is_active(&admitted(&state, "jobs", &job, None)));
    }

    /// A Scale shows no labels: through it only a known exempt object may grow.
    #[rstest]
    #[case(Some(ObjectRole::Exempt), 4)]
    #[case(Some(ObjectRole::ExemptIfLabelled), 0)]
    #[case(None, 0)]
    fn a_scale_of_a_possibly_different_object_is_forced(
        #[case] entry: Option<ObjectRole>,
        #[case] replicas: i64,
    ) {
        let state = standby(Enforcement::Enabled, entry);
        let mut scale = json!({"metadata": {"name": NAME}, "spec": {"replicas": 4}});
        let (text, old) = (scale.to_string(), json!({"spec": {}}).to_string());
        let rules = RuleSet::built_in();
        let request = Request {
            rule: rules.find("apps", "deployments").unwrap(),
            operation: Operation::Update,
            subresource: Some("scale"),
            name: NAME,
            field_manager: None,
            object: &text,
            old_object: Some(&old),
        };
        let rewrite = admit(&state, &request).unwrap();
        json_patch::patch(&mut scale, &rewrite.patch).unwrap();
        assert_eq!(scale["spec"]["replicas"], replicas);
    }
}
