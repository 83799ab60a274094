//! The text around certificates: PEM as in RFC 7468, and as people send it.

use super::key::pem;
use super::{Bundle, Case, Expected, Input, code, leaf_key, leaf_with, pki, written};

const WHOLE: Expected = Expected::Imported { chain: 2, warnings: 0 };

pub(super) fn cases() -> Vec<Case> {
    let bundle = leaf_with(|_| {});
    let text = bundle.text();
    let leaf = pem("CERTIFICATE", &bundle.leaf);
    let chain: String = bundle.others.iter().map(|der| pem("CERTIFICATE", der)).collect();
    let one = |name, expected, text: String| written(name, expected, input(text, None));
    let refused = |name, code: &'static [&'static str], text: String| one(name, Expected::Refused(code), text);
    let footerless = leaf.replace("-----END CERTIFICATE-----\n", "");
    vec![
        one("everything in the field certificate", WHOLE, text.clone()),
        one("lines end in CR LF", WHOLE, text.replace('\n', "\r\n")),
        one("text between the blocks", WHOLE, explained(&bundle)),
        one("spaces around everything", WHOLE, format!("\n\n  \t{}\n\n ", text.trim_end())),
        one("spaces at the ends of lines", WHOLE, text.replace('\n', "  \n")),
        one("no line break at the end", WHOLE, text.trim_end().to_owned()),
        one("all of a certificate in one line", WHOLE, unwrapped(&bundle)),
        one("a byte order mark", WHOLE, format!("\u{feff}{text}")),
        one("the chain's root first, the leaf last", WHOLE, {
            let mut ders = bundle.others.clone();
            ders.reverse();
            ders.push(bundle.leaf.clone());
            ders.iter().map(|der| pem("CERTIFICATE", der)).collect()
        }),
        written(
            "an empty chain",
            Expected::Imported { chain: 2, warnings: 0 },
            input(text.clone(), Some(String::new())),
        ),
        written("the chain in the other order", WHOLE, {
            let reversed = [&pki().root.der, &pki().intermediate.der].map(|der| pem("CERTIFICATE", der)).concat();
            input(leaf.clone(), Some(reversed))
        }),
        written("the chain in both fields", Expected::Refused(&[code::LEAF_NOT_ALONE]), {
            input(text.clone(), Some(chain.clone()))
        }),
        refused("nothing", &[code::CERTIFICATE_MISSING], String::new()),
        refused("white space", &[code::CERTIFICATE_MISSING], " \r\n\t\n".to_owned()),
        refused("a word", &[code::CERTIFICATE_FRAMING], "certificate".to_owned()),
        refused("base64 without header and footer", &[code::CERTIFICATE_FRAMING], {
            leaf.lines().filter(|line| !line.starts_with('-')).collect()
        }),
        refused("the footer is missing", &[code::CERTIFICATE_FRAMING], footerless.clone()),
        refused("the footer of the first is missing", &[code::CERTIFICATE_FRAMING], footerless + &chain),
        refused(
            "the header is missing",
            &[code::CERTIFICATE_FRAMING],
            leaf.replace("-----BEGIN CERTIFICATE-----\n", ""),
        ),
        refused("four dashes", &[code::CERTIFICATE_FRAMING], leaf.replace("-----", "----")),
        refused("header in small letters", &[code::CERTIFICATE_FRAMING], {
            leaf.replace("BEGIN CERTIFICATE", "begin certificate")
        }),
        refused("header and footer differ", &[code::CERTIFICATE_FRAMING], {
            leaf.replace("END CERTIFICATE", "END X509 CERTIFICATE")
        }),
        refused("nothing between header and footer", &[code::CERTIFICATE_MISSING], {
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned()
        }),
        refused("not base64", &[code::CERTIFICATE_UNREADABLE], {
            "-----BEGIN CERTIFICATE-----\n*&^%$#\n-----END CERTIFICATE-----\n".to_owned()
        }),
        refused(
            "bytes in place of a certificate",
            &[code::CERTIFICATE_UNREADABLE],
            pem("CERTIFICATE", b"no certificate"),
        ),
        refused("half a certificate", &[code::CERTIFICATE_UNREADABLE], {
            pem("CERTIFICATE", &bundle.leaf[..bundle.leaf.len() / 2]) + &chain
        }),
        refused("bytes behind a certificate", &[code::CERTIFICATE_UNREADABLE], {
            pem("CERTIFICATE", &[&bundle.leaf[..], b"?"].concat()) + &chain
        }),
        refused("a certificate signing request", &[code::NOT_A_CERTIFICATE], {
            pem("CERTIFICATE REQUEST", &bundle.leaf) + &chain
        }),
        refused("PKCS #7", &[code::NOT_A_CERTIFICATE], pem("PKCS7", &bundle.leaf)),
        refused("the key among the certificates", &[code::KEY_AMONG_CERTIFICATES], text + &leaf_key().pem()),
        written(
            "an unreadable chain",
            Expected::Refused(&[code::CERTIFICATE_FRAMING]),
            input(leaf.clone(), Some("chain".to_owned())),
        ),
        written("the chain's second is unreadable", Expected::Refused(&[code::CERTIFICATE_UNREADABLE]), {
            input(leaf.clone(), Some(pem("CERTIFICATE", &pki().intermediate.der) + &pem("CERTIFICATE", b"?")))
        }),
        written("neither certificate nor key", Expected::Refused(&[code::CERTIFICATE_MISSING, code::KEY_MISSING]), {
            Input::Pem { certificate: String::new(), certificate_chain: None, private_key: String::new() }
        }),
    ]
}

/// As printed by `openssl s_client -showcerts` and `openssl pkcs12` (RFC 7468 §5.2).
pub(crate) fn explained(bundle: &Bundle) -> String {
    let block = |der| format!(" 0 s:CN = Größe – not PEM\n   i:CN = x\n{}\n", pem("CERTIFICATE", der));
    std::iter::once(&bundle.leaf).chain(&bundle.others).map(|der| block(der)).collect::<String>() + "---\n"
}

fn unwrapped(bundle: &Bundle) -> String {
    let one_line = |der| {
        let text = pem("CERTIFICATE", der);
        let lines: Vec<_> = text.lines().collect();
        format!("{}\n{}\n{}\n", lines[0], lines[1..lines.len() - 1].concat(), lines[lines.len() - 1])
    };
    std::iter::once(&bundle.leaf).chain(&bundle.others).map(|der| one_line(der)).collect()
}

fn input(certificate: String, certificate_chain: Option<String>) -> Input {
    Input::Pem { certificate, certificate_chain, private_key: leaf_key().pem() }
}
