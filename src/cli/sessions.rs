//! `tollgate vault find`, and running `diff`, `export` and `replay` on a session. `find` needs no key and opens
//! nothing; the others print what the caller's keys opened. The work is in `audit/read`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::error::{CommandError, Exit};
use super::listed::listed;
use super::moment::{Moment, moment};
use super::output;
use super::reach::Reach;
use super::runtime::block_on;
use super::vault::keys::public_keys;
use super::vault::source::{Source, open, print};
use audit::read::{
    Content, Filter, Format, Found, Opener, Query, ReadError, Replay, Vault, find, find_in, find_in_signed,
    find_signed, replay, shown,
};
use audit::signed::Signed;
use config::types::ByteSize;
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::{clean, counted, escaped};
use vault::chain::note::VerifyKey;
use vault::row::Row;

/// Options of `vault find`.
#[derive(Args)]
pub(super) struct Find {
    /// Session id as shown in spans and the index; `trace-ID` for records without a session.
    #[arg(long)]
    session: Option<String>,
    /// Trace id.
    #[arg(long)]
    trace: Option<String>,
    /// Span id.
    #[arg(long)]
    span: Option<String>,
    /// Pseudonym of a user (`h-…`), as shown in spans.
    #[arg(long, value_name = "h-…")]
    user: Option<String>,
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
    #[arg(long, value_parser = moment, value_name = "TIME")]
    since: Option<Moment>,
    /// Latest time (exclusive), in the same forms.
    #[arg(long, value_parser = moment, value_name = "TIME")]
    until: Option<Moment>,
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
    /// names are marked. Needs read access to the chain too. Of tables, only those that were made from signed objects
    /// alone (by their state file) are read; other lines come from the index. Lines in tables are a copy and are not
    /// checked against signatures.
    #[arg(long, value_name = "KEY|FILE", requires = "store")]
    key: Vec<String>,
    /// Prints only the sessions, one per line: the session for `replay`, a tab, and the account for `--account`; then a
    /// tab and `UNSIGNED` if no signed line mentions it.
    #[arg(long, conflicts_with = "json")]
    sessions: bool,
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX", required_unless_present = "parquet")]
    store: Option<String>,
    /// Bucket of the key objects; not used here, but accepted so that all commands take the same options.
    #[arg(long, value_name = "s3://BUCKET")]
    keys: Option<String>,
    /// Tables made by `vault compact`, read in place of the index lines that they contain. Without `--store`, only the
    /// tables are read.
    #[arg(long, value_name = "DIR")]
    parquet: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

/// Options that select a session and the keys that open it.
#[derive(Args)]
pub(super) struct Session {
    /// Session id as shown in spans and the index; `trace-ID` for records without a session.
    session: String,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
    /// Only this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// Limit on the session's decompressed content in memory: `256MiB`. A larger session is an error.
    #[arg(long, value_parser = size, default_value = "1GiB", value_name = "SIZE")]
    content: Content,
    /// Public key of the writer's signer, or a file that contains it. Lines in objects that no digest signed by it
    /// names, and content that no signed line refers to, are marked, and are left out of turns, sums, trees and
    /// datasets.
    #[arg(long, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// With `--key`: counts unsigned lines in turns and sums like the rest. Data of the last minutes is not signed yet.
    #[arg(long, requires = "key")]
    unsigned: bool,
    #[command(flatten)]
    from: Source,
}

fn size(text: &str) -> Result<Content, CommandError> {
    ByteSize::parse(text)
        .map(|size| Content(size.0))
        .ok_or_else(|| CommandError::Usage("is no size: `256MiB`, `4GiB`".to_owned()))
}

/// Formats of an export.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum As {
    /// One line per model call: `{"messages": [...], "model": ...}`.
    Messages,
    /// One line per item: head, parameters, content.
    Jsonl,
}

impl From<As> for Format {
    fn from(form: As) -> Self {
        match form {
            As::Messages => Self::Messages,
            As::Jsonl => Self::Jsonl,
        }
    }
}

