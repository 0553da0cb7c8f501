//! Detects listeners of one configuration that want the same port or unix socket. When the file is read, a conflict
//! costs one message; at start it would cause a restart loop. Only conflicts that exist on every machine are reported,
//! however names resolve. `net/socket` reports ports that other processes have.

use std::net::IpAddr;

use super::configured_component::ConfiguredComponent;
use super::start_checks::finding::{FileContext, FileFinding};
use crate::components::{ExtensionConfig, ReceiverConfig};
use config::{ComponentId, Endpoint};

/// A listener: section, component, field of its address, and the address.
type ConfiguredPort<'c> = (&'static str, &'c ComponentId, &'static str, Endpoint);

/// All listeners with a valid address, in the order of the sections. Other faults of a component do not hide a clash.
fn configured_ports<'c>(context: &FileContext<'c>) -> impl Iterator<Item = ConfiguredPort<'c>> {
    let typed = context.typed;
    let receivers = typed.receivers.iter().filter(move |component| typed.file.uses("receivers", &component.id));
    let receivers = receivers.flat_map(|ConfiguredComponent { id, value }| {
        let endpoints = match value {
            ReceiverConfig::Otlp(otlp) => {
                let (grpc, http) = (otlp.protocols.grpc.as_ref(), otlp.protocols.http.as_ref());
                let grpc = grpc.map(|grpc| ("protocols.grpc.endpoint", grpc.transport.endpoint(&grpc.endpoint)));
                let http = http.map(|http| ("protocols.http.endpoint", http.transport.endpoint(&http.endpoint)));
                [grpc, http]
            }
            ReceiverConfig::ClaudeCodeHooks(hooks) => [Some(("endpoint", Endpoint::parse(&hooks.endpoint))), None],
            ReceiverConfig::Kafka(_) => [None, None],
        };
        let endpoints = endpoints.into_iter().flatten();
        endpoints.filter_map(move |(field, endpoint)| Some(("receivers", id, field, endpoint.ok()?)))
    });
    let extensions = typed.extensions.iter().filter(move |component| typed.file.uses("extensions", &component.id));
    let extensions = extensions.filter_map(|ConfiguredComponent { id, value }| {
        let endpoint = match value {
            ExtensionConfig::Admin(admin) => &admin.endpoint,
            ExtensionConfig::HealthCheck(health) => &health.endpoint,
        };
        Some(("extensions", id, "endpoint", Endpoint::parse(endpoint).ok()?))
    });
    receivers.chain(extensions)
}

/// The listeners that want the port of an earlier one.
pub(super) fn find_port_conflicts(context: &FileContext<'_>) -> Vec<FileFinding> {
    let (mut distinct, mut conflicts): (Vec<ConfiguredPort<'_>>, _) = (Vec::new(), Vec::new());
    for port in configured_ports(context) {
        let (section, id, field, endpoint) = &port;
        match distinct.iter().find(|(.., earlier)| is_conflict(earlier, endpoint)) {
            Some((of, earlier, at, _)) => {
                let kind = if endpoint.socket().is_some() { "socket" } else { "port" };
                let message = format!("uses the same {kind} as `{of}.{earlier}.{at}`: give each listener its own");
                conflicts.push(FileFinding::error(section, id, field, message));
            }
            None => distinct.push(port),
        }
    }
    conflicts
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
            (Some(known), None) | (None, Some(known)) => binds_all_addresses(known),
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
