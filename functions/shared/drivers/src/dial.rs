//! Resolves a device's address to socket addresses and checks them against the address policy.

use std::net::{IpAddr, SocketAddr};

use rootcast_core::device::address::{AddressPolicy, DeviceAddress};
use rootcast_core::job::task::{ErrorClass, Failure};
use tokio::time::{Instant, timeout_at};
use url::Host;

/// Resolves the name once. One forbidden address refuses the whole name: a name that points both inside *and* outside
/// is an attempt to bypass the policy.
pub(crate) async fn resolve(
    policy: &AddressPolicy,
    address: &DeviceAddress,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, Failure> {
    let resolved = match address.host() {
        Host::Ipv4(v4) => vec![SocketAddr::new(IpAddr::V4(*v4), address.port())],
        Host::Ipv6(v6) => vec![SocketAddr::new(IpAddr::V6(*v6), address.port())],
        Host::Domain(name) => lookup(name, address.port(), deadline).await?,
    };
    if resolved.is_empty() {
        return Err(Failure::new(ErrorClass::Connect, format!("{address}: the name has no address.")));
    }
    for socket in &resolved {
        policy
            .permits(socket.ip())
            .map_err(|why| Failure::new(ErrorClass::AddressRefused, format!("{address}: {why}.")))?;
    }
    Ok(resolved)
}

async fn lookup(name: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, Failure> {
    match timeout_at(deadline, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(why)) => Err(Failure::new(ErrorClass::Connect, format!("{name} cannot be resolved: {why}."))),
        Err(_) => Err(Failure::new(ErrorClass::Timeout, format!("{name} was not resolved in time."))),
    }
}
