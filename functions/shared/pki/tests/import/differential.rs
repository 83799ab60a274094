//! Generated text and generated trees of certificates, also read by OpenSSL. We read what it reads; what only one of us
//! accepts has a reason that is named here.
#![allow(clippy::print_stderr, reason = "figures of a run, with --nocapture")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::TestRunner;
use rootcast_pki::import::{Material, Problem, check};

use crate::corpus::certificate::{Spec, TODAY, alternative_names, common_name, dns, email, ip, name, name_constraints};
use crate::corpus::der::{explicit, tlv};
use crate::corpus::key::pem;
use crate::corpus::{Bundle, HOST, code, intermediate_key, leaf_key, leaf_with, pki};

/// Lines that OpenSSL takes for text, wherever they stand between blocks.
const TEXT: [&str; 14] = [
    "",
    "   ",
    "-----",
    "----------",
    "Bag Attributes",
    "    friendlyName: Größe -----BEGIN",
    "subject=CN = a -----END CERTIFICATE-----",
    "----BEGIN CERTIFICATE----",
    "----- BEGIN CERTIFICATE -----",
    "-----BEGIN CERTIFICATE",
    "-----BEGIN CERTIFICATE----- of the intermediate",
    "-----END CERTIFICATE-----",
    "-----end-----",
    "aGk=",
];

/// Between two blocks, and at both ends.
#[derive(Debug, Clone)]
struct Gap {
    lines: Vec<&'static str>,
    /// The header follows the footer directly.
    glued: bool,
}

/// How a block's lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    TrailingSpaces,
    Indented,
    OneLine,
    Spaced,
    Short,
    Lowercase,
    Unended,
}

fn gap() -> impl Strategy<Value = Gap> {
    let lines = proptest::collection::vec(proptest::sample::select(&TEXT[..]), 0..4);
    (lines, proptest::bool::weighted(0.1)).prop_map(|(lines, glued)| Gap { lines, glued })
}

fn form() -> impl Strategy<Value = Form> {
    use Form::{Indented, Lowercase, OneLine, Plain, Short, Spaced, TrailingSpaces, Unended};
    let odd = proptest::sample::select(vec![TrailingSpaces, Indented, OneLine, Spaced, Short, Lowercase, Unended]);
    proptest::prop_oneof![4 => proptest::strategy::Just(Plain), 1 => odd]
}

fn block(der: &[u8], form: Form) -> String {
    let text = pem("CERTIFICATE", der);
    let lines: Vec<&str> = text.lines().collect();
    let body = &lines[1..lines.len() - 1];
    match form {
        Form::Plain => text,
        Form::TrailingSpaces => text.replace('\n', " \t\n"),
        Form::Indented => text.lines().map(|line| format!("  {line}\n")).collect(),
        Form::OneLine => format!("{}\n{}\n{}\n", lines[0], body.concat(), lines[lines.len() - 1]),
        Form::Spaced => text.replace('\n', "\n\n"),
        Form::Short => text.replace("-----END", "----END"),
        Form::Lowercase => text.replace("BEGIN CERTIFICATE", "begin certificate"),
        Form::Unended => lines[..lines.len() - 1].join("\n") + "\n",
    }
}

