//! The values that an API server accepts in a field, as far as known.
//!
//! A type is not enough. On a standby the webhook overwrites the value of a writer before the API server has validated
//! it, and records it. An invalid value would be refused only when it is restored, with 422, in a write of Flux's that
//! did not ask for it.

use serde_json::Value;

use crate::api::ValueType;
use crate::rules::rule::Field;

impl Field {
    /// Whether a value may be recorded and restored.
    pub(crate) fn takes(&self, value: &Value) -> bool {
        if !self.value_type.matches(value) {
            return false;
        }
        let path: Vec<&str> = self.pointer.segments().collect();
        match (self.value_type, path.as_slice()) {
            // `int32` and not negative in every kind that has it.
            (ValueType::Integer, ["spec", "replicas"]) => value
                .as_i64()
                .is_some_and(|count| (0..=i64::from(i32::MAX)).contains(&count)),
            (ValueType::Integer, _) => value.is_i64(),
            // An enumeration of csi-addons.
            (ValueType::String, ["spec", "replicationState"]) => ["primary", "secondary", "resync"]
                .iter()
                .any(|state| value == state),
            (ValueType::String, ["metadata", "labels", _]) => {
                value.as_str().is_some_and(is_label_value)
            }
            (ValueType::String | ValueType::Boolean, _) => true,
        }
    }
}

/// As in `k8s.io/apimachinery/pkg/util/validation`.
pub(crate) fn is_label_value(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.chars().all(|c| alphanumeric(c) || "-_.".contains(c))
        && text.chars().next().is_none_or(alphanumeric)
        && text.chars().last().is_none_or(alphanumeric)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::rules::rule::Active;

    #[rstest]
    #[case("/spec/replicas", ValueType::Integer, json!(0), true)]
    #[case("/spec/replicas", ValueType::Integer, json!(2_147_483_647), true)]
    #[case("/spec/replicas", ValueType::Integer, json!(2_147_483_648_i64), false)]
    #[case("/spec/replicas", ValueType::Integer, json!(-1), false)]
    #[case("/spec/replicas", ValueType::Integer, json!("1"), false)]
    #[case("/spec/size", ValueType::Integer, json!(-1), true)]
    #[case("/spec/size", ValueType::Integer, json!(u64::MAX), false)]
    #[case("/spec/replicationState", ValueType::String, json!("primary"), true)]
    #[case("/spec/replicationState", ValueType::String, json!("Primary"), false)]
    #[case("/metadata/labels/a", ValueType::String, json!("on-1"), true)]
    #[case("/metadata/labels/a", ValueType::String, json!(""), true)]
    #[case("/metadata/labels/a", ValueType::String, json!("on 1"), false)]
    #[case("/metadata/labels/a", ValueType::String, json!("-on"), false)]
    #[case("/metadata/annotations/a", ValueType::String, json!("on 1"), true)]
    fn takes(
        #[case] pointer: &str,
        #[case] value_type: ValueType,
        #[case] value: Value,
        #[case] expected: bool,
    ) {
        let mut field = crate::RuleSet::built_in().iter().next().unwrap().fields[0].clone();
        field.pointer = pointer.parse().unwrap();
        field.value_type = value_type;
        field.active = Active::Restore { or: None };
        assert_eq!(field.takes(&value), expected);
    }
}
