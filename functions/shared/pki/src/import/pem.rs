//! PEM (RFC 7468) as people send it. Text between blocks (whatever it looks like), blanks around lines, and the kind of
//! line ends are ignored. Each header and footer must be complete and alone on its line, with strict base64 between
//! them; only a header may follow a footer.
//!
//! Other than `openssl`: an indented block is read, a block that is neither a certificate nor parameters is refused and
//! not skipped, and the last base64 character has no surplus bits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::problem::{Fault, Field, Location, Problem, Unreadable};
use super::{LIMIT, Secret, Sent, text};

/// The content between a header and its footer.
pub(super) struct Block<'a> {
    pub(super) label: &'a str,
    /// Line of the header, from 1.
    pub(super) line: usize,
    body: &'a str,
}

/// A text's blocks, and what is wrong with headers and footers.
#[derive(Default)]
pub(super) struct Blocks<'a> {
    /// The complete ones.
    pub(super) found: Vec<Block<'a>>,
    /// The first fault: a block is damaged, or there is none at all.
    pub(super) fault: Option<(usize, Fault)>,
    /// The first line outside of a block that may be a damaged header or footer. Beside complete blocks it is text
    /// (RFC 7468 §2), unless something turns out to be missing.
    pub(super) doubt: Option<(usize, Fault)>,
}

pub(super) fn blocks(text: &str) -> Blocks<'_> {
    let Blocks { mut found, mut fault, mut doubt } = Blocks::default();
    let mut open: Option<(&str, usize, usize)> = None; // label, line, where its body starts
    let (mut start, mut number) = (0, 0);
    for raw in text.split_inclusive(['\n', '\r']) {
        let end = start + raw.len();
        number += usize::from(!(raw == "\n" && text[..start].ends_with('\r')));
        for boundary in boundaries(raw.trim_matches(is_blank)) {
            match boundary {
                Boundary::None => {}
                // The block is lost: what follows would not be its own.
                Boundary::Malformed(what) if open.take().is_some() => _ = fault.get_or_insert((number, what)),
                Boundary::Malformed(what) => _ = doubt.get_or_insert((number, what)),
                Boundary::Begin(label) => {
                    if let Some((_, line, _)) = open.replace((label, number, end)) {
                        fault.get_or_insert((line, Fault::NoFooter));
                    }
                }
                Boundary::End(label) => match open.take() {
                    Some((opened, line, from)) if opened == label => {
                        found.push(Block { label, line, body: &text[from..start] });
                    }
                    Some(_) => _ = fault.get_or_insert((number, Fault::Mismatch)),
                    None => _ = doubt.get_or_insert((number, Fault::NoHeader)),
                },
            }
        }
        start = end;
    }
    if let Some((_, line, _)) = open {
        fault.get_or_insert((line, Fault::NoFooter));
    }
    // PowerShell writes UTF-16, also behind text that is none.
    if ["B\0E\0G", "B\0\0\0E"].iter().any(|wide| text.contains(wide)) {
        doubt = Some((1, Fault::Wide));
    }
    if found.is_empty() && !text.trim().is_empty() {
        fault = fault.or(doubt).or(Some((1, Fault::NoHeader)));
    }
    Blocks { found, fault, doubt }
}

