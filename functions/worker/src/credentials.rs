//! Device credentials: from SSM, ten at a time, and sealed ones from the devices' records, each opened once a visit.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;

use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use futures::future::join_all;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_drivers::Credential;
use rootcast_ledger::DeviceRecord;
use rootcast_seal::SealError;
use tracing::warn;

use crate::App;

/// Most names in one GetParameters call.
const AT_ONCE: usize = 10;

impl App {
    /// Each named parameter's credential, or why there is none. A name without an entry got no response: try again.
    pub(crate) async fn credentials(&self, names: BTreeSet<String>) -> HashMap<String, Result<Credential, Failure>> {
        let names: Vec<String> = names.into_iter().collect();
        let mut found = HashMap::new();
        for some in names.chunks(AT_ONCE) {
            let call = self.ssm.get_parameters().set_names(Some(some.to_vec())).with_decryption(true);
            match call.send().await {
                Ok(answer) => {
                    for parameter in answer.parameters.unwrap_or_default() {
                        if let (Some(name), Some(value)) = (parameter.name, parameter.value) {
                            found.insert(name, value.parse());
                        }
                    }
                    for name in answer.invalid_parameters.unwrap_or_default() {
                        let message = format!("There is no parameter {name}.");
                        found.insert(name, Err(Failure::new(ErrorClass::Credential, message)));
                    }
                }
                Err(error) if is_refusal(&error) => {
                    let message = format!("The parameter cannot be read: {}.", error.code().unwrap_or("refused"));
                    let refused =
                        some.iter().map(|name| (name.clone(), Err(Failure::new(ErrorClass::Credential, &message))));
                    found.extend(refused);
                }
                Err(error) => {
                    warn!(error = &error as &dyn Error, "credentials could not be read and are asked for again")
                }
            }
        }
        found
    }
}

impl App {
    /// The sealed credentials of these devices by name: one call to KMS each. One without an entry could not be opened for a
    /// passing reason: try again.
    pub(crate) async fn opened(&self, devices: Vec<&DeviceRecord>) -> HashMap<String, Result<Credential, Failure>> {
        let opened =
            devices.into_iter().map(async |device| Some((device.credential.clone(), self.unseal(device).await?)));
        join_all(opened).await.into_iter().flatten().collect()
    }

    async fn unseal(&self, device: &DeviceRecord) -> Option<Result<Credential, Failure>> {
        let refused = |why: &str| {
            let message = format!("{why} Set it again: rootcast device credential {}.", device.id);
            Some(Err(Failure::new(ErrorClass::Credential, message)))
        };
        let Some(sealed) = &device.sealed else { return refused("The record has no credential.") };
        match self.sealer.open(&device.seal_context(), sealed).await {
            Ok(text) => match str::from_utf8(&text).map(str::parse) {
                Ok(Ok(credential)) => Some(Ok(credential)),
                _ => refused("The credential in the record is not user name and password."),
            },
            Err(error) if error.is_retryable() => {
                warn!(device.id = %device.id, error = &error as &dyn Error, "the credential could not be opened, which is tried again");
                None
            }
            Err(SealError::Foreign) => refused("The credential was sealed for another device, or under another key."),
            Err(error) => {
                warn!(device.id = %device.id, error = &error as &dyn Error, "the credential cannot be opened");
                refused("KMS does not open the credential.")
            }
        }
    }
}

/// Whether a retry would be useless.
fn is_refusal<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    matches!(error, SdkError::ServiceError(service) if matches!(service.err().code(), Some("AccessDeniedException" | "InvalidKeyId" | "ValidationException")))
}
