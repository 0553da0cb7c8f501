//! The settings under `redact: { recogniser: … }` and their checks. Texts are sent only to this machine or over TLS,
//! and only if the user has said with `trust` that this is allowed. `client` makes the calls.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::address::{self, Url};
use config::{ByteSize, FieldProblem, TimeSpan, load};
use kernel::secret::Secret;
use net::{is_local_host, tls};
use pipeline::Trust;
use redaction::RuleData;
use redaction::recognised::{ENTITIES, EntityRow};

kernel::with_defaults! {
    /// An external recogniser with the API of Presidio's analyzer. tollgate sends it the texts that will be forwarded,
    /// and it reports what is private in them.
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct Config {
        /// Address of the recogniser, such as `http://127.0.0.1:5002`; `/analyze` is appended. `http://` is allowed
        /// only for this machine.
        pub endpoint: String,
        /// Must be `internal`: the recogniser receives texts before anything in them is replaced.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub trust: Option<Trust>,
        /// Language of the texts, as a code that the recogniser knows.
        pub language: String = "en".to_owned(),
        /// Entity types to ask for, as the recogniser names them. Empty: all that it knows.
        pub entities: Vec<String> = vec!["PERSON".to_owned(), "LOCATION".to_owned()],
        /// Findings with a lower score are ignored; from 0 to 1.
        pub score_threshold: f64 = 0.5,
        /// Placeholders by entity type, for types that `config/rules/recogniser.yaml` does not list or maps to another
        /// placeholder.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub placeholders: BTreeMap<String, String>,
        /// Behaviour without an answer: `hold` asks the client to retry the request, `unscanned` replaces each text
        /// with `[UNSCANNED]`.
        pub on_error: OnRecogniserError = OnRecogniserError::Hold,
        /// Longest time from a batch's first call to its last answer.
        pub timeout: TimeSpan = TimeSpan::seconds(5),
        /// Most texts in one call. 1 sends each text by itself, for older analyzers that accept no lists.
        pub batch_texts: usize = 64,
        /// Most bytes of text in one call.
        pub batch_bytes: ByteSize = ByteSize(256 << 10),
        /// Longest text that is sent; longer ones become `[UNSCANNED]`.
        pub max_text_bytes: ByteSize = ByteSize(64 << 10),
        /// Most concurrent calls. An account with no running call may always make one.
        pub in_flight: usize = 2,
        /// Headers to send with every call.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub headers: BTreeMap<String, Secret>,
        /// TLS settings for `https://`.
        pub tls: TlsConfig,
    }
}

/// TLS settings of the connection.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file of certificates to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// Treatment of texts without an answer. They can't be forwarded unchecked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRecogniserError {
    /// Refuse the request with a retryable error; its client retries.
    #[default]
    Hold,
    /// Replace each of these texts with `[UNSCANNED]`.
    Unscanned,
}

#[derive(Clone)]
pub struct Settings {
    /// The full URI of calls, with its path.
    pub endpoint: Uri,
    /// TLS settings, if the endpoint is `https://`.
    pub tls: Option<tls::ClientTlsSettings>,
    /// Headers of every call.
    pub headers: HeaderMap,
    /// The settings that are used as they were given.
    pub config: Config,
    /// Kinds of findings. The last row is for entities without a row of their own.
    pub rows: Vec<EntityRow>,
    /// Rule indices in the detector by entity; empty until [`Settings::bind_rules`].
    pub rules: Arc<EntityRules>,
}

/// The detector's rules for findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntityRules {
    pub by_entity: HashMap<String, usize>,
    pub other: usize,
}

impl Settings {
    /// The rules for findings, to be added to the detector's.
    pub fn rule_data(&self) -> impl Iterator<Item = RuleData> + '_ {
        self.rows.iter().map(EntityRow::rule_data)
    }

    /// Looks up the rules' indices by name. Findings of a disabled rule are ignored.
    pub fn bind_rules(&mut self, index: impl Fn(&str) -> Option<usize>) {
        let mut rules = EntityRules { by_entity: HashMap::new(), other: usize::MAX };
        for row in &self.rows {
            let rule = index(&row.rule_name()).unwrap_or(usize::MAX);
            rules.by_entity.extend(row.entities.iter().map(|entity| (entity.clone(), rule)));
            rules.other = rule;
        }
        self.rules = Arc::new(rules);
    }
}

const TIMEOUT_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
const MAX_TEXTS: usize = 1000;
const MAX_BYTES: u64 = 4 << 20;
pub(super) const MAX_CALLS: usize = 64;
const MAX_ENTITIES: usize = 200;