/// Runs `vault find`. The exit code is 1 if the answer is incomplete: something that the index or a signed digest names
/// is missing or can't be read. With keys, unsigned objects don't count, nor does what is older than everything
/// present, unless `--since` asks for it.
pub(super) fn run_find(options: Find) -> Result<Exit, CommandError> {
    let location = options.store.as_ref().map(|store| options.reach.location(store, options.keys.as_deref()));
    let now = SystemClock::new().now();
    let Find { session, trace, span, user, tool, action, model, issue, commit, failed, account, tenant, .. } = options;
    let (session, account) = match session.map(|session| listed(&session, account.as_deref())) {
        Some((session, account)) => (Some(session), account),
        None => (None, account),
    };
    let keys = public_keys(&options.key)?;
    let (since, until) = (options.since.map(|at| at.text(now)), options.until.map(|at| at.text(now)));
    let private = [("--session", &session), ("--user", &user)].into_iter();
    let private: Vec<String> =
        private.filter_map(|(option, id)| pseudonym_hint(option, id.as_deref()?, OTHER)).collect();
    let query =
        Query { account, tenant, session, trace, span, user, tool, action, issue, commit, model, failed, since, until };
    let (mut whole, bounded) = (true, query.since.is_some());
    block_on(async {
        let vault = location.as_ref().map(Vault::at).transpose()?;
        let mut out = Vec::new();
        let mut broken = Ok(());
        let mut each = |row: &Row, unsigned: bool| {
            if options.sessions || broken.is_err() {
                return;
            }
            let line = if options.json { json_of(row, unsigned) } else { text_of(row, unsigned) };
            out.extend(line.as_bytes());
            out.push(b'\n');
            if out.len() > 1 << 16 {
                broken = print(&std::mem::take(&mut out));
            }
        };
        let signed = match &vault {
            Some(vault) => signed(vault, &keys, query.account.as_deref()).await?,
            None => None,
        };
        let mut alone = |row: &Row| each(row, false);
        let (found, others) = match (&options.parquet, &vault, &signed) {
            (Some(folder), Some(vault), Some(signed)) => {
                find_in_signed(folder, vault, &query, signed, &mut each).await?
            }
            (Some(folder), vault, _) => (find_in(folder, vault.as_ref(), &query, &mut alone).await?, Found::default()),
            (None, Some(vault), Some(signed)) => find_signed(vault, &query, signed, &mut each).await?,
            (None, Some(vault), None) => (find(vault, &query, &mut alone).await?, Found::default()),
            (None, None, _) => return Err(CommandError::Failed("give --store or --parquet".to_owned())),
        };
        broken?;
        let own = found.sessions.iter().map(|one| (one, ""));
        let planted = others.sessions.difference(&found.sessions).map(|one| (one, "\tUNSIGNED"));
        for ((session, account), mark) in own.chain(planted).filter(|_| options.sessions) {
            out.extend(clean(&format!("{session}\t{account}{mark}")).as_bytes());
            out.push(b'\n');
        }
        print(&out)?;
        output::tell("not read", found.closed.iter().chain(&others.closed).chain(&found.older));
        let cut = "more sessions than are kept in memory: ask for fewer days, or one tenant".to_owned();
        let more = options.sessions && (found.more_sessions || others.more_sessions);
        output::tell("not listed", more.then_some(&cut));
        // Unsigned lines do not make the answer incomplete.
        let listed = !(options.sessions && found.more_sessions);
        whole = found.closed.is_empty() && !(bounded && found.older.is_some()) && listed;
        if !options.json && !options.sessions {
            eprintln_counts(found.lines + others.lines, found.sessions.union(&others.sessions).count());
        }
        looked(keys.is_empty(), usize::try_from(others.lines).unwrap_or(usize::MAX));
        output::tell("note", copy_note(options.parquet.is_some(), !keys.is_empty()).as_ref());
        if found.lines + others.lines == 0 {
            output::tell("hint", &private);
            output::tell("hint", vault.is_some().then_some(&PENDING.to_owned()));
        }
        Ok(())
    })?;
    Ok(if whole { Exit::Fine } else { Exit::Failed })
}

