//! The custom resources of `failover.dev/v1alpha1`.
//!
//! The YAML in `manifests/crds/` is generated from these types; a test fails when it differs (`cargo test -p failover-core
//! crds`, with `UPDATE_CRDS=1` to write it).

mod failover_policy;
mod role_rule;
mod site;

pub use failover_policy::*;
pub use role_rule::*;
pub use site::*;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Our CustomResourceDefinitions, in the order in which they are installed.
pub fn crds() -> [CustomResourceDefinition; 3] {
    [Site::crd(), FailoverPolicy::crd(), RoleRule::crd()]
}
