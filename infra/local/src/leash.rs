//! Python programs that end with this process, however it ends.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// `leash.py` gives its module a minute to clean up and then ends it.
const END_LIMIT: Duration = Duration::from_secs(63);

/// The program to start.
pub(crate) struct Spawn<'a> {
    pub(crate) python: &'a Path,
    pub(crate) arguments: Vec<&'a OsStr>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// Whether the program is controlled over its standard input and output.
    pub(crate) talks: bool,
}

/// A running program that ends when its standard input (the leash) closes, which also happens when this process is
/// killed.
#[derive(Debug)]
pub(crate) struct Leashed {
    name: &'static str,
    log: PathBuf,
    child: Child,
}

impl Leashed {
    /// Starts `python script argument...` with these environment variables and, of ours, only the search path: no
    /// credentials, proxies or dotfiles of the user. The program has its own process group, so a Ctrl-C at the
    /// terminal does not reach it and this process ends the programs in order. It writes to `log`.
    pub(crate) fn start(name: &'static str, command: Spawn<'_>, home: &Path, log: PathBuf) -> Result<Self> {
        let file = std::fs::File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
        let child = Command::new(command.python)
            .args(command.arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", home)
            .envs(command.environment)
            .stdin(Stdio::piped())
            .stdout(if command.talks { Stdio::piped() } else { file.try_clone()?.into() })
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        Ok(Self { name, log, child })
    }

    /// Its standard input and output, if the program is controlled over them. Dropping the input ends the program.
    pub(crate) fn pipes(&mut self) -> Result<(ChildStdin, ChildStdout)> {
        self.child.stdin.take().zip(self.child.stdout.take()).context("its pipes are taken already")
    }

    /// # Errors
    /// The program has ended; the message has the last lines of its log.
    pub(crate) fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself ({status}):\n{}", self.name, tail(&self.log));
        }
        Ok(())
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Lets the program clean up, then kills it.
    pub(crate) async fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        if tokio::time::timeout(END_LIMIT, self.child.wait()).await.is_err() {
            self.child.kill().await.with_context(|| format!("{} did not end", self.name))?;
        }
        Ok(())
    }
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().rev().take(12).collect();
    let lines: Vec<_> = lines.into_iter().rev().collect();
    format!("{}\n(the whole of it is in {})", lines.join("\n"), log.display())
}
