//! Reports of a transition: the Site's status, and the messages for Events and the log.

pub mod messages;
pub mod status;
