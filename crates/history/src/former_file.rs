//! Converts a file of version 1, which kept runs as JSON: their records are kept, the calls of each run are not.

use rusqlite::Connection;
use serde::Deserialize;

use genai::CallTokenBuckets;
use runs::{ModelTotals, RunJudgement, RunOwner, RunPeaks, RunState, RunTotals, RunView, ToolTotals};

pub(super) const VERSION: i64 = 1;

/// A part of a run: of a model, another tenant or a tool.
#[derive(Default, Deserialize)]
#[serde(default)]
struct FormerPart {
    name: String,
    calls: u64,
    input: u64,
    output: u64,
    atto: i128,
    unpriced: u64,
    no_usage: u64,
    failed: u64,
    denied: u64,
}

impl FormerPart {
    fn into_model(self) -> (String, ModelTotals) {
        let Self { name, calls, input, output, atto: atto_usd, unpriced, no_usage, .. } = self;
        let tokens = CallTokenBuckets { input, output, ..CallTokenBuckets::default() };
        (name, ModelTotals { calls, tokens, atto_usd, unpriced, no_usage, ..ModelTotals::default() })
    }

    fn into_tool(self) -> (String, ToolTotals) {
        let Self { name, calls, failed, denied, .. } = self;
        (name, ToolTotals { ok: calls.saturating_sub(failed + denied), failed, denied, retries: 0 })
    }
}

#[derive(Deserialize)]
struct FormerRun {
    account: String,
    run: String,
    session: String,
    trace: String,
    root: [u8; 8],
    tenant: Option<String>,
    feature: Option<String>,
    user: Option<String>,
    commit: Option<String>,
    issue: Option<String>,
    template: Option<String>,
    service: Option<String>,
    state: String,
    start: u64,
    at: u64,
    duration: u64,
    iterations: u64,
    failed_calls: u64,
    writes: u64,
    models: Vec<FormerPart>,
    #[serde(default)]
    others: Vec<FormerPart>,
    tools: Vec<FormerPart>,
    #[serde(default)]
    troubles: Vec<([String; 2], u64)>,
    fallbacks: Vec<([String; 4], u64)>,
    denials: Vec<(String, String, u64)>,
}

impl From<FormerRun> for RunView {
    fn from(former: FormerRun) -> Self {
        let FormerRun { account, run, session, trace, root, tenant, feature, user, commit, issue, .. } = former;
        let FormerRun { template, service, start, at: last, duration, iterations, failed_calls, writes, .. } = former;
        let FormerRun { models, others, tools, troubles, fallbacks, denials, .. } = former;
        let into_models = |parts: Vec<FormerPart>| parts.into_iter().map(FormerPart::into_model).collect();
        let totals = RunTotals {
            iterations,
            failed_calls,
            writes,
            models: into_models(models),
            other_tenants: into_models(others),
            tools: tools.into_iter().map(FormerPart::into_tool).collect(),
            troubles: troubles.into_iter().collect(),
            fallbacks: fallbacks.into_iter().collect(),
            denials: denials.into_iter().map(|(tool, source, count)| ([tool, source], count)).collect(),
            ..RunTotals::default()
        };
        // the tracker has a live run again
        let state = RunState::parse(&former.state).filter(|state| !state.is_live()).unwrap_or(RunState::Evicted);
        #[rustfmt::skip]
        let view = Self {
            account, run, session, trace, root, tenant, feature, user, commit, issue, template, service, state, start,
            last, duration, totals,
            owner: RunOwner::Here,
            continues: None,
            incident: None,
            operation: None,
            failed: state.is_failed(),
            peaks: RunPeaks::default(),
            judgement: RunJudgement::default(),
        };
        view
    }
}

/// Reads all runs and empties the file of their former tables.
pub(super) fn take_runs(db: &Connection) -> Result<Vec<RunView>, rusqlite::Error> {
    let mut statement = db.prepare("SELECT entry FROM runs")?;
    let entries = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?.collect::<Result<Vec<_>, _>>()?;
    drop(statement);
    db.execute_batch("DROP TABLE runs")?;
    let count_account_columns = "SELECT COUNT(*) FROM pragma_table_info('samples') WHERE name = 'account'";
    if db.query_row(count_account_columns, [], |row| row.get::<_, i64>(0))? == 0 {
        db.execute_batch("ALTER TABLE samples ADD COLUMN account TEXT NOT NULL DEFAULT ''")?;
    }
    let parse = |entry: &Vec<u8>| serde_json::from_slice::<FormerRun>(entry).ok().map(RunView::from);
    Ok(entries.iter().filter_map(parse).collect())
}
