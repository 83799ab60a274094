//! `GET /rights`: what the caller may do. Pages offer nothing else; whether a call is carried out is decided with the call.

use axum::Extension;
use rootcast_core::access::permission::{Grant, Operation};
use rootcast_dialects::lenovo::Envelope;
use rootcast_gate::Principal;
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Rights {
    principal: String,
    grants: Vec<Grant>,
    permissions: Vec<Operation>,
}

pub(crate) async fn show(Extension(caller): Extension<Principal>) -> Envelope<Rights> {
    let Principal { name, grants, .. } = caller;
    Envelope::success(Rights {
        grants: grants.grants().collect(),
        permissions: grants.operations().collect(),
        principal: name,
    })
}
