//! Certificates of the webhook: issue, verify, bundle, and decide when to rotate.
//!
//! ```text
//!   Secret ──► Stored ─┐
//!   caBundle ──────────┼─► rotation::decide ──► Act ──► issue_authority / issue_leaf / publish / drop
//!   names, now ────────┘                                (the controller does it, and decides again)
//! ```
//!
//! Pure except for the randomness of keys: time comes in as a value, nothing is read or written.

mod authority;
mod bundle;
mod name;
mod parsed;
mod rotation;
mod verify;

pub use authority::{
    AUTHORITY_LIFETIME, IssueError, LEAF_LIFETIME, Pair, issue_authority, issue_leaf,
};
pub use bundle::Bundle;
pub use name::Name;
pub use parsed::CLOCK_SKEW;
pub use parsed::ParseError;
pub use rotation::{Act, Expiry, OVERLAP, SETTLE, Situation, Stored, Why, decide, expiry};
pub use verify::VerifyError;
