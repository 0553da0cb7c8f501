//! Configuration of the `cost` processor. Tables are read in `tables` and refreshed in `refresh`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, TimeSpan, address};
use otlp::Signal;
use rates::{Currency, Exchange, TablePin, Usd};

use super::plans::{PlanConfig, check_plans};

/// The value of `rates` for the built-in table.
const BUILTIN: &str = "builtin";
/// The shortest allowed interval between checks for a newer table.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(1);

kernel::with_defaults! {
    /// Prices each model call once, exactly, from a versioned rate table.
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct CostConfig {
        /// The rate table: `builtin`, or the path of a YAML file in the same format. Default: `builtin`.
        pub rates: String = BUILTIN.to_owned(),
        /// Contract prices: files in the same format with `overlay: true`, applied over the table in this order. An
        /// overlay may apply to a single tenant only.
        pub overlays: Vec<String>,
        /// Checks for a newer table while running. If a new table is implausible, the last good one stays in use.
        pub refresh: Option<RatesRefresh>,
        /// Names of providers that the rate table does not have: the name that a client sends, and the provider of
        /// the table whose prices apply, such as `{ our-proxy: openai }`.
        pub providers: BTreeMap<String, String>,
        /// Plans that cover calls, such as subscriptions and reserved capacity. The first plan that matches a call
        /// counts. If none does, the kind of credential that Codex, Gemini CLI or Qwen Code reports decides.
        pub plans: Vec<PlanConfig>,
        /// Which signal bills calls that arrive on two signals.
        pub bill: BillingConfig,
        /// Whether the log event `gen_ai.client.inference.operation.details`, which repeats a span, may be billed:
        /// `never`, or `if_no_span`, for applications that send only logs (of span and event, the first to arrive is
        /// priced).
        pub details_event: DetailsEventPolicy,
        /// Also stamps the disjoint token buckets that were priced, as `tollgate.usage.*`. Default: false.
        pub usage_attributes: bool,
        /// Also stamps the price under these keys, unless the client already set them: `operation.cost` (Logfire),
        /// `llm.cost` (Phoenix: total, prompt, completion), `gen_ai.usage.cost.amount` (with currency and source).
        pub aliases: Vec<PriceAlias>,
        /// Adds fees that providers charge per use (web searches), if the call reports the number of uses. Default:
        /// false.
        pub fees: bool,
        /// How far a client's own cost may differ from tollgate's before it counts as a mismatch, in USD. Default:
        /// 0.000000001.
        pub tolerance_usd: String = "0.000000001".to_owned(),
        /// Another currency for amounts, beside USD: its letters in ISO 4217, such as `EUR`. Needs `exchange`.
        pub currency: Option<String>,
        /// What a USD costs in `currency`, by day.
        pub exchange: Option<ExchangeConfig>,
        /// Prices calls again that an upstream tollgate has already priced (only relevant for receivers with `trust:
        /// internal`). Default: false.
        pub reprice: bool,
    }
}

kernel::with_defaults! {
    /// Source of newer tables. Give either `file` or `url`; a `url` needs a pin: `sha256` or `public_key`.
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct RatesRefresh {
        /// Path of a file that another program updates.
        pub file: Option<String>,
        /// Address to fetch the table from, `https://…`.
        pub url: Option<String>,
        /// Interval between checks. Default: 24h.
        pub every: TimeSpan = TimeSpan::seconds(86_400),
        /// SHA-256 of the only table to accept, in hexadecimal.
        pub sha256: Option<String>,
        /// Ed25519 public key (base64) that verifies the table's signature, which is stored beside it under the same
        /// name plus `.sig`.
        pub public_key: Option<String>,
        /// Refused changes to accept: those of a model (`provider/model`), a provider's missing names and changed
        /// patterns (`provider/*`), or the number of changed and missing models (`*`).
        pub accept: Vec<String>,
    }
}

