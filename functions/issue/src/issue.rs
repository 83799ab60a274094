//! Stages 500 to 700 of one device: from its CSR to its certificate.

use std::error::Error;

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::address::DeviceAddress;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_ledger::{
    CertificateOrPending, CertificateRecord, Issuance, LedgerError, Reserved, RootRecord, SerialRecord, UseRecord,
};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::CrlId;
use rootcast_pki::request::SigningRequest;
use rootcast_pki::root::{LeafSpec, Serial, prepare_server_leaf};
use rootcast_pki::signer::SignerId;
use rootcast_vault::VaultError;
use time::OffsetDateTime;
use tracing::info;

use crate::approve::Limits;
use crate::{App, IssuerError, approve};

/// Why no certificate was issued.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A permanent failure.
    Final(Failure),
    /// KMS throttled, failed or denied it. Retried until the conductor gives the task up.
    Passing(Failure),
    /// A record has changed since it was read, or could not be read or written: start again.
    Again(Box<dyn Error + Send + Sync>),
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        Self::Again(error.into())
    }
}

/// The signing root: its generation, KMS key and certificate.
struct Signer<'a> {
    root: &'a RootRecord,
    key: &'a str,
    certificate: &'a Certificate,
}

impl App {
    /// Issues the certificate. `binding` always reflects what is recorded.
    pub(crate) async fn issue(&self, binding: &mut UseRecord) -> Result<(), Fault> {
        let (request, address) = request(binding.issuance.as_ref()).map_err(Fault::Final)?;
        let root = self.signing_root().await?;
        let (key, certificate) = root
            .key_and_certificate()
            .ok_or_else(|| Fault::Final(no_root("The root that signs has no certificate.")))?;
        self.vault.confirm(key, certificate).await.map_err(|error| vault(error, Stage::PostCsr))?;
        let signer = Signer { root: &root, key, certificate };
        let device = self.ledger.device(&binding.device).await?.ok_or(LedgerError::Conflict)?;
        let now = (self.clock)();
        let policy = self.ledger.issuance_policy().await?.policy;
        let limits = Limits { device: &device, requested_at: &address, policy: &policy };
        let reserved = binding.issuance.as_ref().and_then(|issuance| issuance.reserved.clone());
        // Device and policy may have changed since the reservation.
        let is_usable = |reserved: &Reserved| {
            approve::is_usable(reserved, SignerId::root(root.generation), now)
                && approve::subject(&device).is_ok_and(|subject| subject == reserved.spec.subject)
                && limits.check(&reserved.spec).is_ok()
        };
        let spec = match reserved.filter(is_usable) {
            Some(reserved) => reserved.spec,
            None => self.reserve(binding, &request, &signer, &limits, now).await?,
        };
        self.sign(binding, &request, &spec, &signer).await
    }

    async fn signing_root(&self) -> Result<RootRecord, Fault> {
        let signing = match self.ledger.authority().await?.signing {
            Some(generation) => self.ledger.root(generation).await?,
            None => None,
        };
        signing.ok_or_else(|| Fault::Final(no_root("No root signs yet.")))
    }

    /// Records what is to be signed before it is signed.
    async fn reserve(
        &self,
        binding: &mut UseRecord,
        request: &SigningRequest,
        signer: &Signer<'_>,
        limits: &Limits<'_>,
        now: OffsetDateTime,
    ) -> Result<LeafSpec, Fault> {
        let generation = signer.root.generation;
        let id = SignerId::root(generation);
        let issuer = (id, signer.certificate);
        let serial = random_serial()?;
        let spec = approve::spec(limits, serial, issuer, &self.crl_base, self.validity, now).map_err(Fault::Final)?;
        approve::check(&spec, request.spki_der(), signer.certificate).map_err(Fault::Final)?;

        let mut next = binding.clone();
        if binding.lifecycle.stage != Some(Stage::RetrieveCertificate) {
            let status = format!("Root generation {generation} is to sign serial number {serial}.");
            let advanced =
                binding.lifecycle.advance(binding.lifecycle.attempt, Stage::RetrieveCertificate, status, now);
            next = binding.with(advanced.map_err(|_| LedgerError::Conflict)?, now);
        }
        if let Some(issuance) = &mut next.issuance {
            issuance.reserved = Some(Reserved { signer: id, spec: spec.clone() });
        }
        let record = SerialRecord {
            certificate: binding.certificate,
            device: binding.device.clone(),
            signer: id,
            leaf: None,
            thumbprint: None,
            subject: None,
            not_after: spec.not_after,
            at: now,
        };
        self.ledger.reserve(&next, serial, &record).await?;
        *binding = UseRecord { revision: next.revision + 1, ..next };
        Ok(spec)
    }

