//! The role of the site, carried out.
//!
//! ```text
//!   watches ──► observe ──► transition::decide ──► act ──► (watches)
//!                 │              (core, pure)       │
//!   enforcers ────┘                                 ├─► status   the journal, with the version it was decided on
//!   own writes ───┘                                 ├─► label    roles onto Namespaces
//!                                                   ├─► sweep    objects, while the loop rests
//!                                                   └─► look     at what a step waits for, likewise
//! ```
//!
//! Nothing that matters is kept in memory: a controller that is killed anywhere is followed by one that reads the journal
//! and goes on. What is kept (the last sweep's report, our own writes) saves time and may be lost.

pub mod background;
pub mod backstop;
pub mod caches;
pub mod compiling;
pub mod discovery;
pub mod enforcers;
pub mod events;
pub mod exempt_labels;
pub mod fix;
pub mod gate;
mod kind_watches;
pub mod label;
pub mod look;
pub mod looking;
pub mod news;
pub mod objects;
pub mod observe;
pub mod off_task;
pub mod origins;
pub mod own_writes;
pub mod patience;
pub mod policies;
pub mod progress;
pub mod readable;
pub mod reconcile;
pub mod release;
pub mod setback;
pub mod status;
pub mod survey;
pub mod sweep;
pub mod sweeping;
pub mod work;

#[cfg(test)]
pub(crate) mod bed;
#[cfg(test)]
pub(crate) mod fake_api;
