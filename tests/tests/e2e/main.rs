//! End-to-end tests on real components, one module a family: `cargo test --workspace bed` runs one.

mod api;
mod bed;
mod cut_off;
mod krew;
mod main_job;
mod rights;