    async fn sign(
        &self,
        binding: &mut UseRecord,
        request: &SigningRequest,
        spec: &LeafSpec,
        signer: &Signer<'_>,
    ) -> Result<(), Fault> {
        let stage = Stage::RetrieveCertificate;
        let list = CrlId::of(SignerId::root(signer.root.generation), &spec.serial);
        if let Some(url) = &spec.crl {
            self.ensure_list(signer.root, list, url).await.map_err(|error| issuer(error, stage))?;
        }
        let refused = |error| Fault::Final(Failure::new(ErrorClass::Authority, format!("{error}.")).at(stage));
        let prepared = prepare_server_leaf(spec, request.spki_der(), signer.certificate).map_err(refused)?;
        let leaf = self.vault.sign_prepared(signer.key, prepared).await.map_err(|error| vault(error, stage))?;

        let now = (self.clock)();
        let there = self.ledger.certificate_or_pending(binding.certificate).await?.ok_or(LedgerError::Conflict)?;
        let record = record(&there, leaf, request, spec, signer.root, now);
        let status = "The certificate is signed; it will be installed on the device.";
        let advanced = binding.lifecycle.advance(binding.lifecycle.attempt, Stage::InstallCertificate, status, now);
        let next = binding.with(advanced.map_err(|_| LedgerError::Conflict)?, now);
        let act = Act::new(Subject::Certificate(binding.certificate), Action::Sign, &Actor::function("issue"), now)
            .with("device", &binding.device)
            .with("generation", signer.root.generation)
            .with("leaf", record.leaf.fingerprint())
            .with("serial", spec.serial);
        let act = match binding.job {
            Some(job) => act.with("job", job),
            None => act,
        };
        self.ledger.issue(&record, &there, spec.serial, &next, &act).await?;
        *binding = UseRecord { revision: next.revision + 1, ..next };
        info!(device.id = %binding.device, certificate.id = %binding.certificate, serial = %spec.serial, root.generation = signer.root.generation, "a certificate is issued");
        Ok(())
    }
}

/// Parses the recorded CSR; returns it with the address of the device that made it. The worker has checked it before,
/// but the record is decisive.
fn request(issuance: Option<&Issuance>) -> Result<(SigningRequest, DeviceAddress), Failure> {
    let old = "It is not known at which address the device made its request: it has to make another one.";
    let unfit = |why: String| Failure::new(ErrorClass::Rejected, why).at(Stage::CreateCsr);
    let issuance = issuance.ok_or_else(|| unfit("The device has made no request.".to_owned()))?;
    let address = issuance.address.clone().ok_or_else(|| unfit(old.to_owned()))?;
    SigningRequest::parse(&issuance.request)
        .map(|request| (request, address))
        .map_err(|error| unfit(format!("The device's request is refused: {error}.")))
}

/// The certificate's record. Keeps what does not change with a renewal.
fn record(
    there: &CertificateOrPending,
    leaf: Certificate,
    request: &SigningRequest,
    spec: &LeafSpec,
    root: &RootRecord,
    now: OffsetDateTime,
) -> CertificateRecord {
    let (id, uses, created, imported_by, enterprise_project_id) = match there {
        CertificateOrPending::Certificate(before) => {
            (before.id, before.uses, before.created, &before.imported_by, before.enterprise_project_id.clone())
        }
        CertificateOrPending::Pending(place) => (place.id, place.uses, place.created, &place.imported_by, None),
    };
    let (folder, name) = there.place();
    let addresses = spec.subject.ip_addresses().iter().map(ToString::to_string);
    CertificateRecord {
        id,
        shard: id.shard(),
        revision: 0,
        folder: folder.to_owned(),
        name: name.to_owned(),
        // The link certificate, for clients that only have the previous root.
        chain: root.new_with_old.as_ref().and_then(|link| link.certificate.clone()).into_iter().collect(),
        key: None,
        device: there.device().cloned(),
        spki: request.key(),
        key_algorithm: request.key_algorithm().to_string(),
        signature_algorithm: leaf.signature_algorithm_name().to_owned(),
        common_name: Some(spec.subject.common_name().to_owned()),
        names: spec.subject.dns_names().iter().cloned().chain(addresses).collect(),
        not_before: leaf.not_before(),
        not_after: leaf.not_after(),
        leaf,
        enterprise_project_id,
        uses,
        noticed: None,
        revoked: None,
        imported_by: imported_by.clone(),
        created,
        updated: now,
    }
}

fn no_root(message: &str) -> Failure {
    Failure::new(ErrorClass::Authority, message).at(Stage::PostCsr)
}

fn vault(error: VaultError, stage: Stage) -> Fault {
    let failure = Failure::new(ErrorClass::Authority, format!("{error}.")).at(stage);
    // A deployment changes roles and keys one after the other: a refusal may pass.
    if error.is_retryable() || error.is_denied() { Fault::Passing(failure) } else { Fault::Final(failure) }
}

fn issuer(error: IssuerError, stage: Stage) -> Fault {
    match error {
        IssuerError::Ledger(error) => error.into(),
        IssuerError::Vault(error) => vault(error, stage),
        other => Fault::Final(Failure::new(ErrorClass::Authority, format!("{other}.")).at(stage)),
    }
}

fn random_serial() -> Result<Serial, Fault> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Fault::Again(error.into()))?;
    Ok(Serial::from_random(random))
}
