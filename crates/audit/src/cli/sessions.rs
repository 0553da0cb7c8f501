//! `tollgate vault find`, and the part that `diff`, `export` and `replay` share ([`run_session`]). `find` needs no key
//! and opens nothing; the others print what the caller's keys opened. The work is in `audit/read`.

use std::io::{self, Write};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::cli::opening::PermittedOpening;
use crate::cli::public_keys::read_public_keys;
use crate::cli::session_argument::parse_session_argument;
use crate::cli::share::GivenShares;
use crate::cli::store_access::StoreAccessArgs;
use crate::cli::vault_args::{VaultArgs, open_with_auditors, print_bytes};
use crate::read::{
    ContentLimit, ExportFormat, FindResult, FragmentOpener, IndexQuery, ReadError, ReplayFilter, ReplayedSession,
    Vault, find, find_signed, format_row, replay,
};
use crate::signed_index::SignedIndex;
use command::error::{CommandError, ExitStatus};
use command::output;
use command::runtime::block_on;
use command::time_option::{TimeOption, parse_time_option};
use config::types::ByteSize;
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::{escape_json, escape_unsafe, format_count};
use vault::chain::note::VerifyKey;
use vault::index_row::IndexRow;

/// Options of `vault find`.
#[derive(Args)]
pub struct FindArgs {
    /// Session id as shown in spans and the index; `trace-ID` for records without a session.
    #[arg(long)]
    session: Option<String>,
    /// Trace id.
    #[arg(long)]
    trace: Option<String>,
    /// Span id.
    #[arg(long)]
    span: Option<String>,
    /// Pseudonym of a user (`h-…`), as shown in spans; may be repeated, e.g. with the pseudonym of each epoch.
    #[arg(long, value_name = "h-…")]
    user: Vec<String>,
    /// Name of a tool.
    #[arg(long)]
    tool: Option<String>,
    /// Operation: `chat`, `execute_tool`, `invoke_agent`, …
    #[arg(long)]
    action: Option<String>,
    /// Name of a model.
    #[arg(long)]
    model: Option<String>,
    /// Issue (`work_tracker.issue_id`).
    #[arg(long)]
    issue: Option<String>,
    /// Commit (`build.commit_sha`) or a prefix of it.
    #[arg(long)]
    commit: Option<String>,
    /// Only failed items.
    #[arg(long)]
    failed: bool,
    /// Earliest time: `24h`, `7d`, `2026-11-20` or `2026-11-20T08:00:00Z` (UTC).
    #[arg(long, value_parser = parse_time_option, value_name = "TIME")]
    since: Option<TimeOption>,
    /// Latest time (exclusive), in the same forms.
    #[arg(long, value_parser = parse_time_option, value_name = "TIME")]
    until: Option<TimeOption>,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
    /// Only this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// Prints the index lines as JSON, one object per line.
    #[arg(long)]
    json: bool,
    /// Public key of the writer's signer, or a file that contains it. Lines in objects that no digest signed by it
    /// names are marked. Needs read access to the chain too.
    #[arg(long, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// Prints only the sessions, one per line: the session for `replay`, a tab, and the account for `--account`; then a
    /// tab and `UNSIGNED` if no signed line mentions it.
    #[arg(long, conflicts_with = "json")]
    sessions: bool,
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: String,
    /// Bucket of the key objects: has no effect, since this command opens no content.
    #[arg(long, value_name = "s3://BUCKET")]
    keys: Option<String>,
    #[command(flatten)]
    store_access: StoreAccessArgs,
}

/// Options that select a session and the keys that open it.
#[derive(Args)]
pub struct SessionArgs {
    /// Session id as shown in spans and the index; `trace-ID` for records without a session.
    session: String,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
    /// Only this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// Limit on the session's decompressed content in memory: `256MiB`. A larger session is an error.
    #[arg(long, value_parser = parse_size, default_value = "1GiB", value_name = "SIZE")]
    content: ContentLimit,
    /// Public key of the writer's signer, or a file that contains it. Lines in objects that no digest signed by it
    /// names, and content that no signed line refers to, are marked, and are left out of turns, sums, trees and
    /// datasets.
    #[arg(long, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// With `--key`: counts unsigned lines in turns and sums like the rest. Data of the last minutes is not signed yet.
    #[arg(long, requires = "key")]
    unsigned: bool,
    #[command(flatten)]
    shares: GivenShares,
    #[command(flatten)]
    vault: VaultArgs,
}

