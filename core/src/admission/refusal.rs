//! Who refuses a write, read from the API server's answer. The answer names it only in its text, so use this for
//! messages, and to distinguish an answer about the object from an answer about something else.

use std::fmt;

/// Who refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refuser {
    /// An admission policy that the API server evaluates itself.
    Policy(String),
    /// An admission webhook.
    Webhook(String),
    /// A webhook that must be called and does not answer.
    SilentWebhook(String),
    /// RBAC: the caller may not write the object.
    Rights,
    /// The API server finds the object invalid.
    Validation,
    /// Something that does not name itself, such as a built-in admission plugin.
    Unnamed,
}

impl fmt::Display for Refuser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(name) => write!(f, "admission policy {name}"),
            Self::Webhook(name) => write!(f, "admission webhook {name}"),
            Self::SilentWebhook(name) => {
                write!(f, "admission webhook {name}, which does not answer")
            }
            Self::Rights => f.write_str("RBAC"),
            Self::Validation => f.write_str("validation by the API server"),
            Self::Unnamed => f.write_str("the API server"),
        }
    }
}

/// What an answer to a dry run says about the write itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It would be refused.
    Refused { by: Refuser, message: String },
    /// Nothing is known about it, with the reason.
    NotAsked(String),
}

/// Parses an error response.
pub fn read(status: u16, message: &str) -> Answer {
    // A webhook that may have side effects is not called in a dry run, so the dry run fails.
    if message.contains("does not support dry run") {
        return Answer::NotAsked(message.to_owned());
    }
    let by = if let Some(name) = between(message, "failed calling webhook \"", "\"") {
        Refuser::SilentWebhook(name)
    } else if let Some(name) = between(message, "admission webhook \"", "\" denied the request") {
        Refuser::Webhook(name)
    } else if let Some(name) = between(message, "AdmissionPolicy '", "'") {
        Refuser::Policy(name)
    } else {
        match status {
            403 if message.contains("is forbidden: User \"") => Refuser::Rights,
            403 => Refuser::Unnamed,
            422 => Refuser::Validation,
            // 400 without a name is a malformed request of ours, and 5xx a server that cannot answer.
            _ => return Answer::NotAsked(format!("{message} ({status})")),
        }
    };
    Answer::Refused {
        by,
        message: message.to_owned(),
    }
}

fn between(text: &str, start: &str, end: &str) -> Option<String> {
    let rest = &text[text.find(start)? + start.len()..];
    Some(rest[..rest.find(end)?].to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn by(status: u16, message: &str) -> Option<Refuser> {
        match read(status, message) {
            Answer::Refused { by, .. } => Some(by),
            Answer::NotAsked(_) => None,
        }
    }

    #[rstest]
    #[case::policy(422, "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'min-replicas' with binding 'min' denied request: two at least", Some(Refuser::Policy("min-replicas".into())))]
    #[case::kyverno(400, "admission webhook \"validate.kyverno.svc-fail\" denied the request: \n\nresource Deployment/shop/web was blocked", Some(Refuser::Webhook("validate.kyverno.svc-fail".into())))]
    #[case::gatekeeper(403, "admission webhook \"validation.gatekeeper.sh\" denied the request: [min] two at least", Some(Refuser::Webhook("validation.gatekeeper.sh".into())))]
    #[case::silent(500, "Internal error occurred: failed calling webhook \"v.example.com\": failed to call webhook: Post ...: connection refused", Some(Refuser::SilentWebhook("v.example.com".into())))]
    #[case::rbac(
        403,
        "deployments.apps \"web\" is forbidden: User \"alice\" cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"shop\"",
        Some(Refuser::Rights)
    )]
    #[case::invalid(
        422,
        "Deployment.apps \"web\" is invalid: metadata.annotations: Too long",
        Some(Refuser::Validation)
    )]
    #[case::quota(
        403,
        "deployments.apps \"web\" is forbidden: exceeded quota: q",
        Some(Refuser::Unnamed)
    )]
    #[case::side_effects(
        400,
        "admission webhook \"v.example.com\" does not support dry run",
        None
    )]
    #[case::busy(503, "etcd is away", None)]
    #[case::unclear(400, "the patch is broken", None)]
    fn who_refuses(#[case] status: u16, #[case] message: &str, #[case] expected: Option<Refuser>) {
        assert_eq!(by(status, message), expected);
    }
}
