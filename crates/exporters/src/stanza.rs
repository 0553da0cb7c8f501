//! The configuration shared by the exporters that send OTLP to another machine: preset, `headers`, compression, `tls`,
//! queue and retry. `remote_config!` puts these keys beside an exporter's own; [`RemoteSettings`] is their checked
//! form. `otlp` and `otlp_http` differ only in their endpoints. Header values are secrets. Contradictory settings are
//! errors, so that nothing is sent in clear text by accident. `remote` has the running exporter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Uri};
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::counted_by::{CountedBy, Stamps};
pub use super::cumulative::DeltaToCumulativeConfig as Totals;
use super::preset::{Preset, PresetHeader, PresetKeys};
use super::queue::{RetryOnFailure, SendingQueue};
use super::sample::SampleConfig;
use config::{ByteSize, FieldProblem, TimeSpan, address};
use kernel::secret::Secret;
use net::{is_local_host, tls};
use otlp::Signal;
use pipeline::{AckMode, OnFullAction, OutletSettings, Trust};

/// Largest request if neither the preset nor the user sets one: gRPC servers accept 4 MiB by default.
const MAX_REQUEST: u64 = 4 << 20;

/// Defines an exporter's `Config`: its own keys (each an `Option<String>`) and then the shared ones. They form one
/// struct because `deny_unknown_fields` does not work with `flatten`.
macro_rules! remote_config {
    ($(#[$doc:meta])* timeout = $timeout:literal; $($(#[$own_doc:meta])* $own:ident;)*) => {
        ::kernel::with_defaults! {
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
            #[serde(deny_unknown_fields, default)]
            pub struct Config {
                $($(#[$own_doc])* pub $own: Option<String>,)*
                /// A back end known by name; sets address, headers and limits.
                pub preset: Option<$crate::preset::Preset>,
                /// Region of the preset.
                pub region: Option<String>,
                /// API key of the preset `honeycomb`.
                pub api_key: Option<::kernel::secret::Secret>,
                /// Ingestion key of the preset `signoz`.
                pub ingestion_key: Option<::kernel::secret::Secret>,
                /// Dataset of the preset `honeycomb`: for Classic keys, and for logs without a service name.
                pub dataset: Option<String>,
                /// Headers of every request.
                pub headers: std::collections::BTreeMap<String, ::kernel::secret::Secret>,
                /// Headers of requests that carry one account's data, by account. They override `headers`.
                #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
                pub account_headers:
                    std::collections::BTreeMap<String, std::collections::BTreeMap<String, ::kernel::secret::Secret>>,
                /// Compression of requests. Default: `auto`.
                pub compression: $crate::stanza::Compression,
                /// Maximum time from sending a request to receiving the whole response.
                pub timeout: ::config::TimeSpan = ::config::TimeSpan::seconds($timeout),
                /// TLS settings of the connection.
                pub tls: $crate::stanza::ClientTlsConfig,
                /// Largest request before compression. Larger batches are split; a larger single item is quarantined.
                /// Default: the preset's limit, or 4 MiB; raise it if the back end accepts more.
                pub max_request_size: Option<::config::ByteSize>,
                /// What an OK to a client means: `spooled` (default), the data is in the spool; `delivered`, the back
                /// end has also answered; `offered`, nothing (data for this exporter is kept in memory only).
                pub ack: ::pipeline::AckMode,
                /// Maximum number of bytes that may wait for this exporter. Without this key only `spool.max_size`
                /// limits them; with `ack: offered` the default is 64 MiB of memory, plus the bytes read ahead.
                pub max_pending: Option<::config::ByteSize>,
                /// What happens when `max_pending` is reached. `refuse` (default): requests are refused as a whole,
                /// clients retry, and `/readyz` names the exporter. `expire`: the oldest data is dropped and counted.
                pub on_full: ::pipeline::OnFullAction,
                /// Sends one request at a time, in the order of arrival.
                pub ordered: bool,
                /// Earlier destinations of this exporter, as `host:port` in the form that the log and `spool list`
                /// print. Data that waits for them is sent to the current destination; without this key it is held.
                pub moved_from: Vec<String>,
                /// How data waiting in the spool is read, merged and sent.
                pub sending_queue: $crate::queue::SendingQueue,
                /// How long to wait before a failed request is retried. Retries continue until the back end accepts or
                /// refuses it.
                pub retry_on_failure: $crate::queue::RetryOnFailure,
                /// Converts delta metrics to cumulative ones, for back ends that do not accept deltas; `{}` for the
                /// defaults.
                pub deltatocumulative: Option<$crate::stanza::Totals>,
                /// The back end that counts tokens: its counts on spans that are not charged move to
                /// `tollgate.reported.*`. Default: the preset's, or `none`. Needs the step `cost`.
                pub counted_by: Option<$crate::CountedBy>,
                /// Which attributes of tollgate's own are sent: `all` (default), or `essential`, those by which cost is
                /// added up, and by which a run and its content are found.
                pub stamps: $crate::Stamps,
                /// Sends every run that a `keep` rule matches and a share of the others, marked with `SampleRate`.
                #[serde(skip_serializing_if = "Option::is_none")]
                pub sample: Option<$crate::sample::SampleConfig>,
                /// `third_party` (default) sends only stripped and redacted telemetry; `internal` sends everything.
                pub trust: ::pipeline::Trust,
            }
        }

        impl Config {
            /// The keys that both exporters share.
            fn written(&self) -> $crate::stanza::RemoteConfigKeys<'_> {
                $crate::stanza::RemoteConfigKeys {
                    preset: self.preset,
                    preset_keys: $crate::preset::PresetKeys {
                        region: self.region.as_deref(),
                        api_key: self.api_key.as_ref(),
                        ingestion_key: self.ingestion_key.as_ref(),
                        dataset: self.dataset.as_deref(),
                        own_endpoint: [$(&self.$own),*].iter().any(|own| own.is_some()),
                    },
                    headers: &self.headers,
                    account_headers: &self.account_headers,
                    compression: self.compression,
                    timeout: self.timeout,
                    tls: &self.tls,
                    max_request_size: self.max_request_size,
                    ack: self.ack,
                    max_pending: self.max_pending,
                    on_full: self.on_full,
                    ordered: self.ordered,
                    moved_from: &self.moved_from,
                    queue: &self.sending_queue,
                    retry: &self.retry_on_failure,
                    deltatocumulative: self.deltatocumulative.as_ref(),
                    counted_by: self.counted_by,
                    stamps: self.stamps,
                    sample: self.sample.as_ref(),
                }
            }
        }
    };
}
pub(super) use remote_config;

/// TLS settings of a connection, with the Collector's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTlsConfig {
    /// Uses plain text instead of TLS if the endpoint has no scheme.
    pub insecure: bool,
    /// Not supported: an unverified server could be anyone. Set `ca_file` instead.
    pub insecure_skip_verify: bool,
    /// PEM file of the CA certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Trusts the system's CA certificates in addition to `ca_file`.
    pub include_system_ca_certs_pool: bool,
    /// PEM file of the client's certificate chain.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client's private key.
    pub key_file: Option<PathBuf>,
    /// Host name to verify the server's certificate against.
    pub server_name_override: Option<String>,
    /// How often the files are checked for changes. Changed files apply to new connections.
    pub reload_interval: Option<TimeSpan>,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// zstd if the back end is known to accept it or advertises it, otherwise gzip; falls back when the back end
    /// refuses.
    #[default]
    Auto,
    /// zstd, level 1.
    Zstd,
    /// gzip, level 1.
    Gzip,
    /// No compression.
    #[serde(alias = "")]
    None,
}

/// The shared keys of a stanza, borrowed.
pub struct RemoteConfigKeys<'a> {
    pub preset: Option<Preset>,
    pub preset_keys: PresetKeys<'a>,
    pub headers: &'a BTreeMap<String, Secret>,
    pub account_headers: &'a BTreeMap<String, BTreeMap<String, Secret>>,
    pub compression: Compression,
    pub timeout: TimeSpan,
    pub tls: &'a ClientTlsConfig,
    pub max_request_size: Option<ByteSize>,
    pub ack: AckMode,
    pub max_pending: Option<ByteSize>,
    pub on_full: OnFullAction,
    pub ordered: bool,
    pub moved_from: &'a [String],
    pub queue: &'a SendingQueue,
    pub retry: &'a RetryOnFailure,
    pub deltatocumulative: Option<&'a Totals>,
    pub counted_by: Option<CountedBy>,
    pub stamps: Stamps,
    pub sample: Option<&'a SampleConfig>,
}

