//! Issuing authorities: they sign the certificates of devices, so that their root's key can sleep.

use rcgen::{BasicConstraints, IsCa};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::prepared::{IssueError, Issuer, Prepared};
use super::{Serial, authority, distribution_points, key_identifier, validity};
use crate::algorithm::KeyAlgorithm;
use crate::certificate::Certificate;
use crate::name::{Subject, issuing_common_name};
use crate::permitted::PermittedNames;
use crate::signer::IssuingId;

/// Everything that determines the bytes of an issuing authority's certificate, except its key and its root. Recorded
/// before the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuingSpec {
    pub id: IssuingId,
    /// The CN of its root without the generation.
    pub root_name: String,
    pub subject: Subject,
    pub algorithm: KeyAlgorithm,
    pub serial: Serial,
    #[serde(with = "time::serde::timestamp")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
    /// As [`RootSpec::permitted`](super::RootSpec::permitted).
    #[serde(default, skip_serializing_if = "PermittedNames::is_unlimited")]
    pub permitted: PermittedNames,
    /// URL of the root's list of authorities.
    pub crl: String,
}

/// Prepares the certificate of an issuing authority, signed by `root`: keyCertSign and cRLSign, and pathLen 0, so that it
/// certifies no other authority. Within the root's validity.
pub fn prepare_issuing(spec: &IssuingSpec, spki_der: &[u8], root: &Certificate) -> Result<Prepared, IssueError> {
    if spec.not_before < root.not_before() || spec.not_after > root.not_after() {
        return Err(IssueError::OutlivesIssuer);
    }
    let found = KeyAlgorithm::of_spki(spki_der)?;
    if found != spec.algorithm {
        return Err(IssueError::KeyMismatch { expected: spec.algorithm, found });
    }
    let mut params = authority(&key_identifier(spki_der)?);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name = spec.subject.with_common_name(&issuing_common_name(&spec.root_name, spec.id)?);
    params.serial_number = Some(spec.serial.octets().to_vec().into());
    params.name_constraints = spec.permitted.constraints();
    params.crl_distribution_points = distribution_points(Some(&spec.crl))?;
    (params.not_before, params.not_after) = validity(spec.not_before, spec.not_after)?;
    Prepared::certificate(params, spki_der, Issuer::of(root)?)
}
