//! **What**: whether two listeners of a configuration want the same port, or the same unix socket. **Why**: found when the file is read, it
//! is one line; found at the start, it is a restart loop. **Invariants**: told only where both can't be had on one machine, whatever
//! its names. **Not here**: whether another process has the port (`net/socket`).

use std::net::IpAddr;

use super::placed::Placed;
use crate::components::{ExtensionSettings, ReceiverSettings};
use config::{ComponentId, Endpoint};

/// A listener: its section, its component, the field that says where, and what it says.
pub(super) struct Port<'a> {
    pub(super) section: &'static str,
    pub(super) id: &'a ComponentId,
    pub(super) field: &'static str,
    endpoint: &'a Endpoint,
}

/// All of them, in the order of the sections.
fn all<'a>(
    receivers: &'a [Placed<ReceiverSettings>],
    extensions: &'a [Placed<ExtensionSettings>],
) -> impl Iterator<Item = Port<'a>> {
    let receivers = receivers.iter().flat_map(|Placed { id, what: ReceiverSettings::Otlp(otlp) }| {
        let grpc = otlp.grpc.as_ref().map(|grpc| ("protocols.grpc.endpoint", &grpc.endpoint));
        let http = otlp.http.as_ref().map(|http| ("protocols.http.endpoint", &http.endpoint));
        let of = move |(field, endpoint)| Port { section: "receivers", id, field, endpoint };
        grpc.into_iter().chain(http).map(of)
    });
    let extensions = extensions.iter().map(|Placed { id, what }| {
        let endpoint = match what {
            ExtensionSettings::Admin(admin) => &admin.endpoint,
            ExtensionSettings::HealthCheck(health) => &health.endpoint,
        };
        Port { section: "extensions", id, field: "endpoint", endpoint }
    });
    receivers.chain(extensions)
}

/// Each that wants what one before it has, and what is wrong with it.
pub(super) fn clashes<'a>(
    receivers: &'a [Placed<ReceiverSettings>],
    extensions: &'a [Placed<ExtensionSettings>],
) -> Vec<(Port<'a>, String)> {
    let (mut seen, mut found): (Vec<Port<'_>>, _) = (Vec::new(), Vec::new());
    for port in all(receivers, extensions) {
        match seen.iter().find(|other| clash(other.endpoint, port.endpoint)) {
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

/// `[::]` takes IPv4's ports, too.
fn takes_all(ip: IpAddr) -> bool {
    ip.is_ipv6() && ip.is_unspecified()
}

fn takes_all_of(ip: IpAddr, other: IpAddr) -> bool {
    takes_all(ip) || (ip.is_unspecified() && other.is_ipv4())
}

#[cfg(test)]
mod tests;
