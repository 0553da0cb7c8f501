//! The `otlp` receiver's stanza, in the Collector's shape. A protocol that is listed is on, one that is not is off;
//! without `protocols` both are on. `settings` checks the stanza, `mod` opens the ports.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use config::{ByteSize, TimeSpan};
use pipeline::Trust;

pub use crate::http_ports::auth_config::AuthConfig;

/// Receives OTLP over gRPC and HTTP (protobuf and JSON).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpReceiverConfig {
    /// The protocols to serve. Default: both.
    pub protocols: ProtocolsConfig,
    /// `third_party` (default) removes and counts stamps of an upstream tollgate; `internal` keeps them.
    pub trust: Trust,
    /// Who may send, and as which account. Without it every client may send, as account `default`.
    pub auth: Option<AuthConfig>,
}

pub use config::PortTls as Tls;

/// The protocols to serve. A protocol that is listed is on, even `grpc:` without settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtocolsConfig {
    /// OTLP/gRPC.
    #[serde(default, deserialize_with = "defaults_if_empty", skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcConfig>,
    /// OTLP/HTTP, protobuf and JSON.
    #[serde(default, deserialize_with = "defaults_if_empty", skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpConfig>,
}

impl Default for ProtocolsConfig {
    fn default() -> Self {
        Self { grpc: Some(GrpcConfig::default()), http: Some(HttpConfig::default()) }
    }
}

/// A key without a value means the defaults, as in the Collector.
fn defaults_if_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::<T>::deserialize(deserializer).map(|value| Some(value.unwrap_or_default()))
}

kernel::with_defaults! {
    /// OTLP/gRPC.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct GrpcConfig {
        /// Address to listen on: `host:port`, or `unix:/path`. With port 0 the system chooses a free port, which the
        /// log names. Default: `127.0.0.1:4317`.
        pub endpoint: String = "127.0.0.1:4317".to_owned(),
        /// `tcp` (default), or `unix`: then `endpoint` is the path of a socket, as in the Collector.
        pub transport: Transport,
        /// Largest message after decompression, in MiB. Default: 64.
        pub max_recv_msg_size_mib: u64 = 64,
        /// Largest message as sent, compressed. Default: `max_recv_msg_size_mib`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub max_wire_size: Option<ByteSize>,
        /// Maximum number of concurrent requests on one connection. Default: 256.
        pub max_concurrent_streams: u32 = 256,
        /// Maximum number of connections. Beyond it a new connection replaces an idle one, or else a slow upload; if
        /// there is neither, the new one is closed. Default: 1024.
        pub max_connections: u32 = 1024,
        /// Time from opening a connection to its first request; a connection that stays silent is closed.
        /// Default: 10 s.
        pub read_header_timeout: TimeSpan = TimeSpan::seconds(10),
        /// Maximum time to receive one request. Default: 60 s.
        pub read_timeout: TimeSpan = TimeSpan::seconds(60),
        /// When quiet connections are pinged and closed.
        pub keepalive: KeepaliveConfig,
        /// Certificate and key. Without this key the port serves plain text.
        pub tls: Option<Tls>,
        /// Not used: request metadata is never forwarded.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub include_metadata: Option<bool>,
        /// Not used: `read_timeout` and HTTP/2 windows limit how much is read ahead.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub read_buffer_size: Option<u64>,
        /// Not used: responses are small.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub write_buffer_size: Option<u64>,
    }
}

/// The kind of address to listen on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A TCP port.
    #[default]
    Tcp,
    /// A unix socket.
    Unix,
}

/// When quiet connections are pinged and closed; the Collector's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeepaliveConfig {
    /// The server's own timers.
    pub server_parameters: KeepaliveServerParameters,
    /// Not used: clients may ping as often as they like, within HTTP/2 flood protection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement_policy: Option<KeepaliveEnforcementPolicy>,
}

/// The limits that the Collector sets for clients' pings. Not used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeepaliveEnforcementPolicy {
    /// Not used.
    pub min_time: Option<TimeSpan>,
    /// Not used.
    pub permit_without_stream: Option<bool>,
}

