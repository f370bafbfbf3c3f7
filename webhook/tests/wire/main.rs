//! The webhook's answers byte by byte, through the routers that the server uses: reviews are sent as an API server
//! writes them, and answers are applied as an API server applies them.

mod admin;
mod bed;
mod damage;
mod decisions;
mod lease;
mod unavailable;
