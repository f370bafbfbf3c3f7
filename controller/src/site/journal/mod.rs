//! What is reported of a transition: the Site's status, Events and log lines.

pub mod events;
pub mod messages;
pub mod status;
