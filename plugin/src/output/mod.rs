//! What is printed, and how.
//!
//! ```text
//!   report (plain values) ──► table / wide / name ──► sanitise ──► Screen ──► stdout
//!                        └──► json / yaml document ──────────────────┘
//!   progress, questions, warnings, failures ──────────────────► Screen ──► stderr
//! ```

pub mod age;
pub mod confirm;
pub mod count;
pub mod diff;
pub mod document;
pub mod line;
pub mod progress;
pub mod report;
pub mod sanitise;
pub mod screen;
pub mod table;
pub mod words;

use clap::ValueEnum;

pub use count::counted;
pub use document::{Document, Notation};
pub use line::Line;
pub use report::Report;
pub use sanitise::clean;
pub use screen::{Screen, Terminal, Tone};
pub use table::Table;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For people, with more columns
    Wide,
    Json,
    Yaml,
    /// Only names, one per line
    Name,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For people
    Table,
    /// For people, with more columns
    Wide,
    Json,
    Yaml,
    /// Only names, one per line
    Name,
    /// Each object before and after, as a unified diff
    Diff,
}

impl Format {
    /// Of a format whose output is a document.
    pub fn notation(self) -> Option<Notation> {
        match self {
            Self::Json => Some(Notation::Json),
            Self::Yaml => Some(Notation::Yaml),
            Self::Table | Self::Wide | Self::Name => None,
        }
    }
}

impl PlanFormat {
    /// The format without `diff`, which is a plan's alone.
    pub fn plain(self) -> Option<Format> {
        match self {
            Self::Table => Some(Format::Table),
            Self::Wide => Some(Format::Wide),
            Self::Json => Some(Format::Json),
            Self::Yaml => Some(Format::Yaml),
            Self::Name => Some(Format::Name),
            Self::Diff => None,
        }
    }
}
