#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use rootcast_ledger::{IssuingRevocation, IssuingState};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::crl::{LIFETIME, Reason};
use rootcast_pki::root::IssuingSpec;
use rootcast_pki::signer::{IssuingId, SignerId};
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
        urgent: false,
    }
}

fn revoked(not_after: OffsetDateTime) -> Entry {
    let revoked = Revoked { serial: Serial::from_random([9; 16]), at: NOW, reason: Reason::Superseded };
    Entry { revoked, not_after }
}

#[test]
fn a_recent_list_is_not_renewed() {
    let first = next(list(), None, &[], &[], &[URL], None, NOW).unwrap();
    assert_eq!((first.number, first.this_update, first.next_update), (1, NOW, NOW + LIFETIME));
    assert_eq!((first.urls, first.revoked), (vec![URL.to_owned()], vec![]));
    assert_eq!(next(list(), None, &[], &[], &[], None, NOW), None, "nobody names it");
    assert_eq!(next(list(), Some(&published(Duration::DAY)), &[], &[], &[URL], None, NOW), None);
    assert_eq!(next(list(), Some(&published(Duration::DAY)), &[], &[], &[], None, NOW), None);
}

#[test]
fn an_old_behind_or_moved_list_is_renewed() {
    let old = published(LIFETIME / 2);
    assert_eq!(next(list(), Some(&old), &[], &[], &[], None, NOW).unwrap().number, 5);
    let behind = CrlRecord { behind: true, ..published(Duration::ZERO) };
    let named = next(list(), Some(&behind), &[], &[revoked(NOW)], &[], None, NOW).unwrap();
    assert_eq!(named.revoked, [revoked(NOW).revoked]);
    let moved =
        next(list(), Some(&published(Duration::ZERO)), &[], &[], &[URL, "https://b.example/crl/3.1/9.crl"], None, NOW)
            .unwrap();
    assert_eq!(moved.urls, [URL, "https://b.example/crl/3.1/9.crl"], "older certificates name the older one");
}

#[test]
fn revoked_certificates_stay_listed_for_some_time_after_expiry() {
    let old = published(LIFETIME);
    let still = next(list(), Some(&old), &[], &[revoked(NOW - LIFETIME)], &[], None, NOW).unwrap();
    assert_eq!(still.revoked.len(), 1);
    let over = next(list(), Some(&old), &[], &[revoked(NOW - LIFETIME - Duration::SECOND)], &[], None, NOW).unwrap();
    assert_eq!(over.revoked, []);
}

#[test]
fn this_update_never_goes_back_in_time() {
    let ahead = CrlRecord { behind: true, ..published(-Duration::HOUR) };
    assert_eq!(next(list(), Some(&ahead), &[], &[], &[], None, NOW).unwrap().this_update, NOW + Duration::HOUR);
}

#[test]
fn a_listed_certificate_without_a_record_stays_listed() {
    let lost = Revoked { serial: Serial::from_random([8; 16]), at: NOW, reason: Reason::KeyCompromise };
    let recorded = revoked(NOW).revoked;
    let earlier = [lost.clone(), recorded.clone()];
    let old = published(LIFETIME);
    assert_eq!(
        next(list(), Some(&old), &earlier, &[revoked(NOW)], &[], None, NOW).unwrap().revoked,
        [recorded, lost.clone()]
    );
    let over = revoked(NOW - LIFETIME - Duration::SECOND);
    assert_eq!(
        next(list(), Some(&old), &earlier, &[over], &[], None, NOW).unwrap().revoked,
        [lost],
        "one is known to be over"
    );
}

#[test]
fn a_last_list_is_valid_until_the_time_that_is_asked_for() {
    let recent = published(Duration::DAY);
    let year = NOW + Duration::days(365);
    let last = next(list(), Some(&recent), &[], &[], &[], Some(year), NOW).unwrap();
    assert_eq!(last.next_update, year);
    let published = CrlRecord { next_update: year, this_update: NOW, ..recent };
    assert_eq!(next(list(), Some(&published), &[], &[], &[], Some(year), NOW), None, "once");
}

