//! `manifests/crds/`, from the types in `core/src/api`.

use anyhow::Context as _;

use super::Generated;

pub(super) fn files() -> anyhow::Result<Vec<Generated>> {
    failover_core::api::crds()
        .into_iter()
        .map(|crd| {
            let name = crd.metadata.name.clone().context("a CRD has no name")?;
            Ok(Generated {
                path: format!("manifests/crds/{name}.yaml"),
                content: format!(
                    "# Generated from core/src/api: cargo xtask generate\n{}",
                    serde_saphyr::to_string(&crd)?
                ),
            })
        })
        .collect()
}
