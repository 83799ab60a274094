//! Request bodies: media types, JSON and size limits.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde::de::DeserializeOwned;

use crate::refusal::{Kind, Refusal};

/// In bytes. No single object comes near this limit.
pub const BODY_LIMIT: usize = 1 << 20;
/// In bytes. A Lambda invocation takes at most 6 MB (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>), of an
/// event in which the body is a JSON string: base64 makes it longer by a third, and each quote is escaped.
pub const BULK_BODY_LIMIT: usize = 4 << 20;

/// The whole body, of at most `limit` bytes.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    to_bytes(body, limit).await.map_err(|_| {
        let text = format!("The body is larger than {} KiB.", limit >> 10);
        Refusal::new(Kind::TooLarge, text, "Send less in one request.")
    })
}

/// The media type in lower case, without parameters; `application/json` without the header (RFC 9110 §8.3 lets the
/// recipient choose).
///
/// # Errors
/// The media type is not one of `accepted`, or the body is compressed (RFC 9110 §15.5.16).
pub fn media_type(headers: &HeaderMap, accepted: &[&'static str]) -> Result<&'static str, Refusal> {
    if headers.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let text = "The body is compressed, which is not supported here.";
        return Err(Refusal::new(Kind::MediaType, text, "Send the body without the header Content-Encoding."));
    }
    let said = headers.get(CONTENT_TYPE).map_or(Some("application/json"), |value| value.to_str().ok());
    let essence = said.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    accepted.iter().copied().find(|known| known.eq_ignore_ascii_case(essence)).ok_or_else(|| {
        let recovery = format!("Send the header Content-Type: {}.", accepted.join(" or "));
        Refusal::new(Kind::MediaType, "The body's media type is not supported here.", recovery)
    })
}

/// Parses one JSON value. Errors name the attribute and the position; they may quote the body, which is the caller's
/// own text.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|why| {
        let what = if why.is_data() { "The body has an attribute that is not valid" } else { "The body is not JSON" };
        Refusal::invalid(format!("{what}: {why}."), "Correct the body and send the request again.")
    })
}

/// Parses a body of at most `limit` bytes as one JSON value. The media type has to be `application/json`, or missing.
pub async fn json<T: DeserializeOwned>(request: Request, limit: usize) -> Result<T, Refusal> {
    media_type(request.headers(), &["application/json"])?;
    parse_json(&read(request.into_body(), limit).await?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Known {
        #[expect(dead_code, reason = "only its name matters")]
        name: String,
    }

    #[test]
    fn errors_say_what_and_where() {
        let error = |body: &str| parse_json::<Known>(body.as_bytes()).unwrap_err().text().to_owned();
        assert!(error(r#"{"name":"a","nmae":"b"}"#).contains("unknown field `nmae`"));
        assert!(error(r#"{"name":7}"#).contains("expected a string"));
        assert!(error("{").starts_with("The body is not JSON"));
        assert!(error("").starts_with("The body is not JSON"));
    }

    #[test]
    fn media_types_match_in_any_case_and_ignore_parameters() {
        let of = |value: &'static str| {
            media_type(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]), &["application/json"])
        };
        assert_eq!(media_type(&HeaderMap::new(), &["application/json"]).unwrap(), "application/json");
        assert_eq!(of("Application/JSON; charset=utf-8").unwrap(), "application/json");
        for other in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"] {
            assert_eq!(of(other).unwrap_err().kind(), Kind::MediaType);
        }
    }

    #[test]
    fn a_compressed_body_is_refused() {
        let of = |value: &'static str| {
            media_type(
                &HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(value))]),
                &["application/json"],
            )
        };
        assert!(of("Identity").is_ok());
        for coded in ["gzip", "br", "identity, gzip"] {
            assert_eq!(of(coded).unwrap_err().kind(), Kind::MediaType);
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        assert_eq!(read(Body::from("12345"), 5).await.unwrap(), "12345");
        assert_eq!(read(Body::from("123456"), 5).await.unwrap_err().kind(), Kind::TooLarge);
    }

    proptest! {
        #[test]
        fn any_body_is_parsed_without_a_panic(body: Vec<u8>) {
            let _ = parse_json::<Known>(&body);
        }
    }
}
