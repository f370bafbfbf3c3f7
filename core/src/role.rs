//! The words of the domain as types: [`Role`], [`Layer`], [`Roles`], [`Epoch`].

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The role of a site or of one of its layers: `primary` (live) or `secondary` (on standby). Always lower case.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Primary,
    Secondary,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }

    /// The other role.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Primary => Self::Secondary,
            Self::Secondary => Self::Primary,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a role: use primary or secondary")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "primary" => Ok(Self::Primary),
            "secondary" => Ok(Self::Secondary),
            other => Err(UnknownRole(other.to_owned())),
        }
    }
}

/// What moves together in a transition. The order of the variants is the order of a promotion.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    Volumes,
    Workloads,
    Gitops,
    Traffic,
}

impl Layer {
    pub const ALL: [Self; 4] = [Self::Volumes, Self::Workloads, Self::Gitops, Self::Traffic];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Volumes => "volumes",
            Self::Workloads => "workloads",
            Self::Gitops => "gitops",
            Self::Traffic => "traffic",
        }
    }

    /// The label on a Namespace that holds the effective role of this layer.
    pub fn label(self) -> &'static str {
        match self {
            Self::Volumes => "failover.dev/volumes",
            Self::Workloads => "failover.dev/workloads",
            Self::Gitops => "failover.dev/gitops",
            Self::Traffic => "failover.dev/traffic",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The role of each layer; `None` is "not yet known", under which nothing is rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Roles {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gitops: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Role>,
}

impl Roles {
    /// Every layer in the same role.
    pub fn all(role: Role) -> Self {
        Self {
            volumes: Some(role),
            workloads: Some(role),
            gitops: Some(role),
            traffic: Some(role),
        }
    }

    /// Whether no layer has a role yet.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    pub fn of(&self, layer: Layer) -> Option<Role> {
        match layer {
            Layer::Volumes => self.volumes,
            Layer::Workloads => self.workloads,
            Layer::Gitops => self.gitops,
            Layer::Traffic => self.traffic,
        }
    }

    pub fn set(&mut self, layer: Layer, role: Option<Role>) {
        match layer {
            Layer::Volumes => self.volumes = role,
            Layer::Workloads => self.workloads = role,
            Layer::Gitops => self.gitops = role,
            Layer::Traffic => self.traffic = role,
        }
    }

    /// Whether any layer has this role.
    pub fn has(&self, role: Role) -> bool {
        Layer::ALL.iter().any(|layer| self.of(*layer) == Some(role))
    }

    /// The role of all layers, if they share one.
    pub fn uniform(&self) -> Option<Role> {
        let first = self.volumes?;
        Layer::ALL
            .iter()
            .all(|l| self.of(*l) == Some(first))
            .then_some(first)
    }
}

/// Orders claims to be primary across sites; never goes down.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Epoch(#[schemars(range(min = 0))] pub i64);

impl Epoch {
    /// The epoch of a new claim.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Whether no claim has ever been made.
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How a transition treats the order of the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Each layer is waited for before the next moves.
    #[default]
    Safe,
    /// All layers move at once, nothing is waited for. Guards apply anyway.
    Unsafe,
}
