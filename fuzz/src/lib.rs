//! Fuzz targets. `cargo test` runs each for a few seconds (with `FAILOVER_TEST_LONG=1` two minutes), after all inputs
//! kept in `bad_input/__fuzz__`, which reach code that random inputs seldom do.
//!
//! More inputs are searched for, guided by coverage, and kept there, by
//!
//! ```text
//! cargo install cargo-bolero
//! cargo +nightly bolero test -p failover-fuzz --profile dev -s NONE bad_input::reviews::review_and_decision
//! ```
//!
//! A separate package: every binary of a package that is built for fuzzing must contain a target.

#[cfg(test)]
mod bad_input;
