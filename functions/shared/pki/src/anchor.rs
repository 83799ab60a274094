//! Which certificates of others may become trust anchors of the devices.

use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::X509Version;

use crate::bundle::LARGEST_ANCHOR;
use crate::certificate::{Certificate, InvalidCertificate, parse, split_pem_bundle};
use crate::import::{PublicKey, Scheme, SignatureCheck};

/// Why a certificate may not become a trust anchor.
#[derive(Debug, Error)]
pub enum NotAnAnchor {
    #[error("it is larger than {LARGEST_ANCHOR} bytes")]
    Large,
    #[error(transparent)]
    Certificate(#[from] InvalidCertificate),
    #[error("it is not the certificate of a certificate authority: its basicConstraints do not say CA:TRUE")]
    NotAnAuthority,
    #[error("its key may not sign certificates: its keyUsage lacks keyCertSign")]
    Usage,
    #[error("it has no subject")]
    NoSubject,
    /// OpenSSL and others only end a chain at a certificate that signed itself.
    #[error("it is not a root: {issuer} issued it, whose certificate is the one to trust")]
    NotARoot { issuer: String },
    #[error(
        "its key is of a kind or size that not every device takes; RSA of 2048, 3072 or 4096 bits and EC P-256 and P-384 are"
    )]
    Key,
    #[error("its signature has an algorithm that is not verified here")]
    Algorithm,
    #[error("its own key did not sign it")]
    Forged,
    #[error("its extension {0} is critical and not known here, nor to devices")]
    Critical(String),
    #[error("it is valid only from {0} on")]
    Early(OffsetDateTime),
    #[error("it expired at {0}")]
    Expired(OffsetDateTime),
}

/// Why a text gives no trust anchors.
#[derive(Debug, Error)]
pub enum NoAnchors {
    #[error("its text cannot be read: {0}")]
    Form(#[source] InvalidCertificate),
    #[error("its text holds no certificate")]
    None,
    #[error("its text holds {0} certificates, and {1} at most are taken")]
    Many(usize, usize),
    #[error("certificate {number} of the text{} is no trust anchor: {why}", about(.subject))]
    One {
        /// From 1.
        number: usize,
        subject: String,
        #[source]
        why: NotAnAnchor,
    },
}

fn about(subject: &str) -> String {
    if subject.is_empty() { String::new() } else { format!(" ({subject:.256})") }
}

/// The trust anchors of a PEM text, each of which is valid now. `most`: so many at most.
pub fn anchors(text: &str, most: usize, now: OffsetDateTime) -> Result<Vec<Certificate>, NoAnchors> {
    let found = split_pem_bundle(text).map_err(NoAnchors::Form)?;
    match found.len() {
        0 => return Err(NoAnchors::None),
        count if count > most => return Err(NoAnchors::Many(count, most)),
        _ => {}
    }
    for (certificate, number) in found.iter().zip(1..) {
        judge(certificate, now).map_err(|why| NoAnchors::One {
            number,
            subject: certificate.subject_dn().to_owned(),
            why,
        })?;
    }
    Ok(found)
}

fn judge(certificate: &Certificate, now: OffsetDateTime) -> Result<(), NotAnAnchor> {
    if certificate.der().len() > LARGEST_ANCHOR {
        return Err(NotAnAnchor::Large);
    }
    let parsed = parse(certificate.der())?;
    judge_extensions(&parsed)?;
    if parsed.subject().iter().next().is_none() {
        return Err(NotAnAnchor::NoSubject);
    }
    if parsed.subject().as_raw() != parsed.issuer().as_raw() {
        return Err(NotAnAnchor::NotARoot { issuer: certificate.issuer_dn().to_owned() });
    }
    certificate.key_algorithm().map_err(|_| NotAnAnchor::Key)?;
    judge_signature(&parsed)?;
    if now < certificate.not_before() {
        return Err(NotAnAnchor::Early(certificate.not_before()));
    }
    if certificate.not_after() < now {
        return Err(NotAnAnchor::Expired(certificate.not_after()));
    }
    Ok(())
}

fn judge_extensions(parsed: &X509Certificate<'_>) -> Result<(), NotAnAnchor> {
    let is_ca = parsed.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca);
    if parsed.version() != X509Version::V3 || !is_ca {
        return Err(NotAnAnchor::NotAnAuthority);
    }
    // Without the extension, a key may be used for anything (RFC 5280 §4.2.1.3): OpenSSL's own roots have none.
    match parsed.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => return Err(NotAnAnchor::Usage),
        Ok(_) => {}
        Err(_) => return Err(NotAnAnchor::Usage),
    }
    let unknown = |parsed: &ParsedExtension<'_>| {
        matches!(parsed, ParsedExtension::UnsupportedExtension { .. } | ParsedExtension::ParseError { .. })
    };
    let critical = parsed.iter_extensions().find(|each| each.critical && unknown(each.parsed_extension()));
    critical.map_or(Ok(()), |each| Err(NotAnAnchor::Critical(each.oid.to_id_string())))
}

/// That it is its own key's shows that it was not altered, and that the key exists. It proves nothing else, so SHA-1 is as
/// good as any: old roots of companies, and the example on the vendor's page, have it.
fn judge_signature(parsed: &X509Certificate<'_>) -> Result<(), NotAnAnchor> {
    let inner = &parsed.tbs_certificate.signature;
    // RFC 5280 §4.1.1.2: the algorithm stands in two places, and only one is signed, so they must be equal.
    if parsed.signature_algorithm != *inner || !is_canonical(parsed) {
        return Err(NotAnAnchor::Forged);
    }
    let scheme = Scheme::of(inner).map_err(|_| NotAnAnchor::Algorithm)?;
    let key = PublicKey::of(parsed.public_key()).map_err(|_| NotAnAnchor::Key)?;
    match scheme.verify(&key, parsed.tbs_certificate.as_ref(), &parsed.signature_value.data) {
        SignatureCheck::Good => Ok(()),
        SignatureCheck::Unsupported => Err(NotAnAnchor::Algorithm),
        SignatureCheck::Bad | SignatureCheck::Refused => Err(NotAnAnchor::Forged),
    }
}

/// Whether what is not signed (the outer sequence, the second algorithm, the frame of the signature) is as DER has it. Our
/// parser overlooks some of it, and a device may not.
fn is_canonical(parsed: &X509Certificate<'_>) -> bool {
    let (der, tbs) = (parsed.as_raw(), parsed.tbs_certificate.as_ref());
    let signature = [&[0], &*parsed.signature_value.data].concat();
    let signature = [header(0x03, signature.len()), signature].concat();
    // The algorithm lies between the two, and stands in the signed part as well.
    let rest = der.len().checked_sub(signature.len()).and_then(|end| der.get(..end));
    let at = rest.and_then(|rest| rest.windows(tbs.len()).position(|window| window == tbs));
    let algorithm = rest.zip(at).and_then(|(rest, at)| rest.get(at + tbs.len()..)).unwrap_or_default();
    let is_signed = !algorithm.is_empty() && tbs.windows(algorithm.len()).any(|window| window == algorithm);
    let content = [tbs, algorithm, &signature].concat();
    is_signed && [header(0x30, content.len()), content].concat() == der
}

/// Tag and length of a DER element of at most 64 KiB: larger certificates are refused before.
fn header(tag: u8, length: usize) -> Vec<u8> {
    let [.., high, low] = length.to_be_bytes();
    match (high, low) {
        (0, 0..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    }
}