fn parse_size(text: &str) -> Result<ContentLimit, CommandError> {
    ByteSize::parse(text)
        .map(|size| ContentLimit(size.0))
        .ok_or_else(|| CommandError::Usage("must be a size such as `256MiB` or `4GiB`".to_owned()))
}

/// Formats of an export.
#[derive(Clone, Copy, ValueEnum)]
pub enum ExportFormatArg {
    /// One line per model call: `{"messages": [...], "model": ...}`.
    Messages,
    /// One line per item: head, parameters, content.
    Jsonl,
}

impl From<ExportFormatArg> for ExportFormat {
    fn from(format: ExportFormatArg) -> Self {
        match format {
            ExportFormatArg::Messages => Self::Messages,
            ExportFormatArg::Jsonl => Self::Jsonl,
        }
    }
}

/// Runs `vault find`. The exit code is 1 if the answer is incomplete: something that the index or a signed digest names
/// is missing or can't be read. With keys, unsigned objects don't count. Objects older than all present ones count
/// only with `--since`.
pub(super) fn run_find(options: FindArgs) -> Result<ExitStatus, CommandError> {
    let location = options.store_access.location(&options.store, options.keys.as_deref());
    let now = SystemClock::new().now();
    let FindArgs { session, trace, span, user, tool, action, model, issue, commit, failed, account, tenant, .. } =
        options;
    let (session, account) = match session.map(|session| parse_session_argument(&session, account.as_deref())) {
        Some((session, account)) => (Some(session), account),
        None => (None, account),
    };
    let keys = read_public_keys(&options.key)?;
    let (since, until) = (options.since.map(|at| at.to_text(now)), options.until.map(|at| at.to_text(now)));
    let ids = session.iter().map(|id| ("--session", id)).chain(user.iter().map(|id| ("--user", id)));
    let pseudonym_hints: Vec<String> =
        ids.filter_map(|(option, id)| pseudonym_hint(option, id, OTHER_OPTIONS)).collect();
    let query = IndexQuery {
        account,
        tenant,
        session,
        trace,
        span,
        users: user,
        tool,
        action,
        issue,
        commit,
        model,
        failed,
        since,
        until,
    };
    let (mut is_complete, has_start) = (true, query.since.is_some());
    block_on(async {
        let vault = Vault::from_location(&location)?;
        let mut out = Vec::new();
        let mut printed = Ok(());
        let mut add_line = |row: &IndexRow, unsigned: bool| {
            if options.sessions || printed.is_err() {
                return;
            }
            let line = if options.json { row_json(row, unsigned) } else { row_text(row, unsigned) };
            out.extend(line.as_bytes());
            out.push(b'\n');
            if out.len() > 1 << 16 {
                printed = print_bytes(&std::mem::take(&mut out));
            }
        };
        let (found, unsigned) = match read_signed_objects(&vault, &keys, query.account.as_deref()).await? {
            Some(signed) => find_signed(&vault, &query, &signed, &mut add_line).await?,
            None => (find(&vault, &query, &mut |row| add_line(row, false)).await?, FindResult::default()),
        };
        printed?;
        let found_sessions = found.sessions.iter().map(|session| (session, ""));
        let unsigned_sessions = unsigned.sessions.difference(&found.sessions).map(|session| (session, "\tUNSIGNED"));
        for ((session, account), mark) in found_sessions.chain(unsigned_sessions).filter(|_| options.sessions) {
            out.extend(escape_unsafe(&format!("{session}\t{account}{mark}")).as_bytes());
            out.push(b'\n');
        }
        print_bytes(&out)?;
        let unread = found.unreadable.iter().chain(&unsigned.unreadable).chain(&found.older_missing);
        output::print_notes("not read", unread);
        let cut_note = "more sessions than fit in memory: search fewer days or a single tenant".to_owned();
        let is_cut = options.sessions && (found.more_sessions || unsigned.more_sessions);
        output::print_notes("not listed", is_cut.then_some(&cut_note));
        // Unsigned lines do not make the answer incomplete.
        let all_listed = !(options.sessions && found.more_sessions);
        is_complete = found.unreadable.is_empty() && !(has_start && found.older_missing.is_some()) && all_listed;
        if !options.json && !options.sessions {
            print_counts(found.lines + unsigned.lines, found.sessions.union(&unsigned.sessions).count());
        }
        print_signature_note(keys.is_empty(), usize::try_from(unsigned.lines).unwrap_or(usize::MAX));
        if found.lines + unsigned.lines == 0 {
            output::print_notes("hint", &pseudonym_hints);
            output::print_notes("hint", [PENDING_HINT.to_owned()].iter());
        }
        Ok(())
    })?;
    Ok(if is_complete { ExitStatus::Success } else { ExitStatus::Failed })
}

