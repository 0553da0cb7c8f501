//! [`Endpoint`]: an address to listen on, `host:port` or the path of a unix socket. Invalid ones are reported when the
//! configuration is read, not when the port is bound. Addresses to connect to are parsed by [`address`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::address;

/// An address to listen on: `127.0.0.1:4317`, `[::]:4317`, `localhost:4317`, `:4317` (all IPv4 addresses), `name:4317`
/// or `unix:/run/otlp.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    /// Path of a unix socket; if set, host and port are unused.
    socket: Option<PathBuf>,
}

/// Maximum length of a unix socket's path that all supported kernels accept, in bytes.
const MAX_SOCKET_PATH: usize = 107;

impl Endpoint {
    /// Parses `host:port` or `unix:/path`.
    ///
    /// # Errors
    /// One sentence that describes the fault. It quotes nothing of the address but the digits of its port.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path.strip_prefix("//").unwrap_or(path));
        }
        if text.contains("://") {
            return Err("a listen address must be `host:port`, without a scheme".to_owned());
        }
        let (host, port) = address::split_host_port(text)?;
        let port = port.ok_or("the port is missing: write `host:port`, such as `127.0.0.1:4317`")?;
        let (host, port) = (address::check_host(host)?, address::parse_listen_port(port)?);
        Ok(Self { host: host.to_owned(), port, socket: None })
    }

    /// An endpoint on a unix socket at `path`.
    ///
    /// # Errors
    /// The path is not absolute, is longer than 107 bytes, or contains a NUL byte.
    pub fn unix(path: &str) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err("the path of a unix socket must be absolute, such as `unix:/run/tollgate/otlp.sock`".to_owned());
        }
        if path.len() > MAX_SOCKET_PATH || path.contains('\0') {
            return Err("the path of a unix socket must not contain NUL and may have at most 107 bytes".to_owned());
        }
        Ok(Self { host: String::new(), port: 0, socket: Some(PathBuf::from(path)) })
    }

    /// The path of the unix socket, if this endpoint is one.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Whether only this machine can reach the endpoint. Names are not resolved: of all names only `localhost` counts
    /// as local.
    pub fn is_local(&self) -> bool {
        self.socket.is_some() || self.socket_addr().is_some_and(|at| at.ip().is_loopback())
    }

    /// The host without brackets; empty means all IPv4 addresses, or a unix socket.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host under which this machine reaches the endpoint, in the form of URLs: loopback in place of all addresses.
    pub fn local_host(&self) -> String {
        match self.socket_addr().map(|at| at.ip()) {
            None => self.host.clone(),
            Some(IpAddr::V6(ip)) if ip.is_unspecified() => "[::1]".to_owned(),
            Some(IpAddr::V6(ip)) => format!("[{ip}]"),
            Some(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
            Some(ip) => ip.to_string(),
        }
    }

    /// The port; with 0 the system chooses one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket address, if no name has to be resolved.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
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
        if let Some(path) = &self.socket {
            write!(f, "unix:{}", path.display())
        } else if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
