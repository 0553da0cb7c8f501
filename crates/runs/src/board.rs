//! **What**: [`Board`]: whom pages, commands and the API ask about runs; and what they are told besides runs: budgets,
//! measures, alerts. **Not here**: HTTP ([`super::api`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Detail, Investigations, RunSums, RunView};

/// What a human said of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The agent was right.
    Confirmed,
    /// A human decided otherwise.
    Overridden,
}

impl Verdict {
    /// As in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Overridden => "overridden",
        }
    }

    /// The word, in any case.
    pub fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "confirmed" | "confirm" => Some(Self::Confirmed),
            "overridden" | "override" | "overriden" => Some(Self::Overridden),
            _ => None,
        }
    }
}

/// The result of a run as a human sees it.
#[derive(Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Confirmed or overridden.
    pub verdict: Verdict,
    /// How sure the agent was, 0 to 1.
    pub confidence: Option<f64>,
    /// Seconds until the matter was resolved.
    pub resolved_in: Option<f64>,
}

// NaN never gets in.
impl Eq for Outcome {}

/// Why an outcome was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// No run has this id.
    Unknown,
    /// It could not be made durable: come again.
    Later,
}

/// Where a run stands against its ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BudgetState {
    /// Below 80 %.
    Ok,
    /// At 80 % or above.
    Warned,
    /// At the ceiling or above: stop.
    Exceeded,
}

impl BudgetState {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warned => "warned",
            Self::Exceeded => "exceeded",
        }
    }
}

/// What a run may still do.
pub struct Budget {
    /// The run.
    pub view: RunView,
    /// Most iterations.
    pub ceiling: u64,
    /// Where it stands.
    pub state: BudgetState,
}

/// How loud an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// To be looked at.
    Warning,
    /// Somebody must wake up.
    Critical,
}

impl Severity {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One alert that tollgate computes itself.
#[derive(Clone, PartialEq)]
pub struct Alert {
    /// The rule's name.
    pub rule: &'static str,
    /// How loud.
    pub severity: Severity,
    /// The account.
    pub account: String,
    /// The run it is about; "" = none.
    pub run: String,
    /// Its session.
    pub session: String,
    /// Its trace, for a link.
    pub trace: String,
    /// Whose work.
    pub tenant: Option<String>,
    /// What for.
    pub feature: Option<String>,
    /// The tool it is about; "" = none.
    pub tool: String,
    /// What was measured.
    pub value: f64,
    /// What it was held against.
    pub threshold: f64,
    /// When it began, unix ns by the gateway's clock.
    pub since: u64,
    /// When it ended; none = it still holds.
    pub until: Option<u64>,
}

impl crate::share::Owned for Alert {
    fn account(&self) -> &str {
        &self.account
    }
}

/// One numeric span attribute, added up.
pub struct Measure {
    /// The attribute.
    pub name: String,
    /// `service.name`.
    pub service: String,
    /// The tenant.
    pub tenant: String,
    /// `build.commit_sha`.
    pub commit: String,
    /// Values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The 95th percentile, within 1 %.
    pub p95: f64,
}

/// Whom to ask. Calls take milliseconds at most.
pub trait Board: Send + Sync {
    /// The latest runs, live ones first, at most `most`.
    fn recent(&self, most: usize) -> Vec<RunView>;
    /// One run by its id; of several with one id the latest.
    fn run(&self, id: &str) -> Option<Detail>;
    /// The same, of one account.
    fn run_of(&self, account: &str, id: &str) -> Option<Detail> {
        self.run(id).filter(|detail| detail.view.account == account)
    }
    /// The accounts that have a run of this id, each once.
    fn accounts(&self, id: &str) -> Vec<String> {
        self.run(id).map(|detail| detail.view.account).into_iter().collect()
    }
    /// What a run of an account may still do.
    fn budget(&self, account: &str, id: &str) -> Option<Budget>;
    /// What runs add up to, live ones up to now.
    fn sums(&self) -> RunSums;
    /// By agent type.
    fn investigations(&self) -> BTreeMap<String, Investigations>;
    /// Numeric span attributes.
    fn measures(&self) -> Vec<Measure>;
    /// Alerts that hold, then those that ended last; at most 1,000.
    fn alerts(&self) -> Vec<Alert>;
}

/// All boards of a gateway.
#[derive(Clone, Default)]
pub struct Boards(pub Vec<Arc<dyn Board>>);

impl Board for Boards {
    fn recent(&self, most: usize) -> Vec<RunView> {
        let mut all: Vec<RunView> = self.0.iter().flat_map(|board| board.recent(most)).collect();
        if self.0.len() > 1 {
            all.sort_by_key(|view| (view.state != super::RunState::Live, std::cmp::Reverse(view.last)));
            all.truncate(most);
        }
        all
    }

    fn run(&self, id: &str) -> Option<Detail> {
        self.0.iter().filter_map(|board| board.run(id)).max_by_key(|detail| detail.view.last)
    }

    fn run_of(&self, account: &str, id: &str) -> Option<Detail> {
        self.0.iter().filter_map(|board| board.run_of(account, id)).max_by_key(|detail| detail.view.last)
    }

    fn accounts(&self, id: &str) -> Vec<String> {
        let all: BTreeSet<String> = self.0.iter().flat_map(|board| board.accounts(id)).collect();
        all.into_iter().collect()
    }

    fn budget(&self, account: &str, id: &str) -> Option<Budget> {
        self.0.iter().filter_map(|board| board.budget(account, id)).max_by_key(|budget| budget.view.last)
    }

    fn sums(&self) -> RunSums {
        let mut sums = RunSums::default();
        self.0.iter().for_each(|board| sums.add(&board.sums()));
        sums
    }

    fn investigations(&self) -> BTreeMap<String, Investigations> {
        // more than one tracker for one agent type: the one with more is shown
        let mut all: BTreeMap<String, Investigations> = BTreeMap::new();
        for (kind, one) in self.0.iter().flat_map(|board| board.investigations()) {
            let known = all.entry(kind).or_default();
            if one.count > known.count {
                *known = one;
            }
        }
        all
    }

    fn measures(&self) -> Vec<Measure> {
        self.0.iter().flat_map(|board| board.measures()).collect()
    }

    fn alerts(&self) -> Vec<Alert> {
        self.0.iter().flat_map(|board| board.alerts()).collect()
    }
}

/// Who takes the words of humans in.
pub trait Judge: Send + Sync {
    /// Remembers what became of a run of an account; the answer follows once that is durable.
    fn judge<'a>(&'a self, account: &'a str, id: &'a str, outcome: Outcome) -> BoxFuture<'a, Result<(), NotTaken>>;
}
