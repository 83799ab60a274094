//! Chains of three generations: what is given with a leaf of any of them verifies wherever one live root is trusted, with
//! OpenSSL, which never goes back, and with webpki. Both demand a revocation list for every certificate.

use rootcast_pki::algorithm::KeyAlgorithm::{EcdsaP256, EcdsaP384, Rsa2048, Rsa4096};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::hierarchy::{Generation, Hierarchy};
use rootcast_pki::root::prepare_server_leaf;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::fleet::{Fleet, HOST, OLDEST, leaf_spec};
use crate::keys::{Key, TODAY};
use crate::openssl;

#[test]
fn a_chain_verifies_from_each_live_root_alone() {
    for (roots, issuing) in [([EcdsaP384; 3], EcdsaP384), ([Rsa2048, EcdsaP384, EcdsaP256], EcdsaP256)] {
        let fleet = Fleet::new(roots, issuing);
        let lists = fleet.lists(&[]);
        let lists: Vec<&[u8]> = lists.iter().map(|list| list.der()).collect();
        for (count, at) in (1..=3).flat_map(|count| (0..count).map(move |at| (count, at))) {
            let (hierarchy, leaf) = (fleet.hierarchy(count), fleet.leaf(at));
            let whole = hierarchy.complete(&leaf, &[]).unwrap();
            assert_eq!((whole.root, &whole.chain[0]), (fleet.root(at), &fleet.issuing[at]));
            let sent: Vec<&Certificate> = whole.chain.iter().collect();
            let with_root: Vec<&Certificate> = sent.iter().copied().chain([whole.root]).collect();
            for trusted in 1..1 << count {
                let anchors: Vec<_> =
                    (0..count).filter(|each| trusted >> each & 1 == 1).map(|each| fleet.root(each)).collect();
                for sent in [&sent, &with_root] {
                    let what = format!("leaf of {at}, {count} live, trusted {trusted:03b}, sent {}", shown(sent));
                    openssl::verify(&anchors, &leaf, sent, TODAY).expect(&what);
                    openssl::verify_all(&anchors, &leaf, sent, &lists, TODAY).expect(&what);
                    webpki(&anchors, &leaf, sent, &lists).expect(&what);
                }
            }
        }
    }
}

#[test]
fn each_certificate_of_a_chain_is_signed_by_the_next() {
    let fleet = Fleet::new([EcdsaP256; 3], EcdsaP256);
    let names = |at: usize, count| {
        let hierarchy = fleet.hierarchy(count);
        let leaf = fleet.leaf(at);
        let chain = hierarchy.complete(&leaf, &[]).unwrap().chain;
        for (child, issuer) in std::iter::once(&leaf).chain(&chain).zip(&chain) {
            child.verify_signed_by(issuer).unwrap();
        }
        shown(&chain.iter().collect::<Vec<_>>())
    };
    assert_eq!(names(0, 1), "I5<5");
    assert_eq!(names(0, 3), "I5<5 5<6 6<7");
    assert_eq!(names(1, 2), "I6<6 6<5");
    assert_eq!(names(1, 3), "I6<6 6<7 7<6 6<5");
    assert_eq!(names(2, 3), "I7<7 7<6 6<5");
}

/// The third root followed the first one, since the second one was rolled back.
#[test]
fn a_root_that_was_rolled_back_stands_in_no_path() {
    let fleet = Fleet::new([EcdsaP256; 3], EcdsaP256);
    let mut generations = fleet.generations.clone();
    (generations[2].new_with_old, generations[2].old_with_new) = (Some(fleet.link(2, 0)), Some(fleet.link(0, 2)));
    let hierarchy = Hierarchy::new(generations, fleet.issuing.clone());
    let names = |at: usize| shown(&hierarchy.complete(&fleet.leaf(at), &[]).unwrap().chain.iter().collect::<Vec<_>>());
    assert_eq!([names(0), names(1), names(2)], ["I5<5 5<7", "I6<6 6<5", "I7<7 7<5"]);
    assert_eq!(hierarchy.links().count(), 4);
}

#[test]
fn a_leaf_below_a_root_that_is_gone_is_found() {
    let fleet = Fleet::new([EcdsaP256; 3], EcdsaP256);
    let hierarchy = Hierarchy::new(fleet.generations[1..].to_vec(), fleet.issuing[1..].to_vec());
    let hierarchy = hierarchy.with_gone(vec![fleet.root(0).clone()]);
    let (up, down) = (fleet.link(0, 1), fleet.link(1, 0));
    let gone = |at: usize, given: &[&Certificate]| {
        let given: Vec<_> = given.iter().map(|each| (*each).clone()).collect();
        hierarchy.gone_above(&fleet.leaf(at), &given).is_some()
    };
    for given in [vec![&fleet.issuing[0]], vec![&fleet.issuing[0], fleet.root(0)], vec![&fleet.issuing[0], &up]] {
        assert!(gone(0, &given), "{}", shown(&given));
    }
    assert!(!gone(1, &[&fleet.issuing[1], &down]), "a link to a live root may come from one that is gone");
    assert!(!gone(2, &[&fleet.issuing[2], fleet.root(2)]));
}

