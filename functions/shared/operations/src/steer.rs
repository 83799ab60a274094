//! An operator's commands to a job: pause, resume, abort.

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::job::{Command, JobId, JobRecord};

use crate::attempts::attempts;
use crate::{JobRefusal, NotDone, Operations};

impl Operations<'_> {
    /// Returns the job after the command.
    pub async fn steer(&self, id: JobId, command: Command, by: &Actor) -> Result<JobRecord, NotDone<JobRefusal>> {
        let (action, why) = match command {
            Command::Pause => (Action::Pause, "pause"),
            Command::Resume => (Action::Resume, "resume"),
            Command::Abort => (Action::Abort, "abort"),
            Command::RollBack => (Action::RollBack, "rollback"),
            Command::Continue { .. } => (Action::Resume, "continue"),
        };
        let job = attempts(|| async {
            let now = (self.clock)();
            let job = self.job(id).await?.command(command, now)?;
            self.ledger.save_job(&job, Act::new(Subject::Job(id), action, by, now)).await?;
            Ok(job)
        })
        .await?;
        self.wake(id, why).await;
        Ok(job)
    }
}
