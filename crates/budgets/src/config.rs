//! `budgets:` of the `runs` processor, and its checked form.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, glob};
use rates::Usd;

use crate::names::Names;
pub use crate::period::Period;
use crate::words::{Action, Measure, Scope};

/// Maximum number of budgets: each is looked at for each call and each question.
const MAX_BUDGETS: usize = 100;
const MAX_NAME: usize = 64;
const MAX_CONTACT: usize = 200;

/// Budgets by name.
pub type BudgetsConfig = BTreeMap<String, BudgetConfig>;

/// How much a run, session, user, tenant, feature, issue or account may spend, and what happens then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetConfig {
    /// Whose spending is added up: each run, session, user, … has its own sum and the full limit.
    pub scope: Scope,
    /// When the sum resets: each `hour`, `day`, `week` (from Monday), `month`, or `none`. Runs and
    /// sessions have none. Default: `none`.
    #[serde(default)]
    pub period: Period,
    /// The time zone in which periods begin, such as `Europe/Berlin`. Default: `UTC`.
    #[serde(default = "utc", skip_serializing_if = "is_utc")]
    pub time_zone: String,
    /// The most that the calls may cost: `25 USD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// The most model calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_calls: Option<u64>,
    /// The most iterations of the agent's loop, in a run or session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u64>,
    /// The most tool calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    /// The longest time of a run, or of the runs of a session together, in minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u64>,
    /// Shares of the limit at which an alert fires and the agent gets a note of what it has used. Default: `[80%]`.
    #[serde(default = "default_warnings")]
    pub warn_at: Vec<String>,
    /// What happens at the limit: `notify`, `ask` or `deny`. Default: `notify`.
    #[serde(default)]
    pub action: Action,
    /// Only records what would have been answered, and answers yes. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// Which calls count, and whom the budget is for. Default: all.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<BudgetMatch>,
    /// The answer for work that names no key of this scope, whatever `action` is: `allow` or `deny`. Default: `allow`.
    #[serde(default)]
    pub on_unknown: OnUnknown,
    /// Whom a stopped developer can ask, such as `#platform in Slack`; part of the sentence that they read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn is_utc(zone: &str) -> bool {
    zone == "UTC"
}

fn default_warnings() -> Vec<String> {
    vec!["80%".to_owned()]
}

kernel::word_enum! {
    /// The answer if nothing names whose budget it is.
    #[derive(Default, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    pub OnUnknown {
        #[default]
        Allow = "allow",
        Deny = "deny",
    }
}

/// Patterns that names must match; `*` matches any characters. A missing name matches only `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetMatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The model as it answers; not for runs and sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `api`: calls that are billed; `plan`: calls that a plan covers (docs/how-to/plans.md).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing: Option<MatchBilling>,
}

kernel::word_enum! {
    /// How calls are billed.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    pub MatchBilling {
        Api = "api",
        Plan = "plan",
    }
}

impl BudgetMatch {
    /// The patterns with the names that they are for. Nothing says which model a question is about.
    fn patterns<'a>(&'a self, names: &'a Names) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let model = self.model.as_ref().filter(|_| names.model.is_some());
        let pairs = [
            (self.tenant.as_ref(), &names.tenant),
            (self.feature.as_ref(), &names.feature),
            (self.service.as_ref(), &names.service),
            (model, &names.model),
        ];
        pairs.into_iter().filter_map(|(pattern, name)| Some((&**pattern?, name.as_deref())))
    }

    /// Whether these names fit; a missing one fits only `*`.
    pub(crate) fn fits(&self, names: &Names) -> bool {
        self.patterns(names).all(|(pattern, name)| glob::matches(pattern.as_bytes(), name.unwrap_or("").as_bytes()))
    }

    /// Whether these names fit or might, if the missing ones were known.
    pub(crate) fn may_fit(&self, names: &Names) -> bool {
        let fits = |(pattern, name): (&str, Option<&str>)| {
            name.is_none_or(|name| glob::matches(pattern.as_bytes(), name.as_bytes()))
        };
        self.patterns(names).all(fits)
    }

    /// What identifies it, in a form that stays.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        let billing = self.billing.map_or("", MatchBilling::as_str);
        let texts = [&self.tenant, &self.feature, &self.service, &self.model];
        texts.into_iter().map(|text| text.as_deref().unwrap_or("")).chain([billing])
    }
}

/// A checked budget.
#[derive(Clone, Debug)]
pub struct Budget {
    pub name: String,
    pub scope: Scope,
    pub period: Period,
    pub zone: TimeZone,
    /// The limits, in 1e-18 USD or as numbers; at least one.
    pub limits: Vec<(Measure, i128)>,
    /// Hundredths of a percent, lowest first.
    pub warn_at: Vec<u32>,
    pub action: Action,
    pub shadow: bool,
    pub matches: BudgetMatch,
    pub on_unknown: OnUnknown,
    pub contact: Option<String>,
}

