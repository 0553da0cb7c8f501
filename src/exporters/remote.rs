//! **What**: what every exporter that speaks OTLP to another machine writes and needs: `tls`, `headers`, compression,
//! preset, the client. **Why**: `otlp` and `otlp_http` differ in framing only. **Invariants**: header values are
//! secrets; what contradicts itself is an error, so that nothing goes out in clear by accident. **Not here**: framing
//! (each exporter), statuses (`verdict`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::preset::{Asked, Preset, PresetHeader};
use crate::clock::Clock;
use crate::config::{ByteSize, FieldProblem, Span};
use crate::net::encoding::compress;
use crate::net::spawn::blocking;
use crate::net::{Client, Encoding, Proxies, Spawn, client, tls};
use crate::otlp::Signal;
use crate::pipeline::Outcome;
use crate::secret::Secret;

/// Bodies over this are compressed off the reactor.
const INLINE: usize = 64 * 1024;
/// Largest request without a preset's or the user's word: gRPC servers take 4 MiB by default.
const MAX_REQUEST: u64 = 4 << 20;

/// TLS of a connection, with the Collector's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Plain text instead of TLS, for an endpoint without a scheme.
    pub insecure: bool,
    /// Not supported: an unverified server may be anybody. Give `ca_file` instead.
    pub insecure_skip_verify: bool,
    /// PEM file of the certificates to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The system's certificates beside `ca_file`.
    pub include_system_ca_certs_pool: bool,
    /// PEM file of the client's certificate chain.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client's key.
    pub key_file: Option<PathBuf>,
    /// Name to check the server's certificate against.
    pub server_name_override: Option<String>,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// zstd where the back end is known to take it or says so, else gzip; steps down when the back end refuses.
    #[default]
    Auto,
    /// zstd, level 1.
    Zstd,
    /// gzip, level 1.
    Gzip,
    /// Not at all.
    #[serde(alias = "")]
    None,
}

/// What both exporters' stanzas have in common, borrowed.
pub struct Written<'a> {
    /// `preset`
    pub preset: Option<Preset>,
    /// What the preset is asked.
    pub asked: Asked<'a>,
    /// `headers`
    pub headers: &'a BTreeMap<String, Secret>,
    /// `compression`
    pub compression: Compression,
    /// `timeout`
    pub timeout: Span,
    /// `tls`
    pub tls: &'a Tls,
    /// `max_request_size`
    pub max_request_size: Option<ByteSize>,
}

/// What both exporters' settings have in common. Valid by construction.
#[derive(Clone, Debug)]
pub struct Common {
    /// `https://host:port` of the preset, if the stanza names no endpoint.
    pub base: Option<String>,
    /// Headers of every request, or of one signal.
    pub headers: Vec<(HeaderName, Secret, Option<Signal>)>,
    /// How requests are compressed.
    pub compression: Compression,
    /// Whether the back end is known to take zstd.
    pub zstd: bool,
    /// From sending to the whole answer.
    pub timeout: Duration,
    /// TLS of `https://` destinations.
    pub tls: tls::Settings,
    /// Whether an endpoint without a scheme is plain.
    pub insecure: bool,
    /// Whether TLS was asked for by a key that plain text has no use for.
    pub tls_asked: bool,
    /// Largest request before compression, bytes.
    pub max_request_bytes: usize,
}