/// One of the certificates may be missing, so each is needed: leaf, intermediate and root.
#[test]
fn what_openssl_reads_of_a_text_is_imported() {
    let folder = tempfile::tempdir().unwrap();
    let (file, bundle) = (folder.path().join("sent.pem"), leaf_with(|_| {}));
    let ders: Vec<&[u8]> = std::iter::once(&bundle.leaf).chain(&bundle.others).map(Vec::as_slice).collect();
    let mut runner = TestRunner::deterministic();
    let generated = (proptest::collection::vec(gap(), 4), proptest::collection::vec(form(), 3), proptest::bool::ANY);
    let mut seen = BTreeMap::new();
    for _ in 0..256 {
        let (gaps, forms, crlf) = generated.new_tree(&mut runner).unwrap().current();
        let mut text = String::new();
        for (at, gap) in gaps.iter().enumerate() {
            if gap.glued && at > 0 {
                text.truncate(text.trim_end().len());
            } else {
                text.extend(gap.lines.iter().map(|line| format!("{line}\n")));
            }
            text += &ders.get(at).map_or_else(String::new, |der| block(der, forms[at]));
        }
        let text = if crlf { text.replace('\n', "\r\n") } else { text };
        std::fs::write(&file, &text).unwrap();
        let theirs = openssl_reads(&file, &ders);
        let ours =
            check(&Material::Pem { certificate: &text, certificate_chain: None, private_key: &bundle.key }, &[], TODAY);
        // The vendor's own example is glued, YAML indents, and forms double line breaks.
        let known = gaps[1..].iter().any(|gap| gap.glued)
            || forms.iter().any(|form| matches!(form, Form::Indented | Form::Spaced));
        // OpenSSL skips a damaged footer and ends the block at the next one.
        let doubtful = forms.contains(&Form::Short);
        assert!(ours.is_ok() || !theirs || doubtful, "OpenSSL reads it, we say {:?}:\n{text}", ours.err());
        assert!(ours.is_err() || theirs || known, "we read it, OpenSSL does not:\n{text}");
        *seen.entry((ours.is_ok(), theirs)).or_insert(0) += 1;
    }
    eprintln!("(ours, OpenSSL): {seen:?}");
    assert!(seen[&(true, true)] > 40 && seen[&(false, false)] > 20, "{seen:?}");
}

fn openssl_reads(file: &Path, ders: &[&[u8]]) -> bool {
    let output = Command::new("openssl")
        .args(["crl2pkcs7", "-nocrl", "-outform", "DER", "-certfile"])
        .arg(file)
        .output()
        .unwrap();
    let holds = |der: &&[u8]| output.stdout.windows(der.len()).any(|window| window == *der);
    output.status.success() && ders.iter().all(holds)
}

