//! **What**: the `cost` stanza, and what it means. **Not here**: reading the table (`mod`), overlays (a later step).

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::FieldProblem;
use crate::otlp::Signal;

/// The word for the table that comes with the program.
const BUILTIN: &str = "builtin";

/// Prices each model call once, exactly, from a versioned rate table.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The rate table: `builtin`, or the path of a YAML file of the same form.
    pub rates: String,
    /// Calls that come on two signals are billed on one of them.
    pub bill: Bill,
    /// Also stamps the disjoint token buckets that were priced, `tollgate.usage.*`.
    pub usage_attributes: bool,
    /// Prices calls again that an upstream tollgate has priced (only from receivers with `trust: internal`).
    pub reprice: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { rates: BUILTIN.to_owned(), bill: Bill::default(), usage_attributes: false, reprice: false }
    }
}

/// Where calls that come on two signals are billed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bill {
    /// Claude Code: `log` (event `api_request`; only it tells 5m and 1h cache writes apart), `span`, or `auto`: the log
    /// where a logs pipeline has `cost`, else the span.
    #[serde(rename = "claude-code")]
    pub claude_code: BillOn,
}

/// Which signal bills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BillOn {
    /// The log where a logs pipeline has `cost`, else the span.
    #[default]
    Auto,
    /// The log.
    Log,
    /// The span.
    Span,
}

/// Which table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RatesFrom {
    /// The one that comes with the program.
    Builtin,
    /// A file.
    File(PathBuf),
}

/// The valid form.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which table.
    pub rates: RatesFrom,
    /// Where Claude Code's calls are billed.
    pub claude_code: BillOn,
    /// Stamp `tollgate.usage.*`.
    pub usage_attributes: bool,
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
        let rates = match self.rates.trim() {
            "" => return Err(vec![FieldProblem::new("rates", "is empty; it is `builtin` or the path of a file")]),
            BUILTIN => RatesFrom::Builtin,
            path => RatesFrom::File(path.into()),
        };
        Ok(Settings {
            rates,
            claude_code: self.bill.claude_code,
            usage_attributes: self.usage_attributes,
            reprice: self.reprice,
            signals: vec![Signal::Traces, Signal::Logs],
        })
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
