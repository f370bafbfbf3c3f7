//! End-to-end tests on real components, one module a family: `cargo test --workspace bed` runs one.

#![expect(
    clippy::unwrap_used,
    reason = "clippy lets it pass in tests, and what they call is as much a part of them"
)]

mod api;
mod backstop;
mod bad_input;
mod batch;
mod bed;
mod cli_transition;
mod crash;
mod cron;
mod csi_addons;
mod cut_off;
mod exempt;
mod failover_policy;
mod faults;
mod flux;
mod krew;
mod lifecycle;
mod main_job;
mod membership;
mod metrics;
mod pods_gone;
mod policies;
mod restore;
mod rights;
mod round_trip;
mod rules;
mod safeguards;
mod under_load;
mod write_refused;
mod writers;
