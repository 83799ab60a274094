//! Each case of the corpus is imported completely, or refused for exactly the expected reasons.

use std::collections::HashSet;
use std::fmt::Write;

use rootcast_pki::certificate::Certificate;
use rootcast_pki::import::{Checked, Material, Problems, check};

use crate::corpus::certificate::TODAY;
use crate::corpus::{Case, Expected, Input, cases};

#[test]
fn each_case_is_imported_or_refused_for_exactly_its_reasons() {
    let mut wrong = String::new();
    for case in cases() {
        let seen = judge(case);
        let as_expected = match (&seen, case.expected) {
            (Ok(checked), Expected::Imported { chain, warnings }) => {
                (checked.chain.len(), checked.warnings.len()) == (chain, warnings)
            }
            (Err(problems), Expected::Refused(codes)) => {
                problems.iter().map(rootcast_pki::import::Problem::code).eq(codes.iter().copied())
            }
            _ => false,
        };
        if !as_expected {
            writeln!(wrong, "{}\n  expected {:?}\n  seen {}", case.name, case.expected, shown(&seen)).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn case_names_are_unique() {
    let names: HashSet<_> = cases().iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases().len());
}

/// Holds for hostile input too, because messages appear in logs and browsers.
#[test]
fn a_problem_is_a_line_of_at_most_1024_characters() {
    for case in cases() {
        let Err(problems) = judge(case) else { continue };
        assert_eq!(problems.to_string(), problems.first().to_string());
        assert_eq!(problems.len(), problems.iter().count());
        for problem in &problems {
            told(&problem.to_string()).unwrap_or_else(|reason| panic!("{}: {problem:?}: {reason}", case.name));
        }
    }
}

/// Whoever appended it, since the last certificate names it, is not sent to renew the leaf.
#[test]
fn an_expired_root_is_named_itself() {
    let case = cases().iter().find(|case| case.name == "cross-signed root, only below a root that expired").unwrap();
    let Err(problems) = judge(case) else { panic!("it was imported") };
    assert!(problems.first().to_string().contains("CN=Other Root"), "{}", problems.first());
}

#[test]
fn a_warning_names_what_was_dropped() {
    for case in cases() {
        let Ok(checked) = judge(case) else { continue };
        for warning in &checked.warnings {
            told(&warning.to_string()).unwrap_or_else(|reason| panic!("{}: {warning}: {reason}", case.name));
        }
        if let Some(bundle) = &case.bundle {
            let kept: HashSet<_> = checked.chain.iter().map(|each| each.der().to_vec()).collect();
            let dropped = bundle.others.iter().filter(|der| !kept.contains(*der));
            for der in dropped {
                let fingerprint = Certificate::from_der(der.clone()).unwrap().fingerprint().to_string();
                let named = checked.warnings.iter().any(|warning| warning.to_string().contains(&fingerprint));
                assert!(named, "{}: nothing is said of {fingerprint}: {:?}", case.name, checked.warnings);
            }
        }
    }
}

#[test]
fn every_code_has_a_case() {
    let seen: HashSet<_> = cases()
        .iter()
        .filter_map(|case| match case.expected {
            Expected::Refused(codes) => Some(codes),
            Expected::Imported { .. } => None,
        })
        .flatten()
        .copied()
        .collect();
    let without: Vec<_> =
        rootcast_pki::import::CODES.iter().map(|(code, _)| *code).filter(|code| !seen.contains(code)).collect();
    assert!(without.is_empty(), "{without:?}");
}

#[test]
fn messages_reveal_nothing_of_the_key() {
    for case in cases() {
        let Input::Pem { private_key, .. } = &case.input else { continue };
        let said = match judge(case) {
            Ok(checked) => format!("{checked:?} {:?}", checked.warnings),
            Err(problems) => problems.iter().map(|problem| format!("{problem:?} {problem}\n")).collect(),
        };
        // A line of base64 that the certificates contain as well is not secret: the public key is in both.
        let Some(line) = private_key.lines().find(|line| line.len() == 64) else { continue };
        assert!(!said.contains(line), "{}", case.name);
    }
}

pub(crate) fn judge(case: &Case) -> Result<Checked, Problems> {
    let roots: Vec<_> = case.own_roots.iter().map(|der| Certificate::from_der(der.clone()).unwrap()).collect();
    check(&material(&case.input), &roots, TODAY)
}

pub(crate) fn material(input: &Input) -> Material<'_> {
    match input {
        Input::Pem { certificate, certificate_chain, private_key } => {
            Material::Pem { certificate, certificate_chain: certificate_chain.as_deref(), private_key }
        }
        Input::Pkcs12 { der, password } => Material::Pkcs12 { der, password },
    }
}

pub(crate) fn told(message: &str) -> Result<(), String> {
    match message.chars().count() {
        0 => return Err("nothing is said".to_owned()),
        1..=1024 => {}
        more => return Err(format!("{more} characters")),
    }
    // Rust does not count direction marks and line separators as control characters, but terminals and browsers do.
    let steering = |c: &char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    message.chars().find(steering).map_or(Ok(()), |c| Err(format!("{c:?} in {message:?}")))
}

fn shown(seen: &Result<Checked, Problems>) -> String {
    match seen {
        Ok(checked) => format!("imported with {} and {:?}", checked.chain.len(), checked.warnings),
        Err(problems) => problems.iter().map(|each| format!("\n    {} {each}", each.code())).collect(),
    }
}
