//! The content of the Secret, and patches of it.

use std::collections::BTreeMap;

use failover_certs::{Pair, Stored};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// The webhook mounts the third and the fourth only.
const KEYS: [&str; 5] = ["ca.crt", "ca.key", "tls.crt", "tls.key", "ca-previous.crt"];

/// The stored pairs, valid or not: `decide` judges them.
pub(super) fn stored(secret: &Secret) -> Stored {
    let [ca, ca_key, tls, tls_key, previous] = KEYS;
    let data = secret.data.as_ref();
    Stored {
        authority: pair(data, ca, ca_key),
        leaf: pair(data, tls, tls_key),
        previous: text(data, previous),
    }
}

/// Writes all five keys on the version that was decided on, so that nothing of an older state remains.
pub(super) fn patch(secret: &Secret, stored: &Stored) -> Value {
    let bytes = |text: Option<&String>| text.map(|text| ByteString(text.as_bytes().to_vec()));
    let (authority, leaf) = (stored.authority.as_ref(), stored.leaf.as_ref());
    let [ca, ca_key, tls, tls_key, previous] = KEYS;
    json!({
        "metadata": { "resourceVersion": secret.resource_version() },
        "data": {
            ca: bytes(authority.map(|pair| &pair.certificate)),
            ca_key: bytes(authority.map(|pair| &pair.key)),
            tls: bytes(leaf.map(|pair| &pair.certificate)),
            tls_key: bytes(leaf.map(|pair| &pair.key)),
            previous: bytes(stored.previous.as_ref()),
        },
    })
}

/// A certificate without its key can still be trusted, so it is read; a key without its certificate is ignored.
fn pair(data: Option<&BTreeMap<String, ByteString>>, certificate: &str, key: &str) -> Option<Pair> {
    Some(Pair {
        certificate: text(data, certificate)?,
        key: text(data, key).unwrap_or_default(),
    })
}

fn text(data: Option<&BTreeMap<String, ByteString>>, key: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&data?.get(key)?.0).into_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of(text: &str) -> Pair {
        Pair {
            certificate: format!("{text} certificate"),
            key: format!("{text} key"),
        }
    }

    #[rstest]
    #[case(None, None, None)]
    #[case(Some(of("ca")), None, None)]
    #[case(Some(of("ca")), Some(of("leaf")), Some("old"))]
    fn written_data_is_read_back_and_no_older_data_remains(
        #[case] authority: Option<Pair>,
        #[case] leaf: Option<Pair>,
        #[case] previous: Option<&str>,
    ) {
        let expected = Stored {
            authority,
            leaf,
            previous: previous.map(Into::into),
        };
        let full = Stored {
            authority: Some(of("older ca")),
            leaf: Some(of("older leaf")),
            previous: Some("older".into()),
        };
        let mut secret = serde_json::to_value(Secret::default()).unwrap();
        json_patch::merge(&mut secret, &patch(&Secret::default(), &full));
        json_patch::merge(&mut secret, &patch(&Secret::default(), &expected));
        assert_eq!(stored(&serde_json::from_value(secret).unwrap()), expected);
    }

    #[test]
    fn a_certificate_is_read_without_its_key_but_not_a_key_without_its_certificate() {
        let data = |key: &str| BTreeMap::from([(key.to_owned(), ByteString(b"text".to_vec()))]);
        let with = |key: &str| {
            stored(&Secret {
                data: Some(data(key)),
                ..Secret::default()
            })
        };
        assert!(with("ca.crt").authority.is_some());
        assert!(with("ca.key").authority.is_none());
        assert_eq!(stored(&Secret::default()), Stored::default());
    }
}