impl Written<'_> {
    /// Checks what was written; problems go to `problems`.
    pub fn resolve(&self, problems: &mut Vec<FieldProblem>) -> Common {
        let preset = self.preset(problems);
        let mut headers: Vec<_> = preset
            .headers
            .into_iter()
            .filter_map(|PresetHeader { name, value, only }| {
                if HeaderValue::from_str(value.expose()).is_err() {
                    problems.push(FieldProblem::new("", "a key or dataset has characters that no header can hold"));
                }
                (!self.says(name)).then(|| (HeaderName::from_static(name), value, only))
            })
            .collect();
        for (name, value) in self.headers {
            let path = format!("headers.{name}");
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
                problems.push(FieldProblem::new(path, "not the name of a header"));
                continue;
            };
            if HeaderValue::from_str(value.expose()).is_err() {
                problems.push(FieldProblem::new(path, "has characters that no header can hold, such as a line end"));
            } else if is_ours(&name) {
                problems.push(FieldProblem::new(path, "is set by tollgate itself"));
            }
            headers.push((name, value.clone(), None));
        }
        if self.timeout.0.is_zero() {
            problems.push(FieldProblem::new("timeout", "must be more than zero: every wait has an end"));
        }
        let size = self.max_request_size.map_or(preset.max_request_bytes, |size| size.0);
        if size < 1024 {
            problems.push(FieldProblem::new("max_request_size", "must be at least 1 KiB"));
        }
        Common {
            base: preset.base,
            headers,
            compression: self.compression,
            zstd: preset.zstd,
            timeout: self.timeout.0,
            tls: self.tls.settings(problems),
            insecure: self.tls.insecure,
            tls_asked: self.tls.ca_file.is_some() || self.tls.cert_file.is_some() || self.tls.key_file.is_some(),
            max_request_bytes: usize::try_from(size).unwrap_or(usize::MAX),
        }
    }

    /// Whether the user's own headers hold `name`.
    fn says(&self, name: &str) -> bool {
        self.headers.keys().any(|own| own.eq_ignore_ascii_case(name))
    }

    fn preset(&self, problems: &mut Vec<FieldProblem>) -> super::preset::Resolved {
        let nothing = super::preset::Resolved { max_request_bytes: MAX_REQUEST, ..Default::default() };
        let Some(preset) = self.preset else {
            let asked = self.asked;
            for (key, given) in [
                ("region", asked.region.is_some()),
                ("api_key", asked.api_key.is_some()),
                ("ingestion_key", asked.ingestion_key.is_some()),
                ("dataset", asked.dataset.is_some()),
            ] {
                if given {
                    problems.push(FieldProblem::new(key, "belongs to a `preset`; other keys stand under `headers`"));
                }
            }
            return nothing;
        };
        match preset.resolve(self.asked) {
            Ok(resolved) => resolved,
            Err(found) => {
                problems.extend(found.into_iter().map(|(key, what)| FieldProblem::new(key, what)));
                nothing
            }
        }
    }
}

/// Headers that belong to the protocol.
fn is_ours(name: &HeaderName) -> bool {
    const OURS: [&str; 9] = [
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
    OURS.contains(&name.as_str())
}

impl Tls {
    fn settings(&self, problems: &mut Vec<FieldProblem>) -> tls::Settings {
        if self.insecure_skip_verify {
            let what = "is not supported: an unverified server may be anybody; give its certificate as `ca_file`";
            problems.push(FieldProblem::new("tls.insecure_skip_verify", what));
        }
        let identity = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) => {
                problems.push(FieldProblem::new("tls.key_file", "is missing beside `cert_file`"));
                None
            }
            (None, Some(_)) => {
                problems.push(FieldProblem::new("tls.cert_file", "is missing beside `key_file`"));
                None
            }
        };
        let server_name = self.server_name_override.as_ref().and_then(|name| {
            let name = ServerName::try_from(name.clone()).ok();
            if name.is_none() {
                problems.push(FieldProblem::new("tls.server_name_override", "not the name of a host"));
            }
            name
        });
        let ca_file = self.ca_file.clone();
        tls::Settings { ca_file, system_roots_too: self.include_system_ca_certs_pool, identity, server_name }
    }
}

impl Common {
    /// `text` as an absolute URL; without a scheme it is https unless `tls.insecure`.
    ///
    /// # Errors
    /// A fixed text.
    pub fn url(&self, text: &str, scheme_needed: bool) -> Result<Uri, &'static str> {
        let bare = !text.contains("://");
        if bare && scheme_needed {
            return Err("is a URL: it begins with `https://` or `http://`");
        }
        let full = match (bare, self.insecure) {
            (true, true) => format!("http://{text}"),
            (true, false) => format!("https://{text}"),
            (false, _) => text.to_owned(),
        };
        let uri: Uri = full.parse().map_err(|_| "is not an address")?;
        if uri.scheme() != Some(&Scheme::HTTPS) && uri.scheme() != Some(&Scheme::HTTP) {
            return Err("has neither `https://` nor `http://`");
        }
        if uri.authority().is_none_or(|authority| authority.as_str().contains('@') || authority.host().is_empty()) {
            return Err("has no host, or a user in front of it: credentials belong under `headers`");
        }
        let plain = uri.scheme() == Some(&Scheme::HTTP);
        if plain && self.tls_asked {
            return Err("is plain text, though `tls` names certificates");
        }
        if !plain && self.insecure {
            return Err("is https, though `tls.insecure` says plain text");
        }
        Ok(uri)
    }
}

/// `base` with `path` after its own.
pub fn with_path(base: &Uri, path: &str) -> Option<Uri> {
    let mut parts = base.clone().into_parts();
    let own = base.path().trim_end_matches('/');
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{own}{path}")).ok()?);
    Uri::from_parts(parts).ok()
}

