//! Back ends known by name, with their addresses, headers and limits, so that a user writes a key instead of a page of
//! settings. Values written in the stanza override the preset.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
pub struct Asked<'a> {
    /// `region`
    pub region: Option<&'a str>,
    /// `api_key`
    pub api_key: Option<&'a Secret>,
    /// `ingestion_key`
    pub ingestion_key: Option<&'a Secret>,
    /// `dataset`
    pub dataset: Option<&'a str>,
    /// Whether the stanza sets an endpoint itself.
    pub own_endpoint: bool,
}

/// A header that a preset adds, for all signals or for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresetHeader {
    /// Header name in lower case.
    pub name: &'static str,
    /// Header value.
    pub value: Secret,
    /// The only signal that gets this header; `None`: all.
    pub only: Option<Signal>,
}

/// The settings that a preset results in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// `https://host:port`; `None` if the stanza sets its own endpoint.
    pub base: Option<String>,
    /// Headers to send with requests.
    pub headers: Vec<PresetHeader>,
    /// Whether the back end is known to accept zstd.
    pub zstd: bool,
    /// Largest request before compression, in bytes.
    pub max_request_bytes: u64,
}

/// A key of the stanza, and what is wrong with its value.
pub type PresetProblem = (&'static str, &'static str);

impl Preset {
    /// Derives addresses, headers and limits from the stanza's keys.
    ///
    /// # Errors
    /// Every problem: the key and what is wrong, never the value.
    pub fn resolve(self, asked: Asked<'_>) -> Result<Resolved, Vec<PresetProblem>> {
        match self {
            Self::Honeycomb => honeycomb(asked),
            Self::Signoz => signoz(asked),
        }
    }
}

/// Keys that begin with `hcaic_` or have 32 hex digits belong to Honeycomb Classic, where every signal needs a
/// dataset.
fn is_classic(key: &str) -> bool {
    key.starts_with("hcaic_") || (key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn honeycomb(asked: Asked<'_>) -> Result<Resolved, Vec<PresetProblem>> {
    let mut problems = Vec::new();
    if asked.ingestion_key.is_some() {
        problems.push(("ingestion_key", "belongs to the preset `signoz`; Honeycomb has `api_key`"));
    }
    let base = match asked.region.unwrap_or("us") {
        "us" => "https://api.honeycomb.io:443",
        "eu" => "https://api.eu1.honeycomb.io:443",
        _ => {
            problems.push(("region", "Honeycomb has the regions `us` and `eu`"));
            ""
        }
    };
    let Some(key) = asked.api_key.filter(|key| !key.is_empty()) else {
        problems.push(("api_key", "the preset `honeycomb` needs an API key"));
        return Err(problems);
    };
    let mut headers = vec![PresetHeader { name: "x-honeycomb-team", value: key.clone(), only: None }];
    let classic = is_classic(key.expose());
    if let Some(dataset) = asked.dataset {
        // Without Classic, Honeycomb takes the dataset from the service name; the header only names it for logs
        // without one.
        let only = (!classic).then_some(Signal::Logs);
        headers.push(PresetHeader { name: "x-honeycomb-dataset", value: Secret::new(dataset.to_owned()), only });
    } else if classic {
        problems.push(("dataset", "a Honeycomb Classic key needs a dataset"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let base = (!asked.own_endpoint).then(|| base.to_owned());
    Ok(Resolved { base, headers, zstd: true, max_request_bytes: 5_000_000 })
}

fn signoz(asked: Asked<'_>) -> Result<Resolved, Vec<PresetProblem>> {
    let mut problems = Vec::new();
    if asked.api_key.is_some() {
        problems.push(("api_key", "belongs to the preset `honeycomb`; SigNoz has `ingestion_key`"));
    }
    if asked.dataset.is_some() {
        problems.push(("dataset", "belongs to the preset `honeycomb`"));
    }
    let base = match (asked.region, asked.own_endpoint) {
        (Some(region @ ("us" | "eu" | "in" | "in2")), false) => {
            Some(format!("https://ingest.{region}.signoz.cloud:443"))
        }
        (None, true) => None,
        (Some(_), true) => {
            problems.push(("region", "belongs to SigNoz Cloud: leave it out beside an `endpoint`"));
            None
        }
        (Some(_), false) => {
            problems.push(("region", "SigNoz Cloud has the regions `us`, `eu`, `in` and `in2`"));
            None
        }
        (None, false) => {
            problems.push(("region", "the preset `signoz` needs a region, or an `endpoint` if you host it yourself"));
            None
        }
    };
    let key = asked.ingestion_key.filter(|key| !key.is_empty());
    if key.is_none() && !asked.own_endpoint {
        problems.push(("ingestion_key", "SigNoz Cloud needs an ingestion key"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let headers =
        key.map(|key| PresetHeader { name: "signoz-ingestion-key", value: key.clone(), only: None }).into_iter();
    Ok(Resolved { base, headers: headers.collect(), zstd: true, max_request_bytes: 4 << 20 })
}
