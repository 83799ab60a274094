//! Imported certificates, from the call that imports them to the device that shows them.

pub mod deploying;
pub mod events;
mod importing;
pub mod pki;
mod reading;
mod sealing;
mod venafi;

use rootcast_core::access::permission::{Grants, Operation, Role};
use rootcast_core::inventory::id::CertificateId;
use serde_json::{Value, json};

use crate::api::{Answer, Api};
use crate::stack::Stack;
use pki::Bundle;

pub(crate) const CERTIFICATES: &str = "/v3/scm/certificates";

impl Stack {
    /// A caller who may export keys.
    pub async fn exporter(&self) -> Api {
        self.api_of("exporter", exporting()).await
    }

    /// An import that must succeed.
    pub async fn import(&self, name: &str, bundle: &Bundle) -> CertificateId {
        imported(&self.api.post(&format!("{CERTIFICATES}/import"), body(name, bundle)).await)
    }
}

/// An operator who may export keys.
pub fn exporting() -> Grants {
    let mut grants = Grants::from(Role::Operator);
    grants.permit(Operation::ExportKey);
    grants
}

/// One text with leaf, intermediate and root.
pub fn body(name: &str, bundle: &Bundle) -> Value {
    json!({ "name": name, "certificate": bundle.all(), "private_key": bundle.key })
}

pub(crate) fn imported(answer: &Answer) -> CertificateId {
    answer.json()["certificate_id"].as_str().unwrap().parse().unwrap()
}

fn path(id: CertificateId) -> String {
    format!("{CERTIFICATES}/{id}")
}

/// Checks that this is a refusal in SCM's format, with a request id, and returns its message.
pub(crate) fn refused(answer: &Answer, status: u16, code: &str) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(body["error_code"], code, "{answer:?}");
    let message = body["error_msg"].as_str().unwrap();
    assert!(!message.is_empty() && message.chars().count() <= 1024, "{answer:?}");
    assert!(!answer.headers["x-request-id"].is_empty());
    message.to_owned()
}