/// What exporters are built with.
#[derive(Clone)]
pub struct Deps {
    /// Connections and compression run as its tasks.
    pub tasks: Arc<dyn Spawn>,
    /// For dates in Retry-After.
    pub clock: Arc<dyn Clock>,
    /// Ways out.
    pub proxies: Arc<Proxies>,
}

/// What both exporters hold while running.
pub struct Remote {
    /// Component id.
    pub id: Arc<str>,
    /// Their settings.
    pub common: Common,
    /// The way out.
    pub client: Client,
    /// What they were built with.
    pub deps: Deps,
    encoding: AtomicU8,
    complaint: Mutex<String>,
}

impl Remote {
    /// Opens the client for `destinations`.
    ///
    /// # Errors
    /// One line about a TLS file or missing roots.
    pub fn build(
        id: Arc<str>,
        common: Common,
        http2_only: bool,
        destinations: &[&Uri],
        deps: Deps,
    ) -> Result<Self, String> {
        let encrypted = destinations.iter().any(|uri| uri.scheme() == Some(&Scheme::HTTPS));
        let settings = client::Settings { tls: encrypted.then(|| common.tls.clone()), http2_only };
        let client = Client::build(&settings, Arc::clone(&deps.proxies), Arc::clone(&deps.tasks))?;
        let first = match (common.compression, common.zstd) {
            (Compression::Zstd, _) | (Compression::Auto, true) => Encoding::Zstd,
            (Compression::Gzip, _) | (Compression::Auto, false) => Encoding::Gzip,
            (Compression::None, _) => Encoding::Identity,
        };
        let encoding = AtomicU8::new(rank(first));
        Ok(Self { id, common, client, deps, encoding, complaint: Mutex::default() })
    }

    /// The encoding to use now.
    pub fn encoding(&self) -> Encoding {
        match self.encoding.load(Ordering::Relaxed) {
            2 => Encoding::Zstd,
            1 => Encoding::Gzip,
            _ => Encoding::Identity,
        }
    }

    /// The back end refused `used`: true if another encoding will be tried (only with `compression: auto`).
    pub fn step_down(&self, used: Encoding) -> bool {
        if self.common.compression != Compression::Auto || used == Encoding::Identity {
            return false;
        }
        let (from, to) = (rank(used), rank(used).saturating_sub(1));
        let _ = self.encoding.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        true
    }

    /// The back end said what it takes.
    pub fn advertised(&self, headers: &HeaderMap, name: &str) {
        let auto = self.common.compression == Compression::Auto && self.encoding() == Encoding::Gzip;
        let takes = |value: &str| value.split(',').any(|token| Encoding::parse(token) == Some(Encoding::Zstd));
        if auto && headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(takes) {
            self.encoding.store(rank(Encoding::Zstd), Ordering::Relaxed);
        }
    }

    /// `body` in `encoding`, away from the sockets if it is large. None: it could not be done.
    pub async fn compress(&self, encoding: Encoding, body: &Bytes) -> Option<Bytes> {
        if encoding == Encoding::Identity {
            return Some(body.clone());
        }
        if body.len() <= INLINE {
            return compress(encoding, body).ok();
        }
        let body = body.clone();
        blocking(&*self.deps.tasks, "compress", move || compress(encoding, &body).ok()).await.flatten()
    }

    /// Adds the headers that were asked for.
    pub fn headers(&self, signal: Signal, to: &mut HeaderMap) {
        to.insert(http::header::USER_AGENT, HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"))));
        for (name, secret, only) in &self.common.headers {
            if only.is_none_or(|only| only == signal)
                && let Ok(mut value) = HeaderValue::from_str(secret.expose())
            {
                value.set_sensitive(true);
                to.insert(name.clone(), value);
            }
        }
    }

    /// Complains if `outcome` is a failure; `status` is a number or a code.
    pub fn report(&self, outcome: &Outcome, status: String) {
        let failed = matches!(outcome, Outcome::Retry { .. } | Outcome::Refused { .. });
        self.complain(failed.then_some(status));
    }

    /// Says once why deliveries fail, until they fail for another reason or succeed. `what` is ours: a status or a
    /// connection error, never a back end's text.
    pub fn complain(&self, what: Option<String>) {
        let what = what.unwrap_or_default();
        let mut last = self.complaint.lock();
        if *last != what {
            if !what.is_empty() {
                tracing::warn!(exporter = &*self.id, reason = what, "the back end does not take requests");
            }
            *last = what;
        }
    }
}

fn rank(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::Zstd => 2,
        Encoding::Gzip => 1,
        Encoding::Identity | Encoding::Deflate => 0,
    }
}
