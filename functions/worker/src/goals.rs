//! What the devices of a batch need: bundles, and certificates with or without our private key. Each is read once.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::sync::{Arc, PoisonError};

use rootcast_core::deployment::lifecycle::{Stage, Work};
use rootcast_core::device::{DeviceId, DeviceVersion};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::message::Task;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_core::preflight::Expected;
use rootcast_drivers::Identity;
use rootcast_ledger::{BundleRecord, LedgerError, UseRecord};
use tracing::error;

use crate::App;
use crate::batch::TaskWork;

#[derive(Debug, Clone)]
pub(crate) enum Goal {
    Trust(Arc<BundleRecord>),
    /// Without an identity, there is nothing to install and the task fails. Without a binding, the device no longer
    /// takes part.
    Install {
        binding: Option<Box<UseRecord>>,
        identity: Result<Arc<Identity>, Failure>,
    },
    /// Have the device make a key and a CSR.
    Request {
        binding: Box<UseRecord>,
    },
    /// The issuer is next.
    PassOn,
    /// Read, and write nothing. `bundle`: `None` before the first root.
    Check {
        bundle: Option<Arc<BundleRecord>>,
        expected: Expected,
    },
    /// Look at the device for a person, and write nothing.
    Probe,
}

impl Goal {
    /// The bundle version that fences off late tasks for an older bundle.
    pub(crate) fn fence(&self) -> Option<u64> {
        match self {
            Self::Trust(record) => Some(record.bundle.version),
            Self::Install { .. } | Self::Request { .. } | Self::PassOn | Self::Check { .. } | Self::Probe => None,
        }
    }

    /// Whether the deployment was begun for this very device: its private key is our secret. A device's own key is not.
    pub(crate) fn is_meant_for(&self, device: DeviceVersion) -> bool {
        let binding = self.binding().filter(|binding| binding.lifecycle.work == Work::Install);
        binding.and_then(|binding| binding.of).is_none_or(|of| of == device)
    }

    /// The goal's use, as it was read.
    pub(crate) fn binding(&self) -> Option<&UseRecord> {
        match self {
            Self::Install { binding, .. } => binding.as_deref(),
            Self::Request { binding } => Some(binding),
            Self::Trust(_) | Self::PassOn | Self::Check { .. } | Self::Probe => None,
        }
    }

    /// The stage of a failure that does not name one.
    pub(crate) fn stage(&self) -> Option<Stage> {
        match self {
            Self::Trust(_) => Some(Stage::UpdateTrustStore),
            Self::Install { .. } | Self::Request { .. } => self.binding().map(stage),
            Self::PassOn => None,
            Self::Check { .. } | Self::Probe => Some(Stage::CheckStore),
        }
    }
}

#[derive(Default)]
pub(crate) struct Goals {
    bundles: HashMap<u64, Arc<BundleRecord>>,
    /// By certificate, and whether it is a device's own, which has no private key here.
    identities: HashMap<(CertificateId, bool), Result<Arc<Identity>, Failure>>,
    uses: Vec<UseRecord>,
}

impl Goals {
    /// `None` if it could not be read now.
    pub(crate) fn of(&self, work: TaskWork, task: &Task) -> Option<Goal> {
        match work {
            TaskWork::Trust { bundle } => Some(Goal::Trust(Arc::clone(self.bundles.get(&bundle)?))),
            TaskWork::Probe => Some(Goal::Probe),
            TaskWork::Check { bundle: 0, expected } => Some(Goal::Check { bundle: None, expected }),
            TaskWork::Check { bundle, expected } => {
                Some(Goal::Check { bundle: Some(Arc::clone(self.bundles.get(&bundle)?)), expected })
            }
            TaskWork::Install { certificate, own } => {
                // Another job may have taken the device over.
                let binding = self.binding(certificate, &task.device).filter(|binding| binding.job == Some(task.job));
                let binding = binding.cloned().map(Box::new);
                match binding {
                    Some(binding) if own && stage(&binding) == Stage::CreateCsr => Some(Goal::Request { binding }),
                    Some(binding) if own && stage(&binding) < Stage::InstallCertificate => Some(Goal::PassOn),
                    binding => {
                        Some(Goal::Install { binding, identity: self.identities.get(&(certificate, own))?.clone() })
                    }
                }
            }
        }
    }

