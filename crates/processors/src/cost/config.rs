//! **What**: the `cost` stanza, and what it means. **Not here**: reading tables (`tables`), fetching them
//! (`app/rates`).

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, Span, address};
use otlp::Signal;
use rates::{Pin, Usd};

/// The word for the table that comes with the program.
const BUILTIN: &str = "builtin";
/// The shortest time between two looks for a newer table.
const SHORTEST: Duration = Duration::from_secs(1);

/// Prices each model call once, exactly, from a versioned rate table.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The rate table: `builtin`, or the path of a YAML file of the same form.
    pub rates: String,
    /// Contract prices: files of the same form with `overlay: true`, laid over the table in this order; one may hold
    /// for a single tenant.
    pub overlays: Vec<String>,
    /// Looks for a newer table while running; the last good one stays where a new one can't be believed.
    pub refresh: Option<Refresh>,
    /// Calls that come on two signals are billed on one of them.
    pub bill: Bill,
    /// The log event `gen_ai.client.inference.operation.details` repeats a span: `never` billed, or `if_no_span`: also
    /// the call itself, for applications that send logs alone (whichever of the two comes first is priced).
    pub details_event: DetailsEvent,
    /// Also stamps the disjoint token buckets that were priced, `tollgate.usage.*`.
    pub usage_attributes: bool,
    /// Stamps the price under other keys as well, where the client did not use them: `operation.cost` (Logfire),
    /// `llm.cost` (Phoenix: total, prompt, completion), `gen_ai.usage.cost.amount` (with currency and source).
    pub aliases: Vec<Alias>,
    /// Adds what providers charge by use (web searches), where the call tells how often.
    pub fees: bool,
    /// How far a client's own cost may be from ours before it counts as a mismatch, USD.
    pub tolerance_usd: String,
    /// Prices calls again that an upstream tollgate has priced (only from receivers with `trust: internal`).
    pub reprice: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rates: BUILTIN.to_owned(),
            overlays: Vec::new(),
            refresh: None,
            bill: Bill::default(),
            details_event: DetailsEvent::default(),
            usage_attributes: false,
            aliases: Vec::new(),
            fees: false,
            tolerance_usd: "0.000000001".to_owned(),
            reprice: false,
        }
    }
}

/// Where newer tables come from. Give `file` or `url`; a `url` needs a pin: `sha256` or `public_key`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Refresh {
    /// A file that somebody else writes.
    pub file: Option<String>,
    /// Where to fetch it, `https://…`.
    pub url: Option<String>,
    /// How often to look.
    pub every: Span,
    /// SHA-256 of the one table that is taken, hexadecimal.
    pub sha256: Option<String>,
    /// Ed25519 public key (base64) of the signature that lies beside the table: the same name with `.sig`.
    pub public_key: Option<String>,
    /// `provider/model` whose prices may change by any factor; `*` for the checks of the whole table.
    pub accept: Vec<String>,
}

impl Default for Refresh {
    fn default() -> Self {
        Self { file: None, url: None, every: Span::seconds(86_400), sha256: None, public_key: None, accept: Vec::new() }
    }
}

/// Where calls that come on two signals are billed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bill {
    /// Claude Code: `log` (event `api_request`; only it tells 5m and 1h cache writes apart), `span`, or `auto`: the log
    /// where a logs pipeline has `cost` and the client sends logs, else the span.
    #[serde(rename = "claude-code")]
    pub claude_code: BillOn,
}

/// Another key that back ends read a price from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Alias {
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

/// Which signal bills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BillOn {
    /// The log where a logs pipeline has `cost` and the client sends logs, else the span.
    #[default]
    Auto,
    /// The log.
    Log,
    /// The span.
    Span,
}

/// Whether events that repeat a call's span may be the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DetailsEvent {
    /// The span is billed.
    #[default]
    Never,
    /// The event, where no span of the call came.
    IfNoSpan,
}

/// Which table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RatesFrom {
    /// The one that comes with the program.
    Builtin,
    /// A file.
    File(PathBuf),
}

/// Where newer tables come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshFrom {
    /// A file.
    File(PathBuf),
    /// An address.
    Url(String),
}

/// The valid form of [`Refresh`].
#[derive(Clone, Debug)]
pub struct RefreshSettings {
    /// From where.
    pub from: RefreshFrom,
    /// How often.
    pub every: Duration,
    /// What it must show.
    pub pin: Pin,
    /// See [`Refresh::accept`].
    pub accept: Vec<String>,
}