/// The checked settings that both exporters share.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    /// `https://host:port` of the preset, if the stanza sets no endpoint.
    pub preset_url: Option<String>,
    /// Headers of every request, or of requests of one signal.
    pub headers: Vec<(HeaderName, Secret, Option<Signal>)>,
    /// Headers of requests that carry one account's data.
    pub account_headers: BTreeMap<String, Vec<(HeaderName, Secret)>>,
    /// How requests are compressed.
    pub compression: Compression,
    /// Whether the back end is known to accept zstd.
    pub accepts_zstd: bool,
    /// Maximum time from sending a request to receiving the whole response.
    pub timeout: Duration,
    /// TLS of `https://` destinations.
    pub tls: tls::ClientTlsSettings,
    /// Whether an endpoint without a scheme uses plain text.
    pub insecure: bool,
    /// Whether the stanza sets TLS files, which have no use with plain text.
    pub has_tls_files: bool,
    /// Largest request before compression, in bytes.
    pub max_request_bytes: usize,
    /// How the spool serves the exporter.
    pub outlet: OutletSettings,
    /// Conversion of deltas to totals, if configured.
    pub cumulative: Option<Totals>,
    /// How the back end counts calls and tokens.
    pub counted_by: CountedBy,
    /// Which attributes of tollgate's own are sent.
    pub stamps: Stamps,
    /// Earlier destinations; data that waits for them is sent to the current destination.
    pub moved_from: Vec<String>,
    /// Notes on valid keys that work differently in the Collector.
    pub notes: Vec<FieldProblem>,
}

