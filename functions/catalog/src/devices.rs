//! Devices: `GET /devices`, `GET`, `PATCH` and `DELETE /devices/{id}`, and the certificate that a device presents.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use rootcast_core::access::permission::{DevicesSeen, Operation, Right};
use rootcast_core::device::address::DeviceAddress;
use rootcast_core::device::labels::Selector;
use rootcast_core::device::{DeviceId, Pin, Profile, Slot};
use rootcast_core::inventory::dn::{CertificateDn, application_dn};
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_dialects::lenovo::{Body, Envelope, LenovoError, Message, Params};
use rootcast_dialects::native::{Device, Fingerprint, Standing};
use rootcast_drivers::observe;
use rootcast_gate::{Cursors, Forbidden, Kind, Principal, RequestId};
use rootcast_ledger::{DeviceRecord, Editor, Ledger, LedgerError};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::subject::DeviceSubject;
use serde::{Deserialize, Deserializer, Serialize};
use tracing::info;

use crate::app::App;
use crate::approval::renew_if_compromised;
use crate::credential::SentCredential;
use crate::extract::Id;
use crate::inventory::{Rules, shown};
use crate::issuance_policy;
use crate::page::{Paging, cursor};
use crate::parameters;
use crate::stamp::stamp;

/// Attempts to write an edit: another operator may edit the same device at the same time.
pub(crate) const ATTEMPTS: u32 = 5;

#[derive(Debug, Serialize)]
pub(crate) struct Devices {
    devices: Vec<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Filter {
    /// Labels, as in `site=fra`.
    #[serde(default, rename = "where")]
    labels: Option<String>,
    state: Option<Standing>,
}

impl Filter {
    fn selector(&self) -> Result<Selector, LenovoError> {
        self.labels.as_deref().unwrap_or_default().parse().map_err(|why| {
            LenovoError::invalid(format!("where is not valid: {why}."), "Correct the parameter, or leave it out.")
        })
    }
}

/// In no particular order. A page costs what it shows: a caller who may see some devices gets these by their ids. It has fewer
/// rows than `limit` if the caller asks for some labels.
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Params(paging, filter): Params<Paging, Filter>,
) -> Result<Envelope<Devices>, LenovoError> {
    let wanted = filter.selector()?;
    let ledger = &app.parts().await?.ledger;
    let list = Cursors { ledger, caller: &caller, list: "devices" };
    let limit = paging.limit(1000)?;
    let after: Option<DeviceId> = paging.place(list).await?;
    let page = match caller.grants.devices_seen() {
        DevicesSeen::All => ledger.devices_after(after.as_ref(), limit).await?,
        DevicesSeen::Named(ids) => ledger.devices_among(&ids, after.as_ref(), limit).await?,
    };
    let cursor = cursor(list, page.next.as_ref()).await?;
    let seen = page.items.into_iter().filter(|device| wanted.selects(&device.labels));
    let seen = seen.filter(|device| caller.sees(&application_dn(&device.id)));
    let devices = seen.map(shown).filter(|device| filter.state.is_none_or(|wanted| wanted == device.state));
    Ok(Envelope::success(Devices { devices: devices.collect(), cursor }))
}

pub(crate) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(id): Id<DeviceId>,
) -> Result<Envelope<Device>, LenovoError> {
    Ok(Envelope::success(shown(load(&app.parts().await?.ledger, &caller, Right::Read, &id).await?)))
}

pub(crate) async fn load(
    ledger: &Ledger,
    caller: &Principal,
    right: Right,
    id: &DeviceId,
) -> Result<DeviceRecord, LenovoError> {
    may(caller, right, id)?;
    ledger.device(id).await?.ok_or_else(|| no_such_device(id))
}

pub(crate) fn may(caller: &Principal, right: Right, id: &DeviceId) -> Result<(), LenovoError> {
    caller.require(right, &application_dn(id)).map_err(|denied| denied.or(|| no_such_device(id)))
}

pub(crate) fn no_such_device(id: &DeviceId) -> LenovoError {
    LenovoError::not_found(format!("There is no device {id}."), "GET /devices lists the devices.")
}

