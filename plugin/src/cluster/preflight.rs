//! Has the API server compile all CEL expressions before anything is written, by dry runs of the objects that have any.
//!
//! Compilers differ between releases. An object that does not compile is refused when it is applied. By then half of an
//! installation would be there, with nothing enforced.

use failover_core::names::CLI_MANAGER;
use failover_runtime::kube::field_manager;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use serde_json::Value;

use super::{ApiError, Cluster, Manifest};

/// Kinds with expressions, and what is about policies.
const CHECKED: [&str; 4] = [
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// An object that the API server does not take as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub object: String,
    /// Field and what is wrong with it, as the API server says it; none where it names no field.
    pub causes: Vec<Cause>,
    /// All of it in one sentence.
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub field: String,
    /// The value of that field in what was sent.
    pub value: Option<String>,
    pub message: String,
}

/// What a dry run of everything with expressions found.
#[derive(Debug)]
pub enum Preflight {
    Passed,
    /// Not one of them may be written. With the version of the API server, as far as it says.
    Invalid {
        objects: Vec<Invalid>,
        version: Option<String>,
    },
    /// A kind is not served: the API server is too old.
    NotServed {
        kind: String,
        version: Option<String>,
    },
}

impl Cluster {
    /// Applies what has expressions as a dry run. An error is one that has nothing to do with what was sent.
    pub async fn preflight(
        &self,
        manifests: &[Manifest],
        force: bool,
    ) -> Result<Preflight, ApiError> {
        let params = PatchParams {
            dry_run: true,
            force,
            ..field_manager::patch(CLI_MANAGER)
        };
        let mut objects = Vec::new();
        for manifest in manifests.iter().filter(|m| CHECKED.contains(&m.kind())) {
            let answer = self
                .send(manifest, &params, &Patch::Apply(manifest.object()))
                .await;
            match answer {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    return Ok(Preflight::NotServed {
                        kind: manifest.kind().to_owned(),
                        version: self.server_version().await,
                    });
                }
                Err(kube::Error::Api(status)) if status.code == 422 => {
                    objects.push(invalid(manifest, &status));
                }
                Err(error) => {
                    let action = format!("apply {} as a dry run", manifest.reference());
                    return Err(self.error(&action, &error));
                }
            }
        }
        if objects.is_empty() {
            return Ok(Preflight::Passed);
        }
        let version = self.server_version().await;
        Ok(Preflight::Invalid { objects, version })
    }

    /// `v1.36.3`; `None` if it cannot be read, which the caller reports.
    async fn server_version(&self) -> Option<String> {
        let info = self.connection().client.apiserver_version().await.ok()?;
        Some(info.git_version)
    }
}

fn invalid(manifest: &Manifest, status: &Status) -> Invalid {
    let causes = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .map(|cause| Cause {
            value: value_at(manifest.object(), &cause.field),
            field: cause.field.clone(),
            message: cause.message.clone(),
        })
        .collect();
    Invalid {
        object: manifest.reference(),
        causes,
        message: status.message.clone(),
    }
}

/// The text at a field path such as `spec.variables[4].expression`. Paths with keys in brackets are not followed.
fn value_at(object: &Value, path: &str) -> Option<String> {
    let found = path.split('.').try_fold(object, |value, segment| {
        let (name, index) = match segment.strip_suffix(']').and_then(|s| s.split_once('[')) {
            Some((name, index)) => (name, Some(index.parse::<usize>().ok()?)),
            None => (segment, None),
        };
        let value = value.get(name)?;
        match index {
            Some(index) => value.get(index),
            None => Some(value),
        }
    })?;
    found.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_expression_is_found_by_its_field() {
        let object = json!({"spec": {"variables": [{"expression": "1"}, {"expression": "x"}]}});
        let at = |path| value_at(&object, path);
        assert_eq!(at("spec.variables[1].expression").as_deref(), Some("x"));
        assert_eq!(at("spec.variables[2].expression"), None);
        assert_eq!(at("spec.variables"), None);
        assert_eq!(at("spec.validations[a].x"), None);
    }

    #[test]
    fn a_refusal_names_the_object_its_fields_and_what_they_say() {
        let manifest = Manifest::new(json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "a"},
            "spec": {"variables": [{"name": "x", "expression": "1 +"}]},
        }));
        let status: Status = serde_json::from_value(json!({
            "code": 422, "message": "a is invalid", "reason": "Invalid",
            "details": {"causes": [{"field": "spec.variables[0].expression", "message": "no", "reason": "FieldValueInvalid"}]},
        }))
        .unwrap();
        let expected = Cause {
            field: "spec.variables[0].expression".to_owned(),
            value: Some("1 +".to_owned()),
            message: "no".to_owned(),
        };
        let found = invalid(&manifest, &status);
        assert_eq!(
            found.object,
            "validatingadmissionpolicy.admissionregistration.k8s.io/a"
        );
        assert_eq!(found.causes, [expected]);
    }
}
