//! `tollgate vault compact`: reads the index and the chain, and packs the signed lines of past days into few files.
//! `audit/compact` does it.

use std::path::PathBuf;

use clap::Args;

use super::public_keys::read_public_keys;
use crate::cli::sessions::KEYS_WITHOUT_EFFECT;
use crate::compact::{CompactOptions, compact};
use crate::error::ShortList;
use crate::read::{Vault, VaultLocation};
use command::error::{CommandError, ExitStatus, Result};
use command::output;
use command::runtime::block_on;
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::{escape_unsafe, format_count};

/// Options of `vault compact`.
#[derive(Args)]
#[command(mut_arg("keys", |keys| keys.help(KEYS_WITHOUT_EFFECT)))]
pub struct CompactArgs {
    /// The folder of the packed files; created if missing. Nothing else should write there.
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
    /// Public key of the writer's signer, or a file that contains it: only lines of objects that a signed digest names,
    /// with a matching hash, are packed. Needs read access to the chain too.
    #[arg(long, required = true, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// Removes days that are no longer in the index because their retention has ended.
    #[arg(long)]
    prune: bool,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    location: VaultLocation,
}

/// Runs `vault compact`.
pub(super) fn run_compact(options: &CompactArgs) -> Result<ExitStatus> {
    let compact_options = CompactOptions {
        folder: options.output.clone(),
        account: options.account.clone(),
        keys: read_public_keys(&options.key)?,
        prune: options.prune,
        today: vault::object_names::date(SystemClock::new().now()),
    };
    let summary = block_on(async { Ok(compact(&Vault::from_location(&options.location)?, &compact_options).await?) })?;
    if options.json {
        output::print(&format!("{}\n", serde_json::to_string(&summary).unwrap_or_default()))?;
    } else {
        let older = summary.missing_older_objects.iter().map(|older| format!("left out: {older}"));
        let unsigned = summary.unsigned.iter().map(|name| format!("left out, not in a signed digest: {name}"));
        for message in older.chain(unsigned) {
            output::print(&format!("{}\n", escape_unsafe(&message)))?;
        }
        output::print(&format!(
            "{} of {} packed: {}, {} bytes; {} removed\n",
            format_count(summary.lines, "line"),
            format_count(summary.objects, "index object"),
            format_count(summary.files, "file"),
            summary.bytes,
            format_count(summary.pruned_days, "day")
        ))?;
    }
    let mut messages = ShortList::default();
    summary.unreadable.iter().for_each(|why| messages.push(format!("left out: {why}")));
    let messages = messages.finish("more");
    if messages.is_empty() { Ok(ExitStatus::Success) } else { Err(CommandError::Failed(messages.join("\n"))) }
}