fn below(number: u32, revoked: Option<Reason>) -> IssuingRecord {
    let id = IssuingId { generation: 3, number };
    IssuingRecord {
        revision: 1,
        state: IssuingState::Revoked,
        spec: IssuingSpec {
            id,
            root_name: "Example Root CA".to_owned(),
            subject: "O=Example Corp,C=DE".parse().unwrap(),
            algorithm: KeyAlgorithm::EcdsaP384,
            serial: Serial::from_random([u8::try_from(number).unwrap(); 16]),
            not_before: NOW,
            not_after: NOW + LIFETIME,
            permitted: rootcast_pki::permitted::PermittedNames::default(),
            crl: URL.to_owned(),
        },
        key: None,
        key_made: None,
        tbs: None,
        certificate: None,
        path: Vec::new(),
        revoked: revoked.map(|reason| IssuingRevocation { at: NOW, reason, by: "ops".to_owned() }),
        pass: None,
        created: NOW,
    }
}

#[test]
fn superseded_certificates_wake_a_roots_key_once_a_day() {
    let of = |signer: SignerId, shard, age, behind, urgent| {
        let list = CrlId::new(signer, shard).unwrap();
        CrlHead::from(&CrlRecord { list, behind, urgent, ..published(age) })
    };
    let (root, hour) = (SignerId::root(3), Duration::HOUR);
    let made = |lists: &[CrlHead]| due(lists, NOW).iter().map(|each| each.list.shard().unwrap()).collect::<Vec<_>>();
    let behind = |age| of(root, 1, age, true, false);
    assert_eq!(made(&[behind(hour * 23)]), [0; 0]);
    assert_eq!(made(&[behind(Duration::DAY)]), [1]);
    // Another of its lists was made meanwhile, which woke the key.
    let other = |age, behind, urgent| of(root, 2, age, behind, urgent);
    assert_eq!(made(&[behind(Duration::DAY * 2), other(hour, false, false)]), [0; 0]);
    let authorities = CrlHead { list: CrlId::authorities(3), ..(&published(hour)).into() };
    assert_eq!(made(&[behind(Duration::DAY * 2), authorities]), [0; 0]);
    // All that is behind goes with what is urgent or old.
    assert_eq!(made(&[behind(hour), other(hour, true, true)]), [1, 2]);
    assert_eq!(made(&[behind(hour), other(LIFETIME / 2, false, false)]), [1, 2]);
    // An issuing authority's key does not sleep.
    assert_eq!(made(&[of(list().signer(), 9, hour, true, false)]), [9]);
}

#[test]
fn a_list_of_authorities_names_those_that_are_revoked() {
    let list = CrlId::authorities(3);
    let entries = of_authorities(&[below(1, None), below(2, Some(Reason::CaCompromise))]);
    let named = [Revoked { serial: Serial::from_random([2; 16]), at: NOW, reason: Reason::CaCompromise }];
    let recent = CrlRecord { list, ..published(Duration::DAY) };
    let made = next(list, Some(&recent), &[], &entries, &[], None, NOW).unwrap();
    assert_eq!((&made.revoked[..], made.next_update), (&named[..], NOW + Duration::days(182)));
    assert_eq!(next(list, Some(&recent), &named, &entries, &[], None, NOW), None, "it names it");
    let weaker = [Revoked { reason: Reason::Superseded, ..named[0].clone() }];
    assert!(next(list, Some(&recent), &weaker, &entries, &[], None, NOW).is_some(), "with another reason");
    let long_ago = NOW + LIFETIME + list.lifetime() + Duration::SECOND;
    let young = CrlRecord { this_update: long_ago, next_update: long_ago + list.lifetime(), ..recent };
    assert_eq!(next(list, Some(&young), &[], &entries, &[], None, long_ago), None, "it is over");
}