impl Block<'_> {
    /// Whether nothing stands between header and footer.
    pub(super) fn is_empty(&self) -> bool {
        self.body.trim().is_empty()
    }

    /// Whether it is marked as encrypted by RFC 1421 §4.6.1.1, as in OpenSSL's older formats.
    pub(super) fn is_encrypted(&self) -> bool {
        self.body.lines().any(|line| line.trim().starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
    }

    pub(super) fn decode(&self) -> Option<Secret> {
        let mut packed = Secret::new(Vec::with_capacity(self.body.len()));
        packed.extend(self.body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        let mut decoded = Secret::new(vec![0; packed.len().div_ceil(4) * 3]);
        let length = STANDARD.decode_slice(&*packed, &mut decoded).ok()?;
        decoded.truncate(length);
        Some(decoded)
    }
}

enum Boundary<'a> {
    None,
    Begin(&'a str),
    End(&'a str),
    Malformed(Fault),
}

/// White space, and the byte order mark that is invisible where files were joined.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

/// A line has one boundary, or a whole footer followed by a whole header and nothing else: files without a line break at
/// their end are joined so, and so is the example of the vendor's page.
fn boundaries(line: &str) -> impl Iterator<Item = Boundary<'_>> {
    let glued = line.find("-----BEGIN ").map(|at| line.split_at(at)).and_then(|(first, second)| {
        let first = first.trim_end_matches(is_blank);
        matches!((boundary(first), boundary(second)), (Boundary::End(_), Boundary::Begin(_))).then_some((first, second))
    });
    let (first, second) = glued.map_or((line, None), |(first, second)| (first, Some(second)));
    std::iter::once(boundary(first)).chain(second.map(boundary))
}

fn boundary(line: &str) -> Boundary<'_> {
    let whole = |start| line.strip_prefix(start).and_then(|rest: &str| rest.strip_suffix("-----"));
    match (whole("-----BEGIN "), whole("-----END ")) {
        (Some(label), _) if is_label(label) => Boundary::Begin(label),
        (_, Some(label)) if is_label(label) => Boundary::End(label),
        _ if is_within(line, "-----BEGIN ") || is_within(line, "-----END ") => Boundary::Malformed(Fault::NoLineBreak),
        _ => {
            // Word processors make other dashes of them.
            let inner = line.trim_start_matches(|c: char| matches!(c, '-' | '\u{2010}'..='\u{2015}')).trim_start();
            let damaged = inner.len() < line.len() && (inner.starts_with("BEGIN") || inner.starts_with("END"));
            if damaged { Boundary::Malformed(Fault::Malformed) } else { Boundary::None }
        }
    }
}

/// Whether a whole header or footer has other text in its line.
fn is_within(line: &str, start: &str) -> bool {
    let label = line.split_once(start).and_then(|(_, rest)| rest.split_once("-----"));
    label.is_some_and(|(label, _)| is_label(label))
}

/// Capitals only, like every label (RFC 7468 §4). Messages show labels, and other text might be secret.
fn is_label(label: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b" .#/".contains(&byte);
    (1..=64).contains(&label.len()) && label.bytes().all(fits) && label.trim() == label
}

/// Of a group or a curve, as web servers keep beside certificate and key: neither is made of them.
pub(super) fn is_parameters(label: &str) -> bool {
    label.ends_with(" PARAMETERS")
}

/// All certificates of both fields. Without a chain, `certificate` may hold a whole bundle in any order.
pub(super) fn certificates(certificate: &str, chain: Option<&str>, problems: &mut Vec<Problem>) -> Sent {
    let mut sent = Sent::default();
    if certificate.len() + chain.map_or(0, str::len) > LIMIT {
        problems.push(Problem::TooLarge { part: "the certificate with its chain", limit: LIMIT });
        return sent;
    }
    read(certificate, Field::Certificate, &mut sent, problems);
    if let Some(chain) = chain.filter(|text| !text.trim().is_empty()) {
        match sent.certificates.len() {
            1 => sent.leaf_first = !sent.partial,
            0 => {}
            several => problems.push(Problem::LeafNotAlone(several)),
        }
        read(chain, Field::CertificateChain, &mut sent, problems);
    }
    sent
}

