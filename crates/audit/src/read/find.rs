//! `vault find`: searches the index for lines by their columns. People without a key can so decide which sessions to
//! open. No content is opened. A filter that is not given matches every line. A gateway that verifies who sends keeps
//! the id that the client named as `claimed_user_key`: it selects nothing, because a client may name anyone; auditors
//! only read of it ([`ClaimedIds`]), so that a history from before the verification is found. Neighbours: `index` reads
//! the index, [`crate::compact`] packs it for DuckDB and others, which suit larger questions.

use std::collections::BTreeSet;

use clap::Args;

use super::index::{IndexLines, UnreadIndex, each_row};
use crate::error::Result;
use crate::location::Vault;
use crate::signed_index::SignedIndex;
use command::time_option::parse_time_option;
use kernel::clock::UnixNanos;
use kernel::terminal::escape_unsafe;
use vault::index_row::{IndexRow, RowKind, RowTail};
use vault::object_names::{date, parse_time};

/// The search conditions, in options of `vault find`; all that are given must hold.
#[derive(Args, Clone, Debug, Default)]
pub struct IndexQuery {
    /// Session id as shown in spans and the index; `trace-ID` for records without a session.
    #[arg(long)]
    pub session: Option<String>,
    /// Trace id.
    #[arg(long)]
    pub trace: Option<String>,
    /// Span id.
    #[arg(long)]
    pub span: Option<String>,
    /// Pseudonym of a user (`h-…`), as shown in spans; may be repeated, e.g. with the pseudonym of each epoch.
    #[arg(long = "user", value_name = "h-…")]
    pub users: Vec<String>,
    /// Kind of the line, such as `decision`: agents that budgets stopped, and grants.
    #[arg(long, value_parser = parse_kind)]
    pub kind: Option<RowKind>,
    /// Name of a tool.
    #[arg(long)]
    pub tool: Option<String>,
    /// Operation: `chat`, `execute_tool`, `invoke_agent`, …
    #[arg(long)]
    pub action: Option<String>,
    /// Name of a model.
    #[arg(long)]
    pub model: Option<String>,
    /// Issue (`work_tracker.issue_id`).
    #[arg(long)]
    pub issue: Option<String>,
    /// Commit (`build.commit_sha`) or a prefix of it.
    // a prefix has at least 4 digits
    #[arg(long)]
    pub commit: Option<String>,
    /// Only failed items.
    #[arg(long)]
    pub failed: bool,
    /// Earliest time: `24h`, `7d`, `2026-11-20` or `2026-11-20T08:00:00Z` (UTC).
    // both times are RFC 3339 as in the index, and compared as text
    #[arg(long, value_parser = parse_time_option, value_name = "TIME")]
    pub since: Option<String>,
    /// Latest time (exclusive), in the same forms.
    #[arg(long, value_parser = parse_time_option, value_name = "TIME")]
    pub until: Option<String>,
    /// Only this account.
    #[arg(long)]
    pub account: Option<String>,
    /// Only this tenant.
    #[arg(long)]
    pub tenant: Option<String>,
}

fn parse_kind(word: &str) -> Result<RowKind, String> {
    let known = || RowKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    RowKind::parse(word).ok_or_else(|| format!("must be one of {}", known()))
}

impl IndexQuery {
    pub(super) fn matches(&self, row: &IndexRow) -> bool {
        self.matches_beside_user(row)
            && (self.users.is_empty() || row.tail.user_key.as_ref().is_some_and(|user| self.users.contains(user)))
    }

