//! A look under way: the loop polls it while it rests, and drops it when it decides otherwise. No task of its own, as a
//! [sweep](super::super::running_sweep) is none.

use std::pin::Pin;

use failover_core::transition::{Look, LookReport};

use super::{LookError, Looker, Scene};

type Work = Pin<Box<dyn Future<Output = Result<LookReport, LookError>> + Send>>;

pub struct Looking {
    /// What it is about.
    pub look: Look,
    work: Work,
}

impl std::fmt::Debug for Looking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Looking")
            .field("look", &self.look)
            .finish_non_exhaustive()
    }
}

impl Looking {
    pub fn start(looker: &Looker, look: Look, scene: Scene) -> Self {
        let (looker, what) = (looker.clone(), look.clone());
        Self {
            look,
            work: Box::pin(async move { looker.look(what, scene).await }),
        }
    }

    /// Looks on until the end. Dropping this future leaves the look where it is.
    pub async fn finish(&mut self) -> Result<LookReport, LookError> {
        (&mut self.work).await
    }
}
