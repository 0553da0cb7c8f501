//! **What**: the `otlp` receiver as a user writes it, in the Collector's shape. **Invariants**: a protocol that is
//! named is on, one that is not named is off; without `protocols` both are on. **Not here**: taking ports (`mod`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::{ByteSize, FieldProblem, Span};
use crate::net::{Endpoint, Limits, listen, server_tls};
use crate::otlp::Signal;
use crate::pipeline::Trust;
use crate::secret::Secret;

use super::auth;

/// Largest request that may be configured: lengths of the wire format and of permits are 32 bits.
const MAX_REQUEST: u64 = 2 << 30;
/// Longest silence within a body.
const BODY_IDLE: Duration = Duration::from_secs(15);

/// Receives OTLP over gRPC and HTTP (protobuf and JSON).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The protocols to serve; both without this key.
    pub protocols: Protocols,
    /// `internal` keeps the stamps of an upstream tollgate; `third_party` removes and counts them.
    pub trust: Trust,
    /// Who may send, and the account of each; without it everybody may, as account `default`.
    pub auth: Option<Auth>,
}

/// Who may send. A client shows a bearer token (`OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer …"`), or, with
/// `tls.client_ca_file`, a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Bearer tokens of each account.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, Vec<Secret>>,
    /// More of them: lines `account token`, `#` comments. Read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_file: Option<PathBuf>,
    /// DNS names or URIs in clients' certificates, and the account of each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, String>,
    /// How often the file is looked at.
    pub reload_interval: Span,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            tokens: BTreeMap::new(),
            tokens_file: None,
            certificates: BTreeMap::new(),
            reload_interval: Span::seconds(10),
        }
    }
}

/// TLS of a port, in the Collector's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain, PEM. Read again when it changes.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// Who signs clients' certificates; with it a client without one is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// How often the files are looked at.
    #[serde(default = "ten_seconds")]
    pub reload_interval: Span,
}

fn ten_seconds() -> Span {
    Span::seconds(10)
}

/// The protocols to serve. One that is named is on, `grpc:` without settings too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protocols {
    /// OTLP/gRPC.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Grpc>,
    /// OTLP/HTTP, protobuf and JSON.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
}

impl Default for Protocols {
    fn default() -> Self {
        Self { grpc: Some(Grpc::default()), http: Some(Http::default()) }
    }
}

/// A key without a value means the defaults, as in the Collector.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::<T>::deserialize(deserializer).map(|value| Some(value.unwrap_or_default()))
}

/// OTLP/gRPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    /// Where to listen, `host:port`.
    pub endpoint: String,
    /// Largest message after decompression, MiB.
    pub max_recv_msg_size_mib: u64,
    /// Largest message as sent, compressed; the same as `max_recv_msg_size_mib` without this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wire_size: Option<ByteSize>,
    /// Requests at once on one connection.
    pub max_concurrent_streams: u32,
    /// Connections at once; one more is closed at once.
    pub max_connections: u32,
    /// Time from a connection to its first request; a silent one is closed.
    pub read_header_timeout: Span,
    /// Longest time for one request to arrive.
    pub read_timeout: Span,
    /// When quiet connections are asked for a sign of life, and closed.
    pub keepalive: Keepalive,
    /// Certificate and key; plain text without.
    pub tls: Option<Tls>,
}

/// When quiet connections are asked for a sign of life, and closed; the Collector's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keepalive {
    /// What the server does.
    pub server_parameters: ServerParameters,
}

/// What the server does with quiet connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerParameters {
    /// Longest rest of a connection without a request, pings answered or not; then it is closed in order (GOAWAY).
    pub max_connection_idle: Span,
    /// A connection that was silent for so long is pinged.
    pub time: Span,
    /// How long a ping may stay unanswered before the connection is closed.
    pub timeout: Span,
}

impl Default for ServerParameters {
    fn default() -> Self {
        // Several times the SDKs' longest interval between exports, a minute; the Collector has no limit of its own.
        Self { max_connection_idle: Span::seconds(300), time: Span::seconds(30), timeout: Span::seconds(20) }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            endpoint: "127.0.0.1:4317".to_owned(),
            max_recv_msg_size_mib: 64,
            max_wire_size: None,
            max_concurrent_streams: 256,
            max_connections: 1024,
            read_header_timeout: Span::seconds(10),
            read_timeout: Span::seconds(60),
            keepalive: Keepalive::default(),
            tls: None,
        }
    }
}

