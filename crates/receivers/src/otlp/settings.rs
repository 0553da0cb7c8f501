//! The receiver's checked [`OtlpReceiverSettings`], and the problems of a stanza. All problems are reported at once,
//! every wait has a limit, and settings that are valid but risky get a note. `config` has the stanza, `mod` opens the
//! ports.

use std::time::Duration;

use super::config::{CorsConfig, GrpcConfig, HttpConfig, OtlpReceiverConfig, Transport};
use crate::http_ports::auth_config::{UNPROTECTED, read_auth};
use crate::http_ports::{ReceiverPortView, ReceiverPortsView, SettingsProblems, auth};
use config::{FieldProblem, address};
use net::{BodyLimits, Endpoint, listen, server_tls};
use otlp::Signal;
use pipeline::Trust;

/// Longest pause within a body.
const MAX_BODY_IDLE: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpReceiverSettings {
    /// Settings of OTLP/gRPC, if it is on.
    pub grpc: Option<GrpcSettings>,
    /// Settings of OTLP/HTTP, if it is on.
    pub http: Option<HttpSettings>,
    /// How far clients are trusted.
    pub trust: Trust,
    /// Who may send; `None`: anyone.
    pub auth: Option<auth::AuthSettings>,
    /// How often the tokens file is checked for changes.
    pub reload: Duration,
    /// Notes on settings that are valid but that the user should know about.
    pub notes: Vec<FieldProblem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcSettings {
    /// Address to listen on.
    pub endpoint: Endpoint,
    /// Size and time limits of one message.
    pub limits: BodyLimits,
    /// Limits and timers of connections.
    pub connections: listen::PortSettings,
    /// Certificate and key, if the port uses TLS.
    pub tls: Option<server_tls::ServerTlsSettings>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Address to listen on.
    pub endpoint: Endpoint,
    /// Size and time limits of one body.
    pub limits: BodyLimits,
    /// Limits and timers of connections.
    pub connections: listen::PortSettings,
    /// Served paths with their signals, those without a prefix first.
    pub paths: Vec<(Signal, String)>,
    /// Which web pages may send.
    pub cors: Option<CorsConfig>,
    /// Certificate and key, if the port uses TLS.
    pub tls: Option<server_tls::ServerTlsSettings>,
}

impl OtlpReceiverSettings {
    /// Lowers the request limits, as sent and inflated, to `bytes`; returns whether any was higher.
    pub fn cap_request_size(&mut self, bytes: usize) -> bool {
        let grpc = self.grpc.iter_mut().map(|grpc| &mut grpc.limits);
        let mut lowered = false;
        for limits in grpc.chain(self.http.iter_mut().map(|http| &mut http.limits)) {
            lowered |= limits.wire.max(limits.inflated) > bytes;
            (limits.wire, limits.inflated) = (limits.wire.min(bytes), limits.inflated.min(bytes));
        }
        lowered
    }

    pub fn ports(&self) -> ReceiverPortsView<'_> {
        let grpc = self.grpc.iter().map(|grpc| ("protocols.grpc", &grpc.endpoint, grpc.tls.as_ref()));
        let http = self.http.iter().map(|http| ("protocols.http", &http.endpoint, http.tls.as_ref()));
        let ports = grpc.chain(http).map(|(field, endpoint, tls)| ReceiverPortView { field, endpoint, tls }).collect();
        ReceiverPortsView { ports, auth: self.auth.as_ref() }
    }
}

impl OtlpReceiverConfig {
    /// Validates the stanza.
    ///
    /// # Errors
    /// Every problem, with its path inside the component.
    pub fn settings(&self) -> Result<OtlpReceiverSettings, Vec<FieldProblem>> {
        let mut problems = SettingsProblems::default();
        let grpc = self.protocols.grpc.as_ref().and_then(|grpc| grpc_settings(grpc, &mut problems));
        let http = self.protocols.http.as_ref().and_then(|http| http_settings(http, &mut problems));
        if self.protocols.grpc.is_none() && self.protocols.http.is_none() {
            problems.add("protocols", "must name `grpc`, `http` or both");
        }
        if let (Some(grpc), Some(http)) = (&grpc, &http)
            && grpc.endpoint == http.endpoint
            && (grpc.endpoint.port() != 0 || grpc.endpoint.socket().is_some())
        {
            problems.add(
                "protocols.http.endpoint",
                "must differ from the `grpc` endpoint: each protocol needs its own port",
            );
        }
        let tls_ports = [
            self.protocols.grpc.as_ref().and_then(|grpc| grpc.tls.as_ref()),
            self.protocols.http.as_ref().and_then(|http| http.tls.as_ref()),
        ];
        let checks_clients = tls_ports.into_iter().flatten().any(|tls| tls.client_ca_file.is_some());
        let (auth, reload) = read_auth(self.auth.as_ref(), checks_clients, &mut problems);
        let notes =
            self.collect_notes(grpc.as_ref().map(|grpc| &grpc.endpoint), http.as_ref().map(|http| &http.endpoint));
        problems.into_result(OtlpReceiverSettings { grpc, http, trust: self.trust, auth, reload, notes })
    }

