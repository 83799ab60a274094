//! Distinguished names, compared by RFC 5280 §7.1: without regard to case, surplus spaces and the type of a string.

use std::borrow::Cow;

use x509_parser::asn1_rs::Tag;
use x509_parser::x509::{AttributeTypeAndValue, RelativeDistinguishedName, X509Name};

/// Bytes that are the same for equal names, to find an issuer that a signature then proves: TeletexString is read as
/// Latin-1, as OpenSSL does. A value that cannot be read counts as it is.
pub(super) fn canonical(name: &X509Name<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in name.iter() {
        let mut values: Vec<Vec<u8>> = part.iter().map(|each| value_of(each, latin1(each))).collect();
        values.sort();
        append(&mut bytes, &values.concat());
    }
    bytes
}

/// Whether two parts have the same values. `None` if this depends on a value that cannot be read.
pub(super) fn same_part(a: &RelativeDistinguishedName<'_>, b: &RelativeDistinguishedName<'_>) -> Option<bool> {
    let sorted = |part: &RelativeDistinguishedName<'_>, of: fn(&AttributeTypeAndValue<'_>) -> Vec<u8>| {
        let mut all: Vec<Vec<u8>> = part.iter().map(of).collect();
        all.sort();
        all
    };
    if sorted(a, value) == sorted(b, value) {
        return Some(true);
    }
    let kind = |attribute: &AttributeTypeAndValue<'_>| attribute.attr_type().as_bytes().to_vec();
    let readable = a.iter().chain(b.iter()).all(|attribute| text(attribute).is_some());
    (readable || sorted(a, kind) != sorted(b, kind)).then_some(false)
}

/// The text of a value of any string type. `None` for other types, and for TeletexString beyond ASCII, whose character
/// set no two programs agree on.
pub(super) fn text<'a>(attribute: &'a AttributeTypeAndValue<'_>) -> Option<Cow<'a, str>> {
    let bytes = attribute.as_slice();
    match attribute.attr_value().tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::NumericString | Tag::Ia5String | Tag::VisibleString => {
            std::str::from_utf8(bytes).ok().map(Cow::Borrowed)
        }
        Tag::T61String if bytes.is_ascii() => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Tag::BmpString => {
            let units = bytes.chunks_exact(2);
            let whole = units.remainder().is_empty();
            let text = char::decode_utf16(units.map(|pair| u16::from_be_bytes([pair[0], pair[1]])));
            text.collect::<Result<String, _>>().ok().filter(|_| whole).map(Cow::Owned)
        }
        Tag::UniversalString => {
            let units = bytes.chunks_exact(4);
            let whole = units.remainder().is_empty();
            let text = units.map(|four| char::from_u32(u32::from_be_bytes([four[0], four[1], four[2], four[3]])));
            text.collect::<Option<String>>().filter(|_| whole).map(Cow::Owned)
        }
        _ => None,
    }
}

/// Whether OpenSSL reads all values: text of a name's types that is well-formed, or no text.
pub(super) fn are_readable(name: &X509Name<'_>) -> bool {
    name.iter_attributes().all(|attribute| match attribute.attr_value().tag() {
        Tag::Utf8String | Tag::UniversalString => text(attribute).is_some(),
        // UCS-2: OpenSSL reads no surrogates.
        Tag::BmpString => text(attribute).is_some_and(|text| text.chars().all(|c| c.len_utf16() == 1)),
        tag => OTHERS.contains(&tag),
    })
}

/// DirectoryString's other types, and what else OpenSSL reads in names.
const OTHERS: [Tag; 6] =
    [Tag::PrintableString, Tag::T61String, Tag::NumericString, Tag::Ia5String, Tag::BitString, Tag::Sequence];

/// As [`text`], with TeletexString as Latin-1, which is what OpenSSL and most authorities take it for.
pub(crate) fn latin1<'a>(attribute: &'a AttributeTypeAndValue<'_>) -> Option<Cow<'a, str>> {
    let teletex = || (attribute.attr_value().tag() == Tag::T61String).then(|| attribute.as_slice());
    text(attribute).or_else(|| Some(Cow::Owned(teletex()?.iter().copied().map(char::from).collect())))
}