kernel::with_defaults! {
    /// What a USD costs in another currency. Give either `file` or `fixed`.
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct ExchangeConfig {
        /// Path of a CSV file with a line for each change, in order: the day (UTC) and the units of the currency for a
        /// USD from that day on, such as `2026-11-01,0.9213`. Read at start and on reload.
        pub file: Option<String>,
        /// One rate for all times, such as `"0.92"`.
        pub fixed: Option<String>,
    }
}

/// Which signal bills calls that arrive on two signals.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BillingConfig {
    /// Calls of Claude Code, which sends each call as a log record and as a span: `auto` (the log record if a logs
    /// pipeline has `cost` and the client sends logs, else the span), `log` or `span`. Default: `auto`.
    #[serde(rename = "claude-code")]
    pub claude_code: BillingSignal,
}

/// An additional attribute from which back ends read a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PriceAlias {
    /// `operation.cost`.
    #[serde(rename = "operation.cost")]
    Operation,
    /// `llm.cost.total`, `.prompt`, `.completion`.
    #[serde(rename = "llm.cost")]
    Llm,
    /// `gen_ai.usage.cost.amount`, `.currency`, `.source`.
    #[serde(rename = "gen_ai.usage.cost.amount")]
    Amount,
}

/// The signal that bills a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BillingSignal {
    /// The log if a logs pipeline has `cost` and the client sends logs, else the span.
    #[default]
    Auto,
    /// The log record.
    Log,
    /// The span.
    Span,
}

/// Whether log events that repeat a call's span may be billed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DetailsEventPolicy {
    /// Only the span is billed.
    #[default]
    Never,
    /// The event is billed if no span of the call has arrived.
    IfNoSpan,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RatesSource {
    /// The built-in table.
    Builtin,
    File(PathBuf),
}

/// The checked form of [`ExchangeConfig`]; a file is read later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExchangeSource {
    Fixed(Exchange),
    File(Currency, PathBuf),
}

/// Source of newer tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshSource {
    File(PathBuf),
    Url(String),
}

/// The checked form of [`RatesRefresh`].
#[derive(Clone, Debug)]
pub struct RefreshSettings {
    /// Source of newer tables.
    pub from: RefreshSource,
    /// Interval between checks.
    pub every: Duration,
    /// The pin that a new table must match.
    pub pin: TablePin,
    /// See [`RatesRefresh::accept`].
    pub accept: Vec<String>,
}

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct CostSettings {
    pub rates: RatesSource,
    /// Overlays with contract prices, in order.
    pub overlays: Vec<PathBuf>,
    /// Source of newer tables, if configured.
    pub refresh: Option<RefreshSettings>,
    /// See [`CostConfig::exchange`].
    pub exchange: Option<ExchangeSource>,
    /// See [`CostConfig::tolerance_usd`].
    pub tolerance: Usd,
    /// The rest, as written.
    pub config: CostConfig,
    /// Signals of the pipelines that contain this processor. Filled in when the pipelines are assembled.
    pub signals: Vec<Signal>,
}

impl CostConfig {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<CostSettings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let rates = match self.rates.trim() {
            "" => {
                problems.push(FieldProblem::new("rates", "must be `builtin` or the path of a file"));
                RatesSource::Builtin
            }
            BUILTIN => RatesSource::Builtin,
            path => RatesSource::File(path.into()),
        };
        for (at, _) in self.overlays.iter().enumerate().filter(|(_, path)| path.trim().is_empty()) {
            problems.push(FieldProblem::new(format!("overlays[{at}]"), "must be the path of a file"));
        }
        let tolerance = Usd::parse(&self.tolerance_usd).filter(|usd| *usd >= Usd::ZERO).unwrap_or_else(|| {
            problems
                .push(FieldProblem::new("tolerance_usd", "must be an amount in USD, zero or more, such as `0.000001`"));
            Usd::ZERO
        });
        check_plans(&self.plans, &mut problems);
        let exchange = self.exchange_source().unwrap_or_else(|(field, problem)| {
            problems.push(FieldProblem::new(field, problem));
            None
        });
        let refresh = self.refresh.as_ref().and_then(|refresh| refresh.settings(&mut problems));
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(CostSettings {
            rates,
            overlays: self.overlays.iter().map(PathBuf::from).collect(),
            refresh,
            exchange,
            tolerance,
            config: self.clone(),
            signals: vec![Signal::Traces, Signal::Logs],
        })
    }
}