fn read(text: &str, field: Field, sent: &mut Sent, problems: &mut Vec<Problem>) {
    let Blocks { found, fault, doubt } = blocks(text);
    let before = problems.len();
    let framing = |(line, fault)| Problem::CertificateFraming { place: Location { field, line }, fault };
    match fault.map(framing) {
        Some(problem) => problems.push(problem),
        None if found.is_empty() => problems.push(Problem::CertificateMissing(Location { field, line: 0 })),
        None => sent.doubts.extend(doubt.map(framing)),
    }
    for block in found {
        let place = Location { field, line: block.line };
        let read = match block.label {
            // RFC 7468 §5.3: the longer labels are older names.
            "CERTIFICATE" | "X509 CERTIFICATE" | "X.509 CERTIFICATE" => match block.decode() {
                _ if block.is_empty() => Err(Problem::CertificateMissing(place)),
                Some(mut der) => sent.push(std::mem::take(&mut der), place),
                None => Err(Problem::CertificateUnreadable { place, fault: Unreadable::Base64 }),
            },
            label if is_parameters(label) => Ok(()),
            label if label.ends_with("PRIVATE KEY") => Err(Problem::KeyAmongCertificates(place)),
            label => Err(Problem::NotACertificate { place, label: text::shown(label) }),
        };
        if let Err(problem) = read {
            problems.push(problem);
        }
    }
    sent.partial |= problems.len() > before;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn labels(text: &str) -> (Vec<&str>, Option<(usize, Fault)>) {
        let Blocks { found, fault, .. } = blocks(text);
        (found.iter().map(|block| block.label).collect(), fault)
    }

    #[test]
    fn text_blanks_and_line_ends_around_blocks_are_ignored() {
        let text = "\u{feff}subject=CN=a\r\n  -----BEGIN A-----\r\n\r\n aGk= \r\n-----END A-----  \r\n---\r\n-----BEGIN B-----\raGk=\r-----END B-----";
        let Blocks { found, fault, doubt } = blocks(text);
        assert_eq!((found.len(), fault, doubt), (2, None, None));
        assert_eq!((found[0].line, found[1].line), (2, 7));
        assert!(found.iter().all(|block| block.decode().unwrap().as_slice() == b"hi"));
    }

    #[test]
    fn a_broken_header_or_footer_is_reported_with_its_line() {
        for (text, fault) in [
            ("aGk=", (1, Fault::NoHeader)),
            ("aGk=\n-----END A-----", (2, Fault::NoHeader)),
            ("-----BEGIN A-----\naGk=", (1, Fault::NoFooter)),
            ("-----BEGIN A-----\naGk=\n-----END B-----", (3, Fault::Mismatch)),
            ("-----BEGIN A----\naGk=\n-----END A-----", (1, Fault::Malformed)),
            ("-----BEGIN A-----aGk=\n-----END A-----", (1, Fault::NoLineBreak)),
            ("-----BEGIN A-----\\naGk=\\n-----END A-----", (1, Fault::NoLineBreak)),
            ("-----BEGIN A----- aGk= -----END A-----", (1, Fault::NoLineBreak)),
            ("----- BEGIN A -----\naGk=\n----- END A -----", (1, Fault::Malformed)),
            ("–––––BEGIN A–––––\naGk=", (1, Fault::Malformed)),
            ("\"-----BEGIN A-----\naGk=\n-----END A-----\"", (1, Fault::NoLineBreak)),
            ("> -----BEGIN A-----\n> aGk=\n> -----END A-----", (1, Fault::NoLineBreak)),
            ("-----BEGIN A-----\naGk=-----END A-----", (2, Fault::NoLineBreak)),
            ("-\0-\0-\0-\0-\0B\0E\0G\0I\0N\0", (1, Fault::Wide)),
        ] {
            assert_eq!(labels(text), (vec![], Some(fault)), "{text}");
        }
        let first_unended = "-----BEGIN A-----\naGk=\n-----BEGIN B-----\naGk=\n-----END B-----";
        assert_eq!(labels(first_unended), (vec!["B"], Some((1, Fault::NoFooter))));
    }

    #[test]
    fn a_footer_before_a_header_is_two_boundaries() {
        let text = "-----BEGIN A-----\naGk=\n-----END A----------BEGIN B-----\naGk=\n-----END B-----";
        for blank in ["", " ", "\t", "\u{feff}"] {
            assert_eq!(labels(&text.replace("----------", &format!("-----{blank}-----"))), (vec!["A", "B"], None));
        }
        for other in ["---------", "-----,-----", "-----\\n-----"] {
            let text = text.replace("----------", other);
            assert_eq!(labels(&text), (vec![], Some((3, Fault::NoLineBreak))), "{text}");
        }
    }

    #[test]
    fn lines_with_dashes_between_blocks_are_text() {
        for dashes in ["-----", "-----BEGIN A", "----BEGIN A----", "-----END A-----", "-----BEGIN a thing-----"] {
            let text = format!("{dashes}\n-----BEGIN A-----\naGk=\n-----END A-----\n{dashes}\n");
            assert_eq!(labels(&text), (vec!["A"], None), "{text}");
        }
    }

    #[test]
    fn malformed_base64_is_not_decoded() {
        for body in ["aGk", "aGl=", "aG k=\n=", "a*k="] {
            let text = format!("-----BEGIN A-----\n{body}\n-----END A-----");
            assert!(blocks(&text).found[0].decode().is_none(), "{body}");
        }
    }
}
