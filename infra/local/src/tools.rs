//! The programs of other people that the stack needs: Python and three environments of packages.
//!
//! An environment is made once and kept: its folder is named after what is in it (requirements and Python version), and
//! it gets that name only when it is complete, so one that was interrupted is never used and two makers do not collide.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use tokio::process::Command;

use crate::progress::{Progress, Stage};

/// Prints version and path of the interpreter, and fails where an environment could not be made with it.
const PROBE: &str = "import sys, venv, ensurepip; print('%d.%d.%d' % sys.version_info[:3]); print(sys.executable)";
const PYTHON_WANTED: (u32, u32) = (3, 10);

/// Python, with everything installed, and where this crate's scripts are.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// Interpreter of the environment that holds the local cloud.
    pub(crate) cloud: PathBuf,
    /// The one that holds the Redfish emulator.
    pub(crate) devices: PathBuf,
    /// The one that holds AWS's template translator.
    pub(crate) template: PathBuf,
    /// Folder of `leash.py`, `fleet.py`, `translate.py`.
    pub(crate) scripts: PathBuf,
}

impl Toolchain {
    /// Checks what has to be on the machine and makes what is missing below `cache`. Downloads from the package index
    /// that pip is configured for, the first time only.
    ///
    /// # Errors
    /// Says what is missing and how to install it, or what pip said.
    pub(crate) async fn prepare(project: &Path, cache: &Path, progress: &Progress) -> Result<Self> {
        let python = Python::find().await?;
        let scripts = project.join("infra/local/python");
        let done = std::sync::atomic::AtomicUsize::new(0);
        let environment = async |name: &str| {
            let made = python.environment(&scripts.join(name).with_extension("txt"), &cache.join("python")).await?;
            progress.advanced(Stage::Tools, done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, 3);
            anyhow::Ok(made)
        };
        let (cloud, devices, template) =
            tokio::try_join!(environment("cloud"), environment("devices"), environment("template"))?;
        Ok(Self { cloud, devices, template, scripts })
    }
}

/// The interpreter of an environment that holds what pip reads in `requirements`: made once, kept in [`cache_folder`].
///
/// # Errors
/// Python is missing, or pip could not install something: in its words.
pub async fn python_environment(requirements: &Path) -> Result<PathBuf> {
    Python::find().await?.environment(requirements, &cache_folder()?.join("python")).await
}

/// `$ROOTCAST_CACHE`, else `$XDG_CACHE_HOME/rootcast`, else `~/.cache/rootcast`.
///
/// # Errors
/// None of the three variables is set.
pub fn cache_folder() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("ROOTCAST_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("rootcast")))
        .or_else(|| variable("HOME").map(|folder| folder.join(".cache/rootcast")))
        .context("no folder for downloaded tools: set ROOTCAST_CACHE to one")
}

/// The checkout that holds template.yaml: the current folder or the nearest one above it.
///
/// # Errors
/// The current folder is not in a checkout.
pub fn project_folder() -> Result<PathBuf> {
    let here = std::env::current_dir().context("the current folder cannot be read")?;
    here.ancestors()
        .find(|folder| folder.join("template.yaml").is_file() && folder.join("infra/local/python").is_dir())
        .map(Path::to_path_buf)
        .with_context(|| format!("{} is not inside a checkout of Rootcast: change to one", here.display()))
}

struct Python {
    version: String,
    program: PathBuf,
}

impl Python {
    async fn find() -> Result<Self> {
        let missing = "Python 3.10 or later with venv is needed: install it \
                       (Debian, Ubuntu: apt install python3 python3-venv; Fedora: dnf install python3; macOS: brew install python)";
        let probed =
            Command::new("python3").args(["-c", PROBE]).stdin(Stdio::null()).output().await.context(missing)?;
        let said = String::from_utf8_lossy(&probed.stdout);
        let mut lines = said.lines();
        let (Some(version), Some(program), true) = (lines.next(), lines.next(), probed.status.success()) else {
            bail!("{missing}. What python3 said: {}", String::from_utf8_lossy(&probed.stderr).trim());
        };
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < PYTHON_WANTED {
            bail!("{missing}. python3 is version {version}");
        }
        Ok(Self { version: version.to_owned(), program: program.into() })
    }

    /// The interpreter of an environment with exactly these requirements.
    async fn environment(&self, requirements: &Path, folder: &Path) -> Result<PathBuf> {
        let wanted = tokio::fs::read(requirements)
            .await
            .with_context(|| format!("{} cannot be read", requirements.display()))?;
        let name = requirements.file_stem().unwrap_or_default().to_string_lossy();
        let home = folder.join(environment_name(&name, &self.version, &wanted));
        let interpreter = home.join("bin/python");
        if interpreter.exists() {
            return Ok(interpreter);
        }
        tokio::fs::create_dir_all(folder).await.with_context(|| format!("{} cannot be made", folder.display()))?;
        let half_made = tempfile::Builder::new().prefix(".making-").tempdir_in(folder)?;
        let venv = Command::new(&self.program).args(["-m", "venv"]).arg(half_made.path()).output();
        succeeded("python3 -m venv", venv.await)?;
        let pip = Command::new(half_made.path().join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(requirements)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        succeeded(&format!("pip install --requirement {}", requirements.display()), pip.await)?;
        // Programs in bin/ name the old folder and are not used; `python -m` finds its home by its own place.
        match std::fs::rename(half_made.path(), &home) {
            Ok(()) => drop(half_made.keep()),
            // Someone else was faster: theirs is the same.
            Err(_) if interpreter.exists() => (),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be made", home.display())),
        }
        Ok(interpreter)
    }
}

/// A folder name that changes with whatever would make the environment a different one.
fn environment_name(name: &str, version: &str, requirements: &[u8]) -> String {
    let fingerprint = hex::encode(digest(&SHA256, &[version.as_bytes(), b"\n", requirements].concat()));
    format!("{name}-{}", &fingerprint[..12])
}

/// The output of a program that went well; its own words where it did not.
pub(crate) fn succeeded(what: &str, ended: std::io::Result<std::process::Output>) -> Result<Vec<u8>> {
    let output = ended.with_context(|| format!("{what} could not be started"))?;
    if !output.status.success() {
        bail!("{what} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::environment_name;

    #[test]
    fn an_environment_is_named_after_all_that_is_in_it() {
        let name = environment_name("cloud", "3.12.1", b"ministack==1.5.33\n");
        assert_eq!(name, environment_name("cloud", "3.12.1", b"ministack==1.5.33\n"));
        assert!(name.starts_with("cloud-") && name.len() == "cloud-".len() + 12);
        assert_ne!(name, environment_name("cloud", "3.13.0", b"ministack==1.5.33\n"));
        assert_ne!(name, environment_name("cloud", "3.12.1", b"ministack==1.5.34\n"));
    }
}