    /// Notes on keys that work differently in the Collector, and on addresses that anyone may send to.
    fn collect_notes(&self, grpc: Option<&Endpoint>, http: Option<&Endpoint>) -> Vec<FieldProblem> {
        let unused = "has no effect in tollgate";
        let (written_grpc, written_http) = (self.protocols.grpc.as_ref(), self.protocols.http.as_ref());
        let is_unprotected =
            |endpoint: Option<&Endpoint>| self.auth.is_none() && endpoint.is_some_and(|at| !at.is_local());
        let has_grpc = |has: fn(&GrpcConfig) -> bool| written_grpc.is_some_and(has);
        let has_http = |has: fn(&HttpConfig) -> bool| written_http.is_some_and(has);
        let notes = [
            ("grpc.endpoint", is_unprotected(grpc), UNPROTECTED),
            ("http.endpoint", is_unprotected(http), UNPROTECTED),
            ("grpc.include_metadata", has_grpc(|grpc| grpc.include_metadata == Some(true)), unused),
            ("grpc.read_buffer_size", has_grpc(|grpc| grpc.read_buffer_size.is_some()), unused),
            ("grpc.write_buffer_size", has_grpc(|grpc| grpc.write_buffer_size.is_some()), unused),
            ("grpc.keepalive.enforcement_policy", has_grpc(|grpc| grpc.keepalive.enforcement_policy.is_some()), unused),
            ("http.include_metadata", has_http(|http| http.include_metadata == Some(true)), unused),
            ("http.write_timeout", has_http(|http| http.write_timeout.is_some()), unused),
        ];
        let notes = notes.into_iter().filter(|(_, applies, _)| *applies);
        notes.map(|(key, _, what)| FieldProblem::new(format!("protocols.{key}"), what)).collect()
    }
}

impl Transport {
    /// Parses `text` as an address to listen on.
    ///
    /// # Errors
    /// The fault in one sentence.
    pub fn endpoint(self, text: &str) -> Result<Endpoint, String> {
        match self {
            Self::Unix if !text.starts_with("unix:") => Endpoint::unix(text),
            Self::Unix | Self::Tcp => Endpoint::parse(text),
        }
    }
}

fn grpc_settings(grpc: &GrpcConfig, problems: &mut SettingsProblems) -> Option<GrpcSettings> {
    let endpoint = problems.keep_endpoint("protocols.grpc.endpoint", grpc.transport.endpoint(&grpc.endpoint));
    let size = grpc.max_recv_msg_size_mib.saturating_mul(1 << 20);
    let inflated = problems.check_size("protocols.grpc.max_recv_msg_size_mib", size);
    let wire = grpc.max_wire_size.map_or(inflated, |wire| problems.check_size("protocols.grpc.max_wire_size", wire.0));
    let total = problems.check_span("protocols.grpc.read_timeout", grpc.read_timeout);
    let keepalive = &grpc.keepalive.server_parameters;
    let keepalive_span = |key: &str, span, problems: &mut SettingsProblems| {
        problems.check_span(&format!("protocols.grpc.keepalive.server_parameters.{key}"), span)
    };
    let connections = listen::PortSettings {
        max_connections: problems.check_count("protocols.grpc.max_connections", grpc.max_connections) as usize,
        max_streams: problems.check_count("protocols.grpc.max_concurrent_streams", grpc.max_concurrent_streams),
        first_request: problems.check_span("protocols.grpc.read_header_timeout", grpc.read_header_timeout),
        idle: keepalive_span("max_connection_idle", keepalive.max_connection_idle, problems),
        ping: (
            keepalive_span("time", keepalive.time, problems),
            keepalive_span("timeout", keepalive.timeout, problems),
        ),
        age: problems.check_age(
            "protocols.grpc.keepalive.server_parameters",
            keepalive.max_connection_age,
            keepalive.max_connection_age_grace,
        ),
    };
    let limits = BodyLimits { wire, inflated, idle: MAX_BODY_IDLE.min(total), total };
    let tls = grpc.tls.as_ref().map(|tls| problems.check_tls("protocols.grpc.tls", tls));
    Some(GrpcSettings { endpoint: endpoint?, limits, connections, tls })
}

