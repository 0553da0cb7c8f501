//! **What**: runs and sessions as pages, metrics and stamps see them: [`RunView`], [`SessionView`], [`Sum`].
//! **Invariants**: ids and names have passed the id policy (redaction rules, pseudonyms); no content; no `Debug`.
//! **Not here**: how they come about (`resolve`), when (`ends`).

use std::collections::BTreeMap;

use crate::genai::Buckets;
use crate::pseudonym::IdPolicy;

use super::codec::{Code, fields};
use super::resolve::{Resolved, Run};
use super::tally::Totals;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunState {
    /// Nobody told its end yet.
    Live,
    /// It ended well.
    Ended,
    /// It ended with a failure.
    Failed,
    /// Nothing came of it for the idle time.
    Idle,
    /// It was given up to make room: its numbers are not complete.
    Evicted,
}

impl RunState {
    const ALL: [Self; 5] = [Self::Live, Self::Ended, Self::Failed, Self::Idle, Self::Evicted];

    /// One word, for pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
        }
    }
}

/// One run.
#[derive(Clone, PartialEq, Eq)]
pub struct RunView {
    /// Whose credential sent it.
    pub account: String,
    /// Id, as in `tollgate.run.id`.
    pub run: String,
    /// Id of its session.
    pub session: String,
    /// Whose work it was, if told.
    pub tenant: Option<String>,
    /// What it was for, if told.
    pub feature: Option<String>,
    /// Where it stands.
    pub state: RunState,
    /// Its root, its end or its last model call failed.
    pub failed: bool,
    /// First event, unix ns; 0 = not told.
    pub start: u64,
    /// Last event, unix ns.
    pub last: u64,
    /// From begin to end, ns: by the root's own clock where there is one.
    pub duration: u64,
    /// What it did.
    pub totals: Totals,
}

/// One session that is over.
pub(super) struct SessionView {
    pub(super) tenant: Option<String>,
    pub(super) feature: Option<String>,
    pub(super) failed: bool,
    /// Ns.
    pub(super) duration: u64,
    pub(super) totals: Totals,
}

/// Ended runs of one tenant or model, added up.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sum {
    /// Runs (of a model: in which it answered).
    pub runs: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Model calls that were answered.
    pub calls: u64,
    /// Tool calls (of a model: none).
    pub tool_calls: u64,
    /// Tokens.
    pub tokens: Buckets,
    /// Cost, 1e-18 USD, without unpriced calls.
    pub atto_usd: i128,
    /// Answered calls without a price.
    pub unpriced: u64,
}

impl Sum {
    /// Adds one run's share.
    pub(super) fn add(&mut self, failed: bool, tool_calls: u64, totals: &Totals) {
        let tokens = totals.tokens();
        self.runs += 1;
        self.failed += u64::from(failed);
        self.calls += totals.calls();
        self.tool_calls += tool_calls;
        self.tokens = super::tally::add(self.tokens, tokens);
        self.atto_usd = self.atto_usd.saturating_add(totals.atto_usd());
        self.unpriced += totals.unpriced();
    }
}

impl Code for RunState {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(Self::ALL.iter().position(|state| state == self).unwrap_or(0) as u8);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Self::ALL.get(usize::take(from)?).copied()
    }
}

fields!(Sum { runs, failed, calls, tool_calls, tokens, atto_usd, unpriced });
fields!(RunView { account, run, session, tenant, feature, state, failed, start, last, duration, totals });

/// Makes views in the form in which ids and names may be shown.
pub(super) struct Viewer<'a> {
    pub(super) ids: &'a dyn IdPolicy,
    pub(super) resolved: &'a Resolved<'a>,
}

impl Viewer<'_> {
    pub(super) fn run(&self, run: &Run, state: RunState) -> RunView {
        let account = &self.resolved.group.account;
        RunView {
            account: account.to_string(),
            run: self.ids.shown(account, &run.text).into_owned(),
            session: self.ids.shown(account, &run.session).into_owned(),
            tenant: self.tenant(run.tenant),
            feature: self.feature(run.feature),
            state,
            failed: run.failed,
            start: run.start,
            last: run.last,
            duration: run.root.map_or(run.last.saturating_sub(run.start), |(start, end)| end.saturating_sub(start)),
            totals: self.totals(&run.totals),
        }
    }

    /// The session of these runs, which are at least one, and all of it if `whole`.
    pub(super) fn session(&self, runs: &[&Run], whole: bool) -> SessionView {
        let mut totals = Totals::default();
        runs.iter().for_each(|run| totals.add(&run.totals));
        let key = runs.first().and_then(|run| self.resolved.group.key(run.session_key));
        let told = |time: u64| (time != 0).then_some(time);
        let times = key.filter(|_| whole);
        let starts = runs.iter().map(|run| run.start).chain(times.map(|key| key.first)).filter_map(told);
        let lasts = runs.iter().map(|run| run.last).chain(times.map(|key| key.last));
        let (start, last) = (starts.min().unwrap_or(0), lasts.max().unwrap_or(0));
        let first = |name: fn(&Run) -> u16, own: u16| {
            let told = runs.iter().filter(|run| name(run) != 0).min_by_key(|run| (run.start, &run.text));
            if own == 0 { told.map_or(0, |run| name(run)) } else { own }
        };
        SessionView {
            tenant: self.tenant(first(|run| run.tenant, key.map_or(0, |key| key.tenant))),
            feature: self.feature(first(|run| run.feature, key.map_or(0, |key| key.feature))),
            failed: runs.iter().any(|run| run.failed),
            duration: last.saturating_sub(start),
            totals: self.totals(&totals),
        }
    }

    fn tenant(&self, name: u16) -> Option<String> {
        let group = self.resolved.group;
        let text = Some(group.name(name)).filter(|text| !text.is_empty())?;
        Some(self.ids.shown(&group.account, text).into_owned())
    }

    fn feature(&self, name: u16) -> Option<String> {
        Some(self.resolved.group.name(name)).filter(|text| !text.is_empty()).map(|text| self.column(text))
    }

    fn column(&self, text: &str) -> String {
        self.ids.column(&self.resolved.group.account, text).into_owned()
    }

    fn totals(&self, totals: &Totals) -> Totals {
        let mut shown = Totals { models: BTreeMap::new(), tools: BTreeMap::new(), finish: BTreeMap::new(), ..*totals };
        // names that look the same when shown are added up
        for (name, model) in &totals.models {
            let one = BTreeMap::from([(self.column(name), *model)]);
            shown.add(&Totals { models: one, ..Totals::default() });
        }
        for (name, tool) in &totals.tools {
            let one = BTreeMap::from([(self.column(name), *tool)]);
            shown.add(&Totals { tools: one, ..Totals::default() });
        }
        for (name, count) in &totals.finish {
            let one = BTreeMap::from([(self.column(name), *count)]);
            shown.add(&Totals { finish: one, ..Totals::default() });
        }
        shown
    }
}
