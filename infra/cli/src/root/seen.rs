//! The last bundle of each API that was accepted, in a file beside the profiles: an API that sends an older one later
//! is found out.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rootcast_pki::bundle::Seen;
use url::Url;

pub(super) struct Memory {
    file: PathBuf,
    /// By the API's address.
    seen: BTreeMap<Url, Seen>,
}

impl Memory {
    /// `profile`: the profile's file.
    pub(super) fn beside(profile: &Path) -> Result<Self> {
        let file = profile.with_file_name("bundles.json");
        let seen = match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged: remove it to begin anew", file.display()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
        };
        Ok(Self { file, seen })
    }

    pub(super) fn of(&self, api: &Url) -> Option<Seen> {
        self.seen.get(api).copied()
    }

    /// Replaces the file atomically, if it does not say so already.
    pub(super) fn keep(&mut self, api: &Url, accepted: Seen) -> Result<()> {
        if self.seen.insert(api.clone(), accepted) == Some(accepted) {
            return Ok(());
        }
        let cannot = || format!("{} cannot be written", self.file.display());
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(cannot)?;
        let mut half = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
        half.write_all(&serde_json::to_vec_pretty(&self.seen)?).with_context(cannot)?;
        half.persist(&self.file).with_context(cannot)?;
        Ok(())
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
        let mut memory = Memory::beside(&profile).unwrap();
        memory.keep(&url("https://one.example"), seen(3)).unwrap();
        memory.keep(&url("https://two.example"), seen(1)).unwrap();
        let memory = Memory::beside(&profile).unwrap();
        assert_eq!(memory.of(&url("https://one.example")), Some(seen(3)));
        assert_eq!(memory.of(&url("https://three.example")), None);
    }
}
