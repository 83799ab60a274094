//! What a device's audit chain says of a change.

use rootcast_core::audit::{Act, Action, Actor, Subject};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::{DeviceRecord, Editor, Identity};

pub(super) fn enrolled(device: &DeviceRecord, by: &Actor, now: OffsetDateTime) -> Act {
    let act = Act::new(Subject::Device(device.id.clone()), Action::Enrol, by, now);
    others(changes(version(act, device), None, device), None, device)
}

pub(super) fn edited(before: &DeviceRecord, after: &DeviceRecord, editor: Editor<'_>, now: OffsetDateTime) -> Act {
    let act = Act::new(Subject::Device(after.id.clone()), Action::Edit, &editor.actor(), now);
    others(changes(version(act, after), Some(&before.identity()), after), Some(before), after)
}

/// What is no part of its identity.
fn others(act: Act, before: Option<&DeviceRecord>, after: &DeviceRecord) -> Act {
    let labels = |device: &DeviceRecord| (!device.labels.is_empty()).then(|| device.labels.to_string());
    let key = |device: &DeviceRecord| text(&device.key_algorithm);
    act.changing("name", before.and_then(|before| before.name.as_deref()), after.name.as_deref())
        .changing("labels", before.and_then(labels).as_deref(), labels(after).as_deref())
        .changing("keyAlgorithm", before.and_then(key).as_deref(), key(after).as_deref())
}

/// The whole identity that is approved, beside the last approved one.
pub(super) fn approved(before: &DeviceRecord, after: &DeviceRecord, editor: Editor<'_>, now: OffsetDateTime) -> Act {
    let act = Act::new(Subject::Device(after.id.clone()), Action::Approve, &editor.actor(), now);
    let formerly = before.unapproved.as_ref().and_then(|unapproved| unapproved.formerly.as_ref());
    let act = changes(version(act, after), formerly, after);
    // Only a device without an unapproved change is approved with other pins alone.
    if before.unapproved.is_none() { changes(act, Some(&before.identity()), after) } else { act }
}

pub(super) fn deleted(device: &DeviceRecord, editor: Editor<'_>, now: OffsetDateTime) -> Act {
    let act = Act::new(Subject::Device(device.id.clone()), Action::Delete, &editor.actor(), now);
    let act = version(act, device).changing("address", None, text(&device.address).as_deref());
    match &device.certificate {
        Some(certificate) => act.with("certificate", certificate),
        None => act,
    }
}

fn version(act: Act, device: &DeviceRecord) -> Act {
    act.with("incarnation", device.incarnation)
        .with("endpointRevision", device.endpoint_revision)
        .with("approved", device.approved_version().is_some())
}

fn changes(act: Act, before: Option<&Identity>, after: &DeviceRecord) -> Act {
    let (before, after) = (before.map(values), values(&after.identity()));
    after.into_iter().fold(act, |act, (name, after)| {
        let before = before.as_ref().and_then(|before| before.iter().find(|(known, _)| *known == name));
        act.changing(name, before.and_then(|(_, value)| value.as_deref()), after.as_deref())
    })
}

fn values(identity: &Identity) -> [(&'static str, Option<String>); 6] {
    let Identity { address, pins, profile, slot, credential, subject } = identity;
    [
        ("address", text(address)),
        ("pins", text(pins)),
        ("profile", text(profile)),
        ("slot", text(slot)),
        ("credential", text(credential)),
        ("subject", text(subject)),
    ]
}

/// As the API shows it; a list of texts with blanks between them.
fn text(value: &impl Serialize) -> Option<String> {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match serde_json::to_value(value).ok()? {
        Value::Null => None,
        Value::Array(all) if all.is_empty() => None,
        Value::Array(all) => Some(all.iter().map(plain).collect::<Vec<_>>().join(" ")),
        value => Some(plain(&value)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::audit::Head;
    use rootcast_core::device::{Driver, Incarnation, Profile};

    use super::*;
    use crate::Unapproved;

    const BY: Editor<'static> =
        Editor { name: "ops", request: Some("r-1"), may_approve: false, may_release: false, may_revoke: false };

    fn device() -> DeviceRecord {
        let (address, credential) = ("https://10.0.0.7".parse().unwrap(), "/rootcast/devices/bmc-1".to_owned());
        let incarnation = Incarnation::from_random([1; 16]);
        let id = "bmc-1".parse().unwrap();
        DeviceRecord::new(id, incarnation, address, Driver::Redfish, Profile::Dmtf, credential)
    }

    fn line(act: &Act) -> String {
        act.after(&Head::NONE).line().unwrap()
    }

    #[test]
    fn an_edit_names_the_old_and_the_new_identity() {
        let after = DeviceRecord { address: "https://10.6.6.6".parse().unwrap(), ..device() };
        let told = line(&edited(&device(), &after, BY, OffsetDateTime::UNIX_EPOCH));
        for part in [
            r#""subject":"device:bmc-1""#,
            r#""action":"edit""#,
            r#""principal":"ops""#,
            r#""requestId":"r-1""#,
            r#""address":"https://10.0.0.7 -> https://10.6.6.6""#,
        ] {
            assert!(told.contains(part), "{part} {told}");
        }
        assert!(!told.contains("credential"), "it is the same: {told}");
    }

    #[test]
    fn an_approval_compares_with_the_last_approved_identity() {
        let formerly = Some(device().identity());
        let unapproved = Some(Unapproved { by: "ops".to_owned(), at: OffsetDateTime::UNIX_EPOCH, formerly });
        let moved = DeviceRecord { address: "https://10.6.6.6".parse().unwrap(), endpoint_revision: 4, ..device() };
        let before = DeviceRecord { unapproved, ..moved.clone() };
        let told = line(&approved(&before, &moved, BY, OffsetDateTime::UNIX_EPOCH));
        assert!(told.contains(r#""address":"https://10.0.0.7 -> https://10.6.6.6""#), "{told}");
        assert!(told.contains(r#""endpointRevision":"4""#), "{told}");
    }
}
