//! Elements of DER, for the few structures that no parser at hand knows.

use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};

/// The content of one SEQUENCE with nothing after it.
pub(super) fn sequence(der: &[u8]) -> Option<&[u8]> {
    element(der, Tag::Sequence).filter(|(rest, _)| rest.is_empty()).map(|(_, content)| content)
}

/// What follows a universal element, and its content.
pub(super) fn element(der: &[u8], tag: Tag) -> Option<(&[u8], &[u8])> {
    let (rest, any) = Any::from_der(der).ok()?;
    (any.tag() == tag && any.class() == Class::Universal).then_some((rest, any.data))
}

/// OID and parameters of an AlgorithmIdentifier's content.
pub(super) fn identifier(content: &[u8]) -> Option<(String, Option<Any<'_>>)> {
    let (rest, oid) = Any::from_der(content).ok()?;
    let parameters = if rest.is_empty() { None } else { Some(Any::from_der(rest).ok()?.1) };
    Some((oid.as_oid().ok()?.to_id_string(), parameters))
}

/// The content of a context-specific element, and what follows it.
pub(super) fn tagged(der: &[u8], tag: u32) -> Option<(&[u8], &[u8])> {
    let (rest, any) = Any::from_der(der).ok()?;
    (any.class() == Class::ContextSpecific && any.tag().0 == tag).then_some((rest, any.data))
}
