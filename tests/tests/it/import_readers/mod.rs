//! The import's corpus, also judged by other readers: OpenSSL with a TLS client's checks, and Python cryptography's
//! verifier for the web's profile. A table gives the reason for each difference; the test fails at a difference that
//! is not in the table, and at an entry that no longer differs.

#[path = "../../../../functions/shared/pki/tests/import/corpus/mod.rs"]
#[allow(dead_code, clippy::cast_possible_truncation, reason = "the import's own tests use more of it")]
mod corpus;
mod differences;
mod openssl;
mod python;

use std::collections::BTreeMap;

use rootcast_pki::certificate::Certificate;
use rootcast_pki::import::{Material, check};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

pub(crate) use self::corpus::certificate::TODAY;
use self::corpus::{Bundle, Input, cases};
use self::differences::{DIFFERENCES, Reader};
pub(crate) use self::python::{Verdict, bundle, pyhanko, python};

/// A bundle as a client sees it: the anchors are our roots and every self-signed certificate that was sent.
struct Presented<'a> {
    bundle: &'a Bundle,
    anchors: Vec<&'a [u8]>,
    others: Vec<&'a [u8]>,
}

#[tokio::test]
async fn other_readers_agree_or_the_table_has_the_reason() {
    let judged: Vec<_> = cases().iter().filter_map(|case| case.bundle.as_ref().map(|bundle| (case, bundle))).collect();
    let presented: Vec<_> = judged.iter().map(|(_, bundle)| Presented::of(bundle)).collect();
    let (openssl, python) = tokio::join!(openssl::verdicts(&presented), python_verdicts(&presented));

    let mut explained: BTreeMap<(&str, Reader), &str> = BTreeMap::new();
    for (name, reader, reason) in DIFFERENCES {
        assert!(explained.insert((name, *reader), reason).is_none(), "{name} twice for {reader:?}");
    }
    let mut wrong = Vec::new();
    let mut differing = 0;
    for (at, (case, _)) in judged.iter().enumerate() {
        let ours = ours(&case.input, &case.own_roots);
        for (reader, theirs) in [(Reader::OpenSsl, &openssl[at]), (Reader::Python, &python[at])] {
            let reason = explained.remove(&(case.name, reader));
            let of_some = (reader == Reader::OpenSsl).then(|| explained.remove(&(case.name, Reader::SomeOpenSsl)));
            let line = || format!("{}: we {}, {reader:?} {}", case.name, shown(&ours), shown(theirs));
            match (ours.is_none() == theirs.is_none(), reason) {
                _ if of_some.flatten().is_some() => {}
                (true, None) => {}
                (false, Some(_)) => differing += 1,
                (false, None) => wrong.push(format!("unexplained: {}", line())),
                (true, Some(reason)) => wrong.push(format!("no longer so: {} ({reason})", line())),
            }
        }
    }
    wrong.extend(explained.keys().map(|(name, reader)| format!("no such case: {name} for {reader:?}")));
    eprintln!("{} bundles, two readers, {differing} differences, each with its reason", judged.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn ours(input: &Input, own_roots: &[Vec<u8>]) -> Verdict {
    let Input::Pem { certificate, certificate_chain, private_key } = input else { unreachable!("a bundle is PEM") };
    let sent = Material::Pem { certificate, certificate_chain: certificate_chain.as_deref(), private_key };
    let roots: Vec<_> = own_roots.iter().map(|der| Certificate::from_der(der.clone()).unwrap()).collect();
    check(&sent, &roots, TODAY).err().map(|problems| problems.first().code().to_owned())
}

async fn python_verdicts(presented: &[Presented<'_>]) -> Vec<Verdict> {
    let bundle = |each: &Presented<'_>| bundle(&each.bundle.leaf, &each.others, &each.anchors, Some(&each.bundle.key));
    python(presented.iter().map(bundle).collect(), TODAY).await
}

impl<'a> Presented<'a> {
    fn of(bundle: &'a Bundle) -> Self {
        let (mut anchors, others): (Vec<_>, Vec<_>) =
            bundle.others.iter().map(Vec::as_slice).partition(|der| is_self_signed(der));
        anchors.extend(bundle.own_roots.iter().map(Vec::as_slice));
        Self { bundle, anchors, others }
    }
}

/// By its names and key identifiers; the readers check the signature.
fn is_self_signed(der: &[u8]) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(der) else { return false };
    let (mut of_issuer, mut own) = (None, None);
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => of_issuer = identifier.key_identifier.clone(),
            ParsedExtension::SubjectKeyIdentifier(identifier) => own = Some(identifier.clone()),
            _ => {}
        }
    }
    parsed.subject().as_raw() == parsed.issuer().as_raw() && (of_issuer.is_none() || of_issuer == own)
}

fn shown(verdict: &Verdict) -> String {
    verdict.as_ref().map_or("accept".to_owned(), |reason| format!("refuse ({reason})"))
}
