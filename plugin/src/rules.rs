//! RoleRules as they are written: those that come with us, and those in files.

use std::fs;
use std::path::{Path, PathBuf};

use failover_core::api::RoleRule;
use failover_core::names::ROLE_RULE_LABEL;
use failover_core::rules::role_rule::{rendered, written};
use failover_core::{Rule, backstop};
use serde_json::{Value, json};

use crate::cluster::Manifest;
use crate::error::Failure;
use crate::shipped_rules::RULES;

/// The longest name of a rule: it is a label's value, and part of other objects' names.
const LONGEST_NAME: usize = 52;

/// A rule that can be used, and where it came from.
#[derive(Clone, Debug)]
pub struct Source {
    pub origin: String,
    pub name: String,
    /// As it was written, without a status.
    pub object: Value,
    pub role_rule: RoleRule,
    pub rule: Rule,
}

impl Source {
    /// A rule from a document, checked by the same code as in the cluster.
    pub fn parse(origin: &str, mut object: Value) -> Result<Self, Failure> {
        let refuse = |why: String| Err(invalid(origin, &why));
        let kind = (&object["apiVersion"], &object["kind"]);
        if kind != (&json!("failover.dev/v1alpha1"), &json!("RoleRule")) {
            return refuse(format!(
                "expected apiVersion failover.dev/v1alpha1, kind RoleRule, got {} and {}",
                kind.0, kind.1
            ));
        }
        if let Some(object) = object.as_object_mut() {
            object.remove("status");
        }
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if !is_name(&name) {
            return refuse(format!(
                "metadata.name is {name:?}: use at most {LONGEST_NAME} lower-case letters, digits and hyphens"
            ));
        }
        let origin_of_rule = format!("{origin}: RoleRule {name}");
        let role_rule: RoleRule = serde_json::from_value(object.clone())
            .map_err(|error| invalid(&origin_of_rule, &error.to_string()))?;
        let rule = written(&role_rule.spec)
            .map_err(|error| invalid(&origin_of_rule, &error.to_string()))?;
        Ok(Self {
            origin: origin.to_owned(),
            name,
            object,
            role_rule,
            rule,
        })
    }

    /// The RoleRule itself.
    pub fn manifest(&self) -> Manifest {
        Manifest::new(self.object.clone())
    }
}

/// The rights on a rule's kind.
pub fn rights(name: &str, rule: &Rule) -> Vec<Manifest> {
    rendered::cluster_roles(name, rule)
        .map(Manifest::new)
        .into()
}

/// What the API server itself holds the kind by.
pub fn policies(name: &str, rule: &Rule) -> Vec<Manifest> {
    [backstop::policy(rule), backstop::binding(rule)]
        .map(|mut object| {
            object["metadata"]["labels"][ROLE_RULE_LABEL] = json!(name);
            Manifest::new(object)
        })
        .into()
}

/// All rules that come with us.
pub fn all_shipped() -> Vec<Source> {
    shipped(&RULES.map(|(name, _)| name.to_owned())).expect("a test parses each of them")
}

/// Rules that come with us.
pub fn shipped(names: &[String]) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    for (name, text) in RULES {
        if names.iter().any(|wanted| wanted == name) {
            sources.extend(documents(name, text)?);
        }
    }
    Ok(sources)
}

/// Rules in files and folders, these not with what is below them.
pub fn in_files(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    for path in paths {
        let before = sources.len();
        for file in files(path)? {
            let origin = file.display().to_string();
            let text = fs::read_to_string(&file)
                .map_err(|error| Failure::usage(format!("cannot read {origin}: {error}")))?;
            sources.extend(documents(&origin, &text)?);
        }
        if sources.len() == before {
            return Err(Failure::usage(format!(
                "{} holds no RoleRule",
                path.display()
            )));
        }
    }
    Ok(sources)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let cannot = |error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let mut files = fs::read_dir(path)
        .map_err(cannot)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(cannot)?;
    let is_manifest = |file: &PathBuf| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        file.is_file() && extension.is_some_and(|e| ["yaml", "yml", "json"].contains(&e))
    };
    files.retain(is_manifest);
    files.sort();
    Ok(files)
}

