//! What is reported of a transition: the Site's status, and what Events and log lines say.

pub mod messages;
pub mod status;
