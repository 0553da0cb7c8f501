//! Back ends known by name, with their addresses, headers and limits, so that a user writes a key instead of a page of
//! settings. Values written in the stanza override the preset.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::counted_by::CountedBy;
use kernel::secret::Secret;
use otlp::Signal;

/// A back end known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Honeycomb. Takes `api_key`, `region` (us, eu) and `dataset`.
    Honeycomb,
    /// SigNoz Cloud. Takes `ingestion_key` and `region` (us, eu, in, in2). Self-hosted: set `endpoint`; no key is
    /// needed.
    Signoz,
}

/// The keys of a stanza that a preset reads.
#[derive(Clone, Copy)]
pub struct PresetKeys<'a> {
    pub region: Option<&'a str>,
    pub api_key: Option<&'a Secret>,
    pub ingestion_key: Option<&'a Secret>,
    pub dataset: Option<&'a str>,
    /// Whether the stanza sets an endpoint itself.
    pub own_endpoint: bool,
}

/// A header that a preset adds, for all signals or for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresetHeader {
    /// Header name in lower case.
    pub name: &'static str,
    pub value: Secret,
    /// The only signal that gets this header; `None`: all.
    pub only_signal: Option<Signal>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresetSettings {
    /// `https://host:port`; `None` if the stanza sets its own endpoint.
    pub base_url: Option<String>,
    /// Headers to send with requests.
    pub headers: Vec<PresetHeader>,
    /// Whether the back end is known to accept zstd.
    pub accepts_zstd: bool,
    /// Largest request before compression, in bytes.
    pub max_request_bytes: u64,
    /// How the back end counts calls and tokens.
    pub counted_by: CountedBy,
}

/// A key of the stanza, and what is wrong with its value.
pub type PresetProblem = (&'static str, &'static str);

impl Preset {
    /// Derives addresses, headers and limits from the stanza's keys.
    ///
    /// # Errors
    /// Every problem: the key and what is wrong, never the value.
    pub fn resolve(self, keys: PresetKeys<'_>) -> Result<PresetSettings, Vec<PresetProblem>> {
        match self {
            Self::Honeycomb => resolve_honeycomb(keys),
            Self::Signoz => resolve_signoz(keys),
        }
    }
}

/// Keys that begin with `hcaic_` or have 32 hex digits belong to Honeycomb Classic, where every signal needs a
/// dataset.
fn is_classic(key: &str) -> bool {
    key.starts_with("hcaic_") || (key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn resolve_honeycomb(keys: PresetKeys<'_>) -> Result<PresetSettings, Vec<PresetProblem>> {
    let mut problems = Vec::new();
    if keys.ingestion_key.is_some() {
        problems.push(("ingestion_key", "belongs to the preset `signoz`: use `api_key` with `honeycomb`"));
    }
    let base_url = match keys.region.unwrap_or("us") {
        "us" => "https://api.honeycomb.io:443",
        "eu" => "https://api.eu1.honeycomb.io:443",
        _ => {
            problems.push(("region", "must be `us` or `eu` with the preset `honeycomb`"));
            ""
        }
    };
    let Some(key) = keys.api_key.filter(|key| !key.is_empty()) else {
        problems.push(("api_key", "the preset `honeycomb` needs an API key"));
        return Err(problems);
    };
    let mut headers = vec![PresetHeader { name: "x-honeycomb-team", value: key.clone(), only_signal: None }];
    let is_classic_key = is_classic(key.expose());
    if let Some(dataset) = keys.dataset {
        // Without Classic, Honeycomb takes the dataset from the service name; the header only names it for logs
        // without one.
        let only_signal = (!is_classic_key).then_some(Signal::Logs);
        headers.push(PresetHeader { name: "x-honeycomb-dataset", value: Secret::new(dataset.to_owned()), only_signal });
    } else if is_classic_key {
        problems.push(("dataset", "a Honeycomb Classic key needs a dataset"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let base_url = (!keys.own_endpoint).then(|| base_url.to_owned());
    Ok(PresetSettings {
        base_url,
        headers,
        accepts_zstd: true,
        max_request_bytes: 5_000_000,
        counted_by: CountedBy::Honeycomb,
    })
}

fn resolve_signoz(keys: PresetKeys<'_>) -> Result<PresetSettings, Vec<PresetProblem>> {
    let mut problems = Vec::new();
    if keys.api_key.is_some() {
        problems.push(("api_key", "belongs to the preset `honeycomb`: use `ingestion_key` with `signoz`"));
    }
    if keys.dataset.is_some() {
        problems.push(("dataset", "belongs to the preset `honeycomb`"));
    }
    let base_url = match (keys.region, keys.own_endpoint) {
        (Some(region @ ("us" | "eu" | "in" | "in2")), false) => {
            Some(format!("https://ingest.{region}.signoz.cloud:443"))
        }
        (None, true) => None,
        (Some(_), true) => {
            problems.push(("region", "is for SigNoz Cloud only: remove it, or remove `endpoint`"));
            None
        }
        (Some(_), false) => {
            problems.push(("region", "must be `us`, `eu`, `in` or `in2` with the preset `signoz`"));
            None
        }
        (None, false) => {
            problems.push((
                "region",
                "is missing: set the region of SigNoz Cloud, or `endpoint` if you host SigNoz yourself",
            ));
            None
        }
    };
    let key = keys.ingestion_key.filter(|key| !key.is_empty());
    if key.is_none() && !keys.own_endpoint {
        problems.push(("ingestion_key", "SigNoz Cloud needs an ingestion key"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let headers =
        key.map(|key| PresetHeader { name: "signoz-ingestion-key", value: key.clone(), only_signal: None }).into_iter();
    Ok(PresetSettings {
        base_url,
        headers: headers.collect(),
        accepts_zstd: true,
        max_request_bytes: 4 << 20,
        counted_by: CountedBy::Signoz,
    })
}