impl RemoteConfigKeys<'_> {
    /// Validates the keys and adds problems to `problems`.
    pub fn resolve(&self, problems: &mut Vec<FieldProblem>) -> RemoteSettings {
        let preset = self.resolve_preset(problems);
        let mut headers: Vec<_> = preset
            .headers
            .into_iter()
            .filter_map(|PresetHeader { name, value, only_signal: only }| {
                if HeaderValue::from_str(value.expose()).is_err() {
                    problems.push(FieldProblem::new(
                        "",
                        "a key or dataset contains characters that are not allowed in a header",
                    ));
                }
                (!self.has_header(name)).then(|| (HeaderName::from_static(name), value, only))
            })
            .collect();
        let own_headers = check_headers("headers", self.headers, problems);
        headers.extend(own_headers.into_iter().map(|(name, value)| (name, value, None)));
        let account_headers = (self.account_headers.iter())
            .map(|(account, headers)| {
                (account.clone(), check_headers(&format!("account_headers.{account}"), headers, problems))
            })
            .collect();
        if self.timeout.0.is_zero() {
            problems.push(FieldProblem::new("timeout", "must be more than zero"));
        }
        let (outlet, batch_max) = self.queue.outlet_settings(self.retry, problems);
        if self.max_pending.is_some_and(|bound| bound.0 == 0) {
            problems.push(FieldProblem::new("max_pending", "must be more than zero"));
        }
        if self.on_full == OnFullAction::Expire && self.max_pending.is_none() {
            problems.push(FieldProblem::new("on_full", "requires `max_pending`"));
        }
        if self.on_full == OnFullAction::Expire && self.ack == AckMode::Delivered {
            problems.push(FieldProblem::new(
                "on_full",
                "`expire` can't be combined with `ack: delivered`, because it drops data: use `refuse`",
            ));
        }
        let max_pending = self.max_pending.map(|bound| bound.0);
        let cumulative = self.deltatocumulative.copied().inspect(|written| written.check(problems));
        // Totals depend on the order of the deltas.
        let ordered = self.ordered || cumulative.is_some();
        let reads_weights = self.preset == Some(Preset::Honeycomb);
        let sample = self.sample.map(|sample| sample.resolve(reads_weights, (self.ack, self.ordered), problems));
        let outlet = OutletSettings { ack: self.ack, max_pending, on_full: self.on_full, ordered, sample, ..outlet };
        let size = self.max_request_size.map_or(preset.max_request_bytes, |size| size.0);
        let size = batch_max.map_or(size, |batch_max| batch_max.min(size));
        if size < 1024 {
            problems.push(FieldProblem::new("max_request_size", "must be at least 1 KiB"));
        }
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let moved_from = self.moved_from.iter().enumerate();
        let moved_from = moved_from
            .filter_map(|(index, destination)| check_former_destination(index, destination, problems))
            .collect();
        RemoteSettings {
            preset_url: preset.base_url,
            headers,
            account_headers,
            compression: self.compression,
            accepts_zstd: preset.accepts_zstd,
            timeout: self.timeout.0,
            tls: self.tls.settings(problems),
            insecure: self.tls.insecure,
            has_tls_files: self.tls.ca_file.is_some() || self.tls.cert_file.is_some() || self.tls.key_file.is_some(),
            max_request_bytes: bytes(size),
            outlet,
            cumulative,
            counted_by: self.counted_by.unwrap_or(preset.counted_by),
            stamps: self.stamps,
            moved_from,
            notes: [self.queue.notes(), self.retry.notes(), self.sample.map_or_else(Vec::new, SampleConfig::notes)]
                .concat(),
        }
    }

    /// Whether the user's own headers contain `name`.
    fn has_header(&self, name: &str) -> bool {
        self.headers.keys().any(|own| own.eq_ignore_ascii_case(name))
    }

    fn resolve_preset(&self, problems: &mut Vec<FieldProblem>) -> super::preset::PresetSettings {
        let no_preset = super::preset::PresetSettings { max_request_bytes: MAX_REQUEST, ..Default::default() };
        let Some(preset) = self.preset else {
            let keys = self.preset_keys;
            for (key, is_set) in [
                ("region", keys.region.is_some()),
                ("api_key", keys.api_key.is_some()),
                ("ingestion_key", keys.ingestion_key.is_some()),
                ("dataset", keys.dataset.is_some()),
            ] {
                if is_set {
                    problems.push(FieldProblem::new(
                        key,
                        "requires a `preset`; without one, put credentials under `headers`",
                    ));
                }
            }
            return no_preset;
        };
        match preset.resolve(self.preset_keys) {
            Ok(resolved) => resolved,
            Err(preset_problems) => {
                problems.extend(preset_problems.into_iter().map(|(key, what)| FieldProblem::new(key, what)));
                no_preset
            }
        }
    }
}