fn http_settings(http: &HttpConfig, problems: &mut SettingsProblems) -> Option<HttpSettings> {
    let endpoint = problems.keep_endpoint("protocols.http.endpoint", http.transport.endpoint(&http.endpoint));
    let inflated = problems.check_size("protocols.http.max_request_body_size", http.max_request_body_size.0);
    let wire = http.max_wire_size.map_or(inflated, |wire| problems.check_size("protocols.http.max_wire_size", wire.0));
    let total = problems.check_span("protocols.http.read_timeout", http.read_timeout);
    let connections = listen::PortSettings {
        max_connections: problems.check_count("protocols.http.max_connections", http.max_connections) as usize,
        first_request: problems.check_span("protocols.http.read_header_timeout", http.read_header_timeout),
        max_streams: problems.check_count("protocols.http.max_concurrent_streams", http.max_concurrent_streams),
        idle: problems.check_span("protocols.http.idle_timeout", http.idle_timeout),
        age: problems.check_age("protocols.http", http.max_connection_age, http.max_connection_age_grace),
        ..listen::PortSettings::default()
    };
    let paths = collect_paths(http, problems);
    http.cors.iter().for_each(|cors| check_cors(cors, problems));
    let limits = BodyLimits { wire, inflated, idle: MAX_BODY_IDLE.min(total), total };
    let tls = http.tls.as_ref().map(|tls| problems.check_tls("protocols.http.tls", tls));
    Some(HttpSettings { endpoint: endpoint?, limits, connections, paths, cors: http.cors.clone(), tls })
}

/// The path of each signal, then the paths under prefixes.
fn collect_paths(http: &HttpConfig, problems: &mut SettingsProblems) -> Vec<(Signal, String)> {
    let mut paths: Vec<(Signal, String)> = Vec::new();
    for (signal, key, path) in [
        (Signal::Traces, "traces_url_path", &http.traces_url_path),
        (Signal::Metrics, "metrics_url_path", &http.metrics_url_path),
        (Signal::Logs, "logs_url_path", &http.logs_url_path),
    ] {
        if !path.starts_with('/') || path.contains(['?', '#', ' ']) {
            problems.add(&format!("protocols.http.{key}"), "must be a path that starts with `/`, without a query");
        } else if paths.iter().any(|(_, other)| other == path) {
            problems.add(&format!("protocols.http.{key}"), "is already the path of another signal");
        }
        paths.push((signal, path.clone()));
    }
    let unprefixed = paths.clone();
    for (at, prefix) in http.path_prefixes.iter().enumerate() {
        let key = format!("protocols.http.path_prefixes[{at}]");
        if !prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains(['?', '#', ' ']) {
            problems.add(&key, "must start with `/`, must not end with `/`, and must have no query");
        }
        for (signal, path) in &unprefixed {
            let path = format!("{prefix}{path}");
            if unprefixed.iter().any(|(other, known)| *known == path && other != signal) {
                problems.add(&key, "with a signal's path equals the path of another signal");
            }
            paths.push((*signal, path));
        }
    }
    paths
}

/// What is wrong with the port of an origin, if anything: no browser would send such an origin.
fn invalid_port(origin: &str) -> Option<String> {
    let (_, authority) = origin.split_once("://")?;
    let (_, port) = authority.get(authority.rfind(']').unwrap_or(0)..)?.rsplit_once(':')?;
    if port.contains('*') { None } else { address::parse_port(port).err() }
}

fn check_cors(cors: &CorsConfig, problems: &mut SettingsProblems) {
    let key = |key: &str, at: usize| format!("protocols.http.cors.{key}[{at}]");
    if cors.allowed_origins.is_empty() {
        problems.add("protocols.http.cors.allowed_origins", "must name at least one origin, or no page can send");
    }
    for (at, origin) in cors.allowed_origins.iter().enumerate() {
        let is_origin = origin == "*" || (origin.contains("://") && !origin.ends_with('/'));
        if !is_origin || !origin.bytes().all(|byte| byte.is_ascii_graphic()) {
            problems.add(
                &key("allowed_origins", at),
                "must be an origin without a path, such as `https://app.example.com`",
            );
        } else if let Some(what) = invalid_port(origin) {
            problems.add(&key("allowed_origins", at), &what);
        }
    }
    for (name, headers) in [("allowed_headers", &cors.allowed_headers), ("exposed_headers", &cors.exposed_headers)] {
        for (at, header) in headers.iter().enumerate() {
            if header != "*" && http::HeaderName::from_bytes(header.as_bytes()).is_err() {
                problems.add(&key(name, at), "must be the name of a header");
            }
        }
    }
}
