//! The same requests as API Gateway hands them on.

use super::*;
use crate::scm::vectors::Vector;

/// An event in API Gateway's payload format 2.0. `raw_path`: the path as it was sent, or as API Gateway may have
/// decoded it.
fn event(vector: &Vector, raw_path: &str) -> Request {
    let request = vector.request();
    let mut headers: HashMap<_, _> =
        request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    headers.insert("x-forwarded-proto", "https");
    let event = serde_json::json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": raw_path,
        "rawQueryString": request.uri().query().unwrap_or_default(),
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012", "apiId": "id", "domainName": "scm.example", "domainPrefix": "scm",
            "http": {"method": vector.method, "path": raw_path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
            "requestId": "JKJaXmPLvHcESHA=", "routeKey": "$default", "stage": "$default",
        },
        "body": vector.body,
        "isBase64Encoded": false,
    });
    lambda_http::request::from_str(&event.to_string()).unwrap().map(|body| Body::from(body.to_vec()))
}

#[tokio::test]
async fn behind_api_gateway_the_same_requests_are_admitted() {
    let ascii = GOOD.into_iter().filter(|vector| vector.headers.iter().all(|header| header.1.is_ascii()));
    for vector in ascii {
        let path = vector.target.split('?').next().unwrap();
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8().unwrap();
        for raw_path in [path, &decoded] {
            let fixture = Fixture::new().await;
            let mut request = event(vector, raw_path);
            // A router's middleware may lower-case the path.
            let folded = request.uri().to_string().to_ascii_lowercase();
            if request.uri().query().is_none() {
                *request.uri_mut() = folded.parse().unwrap();
            }
            assert!(fixture.admit(request).await.is_ok(), "{raw_path}");
        }
    }
}