/// What the caller may decide about a device's identity. Where approvals need a second person, an edit approves nothing:
/// the approval of what was changed is confirmed.
pub(crate) fn editor<'a>(caller: &'a Principal, id: &DeviceId, RequestId(request): &'a RequestId) -> Editor<'a> {
    Editor {
        name: &caller.name,
        request: Some(request),
        may_approve: caller.may(Operation::ApproveDevice).is_ok(),
        may_release: caller.may(Operation::Activate).is_ok(),
        may_revoke: caller.grants.allow(Right::Write, &CertificateDn::of_device(id).to_string()),
    }
}

/// Who has an address: a device by name only if the caller may see it.
pub(crate) fn holder(caller: &Principal, by: &DeviceId) -> String {
    if caller.sees(&application_dn(by)) {
        format!("device {by}")
    } else {
        "another device, which an administrator sees,".to_owned()
    }
}

/// To take out a device that a rollover waits for, a second person is asked if that is all that is lacking.
fn not_written(caller: &Principal, error: LedgerError) -> LenovoError {
    match &error {
        LedgerError::Awaited { .. } => match caller.may(Operation::Activate) {
            Err(why @ Forbidden::SecondPerson(_)) => why.into(),
            _ => error.into(),
        },
        LedgerError::Claimed { by } => LenovoError::conflict(
            format!("The address is taken: {} has it.", holder(caller, by)),
            "Use that device, or give it another address, or delete it. To swap the addresses of two devices, first give one of them a free one, such as its own with another port.",
        ),
        // The denial's entry names this right.
        LedgerError::Certified { device } => {
            let _ = caller.require(Right::Write, &CertificateDn::of_device(device).to_string());
            error.into()
        }
        _ => error.into(),
    }
}

/// Changes the attributes that are present; `null` removes a name, a slot, a subject, a key algorithm or a label. All but the
/// name, the key algorithm and the labels are the device's identity: unless the caller may approve devices, a change puts the device back
/// to pending. An empty list of pins does so in any case.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Edit {
    #[serde(deserialize_with = "said")]
    name: Option<Option<String>>,
    labels: Option<BTreeMap<String, Option<String>>>,
    address: Option<DeviceAddress>,
    profile: Option<Profile>,
    credential: Option<SentCredential>,
    pins: Option<Vec<Pin>>,
    #[serde(deserialize_with = "said")]
    slot: Option<Option<Slot>>,
    #[serde(deserialize_with = "said")]
    subject: Option<Option<DeviceSubject>>,
    #[serde(rename = "keyAlgorithm", deserialize_with = "said")]
    key_algorithm: Option<Option<KeyAlgorithm>>,
}

fn said<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl Edit {
    fn check(&self, id: &DeviceId, rules: &Rules<'_>) -> Result<(), String> {
        if let Some(Some(name)) = &self.name {
            Rules::name(name)?;
        }
        self.address.as_ref().map_or(Ok(()), |address| rules.address(address))?;
        self.credential.as_ref().map_or(Ok(()), |sent| sent.check(id, rules))?;
        match self {
            Self {
                name: None,
                labels: None,
                address: None,
                profile: None,
                credential: None,
                pins: None,
                slot: None,
                subject: None,
                key_algorithm: None,
            } => Err("The body changes nothing.".to_owned()),
            _ => Ok(()),
        }
    }

    /// Whether it may change what the device's certificate may say.
    const fn changes_names(&self) -> bool {
        self.subject.is_some() || self.address.is_some()
    }

    /// All but a credential that is to be sealed.
    fn apply(&self, device: &mut DeviceRecord) -> Result<(), String> {
        let Self { name, labels, address, profile, credential, pins, slot, subject, key_algorithm } = self;
        if let Some(changes) = labels {
            device.labels = device.labels.changed(changes).map_err(|why| format!("labels: {why}."))?;
        }
        if let Some(name) = name {
            device.name.clone_from(name);
        }
        if let Some(slot) = slot {
            device.slot.clone_from(slot);
        }
        if let Some(subject) = subject {
            device.subject.clone_from(subject);
        }
        if let Some(key_algorithm) = key_algorithm {
            device.key_algorithm = *key_algorithm;
        }
        if let Some(address) = address {
            device.address.clone_from(address);
        }
        if let Some(SentCredential::Parameter(name)) = credential {
            device.take_parameter(name.clone());
        }
        device.profile = profile.unwrap_or(device.profile);
        if let Some(pins) = pins {
            device.pins = Rules::pins(pins)?;
        }
        Ok(())
    }
}

pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Id(id): Id<DeviceId>,
    Body(edit): Body<Edit>,
) -> Result<Envelope<Device>, LenovoError> {
    let parts = app.parts().await?;
    let refused = |why: String| LenovoError::invalid(why, "Correct the body and send the request again.");
    edit.check(&id, &parts.into()).map_err(refused)?;
    for attempt in 0..ATTEMPTS {
        let before = load(&parts.ledger, &caller, Right::Write, &id).await?;
        // Only now: whether a parameter exists is nobody's business who may not write the device.
        if attempt == 0
            && let Some(SentCredential::Parameter(name)) = &edit.credential
            && parameters::missing(&parts.ssm, [name.clone()]).await.contains(name)
        {
            return Err(refused(parameters::none_such(name)));
        }
        let mut device = before.clone();
        edit.apply(&mut device).map_err(refused)?;
        if let Some(login) = edit.credential.as_ref().and_then(SentCredential::login) {
            device.take_sealed(login.seal(&parts.sealer, &before).await?);
        }
        if edit.changes_names() {
            let policy = parts.ledger.issuance_policy().await?.policy;
            issuance_policy::permits(&policy, &device).map_err(refused)?;
        }
        match parts.ledger.edit_device(&before, device, editor(&caller, &id, &request), (parts.clock)()).await {
            Err(LedgerError::Conflict) => {}
            written => {
                let device = written.map_err(|error| not_written(&caller, error))?;
                info!(caller = caller.name, device.id = %id, device.approved = device.approved_version().is_some(), "device edited");
                if before.approved_version().is_none() && device.approved_version().is_some() {
                    renew_if_compromised(parts, &device, &caller.acting(&request)).await;
                }
                let waits = device.approved_version().is_none().then(|| {
                    Message::done(
                        format!("Device {id} is pending."),
                        "Jobs pass over it, and nothing is sent to it, until somebody with the permission approve-device approves it: POST /devices/{id}/approval.",
                    )
                });
                let answer = Envelope::success(shown(device));
                return Ok(match waits {
                    Some(message) => answer.saying(message),
                    None => answer,
                });
            }
        }
    }
    Err(LedgerError::Conflict.into())
}

pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Id(id): Id<DeviceId>,
) -> Result<Envelope<()>, LenovoError> {
    let parts = app.parts().await?;
    let ledger = &parts.ledger;
    load(ledger, &caller, Right::Delete, &id).await?;
    let deleted = ledger.delete_device(&id, editor(&caller, &id, &request), (parts.clock)()).await;
    let ended = deleted.map_err(|error| not_written(&caller, error))?;
    info!(caller = caller.name, device.id = %id, "device deleted");
    let text = match &ended {
        Some(ended) if parts.end(ended, &caller.acting(&request)).await => {
            format!("Device {id} is deleted, and its certificate is revoked.")
        }
        Some(_) => format!("Device {id} is deleted, and its certificate will be revoked within a quarter of an hour."),
        None => format!("Device {id} is deleted."),
    };
    let message =
        Message::done(text, "A running job names it as having left. What its trust store holds was left as it is.");
    Ok(Envelope { response: None, ..Envelope::success(()) }.saying(message))
}

/// Only a TLS handshake: no credential is sent. Takes 10 s at most.
pub(crate) async fn fingerprint(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(id): Id<DeviceId>,
) -> Result<Envelope<Fingerprint>, LenovoError> {
    let parts = app.parts().await?;
    let device = load(&parts.ledger, &caller, Right::Read, &id).await?;
    let address = &device.address;
    let seen = observe(&parts.networks, address).await.map_err(unseen)?;
    let unreadable =
        |why| unseen(Failure::new(ErrorClass::TlsHandshake, format!("{address}: its certificate is {why}.")));
    let certificate = Certificate::from_der(seen.der).map_err(unreadable)?;
    Ok(Envelope::success(Fingerprint {
        fingerprint: Pin::Certificate(seen.certificate),
        spki: Pin::Key(seen.key),
        subject: certificate.subject_dn().to_owned(),
        issuer: certificate.issuer_dn().to_owned(),
        not_before: stamp(certificate.not_before()),
        not_after: stamp(certificate.not_after()),
    }))
}

