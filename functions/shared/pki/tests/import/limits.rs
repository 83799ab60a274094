//! Each limit on work: input at the limit is accepted, and input just beyond it is refused. Work is counted, not timed.

use aws_lc_rs::digest::{SHA256, digest};
use rootcast_pki::import::{CERTIFICATES, COMPARISONS, Checked, DEPTH, ITERATIONS, KEY_LIMIT, LIMIT, Material, NAMES};
use rootcast_pki::import::{PKCS12_LIMIT, Problem, check};

use crate::corpus::certificate::{Spec, TODAY, alternative_names, dns, name_constraints};
use crate::corpus::chains::chain;
use crate::corpus::pkcs12::{Mac, PASSWORD, archive};
use crate::corpus::{Bundle, code, intermediate_with, leaf_key, leaf_with, other_key, pki};

/// The result of an import, or the codes of its problems.
fn outcome(bundle: &Bundle) -> Result<Checked, Vec<&'static str>> {
    let text = bundle.text();
    judged(&Material::Pem { certificate: &text, certificate_chain: None, private_key: &bundle.key })
}

fn judged(sent: &Material<'_>) -> Result<Checked, Vec<&'static str>> {
    check(sent, &[], TODAY).map_err(|problems| problems.iter().map(Problem::code).collect())
}

fn refused(bundle: &Bundle) -> Vec<&'static str> {
    outcome(bundle).map(|checked| format!("{checked:?}")).unwrap_err()
}

#[test]
fn issuers_in_a_chain_are_limited() {
    assert_eq!(outcome(&chain(DEPTH - 1)).unwrap().chain.len(), DEPTH);
    assert_eq!(refused(&chain(DEPTH)), [code::TANGLED]);
}

#[test]
fn certificates_in_an_import_are_limited() {
    let unrelated =
        |number: usize| Spec::authority(&format!("Unrelated {number}"), other_key()).self_signed(other_key());
    let with = |count: usize| {
        let mut bundle = leaf_with(|_| {});
        bundle.others.extend((0..count).map(|number| unrelated(number).der));
        bundle
    };
    let checked = outcome(&with(CERTIFICATES - 3)).unwrap();
    assert_eq!((checked.chain.len(), checked.warnings.len()), (2, CERTIFICATES - 3));
    assert_eq!(refused(&with(CERTIFICATES - 2)), [code::TOO_MANY_CERTIFICATES]);
}

#[test]
fn names_in_a_certificate_are_limited() {
    let named = |count| leaf_with(|leaf| leaf.names = Some(alternative_names(&names(count))));
    assert_eq!(outcome(&named(NAMES)).unwrap().names.len(), NAMES);
    assert_eq!(refused(&named(NAMES + 1)), [code::TOO_MANY_NAMES]);
}

#[test]
fn comparisons_with_name_constraints_are_limited() {
    let constrained = |subtrees: usize| {
        let excluded: Vec<_> = (0..subtrees).map(|number| dns(&format!("x{number}.ex"))).collect();
        let mut issuing = crate::corpus::intermediate();
        issuing.more = vec![name_constraints(&[], &excluded)];
        let issuing = issuing.authority_by(crate::corpus::intermediate_key(), &pki().root);
        let mut leaf = Spec::leaf(crate::corpus::HOST, leaf_key());
        leaf.names = Some(alternative_names(&names(NAMES / 2)));
        let mut bundle = intermediate_with(|_| {});
        (bundle.leaf, bundle.others[0]) = (leaf.signed_by(&issuing), issuing.der);
        bundle
    };
    let most = COMPARISONS / (NAMES / 2);
    assert!(outcome(&constrained(most - 5)).is_ok());
    assert_eq!(refused(&constrained(most + 5)), [code::NAME_CONSTRAINTS]);
}

#[test]
fn sizes_of_text_and_files_are_limited() {
    let bundle = leaf_with(|_| {});
    let padded = |text: &str, size: usize| format!("{text}{}", "\n".repeat(size - text.len()));
    for (certificates, key, within) in
        [(LIMIT, KEY_LIMIT, true), (LIMIT + 1, KEY_LIMIT, false), (LIMIT, KEY_LIMIT + 1, false)]
    {
        let (text, key) = (padded(&bundle.text(), certificates), padded(&bundle.key, key));
        let seen = judged(&Material::Pem { certificate: &text, certificate_chain: None, private_key: &key });
        match within {
            true => assert!(seen.is_ok()),
            false => assert_eq!(seen.map(drop), Err(vec![code::TOO_LARGE])),
        }
    }
    for (size, code) in [(PKCS12_LIMIT, code::PKCS12_UNREADABLE), (PKCS12_LIMIT + 1, code::TOO_LARGE)] {
        let seen = judged(&Material::Pkcs12 { der: &vec![0x30; size], password: "" });
        assert_eq!(seen.map(drop), Err(vec![code]));
    }
}

/// Only the count matters: two million iterations are refused without deriving a key.
#[test]
fn iterations_for_a_password_are_limited() {
    let bundle = leaf_with(|_| {});
    let ders: Vec<&[u8]> = std::iter::once(&bundle.leaf).chain(&bundle.others).map(Vec::as_slice).collect();
    let code_of = |iterations: u64| {
        let der = archive(&[leaf_key()], &ders, Mac::Wrong(iterations));
        judged(&Material::Pkcs12 { der: &der, password: PASSWORD }).map(drop).unwrap_err()
    };
    assert_eq!(code_of(ITERATIONS / 2), [code::PKCS12_PASSWORD]);
    for beyond in [ITERATIONS + 1, u64::from(u32::MAX), u64::MAX / 2] {
        assert_eq!(code_of(beyond), [code::PKCS12_ITERATIONS], "{beyond}");
    }
}

/// Hostile input always gets the same result: neither the order of a map nor chance decides how far the search gets.
#[test]
fn a_tangled_chain_has_the_same_problems_in_any_order() {
    let tangled = crate::corpus::cases().iter().filter(
        |case| matches!(case.expected, crate::corpus::Expected::Refused(codes) if codes.contains(&code::TANGLED)),
    );
    for bundle in tangled.filter_map(|case| case.bundle.as_ref()) {
        let expected = refused(bundle);
        for seed in 0..20_u8 {
            let mut bundle = bundle.clone();
            bundle.others.sort_by_cached_key(|der| digest(&SHA256, &[&[seed], &der[..]].concat()).as_ref().to_vec());
            assert_eq!(refused(&bundle), expected);
        }
    }
}

fn names(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| dns(&format!("n{number}.ex"))).collect()
}
