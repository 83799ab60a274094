//! The TLS front of the API: one base URL, as with API Gateway, before the local cloud's plain HTTP.
//!
//! The local cloud finds the API by the path `/_aws/execute-api/{api}/$default`. So the client's `Host`, which may be
//! signed, reaches the function unchanged, as do path, query, headers (a forged `X-Forwarded-Proto` too) and body.

use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum_reverse_proxy::{HostBehaviour, ProxyPolicy, ReverseProxy, XForwardedFor};

use crate::tls::{Identity, Server};

/// API Gateway's limits for HTTP APIs:
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>.
const LARGEST_BODY: u64 = 10 * 1024 * 1024;
const LONGEST_ANSWER: Duration = Duration::from_secs(30);

pub(crate) fn start(endpoint: &str, api: &str, identity: &Identity, port: Option<u16>) -> Result<Server> {
    let policy = ProxyPolicy::new()
        .with_host_behaviour(HostBehaviour::Preserve)
        .with_x_forwarded_for(XForwardedFor::Preserve)
        .with_max_request_body_bytes(LARGEST_BODY)
        .with_upstream_timeout(LONGEST_ANSWER);
    let proxy = ReverseProxy::new("", format!("{endpoint}/_aws/execute-api/{api}/$default")).with_policy(policy);
    Server::start(Router::new().fallback_service(proxy), identity, port)
}
