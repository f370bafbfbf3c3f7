//! What the tests of this crate share.

#[cfg(test)]
pub(crate) mod fake_api;
#[cfg(test)]
pub(crate) mod harness;
