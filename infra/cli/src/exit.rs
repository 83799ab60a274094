//! How the command ends: an exit code for scripts, and a message for the operator.

use std::process::ExitCode;

use anyhow::Error;
use thiserror::Error;

use crate::{api::ApiError, output::note};

/// How a command ended that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// A job was aborted or left devices behind, a device was refused, or a proof failed.
    Failed,
    /// A job waits for the operator.
    Paused,
    /// A second person has to confirm it.
    Waits,
    /// Ctrl-C, before the work was done.
    Interrupted,
}

impl End {
    pub(crate) const fn unless(failed: bool) -> Self {
        if failed { Self::Failed } else { Self::Done }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Paused => 3,
            Self::Waits => 5,
            // 128 + SIGINT, the convention of shells.
            Self::Interrupted => 130,
        }
    }
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        end.code().into()
    }
}

/// Arguments that clap accepts but that contradict each other or are incomplete.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Prints the error on standard error.
pub(crate) fn explain(error: &Error) -> ExitCode {
    if is_broken_pipe(error) {
        // The reader closed the pipe: `rootcast device list | head`.
        return ExitCode::SUCCESS;
    }
    match error.downcast_ref::<ApiError>() {
        // Neither done nor failed.
        Some(waits @ ApiError::Waits(_)) => note!("{waits}"),
        // API errors have several lines of their own.
        Some(api) => note!("error: {api}"),
        None => note!("error: {error:#}"),
    }
    code(error).into()
}

fn code(error: &Error) -> u8 {
    if error.downcast_ref::<Usage>().is_some() {
        return 2;
    }
    match error.downcast_ref::<ApiError>() {
        Some(ApiError::Waits(_)) => End::Waits.code(),
        Some(error) if error.is_no_access() => 4,
        _ => 1,
    }
}

fn is_broken_pipe(error: &Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use reqwest::StatusCode;

    use super::{End, Usage, code};
    use crate::api::{ApiError, Refusal};

    fn refused(status: StatusCode) -> ApiError {
        ApiError::Refused(Box::new(Refusal { status, messages: Vec::new(), response: None }))
    }

    #[test]
    fn each_kind_of_end_has_its_code() {
        assert_eq!(
            [End::Done, End::Failed, End::Paused, End::Waits, End::Interrupted].map(End::code),
            [0, 1, 3, 5, 130]
        );
        assert_eq!(code(&Usage("no".to_owned()).into()), 2);
        assert_eq!(code(&anyhow!("anything else")), 1);
        assert_eq!(code(&refused(StatusCode::CONFLICT).into()), 1);
        let waits = Refusal { status: StatusCode::ACCEPTED, messages: Vec::new(), response: None };
        assert_eq!(code(&ApiError::Waits(Box::new(waits)).into()), 5);
        assert_eq!(code(&refused(StatusCode::UNAUTHORIZED).into()), 4);
        assert_eq!(code(&anyhow::Error::from(refused(StatusCode::FORBIDDEN)).context("around it")), 4);
    }
}