    fn binding(&self, certificate: CertificateId, device: &DeviceId) -> Option<&UseRecord> {
        self.uses.iter().find(|binding| binding.certificate == certificate && binding.device == *device)
    }
}

/// The stage at which the work stands or resumes.
pub(crate) fn stage(binding: &UseRecord) -> Stage {
    binding.lifecycle.stage.unwrap_or(binding.lifecycle.work.first())
}

impl App {
    /// Of tasks, each with its device.
    pub(crate) async fn goals(&self, tasks: &[(TaskWork, &DeviceId)]) -> Result<Goals, LedgerError> {
        let mut goals = Goals::default();
        let mut bundles = BTreeSet::new();
        let mut bindings = Vec::new();
        for (work, device) in tasks {
            match work {
                TaskWork::Check { bundle: 0, .. } | TaskWork::Probe => {}
                TaskWork::Trust { bundle } | TaskWork::Check { bundle, .. } => _ = bundles.insert(*bundle),
                TaskWork::Install { certificate, own } => bindings.push((*certificate, *device, *own)),
            }
        }
        let read: Vec<_> = bindings.iter().map(|(certificate, device, _)| (*certificate, *device)).collect();
        goals.uses = self.ledger.uses(&read).await?;
        let is_issued = |(certificate, device, own): &(CertificateId, &DeviceId, bool)| {
            !own || goals
                .binding(*certificate, device)
                .is_some_and(|binding| stage(binding) >= Stage::InstallCertificate)
        };
        let certificates: Vec<_> = bindings
            .iter()
            .filter(|binding| is_issued(binding))
            .map(|(certificate, _, own)| (*certificate, *own))
            .collect();
        for version in bundles {
            if let Some(bundle) = self.bundle(version).await? {
                goals.bundles.insert(version, bundle);
            }
        }
        // Also one that does not open now is tried once a batch: a call to KMS may take ten seconds.
        let mut read = BTreeSet::new();
        for wanted @ (certificate, own) in certificates {
            if read.insert(wanted)
                && let Some(identity) = self.identity(certificate, own).await?
            {
                goals.identities.insert(wanted, identity);
            }
        }
        Ok(goals)
    }

    async fn bundle(&self, version: u64) -> Result<Option<Arc<BundleRecord>>, LedgerError> {
        let known = || self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bundle) = known().get(&version) {
            return Ok(Some(Arc::clone(bundle)));
        }
        let Some(record) = self.ledger.bundle(version).await? else {
            error!(bundle.version = version, "the job's bundle is missing");
            return Ok(None);
        };
        let bundle = Arc::new(record);
        known().insert(version, Arc::clone(&bundle));
        Ok(Some(bundle))
    }

    /// The certificate with its decrypted private key, kept for this batch only. `None` if decrypting may succeed
    /// later.
    async fn identity(
        &self,
        id: CertificateId,
        own: bool,
    ) -> Result<Option<Result<Arc<Identity>, Failure>>, LedgerError> {
        let unusable = |why: &str| Some(Err(Failure::new(ErrorClass::Certificate, format!("{id}: {why}."))));
        let Some(record) = self.ledger.certificate(id).await? else {
            return Ok(unusable("there is no such certificate"));
        };
        if record.not_after <= (self.clock)() {
            return Ok(unusable("the certificate has expired"));
        }
        // Its list may not be published yet, and a device that shows it would pass as renewed.
        if record.revoked.is_some() {
            return Ok(unusable("the certificate is revoked; renew it"));
        }
        if own {
            return Ok(Some(Ok(Arc::new(Identity::new(record.leaf, record.chain, None)))));
        }
        let Some(sealed) = &record.key else { return Ok(unusable("its private key never left its device")) };
        match self.sealer.open(&record.seal_context(), sealed).await {
            Ok(key) => Ok(Some(Ok(Arc::new(Identity::new(record.leaf, record.chain, Some(key)))))),
            Err(error) => {
                let again = error.is_retryable();
                error!(certificate.id = %id, again, error = &error as &dyn Error, "the certificate's private key does not open");
                Ok(if again { None } else { unusable("its private key does not open; the worker's log says why") })
            }
        }
    }
}
