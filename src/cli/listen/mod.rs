//! [`ListenAddress`]: `--listen HOST:PORT`, the address for the embedded default. The page stays on loopback, because
//! it has no credentials. Configuration files set their ports themselves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use command::error::CommandError;

/// The ports in the text of the embedded default.
const DEFAULT_ENDPOINTS: [&str; 3] =
    ["endpoint: 127.0.0.1:4317\n", "endpoint: 127.0.0.1:4318\n", "endpoint: 127.0.0.1:8888\n"];

/// The address of the first of three consecutive ports: gRPC, HTTP, page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress(SocketAddr);

impl ListenAddress {
    /// The text of the embedded default with these ports.
    pub(super) fn apply_to(self, text: &str) -> String {
        let mut text = text.to_owned();
        for (default_endpoint, address) in DEFAULT_ENDPOINTS.into_iter().zip(self.ports()) {
            text = text.replace(default_endpoint, &format!("endpoint: \"{address}\"\n"));
        }
        text
    }

    /// The address of the page; `None` if the system chooses the port.
    pub(super) fn page_address(self) -> Option<SocketAddr> {
        let [.., page] = self.ports();
        Some(page).filter(|page| page.port() != 0)
    }

    fn ports(self) -> [SocketAddr; 3] {
        let (host, first_port) = (self.0.ip(), self.0.port());
        let page = if host.is_loopback() { host } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        // Port 0 stays 0, so that the system chooses each of them.
        let port = |offset: u16| if first_port == 0 { 0 } else { first_port.saturating_add(offset) };
        [SocketAddr::new(host, port(0)), SocketAddr::new(host, port(1)), SocketAddr::new(page, port(2))]
    }
}

/// Parses the `HOST:PORT` of the command line.
pub(super) fn parse_listen_address(text: &str) -> Result<ListenAddress, CommandError> {
    let loopback = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address: Option<SocketAddr> = loopback.as_deref().unwrap_or(text).parse().ok();
    match address {
        Some(address) if address.port() <= u16::MAX - 2 => Ok(ListenAddress(address)),
        Some(_) => Err(CommandError::Usage("the next two ports are used too: use a port of at most 65533".to_owned())),
        None => Err(CommandError::Usage("must be an IP address with a port, such as `127.0.0.1:14317`".to_owned())),
    }
}

#[cfg(test)]
mod tests;
