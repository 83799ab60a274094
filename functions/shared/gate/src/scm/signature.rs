//! `SDK-HMAC-SHA256`, as PyPI `huaweicloudsdkcore` 3.1.219 makes it (`signer/signer.py`).
//!
//! ```text
//! canonical = METHOD \n path with / at its end \n query \n name:value \n for each signed header \n names \n SHA-256 of the body
//! signature = HMAC-SHA256(secret, SDK-HMAC-SHA256 \n X-Sdk-Date \n SHA-256 of canonical)
//! ```
//!
//! Hashes and the signature are hexadecimal. The body's hash is always computed here. The header
//! `X-Sdk-Content-Sha256`, which the SDK would use instead, and which is `UNSIGNED-PAYLOAD` for anything but JSON, is
//! ignored.
//!
//! A signature does not distinguish `%2F` in a path from `/`, nor a path with a `/` at its end from one without. An
//! attacker gains nothing by this: the signature of a change is accepted once.

use aws_lc_rs::hmac;
use form_urlencoded::parse;
use http::HeaderName;
use http::request::Parts;
use lambda_http::RequestExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rootcast_ledger::AccessKeyId;
use rootcast_pki::fingerprint::Fingerprint;
use time::format_description::FormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use crate::header::only;

const ALGORITHM: &str = "SDK-HMAC-SHA256";
const X_SDK_DATE: HeaderName = HeaderName::from_static("x-sdk-date");
const DATE: &[FormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
/// How far the client's clock may be from ours, either way. The vendor's figure.
const WINDOW: Duration = Duration::minutes(15);

/// Python's `quote(text, safe="~")`.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const QUOTED_PATH: &AsciiSet = &QUOTED.remove(b'/');

/// A request with a signature that is not verified yet.
pub(super) struct Signed {
    pub(super) access_key: AccessKeyId,
    date: OffsetDateTime,
    /// The signed text.
    text: String,
    signature: [u8; 32],
}

impl Signed {
    /// `None` if the header is not such a signature, if a signed header does not occur exactly once, or if host and
    /// date are not signed.
    pub(super) fn read(authorization: &str, parts: &Parts, body: &[u8]) -> Option<Self> {
        let mut fields = authorization.strip_prefix(ALGORITHM)?.strip_prefix(' ')?.split(',').map(str::trim);
        let access_key = fields.next()?.strip_prefix("Access=")?.parse().ok()?;
        let names = fields.next()?.strip_prefix("SignedHeaders=")?;
        let hex_signature = fields.next()?.strip_prefix("Signature=")?;
        if fields.next().is_some() {
            return None;
        }
        let mut signature = [0; 32];
        hex::decode_to_slice(hex_signature, &mut signature).ok()?;

        let date = only(&parts.headers, &X_SDK_DATE)?.to_str().ok()?.trim();
        let canonical = canonical(parts, names, body)?;
        Some(Self {
            access_key,
            date: PrimitiveDateTime::parse(date, DATE).ok()?.assume_utc(),
            text: format!("{ALGORITHM}\n{date}\n{}", Fingerprint::of(&canonical)),
            signature,
        })
    }

    pub(super) fn is_fresh(&self, now: OffsetDateTime) -> bool {
        (now - self.date).abs() <= WINDOW
    }

    /// Verifies the signature in constant time.
    pub(super) fn is_with(&self, secret: &[u8]) -> bool {
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), self.text.as_bytes(), &self.signature).is_ok()
    }

    /// Of the signature's bytes, so that upper-case and lower-case hexadecimal are the same.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.signature)
    }

    /// Until when the signature has to be remembered: twice the window, since clocks differ.
    pub(super) fn good_until(&self) -> OffsetDateTime {
        self.date + WINDOW * 2
    }
}

/// `names`: the signed headers as listed by the client, in lower case, sorted, each once.
fn canonical(parts: &Parts, names: &str, body: &[u8]) -> Option<Vec<u8>> {
    let signed: Vec<&str> = names.split(';').collect();
    let well_formed = signed.is_sorted_by(|one, next| one < next) && !names.bytes().any(|c| c.is_ascii_uppercase());
    if !well_formed || !["host", X_SDK_DATE.as_str()].iter().all(|needed| signed.contains(needed)) {
        return None;
    }
    let mut text = Vec::new();
    for part in [parts.method.as_str(), &path(parts)?, &query(parts)] {
        text.extend_from_slice(part.as_bytes());
        text.push(b'\n');
    }
    for name in signed {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        text.extend_from_slice(only(&parts.headers, &name.parse().ok()?)?.as_bytes().trim_ascii());
        text.push(b'\n');
    }
    text.extend_from_slice(format!("\n{names}\n{}", Fingerprint::of(body)).as_bytes());
    Some(text)
}

/// Behind API Gateway, this is the event's `rawPath`, which no middleware has rewritten. API Gateway may have decoded
/// it already, which matters only for a literal `%`: no path here has one.
fn path(parts: &Parts) -> Option<String> {
    let raw = Some(parts.raw_http_path()).filter(|path| !path.is_empty()).unwrap_or(parts.uri.path());
    let decoded = percent_decode_str(raw).decode_utf8().ok()?;
    let slash = if decoded.ends_with('/') { "" } else { "/" };
    Some(format!("{}{slash}", utf8_percent_encode(&decoded, QUOTED_PATH)))
}

/// Sorted by name. Values of one name keep their order: the SDK sends them as it signed them, and sorts numbers as
/// numbers.
fn query(parts: &Parts) -> String {
    let mut pairs: Vec<_> = parse(parts.uri.query().unwrap_or_default().as_bytes()).collect();
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let quoted = |text| utf8_percent_encode(text, QUOTED);
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{}={}", quoted(name), quoted(value))).collect();
    pairs.join("&")
}
