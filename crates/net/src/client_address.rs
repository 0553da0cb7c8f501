//! [`ClientAddress`]: where the client of a request connects from, an extension of each request. Logs and metrics show
//! only its class. `listen` attaches it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Extensions;

/// Where a client connects from.
#[derive(Clone, Copy)]
pub struct ClientAddress {
    /// The connection's peer; 127.0.0.1 for a unix socket.
    pub ip: IpAddr,
    /// Whether the peer is on this machine and a proxy's header says that the request comes from another client.
    pub is_forwarded: bool,
}

impl ClientAddress {
    /// The client of a request with these extensions. A missing address counts as one on the internet.
    pub fn of(extensions: &Extensions) -> Self {
        let unknown = Self { ip: Ipv4Addr::UNSPECIFIED.into(), is_forwarded: true };
        extensions.get().copied().unwrap_or(unknown)
    }

    /// Whether the client is on this machine (loopback or a unix socket) and no proxy forwarded its request. Other
    /// addresses of 127/8 do not count: sidecars use them to forward requests from elsewhere.
    pub fn is_local(self) -> bool {
        !self.is_forwarded && (self.ip == Ipv4Addr::LOCALHOST || self.ip == Ipv6Addr::LOCALHOST)
    }

    /// The class of the address: `loopback`, `proxy` (one on this machine, which forwards requests from elsewhere),
    /// `private` or `public`.
    pub fn class(self) -> &'static str {
        let is_private = match self.ip {
            // 100.64/10 is shared by a provider's customers (RFC 6598); clusters use it for pods.
            IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || matches!(ip.octets(), [100, 64..=127, ..]),
            IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
        };
        match self.ip.is_loopback() {
            true if self.is_local() => "loopback",
            true => "proxy",
            false if is_private => "private",
            false => "public",
        }
    }
}
