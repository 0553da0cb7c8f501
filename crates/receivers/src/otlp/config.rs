//! **What**: the `otlp` receiver as a user writes it, in the Collector's shape. **Invariants**: a protocol that is
//! named is on, one that is not named is off; without `protocols` both are on. **Not here**: what it means
//! (`settings`), taking ports (`mod`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use config::{ByteSize, Span};
use kernel::secret::Secret;
use pipeline::Trust;

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

/// Who may send. A client shows a bearer token (`OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer …"`), a user with a
/// password (`authorization=Basic …`), or, with `tls.client_ca_file`, a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Bearer tokens of each account.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, Vec<Secret>>,
    /// More of them: lines `account token`, `#` comments. Read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_file: Option<PathBuf>,
    /// `user:password` of each account, for `authorization: Basic …`; a Langfuse client's public and secret key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub basic: BTreeMap<String, Vec<Secret>>,
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
            basic: BTreeMap::new(),
            certificates: BTreeMap::new(),
            reload_interval: Span::seconds(10),
        }
    }
}

pub use config::PortTls as Tls;

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
    /// Where to listen: `host:port`, or `unix:/path`.
    pub endpoint: String,
    /// `unix`: the endpoint is the path of a socket, as in the Collector.
    pub transport: Transport,
    /// Largest message after decompression, MiB.
    pub max_recv_msg_size_mib: u64,
    /// Largest message as sent, compressed; the same as `max_recv_msg_size_mib` without this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wire_size: Option<ByteSize>,
    /// Requests at once on one connection.
    pub max_concurrent_streams: u32,
    /// Connections at once; one more takes the place of one that rests, else of a slow upload, else it is closed.
    pub max_connections: u32,
    /// Time from a connection to its first request; a silent one is closed.
    pub read_header_timeout: Span,
    /// Longest time for one request to arrive.
    pub read_timeout: Span,
    /// When quiet connections are asked for a sign of life, and closed.
    pub keepalive: Keepalive,
    /// Certificate and key; plain text without.
    pub tls: Option<Tls>,
    /// Not used: nothing of a request's metadata goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_metadata: Option<bool>,
    /// Not used: `read_timeout` and HTTP/2 windows bound what is read ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_buffer_size: Option<u64>,
    /// Not used: answers are small.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_buffer_size: Option<u64>,
}

/// What is listened on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A port.
    #[default]
    Tcp,
    /// A unix socket.
    Unix,
}

/// When quiet connections are asked for a sign of life, and closed; the Collector's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keepalive {
    /// What the server does.
    pub server_parameters: ServerParameters,
    /// Not used: clients may ping as often as they like; the flood protection of HTTP/2 holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement_policy: Option<EnforcementPolicy>,
}

/// What the Collector allows clients; not used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnforcementPolicy {
    /// Not used.
    pub min_time: Option<Span>,
    /// Not used.
    pub permit_without_stream: Option<bool>,
}

/// What the server does with quiet connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerParameters {
    /// Longest rest of a connection without a request, pings answered or not; then it is closed in order (GOAWAY).
    pub max_connection_idle: Span,
    /// Longest life of a connection, give or take a tenth; then it is closed in order. No limit without this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_age: Option<Span>,
    /// What requests in hand may take on a connection that is too old; 30 s without this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_age_grace: Option<Span>,
    /// A connection that was silent for so long is pinged.
    pub time: Span,
    /// How long a ping may stay unanswered before the connection is closed.
    pub timeout: Span,
}

impl Default for ServerParameters {
    fn default() -> Self {
        // Several times the SDKs' longest interval between exports, a minute; the Collector has no limit of its own.
        Self {
            max_connection_idle: Span::seconds(300),
            max_connection_age: None,
            max_connection_age_grace: None,
            time: Span::seconds(30),
            timeout: Span::seconds(20),
        }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            endpoint: "127.0.0.1:4317".to_owned(),
            transport: Transport::Tcp,
            max_recv_msg_size_mib: 64,
            max_wire_size: None,
            max_concurrent_streams: 256,
            max_connections: 1024,
            read_header_timeout: Span::seconds(10),
            read_timeout: Span::seconds(60),
            keepalive: Keepalive::default(),
            tls: None,
            include_metadata: None,
            read_buffer_size: None,
            write_buffer_size: None,
        }
    }
}

/// OTLP/HTTP, protobuf and JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where to listen: `host:port`, or `unix:/path`.
    pub endpoint: String,
    /// `unix`: the endpoint is the path of a socket, as in the Collector.
    pub transport: Transport,
    /// Path of traces.
    pub traces_url_path: String,
    /// Path of metrics.
    pub metrics_url_path: String,
    /// Path of logs.
    pub logs_url_path: String,
    /// The three paths are served behind these prefixes, too; Langfuse's clients send to `/api/public/otel/v1/traces`.
    pub path_prefixes: Vec<String>,
    /// Which web pages may send; none without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Largest body after decompression.
    pub max_request_body_size: ByteSize,
    /// Largest body as sent, compressed; the same as `max_request_body_size` without this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wire_size: Option<ByteSize>,
    /// Connections at once; one more takes the place of one that rests, else of a slow upload, else it is closed.
    pub max_connections: u32,
    /// Time from a connection to its first request; a silent one is closed.
    pub read_header_timeout: Span,
    /// Longest time for one body to arrive.
    pub read_timeout: Span,
    /// Longest rest of a connection between two requests, HTTP/1.1 or HTTP/2.
    pub idle_timeout: Span,
    /// Requests at once on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Longest life of a connection, give or take a tenth; then it is closed in order. No limit without this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_age: Option<Span>,
    /// What requests in hand may take on a connection that is too old; 30 s without this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_age_grace: Option<Span>,
    /// Certificate and key; plain text without.
    pub tls: Option<Tls>,
    /// Not used: nothing of a request's metadata goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_metadata: Option<bool>,
    /// Not used: `idle_timeout` closes a connection whose client does not take its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_timeout: Option<Span>,
}

/// Which web pages may send, in the Collector's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Origins, `https://app.example.com`; `*` stands for any characters.
    pub allowed_origins: Vec<String>,
    /// Headers that they may send besides the usual ones; `*`: any.
    pub allowed_headers: Vec<String>,
    /// Headers of answers that they may read.
    pub exposed_headers: Vec<String>,
    /// How long a browser may remember it, seconds.
    pub max_age: u32,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            endpoint: "127.0.0.1:4318".to_owned(),
            transport: Transport::Tcp,
            traces_url_path: "/v1/traces".to_owned(),
            metrics_url_path: "/v1/metrics".to_owned(),
            logs_url_path: "/v1/logs".to_owned(),
            path_prefixes: vec!["/api/public/otel".to_owned()],
            cors: None,
            max_request_body_size: ByteSize::mib(64),
            max_wire_size: None,
            max_connections: 1024,
            read_header_timeout: Span::seconds(10),
            read_timeout: Span::seconds(60),
            idle_timeout: Span::seconds(180),
            max_concurrent_streams: 256,
            max_connection_age: None,
            max_connection_age_grace: None,
            tls: None,
            include_metadata: None,
            write_timeout: None,
        }
    }
}
