//! What a command reports, in whichever format it is asked for.

use serde::Serialize;

use super::Format;
use super::document::{Document, Notation};
use super::screen::Screen;

/// The Site, as `-o name` has it.
pub const SITE_NAME: &str = "site.failover.dev/cluster";

/// A report of a command.
pub trait Report: Serialize + Sized {
    /// Of its document.
    const KIND: &'static str;

    /// What it is about, as `-o name` has it: one a line.
    fn names(&self) -> Vec<String>;

    /// For a person. `wide`: with all that there is to know.
    fn text(&self, wide: bool, screen: &Screen);

    fn print(&self, format: Format, screen: &Screen) {
        let document = Document::new(Self::KIND, self);
        match format {
            Format::Json => document.print(Notation::Json, screen),
            Format::Yaml => document.print(Notation::Yaml, screen),
            Format::Name => {
                for name in self.names() {
                    screen.data(&name);
                }
            }
            Format::Table => self.text(false, screen),
            Format::Wide => self.text(true, screen),
        }
    }
}