/// The valid form.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which table.
    pub rates: RatesFrom,
    /// Contract prices, in order.
    pub overlays: Vec<PathBuf>,
    /// Newer tables.
    pub refresh: Option<RefreshSettings>,
    /// Where Claude Code's calls are billed.
    pub claude_code: BillOn,
    /// See [`Config::details_event`].
    pub details_event: DetailsEvent,
    /// Stamp `tollgate.usage.*`.
    pub usage_attributes: bool,
    /// Other keys for the price.
    pub aliases: Vec<Alias>,
    /// Add fees by use.
    pub fees: bool,
    /// See [`Config::tolerance_usd`].
    pub tolerance: Usd,
    /// Price again what an upstream tollgate priced.
    pub reprice: bool,
    /// Signals of the pipelines that hold this processor; whoever assembles them fills it in.
    pub signals: Vec<Signal>,
}

impl Config {
    /// Checks it.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let rates = match self.rates.trim() {
            "" => {
                problems.push(FieldProblem::new("rates", "is empty; it is `builtin` or the path of a file"));
                RatesFrom::Builtin
            }
            BUILTIN => RatesFrom::Builtin,
            path => RatesFrom::File(path.into()),
        };
        for (at, _) in self.overlays.iter().enumerate().filter(|(_, path)| path.trim().is_empty()) {
            problems.push(FieldProblem::new(format!("overlays[{at}]"), "is empty; it is the path of a file"));
        }
        let tolerance = Usd::parse(&self.tolerance_usd).filter(|usd| *usd >= Usd::ZERO).unwrap_or_else(|| {
            problems.push(FieldProblem::new("tolerance_usd", "is no amount such as `0.000001`"));
            Usd::ZERO
        });
        let refresh = self.refresh.as_ref().and_then(|refresh| refresh.settings(&mut problems));
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Settings {
            rates,
            overlays: self.overlays.iter().map(PathBuf::from).collect(),
            refresh,
            claude_code: self.bill.claude_code,
            details_event: self.details_event,
            usage_attributes: self.usage_attributes,
            aliases: self.aliases.clone(),
            fees: self.fees,
            tolerance,
            reprice: self.reprice,
            signals: vec![Signal::Traces, Signal::Logs],
        })
    }
}

impl Refresh {
    fn settings(&self, problems: &mut Vec<FieldProblem>) -> Option<RefreshSettings> {
        let mut wrong = |field: &str, what: &str| problems.push(FieldProblem::new(field, what));
        let from = match (&self.file, &self.url) {
            (Some(file), None) if !file.trim().is_empty() => Some(RefreshFrom::File(file.into())),
            (None, Some(url)) => match address::url(url) {
                Ok(_) => Some(RefreshFrom::Url(url.clone())),
                Err(what) => {
                    wrong("refresh.url", &what);
                    None
                }
            },
            _ => {
                wrong("refresh", "give `file` or `url`");
                None
            }
        };
        let pin = match (&self.sha256, &self.public_key) {
            (Some(digest), None) => {
                let pin = Pin::sha256(digest);
                if pin.is_none() {
                    wrong("refresh.sha256", "is no SHA-256: 64 hexadecimal digits");
                }
                pin
            }
            (None, Some(key)) => {
                let pin = Pin::ed25519(key);
                if pin.is_none() {
                    wrong("refresh.public_key", "is no Ed25519 public key: 32 bytes in base64");
                }
                pin
            }
            (None, None) if self.url.is_none() => Some(Pin::None),
            (None, None) => {
                wrong("refresh.url", "needs a pin: `sha256` or `public_key`");
                None
            }
            (Some(_), Some(_)) => {
                wrong("refresh", "give `sha256` or `public_key`, not both");
                None
            }
        };
        if self.every.0 < SHORTEST {
            wrong("refresh.every", "is shorter than 1s");
            return None;
        }
        Some(RefreshSettings { from: from?, every: self.every.0, pin: pin?, accept: self.accept.clone() })
    }
}

impl Settings {
    /// The signal that bills calls that come on two.
    pub(super) fn billed_signal(&self) -> Signal {
        match self.claude_code {
            BillOn::Log => Signal::Logs,
            BillOn::Span => Signal::Traces,
            BillOn::Auto if self.signals.contains(&Signal::Logs) => Signal::Logs,
            BillOn::Auto => Signal::Traces,
        }
    }
}
