//! Certificates in PEM (RFC 7468), as devices write it: any line breaks or none, several blocks, text in between.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rootcast_core::fingerprint::Fingerprint;

/// A trust anchor's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) fingerprint: Fingerprint,
    der: Vec<u8>,
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Padding may be missing, the bits below the last byte may be set: what counts is the DER.
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

    /// Lines of 64 characters, which is what strict readers want (RFC 7468 §2).
    pub(crate) fn to_pem(&self) -> String {
        let body = LENIENT.encode(&self.der);
        let mut pem = format!("{BEGIN}\n");
        for (at, character) in body.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(character);
        }
        pem + "\n" + END + "\n"
    }
}

/// The certificates of a text, in its order. A block that cannot be decoded is left out.
pub(crate) fn anchors(text: &str) -> Vec<Anchor> {
    let blocks = text.split(BEGIN).skip(1);
    blocks.filter_map(|block| decode(block.split_once(END)?.0)).collect()
}

fn decode(body: &str) -> Option<Anchor> {
    // Some firmware escapes line breaks twice, and a backslash and an n arrive instead.
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
    fn several_blocks_are_several_anchors_and_broken_ones_none() {
        let (one, two) = (Anchor::new(vec![0x30, 1]), Anchor::new(vec![0x30, 2]));
        let broken = format!("{BEGIN}\n%%%\n{END}\n{BEGIN}\nAAAA\n{END}\n{END}{BEGIN}");
        let text = format!("{}{broken}\n{BEGIN}{}{}", one.to_pem(), one.to_pem(), two.to_pem());
        assert_eq!(anchors(&text), [one.clone(), one, two]);
    }

    proptest! {
        #[test]
        fn any_der_survives(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            let anchor = Anchor::new([&[0x30], tail.as_slice()].concat());
            prop_assert_eq!(anchors(&anchor.to_pem()), [anchor]);
        }

        #[test]
        fn no_text_is_fatal(text in "(-----BEGIN CERTIFICATE-----|-----END CERTIFICATE-----|[A-Za-z=\\\\ \n]|\\PC){0,40}") {
            anchors(&text);
        }
    }
}