/// OTLP/HTTP, protobuf and JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where to listen, `host:port`.
    pub endpoint: String,
    /// Path of traces.
    pub traces_url_path: String,
    /// Path of metrics.
    pub metrics_url_path: String,
    /// Path of logs.
    pub logs_url_path: String,
    /// Largest body after decompression.
    pub max_request_body_size: ByteSize,
    /// Largest body as sent, compressed; the same as `max_request_body_size` without this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wire_size: Option<ByteSize>,
    /// Connections at once; one more is closed at once.
    pub max_connections: u32,
    /// Time from a connection to its first request; a silent one is closed.
    pub read_header_timeout: Span,
    /// Longest time for one body to arrive.
    pub read_timeout: Span,
    /// Longest rest of a connection between two requests, HTTP/1.1 or HTTP/2.
    pub idle_timeout: Span,
    /// Certificate and key; plain text without.
    pub tls: Option<Tls>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            endpoint: "127.0.0.1:4318".to_owned(),
            traces_url_path: "/v1/traces".to_owned(),
            metrics_url_path: "/v1/metrics".to_owned(),
            logs_url_path: "/v1/logs".to_owned(),
            max_request_body_size: ByteSize::mib(64),
            max_wire_size: None,
            max_connections: 1024,
            read_header_timeout: Span::seconds(10),
            read_timeout: Span::seconds(60),
            idle_timeout: Span::seconds(180),
            tls: None,
        }
    }
}

/// The receiver's settings, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// OTLP/gRPC, if on.
    pub grpc: Option<GrpcSettings>,
    /// OTLP/HTTP, if on.
    pub http: Option<HttpSettings>,
    /// How far the clients are trusted.
    pub trust: Trust,
    /// Who they are; None: anybody.
    pub auth: Option<auth::Settings>,
    /// How often the tokens file is looked at.
    pub reload: Duration,
}

/// OTLP/gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcSettings {
    /// Where to listen.
    pub endpoint: Endpoint,
    /// Limits of one message.
    pub limits: Limits,
    /// How connections are treated.
    pub connections: listen::Settings,
    /// Certificate and key.
    pub tls: Option<server_tls::Settings>,
}

/// OTLP/HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where to listen.
    pub endpoint: Endpoint,
    /// Limits of one body.
    pub limits: Limits,
    /// How connections are treated.
    pub connections: listen::Settings,
    /// Path of each signal.
    pub paths: Vec<(Signal, String)>,
    /// Certificate and key.
    pub tls: Option<server_tls::Settings>,
}

impl Settings {
    /// Accounts that the configuration names; those of a tokens file are not among them. `default` without `auth`.
    pub fn accounts(&self) -> Vec<Arc<str>> {
        let Some(auth) = &self.auth else { return vec![auth::DEFAULT_ACCOUNT.into()] };
        auth.tokens.iter().map(|(account, _)| account).chain(auth.certificates.values()).cloned().collect()
    }
}

impl Config {
    /// Checks what was written.
    ///
    /// # Errors
    /// Every problem, with its path inside the component.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let mut problems = Problems::default();
        let grpc = self.protocols.grpc.as_ref().and_then(|grpc| grpc_settings(grpc, &mut problems));
        let http = self.protocols.http.as_ref().and_then(|http| http_settings(http, &mut problems));
        if self.protocols.grpc.is_none() && self.protocols.http.is_none() {
            problems.add("protocols", "names no protocol: `grpc`, `http` or both");
        }
        if let (Some(grpc), Some(http)) = (&grpc, &http)
            && grpc.endpoint == http.endpoint
            && grpc.endpoint.port() != 0
        {
            problems.add("protocols.http.endpoint", "is the same as that of `grpc`: each protocol has its own port");
        }
        let ports = [
            self.protocols.grpc.as_ref().and_then(|grpc| grpc.tls.as_ref()),
            self.protocols.http.as_ref().and_then(|http| http.tls.as_ref()),
        ];
        let mutual = ports.into_iter().flatten().any(|tls| tls.client_ca_file.is_some());
        let auth = self.auth.as_ref().map(|auth| auth_settings(auth, mutual, &mut problems));
        let reload = self.auth.as_ref().map_or(Span::seconds(10), |auth| auth.reload_interval);
        let reload = problems.span("auth.reload_interval", reload);
        problems.end(Settings { grpc, http, trust: self.trust, auth, reload })
    }
}

#[derive(Default)]
struct Problems(Vec<FieldProblem>);

impl Problems {
    fn add(&mut self, path: &str, what: &str) {
        self.0.push(FieldProblem::new(path, what));
    }

    fn end<T>(self, settings: T) -> Result<T, Vec<FieldProblem>> {
        if self.0.is_empty() { Ok(settings) } else { Err(self.0) }
    }

    fn endpoint(&mut self, path: &str, text: &str) -> Option<Endpoint> {
        Endpoint::parse(text).map_err(|what| self.add(path, what)).ok()
    }