/// The hint that recent data is not in the index yet.
const PENDING_HINT: &str = "recent data may not be in the vault yet: an object is written `object_age` after its first content \
                       (2 minutes, or 2 seconds in the embedded default), and its index line with the next digest (`index_interval`: \
                       1 minute, or 2 seconds); stopping the gateway writes both at once";

/// Other options by which `find` can search.
pub(super) const OTHER_OPTIONS: &str = "--since, --tenant, --tool";

/// A hint that the id may be stored as a pseudonym, if it doesn't look like one.
pub(super) fn pseudonym_hint(option: &str, id: &str, other: &str) -> Option<String> {
    (!id.is_empty() && !id.starts_with("h-")).then(|| {
        format!(
            "the id may be stored as a pseudonym: ids that look private to redaction (an address, a name) are stored in the \
             vault as h-…; pass that form to {option}, as shown in exported spans, or search by {other}"
        )
    })
}

fn row_text(row: &IndexRow, unsigned: bool) -> String {
    format_row(row) + if unsigned { "  UNSIGNED: no signed digest covers this line" } else { "" }
}

/// JSON with terminal control characters escaped, even in a pipe, since it may be displayed later.
fn row_json(row: &IndexRow, unsigned: bool) -> String {
    let mut json = serde_json::to_string(row).unwrap_or_default();
    if unsigned && json.pop().is_some() {
        json.push_str(",\"unsigned\":true}");
    }
    escape_json(&json)
}

/// The objects named by digests that these keys signed; `None` if no key was given.
async fn read_signed_objects(
    vault: &Vault,
    keys: &[VerifyKey],
    account: Option<&str>,
) -> Result<Option<Arc<SignedIndex>>, CommandError> {
    if keys.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(SignedIndex::read(vault, keys, account).await?)))
}

/// Prints whether signatures were checked, and how many lines have none.
fn print_signature_note(unchecked: bool, unsigned: usize) {
    let text = match (unchecked, unsigned) {
        (true, _) => "signatures were not checked: pass --key to mark unsigned lines".to_owned(),
        (false, 0) => return,
        (false, count) => {
            format!("UNSIGNED: {count} entries are in no signed digest: planted, or not signed yet")
        }
    };
    // Stderr may be closed.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Prints the number of lines and sessions to stderr.
fn print_counts(lines: u64, sessions: usize) {
    let text = format!("{} of {}\n", format_count(lines, "line"), format_count(sessions, "session"));
    // Stderr may be closed.
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// Reads the session and calls `write` to print it. Anything that could not be read is reported, unless `write` does so
/// (`writes_unreadable`), and makes the exit code 1, unless it was erased on request or was never signed.
pub(super) fn run_session(
    session: SessionArgs,
    writes_unreadable: bool,
    write: impl FnOnce(&mut ReplayedSession, &mut Vec<u8>) -> Result<io::Result<()>, ReadError>,
) -> Result<ExitStatus, CommandError> {
    let SessionArgs { session, account, tenant, content, key, unsigned, shares, vault: vault_args } = session;
    let (session, account) = parse_session_argument(&session, account.as_deref());
    let keys = read_public_keys(&key)?;
    shares.requested.check_session(&session, account.as_deref())?;
    block_on(async {
        let (vault, auditors, log) = open_with_auditors(&vault_args).await?;
        log.record_opening("session", &session)?;
        let given = shares.read(&auditors)?;
        let openings = PermittedOpening::now(&shares.requested.record(&vault_args, &auditors).await?);
        let mut opener = FragmentOpener::new(&vault, auditors).with_shares(given).with_openings(openings);
        let signed = read_signed_objects(&vault, &keys, account.as_deref()).await?;
        let filter = ReplayFilter { account, tenant, content, signed, unsigned };
        let mut replay = replay(&vault, &mut opener, &session, &filter).await?;
        let mut text = Vec::new();
        write(&mut replay, &mut text)?.map_err(|error| error.to_string())?;
        print_bytes(&text)?;
        print_signature_note(keys.is_empty(), replay.unsigned());
        output::print_notes("read from another location", opener.alternative_reads());
        output::print_notes("not read", replay.older_missing());
        if !writes_unreadable || replay.is_truncated() {
            output::print_notes("not read", replay.unreadable());
        }
        Ok(if replay.is_partial() { ExitStatus::Failed } else { ExitStatus::Success })
    })
}

#[cfg(test)]
mod tests;
