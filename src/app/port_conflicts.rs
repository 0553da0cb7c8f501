//! Detects listeners of one configuration that want the same port or unix socket. Reported when the file is read, this
//! is one line; at start it would be a restart loop. It is reported only if the ports conflict on any machine, however
//! names resolve. `net/socket` reports ports that other processes have.

use std::net::IpAddr;

use super::configured_component::ConfiguredComponent;
use crate::components::{ExtensionConfig, ReceiverConfig};
use config::{ComponentId, Endpoint};

/// A listener: section, component, field of its address, and the address.
pub(super) struct ConfiguredPort<'a> {
    pub(super) section: &'static str,
    pub(super) id: &'a ComponentId,
    pub(super) field: &'static str,
    endpoint: Endpoint,
}

/// All listeners with a valid address, in the order of the sections. Other faults of a component do not hide a clash.
fn configured_ports<'a>(
    receivers: &'a [ConfiguredComponent<ReceiverConfig>],
    extensions: &'a [ConfiguredComponent<ExtensionConfig>],
    used: &impl Fn(&str, &ComponentId) -> bool,
) -> impl Iterator<Item = ConfiguredPort<'a>> {
    let receivers = receivers.iter().filter(|placed| used("receivers", &placed.id));
    let receivers = receivers.flat_map(|ConfiguredComponent { id, value: ReceiverConfig::Otlp(otlp) }| {
        let grpc = otlp.protocols.grpc.as_ref();
        let grpc = grpc.map(|grpc| ("protocols.grpc.endpoint", grpc.transport.endpoint(&grpc.endpoint)));
        let http = otlp.protocols.http.as_ref();
        let http = http.map(|http| ("protocols.http.endpoint", http.transport.endpoint(&http.endpoint)));
        let of = move |(field, at): (_, Result<_, _>)| {
            Some(ConfiguredPort { section: "receivers", id, field, endpoint: at.ok()? })
        };
        grpc.into_iter().chain(http).filter_map(of)
    });
    let extensions = extensions.iter().filter(|placed| used("extensions", &placed.id));
    let extensions = extensions.filter_map(|ConfiguredComponent { id, value: what }| {
        let endpoint = match what {
            ExtensionConfig::Admin(admin) => &admin.endpoint,
            ExtensionConfig::HealthCheck(health) => &health.endpoint,
        };
        Some(ConfiguredPort { section: "extensions", id, field: "endpoint", endpoint: Endpoint::parse(endpoint).ok()? })
    });
    receivers.chain(extensions)
}

/// The listeners that want the port of an earlier one, each with a description.
pub(super) fn find_port_conflicts<'a>(
    receivers: &'a [ConfiguredComponent<ReceiverConfig>],
    extensions: &'a [ConfiguredComponent<ExtensionConfig>],
    used: &impl Fn(&str, &ComponentId) -> bool,
) -> Vec<(ConfiguredPort<'a>, String)> {
    let (mut seen, mut found): (Vec<ConfiguredPort<'_>>, _) = (Vec::new(), Vec::new());
    for port in configured_ports(receivers, extensions, used) {
        match seen.iter().find(|other| is_conflict(&other.endpoint, &port.endpoint)) {
            Some(other) => {
                let what = if port.endpoint.socket().is_some() { "socket" } else { "port" };
                let has = format!("{}.{}.{}", other.section, other.id, other.field);
                found.push((port, format!("uses the same {what} as `{has}`: give each listener its own")));
            }
            None => seen.push(port),
        }
    }
    found
}

fn is_conflict(one: &Endpoint, other: &Endpoint) -> bool {
    if one.socket().is_some() || other.socket().is_some() {
        return one.socket() == other.socket();
    }
    let ip = |endpoint: &Endpoint| endpoint.socket_addr().map(|at| at.ip());
    one.port() == other.port()
        && one.port() != 0
        && match (ip(one), ip(other)) {
            (Some(one), Some(other)) => one == other || binds_address_of(one, other) || binds_address_of(other, one),
            (Some(all), None) | (None, Some(all)) => binds_all_addresses(all),
            (None, None) => one.host().eq_ignore_ascii_case(other.host()),
        }
}

/// `[::]` binds the port for IPv4 too.
fn binds_all_addresses(ip: IpAddr) -> bool {
    ip.is_ipv6() && ip.is_unspecified()
}

fn binds_address_of(ip: IpAddr, other: IpAddr) -> bool {
    binds_all_addresses(ip) || (ip.is_unspecified() && other.is_ipv4())
}

#[cfg(test)]
mod tests;