/// A leaf of the middle generation has the longest chain.
#[test]
fn what_a_device_is_given_stays_small() {
    let size = |algorithm, count: usize| {
        let fleet = Fleet::new([algorithm; 3], algorithm);
        let (at, hierarchy) = (count / 2, fleet.hierarchy(count));
        let leaf = fleet.leaf(at);
        let chain = hierarchy.complete(&leaf, &[]).unwrap().chain;
        let given = || std::iter::once(&leaf).chain(&chain);
        (
            given().count(),
            given().map(|each| each.der().len()).sum::<usize>(),
            given().map(|each| each.pem().len()).sum(),
        )
    };
    // Certificates, and at most so many octets of them in DER and in PEM.
    for (algorithm, expected) in [
        (EcdsaP384, [(2, 1500, 2100), (3, 2200, 3000), (5, 3600, 5000)]),
        (Rsa4096, [(2, 3000, 4100), (3, 4500, 6200), (5, 7500, 10_300)]),
    ] {
        for (count, (certificates, der, pem)) in (1..).zip(expected) {
            let given: (usize, usize, usize) = size(algorithm, count);
            assert!(given.0 == certificates && given.1 <= der && given.2 <= pem, "{algorithm:?}, {count}: {given:?}");
        }
    }
}

#[test]
fn a_missing_link_shortens_a_chain_and_breaks_nothing() {
    let fleet = Fleet::new([EcdsaP256; 3], EcdsaP256);
    let complete = |change: &dyn Fn(&mut Vec<Generation>), at: usize| {
        let mut generations = fleet.generations.clone();
        change(&mut generations);
        let hierarchy = Hierarchy::new(generations, fleet.issuing.clone());
        hierarchy.complete(&fleet.leaf(at), &[]).map(|whole| shown(&whole.chain.iter().collect::<Vec<_>>()))
    };
    let chain = |text: &str| Some(text.to_owned());
    let no_way_back = |all: &mut Vec<Generation>| all[2].new_with_old = None;
    assert_eq!(complete(&no_way_back, 1), chain("I6<6 6<5"), "who trusts the oldest is served as before");
    assert_eq!(complete(&no_way_back, 0), chain("I5<5 5<6 6<7"), "nobody has to come back");
    assert_eq!(complete(&no_way_back, 2), chain("I7<7"));
    assert_eq!(complete(&|all| all[1].new_with_old = None, 1), chain("I6<6 6<7"));
    assert_eq!(complete(&|all| all[1].new_with_old = None, 2), chain("I7<7 7<6"));
    let not_live = |gone: usize| move |all: &mut Vec<Generation>| drop(all.remove(gone));
    assert_eq!(complete(&not_live(0), 1), chain("I6<6 6<7"), "nothing leads to a root that is not live");
    assert_eq!(complete(&not_live(1), 2), chain("I7<7"), "its links are with a root that is not live");
    assert_eq!(complete(&not_live(1), 0), chain("I5<5"));
    assert_eq!(complete(&not_live(1), 1), None, "its own root is not live");
}

#[test]
fn any_chain_that_was_given_is_completed() {
    let fleet = Fleet::new([EcdsaP256; 3], EcdsaP256);
    let (hierarchy, leaf) = (fleet.hierarchy(3), fleet.leaf(1));
    let whole = hierarchy.complete(&leaf, &[]).unwrap();
    let of = &fleet.generations;
    let link = |at: usize| of[at].new_with_old.clone().unwrap();
    let issuing = fleet.issuing[1].clone();
    for given in [
        vec![issuing.clone()],
        vec![issuing.clone(), of[1].root.clone()],
        vec![issuing.clone(), link(1)],
        vec![issuing.clone(), link(1), of[0].root.clone()],
        whole.chain.clone(),
    ] {
        assert_eq!(hierarchy.complete(&leaf, &given).as_ref(), Some(&whole));
    }
    // Of a record, the issuing authority need not be known.
    let roots_only = Hierarchy::new(of.clone(), Vec::new());
    assert_eq!(roots_only.complete(&leaf, &[issuing]).unwrap(), whole);
    assert_eq!(roots_only.complete(&leaf, &[]), None);

    // A root signed it before there were issuing authorities.
    let prepared = prepare_server_leaf(&leaf_spec(OLDEST + 1), &Key::shared(EcdsaP256).spki_der, fleet.root(1));
    let early = fleet.keys[1].complete(prepared.unwrap());
    assert_eq!(hierarchy.complete(&early, &[]).unwrap().chain, whole.chain[1..]);
    let foreign = Key::generate(EcdsaP256);
    let forged = foreign.complete(prepare_server_leaf(&leaf_spec(6), &foreign.spki_der, &foreign.root(6)).unwrap());
    assert_eq!(hierarchy.complete(&forged, &[]), None, "the name alone proves nothing");
}

