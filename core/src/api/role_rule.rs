//! [`RoleRule`]: a rule as data, for a kind that is not built in.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::role::Layer;

// Its checked form is `crate::rules::rule::Rule`, made by `crate::rules::role_rule`.
/// What makes an object of some kind passive, and how it becomes active again.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "failover.dev",
    version = "v1alpha1",
    kind = "RoleRule",
    plural = "rolerules",
    status = "RoleRuleStatus",
    derive = "PartialEq",
    doc = "RoleRule says which fields make an object of some kind passive, and how they become active again.",
    category = "failover",
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.group"),
    printcolumn(name = "Resource", type_ = "string", json_path = ".spec.resource"),
    printcolumn(name = "Layer", type_ = "string", json_path = ".spec.layer"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(
    validation = ("self.group == oldSelf.group && self.resource == oldSelf.resource", "group and resource are immutable: a rule for another kind is another RoleRule")
)]
#[serde(rename_all = "camelCase")]
pub struct RoleRuleSpec {
    /// API group of the kind; empty for the core group.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub group: String,
    /// Version in which the controller reads and writes it.
    #[schemars(length(min = 1, max = 63))]
    pub version: String,
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Plural, as in its URL.
    #[schemars(length(min = 1, max = 63))]
    pub resource: String,
    pub layer: Layer,
    /// Whether the kind has a `/scale` subresource, which then is forced to 0 as well.
    #[serde(default)]
    pub scale: bool,
    /// At most eight. What is in force may have more for a while: see `status.enforced`.
    #[schemars(length(min = 1, max = 16))]
    pub fields: Vec<RoleRuleField>,
    /// How an active object of the kind shows that it is up. Without it, workloads that have `spec.replicas` are up once
    /// `status.availableReplicas` says so, and others are not waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<RoleRuleReady>,
}

/// How an active object reports that it is up. A promotion waits for it before traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleRuleReady {
    /// Type of the entry of `status.conditions` that is True once the object is up. It counts only for the current
    /// generation, where it or the status reports an `observedGeneration`.
    #[schemars(
        length(min = 1, max = 316),
        regex(pattern = "^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$")
    )]
    pub condition: String,
    /// Objects that only a person starts, and that are therefore not waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub except: Vec<RoleRuleException>,
}

/// Objects whose field has one of these values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleRuleException {
    /// JSON pointer of one to six segments, none of them into an array.
    #[schemars(length(min = 2, max = 1024), regex(pattern = "^/"))]
    pub pointer: String,
    #[schemars(schema_with = "exceptions")]
    pub values: Vec<Value>,
}

/// One field of a RoleRule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleRuleField {
    /// JSON pointer of one to six segments, none of them into an array.
    #[schemars(length(min = 2, max = 1024), regex(pattern = "^/"))]
    pub pointer: String,
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// The value that is forced while the layer is not primary.
    #[schemars(schema_with = "scalar")]
    pub passive: Value,
    /// Other values that count as passive and are left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "scalars")]
    pub also_passive: Vec<Value>,
    /// Whether an absent field is passive too and is left alone. Otherwise absence counts as active, and the passive value
    /// is written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub absent_is_passive: bool,
    #[serde(default)]
    pub active: RoleRuleActive,
    /// Whether this field keeps the passive value of the first field from destroying data, as `whenScaled: Retain` of a
    /// StatefulSet does beside `replicas: 0`. The first field is not made passive without it, through /scale neither, and
    /// the field becomes active again only together with the first.
    #[serde(default, skip_serializing_if = "is_false")]
    pub safeguard: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde calls"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// The type of a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    Integer,
    Boolean,
    String,
}

impl ValueType {
    /// Whether a value is of this type.
    pub fn matches(self, value: &Value) -> bool {
        match self {
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Boolean => value.is_boolean(),
            Self::String => value.is_string(),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::String => "string",
        }
    }
}

/// How a field becomes active again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleRuleActive {
    #[serde(default)]
    pub mode: ActiveMode,
    /// With `restore`: the value where there is no record. With `fixed`: the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar")]
    pub value: Option<Value>,
}

/// Where the active value comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActiveMode {
    /// From the object's own record.
    #[default]
    Restore,
    /// Always the same value.
    Fixed,
    /// Never automatically, if the object was created while its layer was not primary.
    Manual,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleRuleStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The rule in force. It follows the spec at once where that is tighter; where it is looser, only once the layer is
    /// primary everywhere and every record has been spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced: Option<RoleRuleSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A structural schema cannot say "integer, boolean or string" (no type unions), and CEL cannot read a field without a
/// type. So values are checked when the rule is compiled, and a wrong or missing one is reported in the rule's status.
fn scalar(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

fn exceptions(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 8,
        "items": { "x-kubernetes-preserve-unknown-fields": true }
    })
}

fn scalars(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 8,
        "items": { "x-kubernetes-preserve-unknown-fields": true }
    })
}
