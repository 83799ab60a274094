//! Stages 500 to 700 of one device: from its CSR to its certificate.

use std::error::Error;

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::address::DeviceAddress;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_ledger::{
    CertificateOrPending, CertificateRecord, Issuance, LedgerError, Reserved, SerialRecord, UseRecord,
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
use crate::signer::{Signer, chosen, named, ready, ready_root};
use crate::{App, IssuerError, approve};

/// Why no certificate was issued.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A permanent failure.
    Final(Failure),
    /// KMS throttled, failed or denied it, or there is no issuing authority yet. Retried until the conductor gives the
    /// task up.
    Passing(Failure),
    /// A record has changed since it was read, or could not be read or written: start again.
    Again(Box<dyn Error + Send + Sync>),
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        Self::Again(error.into())
    }
}

impl App {
    /// Issues the certificate. `binding` always reflects what is recorded.
    pub(crate) async fn issue(&self, binding: &mut UseRecord) -> Result<(), Fault> {
        let (request, address) = request(binding.issuance.as_ref()).map_err(Fault::Final)?;
        let (signer, device, policy) = futures::try_join!(
            self.signer(),
            async { Ok(self.ledger.device(&binding.device).await?.ok_or(LedgerError::Conflict)?) },
            async { Ok(self.ledger.issuance_policy().await?.policy) },
        )?;
        let now = (self.clock)();
        let limits = Limits { device: &device, requested_at: &address, policy: &policy };
        let reserved = binding.issuance.as_ref().and_then(|issuance| issuance.reserved.clone());
        // Device and policy may have changed since the reservation.
        let is_usable = |reserved: &Reserved| {
            approve::is_usable(reserved, signer.id, now)
                && approve::subject(&device).is_ok_and(|subject| subject == reserved.spec.subject)
                && limits.check(&reserved.spec).is_ok()
        };
        let spec = match reserved.filter(is_usable) {
            Some(reserved) => reserved.spec,
            None => self.reserve(binding, &request, &signer, &limits, now).await?,
        };
        let serial = SerialRecord {
            certificate: binding.certificate,
            device: binding.device.clone(),
            signer: signer.id,
            leaf: None,
            thumbprint: None,
            subject: None,
            not_after: spec.not_after,
            at: now,
        };
        let noted = async { Ok(self.ledger.note_serial(spec.serial, &serial).await?) };
        futures::try_join!(noted, self.have_list(&spec, &signer))?;
        self.sign(binding, &request, &spec, &signer).await
    }

    /// Two calls, whoever signs. Its key was confirmed.
    async fn signer(&self) -> Result<Signer, Fault> {
        let authority = self.ledger.authority().await?;
        let id = chosen(&authority, self.leaves_from_root)?;
        let signer = match id.issuing() {
            Some(issuing) => ready(id, self.ledger.issuing(issuing).await?),
            None => ready_root(id.generation(), &self.ledger.roots(&authority).await?),
        }?;
        let confirmed = self.vault.confirm(&signer.key, &signer.certificate).await;
        confirmed.map_err(|error| vault(error, signer.id, Stage::PostCsr))?;
        Ok(signer)
    }

    /// Records what is to be signed before it is signed. Its serial number's own record comes next.
    async fn reserve(
        &self,
        binding: &mut UseRecord,
        request: &SigningRequest,
        signer: &Signer,
        limits: &Limits<'_>,
        now: OffsetDateTime,
    ) -> Result<LeafSpec, Fault> {
        let (id, issuer) = (signer.id, (signer.id, &signer.certificate));
        let serial = random_serial()?;
        let spec = approve::spec(limits, serial, issuer, &self.crl_base, self.validity, now).map_err(Fault::Final)?;
        approve::check(&spec, request.spki_der(), &signer.certificate).map_err(Fault::Final)?;

        let mut next = binding.clone();
        if binding.lifecycle.stage != Some(Stage::RetrieveCertificate) {
            let status = format!("{} is to sign serial number {serial}.", named(id));
            let advanced =
                binding.lifecycle.advance(binding.lifecycle.attempt, Stage::RetrieveCertificate, status, now);
            next = binding.with(advanced.map_err(|_| LedgerError::Conflict)?, now);
        }
        if let Some(issuance) = &mut next.issuance {
            issuance.reserved = Some(Reserved { signer: id, spec: spec.clone() });
        }
        self.ledger.save_use(&next).await?;
        *binding = UseRecord { revision: next.revision + 1, ..next };
        Ok(spec)
    }

    /// The list that the certificate is to name.
    async fn have_list(&self, spec: &LeafSpec, signer: &Signer) -> Result<(), Fault> {
        let Some(url) = &spec.crl else { return Ok(()) };
        let list = CrlId::of(signer.id, &spec.serial);
        let there = self.ensure_list(signer, list, url).await;
        there.map_err(|error| issuer(error, signer.id, Stage::RetrieveCertificate))
    }

