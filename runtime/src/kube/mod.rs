//! Access to the API server for all programs: connections, discovery, untyped objects, retries, and a process's own
//! last writes.

pub mod connect;
pub mod discovery;
pub mod error;
pub mod field_manager;
pub mod objects;
pub mod own_writes;
pub mod paging;
pub mod readable;
pub mod retry;
pub mod server_certificate;
pub mod status;
pub mod watch;
