//! BER (X.690 §8) to DER, for PKCS#12: Windows, NSS and Bouncy Castle write indefinite lengths, strings in pieces, and
//! lengths that are longer than needed. The content of a primitive element stays as it is.

use super::Secret;

/// Most levels of elements: a PFX has seven.
const DEPTH: usize = 16;

const CONSTRUCTED: u8 = 0x20;
const OCTET_STRING: u8 = 0x04;
const INDEFINITE: u8 = 0x80;

/// Exactly one element; `None` if it is not BER. The result is never longer than `ber`, up to 64 KiB.
pub(super) fn to_der(ber: &[u8]) -> Option<Secret> {
    first(ber).filter(|(_, rest)| rest.is_empty()).map(|(der, _)| der)
}

/// As [`to_der`], whatever follows.
pub(super) fn first_to_der(ber: &[u8]) -> Option<Secret> {
    first(ber).map(|(der, _)| der)
}

fn first(ber: &[u8]) -> Option<(Secret, &[u8])> {
    // Never reallocated, which would leave copies of a key in memory.
    let mut der = Secret::new(Vec::with_capacity(ber.len() + 4));
    let rest = element(ber, 0, &mut der)?;
    Some((der, rest))
}

/// The content of an OCTET STRING under another tag, whole or in pieces. `der`: its content.
pub(super) fn joined(mut der: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::with_capacity(der.len());
    while !der.is_empty() {
        der = element(der, 0, &mut Vec::new()).and_then(|rest| {
            let piece = &der[..der.len() - rest.len()];
            whole.extend_from_slice(super::der::element(piece, x509_parser::asn1_rs::Tag::OctetString)?.1);
            Some(rest)
        })?;
    }
    Some(whole)
}

/// Appends the element as DER. Returns what follows it.
fn element<'b>(ber: &'b [u8], depth: usize, der: &mut Vec<u8>) -> Option<&'b [u8]> {
    let (&tag, rest) = ber.split_first()?;
    // No structure here has a tag of more than one octet, and the end of an indefinite length is no element.
    if depth > DEPTH || tag & 0x1f == 0x1f || tag == 0 {
        return None;
    }
    let at = der.len();
    let (content, after) = match length(rest)? {
        (None, _) if tag & CONSTRUCTED == 0 => return None,
        (None, content) => (content, None),
        (Some(length), rest) => rest.split_at_checked(length).map(|(content, after)| (content, Some(after)))?,
    };
    let pieces = tag == OCTET_STRING | CONSTRUCTED;
    let after = if tag & CONSTRUCTED == 0 {
        der.extend_from_slice(content);
        after
    } else {
        Some(children(content, after, depth + 1, pieces, der)?)
    }?;
    let header = header(if pieces { OCTET_STRING } else { tag }, der.len() - at)?;
    der.splice(at..at, header);
    Some(after)
}

/// Appends the elements of a constructed one, of strings in `pieces` only the content. `after`: what follows it, if its
/// length is definite.
fn children<'b>(
    mut rest: &'b [u8],
    after: Option<&'b [u8]>,
    depth: usize,
    pieces: bool,
    der: &mut Vec<u8>,
) -> Option<&'b [u8]> {
    loop {
        match (after, rest) {
            (Some(after), []) => return Some(after),
            (None, [0, 0, after @ ..]) => return Some(after),
            _ => {}
        }
        let at = der.len();
        let is_piece = rest.first().is_some_and(|tag| tag & !CONSTRUCTED == OCTET_STRING);
        if pieces && !is_piece {
            return None;
        }
        rest = element(rest, depth, der)?;
        if pieces {
            let header =
                der.len() - at - super::der::element(&der[at..], x509_parser::asn1_rs::Tag::OctetString)?.1.len();
            der.drain(at..at + header);
        }
    }
}

/// The length, `None` if it is indefinite, and what follows it.
fn length(ber: &[u8]) -> Option<(Option<usize>, &[u8])> {
    let (&first, rest) = ber.split_first()?;
    match first {
        INDEFINITE => Some((None, rest)),
        0..INDEFINITE => Some((Some(first.into()), rest)),
        _ => {
            let (octets, rest) = rest.split_at_checked((first & 0x7f).into())?;
            let length = octets.iter().try_fold(0_usize, |length, octet| {
                (length <= usize::MAX >> 8).then_some(length << 8 | usize::from(*octet))
            })?;
            Some((Some(length), rest))
        }
    }
}

/// Tag and length (X.690 §10.1).
fn header(tag: u8, length: usize) -> Option<Vec<u8>> {
    Some(match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..INDEFINITE), _) => vec![tag, short],
        (Ok(long), _) => vec![tag, 0x81, long],
        (_, Ok(long)) => [&[tag, 0x82], &long.to_be_bytes()[..]].concat(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn der(ber: &[u8]) -> Option<Vec<u8>> {
        to_der(ber).map(|der| der.to_vec())
    }

    #[test]
    fn every_form_of_a_length_becomes_the_shortest() {
        let short = [0x30, 3, 2, 1, 5];
        for ber in [
            &short[..],
            &[0x30, 0x80, 2, 1, 5, 0, 0],
            &[0x30, 0x81, 3, 2, 1, 5],
            &[0x30, 0x84, 0, 0, 0, 4, 2, 0x81, 1, 5],
        ] {
            assert_eq!(der(ber).unwrap(), short, "{ber:02x?}");
        }
        let long = [&[4, 0x82, 1, 0][..], &[7; 256]].concat();
        assert_eq!(der(&long).unwrap(), long);
    }

    #[test]
    fn a_string_in_pieces_is_joined() {
        for ber in [
            &[0x24, 0x80, 4, 1, 1, 4, 2, 2, 3, 0, 0][..],
            &[0x24, 7, 4, 1, 1, 4, 2, 2, 3],
            &[0x24, 0x80, 0x24, 0x80, 4, 1, 1, 0, 0, 4, 0, 4, 2, 2, 3, 0, 0],
        ] {
            assert_eq!(der(ber).unwrap(), [4, 3, 1, 2, 3], "{ber:02x?}");
        }
        assert_eq!(joined(&[4, 1, 1, 4, 2, 2, 3]).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn what_is_no_ber_is_refused() {
        for ber in [
            &[][..],
            &[0x30],
            &[0x30, 0x80, 2, 1, 5],
            &[0x30, 0x80, 2, 1, 5, 0],
            &[4, 0x80, 1, 0, 0],
            &[0x24, 3, 2, 1, 5],
            &[0x30, 0, 0],
            &[0x30, 0xff],
            &[0x1f, 1, 0],
            &[[0x30, 0x80].repeat(40), [0, 0].repeat(40)].concat(),
        ] {
            assert_eq!(der(ber), None, "{ber:02x?}");
        }
        assert_eq!(joined(&[2, 1, 5]), None);
    }
}