/// Validates headers as written.
fn check_headers(
    key: &str,
    written: &BTreeMap<String, Secret>,
    problems: &mut Vec<FieldProblem>,
) -> Vec<(HeaderName, Secret)> {
    let mut headers = Vec::new();
    for (name, value) in written {
        let path = format!("{key}.{name}");
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            problems.push(FieldProblem::new(path, "is not a valid header name"));
            continue;
        };
        if HeaderValue::from_str(value.expose()).is_err() {
            problems.push(FieldProblem::new(
                path,
                "contains characters that are not allowed in a header, such as a line break",
            ));
        } else if is_protocol_header(&name) {
            problems.push(FieldProblem::new(path, "must not be set: tollgate sets this header itself"));
        } else if value.expose().trim().is_empty() {
            problems.push(FieldProblem::new(path, "is empty: write `${env:NAME}`, or remove the header"));
        }
        headers.push((name, value.clone()));
    }
    headers
}

/// Validates an entry of `moved_from`, which has the form that [`destination_of_urls`] returns.
fn check_former_destination(index: usize, destination: &str, problems: &mut Vec<FieldProblem>) -> Option<String> {
    let destination = destination.trim().to_ascii_lowercase();
    let has_port = |text: &str| text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let is_valid =
        !destination.contains(|c: char| c.is_whitespace() || c == '/') && destination.split(',').all(has_port);
    if !is_valid {
        problems.push(FieldProblem::new(
            format!("moved_from.{index}"),
            "must be `host:port`, as `spool list` prints it after the `@`",
        ));
    }
    is_valid.then_some(destination)
}

/// Whether the protocol itself sets this header.
fn is_protocol_header(name: &HeaderName) -> bool {
    const PROTOCOL_HEADERS: [&str; 9] = [
        "host",
        "te",
        "content-type",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "connection",
        "grpc-encoding",
        "grpc-timeout",
    ];
    PROTOCOL_HEADERS.contains(&name.as_str())
}

