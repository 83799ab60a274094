//! Certificates in PEM (RFC 7468) as devices write it: with any line breaks or none, several blocks, text in between.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rootcast_core::device::Pin;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use time::OffsetDateTime;

/// A trust anchor's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) fingerprint: Fingerprint,
    der: Vec<u8>,
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Accepts missing padding and set bits after the last byte: only the DER matters.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

impl Anchor {
    pub(crate) fn new(der: Vec<u8>) -> Self {
        Self { fingerprint: Fingerprint::of(&der), der }
    }

    /// Its validity; `None` if it is not a readable certificate.
    pub(crate) fn validity(&self) -> Option<(OffsetDateTime, OffsetDateTime)> {
        self.certificate().map(|certificate| (certificate.not_before(), certificate.not_after()))
    }

    pub(crate) fn certificate(&self) -> Option<Certificate> {
        Certificate::from_der(self.der.clone()).ok()
    }

    /// Whether a device that shows this certificate is identified by one of the pins.
    pub(crate) fn matches(&self, pins: &[Pin]) -> bool {
        let key = self.certificate().map(|certificate| Fingerprint::of(certificate.spki_der()));
        pins.contains(&Pin::Certificate(self.fingerprint)) || key.is_some_and(|key| pins.contains(&Pin::Key(key)))
    }

    /// For an operator who looks for it: its common name, and the beginning of its SHA-256.
    pub(crate) fn name(&self) -> String {
        let name = Certificate::from_der(self.der.clone()).ok();
        let name = name.and_then(|certificate| certificate.subject_dn().split(',').next().map(str::to_owned));
        let short: String = self.fingerprint.to_string().chars().take(16).collect();
        let name: String = name.unwrap_or_default().chars().take(40).collect();
        format!("{name} (sha256 {short}…)")
    }

    pub(crate) fn to_pem(&self) -> String {
        let mut pem = String::with_capacity(encoded_length(&self.der));
        encode("CERTIFICATE", &self.der, &mut pem);
        pem
    }
}

/// Appends a block with lines of 64 characters, as strict parsers require (RFC 7468 §2).
pub(crate) fn encode(label: &str, der: &[u8], pem: &mut String) {
    pem.extend(["-----BEGIN ", label, "-----\n"]);
    for line in der.chunks(48) {
        LENIENT.encode_string(line, pem);
        pem.push('\n');
    }
    pem.extend(["-----END ", label, "-----\n"]);
}

/// An upper bound in bytes. Text with this capacity never reallocates, so it leaves no copy in memory.
pub(crate) fn encoded_length(der: &[u8]) -> usize {
    128 + der.len().div_ceil(48) * 65
}

/// The certificates of a text, in order. Blocks that cannot be decoded are skipped.
pub(crate) fn anchors(text: &str) -> Vec<Anchor> {
    let blocks = text.split(BEGIN).skip(1);
    blocks.filter_map(|block| decode(block.split_once(END)?.0)).collect()
}

fn decode(body: &str) -> Option<Anchor> {
    // Some firmware escapes line breaks twice, so that a backslash and an n arrive.
    let body: String = body.replace("\\n", "").replace("\\r", "").split_ascii_whitespace().collect();
    let der = LENIENT.decode(body).ok()?;
    // A certificate is a SEQUENCE (X.690 §8.9.1).
    (der.first() == Some(&0x30)).then(|| Anchor::new(der))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn line_breaks_do_not_matter() {
        let anchor = Anchor::new([&[0x30], [7; 99].as_slice()].concat());
        let pem = anchor.to_pem();
        assert!(pem.lines().all(|line| line.len() <= 64));
        for written in [
            pem.clone(),
            pem.replace('\n', "\r\n"),
            pem.replace('\n', ""),
            pem.replace('\n', "\\n"),
            pem.replace('\n', "\n  "),
            pem.replace('=', ""),
            format!("Subject: somebody\n{pem}trailing"),
        ] {
            assert_eq!(anchors(&written), std::slice::from_ref(&anchor), "{written}");
        }
    }

    #[test]
    fn each_valid_block_is_an_anchor_and_broken_blocks_none() {
        let (one, two) = (Anchor::new(vec![0x30, 1]), Anchor::new(vec![0x30, 2]));
        let broken = format!("{BEGIN}\n%%%\n{END}\n{BEGIN}\nAAAA\n{END}\n{END}{BEGIN}");
        let text = format!("{}{broken}\n{BEGIN}{}{}", one.to_pem(), one.to_pem(), two.to_pem());
        assert_eq!(anchors(&text), [one.clone(), one, two]);
    }

    proptest! {
        #[test]
        fn any_der_survives_a_round_trip(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            let anchor = Anchor::new([&[0x30], tail.as_slice()].concat());
            prop_assert_eq!(anchors(&anchor.to_pem()), [anchor]);
        }

        #[test]
        fn parsing_never_panics(text in "(-----BEGIN CERTIFICATE-----|-----END CERTIFICATE-----|[A-Za-z=\\\\ \n]|\\PC){0,40}") {
            anchors(&text);
        }
    }
}
