//! The content of a trust slot, read member by member: the only accepted proof.

use std::collections::BTreeSet;

use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::Value;

use super::link::Link;
use super::session::Session;
use super::slot::TrustSlot;
use crate::pem::{self, Anchor};
use crate::trust::TrustStoreContent;

pub(super) struct Listing {
    pub(super) members: Vec<Member>,
}

/// Ids are not stored: a device may renumber its members.
pub(super) struct Member {
    pub(super) link: Link,
    /// Empty if the device does not show a PEM certificate.
    pub(super) anchors: Vec<Anchor>,
}

impl Member {
    /// The leaf of a web server's certificate: devices may append its chain.
    pub(super) fn leaf(&self) -> Option<Fingerprint> {
        self.anchors.first().map(|certificate| certificate.fingerprint)
    }
}

/// More certificates than any management controller stores: a longer list is not a list of certificates.
const MEMBERS: usize = 64;
const PAGES: usize = 8;

impl Listing {
    pub(super) async fn read(session: &mut Session<'_>, slot: &mut TrustSlot) -> Result<Self, Failure> {
        let mut members = Vec::new();
        let mut next = Some(slot.collection.clone());
        for _ in 0..PAGES {
            let Some(page) = next else { return Ok(Self { members }) };
            let body = read_page(session, slot, &page).await?;
            let Some(listed) = body.get("Members").and_then(Value::as_array) else {
                let message = format!("{page} is not a collection of certificates.");
                return Err(Failure::new(ErrorClass::Unsupported, message));
            };
            for member in listed {
                if members.len() == MEMBERS {
                    return Err(endless(slot));
                }
                members.extend(read_member(session, member).await?);
            }
            let more = body.get("Members@odata.nextLink").and_then(Value::as_str);
            next = more.map(|text| session.connection.link(text)).transpose()?;
        }
        match next {
            None => Ok(Self { members }),
            Some(_) => Err(endless(slot)),
        }
    }

    pub(super) fn anchors(&self) -> impl Iterator<Item = &Anchor> {
        self.members.iter().flat_map(|member| &member.anchors)
    }

    pub(super) fn fingerprints(&self) -> BTreeSet<Fingerprint> {
        self.anchors().map(|anchor| anchor.fingerprint).collect()
    }

    pub(super) fn holds(&self, fingerprint: &Fingerprint) -> bool {
        self.anchors().any(|anchor| anchor.fingerprint == *fingerprint)
    }

    pub(super) fn held(&self) -> TrustStoreContent {
        TrustStoreContent { anchors: self.fingerprints().into_iter().collect() }
    }
}

async fn read_page(session: &mut Session<'_>, slot: &mut TrustSlot, page: &Link) -> Result<Value, Failure> {
    if slot.expand && *page == slot.collection {
        let answer = session.get(&page.with_query("$expand=.")).await?;
        match answer.status.as_u16() {
            // The device announced `$expand` and does not support it here (DSP0266, "Query parameters").
            400 | 501 => slot.expand = false,
            _ => return answer.json(),
        }
    }
    session.get(page).await?.json()
}

/// `None` if the member was deleted after it was listed.
async fn read_member(session: &mut Session<'_>, member: &Value) -> Result<Option<Member>, Failure> {
    let Some(uri) = member.get("@odata.id").and_then(Value::as_str) else {
        return Err(Failure::new(ErrorClass::Unsupported, "The device lists a certificate without a link."));
    };
    let link = session.connection.link(uri)?;
    if member.get("CertificateString").is_some_and(Value::is_string) {
        return Ok(Some(Member { link, anchors: certificates(member) }));
    }
    let answer = session.get(&link).await?;
    if matches!(answer.status.as_u16(), 404 | 410) {
        return Ok(None);
    }
    let anchors = certificates(&answer.json()?);
    Ok(Some(Member { link, anchors }))
}

fn certificates(member: &Value) -> Vec<Anchor> {
    member.get("CertificateString").and_then(Value::as_str).map(pem::anchors).unwrap_or_default()
}

fn endless(slot: &TrustSlot) -> Failure {
    let message = format!("{} lists more than {MEMBERS} certificates or {PAGES} pages.", slot.collection);
    Failure::new(ErrorClass::Unsupported, message)
}
