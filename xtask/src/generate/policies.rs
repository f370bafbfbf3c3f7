//! The admission policies of `manifests/policies/` that follow from the rule table.

use failover_core::backstop;

use super::Generated;

pub(super) fn files() -> anyhow::Result<Vec<Generated>> {
    backstop::files()
        .into_iter()
        .map(|file| {
            let mut documents = Vec::new();
            for object in file.objects {
                documents.push(serde_saphyr::to_string(&object)?);
            }
            Ok(Generated {
                path: format!("manifests/policies/{}", file.name),
                content: format!(
                    "# Generated from the rule table: cargo xtask generate\n#\n# {}\n{}",
                    file.about,
                    documents.join("---\n")
                ),
            })
        })
        .collect()
}