    fn size(&mut self, path: &str, bytes: u64) -> usize {
        if bytes == 0 || bytes > MAX_REQUEST {
            self.add(path, "a request may be limited to 1 byte up to 2 GiB");
        }
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    fn span(&mut self, path: &str, span: Span) -> Duration {
        if span.0.is_zero() {
            self.add(path, "must be more than zero: every wait has an end");
        }
        span.0
    }

    fn tls(&mut self, path: &str, tls: &Tls) -> server_tls::Settings {
        let reload_interval = self.span(&format!("{path}.reload_interval"), tls.reload_interval);
        let Tls { cert_file, key_file, client_ca_file, .. } = tls.clone();
        server_tls::Settings { cert_file, key_file, client_ca_file, reload_interval }
    }

    fn count(&mut self, path: &str, count: u32) -> u32 {
        if count == 0 || count > 1 << 20 {
            self.add(path, "must be from 1 to 1048576");
        }
        count
    }
}

fn auth_settings(auth: &Auth, mutual: bool, problems: &mut Problems) -> auth::Settings {
    if auth.tokens.is_empty() && auth.tokens_file.is_none() && auth.certificates.is_empty() {
        problems.add("auth", "knows nobody: give `tokens`, `tokens_file` or `certificates`");
    }
    if !auth.certificates.is_empty() && !mutual {
        problems
            .add("auth.certificates", "needs `client_ca_file` under the `tls` of a protocol: nobody else checks them");
    }
    let (mut tokens, mut seen) = (Vec::new(), BTreeMap::new());
    for (account, list) in &auth.tokens {
        let path = format!("auth.tokens.{account}");
        if let Err(what) = auth::check_account(account) {
            problems.add(&path, what);
        }
        if list.is_empty() {
            problems.add(&path, "has no token");
        }
        for (at, token) in list.iter().enumerate() {
            let path = format!("{path}[{at}]");
            if let Err(what) = auth::check_token(token.expose()) {
                problems.add(&path, what);
            } else if seen.insert(token.expose(), account).is_some_and(|other| other != account) {
                problems.add(&path, "stands for another account, too");
            }
            tokens.push((account.as_str().into(), token.clone()));
        }
    }
    let mut certificates = BTreeMap::new();
    for (name, account) in &auth.certificates {
        if let Err(what) = auth::check_account(account) {
            problems.add(&format!("auth.certificates.{name}"), what);
        }
        certificates.insert(name.clone(), account.as_str().into());
    }
    auth::Settings { tokens, tokens_file: auth.tokens_file.clone(), certificates }
}

fn grpc_settings(grpc: &Grpc, problems: &mut Problems) -> Option<GrpcSettings> {
    let endpoint = problems.endpoint("protocols.grpc.endpoint", &grpc.endpoint);
    let size = grpc.max_recv_msg_size_mib.saturating_mul(1 << 20);
    let inflated = problems.size("protocols.grpc.max_recv_msg_size_mib", size);
    let wire = grpc.max_wire_size.map_or(inflated, |wire| problems.size("protocols.grpc.max_wire_size", wire.0));
    let total = problems.span("protocols.grpc.read_timeout", grpc.read_timeout);
    let keepalive = &grpc.keepalive.server_parameters;
    let quiet = |key: &str, span, problems: &mut Problems| {
        problems.span(&format!("protocols.grpc.keepalive.server_parameters.{key}"), span)
    };
    let connections = listen::Settings {
        max_connections: problems.count("protocols.grpc.max_connections", grpc.max_connections) as usize,
        max_streams: problems.count("protocols.grpc.max_concurrent_streams", grpc.max_concurrent_streams),
        first_request: problems.span("protocols.grpc.read_header_timeout", grpc.read_header_timeout),
        idle: quiet("max_connection_idle", keepalive.max_connection_idle, problems),
        ping: (quiet("time", keepalive.time, problems), quiet("timeout", keepalive.timeout, problems)),
    };
    let limits = Limits { wire, inflated, idle: BODY_IDLE.min(total), total };
    let tls = grpc.tls.as_ref().map(|tls| problems.tls("protocols.grpc.tls", tls));
    Some(GrpcSettings { endpoint: endpoint?, limits, connections, tls })
}

fn http_settings(http: &Http, problems: &mut Problems) -> Option<HttpSettings> {
    let endpoint = problems.endpoint("protocols.http.endpoint", &http.endpoint);
    let inflated = problems.size("protocols.http.max_request_body_size", http.max_request_body_size.0);
    let wire = http.max_wire_size.map_or(inflated, |wire| problems.size("protocols.http.max_wire_size", wire.0));
    let total = problems.span("protocols.http.read_timeout", http.read_timeout);
    let connections = listen::Settings {
        max_connections: problems.count("protocols.http.max_connections", http.max_connections) as usize,
        first_request: problems.span("protocols.http.read_header_timeout", http.read_header_timeout),
        idle: problems.span("protocols.http.idle_timeout", http.idle_timeout),
        ..listen::Settings::default()
    };
    let mut paths: Vec<(Signal, String)> = Vec::new();
    for (signal, key, path) in [
        (Signal::Traces, "traces_url_path", &http.traces_url_path),
        (Signal::Metrics, "metrics_url_path", &http.metrics_url_path),
        (Signal::Logs, "logs_url_path", &http.logs_url_path),
    ] {
        if !path.starts_with('/') || path.contains(['?', '#', ' ']) {
            problems.add(&format!("protocols.http.{key}"), "is a path: it begins with `/` and has no query");
        } else if paths.iter().any(|(_, other)| other == path) {
            problems.add(&format!("protocols.http.{key}"), "is the path of another signal");
        }
        paths.push((signal, path.clone()));
    }
    let limits = Limits { wire, inflated, idle: BODY_IDLE.min(total), total };
    let tls = http.tls.as_ref().map(|tls| problems.tls("protocols.http.tls", tls));
    Some(HttpSettings { endpoint: endpoint?, limits, connections, paths, tls })
}
