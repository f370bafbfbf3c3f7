//! JSON as it is stored: pointers into it, patches on it, and readers that parse no more than they need.

pub mod lean;
pub mod patch;
pub mod pointer;
pub(crate) mod view;
