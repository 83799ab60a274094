//! Distinguished names: the configured subject of roots, and the text form of a certificate's names.

use std::fmt;
use std::str::FromStr;

use rcgen::{DistinguishedName, DnType, DnValue};
use thiserror::Error;
use x509_parser::x509::X509Name;

use crate::import::names;
use crate::signer::IssuingId;

/// The subject of every root, except its CN, which differs per generation: see [`common_name`].
///
/// Parsed from RFC 4514 text such as `O=Example Corp,C=DE`, with at most one value per type, in any order. In a
/// certificate the order is C, ST, L, O, OU, CN; the text has the reverse order, as in XClarity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Subject {
    /// Values in the order of [`ATTRIBUTES`].
    values: [Option<String>; ATTRIBUTES.len()],
}

/// Type, and the upper bound on its value in characters (RFC 5280 Appendix A.1, `ub-…`), in a certificate's order.
const ATTRIBUTES: [(&str, DnType, usize); 5] = [
    ("C", DnType::CountryName, 2),
    ("ST", DnType::StateOrProvinceName, 128),
    ("L", DnType::LocalityName, 128),
    ("O", DnType::OrganizationName, 64),
    ("OU", DnType::OrganizationalUnitName, 64),
];

/// `ub-common-name`, in characters.
pub(crate) const COMMON_NAME_LIMIT: usize = 64;

/// Why a root cannot have a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidName {
    #[error(
        "a subject is a list such as O=Example Corp,C=DE, with commas, backslashes and the like escaped by RFC 4514"
    )]
    Syntax,
    #[error("{0} is not one of C, ST, L, O and OU, or is there twice; CN is made of the root's name and generation")]
    Attribute(String),
    #[error("{attribute} must have 1 to {limit} characters and no control characters")]
    Value { attribute: &'static str, limit: usize },
    #[error("C is a country's two letters, such as DE")]
    Country,
}

/// The CN of a generation: `{root name} G{generation}`.
pub fn common_name(root_name: &str, generation: u32) -> Result<String, InvalidName> {
    let name = format!("{} G{generation}", root_name.trim());
    check("CN", COMMON_NAME_LIMIT, root_name.trim())?;
    check("CN", COMMON_NAME_LIMIT, &name)?;
    Ok(name)
}

/// The CN of an issuing authority: `{root name} Issuing G{generation}.{number}`. A root name that leaves no room is cut.
pub fn issuing_common_name(root_name: &str, id: IssuingId) -> Result<String, InvalidName> {
    let end = format!(" Issuing G{id}");
    let name: String = root_name.trim().chars().take(COMMON_NAME_LIMIT - end.len()).collect();
    let name = format!("{}{end}", name.trim_end());
    check("CN", COMMON_NAME_LIMIT, &name)?;
    Ok(name)
}

impl Subject {
    /// `kind`: C, ST, L, O or OU.
    pub fn value(&self, kind: &str) -> Option<&str> {
        let index = ATTRIBUTES.iter().position(|(name, ..)| *name == kind)?;
        self.values[index].as_deref()
    }

    pub(crate) fn with_common_name(&self, common_name: &str) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        for ((_, kind, _), value) in ATTRIBUTES.into_iter().zip(&self.values) {
            if let Some(value) = value {
                name.push(kind.clone(), encoded(&kind, value));
            }
        }
        name.push(DnType::CommonName, common_name);
        name
    }
}

impl FromStr for Subject {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let mut subject = Self::default();
        for (kind, value) in parse(text)? {
            let known = ATTRIBUTES.iter().position(|(name, ..)| name.eq_ignore_ascii_case(&kind));
            let Some(index) = known.filter(|index| subject.values[*index].is_none()) else {
                return Err(InvalidName::Attribute(kind));
            };
            let (name, _, limit) = ATTRIBUTES[index];
            check(name, limit, &value)?;
            if name == "C" && (value.len() != 2 || !value.chars().all(|c| c.is_ascii_uppercase())) {
                return Err(InvalidName::Country);
            }
            subject.values[index] = Some(value);
        }
        Ok(subject)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = ATTRIBUTES
            .iter()
            .zip(&self.values)
            .rev()
            .filter_map(|((name, ..), value)| Some(format!("{name}={}", escaped(value.as_deref()?))))
            .collect();
        f.write_str(&parts.join(","))
    }
}

as_text!(Subject);

