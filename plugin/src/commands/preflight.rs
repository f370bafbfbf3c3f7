//! Nothing is installed that the API server would refuse halfway: see [`crate::cluster::Preflight`].

use crate::cluster::{ApiError, Invalid, Manifest, Preflight};
use crate::error::Failure;
use crate::session::Session;

/// The longest part of an expression that is shown.
const SHOWN: usize = 160;

/// Has the API server compile all expressions before the first object is written.
pub(super) async fn preflight(
    session: &Session<'_>,
    manifests: &[Manifest],
    force: bool,
) -> Result<(), Failure> {
    let found = session.cluster.preflight(manifests, force).await;
    let found = found.map_err(untouched)?;
    match failure(found) {
        None => Ok(()),
        Some(failure) => Err(failure),
    }
}

fn untouched(error: ApiError) -> Failure {
    let conflict = error.is_conflict();
    let mut failure = Failure::from(error);
    failure.message.push_str("; nothing was changed");
    if conflict {
        failure.next = Some(
            "see who changed these fields; to take them over, run it again with --force-conflicts"
                .to_owned(),
        );
    }
    failure
}

fn failure(found: Preflight) -> Option<Failure> {
    let server = |version: Option<String>| {
        version.map_or_else(
            || "an API server of unknown version".to_owned(),
            |version| format!("the API server ({version})"),
        )
    };
    match found {
        Preflight::Passed => None,
        Preflight::NotServed { kind, version } => Some(
            Failure::refused(format!(
                "{} does not serve {kind}, and nothing was changed",
                server(version)
            ))
            .next("Kubernetes 1.30 or newer is needed"),
        ),
        Preflight::Invalid { objects, version } => Some(
            Failure::refused(format!(
                "{} does not accept the admission policies, and nothing was changed",
                server(version)
            ))
            .details(objects.into_iter().flat_map(details))
            .next(
                "the README says which versions of Kubernetes are supported; of an object of your own, such as a RoleRule, see the field",
            ),
        ),
    }
}

/// One line a field, with the expression.
fn details(invalid: Invalid) -> Vec<String> {
    let Invalid {
        object,
        causes,
        message,
    } = invalid;
    if causes.is_empty() {
        return vec![format!("{object}: {message}")];
    }
    causes
        .into_iter()
        .map(|cause| {
            let expression = cause.value.map_or_else(String::new, |value| {
                let end = value
                    .char_indices()
                    .nth(SHOWN)
                    .map_or(value.len(), |(end, _)| end);
                let more = if end < value.len() { "..." } else { "" };
                format!(" {:?}{more}", &value[..end])
            });
            format!("{object}: {}{expression}: {}", cause.field, cause.message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cause;
    use crate::exit_code::ExitCode;

    #[test]
    fn a_policy_that_does_not_compile_is_told_with_its_expression_and_the_servers_version() {
        let invalid = Invalid {
            object: "validatingadmissionpolicy.admissionregistration.k8s.io/a".to_owned(),
            causes: vec![Cause {
                field: "spec.variables[0].expression".to_owned(),
                value: Some("1 +".to_owned()),
                message: "compilation failed".to_owned(),
            }],
            message: "a is invalid".to_owned(),
        };
        let failure = failure(Preflight::Invalid {
            objects: vec![invalid],
            version: Some("v1.30.4".to_owned()),
        })
        .unwrap();
        assert_eq!(failure.exit, ExitCode::Refused);
        let text = failure.to_string();
        for part in [
            "v1.30.4",
            "nothing was changed",
            "validatingadmissionpolicy.admissionregistration.k8s.io/a",
            "spec.variables[0].expression \"1 +\": compilation failed",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(super::failure(Preflight::Passed).is_none());
    }
}
