#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use rootcast_core::deployment::lifecycle::{Lifecycle, Work};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::LinkRecord;
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::permitted::PermittedNames;
use rootcast_pki::root::{IssuingSpec, LinkKind, LinkSpec, RootSpec, Serial};
use rootcast_pki::signer::IssuingId;
use time::{Duration, OffsetDateTime};

use super::*;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const ID: IssuingId = IssuingId { generation: 3, number: 2 };

fn certificate() -> Certificate {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec()).unwrap()
}

fn issuing(id: IssuingId, state: IssuingState) -> IssuingRecord {
    IssuingRecord {
        revision: 1,
        state,
        spec: IssuingSpec {
            id,
            root_name: "Example Root CA".to_owned(),
            subject: "O=Example Corp,C=DE".parse().unwrap(),
            algorithm: KeyAlgorithm::EcdsaP384,
            serial: Serial::from_random([7; 16]),
            not_before: NOW,
            not_after: NOW + Duration::days(730),
            permitted: PermittedNames::default(),
            crl: "https://pki.example.com/crl/3/authorities.crl".to_owned(),
        },
        key: Some("the key".to_owned()),
        key_made: None,
        tbs: None,
        certificate: Some(certificate()),
        path: vec![certificate(), certificate()],
        revoked: None,
        pass: None,
        created: NOW,
    }
}

fn root(new_with_old: Option<Certificate>) -> RootRecord {
    let spec = RootSpec {
        generation: 3,
        root_name: "Example Root CA".to_owned(),
        subject: "O=Example Corp,C=DE".parse().unwrap(),
        algorithm: KeyAlgorithm::EcdsaP384,
        serial: Serial::from_random([3; 16]),
        not_before: NOW,
        not_after: NOW,
        permitted: PermittedNames::default(),
        crl: None,
    };
    let link = |certificate| LinkRecord {
        spec: LinkSpec { kind: LinkKind::NewWithOld, serial: Serial::from_random([4; 16]), crl: None },
        tbs: Fingerprint::of(b"tbs"),
        certificate: Some(certificate),
    };
    RootRecord {
        revision: 1,
        generation: 3,
        state: GenerationState::Signing,
        spec,
        key: Some("the root's key".to_owned()),
        key_made: None,
        tbs: None,
        certificate: Some(certificate()),
        new_with_old: new_with_old.map(link),
        old_with_new: None,
        last_issuing: 2,
        retirement: None,
        compromise: None,
        lifecycle: Lifecycle::idle(Work::Install, ""),
        created: NOW,
    }
}

fn authority(signing: Option<u32>, issuing: Option<IssuingId>) -> Authority {
    Authority { signing, issuing, ..Authority::default() }
}

#[test]
fn the_issuing_authority_of_the_signing_root_signs() {
    assert_eq!(chosen(&authority(Some(3), Some(ID)), false).unwrap(), ID.into());
    assert!(matches!(chosen(&authority(None, None), false), Err(Fault::Final(_))), "no root signs");
    assert!(matches!(chosen(&authority(Some(3), None), false), Err(Fault::Passing(_))), "one is being made");
    assert!(matches!(chosen(&authority(Some(4), Some(ID)), false), Err(Fault::Passing(_))), "it is another root's");
}

#[test]
fn a_root_signs_only_by_parameter() {
    for issuing in [None, Some(ID)] {
        assert_eq!(chosen(&authority(Some(3), issuing), true).unwrap(), SignerId::root(3));
    }
    assert!(matches!(chosen(&authority(None, Some(ID)), true), Err(Fault::Final(_))));
}

#[test]
fn a_revoked_or_unfinished_issuing_authority_signs_nothing() {
    for state in [IssuingState::Signing, IssuingState::Superseded] {
        assert_eq!(ready(ID.into(), Some(issuing(ID, state))).unwrap().key, "the key");
    }
    for state in [IssuingState::Reserved, IssuingState::Revoked] {
        assert!(matches!(ready(ID.into(), Some(issuing(ID, state))), Err(Fault::Passing(_))), "{state:?}");
    }
    let unsigned = IssuingRecord { certificate: None, ..issuing(ID, IssuingState::Signing) };
    for record in [None, Some(unsigned)] {
        assert!(matches!(ready(ID.into(), record), Err(Fault::Passing(_))));
    }
}

#[test]
fn a_chain_begins_with_who_signed() {
    let record = issuing(ID, IssuingState::Signing);
    let chain: Vec<_> = std::iter::once(record.certificate.clone().unwrap()).chain(record.path.clone()).collect();
    let signer = ready(ID.into(), Some(record)).unwrap();
    assert_eq!((signer.id, &signer.certificate, &signer.chain), (ID.into(), &chain[0], &chain));

    let link = certificate();
    // Every certificate here has one name, so each is a link from the root before.
    let [oldest, middle] = [1, 2].map(|generation| RootRecord {
        generation,
        state: GenerationState::Superseded,
        ..root((generation > 1).then(certificate))
    });
    let earlier = middle.new_with_old.clone().unwrap().certificate.unwrap();
    let roots = [oldest, middle, root(Some(link.clone()))];
    let signer = ready_root(3, &roots).unwrap();
    assert_eq!((signer.id, signer.chain), (SignerId::root(3), vec![link, earlier]), "to the oldest root");
    assert_eq!(ready_root(3, &[root(None)]).unwrap().chain, []);
    for roots in [vec![], vec![RootRecord { certificate: None, ..root(None) }]] {
        assert!(matches!(ready_root(3, &roots), Err(Fault::Final(_))));
    }
}
