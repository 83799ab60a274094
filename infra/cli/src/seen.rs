//! The last bundle, and the last statement of audit heads, of each API that was accepted, in files beside the profiles:
//! an API that sends an older one later is found out.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rootcast_pki::bundle::Seen;
use rootcast_pki::fingerprint::Fingerprint;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

/// What is remembered of an API.
pub(crate) trait Remembered: Copy + PartialEq + Serialize + DeserializeOwned {
    /// No profile has a file of this name.
    const FILE: &str;

    /// It never falls.
    fn version(&self) -> u64;
}

impl Remembered for Seen {
    const FILE: &str = "bundles.seen";

    fn version(&self) -> u64 {
        self.version
    }
}

/// The last statement of audit heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenHeads {
    /// SHA-256 of the key that signed it.
    pub(crate) key: Fingerprint,
    pub(crate) number: u64,
    pub(crate) sha256: Fingerprint,
}

impl Remembered for SeenHeads {
    const FILE: &str = "audit-heads.seen";

    fn version(&self) -> u64 {
        self.number
    }
}

/// By the API's address.
pub(crate) struct Memory<T> {
    file: PathBuf,
    seen: BTreeMap<Url, T>,
}

impl<T: Remembered> Memory<T> {
    /// `profile`: the profile's file.
    pub(crate) fn beside(profile: &Path) -> Result<Self> {
        let file = profile.with_file_name(T::FILE);
        let seen = read(&file)?;
        Ok(Self { file, seen })
    }

    pub(crate) fn of(&self, api: &Url) -> Option<T> {
        self.seen.get(api).copied()
    }

    /// Replaces the file atomically, if it does not say so already. What another process remembered meanwhile stays;
    /// unless `anew`, also what is as new.
    pub(crate) fn keep(&self, api: &Url, accepted: T, anew: bool) -> Result<()> {
        let mut seen = read(&self.file)?;
        let is_known = |kept: &T| *kept == accepted || (!anew && kept.version() >= accepted.version());
        if seen.get(api).is_some_and(is_known) {
            return Ok(());
        }
        seen.insert(api.clone(), accepted);
        let cannot = || format!("{} cannot be written", self.file.display());
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(cannot)?;
        let mut half = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
        half.write_all(&serde_json::to_vec_pretty(&seen)?).with_context(cannot)?;
        half.persist(&self.file).with_context(cannot)?;
        Ok(())
    }
}

fn read<T: Remembered>(file: &Path) -> Result<BTreeMap<Url, T>> {
    match std::fs::read(file) {
        Ok(text) => serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged: delete it to start over", file.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use rootcast_pki::fingerprint::Fingerprint;

    use super::*;

    #[test]
    fn the_last_bundle_of_each_api_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let profile = folder.path().join("deep/default.json");
        let url = |text: &str| text.parse::<Url>().unwrap();
        let seen = |version| Seen { version, content: Fingerprint::of(b"content") };
        let memory: Memory<Seen> = Memory::beside(&profile).unwrap();
        memory.keep(&url("https://one.example"), seen(3), false).unwrap();
        memory.keep(&url("https://two.example"), seen(1), false).unwrap();
        let memory: Memory<Seen> = Memory::beside(&profile).unwrap();
        assert_eq!(memory.of(&url("https://one.example")), Some(seen(3)));
        assert_eq!(memory.of(&url("https://three.example")), None);
    }

    #[test]
    fn a_slower_process_does_not_forget_a_newer_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let profile = folder.path().join("bundles.json");
        std::fs::write(&profile, "a profile that is named bundles").unwrap();
        let api: Url = "https://one.example".parse().unwrap();
        let seen = |version| Seen { version, content: Fingerprint::of(b"content") };
        let (slow, fast) = (Memory::beside(&profile).unwrap(), Memory::beside(&profile).unwrap());
        let kept = || Memory::beside(&profile).unwrap().of(&api);
        fast.keep(&api, seen(4), false).unwrap();
        slow.keep(&api, seen(3), false).unwrap();
        assert_eq!(kept(), Some(seen(4)));
        slow.keep(&api, seen(1), true).unwrap();
        assert_eq!(kept(), Some(seen(1)));
    }
}
