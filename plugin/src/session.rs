//! What every command works with: a cluster, the screen, and how long to wait.

use std::sync::{Mutex, PoisonError};

use crate::cluster::Cluster;
use crate::error::Failure;
use crate::output::Screen;

/// What a command works with.
#[derive(Debug)]
pub struct Session<'a> {
    pub cluster: Cluster,
    pub screen: &'a Screen,
    /// What goes on although the command was interrupted.
    underway: Mutex<Option<Underway>>,
}

/// Something that has been ordered and does not need us any more.
#[derive(Clone, Debug)]
pub(crate) struct Underway {
    what: String,
    next: String,
}

impl<'a> Session<'a> {
    pub fn new(cluster: Cluster, screen: &'a Screen) -> Self {
        Self {
            cluster,
            screen,
            underway: Mutex::default(),
        }
    }

    /// From here on something has been changed: what an interruption leaves behind, and what to check then.
    pub fn is_underway(&self, what: impl Into<String>, next: impl Into<String>) {
        *self.underway.lock().unwrap_or_else(PoisonError::into_inner) = Some(Underway {
            what: what.into(),
            next: next.into(),
        });
    }

    /// What was begun came to nothing.
    pub fn nothing_is_underway(&self) {
        *self.underway.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub fn interrupted(&self) -> Failure {
        let underway = self
            .underway
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match underway {
            Some(Underway { what, next }) => {
                let failure = Failure::interrupted(format!("interrupted; {what}"));
                if next.is_empty() {
                    failure
                } else {
                    failure.next(next)
                }
            }
            None => Failure::interrupted("interrupted: nothing was changed"),
        }
    }
}
