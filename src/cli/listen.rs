//! **What**: [`Listen`]: `--listen HOST:PORT`, where the embedded default listens. **Invariants**: the page stays on
//! loopback, as it asks for no credential. **Not here**: ports of a configuration file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::error::CommandError;

/// Ports of the embedded default, as its text has them.
const USUAL: [&str; 3] = ["endpoint: 127.0.0.1:4317\n", "endpoint: 127.0.0.1:4318\n", "endpoint: 127.0.0.1:8888\n"];

/// The address of the first of three ports in a row: gRPC, HTTP, page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(SocketAddr);

impl Listen {
    /// The embedded default's text with these ports.
    pub(super) fn put(self, text: &str) -> String {
        let mut text = text.to_owned();
        for (usual, address) in USUAL.into_iter().zip(self.ports()) {
            text = text.replace(usual, &format!("endpoint: \"{address}\"\n"));
        }
        text
    }

    /// Where the page is; none where the system chooses its port.
    pub(super) fn page(self) -> Option<SocketAddr> {
        let [.., page] = self.ports();
        Some(page).filter(|page| page.port() != 0)
    }

    fn ports(self) -> [SocketAddr; 3] {
        let (host, first) = (self.0.ip(), self.0.port());
        let page = if host.is_loopback() { host } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        // 0 stays 0: the system chooses each
        let port = |nth: u16| if first == 0 { 0 } else { first.saturating_add(nth) };
        [SocketAddr::new(host, port(0)), SocketAddr::new(host, port(1)), SocketAddr::new(page, port(2))]
    }
}

/// `HOST:PORT` of the command line.
pub(super) fn listen(text: &str) -> Result<Listen, CommandError> {
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address: Option<SocketAddr> = local.as_deref().unwrap_or(text).parse().ok();
    match address {
        Some(address) if address.port() <= u16::MAX - 2 => Ok(Listen(address)),
        Some(_) => Err(CommandError::Usage("needs two more ports above: give one up to 65533".to_owned())),
        None => Err(CommandError::Usage("is no IP address with a port: give e.g. `127.0.0.1:14317`".to_owned())),
    }
}

#[cfg(test)]
mod tests;
