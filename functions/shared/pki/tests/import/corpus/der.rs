//! Just enough DER (X.690) to write certificates and keys with exactly one fault.

use time::OffsetDateTime;

pub(crate) const BOOLEAN_TRUE: &[u8] = &[0x01, 0x01, 0xff];
pub(crate) const NULL: &[u8] = &[0x05, 0x00];

/// Tag, length and content. Tags up to 30 are one octet.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[content.len().leading_zeros() as usize / 8..];
    let mut der = vec![tag];
    match content.len() {
        ..0x80 => der.push(content.len() as u8),
        _ => {
            der.push(0x80 | significant.len() as u8);
            der.extend_from_slice(significant);
        }
    }
    der.extend_from_slice(content);
    der
}

pub(crate) fn sequence<T: AsRef<[u8]>>(parts: impl AsRef<[T]>) -> Vec<u8> {
    tlv(0x30, &concat(parts))
}

pub(crate) fn set<T: AsRef<[u8]>>(parts: impl AsRef<[T]>) -> Vec<u8> {
    tlv(0x31, &concat(parts))
}

/// `[number] EXPLICIT`
pub(crate) fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0xa0 | number, content)
}

/// A positive integer from big-endian octets.
pub(crate) fn integer(octets: &[u8]) -> Vec<u8> {
    let first = octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len());
    let mut content = octets[first..].to_vec();
    if content.first().is_none_or(|octet| octet & 0x80 != 0) {
        content.insert(0, 0);
    }
    tlv(0x02, &content)
}

pub(crate) fn number(value: u64) -> Vec<u8> {
    integer(&value.to_be_bytes())
}

pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    tlv(0x04, content)
}

pub(crate) fn bits(content: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], content].concat())
}

pub(crate) fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u64> = dotted.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut content = Vec::new();
    for arc in std::iter::once(arcs[0] * 40 + arcs[1]).chain(arcs[2..].iter().copied()) {
        let septets = (64 - arc.leading_zeros()).div_ceil(7).max(1);
        content.extend((0..septets).rev().map(|septet| {
            let value = (arc >> (7 * septet)) as u8 & 0x7f;
            if septet > 0 { value | 0x80 } else { value }
        }));
    }
    tlv(0x06, &content)
}

/// UTCTime until 2049 and GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5).
pub(crate) fn time(at: OffsetDateTime) -> Vec<u8> {
    let rest =
        format!("{:02}{:02}{:02}{:02}{:02}Z", u8::from(at.month()), at.day(), at.hour(), at.minute(), at.second());
    match at.year() {
        year @ 1950..2050 => tlv(0x17, format!("{:02}{rest}", year % 100).as_bytes()),
        year => tlv(0x18, format!("{year:04}{rest}").as_bytes()),
    }
}

/// The content of the first value in `der`, and the bytes after it.
pub(crate) fn read(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, start) = match der[1] {
        short @ ..0x80 => (usize::from(short), 2),
        long => {
            let count = usize::from(long & 0x7f);
            (der[2..2 + count].iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), 2 + count)
        }
    };
    der[start..].split_at(length)
}

/// The contents of consecutive values.
pub(crate) fn read_all(mut der: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (content, rest) = read(der);
        found.push(content);
        der = rest;
    }
    found
}

/// The same as BER: every length indefinite that may be, and every string in pieces (X.690 §8.1.3.6, §8.7.3).
pub(crate) fn ber(mut der: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(tag) = der.first() {
        let (content, rest) = read(der);
        let inside = match tag {
            0x04 | 0x80 => content.chunks(100).flat_map(octets).collect(),
            tag if tag & 0x20 != 0 => ber(content),
            _ => {
                out.extend(tlv(*tag, content));
                der = rest;
                continue;
            }
        };
        out.extend([&[tag | 0x20, 0x80], inside.as_slice(), &[0, 0]].concat());
        der = rest;
    }
    out
}

fn concat<T: AsRef<[u8]>>(parts: impl AsRef<[T]>) -> Vec<u8> {
    parts.as_ref().iter().flat_map(|part| part.as_ref().to_vec()).collect()
}
