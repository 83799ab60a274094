//! Where a chain ends whose root was not sent: `fullchain.pem`, as every ACME client writes it.

use rootcast_pki::certificate::Certificate;
use rootcast_pki::import::{Anchors, Checked, Material, Problem, Warning, check_with};
use time::Duration;

use crate::corpus::certificate::{Spec, TODAY};
use crate::corpus::{Bundle, code, intermediate_with, leaf_with, other_key, pki, root_key};

fn checked(bundle: &Bundle, others: &[&[u8]], allow_incomplete: bool) -> Result<Checked, Vec<&'static str>> {
    let others: Vec<_> = others.iter().map(|der| Certificate::from_der(der.to_vec()).unwrap()).collect();
    let text = bundle.text();
    let sent = Material::Pem { certificate: &text, certificate_chain: None, private_key: &bundle.key };
    let anchors = Anchors { ours: &[], others: &others, allow_incomplete };
    check_with(&sent, anchors, TODAY).map_err(|problems| problems.iter().map(Problem::code).collect())
}

/// Leaf and intermediate.
fn fullchain() -> Bundle {
    leaf_with(|_| {}).with_others(&[&pki().intermediate.der])
}

#[test]
fn a_known_root_becomes_the_end_of_the_chain() {
    let unrelated = Spec::authority("Unrelated", other_key()).self_signed(other_key());
    let same_name = Spec::authority("Test Root", other_key()).self_signed(other_key());
    let root = pki().root.der.as_slice();
    for known in [&[root][..], &[&same_name.der, root], &[root, &unrelated.der]] {
        let checked = checked(&fullchain(), known, false).unwrap();
        assert_eq!(checked.chain.iter().map(Certificate::der).collect::<Vec<_>>(), [&pki().intermediate.der[..], root]);
        assert!(matches!(checked.warnings.as_slice(), [Warning::Completed { .. }]), "{:?}", checked.warnings);
        assert!(!checked.unproven);
    }
    assert_eq!(checked(&fullchain(), &[&unrelated.der], false).unwrap_err(), [code::INCOMPLETE]);
    assert_eq!(checked(&fullchain(), &[&same_name.der], false).unwrap_err(), [code::SIGNATURE]);
}

#[test]
fn a_known_root_that_was_sent_is_nothing_special() {
    let checked = checked(&leaf_with(|_| {}), &[&pki().root.der], true).unwrap();
    assert_eq!((checked.chain.len(), checked.warnings.len(), checked.unproven), (2, 0, false));
}

#[test]
fn a_known_root_is_checked_like_one_that_was_sent() {
    let mut old = Spec::authority("Test Root", root_key());
    old.not_after = TODAY - Duration::DAY;
    let old = old.self_signed(root_key());
    assert_eq!(checked(&fullchain(), &[&old.der], false).unwrap_err(), [code::EXPIRED]);
    assert_eq!(checked(&fullchain(), &[&old.der, &pki().root.der], false).unwrap().chain.len(), 2);
}

#[test]
fn an_incomplete_chain_is_stored_only_if_that_is_allowed() {
    let checked = |bundle: &Bundle| checked(bundle, &[], true);
    for (others, chain) in [(&[pki().intermediate.der.as_slice()][..], 1), (&[], 0)] {
        let open = checked(&leaf_with(|_| {}).with_others(others)).unwrap();
        assert_eq!((open.chain.len(), open.unproven), (chain, true));
        assert!(matches!(open.warnings.as_slice(), [Warning::Unproven { .. }]), "{:?}", open.warnings);
    }
    // Everything else is still checked.
    let mut expired = intermediate_with(|spec| spec.not_after = TODAY - Duration::DAY);
    expired.others.pop();
    assert_eq!(checked(&expired).unwrap_err(), [code::EXPIRED]);
    let other = fullchain().with_key(other_key().pem());
    assert_eq!(checked(&other).unwrap_err(), [code::KEY_MISMATCH]);
}
