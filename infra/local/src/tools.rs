//! The third-party programs that the stack needs: Python and three environments of packages.
//!
//! An environment is created once and kept. Its folder is named after its content (requirements and Python version)
//! and gets this name only when it is complete. So an interrupted creation is never used, and concurrent creations do
//! not conflict.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use tokio::{process::Command, sync::OnceCell};

use crate::progress::{Progress, Stage};

/// Prints version and path of the interpreter; fails if it cannot create an environment.
const PROBE: &str = "import sys, venv, ensurepip; print('%d.%d.%d' % sys.version_info[:3]); print(sys.executable)";
const PYTHON_WANTED: (u32, u32) = (3, 10);

/// The Python interpreters, with all packages installed, and the folder of this crate's scripts.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// Interpreter of the local cloud's environment.
    pub(crate) cloud: PathBuf,
    /// Interpreter of the Redfish emulator's environment.
    pub(crate) devices: PathBuf,
    /// Interpreter of the template translator's environment (AWS's `aws-sam-translator`).
    pub(crate) template: PathBuf,
    /// Folder of `leash.py`, `cloud.py`, `fleet.py` and `translate.py`.
    pub(crate) scripts: PathBuf,
}

impl Toolchain {
    /// Checks the machine's programs and creates missing environments below `cache`. Downloads from the package index
    /// of pip's configuration, the first time only.
    ///
    /// # Errors
    /// Names the missing program and how to install it, or quotes pip.
    pub(crate) async fn prepare(project: &Path, cache: &Path, progress: &Progress) -> Result<Self> {
        let python = Python::get().await?;
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

/// The interpreter of an environment with the packages of pip's file `requirements`: created once, kept in
/// [`cache_folder`].
///
/// # Errors
/// Python is missing, or pip could not install a package; its output is quoted.
pub async fn python_environment(requirements: &Path) -> Result<PathBuf> {
    Python::get().await?.environment(requirements, &cache_folder()?.join("python")).await
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

/// The checkout with template.yaml: the current folder or the nearest one above it.
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

/// Found once per process.
static PYTHON: OnceCell<Python> = OnceCell::const_new();

impl Python {
    async fn get() -> Result<&'static Self> {
        PYTHON.get_or_try_init(Self::find).await
    }

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
        let installed = succeeded(&format!("pip install --requirement {}", requirements.display()), pip.await);
        installed.map_err(|error| if is_offline(&format!("{error:#}")) { offline(&name, folder) } else { error })?;
        // Programs in bin/ name the old folder and are not used; `python -m` finds its environment by its own path.
        match std::fs::rename(half_made.path(), &home) {
            Ok(()) => drop(half_made.keep()),
            // A concurrent creation was faster; its result is the same.
            Err(_) if interpreter.exists() => (),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be made", home.display())),
        }
        Ok(interpreter)
    }
}

/// What pip says where it has no network, among much else.
fn is_offline(said: &str) -> bool {
    ["NewConnectionError", "NameResolutionError", "ProxyError", "ConnectTimeoutError"]
        .iter()
        .any(|sign| said.contains(sign))
}

fn offline(name: &str, folder: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "the Python packages of {name} are not in {} yet, and the package index cannot be reached: run this once with a network, or \
         name a mirror in PIP_INDEX_URL",
        folder.display()
    )
}

/// A folder name that changes with everything that affects the environment.
fn environment_name(name: &str, version: &str, requirements: &[u8]) -> String {
    let fingerprint = hex::encode(digest(&SHA256, &[version.as_bytes(), b"\n", requirements].concat()));
    format!("{name}-{}", &fingerprint[..12])
}

/// The output of a program that succeeded; otherwise an error that quotes it.
pub(crate) fn succeeded(what: &str, ended: std::io::Result<std::process::Output>) -> Result<Vec<u8>> {
    let output = ended.with_context(|| format!("{what} could not be started"))?;
    if !output.status.success() {
        bail!("{what} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::{environment_name, is_offline};

    #[test]
    fn a_machine_without_a_network_is_told_so() {
        let said = "WARNING: Retrying after connection broken by 'NewConnectionError(': Failed to establish a new connection: \
                    [Errno -3] Temporary failure in name resolution')': /simple/ministack/";
        assert!(is_offline(said) && !is_offline("ERROR: No matching distribution found for ministack==0.0.0"));
    }

    #[test]
    fn an_environments_name_covers_its_whole_content() {
        let name = environment_name("cloud", "3.12.1", b"ministack==1.5.33\n");
        assert_eq!(name, environment_name("cloud", "3.12.1", b"ministack==1.5.33\n"));
        assert!(name.starts_with("cloud-") && name.len() == "cloud-".len() + 12);
        assert_ne!(name, environment_name("cloud", "3.13.0", b"ministack==1.5.33\n"));
        assert_ne!(name, environment_name("cloud", "3.12.1", b"ministack==1.5.34\n"));
    }
}