    fn matches_beside_user(&self, row: &IndexRow) -> bool {
        let tail = &row.tail;
        let is = |wanted: &Option<String>, column: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| column == Some(wanted))
        };
        let is_commit = || match (&self.commit, &tail.commit_sha) {
            (None, _) => true,
            (Some(wanted), Some(sha)) => sha == wanted || (wanted.len() >= 4 && sha.starts_with(wanted.as_str())),
            (Some(_), None) => false,
        };
        (tail.kind != Some(RowKind::Price) || self.kind == Some(RowKind::Price))
            && (self.kind.is_none() || tail.kind == self.kind)
            && is(&self.account, Some(&tail.account))
            && is(&self.tenant, Some(&tail.tenant))
            && is(&self.trace, tail.trace_id.as_deref())
            && is(&self.span, tail.span_id.as_deref())
            && is(&self.tool, tail.tool_name.as_deref())
            && is(&self.action, tail.action_type.as_deref())
            && is(&self.issue, tail.issue_id.as_deref())
            && is(&self.model, tail.model.as_deref())
            && (!self.failed || tail.status != "ok")
            && self.since.as_deref().is_none_or(|since| &*tail.ts >= since)
            && self.until.as_deref().is_none_or(|until| &*tail.ts < until)
            && is(&self.session, tail.session_name().as_deref())
            && is_commit()
    }

    /// Whether the index folder of this day of arrival may have matching lines. An item may arrive any time after its
    /// own time. If its clock is ahead of the gateway's, it may arrive before its own time, by at most a day.
    fn may_match_day(&self, folder_day: &str) -> bool {
        let since = self.since.as_deref().and_then(|since| day_before(since.get(..10)?));
        since.is_none_or(|since| folder_day >= &*since)
    }
}

const NANOS_PER_DAY: u64 = 86_400_000_000_000;

/// `2026-11-19` for `2026-11-20`.
pub(crate) fn day_before(day: &str) -> Option<String> {
    let midnight = parse_time(&format!("{day}T00:00:00Z"))?;
    Some(date(UnixNanos(midnight.0.checked_sub(NANOS_PER_DAY)?)))
}

/// Most bytes of session names kept in memory.
const MAX_SESSION_NAME_BYTES: usize = if cfg!(test) { 64 << 10 } else { 256 << 20 };
/// The same for sessions of unsigned lines, which anyone with write access may have written.
const MAX_UNSIGNED_SESSION_NAME_BYTES: usize = if cfg!(test) { 32 << 10 } else { 32 << 20 };
/// Approximate overhead of a name in memory, bytes.
const SESSION_NAME_OVERHEAD: usize = 96;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindResult {
    /// Number of matching lines.
    pub lines: u64,
    /// Session names, as `replay` accepts them, each with its account.
    pub sessions: BTreeSet<(String, String)>,
    /// Whether there are more sessions than are kept.
    pub more_sessions: bool,
    /// Unreadable parts of the index, a line each.
    pub unreadable: Vec<String>,
    /// Signed objects that are missing and older than any that exists.
    pub older_missing: Option<String>,
    /// Messages about ids that clients named in place of the users', a line each.
    pub claimed_ids: Vec<String>,
}

/// Calls `visit` with each of these lines that matches `query`, in the order of index objects. At most `max_bytes` of
/// session names are kept.
async fn search_lines(
    vault: &Vault,
    query: &IndexQuery,
    lines: IndexLines<'_>,
    max_bytes: usize,
    visit: &mut (dyn FnMut(&IndexRow) + Send),
) -> Result<FindResult> {
    let (mut found, mut remaining_bytes, mut claimed) = (FindResult::default(), max_bytes, ClaimedIds::default());
    let mut visit_row = |_: &str, row: IndexRow| {
        if row.tail.claimed_user_key.is_some() && query.matches_beside_user(&row) {
            claimed.read_line(&query.users, &row.tail);
        }
        if !query.matches(&row) {
            return;
        }
        found.lines += 1;
        let session = row.tail.session_name().map(|session| (session.into_owned(), row.tail.account.clone()));
        if let Some(session) = session.filter(|session| !found.sessions.contains(session)) {
            match remaining_bytes.checked_sub(session.0.len() + session.1.len() + SESSION_NAME_OVERHEAD) {
                Some(remaining) => {
                    remaining_bytes = remaining;
                    found.sessions.insert(session);
                }
                None => found.more_sessions = true,
            }
        }
        visit(&row);
    };
    let may_match_day = |day: &str| query.may_match_day(day);
    let UnreadIndex { unreadable, older_missing } =
        each_row(vault, query.account.as_deref(), &may_match_day, lines, &mut visit_row).await?;
    Ok(FindResult { unreadable, older_missing, claimed_ids: claimed.messages().collect(), ..found })
}