fn value(attribute: &AttributeTypeAndValue<'_>) -> Vec<u8> {
    value_of(attribute, text(attribute))
}

/// Type and value. A value that cannot be read has its tag, which no text has: 0.
fn value_of(attribute: &AttributeTypeAndValue<'_>, text: Option<Cow<'_, str>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(&mut bytes, attribute.attr_type().as_bytes());
    match text {
        Some(text) => {
            append(&mut bytes, &[0; 4]);
            append(&mut bytes, folded(&text).as_bytes());
        }
        None => {
            append(&mut bytes, &attribute.attr_value().tag().0.to_be_bytes());
            append(&mut bytes, attribute.as_slice());
        }
    }
    bytes
}

fn folded(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}

/// With its length, so that no two lists give the same bytes.
fn append(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend(part.len().to_be_bytes());
    bytes.extend(part);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use x509_parser::asn1_rs::FromDer as _;

    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }

    /// A CN, or the type that ends in this octet below 2.5.4.
    fn part(kind: u8, tag: u8, content: &[u8]) -> Vec<u8> {
        tlv(0x30, &[tlv(6, &[0x55, 4, kind]), tlv(tag, content)].concat())
    }

    fn name(parts: &[Vec<u8>]) -> Vec<u8> {
        tlv(0x30, &parts.iter().flat_map(|part| tlv(0x31, part)).collect::<Vec<_>>())
    }

    fn same(a: &[u8], b: &[u8]) -> bool {
        let read = |der| canonical(&X509Name::from_der(der).unwrap().1);
        read(a) == read(b)
    }

    #[test]
    fn case_spaces_and_string_types_make_no_difference() {
        let plain = name(&[part(3, 0x13, b"Rack Root")]);
        let wide: Vec<u8> = "RACK root".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let wider: Vec<u8> = "rack ROOT".chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
        for (tag, content) in [(0x0c, &b" rack   ROOT "[..]), (0x14, b"RACK ROOT"), (0x1e, &wide), (0x1c, &wider)] {
            assert!(same(&plain, &name(&[part(3, tag, content)])), "{tag:x}");
        }
        let pair = |first: Vec<u8>, second: Vec<u8>| name(&[[first, second].concat()]);
        let (a, b) = (part(3, 0x0c, b"a"), part(10, 0x0c, b"b"));
        assert!(same(&pair(a.clone(), b.clone()), &pair(b.clone(), a.clone())), "a set has no order");
        for other in [name(&[part(3, 0x13, b"RackRoot")]), name(&[part(10, 0x13, b"Rack Root")]), name(&[a, b])] {
            assert!(!same(&plain, &other));
        }
    }

    #[test]
    fn a_value_that_cannot_be_read_is_equal_to_itself_only() {
        let read = |der: &[u8]| X509Name::from_der(Box::leak(der.to_vec().into_boxed_slice())).unwrap().1;
        let compare = |a: Vec<u8>, b: Vec<u8>| {
            let (a, b) = (read(&name(&[a])), read(&name(&[b])));
            same_part(a.iter().next().unwrap(), b.iter().next().unwrap())
        };
        let teletex = || part(3, 0x14, b"M\xfcller");
        assert_eq!(compare(teletex(), teletex()), Some(true));
        assert_eq!(compare(teletex(), part(3, 0x0c, "Müller".as_bytes())), None);
        assert_eq!(compare(teletex(), part(10, 0x0c, b"M")), Some(false), "another type");
        assert_eq!(compare(part(3, 0x0c, b"a"), part(3, 0x0c, b"b")), Some(false));
        assert_eq!(compare(part(3, 0x1e, &[0, 65, 0]), part(3, 0x0c, b"A")), None, "half a character");
    }
}
