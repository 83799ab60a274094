//! Who signs a device's certificate. Pure.

use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_ledger::{Authority, IssuingRecord, IssuingState, RootRecord, live};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::signer::SignerId;

use crate::issue::Fault;

/// The authority that signs, its KMS key and its certificate.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) id: SignerId,
    pub(crate) key: String,
    pub(crate) certificate: Certificate,
    /// What follows a certificate that it signs.
    pub(crate) chain: Vec<Certificate>,
}

impl Signer {
    /// `None` before its certificate is made.
    pub(crate) fn issuing(record: IssuingRecord) -> Option<Self> {
        let (id, chain) = (record.id().into(), record.chain().cloned().collect());
        Some(Self { id, key: record.key?, certificate: record.certificate?, chain })
    }

    /// `None` before its certificate is made.
    fn root(record: &RootRecord, roots: &[RootRecord]) -> Option<Self> {
        let (key, certificate) = record.key_and_certificate()?;
        let chain = live(roots).above(certificate);
        let (id, certificate) = (SignerId::root(record.generation), certificate.clone());
        Some(Self { id, key: key.to_owned(), certificate, chain })
    }
}

/// Who is to sign: an issuing authority below the root that signs, or that root itself.
pub(crate) fn chosen(authority: &Authority, leaves_from_root: bool) -> Result<SignerId, Fault> {
    let generation = authority.signing.ok_or_else(|| Fault::Final(failure("No root signs yet.".to_owned())))?;
    if leaves_from_root {
        return Ok(SignerId::root(generation));
    }
    let issuing = authority.issuing.filter(|issuing| issuing.generation == generation);
    issuing.map(SignerId::from).ok_or_else(|| {
        Fault::Passing(failure(format!(
            "Root generation {generation} has no issuing authority yet; one is being made."
        )))
    })
}

/// The issuing authority that was chosen. One that was replaced meanwhile may still sign. One that was revoked signs
/// nothing, and another one takes its place soon.
pub(crate) fn ready(id: SignerId, record: Option<IssuingRecord>) -> Result<Signer, Fault> {
    let may_sign = |record: &IssuingRecord| matches!(record.state, IssuingState::Signing | IssuingState::Superseded);
    record.filter(may_sign).and_then(Signer::issuing).ok_or_else(|| {
        Fault::Passing(failure(format!(
            "The issuing authority {id} signs nothing: it is revoked, or not made yet. Another one takes its place."
        )))
    })
}

/// The root that was chosen. `roots`: oldest first.
pub(crate) fn ready_root(generation: u32, roots: &[RootRecord]) -> Result<Signer, Fault> {
    let record = roots.iter().find(|root| root.generation == generation);
    let record = record.ok_or_else(|| Fault::Final(failure("No root signs yet.".to_owned())))?;
    let signer = Signer::root(record, roots);
    signer.ok_or_else(|| Fault::Final(failure("The root that signs has no certificate.".to_owned())))
}

/// The signer in a sentence.
pub(crate) fn named(id: SignerId) -> String {
    if id.is_root() { format!("Root generation {id}") } else { format!("Issuing authority {id}") }
}

fn failure(message: String) -> Failure {
    Failure::new(ErrorClass::Authority, message).at(Stage::PostCsr)
}

#[cfg(test)]
#[path = "signer_tests.rs"]
mod tests;