impl CostConfig {
    fn exchange_source(&self) -> Result<Option<ExchangeSource>, (&'static str, String)> {
        let (currency, exchange) = match (&self.currency, &self.exchange) {
            (None, None) => return Ok(None),
            (Some(currency), Some(exchange)) => (currency, exchange),
            (Some(_), None) => return Err(("currency", "needs `exchange`: what a USD costs in it".to_owned())),
            (None, Some(_)) => return Err(("exchange", "needs `currency`, such as `EUR`".to_owned())),
        };
        let currency = Currency::parse(currency).map_err(|error| ("currency", error.0))?;
        let source = match (&exchange.file, &exchange.fixed) {
            (Some(path), None) if !path.trim().is_empty() => ExchangeSource::File(currency, path.into()),
            (None, Some(rate)) => {
                let exchange = Exchange::fixed(currency, rate).map_err(|error| ("exchange.fixed", error.0))?;
                ExchangeSource::Fixed(exchange)
            }
            _ => return Err(("exchange", "set either `file` or `fixed`".to_owned())),
        };
        Ok(Some(source))
    }
}

impl RatesRefresh {
    fn settings(&self, problems: &mut Vec<FieldProblem>) -> Option<RefreshSettings> {
        let mut add_problem = |field: &str, problem: &str| problems.push(FieldProblem::new(field, problem));
        let source = match (&self.file, &self.url) {
            (Some(file), None) if !file.trim().is_empty() => Ok(RefreshSource::File(file.into())),
            (None, Some(url)) => address::parse_url(url)
                .map(|_| RefreshSource::Url(url.clone()))
                .map_err(|problem| ("refresh.url", problem)),
            _ => Err(("refresh", "set either `file` or `url`".to_owned())),
        };
        let source = source.map_err(|(field, problem)| add_problem(field, &problem)).ok();
        let pin = match (&self.sha256, &self.public_key) {
            (Some(digest), None) => {
                TablePin::sha256(digest).ok_or(("refresh.sha256", "must be a SHA-256 digest: 64 hexadecimal digits"))
            }
            (None, Some(key)) => TablePin::ed25519(key)
                .ok_or(("refresh.public_key", "must be an Ed25519 public key: 32 bytes in base64")),
            (None, None) if self.url.is_none() => Ok(TablePin::None),
            (None, None) => Err(("refresh.url", "needs a pin: `sha256` or `public_key`")),
            (Some(_), Some(_)) => Err(("refresh", "set either `sha256` or `public_key`, not both")),
        };
        let pin = pin.map_err(|(field, problem)| add_problem(field, problem)).ok();
        if self.every.0 < MIN_REFRESH_INTERVAL {
            add_problem("refresh.every", "must be at least 1s");
            return None;
        }
        Some(RefreshSettings { from: source?, every: self.every.0, pin: pin?, accept: self.accept.clone() })
    }
}

impl CostSettings {
    /// The signal that bills calls arriving on two signals.
    pub(super) fn billed_signal(&self) -> Signal {
        match self.config.bill.claude_code {
            BillingSignal::Log => Signal::Logs,
            BillingSignal::Span => Signal::Traces,
            BillingSignal::Auto if self.signals.contains(&Signal::Logs) => Signal::Logs,
            BillingSignal::Auto => Signal::Traces,
        }
    }
}