impl Config {
    /// Checks all settings; [`Settings::bind_rules`] sets the rules later.
    ///
    /// # Errors
    /// All problems, each with its field below `recogniser`.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let mut wrong = |path: &str, what: String| problems.push(FieldProblem::new(format!("recogniser.{path}"), what));
        let endpoint = parse_endpoint(&self.endpoint).map_err(|what| wrong("endpoint", what)).ok();
        let what = match self.trust {
            Some(Trust::Internal) => None,
            Some(Trust::ThirdParty) => Some(", so it must be `internal`, not `third_party`"),
            None => Some(": set `trust: internal` to allow that"),
        };
        if let Some(what) = what {
            wrong("trust", format!("the recogniser receives unredacted texts{what}"));
        }
        if !(0.0..=1.0).contains(&self.score_threshold) {
            wrong("score_threshold", "must be from 0 to 1".to_owned());
        }
        if self.language.is_empty() || self.language.len() > 16 {
            wrong("language", "must be a language code such as `en`".to_owned());
        }
        if !TIMEOUT_RANGE.contains(&self.timeout.0) {
            wrong("timeout", "must be from 100ms to 1m".to_owned());
        }
        if !(1..=MAX_TEXTS).contains(&self.batch_texts) {
            wrong("batch_texts", format!("must be from 1 to {MAX_TEXTS}"));
        }
        for (path, size) in [("batch_bytes", self.batch_bytes), ("max_text_bytes", self.max_text_bytes)] {
            if !(1024..=MAX_BYTES).contains(&size.0) {
                wrong(path, format!("must be from 1KiB to {}", ByteSize(MAX_BYTES)));
            }
        }
        if !(1..=MAX_CALLS).contains(&self.in_flight) {
            wrong("in_flight", format!("must be from 1 to {MAX_CALLS}"));
        }
        if self.entities.len() > MAX_ENTITIES {
            wrong("entities", format!("must have at most {MAX_ENTITIES} entries"));
        }
        let headers = self.headers(&mut wrong);
        let rows = self.rows(&mut wrong);
        let tls = self.tls(endpoint.as_ref(), &mut wrong);
        match endpoint {
            Some(endpoint) if problems.is_empty() => {
                Ok(Settings { endpoint, tls, headers, config: self.clone(), rows, rules: Arc::default() })
            }
            _ => Err(problems),
        }
    }

    fn tls(&self, endpoint: Option<&Uri>, wrong: &mut impl FnMut(&str, String)) -> Option<tls::ClientTlsSettings> {
        let is_https = endpoint?.scheme_str() == Some("https");
        if !is_https && self.tls.ca_file.is_some() {
            wrong(
                "tls.ca_file",
                "has no effect because the endpoint is `http://`: remove it, or use `https://`".to_owned(),
            );
        }
        is_https
            .then(|| tls::ClientTlsSettings { ca_file: self.tls.ca_file.clone(), ..tls::ClientTlsSettings::default() })
    }

    fn headers(&self, wrong: &mut impl FnMut(&str, String)) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let path = format!("headers.{name}");
            let Ok(name) = name.parse::<HeaderName>() else {
                wrong(&path, "is not a valid header name".to_owned());
                continue;
            };
            if name == header::HOST || name == header::CONTENT_TYPE || name == header::CONTENT_LENGTH {
                wrong(&path, "tollgate sets this header itself: remove it".to_owned());
                continue;
            }
            match HeaderValue::from_str(value.expose()) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    headers.insert(name, value);
                }
                Err(_) => wrong(&path, "is not a valid header value".to_owned()),
            }
        }
        headers
    }

    /// The built-in table with the user's placeholders; the generic row stays last.
    fn rows(&self, wrong: &mut impl FnMut(&str, String)) -> Vec<EntityRow> {
        let mut rows: Vec<EntityRow> = match load::parse_data("recogniser.yaml", ENTITIES) {
            Ok(rows) => rows,
            Err(problem) => {
                wrong("entities", problem.to_string());
                return Vec::new();
            }
        };
        for (entity, placeholder) in &self.placeholders {
            let path = format!("placeholders.{entity}");
            let is_allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            let begins_with_letter = placeholder.starts_with(|char: char| char.is_ascii_uppercase());
            if !((2..=41).contains(&placeholder.len()) && begins_with_letter && placeholder.bytes().all(is_allowed)) {
                wrong(&path, "must be 2 to 41 capital letters, digits and `_`, beginning with a letter".to_owned());
                continue;
            }
            let entity = entity.to_ascii_uppercase();
            rows.iter_mut().for_each(|row| row.entities.retain(|known| *known != entity));
            match rows.iter_mut().find(|row| row.placeholder == *placeholder) {
                Some(row) => row.entities.push(entity),
                None => rows.insert(0, EntityRow { placeholder: placeholder.clone(), entities: vec![entity] }),
            }
        }
        rows
    }
}

/// Checks the endpoint and returns the URI of calls.
fn parse_endpoint(text: &str) -> Result<Uri, String> {
    const INVALID: &str = "must be an address such as `http://127.0.0.1:5002`";
    if text.is_empty() {
        return Err(INVALID.to_owned());
    }
    let Url { tls, host, query, .. } = address::parse_url(text)?;
    if query.is_some() {
        return Err("must not have a query: remove the part from `?` on".to_owned());
    }
    if !tls && !is_local_host(host) {
        let what = "texts would cross the network unencrypted: use `https://`, or `http://` only to 127.0.0.1, ::1 or localhost";
        return Err(what.to_owned());
    }
    let uri: Uri = text.parse().map_err(|_| INVALID)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(INVALID.to_owned());
    };
    let path = uri.path().trim_end_matches('/');
    let path = if path.ends_with("/analyze") { path.to_owned() } else { format!("{path}/analyze") };
    let parts = Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query(path);
    parts.build().map_err(|_| INVALID.to_owned())
}
