//! What a request does to an object.

/// What is done to the object. Nothing else changes what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
}
