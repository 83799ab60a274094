//! How the command ends: an exit code for scripts, and a message for the operator.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Error;
use serde::Serialize;
use thiserror::Error;

use crate::api::{ApiError, Problem};
use crate::output::{Format, plain};

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

/// No token, or one that the API does not know any more.
#[derive(Debug, Error)]
#[error("{what}. {recovery}")]
pub(crate) struct NotLoggedIn {
    pub(crate) what: String,
    pub(crate) recovery: String,
}

/// Prints the error on standard error.
pub(crate) fn explain(error: &Error, format: Format) -> ExitCode {
    if is_broken_pipe(error) {
        // The reader closed the pipe: `rootcast device list | head`.
        return ExitCode::SUCCESS;
    }
    say(&match format {
        Format::Json => for_programs(&problems(error)),
        Format::Text => for_people(error),
    });
    code(error).into()
}

/// A command line that cannot be read: for programs too, if they asked for their form in it.
pub(crate) fn misused(error: &clap::Error, line: &[String]) -> ExitCode {
    if error.use_stderr() && is_for_programs(line) {
        say(&for_programs(&[misuse(&error.render().to_string())]));
    } else {
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).unwrap_or(2).into()
}

/// clap's message, and below it what it proposes.
fn misuse(text: &str) -> Problem {
    let (message, recovery) = text.trim().split_once("\n\n").unwrap_or((text, ""));
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = one_line(message.trim_start_matches("error: "));
    Problem { code: "usage".to_owned(), message, recovery: one_line(recovery) }
}

fn is_for_programs(line: &[String]) -> bool {
    let is_form = |text: &str| matches!(text, "json" | "jsonl" | "yaml");
    line.iter().any(|word| word == "--json" || word.strip_prefix("--output=").is_some_and(is_form))
        || line.windows(2).any(|two| matches!(two[0].as_str(), "--output" | "-o") && is_form(&two[1]))
}

/// Also with `--quiet`.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn for_people(error: &Error) -> String {
    let text = text(error);
    // What waits is neither done nor failed.
    if matches!(error.downcast_ref(), Some(ApiError::Waits(_))) { text } else { format!("error: {text}") }
}

/// What happened, and what to do. API errors have several lines of their own, with what is below them.
pub(crate) fn text(error: &Error) -> String {
    error.downcast_ref::<ApiError>().map_or_else(|| format!("{error:#}"), ToString::to_string)
}

/// Further problems of the same request, an import's say, follow the first.
fn for_programs(problems: &[Problem]) -> String {
    #[derive(Serialize)]
    struct Shown<'a> {
        #[serde(flatten)]
        first: &'a Problem,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        more: &'a [Problem],
    }
    let shown = problems.split_first().map(|(first, more)| Shown { first, more });
    format!(r#"{{"error":{}}}"#, serde_json::to_string(&shown).unwrap_or_default())
}

fn problems(error: &Error) -> Vec<Problem> {
    if let Some(api) = error.downcast_ref::<ApiError>() {
        return api.problems();
    }
    if let Some(NotLoggedIn { what, recovery }) = error.downcast_ref() {
        return vec![Problem { code: "notLoggedIn".to_owned(), message: plain(what), recovery: recovery.clone() }];
    }
    let code = if code(error) == 2 { "usage" } else { "failed" };
    vec![Problem { code: code.to_owned(), message: plain(&format!("{error:#}")), recovery: String::new() }]
}

fn code(error: &Error) -> u8 {
    if error.downcast_ref::<Usage>().is_some() {
        return 2;
    }
    if error.downcast_ref::<NotLoggedIn>().is_some() {
        return 6;
    }
    match error.downcast_ref::<ApiError>() {
        Some(ApiError::Waits(_)) => End::Waits.code(),
        Some(error) if error.is_unknown_token() => 6,
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

    use super::{End, NotLoggedIn, Usage, code, for_programs, is_for_programs, misuse, problems};
    use crate::api::{ApiError, Message, Problem, Recovery, Refusal};

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
        assert_eq!(code(&refused(StatusCode::UNAUTHORIZED).into()), 6);
        let none = NotLoggedIn { what: "no token".to_owned(), recovery: "Log in.".to_owned() };
        assert_eq!((none.to_string().as_str(), code(&none.into())), ("no token. Log in.", 6));
        assert_eq!(code(&anyhow::Error::from(refused(StatusCode::FORBIDDEN)).context("around it")), 4);
    }

    #[test]
    fn programs_get_the_error_as_json() {
        let (id, text) = ("FQXHMSE0409J".to_owned(), "Job 7 runs.".to_owned());
        let recovery = Recovery { text: "Wait.".to_owned(), url: String::new() };
        let first = Message { id, explanation: text.clone(), text, recovery };
        let second = Message { text: "More.".to_owned(), ..Message::default() };
        let refusal = Refusal { status: StatusCode::CONFLICT, messages: vec![first, second], response: None };
        assert_eq!(
            for_programs(&problems(&ApiError::Refused(Box::new(refusal)).into())),
            r#"{"error":{"code":"FQXHMSE0409J","message":"Job 7 runs.","recovery":"Wait.","more":[{"code":"409","message":"More.","recovery":""}]}}"#
        );
        let usage = problems(&Usage("say --yes".to_owned()).into());
        assert_eq!(for_programs(&usage), r#"{"error":{"code":"usage","message":"say --yes","recovery":""}}"#);
    }

    #[test]
    fn a_misuse_has_its_remedy_apart() {
        let text =
            "error: unrecognized subcommand 'lst'\n\n  tip: a similar one exists: 'list'\n\nUsage: rootcast device\n";
        let Problem { code, message, recovery } = misuse(text);
        assert_eq!([code.as_str(), message.as_str()], ["usage", "unrecognized subcommand 'lst'"]);
        assert_eq!(recovery, "tip: a similar one exists: 'list' Usage: rootcast device");
    }

    #[test]
    fn a_misused_line_tells_programs_too() {
        let is = |line: &str| is_for_programs(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(is("rootcast job --json") && is("rootcast -o yaml job") && is("rootcast --output=jsonl job"));
        assert!(!is("rootcast job list") && !is("rootcast -o table job"));
    }
}