kernel::with_defaults! {
    /// The server's timers for quiet and old connections.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct KeepaliveServerParameters {
        /// A connection without a request for this long is closed gracefully (GOAWAY), even if it answers pings.
        /// Default: 5 minutes.
        // An idle limit of several times the longest export interval of SDKs (a minute); the Collector sets none.
        pub max_connection_idle: TimeSpan = TimeSpan::seconds(300),
        /// Maximum age of a connection, varied by a tenth; then it is closed gracefully. Default: no limit.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub max_connection_age: Option<TimeSpan>,
        /// How long requests in progress may still take on a connection that reached its maximum age. Default: 30 s.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub max_connection_age_grace: Option<TimeSpan>,
        /// A connection that was silent for this long is pinged. Default: 30 s.
        pub time: TimeSpan = TimeSpan::seconds(30),
        /// How long a ping may stay unanswered before the connection is closed. Default: 20 s.
        pub timeout: TimeSpan = TimeSpan::seconds(20),
    }
}

kernel::with_defaults! {
    /// OTLP/HTTP, protobuf and JSON.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct HttpConfig {
        /// Address to listen on: `host:port`, or `unix:/path`. With port 0 the system chooses a free port, which the
        /// log names. Default: `127.0.0.1:4318`.
        pub endpoint: String = "127.0.0.1:4318".to_owned(),
        /// `tcp` (default), or `unix`: then `endpoint` is the path of a socket, as in the Collector.
        pub transport: Transport,
        /// Path for traces. Default: `/v1/traces`.
        pub traces_url_path: String = "/v1/traces".to_owned(),
        /// Path for metrics. Default: `/v1/metrics`.
        pub metrics_url_path: String = "/v1/metrics".to_owned(),
        /// Path for logs. Default: `/v1/logs`.
        pub logs_url_path: String = "/v1/logs".to_owned(),
        /// The three paths are also served under these prefixes. Default: `/api/public/otel`, because Langfuse clients
        /// send to `/api/public/otel/v1/traces`.
        pub path_prefixes: Vec<String> = vec!["/api/public/otel".to_owned()],
        /// Which web pages may send. Default: none.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cors: Option<CorsConfig>,
        /// Largest body after decompression. Default: 64 MiB.
        pub max_request_body_size: ByteSize = ByteSize::mib(64),
        /// Largest body as sent, compressed. Default: `max_request_body_size`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub max_wire_size: Option<ByteSize>,
        /// Maximum number of connections. Beyond it a new connection replaces an idle one, or else a slow upload; if
        /// there is neither, the new one is closed. Default: 1024.
        pub max_connections: u32 = 1024,
        /// Time from opening a connection to its first request; a connection that stays silent is closed.
        /// Default: 10 s.
        pub read_header_timeout: TimeSpan = TimeSpan::seconds(10),
        /// Maximum time to receive one body. Default: 60 s.
        pub read_timeout: TimeSpan = TimeSpan::seconds(60),
        /// Maximum time that a connection may be idle between two requests, HTTP/1.1 or HTTP/2. Default: 3 minutes.
        pub idle_timeout: TimeSpan = TimeSpan::seconds(180),
        /// Maximum number of concurrent requests on one HTTP/2 connection. Default: 256.
        pub max_concurrent_streams: u32 = 256,
        /// Maximum age of a connection, varied by a tenth; then it is closed gracefully. Default: no limit.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub max_connection_age: Option<TimeSpan>,
        /// How long requests in progress may still take on a connection that reached its maximum age. Default: 30 s.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub max_connection_age_grace: Option<TimeSpan>,
        /// Certificate and key. Without this key the port serves plain text.
        pub tls: Option<Tls>,
        /// Not used: request metadata is never forwarded.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub include_metadata: Option<bool>,
        /// Not used: `idle_timeout` closes a connection whose client does not read its response.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub write_timeout: Option<TimeSpan>,
    }
}

/// Which web pages may send; the Collector's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CorsConfig {
    /// Allowed origins, such as `https://app.example.com`; `*` matches any characters.
    pub allowed_origins: Vec<String>,
    /// Request headers allowed in addition to the usual ones; `*`: any.
    pub allowed_headers: Vec<String>,
    /// Response headers that pages may read.
    pub exposed_headers: Vec<String>,
    /// How long a browser may cache these rules, in seconds. 0 (default) leaves it to the browser.
    pub max_age: u32,
}