fn documents(origin: &str, text: &str) -> Result<Vec<Source>, Failure> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| invalid(origin, &format!("it is not YAML: {error}")))?;
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .map(|document| Source::parse(origin, document))
        .collect()
}

fn invalid(origin: &str, why: &str) -> Failure {
    Failure::usage(format!("{origin}: {why}; nothing was changed"))
        .next("correct it; kubectl explain rolerules.failover.dev.spec says what a rule has")
}

fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=LONGEST_NAME).contains(&name.len())
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::exit_code::ExitCode;

    #[test]
    fn every_shipped_rule_is_embedded_under_its_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/rules");
        let files: Vec<_> = files(&folder)
            .unwrap()
            .iter()
            .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(files, RULES.map(|(name, _)| name));
        let sources = shipped(&files).unwrap();
        let names: Vec<_> = sources.iter().map(|source| source.name.clone()).collect();
        assert_eq!(names, files);
    }

    fn rule(change: impl FnOnce(&mut Value)) -> Value {
        let mut rule = json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "RoleRule", "metadata": {"name": "widgets"},
            "spec": {
                "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": "workloads",
                "fields": [{"pointer": "/spec/on", "type": "boolean", "passive": false}],
            },
            "status": {"observedGeneration": 1},
        });
        change(&mut rule);
        rule
    }

    #[rstest]
    #[case::kind(rule(|r| r["kind"] = json!("Site")), "expected apiVersion failover.dev/v1alpha1, kind RoleRule")]
    #[case::name(rule(|r| r["metadata"]["name"] = json!("Big Widgets")), "metadata.name is \"Big Widgets\"")]
    #[case::missing(rule(|r| { r["spec"].as_object_mut().unwrap().remove("layer"); }), "missing field `layer`")]
    #[case::layer(rule(|r| r["spec"]["layer"] = json!("network")), "unknown variant `network`")]
    #[case::pointer(rule(|r| r["spec"]["fields"][0]["pointer"] = json!("/metadata/name")), "/metadata/name may not be touched")]
    #[case::value(rule(|r| r["spec"]["fields"][0]["passive"] = json!("off")), "\"off\" is not of type boolean")]
    fn what_is_wrong_is_said_with_its_place(#[case] object: Value, #[case] because: &str) {
        let failure = Source::parse("rules/widgets.yaml", object).unwrap_err();
        assert_eq!(failure.exit, ExitCode::Usage);
        let text = failure.to_string();
        assert!(
            text.starts_with("rules/widgets.yaml: ") && text.contains(because),
            "{text}"
        );
        assert!(text.contains("nothing was changed"), "{text}");
    }

    #[test]
    fn a_folder_is_read_file_by_file_and_one_without_rules_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().to_owned()];
        let failure = in_files(&paths).unwrap_err();
        assert!(
            failure.to_string().contains("holds no RoleRule"),
            "{failure}"
        );
        fs::write(
            folder.path().join("a.yaml"),
            format!("---\n{}\n---\n", rule(|_| {})),
        )
        .unwrap();
        fs::write(folder.path().join("README.md"), "no rule").unwrap();
        let sources = in_files(&paths).unwrap();
        assert_eq!(sources.len(), 1);
        assert!(sources[0].object.get("status").is_none());
    }

    #[test]
    fn everything_made_for_a_rule_carries_its_name() {
        let source = Source::parse("x", rule(|_| {})).unwrap();
        let made = [
            rights(&source.name, &source.rule),
            policies(&source.name, &source.rule),
        ];
        for manifest in made.iter().flatten() {
            assert_eq!(
                manifest.object()["metadata"]["labels"][ROLE_RULE_LABEL],
                "widgets",
                "{}",
                manifest.reference()
            );
        }
    }
}
