//! What a walk waits for between its layers, judged from objects as they are stored.
//!
//! Nothing here asks or remembers anything: whoever lists the objects hands them in, and gets back what is still in the way.

pub mod available;
pub mod batch;
pub mod cron;
pub mod hooks;
pub mod pods_gone;
pub mod replication;
pub mod uncovered;
