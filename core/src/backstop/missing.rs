//! Compares the policies in a cluster with the generated ones.

use serde_json::Value;

use super::all_about;
use crate::rules::set::RuleSet;

/// The missing or changed parts of the built-in backstop, as `policy NAME` or `binding NAME`; empty means that it is in
/// force. The API server is asked for policies and bindings by name.
pub fn missing(
    find_policy: impl Fn(&str) -> Option<Value>,
    find_binding: impl Fn(&str) -> Option<Value>,
) -> Vec<String> {
    let is_there =
        |found: Option<Value>, written: &Value| found.is_some_and(|f| has_spec_of(written, &f));
    let of = |[policy, binding]: [Value; 2]| {
        let name = policy["metadata"]["name"].as_str().unwrap_or_default();
        let has_policy = is_there(find_policy(name), &policy);
        let has_binding = is_there(find_binding(name), &binding);
        [
            (!has_policy).then(|| format!("policy {name}")),
            (!has_binding).then(|| format!("binding {name}")),
        ]
    };
    let rules = RuleSet::built_in();
    let all = rules.iter().flat_map(all_about);
    all.flat_map(of).flatten().collect()
}

/// Whether the spec of an object equals the written one. Empty values that the API server fills in are ignored.
fn has_spec_of(written: &Value, found: &Value) -> bool {
    fn covers(written: &Value, found: &Value) -> bool {
        match (written, found) {
            (Value::Object(written), Value::Object(found)) => {
                let all = written
                    .iter()
                    .all(|(key, value)| found.get(key).is_some_and(|f| covers(value, f)));
                all && found
                    .iter()
                    .all(|(key, value)| written.contains_key(key) || is_empty(value))
            }
            (Value::Array(written), Value::Array(found)) => {
                written.len() == found.len() && written.iter().zip(found).all(|(w, f)| covers(w, f))
            }
            (written, found) => written == found,
        }
    }
    covers(&written["spec"], &found["spec"])
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_that_was_edited_does_not_count_and_one_that_the_server_filled_in_does() {
        let missing_with = |edit: fn(&mut Value)| {
            let rules = RuleSet::built_in();
            let all: Vec<_> = rules.iter().flat_map(all_about).collect();
            let served = |name: &str, i: usize| {
                let found = all.iter().find(|both| both[i]["metadata"]["name"] == name);
                let mut object = found.unwrap()[i].clone();
                if name.starts_with("deployments") {
                    edit(&mut object);
                }
                Some(object)
            };
            missing(|name| served(name, 0), |name| served(name, 1))
        };
        let filled_in = |object: &mut Value| {
            object["metadata"]["uid"] = json!("u");
            if object["kind"] == "ValidatingAdmissionPolicy" {
                object["spec"]["matchConstraints"]["objectSelector"] = json!({});
            }
        };
        assert_eq!(missing_with(filled_in), Vec::<String>::new());
        let edits: [fn(&mut Value); 4] = [
            |o| o["spec"]["matchConditions"] = json!([{"name": "x", "expression": "false"}]),
            |o| o["spec"]["failurePolicy"] = json!("Ignore"),
            |o| o["spec"]["validationActions"] = json!(["Warn"]),
            |o| {
                o["spec"]["matchResources"] =
                    json!({"namespaceSelector": {"matchLabels": {"x": "y"}}});
            },
        ];
        for edit in edits {
            let missing = missing_with(edit);
            assert!(
                missing
                    .iter()
                    .any(|m| m.ends_with("deployments.apps.failover.dev")),
                "{missing:?}"
            );
        }
    }
}
