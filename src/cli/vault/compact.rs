//! `tollgate vault compact`: reads the index (and the chain, if keys are given) and writes tables below one folder.
//! `audit/parquet` makes the tables.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;

use super::super::error::{CommandError, ExitStatus};
use super::super::output;
use super::super::runtime::block_on;
use super::super::store_access::StoreAccessArgs;
use super::public_keys::read_public_keys;
use audit::parquet::{CompactOptions, CompactSummary, compact};
use audit::read::Vault;
use kernel::terminal::{escape_unsafe, format_count};

/// Maximum number of unreadable objects that are named.
const MAX_LISTED: usize = 100;

/// Options of `vault compact`.
#[derive(Args)]
pub(crate) struct CompactArgs {
    /// The folder of the tables; created if missing. Nothing else should write there.
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
    /// Public key of the writer's signer, or a file that contains it: only lines of objects that a signed digest names,
    /// with a matching hash, are taken. Needs read access to the chain too. Without it, planted lines are taken too.
    #[arg(long, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// Removes days that are no longer in the index because their retention has ended.
    #[arg(long)]
    prune: bool,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: String,
    /// Bucket of the key objects: has no effect, since this command opens no content.
    #[arg(long, value_name = "s3://BUCKET")]
    keys: Option<String>,
    #[command(flatten)]
    store_access: StoreAccessArgs,
}

/// Runs `vault compact`.
pub(super) fn run_compact(options: &CompactArgs) -> Result<ExitStatus, CommandError> {
    let compact_options = CompactOptions {
        folder: options.output.clone(),
        account: options.account.clone(),
        keys: read_public_keys(&options.key)?,
        prune: options.prune,
    };
    let location = options.store_access.location(&options.store, options.keys.as_deref());
    let summary = block_on(async {
        let terminal = io::stderr().is_terminal();
        let mut show_day = |day: &str| {
            if terminal {
                // Stderr may be closed.
                drop(io::stderr().lock().write_all(format!("\r{}\u{1b}[K", escape_unsafe(day)).as_bytes()));
            }
        };
        let summary = compact(&Vault::from_location(&location)?, &compact_options, &mut show_day).await?;
        show_day("");
        Ok(summary)
    })?;
    let CompactSummary {
        objects,
        lines,
        files,
        bytes,
        days,
        rewritten_files: rewritten,
        pruned,
        unsigned,
        unreadable,
        older_missing,
    } = &summary;
    if options.json {
        let json = serde_json::json!({"objects": objects, "lines": lines, "files": files, "bytes": bytes, "days": days,
            "rewritten_files": rewritten, "pruned_days": pruned, "unsigned": unsigned, "unreadable": unreadable,
            "missing_older_objects": older_missing});
        output::print(&format!("{json}\n"))?;
        return check_complete(unreadable);
    }
    if *rewritten > 0 {
        output::print(&format!("{rewritten} files were changed or missing: their lines were written again\n"))?;
    }
    if let Some(older_missing) = older_missing {
        output::print(&format!("left out: {}\n", escape_unsafe(older_missing)))?;
    }
    for object in unsigned {
        output::print(&format!("left out, not in a signed digest yet: {}\n", escape_unsafe(object)))?;
    }
    let pruned = if *pruned > 0 { format!(", {} removed", format_count(*pruned, "day")) } else { String::new() };
    output::print(&format!(
        "{} of {} written: {}, {bytes} bytes, {}{pruned}\n",
        format_count(*lines, "line"),
        format_count(*objects, "index object"),
        format_count(*files, "file"),
        format_count(*days, "day")
    ))?;
    check_complete(unreadable)
}

/// An error for objects that were left out although they should be present.
fn check_complete(unreadable: &[String]) -> Result<ExitStatus, CommandError> {
    let messages = unreadable.iter().take(MAX_LISTED).map(|why| format!("not read, left out: {why}"));
    let more = unreadable.len().checked_sub(MAX_LISTED).filter(|more| *more > 0);
    let messages: Vec<String> = messages.chain(more.map(|more| format!("and {more} more objects"))).collect();
    if messages.is_empty() { Ok(ExitStatus::Success) } else { Err(CommandError::Failed(messages.join("\n"))) }
}
