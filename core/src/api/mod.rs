//! The custom resources of `failover.dev/v1alpha1`.
//!
//! The YAML in `manifests/crds/` is generated from these types; a test fails when it differs (`cargo test -p failover-core
//! crds`, with `UPDATE_CRDS=1` to write it).

// `KubeSchema` expands to a public copy of each struct inside a function.
#![allow(unreachable_pub)]
// The keys of several `printcolumn`s are taken for repeated attributes.
#![allow(clippy::duplicated_attributes)]

mod failover_policy;
mod journal;
mod role_rule;
mod site;
mod unknown;

pub use failover_policy::*;
pub use journal::*;
pub use role_rule::*;
pub use site::*;
pub use unknown::*;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Our CustomResourceDefinitions, in the order in which they are installed.
pub fn crds() -> [CustomResourceDefinition; 3] {
    [Site::crd(), FailoverPolicy::crd(), RoleRule::crd()]
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// One line of comment, so that nobody edits what the next run would overwrite.
    const HEADER: &str =
        "# Generated from core/src/api: UPDATE_CRDS=1 cargo test -p failover-core crds\n";

    #[test]
    fn crds_in_manifests_are_those_of_the_types() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests/crds");
        for crd in crds() {
            let name = crd.metadata.name.clone().unwrap();
            let file = folder.join(format!("{name}.yaml"));
            let text = format!("{HEADER}{}", serde_saphyr::to_string(&crd).unwrap());
            if std::env::var_os("UPDATE_CRDS").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&file, &text).unwrap();
            }
            let stored = std::fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(
                stored,
                text,
                "{} differs: run UPDATE_CRDS=1 cargo test -p failover-core crds",
                file.display()
            );
        }
    }
}