/// The hint that recent data is not in the index yet.
const PENDING: &str = "what came in last may still wait in the gateway: an object is written `object_age` after its first content \
                       (2 minutes, or 2 seconds in the embedded default), its index line with the next digest (`index_interval`: \
                       1 minute, or 2 seconds); stopping the gateway writes both at once";

/// Other options by which `find` can search.
pub(super) const OTHER: &str = "--since, --tenant, --tool";

/// A hint that the id may be stored as a pseudonym, if it doesn't look like one.
pub(super) fn pseudonym_hint(option: &str, id: &str, other: &str) -> Option<String> {
    (!id.is_empty() && !id.starts_with("h-")).then(|| {
        format!(
            "nothing found does not mean that nothing is here: ids that redaction takes for private (an address, a name) stand in the \
             vault as h-…; {option} takes that, as spans behind the gateway show it, or search by {other}"
        )
    })
}

fn text_of(row: &Row, unsigned: bool) -> String {
    shown(row) + if unsigned { "  UNSIGNED: no digest names this line" } else { "" }
}

/// JSON with terminal control characters escaped, even in a pipe, since it may be displayed later.
fn json_of(row: &Row, unsigned: bool) -> String {
    let mut json = serde_json::to_string(row).unwrap_or_default();
    if unsigned && json.pop().is_some() {
        json.push_str(",\"unsigned\":true}");
    }
    escaped(&json)
}

/// The objects named by digests that these keys signed; `None` if no key was given.
async fn signed(vault: &Vault, keys: &[VerifyKey], account: Option<&str>) -> Result<Option<Arc<Signed>>, CommandError> {
    if keys.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Signed::read(vault, keys, account).await?)))
}

/// The note about tables when keys are given: without it, a caller would take unmarked lines for signed.
fn copy_note(tables: bool, keys: bool) -> Option<String> {
    let note = "tables are a copy; not held against signatures: whoever can write their folder can forge what they show. Without \
                --parquet every line is held against its signed object";
    (tables && keys).then(|| note.to_owned())
}

/// Prints whether signatures were checked, and how many lines have none.
fn looked(not: bool, unsigned: usize) {
    let text = match (not, unsigned) {
        (true, _) => "signatures were not checked: pass --key to mark lines that no digest signs".to_owned(),
        (false, 0) => return,
        (false, count) => {
            format!("UNSIGNED: {count} entries that no digest names: planted, or not signed yet")
        }
    };
    // Stderr may be closed.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Prints the number of lines and sessions to stderr.
fn eprintln_counts(lines: u64, sessions: usize) {
    let text = format!("{} of {}\n", counted(lines, "line"), counted(sessions, "session"));
    // Stderr may be closed.
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// Reads the session and calls `write` to print it. Anything that could not be read is reported, unless `write` does so
/// (`tells`), and makes the exit code 1, unless it was erased on request or was never signed.
pub(super) fn run_session(
    session: Session,
    tells: bool,
    write: impl FnOnce(&mut Replay, &mut Vec<u8>) -> Result<io::Result<()>, ReadError>,
) -> Result<Exit, CommandError> {
    let Session { session, account, tenant, content, key, unsigned, from } = session;
    let (session, account) = listed(&session, account.as_deref());
    let keys = public_keys(&key)?;
    block_on(async {
        let (vault, auditors, log) = open(&from).await?;
        log.note("session", &session)?;
        let mut opener = Opener::new(&vault, auditors);
        let signed = signed(&vault, &keys, account.as_deref()).await?;
        let filter = Filter { account, tenant, content, signed, unsigned };
        let mut replay = replay(&vault, &mut opener, &session, &filter).await?;
        let mut text = Vec::new();
        write(&mut replay, &mut text)?.map_err(|error| error.to_string())?;
        print(&text)?;
        looked(keys.is_empty(), replay.unsigned());
        output::tell("elsewhere", opener.moved());
        output::tell("not read", replay.older());
        if !tells || replay.is_cut() {
            output::tell("not read", replay.closed());
        }
        Ok(if replay.is_partial() { Exit::Failed } else { Exit::Fine })
    })
}

#[cfg(test)]
mod tests;
