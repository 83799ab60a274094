//! What a fake holds, in a file: started again, it goes on with that. Its sessions end, as with a power cut.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Instant;

use rcgen::{KeyPair, PublicKeyData};
use rootcast_core::device::Pin;
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};

use super::model::{Web, ders};
use super::{Model, Shared, State, pem};

#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    members: Vec<(u32, String)>,
    next: u32,
    /// The chain of its web server, PEM.
    web: String,
    /// Keys are PKCS #8 DER.
    pub(super) key: Vec<u8>,
    requested: Option<Vec<u8>>,
    rsa: Option<Vec<u8>>,
}

impl Kept {
    pub(super) fn new(certificate: &[u8], key: Vec<u8>) -> Self {
        Self { members: Vec::new(), next: 1, web: pem(certificate), key, requested: None, rsa: None }
    }

    /// Nothing, if there is no such file.
    pub(super) fn read(file: &Path) -> std::io::Result<Option<Self>> {
        match std::fs::read(file) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn state(&self, model: Model) -> State {
        let mut web = Web::new(self.web.clone());
        web.pending = self.requested.clone().map(|key| (key, Instant::now()));
        web.rsa.clone_from(&self.rsa);
        let mut state = State::new(model, web);
        state.members.clone_from(&self.members);
        state.next = self.next;
        state
    }

    pub(super) fn chain(&self) -> Vec<Vec<u8>> {
        ders(&self.web)
    }

    pub(super) fn key_pin(&self) -> Pin {
        let key = KeyPair::try_from(self.key.as_slice()).unwrap();
        Pin::Key(Fingerprint::of(&key.subject_public_key_info()))
    }
}

impl Shared {
    /// A cut leaves the old file or the new one.
    pub(super) fn keep(&self) {
        let Some(file) = &self.file else { return };
        let (state, web) = (&self.state, &self.state.web);
        let kept = Kept {
            members: state.members.clone(),
            next: state.next,
            web: web.text.clone(),
            key: self.key.clone(),
            requested: web.pending.as_ref().map(|(key, _)| key.clone()),
            rsa: web.rsa.clone(),
        };
        let new = file.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(&kept).unwrap()).unwrap();
        std::fs::rename(new, file).unwrap();
    }
}
