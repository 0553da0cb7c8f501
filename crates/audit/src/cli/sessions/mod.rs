//! `tollgate vault find`, and the part that `diff`, `export` and `replay` share ([`run_session`]). `find` needs no key
//! and opens nothing; the others print what the caller's keys opened. The work is in `audit/read`.

use std::io;
use std::sync::Arc;

use clap::Args;

use crate::cli::opening::PermittedOpening;
use crate::cli::public_keys::read_public_keys;
use crate::cli::session_argument::parse_session_argument;
use crate::cli::share::GivenShares;
use crate::cli::vault_args::{VaultArgs, print_bytes};
use crate::read::{
    ContentLimit, FragmentOpener, IndexQuery, ReadError, ReplayFilter, ReplayedSession, Vault, VaultLocation,
    find_signed, format_row, replay,
};
use crate::signed_index::SignedIndex;
use command::error::{CommandError, ExitStatus, Result};
use command::output;
use command::runtime::block_on;
use config::types::ByteSize;
use kernel::terminal::{escape_json, escape_unsafe, format_count};
use vault::index_row::IndexRow;

/// Help of `--keys` for commands that open no content.
pub(super) const KEYS_WITHOUT_EFFECT: &str =
    "Bucket of the key objects: has no effect, since this command opens no content";

/// Options of `vault find`.
#[derive(Args)]
#[command(mut_arg("keys", |keys| keys.help(KEYS_WITHOUT_EFFECT)))]
pub struct FindArgs {
    #[command(flatten)]
    query: IndexQuery,
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
    #[command(flatten)]
    location: VaultLocation,
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

fn parse_size(text: &str) -> Result<ContentLimit> {
    ByteSize::parse(text)
        .map(|size| ContentLimit(size.0))
        .ok_or_else(|| CommandError::Usage("must be a size such as `256MiB` or `4GiB`".to_owned()))
}

/// Runs `vault find`. The exit code is 1 if the answer is incomplete: something that the index or a signed digest names
/// is missing or can't be read. With keys, unsigned objects don't count. Objects older than all present ones count
/// only with `--since`.
pub(super) fn run_find(options: FindArgs) -> Result<ExitStatus> {
    let FindArgs { mut query, json, key, sessions, location } = options;
    if let Some(session) = &query.session {
        let (session, account) = parse_session_argument(session, query.account.as_deref());
        (query.session, query.account) = (Some(session), account);
    }
    let keys = read_public_keys(&key)?;
    let ids = query.session.iter().map(|id| ("--session", id)).chain(query.users.iter().map(|id| ("--user", id)));
    let pseudonym_hints: Vec<String> =
        ids.filter_map(|(option, id)| pseudonym_hint(option, id, OTHER_OPTIONS)).collect();
    let has_start = query.since.is_some();
    let is_complete = block_on(async {
        let vault = Vault::from_location(&location)?;
        let mut out = Vec::new();
        let mut printed = Ok(());
        let mut add_line = |row: &IndexRow, unsigned: bool| {
            if sessions || printed.is_err() {
                return;
            }
            let line = if json { row_json(row, unsigned) } else { row_text(row, unsigned) };
            out.extend(line.as_bytes());
            out.push(b'\n');
            if out.len() > 1 << 16 {
                printed = print_bytes(&std::mem::take(&mut out));
            }
        };
        let signed = SignedIndex::read_if_keys(&vault, &keys, query.account.as_deref()).await?;
        let (found, unsigned) = find_signed(&vault, &query, signed.as_ref(), &mut add_line).await?;
        printed?;
        let found_sessions = found.sessions.iter().map(|session| (session, ""));
        let unsigned_sessions = unsigned.sessions.difference(&found.sessions).map(|session| (session, "\tUNSIGNED"));
        for ((session, account), mark) in found_sessions.chain(unsigned_sessions).filter(|_| sessions) {
            out.extend(escape_unsafe(&format!("{session}\t{account}{mark}")).as_bytes());
            out.push(b'\n');
        }
        print_bytes(&out)?;
        let unread = found.unreadable.iter().chain(&unsigned.unreadable).chain(&found.older_missing);
        output::print_notes("not read", unread);
        output::print_notes("note", &found.claimed_ids);
        let cut_note = "more sessions than fit in memory: search fewer days or a single tenant".to_owned();
        let is_cut = sessions && (found.more_sessions || unsigned.more_sessions);
        output::print_notes("not listed", is_cut.then_some(&cut_note));
        // Unsigned lines do not make the answer incomplete.
        let all_listed = !(sessions && found.more_sessions);
        let is_complete = found.unreadable.is_empty() && !(has_start && found.older_missing.is_some()) && all_listed;
        if !json && !sessions {
            let all_sessions = found.sessions.union(&unsigned.sessions).count();
            let lines = format_count(found.lines + unsigned.lines, "line");
            output::print_to_stderr(&format!("{lines} of {}", format_count(all_sessions, "session")));
        }
        print_signature_note(keys.is_empty(), usize::try_from(unsigned.lines).unwrap_or(usize::MAX));
        if found.lines + unsigned.lines == 0 {
            output::print_notes("hint", &pseudonym_hints);
            output::print_notes("hint", [PENDING_HINT.to_owned()].iter());
        }
        Ok(is_complete)
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

/// Prints whether signatures were checked, and how many lines have none.
fn print_signature_note(unchecked: bool, unsigned: usize) {
    let text = match (unchecked, unsigned) {
        (true, _) => "signatures were not checked: pass --key to mark unsigned lines".to_owned(),
        (false, 0) => return,
        (false, count) => {
            format!("UNSIGNED: {count} entries are in no signed digest: planted, or not signed yet")
        }
    };
    output::print_to_stderr(&text);
}

/// Reads the session and calls `write` to print it. Anything that could not be read is reported, unless `write` does so
/// (`writes_unreadable`), and makes the exit code 1, unless it was erased on request or was never signed.
pub(super) fn run_session(
    session: SessionArgs,
    writes_unreadable: bool,
    write: impl FnOnce(&mut ReplayedSession, &mut Vec<u8>) -> Result<io::Result<()>, ReadError>,
) -> Result<ExitStatus> {
    let SessionArgs { session, account, tenant, content, key, unsigned, shares, vault: vault_args } = session;
    let (session, account) = parse_session_argument(&session, account.as_deref());
    let keys = read_public_keys(&key)?;
    shares.requested.check_session(&session, account.as_deref())?;
    block_on(async {
        let (vault, auditors, log) = vault_args.open().await?;
        log.record_opening(None, "session", &session)?;
        let given = shares.read(&auditors)?;
        let openings = PermittedOpening::now(&shares.requested.record(&vault_args, &auditors).await?);
        let mut opener = FragmentOpener::for_openings(&vault, auditors, openings);
        opener.shares = given;
        let signed = SignedIndex::read_if_keys(&vault, &keys, account.as_deref()).await?.map(Arc::new);
        let filter = ReplayFilter { account, tenant, content, signed, unsigned };
        let mut replay = replay(&mut opener, &session, &filter).await?;
        let mut text = Vec::new();
        write(&mut replay, &mut text)?.map_err(|error| error.to_string())?;
        print_bytes(&text)?;
        print_signature_note(keys.is_empty(), replay.unsigned());
        output::print_notes("read from another location", &opener.alternative_reads);
        output::print_notes("not read", &replay.older_missing);
        if !writes_unreadable || replay.is_truncated() {
            output::print_notes("not read", &replay.unreadable);
        }
        Ok(if replay.is_partial() { ExitStatus::Failed } else { ExitStatus::Success })
    })
}

#[cfg(test)]
mod tests;
