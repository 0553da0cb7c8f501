//! The sentences that people read, and numbers as text.

use rates::Usd;
use runs::amounts::format_usd;

use crate::config::Budget;
use crate::period::Period;
use crate::words::{Measure, Scope, Verdict};

impl Measure {
    /// For people: `$10.02 of $10.00`, `9 of 60 iterations`.
    pub fn of_limit(self, spent: i128, limit: i128) -> String {
        match self {
            Self::Amount => format!("{} of {}", format_usd(spent), format_usd(limit)),
            _ => format!("{spent} of {limit} {}", self.unit()),
        }
    }

    pub fn unit(self) -> &'static str {
        match self {
            Self::Amount => "USD",
            Self::ModelCalls => "model calls",
            Self::Iterations => "iterations",
            Self::ToolCalls => "tool calls",
            Self::Minutes => "minutes",
        }
    }

    /// For programs: USD as an exact decimal, or the number.
    pub fn decimal(self, number: i128) -> String {
        if self == Self::Amount { Usd(number).to_string() } else { number.to_string() }
    }

    /// USD, or the number.
    pub fn to_f64(self, number: i128) -> f64 {
        if self == Self::Amount { Usd(number).to_f64() } else { number as f64 }
    }

    pub(crate) fn parse_decimal(self, text: &str) -> Option<i128> {
        if self == Self::Amount { Usd::parse(text).map(|usd| usd.0) } else { text.parse().ok() }
    }
}

/// What is used of a budget: `This run has used $10.02 of $10.00 (budget one-run).`
pub(crate) fn use_sentence(budget: &Budget, key: &str, measure: Measure, spent: i128, limit: i128) -> String {
    let who = match budget.scope {
        Scope::Run => "This run has used".to_owned(),
        Scope::Session => "This session has used".to_owned(),
        Scope::User => "You have used".to_owned(),
        Scope::Tenant => format!("Tenant {key} has used"),
        Scope::Feature => format!("Feature {key} has used"),
        Scope::Issue => format!("Issue {key} has used"),
        Scope::Account => format!("Account {key} has used"),
    };
    let when = match budget.period {
        Period::None => "",
        Period::Hour => " this hour",
        Period::Day => " today",
        Period::Week => " this week",
        Period::Month => " this month",
    };
    format!("{who} {}{when} (budget {}).", measure.of_limit(spent, limit), budget.name)
}

/// What the person who is asked or stopped can do.
pub(crate) fn advice(budget: &Budget, verdict: Verdict) -> String {
    if verdict == Verdict::Ask {
        return "Allow this call only if the work should go on.".to_owned();
    }
    let contact = contact(budget);
    format!("You can still save your work, for example with a commit. For more, ask {contact}.")
}

/// If nothing names whose budget it is.
pub(crate) fn unknown_sentence(budget: &Budget) -> String {
    let (scope, contact) = (budget.scope.as_str(), contact(budget));
    let name = &budget.name;
    format!("tollgate can't check budget {name}, because this request names no {scope}. Ask {contact} to set that up.")
}

fn contact(budget: &Budget) -> &str {
    budget.contact.as_deref().unwrap_or("the team that runs tollgate")
}
