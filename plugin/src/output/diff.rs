//! An object before and after, as a unified diff of its YAML.

use serde_json::Value;
use similar::TextDiff;

use super::document::{Notation, render};

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// `name` is the object's reference; both sides are shown under it. Fields that the API server manages are left out, as in
/// `kubectl diff`.
pub fn unified(name: &str, before: &Value, after: &Value) -> String {
    let (before, after) = (text(before), text(after));
    TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(CONTEXT)
        .header(&format!("{name} (now)"), &format!("{name} (planned)"))
        .to_string()
}

fn text(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    render(Notation::Yaml, &object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shows_what_changes_and_a_little_around_it() {
        let before =
            json!({"metadata": {"name": "web", "managedFields": [{}]}, "spec": {"replicas": 3}});
        let mut after = before.clone();
        after["spec"]["replicas"] = json!(0);
        assert_eq!(
            unified("shop/deployments/web", &before, &after),
            "--- shop/deployments/web (now)\n\
             +++ shop/deployments/web (planned)\n\
             @@ -1,4 +1,4 @@\n \
             metadata:\n   \
               name: web\n \
             spec:\n\
             -  replicas: 3\n\
             +  replicas: 0\n"
        );
    }
}
