//! Fuzz targets. `cargo test` gives each a few seconds (with `FAILOVER_TEST_LONG=1` two minutes), after all of the inputs kept
//! in `bad_input/__fuzz__`, which reach what inputs at random seldom do.
//!
//! More of them are looked for, guided by what is reached, and kept there, by
//!
//! ```text
//! cargo install cargo-bolero
//! cargo +nightly bolero test -p failover-fuzz --profile dev -s NONE bad_input::reviews::review_and_decision
//! ```
//!
//! A package of its own: every binary of one that is built for fuzzing has to have a target in it.

#[cfg(test)]
mod bad_input;
