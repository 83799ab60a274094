//! The functions' programs: built with cargo and packed for Lambda.

use std::{
    io::{Cursor, Write},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde::Deserialize;
use tokio::process::Command;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::kept::Kept;

/// Packages in functions/ that build a Lambda function.
const FUNCTIONS: [&str; 10] =
    ["regenerate", "conduct", "worker", "issue", "catalog", "import", "retry", "access", "console", "rotate"];

/// A function's deployment package.
pub(crate) struct Package {
    pub(crate) function: &'static str,
    pub(crate) zip: Bytes,
    /// Of its file in the bucket. It changes with the content, or an update of the stack would keep the old program.
    pub(crate) name: String,
}

impl Package {
    pub(crate) fn new(function: &'static str, zip: Vec<u8>) -> Self {
        let fingerprint = hex::encode(digest(&SHA256, &zip));
        Self { function, name: format!("{function}-{}.zip", &fingerprint[..16]), zip: zip.into() }
    }
}

type Packages = Arc<[Package]>;

/// By the project's folder.
static BUILT: Kept<PathBuf, Packages> = Kept::new();

/// Every function of the project, built and packed: by the first call in this process.
///
/// # Errors
/// Cargo is missing, or the build failed; cargo has printed the reason.
pub(crate) async fn packages(project: &Path) -> Result<Packages> {
    BUILT.or_make(project.to_owned(), async { Ok(build(project).await?.into()) }).await
}

/// Builds every function in the release profile and packs it. Cargo's output goes to this process's terminal.
async fn build(project: &Path) -> Result<Vec<Package>> {
    // With `--bin` and without `--package`, cargo unites features over the whole workspace, as for `cargo run --bin
    // rootcast`, so no dependency is compiled twice.
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--message-format=json-render-diagnostics"])
        .args(FUNCTIONS.iter().flat_map(|function| ["--bin", function]))
        .current_dir(project)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cargo is needed to build the functions: install Rust from https://rustup.rs")?
        .wait_with_output()
        .await
        .context("cargo ended in a way that cannot be seen")?;
    if !built.status.success() {
        bail!("cargo could not build the functions: see its messages above");
    }
    let programs = programs(&String::from_utf8_lossy(&built.stdout));
    tokio::task::spawn_blocking(move || FUNCTIONS.into_iter().map(|function| pack(function, &programs)).collect())
        .await?
}

/// The paths that cargo reports for what it built: its target folder need not be guessed.
fn programs(messages: &str) -> Vec<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable).collect()
}

fn pack(function: &'static str, programs: &[PathBuf]) -> Result<Package> {
    let program = programs
        .iter()
        .find(|program| program.file_stem().is_some_and(|name| name == function))
        .with_context(|| format!("cargo built no program called {function}"))?;
    let content = std::fs::read(program).with_context(|| format!("{} cannot be read", program.display()))?;
    Ok(Package::new(function, zipped(&content)?))
}

/// A zip with one executable file, `bootstrap`. Stored without compression, since it stays on this machine.
pub(crate) fn zipped(bootstrap: &[u8]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::with_capacity(bootstrap.len() + 512)));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o755);
    zip.start_file("bootstrap", options)?;
    zip.write_all(bootstrap)?;
    Ok(zip.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use std::io::{Cursor, Read};

    #[test]
    fn a_package_holds_an_executable_bootstrap() {
        let packed = super::zipped(b"\x7fELF").unwrap();
        let mut zip = zip::ZipArchive::new(Cursor::new(packed)).unwrap();
        let mut file = zip.by_name("bootstrap").unwrap();
        assert_eq!(file.unix_mode().unwrap() & 0o777, 0o755);
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        assert_eq!(content, b"\x7fELF");
    }

    #[test]
    fn the_paths_of_programs_are_read_from_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/release/worker\"}\nnot json\n";
        assert_eq!(super::programs(messages), [std::path::PathBuf::from("/t/release/worker")]);
    }
}