/// A GeneralName, and what messages call it.
type Named = (&'static str, Vec<u8>);

/// GeneralNames for constraints and for leaves. A base is compared with every kind of name.
fn vocabulary() -> (Vec<Named>, Vec<Named>) {
    let directory = |tag, value: &[u8]| explicit(4, &name(&[("2.5.4.10", tlv(tag, value))]));
    let uri = |text: &str| tlv(0x86, text.as_bytes());
    let bases = vec![
        ("dns:fleet.example", dns("fleet.example")),
        ("dns:.fleet.example", dns(".fleet.example")),
        ("dns:example", dns("example")),
        ("dns:other.example", dns("other.example")),
        ("dns:*.fleet.example", dns("*.fleet.example")),
        ("dns:fleet.example.", dns("fleet.example.")),
        ("ip:192.0.2.0/24", ip(&[192, 0, 2, 0, 255, 255, 255, 0])),
        ("ip:0.0.0.0/0", ip(&[0; 8])),
        ("ip:holes", ip(&[192, 0, 2, 0, 255, 0, 255, 0])),
        ("ip:short", ip(&[192, 0, 2, 0])),
        ("mail:fleet.example", email("fleet.example")),
        ("mail:.fleet.example", email(".fleet.example")),
        ("mail:a@fleet.example", email("a@fleet.example")),
        ("mail:@", email("@")),
        ("dir:Example", directory(0x0c, b"Example")),
        ("dir:EXAMPLE", directory(0x13, b"EXAMPLE")),
        ("dir:Other", directory(0x13, b"Other")),
        ("uri:fleet.example", uri("fleet.example")),
        ("uri:.fleet.example", uri(".fleet.example")),
        ("rid:1.2.3", tlv(0x88, &[0x2a, 3])),
    ];
    let names = vec![
        ("dns:bmc-0001.fleet.example", dns(HOST)),
        ("dns:fleet.example", dns("fleet.example")),
        ("dns:FLEET.example", dns("FLEET.example")),
        ("dns:x.other.example", dns("x.other.example")),
        ("dns:*.fleet.example", dns("*.fleet.example")),
        ("ip:192.0.2.7", ip(&[192, 0, 2, 7])),
        ("ip:198.51.100.7", ip(&[198, 51, 100, 7])),
        ("mail:a@fleet.example", email("a@fleet.example")),
        ("mail:b@x.fleet.example", email("b@x.fleet.example")),
        ("mail:a@other.example", email("a@other.example")),
        ("mail:other.example", email("other.example")),
        ("dir:example", directory(0x13, b"example")),
        ("dir:Teletex", directory(0x14, b"M\xfcller")),
        ("uri:https://x.fleet.example/a", uri("https://x.fleet.example/a")),
        ("uri:https://fleet.example", uri("https://fleet.example")),
        ("uri:https://192.0.2.7/", uri("https://192.0.2.7/")),
        ("rid:1.2.3", tlv(0x88, &[0x2a, 3])),
    ];
    (bases, names)
}

/// A leaf below an issuer with constraints.
struct Tree {
    shown: String,
    issuer: Vec<u8>,
    bundle: Bundle,
    bases: Vec<&'static str>,
    names: Vec<&'static str>,
}

fn trees(count: usize) -> Vec<Tree> {
    let (bases, names) = vocabulary();
    let pick =
        |list: &Vec<Named>, most: usize| proptest::collection::vec(proptest::sample::select(list.clone()), 0..=most);
    let subjects = proptest::sample::select(vec!["Board 7", HOST, "x.other.example", "192.0.2.7"]);
    let generated = (pick(&bases, 2), pick(&bases, 2), pick(&names, 2), subjects);
    let mut runner = TestRunner::deterministic();
    let mut trees = Vec::new();
    while trees.len() < count {
        let (permitted, excluded, mut names, subject) = generated.new_tree(&mut runner).unwrap().current();
        if permitted.is_empty() && excluded.is_empty() {
            continue;
        }
        // A leaf always has a host or an address of its own, so that only constraints decide.
        if !names.iter().any(|(shown, _)| shown.starts_with("dns:") || shown.starts_with("ip:")) {
            names.push(("ip:192.0.2.7", ip(&[192, 0, 2, 7])));
        }
        let ders = |list: &[Named]| list.iter().map(|(_, der)| der.clone()).collect::<Vec<_>>();
        let shown = |list: &[Named]| list.iter().map(|(shown, _)| *shown).collect::<Vec<_>>();
        let mut issuing = Spec::authority(&format!("Issuing {}", trees.len()), intermediate_key());
        issuing.serial = vec![1, (trees.len() >> 8) as u8, trees.len() as u8];
        issuing.more = vec![name_constraints(&ders(&permitted), &ders(&excluded))];
        let issuing = issuing.authority_by(intermediate_key(), &pki().root);
        let mut leaf = Spec::leaf(HOST, leaf_key());
        leaf.subject = common_name(subject);
        leaf.names = Some(alternative_names(&ders(&names)));
        let leaf = leaf.signed_by(&issuing);
        let (bases, named) = ([shown(&permitted), shown(&excluded)].concat(), shown(&names));
        trees.push(Tree {
            shown: format!(
                "permitted {:?}, excluded {:?}, CN {subject}, SAN {named:?}",
                shown(&permitted),
                shown(&excluded)
            ),
            issuer: issuing.der.clone(),
            bundle: Bundle { leaf, ..leaf_with(|_| {}) }.with_others(&[&issuing.der, &pki().root.der]),
            bases,
            names: [named, vec![subject]].concat(),
        });
    }
    trees
}

/// Why we refuse what OpenSSL accepts: each makes us stricter.
fn reason(tree: &Tree) -> Option<&'static str> {
    let base = |wanted: &str| tree.bases.contains(&wanted);
    let base_of = |kind: &str| tree.bases.iter().any(|base| base.starts_with(kind));
    let name = |wanted: &str| tree.names.contains(&wanted);
    Some(match () {
        () if base("dns:*.fleet.example") || base("dns:fleet.example.") || base("mail:@") => {
            "OpenSSL compares a malformed base as text"
        }
        () if base("ip:holes") => "OpenSSL takes a mask with holes",
        () if base_of("dns:") && name("dns:*.fleet.example") => "OpenSSL compares a wildcard as if it were a name",
        () if base_of("ip:") && name("192.0.2.7") => "OpenSSL compares a CN with constraints of host names only",
        () if base_of("dir:") && name("dir:Teletex") => "OpenSSL reads TeletexString as Latin-1",
        () if base_of("uri:") && name("uri:https://192.0.2.7/") => "RFC 5280 refuses a URI without a host name",
        () if base_of("mail:") && name("mail:other.example") => "OpenSSL compares a malformed address",
        () => return None,
    })
}

