//! `install --dry-run=client`: exactly the manifests, without a cluster.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::run;

fn documents(args: &[&str]) -> Vec<Value> {
    let ended = run(&[&["install", "--dry-run=client", "-o", "yaml"], args].concat());
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    serde_saphyr::from_multiple(&ended.out).unwrap()
}

/// The files, in the order of the kustomization.
fn shipped() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
    let kustomization: Value = serde_saphyr::from_str(&read("kustomization.yaml")).unwrap();
    kustomization["resources"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|file| {
            serde_saphyr::from_multiple::<Value>(&read(file.as_str().unwrap())).unwrap()
        })
        .collect()
}

#[test]
fn what_is_rendered_is_what_is_shipped() {
    assert_eq!(documents(&[]), shipped());
}

#[test]
fn the_site_comes_last() {
    let documents = documents(&["--site-name", "west", "--role", "secondary"]);
    let site = documents.last().unwrap();
    assert_eq!(site["kind"], "Site");
    assert_eq!(site["metadata"]["name"], "cluster");
    assert_eq!(
        site["spec"],
        serde_json::json!({"siteName": "west", "role": "secondary", "epoch": 0})
    );
}

#[test]
fn names_are_those_of_kubectl() {
    let ended = run(&["install", "--dry-run=client", "-o", "name"]);
    let names: Vec<_> = ended.out.lines().collect();
    assert_eq!(names.len(), shipped().len());
    assert_eq!(names[0], "namespace/failover-system");
    assert!(names.contains(&"deployment.apps/failover-controller"));
}
