//! The label with which an object asks for an exemption.

use serde_json::Value;

use crate::names::{ENFORCE_LABEL, EXEMPT};
use crate::role::Layer;
use crate::rules::rule::Rule;

/// Whether an object carries the exempt label, `failover.dev/enforce: disabled`. An exemption belongs to a name, and
/// applies only to an object with the label: a new object of that name may come without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExemptLabel {
    Present,
    Absent,
    /// A Scale does not show the labels of its object.
    Unseen,
    /// Of an existing volume, see [`Self::kept`].
    Lost,
}

impl ExemptLabel {
    /// From the value of the object's label `failover.dev/enforce`.
    pub fn of_value(value: Option<&str>) -> Self {
        if value == Some(EXEMPT) {
            Self::Present
        } else {
            Self::Absent
        }
    }

    /// Of a stored object.
    pub fn of(rule: &Rule, object: &Value) -> Self {
        Self::of_value(object["metadata"]["labels"][ENFORCE_LABEL].as_str()).kept(rule)
    }

    /// Of an existing object. A workload becomes passive as soon as it loses the label. A volume may be in use: its
    /// exemption ends only when the controller has found that nothing uses it, and removes the entry.
    #[must_use]
    pub fn kept(self, rule: &Rule) -> Self {
        match self {
            Self::Absent if rule.layer == Layer::Volumes => Self::Lost,
            other => other,
        }
    }
}