fn unseen(failure: Failure) -> LenovoError {
    let (kind, recovery) = match failure.class {
        ErrorClass::AddressRefused => (
            Kind::Invalid,
            "Correct the device's address, or name its network in the deployment's DeviceCidrs parameter.",
        ),
        ErrorClass::TlsHandshake => (Kind::Device, "Check that the device offers TLS 1.2 or later on this port."),
        _ => (
            Kind::Device,
            "Check that the device is on, and that its address and port can be reached from the function's network.",
        ),
    };
    LenovoError::new(kind, failure.message, recovery)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::device::address::AddressPolicy;
    use rootcast_core::device::{Driver, Incarnation};
    use rootcast_gate::parse_json;

    use super::*;

    fn device() -> DeviceRecord {
        let (address, credential) = ("https://10.0.0.7".parse().unwrap(), "/rootcast/devices/bmc-1".to_owned());
        let id = "bmc-1".parse().unwrap();
        DeviceRecord {
            name: Some("old".to_owned()),
            slot: Some("/redfish/v1/x".parse().unwrap()),
            goal: 7,
            revision: 3,
            ..DeviceRecord::new(
                id,
                Incarnation::from_random([1; 16]),
                address,
                Driver::Redfish,
                Profile::Dmtf,
                credential,
            )
        }
    }

    fn edited(body: &str) -> Result<DeviceRecord, String> {
        let networks: AddressPolicy = "10.0.0.0/8".parse().unwrap();
        let edit: Edit = parse_json(body.as_bytes()).map_err(|error| error.text().to_owned())?;
        edit.check(&"bmc-1".parse().unwrap(), &Rules::new(&networks, "/rootcast/devices/"))?;
        let mut device = device();
        edit.apply(&mut device)?;
        Ok(device)
    }

    #[test]
    fn an_edit_changes_only_the_given_fields() {
        let before = device();
        assert_eq!(
            edited(r#"{"profile":"openbmc"}"#).unwrap(),
            DeviceRecord { profile: Profile::Openbmc, ..before.clone() }
        );
        assert_eq!(edited(r#"{"name":null}"#).unwrap(), DeviceRecord { name: None, ..before.clone() });
        let key_algorithm = Some(KeyAlgorithm::Rsa3072);
        assert_eq!(edited(r#"{"keyAlgorithm":"RSA_3072"}"#).unwrap(), DeviceRecord { key_algorithm, ..before.clone() });
        assert_eq!(
            edited(r#"{"slot":null,"name":"new"}"#).unwrap(),
            DeviceRecord { slot: None, name: Some("new".to_owned()), ..before }
        );
        let labels = edited(r#"{"labels":{"site":"fra","row":null}}"#).unwrap().labels;
        assert_eq!(labels.to_string(), "site=fra");
        let subject = edited(r#"{"subject":{"commonName":"bmc-1","dnsNames":["bmc-1.example"]}}"#).unwrap().subject;
        assert_eq!(subject.unwrap().dns_names(), ["bmc-1.example"]);
        assert!(edited(r#"{"subject":{"commonName":"bmc-1"}}"#).is_err(), "no name");
        assert_eq!(
            edited(r#"{"address":"https://10.9.9.9:8443"}"#).unwrap().address,
            "https://10.9.9.9:8443".parse().unwrap()
        );
    }

    #[test]
    fn invalid_edits_are_refused() {
        for (body, why) in [
            ("{}", "changes nothing"),
            (r#"{"id":"x"}"#, "unknown field `id`"),
            (r#"{"state":"approved"}"#, "unknown field `state`"),
            (r#"{"address":"https://169.254.169.254"}"#, "DeviceCidrs"),
            (r#"{"address":"ftp://x"}"#, "https://host"),
            (r#"{"credential":"/other"}"#, "/rootcast/devices/"),
            (r#"{"name":""}"#, "name has"),
            (r#"{"keyAlgorithm":"RSA_1024"}"#, "`RSA_2048`"),
            (r#"{"labels":{"Site":"fra"}}"#, "key"),
            (r#"{"labels":{"site":""}}"#, "value"),
        ] {
            assert!(edited(body).unwrap_err().contains(why), "{body}");
        }
    }

    #[test]
    fn probe_failures_map_to_http_statuses() {
        assert_eq!(unseen(Failure::new(ErrorClass::AddressRefused, "x")).status(), 400);
        assert_eq!(unseen(Failure::new(ErrorClass::Timeout, "x")).status(), 502);
    }
}