    async fn sign(
        &self,
        binding: &mut UseRecord,
        request: &SigningRequest,
        spec: &LeafSpec,
        signer: &Signer,
    ) -> Result<(), Fault> {
        let stage = Stage::RetrieveCertificate;
        let refused = |error| Fault::Final(Failure::new(ErrorClass::Authority, format!("{error}.")).at(stage));
        let prepared = prepare_server_leaf(spec, request.spki_der(), &signer.certificate).map_err(refused)?;
        let place = self.signatures.acquire().await;
        let leaf = self.vault.sign_prepared(&signer.key, prepared).await;
        drop(place);
        let leaf = leaf.map_err(|error| vault(error, signer.id, stage))?;

        let now = (self.clock)();
        let there = self.ledger.to_be_issued(binding.certificate, signer.id).await?;
        if is_there(&there, spec.serial) {
            return self.go_on(binding, now).await;
        }
        let mut record = record(&there, leaf, request, spec, signer, now);
        let due = self.renewal.due(&binding.device, record.life());
        (record.renew_at, record.shown_until) = match &there {
            // Its installation may fail for good, and then the device shows the one before.
            CertificateOrPending::Certificate(before) => {
                let shown_until = if before.is_shown(binding) { Some(before.not_after) } else { before.shown_until };
                (Some(due.min(before.life().again(now))), shown_until)
            }
            CertificateOrPending::Pending(_) => (Some(due), None),
        };
        let act = Act::new(Subject::Certificate(binding.certificate), Action::Sign, &Actor::function("issue"), now)
            .with("device", &binding.device)
            .with("generation", signer.id.generation())
            .with("leaf", record.leaf.fingerprint())
            .with("serial", spec.serial);
        let act = signer.id.issuing().into_iter().fold(act, |act, issuing| act.with("issuing", issuing));
        let act = binding.job.into_iter().fold(act, |act, job| act.with("job", job));
        self.ledger.issue(&record, &there, spec.serial, &act).await?;
        info!(device.id = %binding.device, certificate.id = %binding.certificate, serial = %spec.serial, signer = %signer.id, "a certificate is issued");
        self.go_on(binding, now).await
    }

    /// The certificate is stored. The request has served its purpose: whoever goes on installs what was signed, or begins with
    /// another one.
    async fn go_on(&self, binding: &mut UseRecord, now: OffsetDateTime) -> Result<(), Fault> {
        let status = "The certificate is signed; it will be installed on the device.";
        let advanced = binding.lifecycle.advance(binding.lifecycle.attempt, Stage::InstallCertificate, status, now);
        let next = UseRecord { issuance: None, ..binding.with(advanced.map_err(|_| LedgerError::Conflict)?, now) };
        self.ledger.save_use(&next).await?;
        *binding = UseRecord { revision: next.revision + 1, ..next };
        Ok(())
    }
}

/// Whether the reserved certificate was stored before, by an issuer that died before it recorded so.
fn is_there(there: &CertificateOrPending, serial: Serial) -> bool {
    let held = match there {
        CertificateOrPending::Certificate(record) => record.leaf.serial().to_owned(),
        CertificateOrPending::Pending(_) => return false,
    };
    Serial::try_from(held).is_ok_and(|held| held == serial)
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
    signer: &Signer,
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
        chain: signer.chain.clone(),
        issuing: signer.id.issuing(),
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
        unproven: false,
        noticed: None,
        renew_at: None,
        shown_until: None,
        revoked: None,
        imported_by: imported_by.clone(),
        created,
        updated: now,
    }
}

fn vault(error: VaultError, signer: SignerId, stage: Stage) -> Fault {
    let failure = Failure::new(ErrorClass::Authority, format!("{error}.")).at(stage);
    // A deployment changes roles and keys one after the other: a refusal may pass. A root's key may still sleep, until the
    // conductor's schedule wakes it for good.
    let may_pass = error.is_retryable() || error.is_denied() || (signer.is_root() && error.is_disabled());
    if may_pass { Fault::Passing(failure) } else { Fault::Final(failure) }
}

fn issuer(error: IssuerError, signer: SignerId, stage: Stage) -> Fault {
    match error {
        IssuerError::Ledger(error) => error.into(),
        IssuerError::Vault(error) => vault(error, signer, stage),
        other => Fault::Final(Failure::new(ErrorClass::Authority, format!("{other}.")).at(stage)),
    }
}

fn random_serial() -> Result<Serial, Fault> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Fault::Again(error.into()))?;
    Ok(Serial::of_leaf(random))
}
