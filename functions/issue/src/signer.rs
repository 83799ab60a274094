//! Who signs a device's certificate. Pure.

use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_ledger::{Authority, IssuingRecord, IssuingState, RootRecord};
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
    pub(crate) fn root(record: RootRecord) -> Option<Self> {
        // The link, for clients that only have the previous root.
        let chain = record.new_with_old.and_then(|link| link.certificate).into_iter().collect();
        Some(Self { id: SignerId::root(record.generation), key: record.key?, certificate: record.certificate?, chain })
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

/// The root that was chosen.
pub(crate) fn ready_root(record: Option<RootRecord>) -> Result<Signer, Fault> {
    let record = record.ok_or_else(|| Fault::Final(failure("No root signs yet.".to_owned())))?;
    Signer::root(record).ok_or_else(|| Fault::Final(failure("The root that signs has no certificate.".to_owned())))
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
