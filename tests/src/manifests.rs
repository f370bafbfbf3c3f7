//! Manifests that other projects ship, read from their Go modules: objects that were not written for these tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::toolchain;

/// Module, and a folder in it.
const SOURCES: [(&str, &str); 8] = [
    ("k8s.io/kubernetes@v1.36.3", "test/e2e/testing-manifests"),
    ("k8s.io/kubernetes@v1.36.3", "test/fixtures"),
    ("k8s.io/kubernetes@v1.36.3", "hack/testdata"),
    ("k8s.io/kubernetes@v1.36.3", "cluster/addons"),
    ("github.com/fluxcd/helm-controller@v1.6.4", "config"),
    ("github.com/fluxcd/kustomize-controller@v1.9.5", "config"),
    ("github.com/argoproj/argo-rollouts@v1.8.3", "."),
    (
        "github.com/csi-addons/kubernetes-csi-addons@v0.14.0",
        "config/samples",
    ),
];

/// All objects of these types (`apiVersion`, `kind`), with this namespace. If several have the same name, all but the first
/// get a number. They may be invalid.
pub fn shipped(namespace: &str, types: &[(&str, &str)]) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut names: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (module, folder) in SOURCES {
        for mut object in objects_below(&toolchain::module_dir(module)?.join(folder))? {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
            let name = text(&object["metadata"]["name"]);
            if name.is_empty() || !types.contains(&(&version, &kind)) {
                continue;
            }
            let times = names.entry((kind, name.clone())).or_default();
            if *times > 0 {
                object["metadata"]["name"] = format!("{name}-{times}").into();
            }
            *times += 1;
            object["metadata"]["namespace"] = namespace.into();
            if let Some(object) = object.as_object_mut() {
                object.remove("status");
            }
            found.push(object);
        }
    }
    Ok(found)
}

fn objects_below(folder: &Path) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for file in files_below(folder)? {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        // A few files have placeholders that their tests fill in.
        let text = text.replace("{{.", "").replace("}}", "");
        for document in text.split("\n---") {
            // Templates, and files that are broken on purpose.
            let Ok(object) = serde_saphyr::from_str::<Value>(document.trim_start_matches("---"))
            else {
                continue;
            };
            match object["items"].as_array() {
                Some(items) if object["kind"] == "List" => found.extend(items.iter().cloned()),
                _ => found.push(object),
            }
        }
    }
    Ok(found)
}

/// Sorted, so that the same objects get the same names every time.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else if [".yaml", ".yml", ".yaml.in"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
