//! JSON pointers of the limited form that rules use: one to six object keys, no arrays.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest pointer a rule may have. Real ones have two or three segments; the limit keeps the traversal of an
/// object, and the policy expression generated from it, small.
pub const MAX_SEGMENTS: usize = 6;

/// A JSON pointer (RFC 6901) into an object: at least one segment, at most [`MAX_SEGMENTS`], none of them an array index.
///
/// Segments are stored unescaped; `~` and `/` are escaped whenever the pointer is printed, so
/// `external-dns.../controller` cannot be mistaken for two segments.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer(Vec<Cow<'static, str>>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    #[error("pointer {0:?} must start with /")]
    NotAbsolute(String),
    #[error("pointer {pointer:?} has {segments} segments: at most {MAX_SEGMENTS} are allowed")]
    TooLong { pointer: String, segments: usize },
    #[error("pointer {0:?} has an empty segment")]
    EmptySegment(String),
    #[error("pointer {0:?} has a ~ that is not followed by 0 or 1")]
    BadEscape(String),
    #[error("pointer {0:?} goes into an array: rules reach object fields only")]
    Array(String),
}

impl Pointer {
    /// A pointer of segments known at compile time.
    pub(crate) fn of(segments: &[&'static str]) -> Self {
        debug_assert!(!segments.is_empty() && segments.len() <= MAX_SEGMENTS);
        Self(segments.iter().map(|s| Cow::Borrowed(*s)).collect())
    }

    /// The annotation `key` of an object.
    pub fn annotation(key: &'static str) -> Self {
        Self::of(&["metadata", "annotations", key])
    }

    pub fn segments(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The same pointer with every segment replaced.
    pub(crate) fn map_segments(&self, f: impl Fn(&str) -> String) -> Self {
        Self(self.0.iter().map(|s| Cow::Owned(f(s))).collect())
    }

    pub(crate) fn segment(&self, i: usize) -> Option<&str> {
        self.0.get(i).map(AsRef::as_ref)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true: a pointer has at least one segment.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last segment: the name of the field.
    pub fn field(&self) -> &str {
        self.0.last().map_or("", AsRef::as_ref)
    }

    /// The first `n` segments (at least one, at most all).
    #[must_use]
    pub fn prefix(&self, n: usize) -> Self {
        Self(self.0[..n.clamp(1, self.0.len())].to_vec())
    }

    /// Whether `self` lies strictly above `other`.
    pub fn is_ancestor_of(&self, other: &Self) -> bool {
        self.0.len() < other.0.len() && other.0[..self.0.len()] == self.0[..]
    }

    /// The value at this pointer; `null` counts as absent, as it does for Kubernetes.
    pub fn lookup<'v>(&self, value: &'v serde_json::Value) -> Option<&'v serde_json::Value> {
        self.segments()
            .try_fold(value, |v, segment| v.as_object()?.get(segment))
            .filter(|v| !v.is_null())
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            f.write_str("/")?;
            for c in segment.chars() {
                match c {
                    '~' => f.write_str("~0")?,
                    '/' => f.write_str("~1")?,
                    c => fmt::Write::write_char(f, c)?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pointer({self})")
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let rest = s
            .strip_prefix('/')
            .ok_or_else(|| PointerError::NotAbsolute(s.to_owned()))?;
        let segments = rest
            .split('/')
            .map(|raw| unescape(raw).ok_or_else(|| PointerError::BadEscape(s.to_owned())))
            .collect::<Result<Vec<_>, _>>()?;
        if segments.len() > MAX_SEGMENTS {
            return Err(PointerError::TooLong {
                pointer: s.to_owned(),
                segments: segments.len(),
            });
        }
        for segment in &segments {
            if segment.is_empty() {
                return Err(PointerError::EmptySegment(s.to_owned()));
            }
            if segment == "-" || segment.bytes().all(|b| b.is_ascii_digit()) {
                return Err(PointerError::Array(s.to_owned()));
            }
        }
        Ok(Self(segments.into_iter().map(Cow::Owned).collect()))
    }
}

impl TryFrom<String> for Pointer {
    type Error = PointerError;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.to_string()
    }
}

fn unescape(raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => match chars.next()? {
                '0' => out.push('~'),
                '1' => out.push('/'),
                _ => return None,
            },
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/spec/replicas", &["spec", "replicas"])]
    #[case("/metadata/annotations/external-dns.kubernetes.io~1controller", &["metadata", "annotations", "external-dns.kubernetes.io/controller"])]
    #[case("/a~0b", &["a~b"])]
    fn a_pointer_prints_as_it_was_parsed(#[case] text: &str, #[case] segments: &[&str]) {
        let pointer: Pointer = text.parse().unwrap();
        assert_eq!(pointer.segments().collect::<Vec<_>>(), segments);
        assert_eq!(pointer.to_string(), text);
    }

    #[rstest]
    #[case("spec/replicas", PointerError::NotAbsolute("spec/replicas".into()))]
    #[case("", PointerError::NotAbsolute(String::new()))]
    #[case("/", PointerError::EmptySegment("/".into()))]
    #[case("/spec//x", PointerError::EmptySegment("/spec//x".into()))]
    #[case("/spec/~2", PointerError::BadEscape("/spec/~2".into()))]
    #[case("/spec/~", PointerError::BadEscape("/spec/~".into()))]
    #[case("/spec/containers/0", PointerError::Array("/spec/containers/0".into()))]
    #[case("/spec/-", PointerError::Array("/spec/-".into()))]
    #[case("/a/b/c/d/e/f/g", PointerError::TooLong { pointer: "/a/b/c/d/e/f/g".into(), segments: 7 })]
    fn a_pointer_that_no_rule_can_use_is_refused(#[case] text: &str, #[case] error: PointerError) {
        assert_eq!(text.parse::<Pointer>(), Err(error));
    }

    #[test]
    fn null_counts_as_absent() {
        let pointer: Pointer = "/spec/suspend".parse().unwrap();
        assert_eq!(
            pointer.lookup(&serde_json::json!({"spec": {"suspend": null}})),
            None
        );
        assert_eq!(
            pointer.lookup(&serde_json::json!({"spec": "suspend"})),
            None
        );
    }
}
