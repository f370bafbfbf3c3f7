//! Expressions in the API server's Common Expression Language, built so that none of them can fail.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::api::ValueType;
use crate::json::pointer::Pointer;

/// A string as CEL spells it.
pub(super) fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c)); // a String takes all
            }
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// A scalar as CEL spells it.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => literal(text),
        // Rules have only scalars, and the others are spelt as in JSON.
        value => value.to_string(),
    }
}

/// The value of one field before and after a write, as two variables.
pub(super) struct Values {
    before: String,
    after: String,
    pointer: Pointer,
}

impl Values {
    pub(super) fn of_field(i: usize, pointer: &Pointer) -> Self {
        Self {
            before: format!("before{i}"),
            after: format!("after{i}"),
            pointer: pointer.clone(),
        }
    }

    /// An absent value is `null`; an object that did not exist was passive. With `scale` the field can also change
    /// through a Scale, which always names it `/spec/replicas`, and omits it when it is 0.
    pub(super) fn variables(&self, scale: bool, passive: &Value) -> [Value; 2] {
        const IN_SCALE: &str = "request.?subResource.orValue('') == 'scale'";
        let in_scale = Pointer::of(&["spec", "replicas"]);
        let of = |root: &str| {
            let own = select(root, &self.pointer);
            if !scale {
                format!("{own}.orValue(dyn(null))")
            } else if self.pointer == in_scale {
                format!("{own}.orValue({IN_SCALE} ? dyn(0) : dyn(null))")
            } else {
                let count = select(root, &in_scale);
                format!("({IN_SCALE} ? {count}.orValue(dyn(0)) : {own}.orValue(dyn(null)))")
            }
        };
        [
            json!({"name": self.before, "expression": format!("oldObject == null ? dyn({}) : {}", scalar(passive), of("oldObject"))}),
            json!({"name": self.after, "expression": of("object")}),
        ]
    }

    /// Passive now, or active before and no more active now. Integers whose passive value is 0 are ordered: more is
    /// more active. Other values are only passive or not.
    pub(super) fn not_more_active(&self, passive: &[&Value], value_type: ValueType) -> String {
        let (before, after) = (
            format!("variables.{}", self.before),
            format!("variables.{}", self.after),
        );
        let ordered = value_type == ValueType::Integer && *passive[0] == json!(0);
        let no_more = if ordered {
            format!(" && (type({after}) != int || (type({before}) == int && {after} <= {before}))")
        } else {
            String::new()
        };
        let (is_passive, was_passive) = (is_one_of(&after, passive), is_one_of(&before, passive));
        format!("{is_passive} || (!({was_passive}){no_more})")
    }

    pub(super) fn was_passive(&self, passive: &[&Value]) -> String {
        is_one_of(&format!("variables.{}", self.before), passive)
    }

    pub(super) fn is_passive(&self, passive: &[&Value]) -> String {
        is_one_of(&format!("variables.{}", self.after), passive)
    }

    pub(super) fn is_unchanged(&self) -> String {
        format!("variables.{} == variables.{}", self.before, self.after)
    }

    /// Passive before already, or not passive now.
    pub(super) fn was_or_is_not(&self, passive: &[&Value]) -> String {
        format!(
            "{} || !({})",
            self.was_passive(passive),
            self.is_passive(passive)
        )
    }
}

/// Whether a variable has one of these values. `null` is compared separately: a list has one type.
fn is_one_of(variable: &str, values: &[&Value]) -> String {
    let (null, values): (Vec<&&Value>, Vec<&&Value>) = values.iter().partition(|v| v.is_null());
    let values: Vec<String> = values.into_iter().map(|value| scalar(value)).collect();
    let listed = format!("{variable} in [{}]", values.join(", "));
    if null.is_empty() {
        listed
    } else {
        format!("({variable} == null || {listed})")
    }
}

/// The optional value at a pointer, by plain optional selection: Kubernetes before 1.32 refuses chained `optFlatMap`.
/// Above the last segment any value is possible in a kind without a schema, and selecting from a value that is no map
/// is an error, so the type is checked first. `metadata` always has its schema.
fn select(root: &str, pointer: &Pointer) -> String {
    let mut path = format!("dyn({root})");
    let mut are_maps = Vec::new();
    for (i, segment) in pointer.segments().enumerate() {
        if i > 0 && pointer.segment(0) != Some("metadata") {
            are_maps.push(format!("type({path}.orValue(dyn(null))) == map"));
        }
        let _ = write!(path, "[?{}]", literal(segment)); // a String takes all
    }
    if are_maps.is_empty() {
        path
    } else {
        format!("({} ? {path} : optional.none())", are_maps.join(" && "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_always_names_the_field_replicas() {
        let size: Pointer = "/spec/size".parse().unwrap();
        let [_, after] = Values::of_field(0, &size).variables(true, &json!(0));
        let expression = after["expression"].as_str().unwrap();
        let (scale, own) = expression.split_once(" : ").unwrap();
        assert!(
            scale.contains("'scale' ?") && scale.contains("'replicas'"),
            "{scale}"
        );
        assert!(own.contains("'size'") && own.contains("null"), "{own}");
    }

    #[test]
    fn strings_are_quoted() {
        assert_eq!(literal(r"it's \ here"), r"'it\'s \\ here'");
        assert_eq!(literal("a\nb"), r"'a\u000ab'");
    }
}
