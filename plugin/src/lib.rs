//! The kubectl plugin.

pub mod release;
