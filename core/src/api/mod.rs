//! The custom resources of `failover.dev/v1alpha1`.
//!
//! The YAML in `manifests/crds/` is generated from these types, by `cargo xtask generate`; a test fails when it differs.

// `KubeSchema` expands to a public copy of each struct inside a function.
#![allow(unreachable_pub)]
// The keys of several `printcolumn`s are taken for repeated attributes.
#![allow(clippy::duplicated_attributes)]

mod failover_policy;
mod role_rule;
mod site;
mod transition;
mod unknown;

pub use crate::role::Mode;
pub use failover_policy::*;
pub use role_rule::*;
pub use site::*;
pub use transition::*;
pub use unknown::*;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Our CustomResourceDefinitions, in the order in which they are installed.
pub fn crds() -> [CustomResourceDefinition; 3] {
    [Site::crd(), FailoverPolicy::crd(), RoleRule::crd()]
}