impl Budget {
    /// Whether an agent is ever stopped for it.
    pub fn can_stop(&self) -> bool {
        !self.shadow && (self.action != Action::Notify || self.on_unknown == OnUnknown::Deny)
    }
}

/// Validates budgets; the paths of problems begin with `budgets`.
pub fn check(budgets: &BudgetsConfig, problems: &mut Vec<FieldProblem>) -> Vec<Budget> {
    if budgets.len() > MAX_BUDGETS {
        problems.push(FieldProblem::new("budgets", format!("there must be at most {MAX_BUDGETS} budgets")));
    }
    budgets.iter().filter_map(|(name, budget)| budget.check(name, problems)).collect()
}

impl BudgetConfig {
    fn check(&self, name: &str, problems: &mut Vec<FieldProblem>) -> Option<Budget> {
        let path = |field: &str| format!("budgets.{name}.{field}");
        let before = problems.len();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_bad_name = name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_name);
        let is_flow = matches!(self.scope, Scope::Run | Scope::Session);
        let matches = self.matches.clone().unwrap_or_default();
        problems.extend(FieldProblem::found([
            (is_bad_name, &*format!("budgets.{name}"), "a name has 1 to 64 letters, digits, `-`, `_` or `.`"),
            (
                is_flow && self.period != Period::None,
                &path("period"),
                "must be `none`: a run or session ends by itself",
            ),
            (!is_flow && self.iterations.is_some(), &path("iterations"), "needs the scope `run` or `session`"),
            (!is_flow && self.minutes.is_some(), &path("minutes"), "needs the scope `run` or `session`"),
            (
                is_flow && matches.model.is_some(),
                &path("match.model"),
                "can't be used with the scope `run` or `session`: they use several models",
            ),
            (
                self.contact.as_ref().is_some_and(|text| !is_line(text)),
                &path("contact"),
                "must be one line of at most 200 bytes",
            ),
        ]));
        let zone = TimeZone::get(&self.time_zone);
        if zone.is_err() {
            let what = "must be a time zone of the IANA table, such as `UTC` or `Europe/Berlin`";
            problems.push(FieldProblem::new(path("time_zone"), what));
        }
        let amount = self.amount.as_deref().map(|text| Usd::parse_amount(text).map(|usd| usd.0));
        if amount == Some(None) {
            problems.push(FieldProblem::new(path("amount"), "must be an amount above 0 with its currency: `25 USD`"));
        }
        let count = |number: Option<u64>| number.map(i128::from);
        let limits = [
            (Measure::Amount, amount.flatten()),
            (Measure::ModelCalls, count(self.model_calls)),
            (Measure::Iterations, count(self.iterations)),
            (Measure::ToolCalls, count(self.tool_calls)),
            (Measure::Minutes, count(self.minutes)),
        ];
        let limits: Vec<(Measure, i128)> =
            limits.into_iter().filter_map(|(measure, limit)| Some((measure, limit?))).collect();
        for (measure, _) in limits.iter().filter(|(_, limit)| *limit <= 0) {
            problems.push(FieldProblem::new(path(measure.as_str()), "must be above 0"));
        }
        if limits.is_empty() && amount != Some(None) {
            let what = "needs a limit: `amount`, `model_calls`, `iterations`, `tool_calls` or `minutes`";
            problems.push(FieldProblem::new(format!("budgets.{name}"), what));
        }
        let mut warn_at = Vec::new();
        for (index, share) in self.warn_at.iter().enumerate() {
            match parse_percent(share) {
                Some(share) => warn_at.push(share),
                None => {
                    let what = "must be a share of the limit above 0% and below 100%: `80%`";
                    problems.push(FieldProblem::new(path(&format!("warn_at[{index}]")), what));
                }
            }
        }
        warn_at.sort_unstable();
        warn_at.dedup();
        (problems.len() == before).then_some(Budget {
            name: name.to_owned(),
            scope: self.scope,
            period: self.period,
            zone: zone.ok()?,
            limits,
            warn_at,
            action: self.action,
            shadow: self.shadow,
            matches,
            on_unknown: self.on_unknown,
            contact: self.contact.clone(),
        })
    }
}

fn is_line(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_CONTACT && !text.chars().any(char::is_control)
}

/// `80%` and `12.5%` in hundredths of a percent.
fn parse_percent(text: &str) -> Option<u32> {
    let share = text.trim().strip_suffix('%')?.trim_end().parse::<f64>().ok()?;
    let hundredths = (share * 100.0).round();
    (1.0..10_000.0).contains(&hundredths).then_some(hundredths as u32)
}
