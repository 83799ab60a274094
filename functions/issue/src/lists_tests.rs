#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use rootcast_core::inventory::id::CertificateId;
use rootcast_pki::crl::LIFETIME;
use rootcast_pki::crl::Reason;
use rootcast_pki::root::Serial;
use rootcast_pki::signer::IssuingId;
use time::Duration;
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);
const URL: &str = "https://a.example/crl/3.1/9.crl";

fn list() -> CrlId {
    CrlId::new(IssuingId { generation: 3, number: 1 }.into(), 9).unwrap()
}

fn published(age: Duration) -> CrlRecord {
    CrlRecord {
        list: list(),
        revision: 5,
        crl: "AAAA".to_owned().try_into().unwrap(),
        number: 4,
        this_update: NOW - age,
        next_update: NOW - age + LIFETIME,
        urls: vec![URL.to_owned()],
        behind: false,
    }
}

fn revoked(not_after: OffsetDateTime) -> RevokedRecord {
    RevokedRecord {
        serial: Serial::from_random([9; 16]),
        certificate: CertificateId::from_random([1; 16]),
        at: NOW,
        reason: Reason::Superseded,
        by: "ops".to_owned(),
        comments: None,
        not_after,
    }
}

#[test]
fn a_recent_list_is_not_renewed() {
    let first = next(list(), None, &[], &[], Some(URL), NOW).unwrap();
    assert_eq!((first.number, first.this_update, first.next_update), (1, NOW, NOW + LIFETIME));
    assert_eq!((first.urls, first.revoked), (vec![URL.to_owned()], vec![]));
    assert_eq!(next(list(), None, &[], &[], None, NOW), None, "nobody names it");
    assert_eq!(next(list(), Some(&published(Duration::DAY)), &[], &[], Some(URL), NOW), None);
    assert_eq!(next(list(), Some(&published(Duration::DAY)), &[], &[], None, NOW), None);
}

#[test]
fn an_old_behind_or_moved_list_is_renewed() {
    let old = published(LIFETIME / 2);
    assert_eq!(next(list(), Some(&old), &[], &[], None, NOW).unwrap().number, 5);
    let behind = CrlRecord { behind: true, ..published(Duration::ZERO) };
    let named = next(list(), Some(&behind), &[], &[revoked(NOW)], None, NOW).unwrap();
    assert_eq!(named.revoked, [Revoked { serial: Serial::from_random([9; 16]), at: NOW, reason: Reason::Superseded }]);
    let moved =
        next(list(), Some(&published(Duration::ZERO)), &[], &[], Some("https://b.example/crl/3.1/9.crl"), NOW).unwrap();
    assert_eq!(moved.urls, [URL, "https://b.example/crl/3.1/9.crl"], "older certificates name the older one");
}

#[test]
fn revoked_certificates_stay_listed_for_some_time_after_expiry() {
    let old = published(LIFETIME);
    let still = next(list(), Some(&old), &[], &[revoked(NOW - LIFETIME)], None, NOW).unwrap();
    assert_eq!(still.revoked.len(), 1);
    let over = next(list(), Some(&old), &[], &[revoked(NOW - LIFETIME - Duration::SECOND)], None, NOW).unwrap();
    assert_eq!(over.revoked, []);
}

#[test]
fn this_update_never_goes_back_in_time() {
    let ahead = CrlRecord { behind: true, ..published(-Duration::HOUR) };
    assert_eq!(next(list(), Some(&ahead), &[], &[], None, NOW).unwrap().this_update, NOW + Duration::HOUR);
}

#[test]
fn a_listed_certificate_without_a_record_stays_listed() {
    let lost = Revoked { serial: Serial::from_random([8; 16]), at: NOW, reason: Reason::KeyCompromise };
    let recorded = Revoked { serial: Serial::from_random([9; 16]), at: NOW, reason: Reason::Superseded };
    let earlier = [lost.clone(), recorded.clone()];
    let old = published(LIFETIME);
    assert_eq!(
        next(list(), Some(&old), &earlier, &[revoked(NOW)], None, NOW).unwrap().revoked,
        [recorded, lost.clone()]
    );
    let over = revoked(NOW - LIFETIME - Duration::SECOND);
    assert_eq!(
        next(list(), Some(&old), &earlier, &[over], None, NOW).unwrap().revoked,
        [lost],
        "one is known to be over"
    );
}