#[test]
fn a_revoked_certificate_anywhere_in_a_chain_is_refused() {
    let fleet = Fleet::new([EcdsaP256; 3], EcdsaP256);
    let (hierarchy, leaf) = (fleet.hierarchy(3), fleet.leaf(1));
    let whole = hierarchy.complete(&leaf, &[]).unwrap();
    let sent: Vec<&Certificate> = whole.chain.iter().collect();
    // What is revoked; and who may go on, of those that trust one root alone.
    let cases = [
        (&leaf, [false; 3]),
        (sent[0], [false; 3]),
        // Towards the newest root. webpki finds the way down, and OpenSSL does not.
        (sent[1], [false, true, false]),
        (sent[3], [false, true, true]),
    ];
    for (revoked, expected) in cases {
        let lists = fleet.lists(&[revoked]);
        let lists: Vec<&[u8]> = lists.iter().map(|list| list.der()).collect();
        for (at, expected) in expected.into_iter().enumerate() {
            let verdict = openssl::verify_all(&[fleet.root(at)], &leaf, &sent, &lists, TODAY);
            assert_eq!(verdict.is_ok(), expected, "{} revoked, {at} trusted: {verdict:?}", shown(&[revoked]));
            let is_way_down = at == 0 && revoked == sent[1];
            let verdict = webpki(&[fleet.root(at)], &leaf, &sent, &lists);
            assert_eq!(verdict.is_ok(), expected || is_way_down, "{} revoked: {verdict:?}", shown(&[revoked]));
        }
    }
    // A list that is not there is not taken for an empty one.
    let lists = fleet.lists(&[]);
    for missing in 0..2 {
        let left: Vec<&[u8]> =
            lists.iter().enumerate().filter(|(at, _)| *at != 2 + missing).map(|(_, list)| list.der()).collect();
        openssl::verify_all(&[fleet.root(1)], &leaf, &sent, &left, TODAY).unwrap_err();
        webpki(&[fleet.root(1)], &leaf, &sent, &left).unwrap_err();
    }
}

/// `I6<6`: the issuing authority of generation 6. `7<6`: the link from root 6 to root 7.
fn shown(chain: &[&Certificate]) -> String {
    let short = |dn: &str| {
        let name = dn.split(',').find_map(|part| part.trim().strip_prefix("CN=")).unwrap_or(dn);
        let (kind, generation) = name.rsplit_once(" G").unwrap_or(("", name));
        let generation = generation.split('.').next().unwrap_or_default();
        if kind.ends_with("Issuing") { format!("I{generation}") } else { generation.to_owned() }
    };
    let of = |each: &&Certificate| format!("{}<{}", short(each.subject_dn()), short(each.issuer_dn()));
    chain.iter().map(of).collect::<Vec<_>>().join(" ")
}

/// Demands a list for every certificate.
fn webpki(
    anchors: &[&Certificate],
    leaf: &Certificate,
    sent: &[&Certificate],
    crls: &[&[u8]],
) -> Result<(), webpki::Error> {
    let anchors: Vec<CertificateDer<'_>> = anchors.iter().map(|each| each.der().into()).collect();
    let anchors: Vec<_> = anchors.iter().map(|each| webpki::anchor_from_trusted_cert(each).unwrap()).collect();
    let sent: Vec<CertificateDer<'_>> = sent.iter().map(|each| each.der().into()).collect();
    let crls: Vec<_> = crls
        .iter()
        .map(|der| webpki::CertRevocationList::from(webpki::BorrowedCertRevocationList::from_der(der).unwrap()))
        .collect();
    let crls: Vec<_> = crls.iter().collect();
    let revocation = webpki::RevocationOptionsBuilder::new(&crls)
        .unwrap()
        .with_depth(webpki::RevocationCheckDepth::Chain)
        .with_status_policy(webpki::UnknownStatusPolicy::Deny)
        .with_expiration_policy(webpki::ExpirationPolicy::Enforce)
        .build();
    let leaf = CertificateDer::from(leaf.der());
    let leaf = webpki::EndEntityCert::try_from(&leaf)?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(TODAY.unix_timestamp().unsigned_abs()));
    let usage = webpki::KeyUsage::server_auth();
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &sent, now, usage, Some(revocation), None)?;
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from(HOST).unwrap())
}