/// Calls `visit` with each line that matches `query`, in the order of index objects: first the lines of objects that
/// signed digests name, with `false`, and then the other lines, with `true`. Returns the results of both. Without
/// `signed`, all lines count as the first kind.
pub async fn find_signed(
    vault: &Vault,
    query: &IndexQuery,
    signed: Option<&SignedIndex>,
    visit: &mut (dyn FnMut(&IndexRow, bool) + Send),
) -> Result<(FindResult, FindResult)> {
    let mut visit_first = |row: &IndexRow| visit(row, false);
    let mut found = search_lines(vault, query, signed.into(), MAX_SESSION_NAME_BYTES, &mut visit_first).await?;
    let Some(signed) = signed else { return Ok((found, FindResult::default())) };
    found.unreadable.extend_from_slice(&signed.unreadable);
    let (lines, max_bytes) = (IndexLines::Unsigned(signed), MAX_UNSIGNED_SESSION_NAME_BYTES);
    let unsigned = search_lines(vault, query, lines, max_bytes, &mut |row| visit(row, true)).await?;
    Ok((found, unsigned))
}

/// Formats a line as text: time, session, agent, action, outcome, cost. Of a decision: the budget's part of it.
pub fn format_row(row: &IndexRow) -> String {
    let tail = &row.tail;
    let action = tail.action_type.as_ref().unwrap_or(&tail.call);
    let target = tail.tool_name.as_ref().or(tail.model.as_ref()).map_or(String::new(), |name| format!(" {name}"));
    let cost = tail.cost_usd.as_ref().map_or(String::new(), |usd| format!("  {usd} USD"));
    let by = tail.decided_by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
    let decision = match (&tail.budget, &tail.decision) {
        (Some(budget), _) => format!("  {}: {}", budget.answer, budget.describe()),
        (None, Some(decision)) => format!("  {decision}{by}"),
        (None, None) => String::new(),
    };
    let (time, status, session) = (tail.ts.get(..23).unwrap_or(&tail.ts), &tail.status, tail.session_name());
    let (session, actor) = (session.as_deref().unwrap_or("-"), tail.actor.as_deref().unwrap_or("-"));
    escape_unsafe(&format!("{time}  {session}  {actor}  {action}{target}  {status}{decision}{cost}"))
}

/// Most ids that are kept of each kind.
const MAX_IDS: usize = 16;

/// The ids beside those of one search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClaimedIds {
    /// Ids that clients of the user named.
    claims: BTreeSet<String>,
    /// Verified users whose clients named the user's id.
    claimants: BTreeSet<String>,
}

impl ClaimedIds {
    /// Reads a line, for a search for `users`.
    pub(crate) fn read_line(&mut self, users: &[String], tail: &RowTail) {
        let (Some(verified), Some(claimed)) = (&tail.user_key, &tail.claimed_user_key) else { return };
        let (ids, id) = match (users.contains(verified), users.contains(claimed)) {
            (true, false) => (&mut self.claims, claimed),
            (false, true) => (&mut self.claimants, verified),
            _ => return,
        };
        if ids.len() < MAX_IDS {
            ids.insert(id.clone());
        }
    }

    /// What an auditor must know of them.
    pub(crate) fn messages(&self) -> impl Iterator<Item = String> + '_ {
        let claims = self.claims.iter().map(|id| {
            format!(
                "not included: clients of this user named the user {id}: data from before users were verified may be \
                 under that id, and so may another user's; search for it by itself"
            )
        });
        let claimants = self.claimants.iter();
        claims.chain(claimants.map(|id| format!("not included: clients of the verified user {id} named this user")))
    }
}
