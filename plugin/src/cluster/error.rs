//! Errors of the API server, distinguished by what the user can do about them.

use failover_runtime::error_chain::{causes, chain, root_cause};
use failover_runtime::kube::server_certificate;

use crate::error::Failure;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("cannot {action}: the API server at {server} does not answer: {cause}")]
    Unreachable {
        action: String,
        server: String,
        cause: String,
        /// Whether the request may have got there all the same.
        sent: bool,
    },
    /// Nothing was sent.
    #[error(
        "cannot {action}: the certificate of the API server at {server} is not accepted: {cause}"
    )]
    Untrusted {
        action: String,
        server: String,
        cause: String,
    },
    #[error("cannot {action}: the API server does not accept your credentials")]
    Unauthenticated { action: String },
    #[error("cannot {action}: {message}")]
    Forbidden { action: String, message: String },
    #[error("cannot {action}: it is not there")]
    NotFound { action: String },
    /// It changed since it was read, or is there already, or belongs to another field manager.
    #[error("cannot {action}: {message}")]
    Conflict { action: String, message: String },
    /// The token of a paged list is too old.
    #[error("cannot {action}: the list expired while it was read")]
    Expired { action: String },
    #[error("cannot {action}: the API server is overloaded or starting: {message}")]
    Busy { action: String, message: String },
    /// It was answered with something that this version cannot read.
    #[error("cannot {action}: {message}")]
    Unreadable { action: String, message: String },
    #[error("cannot {action}: {message}")]
    Refused { action: String, message: String },
}

impl ApiError {
    pub fn of(action: &str, server: &str, error: &kube::Error) -> Self {
        let action = action.to_owned();
        let kube::Error::Api(status) = error else {
            return Self::without_answer(action, server, error);
        };
        let message = status.message.clone();
        match status.code {
            401 => Self::Unauthenticated { action },
            403 => Self::Forbidden { action, message },
            404 => Self::NotFound { action },
            409 => Self::Conflict { action, message },
            410 => Self::Expired { action },
            429 | 500 | 502..=504 => Self::Busy { action, message },
            _ => Self::Refused { action, message },
        }
    }

    fn without_answer(action: String, server: &str, error: &kube::Error) -> Self {
        if let Some(refusal) = server_certificate::refusal(error) {
            return Self::Untrusted {
                action,
                server: server.to_owned(),
                cause: refusal.to_string(),
            };
        }
        match error {
            kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => {
                let connecting = chain(error).any(|e| {
                    let error = e.downcast_ref::<hyper_util::client::legacy::Error>();
                    error.is_some_and(hyper_util::client::legacy::Error::is_connect)
                });
                Self::Unreachable {
                    action,
                    server: server.to_owned(),
                    cause: root_cause(error),
                    sent: !connecting,
                }
            }
            kube::Error::SerdeError(error) => Self::Unreadable {
                action,
                message: format!("a later version may have written it: {error}"),
            },
            other => Self::Refused {
                action,
                message: causes(other),
            },
        }
    }

    /// Whether asking again may help.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. })
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }

    fn next(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => {
                Some("check the address (--context, --server) and the way to it".to_owned())
            }
            Self::Untrusted { .. } => Some(
                "compare the server's certificate (openssl s_client -showcerts -connect HOST:PORT) with the authority in the kubeconfig; name another with --certificate-authority FILE, or another name to check with --tls-server-name"
                    .to_owned(),
            ),
            Self::Unauthenticated { .. } => {
                Some("log in again, or pass --user or --token".to_owned())
            }
            Self::Forbidden { .. } => Some(
                "the ClusterRole failover-viewer allows reading, failover-operator allows you to promote and demote; install and uninstall need cluster-admin"
                    .to_owned(),
            ),
            Self::Busy { .. } => Some("try again in a moment".to_owned()),
            Self::Unreadable { .. } => Some(
                "use the kubectl-failover of the controller's version (kubectl failover version)"
                    .to_owned(),
            ),
            Self::NotFound { .. } | Self::Conflict { .. } | Self::Expired { .. } | Self::Refused { .. } => None,
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let failure = Self::error(error.to_string());
        match error.next() {
            Some(next) => failure.next(next),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(401, "the API server does not accept your credentials", false)]
    #[case(403, "cannot read the Site: no", false)]
    #[case(404, "it is not there", false)]
    #[case(409, "cannot read the Site: no", false)]
    #[case(410, "the list expired", false)]
    #[case(429, "overloaded or starting: no", true)]
    #[case(503, "overloaded or starting: no", true)]
    #[case(422, "cannot read the Site: no", false)]
    fn answers_are_told_apart(#[case] code: u16, #[case] text: &str, #[case] passing: bool) {
        let status = Status {
            code,
            message: "no".into(),
            ..Status::default()
        };
        let error = ApiError::of(
            "read the Site",
            "https://x",
            &kube::Error::Api(Box::new(status)),
        );
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(error.is_passing(), passing);
    }

    #[test]
    fn a_certificate_that_is_not_accepted_is_told_as_one() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let io = std::io::Error::other(tls);
        let error = ApiError::of(
            "read the Site",
            "https://x",
            &kube::Error::Service(io.into()),
        );
        assert!(matches!(error, ApiError::Untrusted { .. }), "{error:?}");
        let next = Failure::from(error).next.unwrap();
        assert!(next.contains("--certificate-authority"), "{next}");
    }

    #[test]
    fn silence_names_the_server_and_the_innermost_cause() {
        let io = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let error = ApiError::of(
            "read the Site",
            "https://x",
            &kube::Error::Service(io.into()),
        );
        assert_eq!(
            error.to_string(),
            "cannot read the Site: the API server at https://x does not answer: connection reset"
        );
        assert!(matches!(error, ApiError::Unreachable { sent: true, .. }));
    }
}