#[test]
fn constraints_that_openssl_enforces_are_enforced() {
    let trees = trees(512);
    let theirs = openssl_verifies(&trees);
    let (mut wrong, mut agreed, mut differing) = (String::new(), [0, 0], BTreeMap::new());
    for (tree, theirs) in trees.iter().zip(theirs) {
        let text = tree.bundle.text();
        let sent = Material::Pem { certificate: &text, certificate_chain: None, private_key: &tree.bundle.key };
        let ours = check(&sent, &[], TODAY);
        let codes = ours.as_ref().err().map_or_else(Vec::new, |problems| problems.iter().map(Problem::code).collect());
        let known = [code::NAME_CONSTRAINTS, code::MALFORMED_EXTENSION];
        assert!(codes.iter().all(|code| known.contains(code)), "{codes:?}: {}", tree.shown);
        match (ours.is_ok(), theirs.is_none(), reason(tree)) {
            (ours, theirs, _) if ours == theirs => agreed[usize::from(ours)] += 1,
            (false, true, Some(reason)) => *differing.entry(reason).or_insert(0) += 1,
            (ours, ..) => writeln!(wrong, "we {ours}, OpenSSL {theirs:?}: {}", tree.shown).unwrap(),
        }
    }
    eprintln!("refused by both {}, accepted by both {}, differing {differing:#?}", agreed[0], agreed[1]);
    assert!(wrong.is_empty(), "{wrong}");
    assert!(agreed[0] > 100 && agreed[1] > 50, "{agreed:?}");
}

/// Its reason to refuse each leaf, if any. One process reads all trees.
fn openssl_verifies(trees: &[Tree]) -> Vec<Option<String>> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let root = write("root.pem", pem("CERTIFICATE", &pki().root.der));
    let issuers = write("issuers.pem", trees.iter().map(|tree| pem("CERTIFICATE", &tree.issuer)).collect());
    let leaves = trees
        .iter()
        .enumerate()
        .map(|(at, tree)| write(&format!("leaf-{at}.pem"), pem("CERTIFICATE", &tree.bundle.leaf)));
    let leaves: Vec<PathBuf> = leaves.collect();
    let output = Command::new("openssl")
        .args(["verify", "-no-CApath", "-attime", &TODAY.unix_timestamp().to_string(), "-CAfile"])
        .arg(root)
        .arg("-untrusted")
        .arg(issuers)
        .args(&leaves)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let verdict = |leaf: &PathBuf| {
        let path = leaf.to_str().unwrap();
        let accepted = said.lines().any(|line| line == format!("{path}: OK"));
        let refused = said.lines().any(|line| line == format!("error {path}: verification failed"));
        assert!(accepted != refused, "{path}: {said}");
        refused.then(|| "refuses it".to_owned())
    };
    leaves.iter().map(verdict).collect()
}