impl ClientTlsConfig {
    fn settings(&self, problems: &mut Vec<FieldProblem>) -> tls::ClientTlsSettings {
        if self.insecure_skip_verify {
            let what = "is not supported, because it accepts any server: set `ca_file` to the server's CA instead";
            problems.push(FieldProblem::new("tls.insecure_skip_verify", what));
        }
        let identity = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) => {
                problems.push(FieldProblem::new("tls.key_file", "is missing: `cert_file` requires it"));
                None
            }
            (None, Some(_)) => {
                problems.push(FieldProblem::new("tls.cert_file", "is missing: `key_file` requires it"));
                None
            }
        };
        let server_name = self.server_name_override.as_ref().and_then(|name| {
            let name = ServerName::try_from(name.clone()).ok();
            if name.is_none() {
                problems.push(FieldProblem::new("tls.server_name_override", "is not a valid host name"));
            }
            name
        });
        let ca_file = self.ca_file.clone();
        if self.reload_interval.is_some_and(|every| every.0.is_zero()) {
            problems.push(FieldProblem::new("tls.reload_interval", "must be more than zero"));
        }
        let defaults = tls::ClientTlsSettings::default();
        let reload_interval = self.reload_interval.map_or(defaults.reload_interval, |every| every.0);
        let system_roots_too = self.include_system_ca_certs_pool;
        tls::ClientTlsSettings { ca_file, system_roots_too, identity, server_name, reload_interval, ..defaults }
    }
}

impl RemoteSettings {
    /// Adds a note if `url` would carry keys and data in plain text over a network to a third party.
    pub fn note_plain_text(&mut self, trust: Trust, field: &str, url: &Uri) {
        let is_plain_text = url.scheme() == Some(&Scheme::HTTP);
        if is_plain_text && trust == Trust::ThirdParty && !url.host().is_some_and(is_local_host) {
            let what = "keys and data are sent in plain text to a third party: use `https://`, or set `trust: internal` \
                        if the back end and the network to it are your own";
            self.notes.push(FieldProblem::new(field, what));
        }
    }

    /// Parses `text` as an absolute URL. Without a scheme it is https, or http with `tls.insecure`.
    ///
    /// # Errors
    /// A message that quotes nothing of the address except digits of its port.
    pub fn parse_url(&self, text: &str, scheme_needed: bool) -> Result<Uri, String> {
        let has_no_scheme = !text.contains("://");
        if has_no_scheme && scheme_needed {
            return Err("must start with `https://` or `http://`".to_owned());
        }
        let full = match (has_no_scheme, self.insecure) {
            (true, true) => format!("http://{text}"),
            (true, false) => format!("https://{text}"),
            (false, _) => text.to_owned(),
        };
        let is_plain_text = !address::parse_url(&full)?.tls;
        let uri: Uri = full.parse().map_err(|_| "is not a valid URL")?;
        if is_plain_text && self.has_tls_files {
            return Err("uses plain text, but `tls` names certificates: use `https://`, or remove them".to_owned());
        }
        if !is_plain_text && self.insecure {
            return Err("uses `https`, but `tls.insecure` asks for plain text: remove one of the two".to_owned());
        }
        Ok(uri)
    }
}

/// The destination of these URLs: `host:port`, several joined with commas. Scheme and path do not make a different
/// destination.
pub fn destination_of_urls<'u>(urls: impl Iterator<Item = &'u Uri>) -> String {
    let destination = |url: &Uri| {
        let port = url.port_u16().unwrap_or(if url.scheme() == Some(&Scheme::HTTP) { 80 } else { 443 });
        format!("{}:{port}", url.host().unwrap_or_default().to_ascii_lowercase())
    };
    let destinations: BTreeSet<String> = urls.map(destination).collect();
    destinations.into_iter().collect::<Vec<_>>().join(",")
}

/// Appends `path` to the path of `base`.
pub fn with_path(base: &Uri, path: &str) -> Option<Uri> {
    let mut parts = base.clone().into_parts();
    let base_path = base.path().trim_end_matches('/');
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{base_path}{path}")).ok()?);
    Uri::from_parts(parts).ok()
}
