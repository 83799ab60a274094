//! Device credentials from SSM, ten at a time.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;

use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_drivers::Credential;
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

/// Whether a retry would be useless.
fn is_refusal<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    matches!(error, SdkError::ServiceError(service) if matches!(service.err().code(), Some("AccessDeniedException" | "InvalidKeyId" | "ValidationException")))
}
