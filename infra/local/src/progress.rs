//! Progress reports while the stack starts.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// The stages of a start. Some run concurrently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Python environments, created once and kept in the cache folder.
    Tools,
    /// The functions' bootstraps, built with cargo.
    Build,
    /// The local cloud.
    Cloud,
    /// template.yaml, deployed to the local cloud.
    Deploy,
    /// The TLS front before the API.
    Front,
    /// The demo devices.
    Fleet,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tools => "Python tools",
            Self::Build => "functions",
            Self::Cloud => "local cloud",
            Self::Deploy => "template.yaml",
            Self::Front => "TLS front",
            Self::Fleet => "devices",
        })
    }
}

/// A stage's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Begun,
    /// This many of this many are done: Python environments, devices.
    Advanced {
        done: usize,
        total: usize,
    },
    Ended {
        took: Duration,
    },
}

/// Receives the steps as they happen, from concurrent tasks; must not block.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Stage, Step) + Send + Sync>);

impl Progress {
    pub fn new(told: impl Fn(Stage, Step) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    /// Discards every step.
    pub fn silent() -> Self {
        Self::new(|_, _| ())
    }

    pub(crate) fn advanced(&self, stage: Stage, done: usize, total: usize) {
        (self.0)(stage, Step::Advanced { done, total });
    }

    /// Runs `work` as `stage`: reports its beginning and end, stops after `limit`, and names the stage in errors.
    pub(crate) async fn stage<T>(
        &self,
        stage: Stage,
        limit: Duration,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let begun = Instant::now();
        (self.0)(stage, Step::Begun);
        let done = tokio::time::timeout(limit, work)
            .await
            .with_context(|| format!("{stage}: not ready after {} seconds", limit.as_secs()))?
            .with_context(|| format!("{stage} could not be set up"))?;
        (self.0)(stage, Step::Ended { took: begun.elapsed() });
        Ok(done)
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
