//! Other functions' paths in another letter case. API Gateway compares letter case, and sends here what it does not know.
//!
//! They are redirected to the spelling that it knows, in their API's form. 308: the client repeats method and body
//! (RFC 9110 §15.4.9).

use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rootcast_dialects::lenovo::LenovoError;
use rootcast_dialects::venafi::{Code, OAuthError, VenafiError};
use rootcast_gate::{Kind, is_under};

/// Everything below these belongs to another function.
const ROOTS: [&str; 6] = ["/vedsdk", "/vedauth", "/sessions", "/principals", "/requests", "/rights"];

/// `None`: the path belongs here.
pub(crate) fn redirect(uri: &Uri) -> Option<Response> {
    let root = ROOTS.into_iter().find(|root| is_under(root, uri.path()) && !uri.path().starts_with(root))?;
    let place = format!("{root}{}", uri.path_and_query()?.as_str().get(root.len()..)?);
    let text = format!("Here the path begins with {root}, in lower case.");
    let mut response = match root {
        "/vedsdk" => VenafiError::new(Kind::NotFound, text).into_response(),
        "/vedauth" => OAuthError::new(Code::InvalidRequest, Kind::NotFound, text).into_response(),
        _ => LenovoError::new(Kind::NotFound, text, "Follow the header Location.").into_response(),
    };
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(&place).ok()?);
    Some(response)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use axum::body::to_bytes;
    use axum::http::Request;
    use serde_json::Value;

    use crate::tests::call;

    #[tokio::test]
    async fn another_letter_case_is_redirected_in_the_apis_form() {
        for (path, place, attribute) in [
            ("/VEDSDK/Certificates/Retry", "/vedsdk/Certificates/Retry", "Error"),
            ("/VedSDK/certificates/?Limit=1", "/vedsdk/certificates/?Limit=1", "Error"),
            ("/VedAuth/Authorize/OAuth", "/vedauth/Authorize/OAuth", "error_description"),
            ("/Sessions", "/sessions", "messages"),
            ("/Principals/Jane", "/principals/Jane", "messages"),
            ("/Rights", "/rights", "messages"),
        ] {
            let response = call(Request::post(path), "{}").await;
            assert_eq!((response.status().as_u16(), response.headers()["location"].to_str().unwrap()), (308, place));
            let body: Value = serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap();
            assert!(body[attribute].to_string().contains("lower case"), "{body}");
        }
        for path in ["/sessions", "/vedsdkx", "/x/VEDSDK", "/Devices"] {
            assert_eq!(call(Request::get(path), "").await.status(), 401, "{path}");
        }
    }
}
