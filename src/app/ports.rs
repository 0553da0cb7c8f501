//! Detects listeners of one configuration that want the same port or unix socket. Reported when the file is read, this
//! is one line; at start it would be a restart loop. It is reported only if the ports conflict on any machine, however
//! names resolve. `net/socket` reports ports that other processes have.

use std::net::IpAddr;

use super::placed::Placed;
use crate::components::{ExtensionConfig, ReceiverConfig};
use config::{ComponentId, Endpoint};

/// A listener: section, component, field of its address, and the address.
pub(super) struct Port<'a> {
    pub(super) section: &'static str,
    pub(super) id: &'a ComponentId,
    pub(super) field: &'static str,
    endpoint: Endpoint,
}

/// All listeners with a valid address, in the order of the sections. Other faults of a component do not hide a clash.
fn all<'a>(
    receivers: &'a [Placed<ReceiverConfig>],
    extensions: &'a [Placed<ExtensionConfig>],
    used: &impl Fn(&str, &ComponentId) -> bool,
) -> impl Iterator<Item = Port<'a>> {
    let receivers = receivers.iter().filter(|placed| used("receivers", &placed.id));
    let receivers = receivers.flat_map(|Placed { id, what: ReceiverConfig::Otlp(otlp) }| {
        let grpc = otlp.protocols.grpc.as_ref();
        let grpc = grpc.map(|grpc| ("protocols.grpc.endpoint", grpc.transport.endpoint(&grpc.endpoint)));
        let http = otlp.protocols.http.as_ref();
        let http = http.map(|http| ("protocols.http.endpoint", http.transport.endpoint(&http.endpoint)));
        let of =
            move |(field, at): (_, Result<_, _>)| Some(Port { section: "receivers", id, field, endpoint: at.ok()? });
        grpc.into_iter().chain(http).filter_map(of)
    });
    let extensions = extensions.iter().filter(|placed| used("extensions", &placed.id));
    let extensions = extensions.filter_map(|Placed { id, what }| {
        let endpoint = match what {
            ExtensionConfig::Admin(admin) => &admin.endpoint,
            ExtensionConfig::HealthCheck(health) => &health.endpoint,
        };
        Some(Port { section: "extensions", id, field: "endpoint", endpoint: Endpoint::parse(endpoint).ok()? })
    });
    receivers.chain(extensions)
}

/// The listeners that want the port of an earlier one, each with a description.
pub(super) fn clashes<'a>(
    receivers: &'a [Placed<ReceiverConfig>],
    extensions: &'a [Placed<ExtensionConfig>],
    used: &impl Fn(&str, &ComponentId) -> bool,
) -> Vec<(Port<'a>, String)> {
    let (mut seen, mut found): (Vec<Port<'_>>, _) = (Vec::new(), Vec::new());
    for port in all(receivers, extensions, used) {
        match seen.iter().find(|other| clash(&other.endpoint, &port.endpoint)) {
            Some(other) => {
                let what = if port.endpoint.socket().is_some() { "socket" } else { "port" };
                let has = format!("{}.{}.{}", other.section, other.id, other.field);
                found.push((port, format!("is the {what} of `{has}`: each listener has its own")));
            }
            None => seen.push(port),
        }
    }
    found
}

fn clash(one: &Endpoint, other: &Endpoint) -> bool {
    if one.socket().is_some() || other.socket().is_some() {
        return one.socket() == other.socket();
    }
    let ip = |endpoint: &Endpoint| endpoint.literal().map(|at| at.ip());
    one.port() == other.port()
        && one.port() != 0
        && match (ip(one), ip(other)) {
            (Some(one), Some(other)) => one == other || takes_all_of(one, other) || takes_all_of(other, one),
            (Some(all), None) | (None, Some(all)) => takes_all(all),
            (None, None) => one.host().eq_ignore_ascii_case(other.host()),
        }
}

/// `[::]` binds the port for IPv4 too.
fn takes_all(ip: IpAddr) -> bool {
    ip.is_ipv6() && ip.is_unspecified()
}

fn takes_all_of(ip: IpAddr, other: IpAddr) -> bool {
    takes_all(ip) || (ip.is_unspecified() && other.is_ipv4())
}

#[cfg(test)]
mod tests;
