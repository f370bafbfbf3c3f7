//! What the webhook answers, byte by byte, through the routers that the server serves: reviews go in as an API server writes
//! them, and what comes back is applied as an API server applies it.

mod admin;
mod bed;
mod damage;
mod decisions;
mod lease;
mod unavailable;
