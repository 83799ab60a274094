//! The id that identifies a request in the logs.

use axum::extract::Request;
use lambda_http::RequestExt;
use lambda_http::request::RequestContext;

/// The id, which API Gateway's access log has too. An extension of every request behind a dialect's `report`.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// API Gateway's id, which is also in its access log and in the answer's header `apigw-requestid`; otherwise Lambda's.
pub fn request_id(request: &Request) -> Option<String> {
    let gateway = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.clone(),
        _ => None,
    };
    let lambda = || request.lambda_context_ref().map(|context| context.request_id.clone());
    gateway.or_else(lambda)
}
