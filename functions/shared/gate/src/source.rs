//! The source address of a request.

use std::net::{IpAddr, Ipv6Addr};

use http::request::Parts;
use lambda_http::RequestExt;
use lambda_http::request::RequestContext;

/// The address that API Gateway saw, whatever the headers say. An IPv6 address counts as its network of 64 bits, all of
/// which one caller has. Requests without an address share one count.
pub fn source(request: &Parts) -> String {
    let seen = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.as_deref(),
        _ => None,
    };
    seen.and_then(|address| address.parse().ok()).map_or_else(|| "unknown".to_owned(), counted)
}

fn counted(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{}/64", Ipv6Addr::from(u128::from(address) >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use super::*;

    #[test]
    fn an_ipv6_address_counts_as_its_network() {
        let of = |text: &str| counted(text.parse().unwrap());
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(
            (of("2001:db8:1:2:3::4"), of("2001:db8:1:2::9")),
            (of("2001:db8:1:2::"), "2001:db8:1:2::/64".to_owned())
        );
        assert_ne!(of("2001:db8:1:3::4"), of("2001:db8:1:2::4"));
    }
}
