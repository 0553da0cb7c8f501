//! **What**: [`Endpoint`], `host:port` to listen on. **Why**: wrong ones are found when the configuration is read,
//! not when the port is taken. **Not here**: where exporters send (URLs, `exporters/remote`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `127.0.0.1:4317`, `[::]:4317`, `localhost:4317`, `:4317` (all IPv4 addresses) or `name:4317`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    /// Reads `host:port`.
    ///
    /// # Errors
    /// A fixed text that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains("://") {
            return Err("an address to listen on is `host:port`, without a scheme");
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err("the port is missing: write `host:port`, such as `127.0.0.1:4317`");
        };
        let port: u16 = port.parse().map_err(|_| "the port is not a number from 0 to 65535")?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err("an IPv6 address stands in brackets: `[::1]:4317`");
        }
        if bare.is_some_and(|host| host.parse::<Ipv6Addr>().is_err()) {
            return Err("not an IPv6 address in brackets");
        }
        let host = bare.unwrap_or(host);
        if host.chars().any(|c| c.is_whitespace() || c == '/') {
            return Err("an address to listen on is `host:port`");
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// The host, without brackets; empty = all addresses.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 = the system's choice.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, if no name has to be looked up.
    pub fn literal(&self) -> Option<SocketAddr> {
        let ip = match self.host.as_str() {
            "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => host.parse().ok()?,
        };
        Some(SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
