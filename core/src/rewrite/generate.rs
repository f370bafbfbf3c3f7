use proptest::prelude::*;
use serde_json::Value;
pub(crate) fn object() -> impl Strategy<Value = Value> {
    Just(serde_json::json!({}))
}
