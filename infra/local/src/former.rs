//! What a stack leaves in its folder for the next one.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::cloud::freed;

/// Written when the stack is complete.
const FILE: &str = "stack.json";
/// The local cloud writes its services' state there when it ends: tables, private keys, messages.
const STATE: &str = "state";
/// One of its files, written anew at each end.
const SAVED: &str = "cloudformation.json";

/// Names of a stack's parts contain its ports, so the next one needs the same.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Former {
    pub(crate) cloud: u16,
    pub(crate) api: u16,
    pub(crate) devices: usize,
    pub(crate) fakes: usize,
}

impl Former {
    /// What can be started again in this folder.
    ///
    /// # Errors
    /// Its port is taken; or its cloud did not keep what it had when it ended last, by a loss of power: the devices would be ahead of
    /// the records.
    pub(crate) async fn read(data: &Path) -> Result<Option<Self>> {
        let file = data.join(FILE);
        let Ok(text) = fs::read(&file) else { return Ok(None) };
        let former: Self = serde_json::from_slice(&text).with_context(|| format!("{FILE} in {}", data.display()))?;
        // The cloud of a command that was killed has kept its data when its port is free.
        freed(former.cloud, "the local cloud").await?;
        let written = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
        ensure!(
            written(&data.join(STATE).join(SAVED)) >= written(&file),
            "the stack in {} was cut off before its records were kept; --anew begins with nothing",
            data.display()
        );
        Ok(Some(former))
    }

    pub(crate) fn write(self, data: &Path) -> Result<()> {
        fs::write(data.join(FILE), serde_json::to_vec(&self)?).with_context(|| format!("{FILE} cannot be written"))
    }
}

/// Only for this user: it will contain private keys.
pub(crate) fn state(data: &Path) -> Result<PathBuf> {
    let folder = data.join(STATE);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}

/// Removes what the next stack does not use: of a stack that it does not go on with, everything. Its devices would be strangers.
pub(crate) fn clear(data: &Path, goes_on: bool) -> Result<()> {
    let gone: &[&str] = if goes_on { &["tmp"] } else { &["tmp", "fleet", STATE, FILE] };
    for path in gone.iter().map(|name| data.join(name)) {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} cannot be removed", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use std::time::{Duration, SystemTime};

    use super::{Former, SAVED, clear, state};

    #[tokio::test]
    async fn only_a_stack_that_kept_its_state_is_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        std::fs::create_dir_all(data.join("fleet/bmc-0001")).unwrap();
        std::fs::write(data.join("mine"), "kept").unwrap();
        assert!(Former::read(data).await.unwrap().is_none(), "it was never complete");
        let ports = crate::cloud::free_ports(2).unwrap();
        Former { cloud: ports[0], api: ports[1], devices: 1, fakes: 0 }.write(data).unwrap();
        let state = state(data).unwrap();
        assert!(Former::read(data).await.is_err(), "its cloud kept nothing");
        std::fs::write(state.join(SAVED), "{}").unwrap();
        assert_eq!(Former::read(data).await.unwrap().unwrap().cloud, ports[0]);
        let hour = Duration::from_secs(3600);
        let saved = std::fs::File::options().write(true).open(state.join(SAVED)).unwrap();
        saved.set_modified(SystemTime::now() - hour).unwrap();
        assert!(Former::read(data).await.is_err(), "it was started again since, and cut off");
        saved.set_modified(SystemTime::now() + hour).unwrap();
        clear(data, true).unwrap();
        assert!(data.join("fleet").exists() && state.exists());
        clear(data, false).unwrap();
        clear(data, false).unwrap();
        assert!(!data.join("fleet").exists() && !state.exists() && data.join("mine").exists());
        assert!(Former::read(data).await.unwrap().is_none());
    }
}
