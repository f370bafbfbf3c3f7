//! What a request does to an object.

/// The operation. No other operation changes what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
}
