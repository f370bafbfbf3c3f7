//! The admission review, parsed and serialized without deserializing its objects.
//!
//! An API server sends up to 6 MiB of objects, and a decision needs only a few fields of them. So the review is parsed
//! into borrowed structs in which the objects stay raw text. A typed round trip costs several times as much (`cargo
//! bench -p failover-webhook`), and fails on objects nested deeper than serde_json's limit, which the API server
//! accepts.

use std::borrow::Cow;

use json_patch::Patch;
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A parsed `admission.k8s.io/v1 AdmissionReview`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review<'a> {
    #[serde(borrow, default)]
    pub api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    pub kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub request: Option<AdmissionRequest<'a>>,
}

/// Why there is no [`Review`].
#[derive(Debug)]
pub enum Unreadable<'a> {
    /// There is no uid to answer under.
    Unanswerable(serde_json::Error),
    /// The request is invalid, but has a uid.
    Request(Cow<'a, str>, serde_json::Error),
}

impl<'a> Review<'a> {
    /// Parses a review in one pass. If that fails, a second pass reads only the uid, so that the caller gets an answer
    /// even if the other fields are invalid.
    pub fn parse(body: &'a str) -> Result<Self, Unreadable<'a>> {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            request: Identity<'a>,
        }
        #[derive(Deserialize)]
        struct Identity<'a> {
            #[serde(borrow)]
            uid: Cow<'a, str>,
        }
        serde_json::from_str(body).map_err(|error| match serde_json::from_str(body) {
            Ok(Envelope { request }) if !request.uid.is_empty() => {
                Unreadable::Request(request.uid, error)
            }
            _ => Unreadable::Unanswerable(error),
        })
    }
}

/// The request of a review.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionRequest<'a> {
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    #[serde(borrow)]
    pub resource: Resource<'a>,
    #[serde(borrow, default)]
    pub sub_resource: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub operation: Cow<'a, str>,
    #[serde(borrow, default)]
    pub object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub options: Option<Options<'a>>,
    /// Nothing will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub struct Resource<'a> {
    #[serde(borrow, default)]
    pub group: Cow<'a, str>,
    #[serde(borrow)]
    pub resource: Cow<'a, str>,
}

/// The part of CreateOptions, UpdateOptions or PatchOptions that identifies the writer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options<'a> {
    #[serde(borrow, default)]
    pub field_manager: Option<Cow<'a, str>>,
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The object may be stored as it is.
    Unchanged,
    /// The object may be stored with this change.
    Changed { patch: Patch, warnings: Vec<String> },
    /// The object must not be stored. 403, never 422: for Flux with `force: true` that means "delete and recreate".
    Denied { message: String },
}

impl Verdict {
    /// The review to send back, as one buffer.
    pub fn to_bytes(&self, uid: &str) -> Vec<u8> {
        let answer = Answer {
            api_version: "admission.k8s.io/v1",
            kind: "AdmissionReview",
            response: match self {
                Self::Unchanged => Response {
                    uid,
                    allowed: true,
                    patch: None,
                    patch_type: None,
                    warnings: &[],
                    status: None,
                },
                Self::Changed { patch, warnings } => Response {
                    uid,
                    allowed: true,
                    patch: Some(ByteString(
                        serde_json::to_vec(patch).expect("a patch is JSON"),
                    )),
                    patch_type: Some("JSONPatch"),
                    warnings,
                    status: None,
                },
                Self::Denied { message } => Response {
                    uid,
                    allowed: false,
                    patch: None,
                    patch_type: None,
                    warnings: &[],
                    status: Some(Status {
                        code: 403,
                        reason: "Forbidden",
                        message,
                    }),
                },
            },
        };
        serde_json::to_vec(&answer).expect("an answer is JSON")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<ByteString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
}

#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'static str,
    message: &'a str,
}
