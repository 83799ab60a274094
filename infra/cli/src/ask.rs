//! Questions at the terminal.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Result;

use crate::{exit::Usage, output::plain};

/// Whether there is somebody to ask.
pub(crate) fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Waits for the answer on this thread: a line, without what is blank around it.
fn line(question: &str) -> std::io::Result<String> {
    let mut terminal = std::io::stdout().lock();
    terminal.write_all(question.as_bytes())?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// Waits for the answer on this thread.
pub(crate) fn agrees(question: &str) -> Result<bool> {
    Ok(is_yes(&line(question)?))
}

/// What is typed, before something that cannot be undone. Without a terminal, `--yes` has to be said.
pub(crate) async fn typed(question: String) -> Result<String> {
    if !is_possible() {
        return Err(Usage("cannot ask for confirmation without a terminal: use --yes".to_owned()).into());
    }
    Ok(tokio::task::spawn_blocking(move || line(&question)).await??)
}

/// Before something grave: whether `--yes` was said, or the name is typed.
pub(crate) async fn is_meant(yes: bool, what: &str, name: &str) -> Result<bool> {
    Ok(yes || typed(format!("{what}\nType {} to go on: ", plain(name))).await? == name)
}

pub(crate) async fn confirmed(question: String) -> Result<bool> {
    Ok(is_yes(&typed(question).await?))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer, "y" | "Y" | "yes")
}