/// A certificate's name as XClarity writes it, `CN=..,OU=..,O=..,ST=..,C=..`: RFC 4514, the most specific part first. A
/// type without a short name is written as its OID, a value that is not text as `#` and its DER in hexadecimal.
pub(crate) fn display(name: &X509Name<'_>) -> String {
    let mut parts = Vec::new();
    for rdn in name.iter() {
        let values: Vec<String> = rdn
            .iter()
            .map(|attribute| {
                let oid = attribute.attr_type().to_id_string();
                let kind =
                    SHORT_NAMES.iter().find(|(known, _)| *known == oid).map_or(oid.as_str(), |(_, short)| *short);
                match names::latin1(attribute) {
                    Some(value) => format!("{kind}={}", escaped(&value)),
                    None => format!("{kind}=#{}", hex::encode(attribute.as_slice())),
                }
            })
            .collect();
        parts.push(values.join("+"));
    }
    parts.reverse();
    parts.join(",")
}

/// RFC 4514 §3, plus `SERIALNUMBER` and `EMAILADDRESS` as written by Java and OpenSSL.
const SHORT_NAMES: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "EMAILADDRESS"),
];

/// The same name for rcgen, with its value types, so that it is encoded to the same bytes. `None` if rcgen cannot
/// encode it: several values in one part, a repeated type, or a value that is neither UTF8String nor PrintableString.
pub(crate) fn for_rcgen(name: &X509Name<'_>) -> Option<DistinguishedName> {
    let mut copy = DistinguishedName::new();
    for rdn in name.iter() {
        let mut attributes = rdn.iter();
        let (Some(attribute), None) = (attributes.next(), attributes.next()) else {
            return None;
        };
        let kind = DnType::from_oid(&attribute.attr_type().iter()?.collect::<Vec<_>>());
        if copy.get(&kind).is_some() {
            return None;
        }
        let text = attribute.as_str().ok()?;
        let value = match attribute.attr_value().tag().0 {
            12 => DnValue::Utf8String(text.to_owned()),
            19 => DnValue::PrintableString(text.try_into().ok()?),
            _ => return None,
        };
        copy.push(kind, value);
    }
    Some(copy)
}

/// RFC 5280 §4.1.2.4: UTF8String, except for the country, which is a PrintableString (Appendix A.1, `X520countryName`).
fn encoded(kind: &DnType, value: &str) -> DnValue {
    match value.try_into() {
        Ok(printable) if *kind == DnType::CountryName => DnValue::PrintableString(printable),
        _ => DnValue::Utf8String(value.to_owned()),
    }
}

pub(crate) fn check(attribute: &'static str, limit: usize, value: &str) -> Result<(), InvalidName> {
    let length = value.chars().count();
    if length == 0 || length > limit || value.chars().any(char::is_control) {
        return Err(InvalidName::Value { attribute, limit });
    }
    Ok(())
}

/// RFC 4514 §3, without `+` (several values in one part) and without `#` (a value as DER).
fn parse(text: &str) -> Result<Vec<(String, String)>, InvalidName> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() {
        let (kind, tail) = rest.split_once('=').ok_or(InvalidName::Syntax)?;
        let (value, tail) = parse_value(tail.trim_start_matches(' '))?;
        parts.push((kind.trim().to_owned(), value));
        rest = match tail {
            None => "",
            Some(tail) if tail.trim_matches(' ').is_empty() => return Err(InvalidName::Syntax),
            Some(tail) => tail,
        };
    }
    Ok(parts)
}

/// The unescaped value up to the next bare comma, and the text after that comma. Bare trailing spaces are ignored.
fn parse_value(text: &str) -> Result<(String, Option<&str>), InvalidName> {
    let mut value = Vec::new();
    let mut kept = 0; // end of the value, without trailing bare spaces
    let mut chars = text.char_indices();
    let mut tail = None;
    while let Some((at, c)) = chars.next() {
        match c {
            ',' => {
                tail = Some(&text[at + 1..]);
                break;
            }
            '\\' => {
                let (_, escaped) = chars.next().ok_or(InvalidName::Syntax)?;
                if matches!(escaped, ' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>' | '\\') {
                    value.push(escaped as u8);
                } else {
                    let (_, low) = chars.next().ok_or(InvalidName::Syntax)?;
                    let pair = [escaped, low].iter().collect::<String>();
                    value.extend(hex::decode(pair).map_err(|_| InvalidName::Syntax)?);
                }
                kept = value.len();
            }
            '"' | '+' | ';' | '<' | '>' | '\0' => return Err(InvalidName::Syntax),
            '#' if value.is_empty() => return Err(InvalidName::Syntax),
            _ => {
                value.extend(c.encode_utf8(&mut [0; 4]).bytes());
                if c != ' ' {
                    kept = value.len();
                }
            }
        }
    }
    value.truncate(kept);
    Ok((String::from_utf8(value).map_err(|_| InvalidName::Syntax)?, tail))
}

/// RFC 4514 §2.4. Control characters, which a foreign certificate may hold, become hexadecimal pairs.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::new();
    for (at, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            c if c.is_control() => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    text.push_str(&format!("\\{byte:02X}"));
                }
            }
            c => text.push(c),
        }
    }
    text
}
