//! `tollgate vault compact`: reads the index (and the chain, if keys are given) and writes tables below one folder. The
//! work is in `audit/parquet`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;

use super::super::error::{CommandError, Exit};
use super::super::output;
use super::super::reach::Reach;
use super::super::runtime::block_on;
use super::keys::public_keys;
use audit::parquet::{Compacted, Options, compact};
use audit::read::Vault;
use kernel::terminal::{clean, counted};

/// The most unreadable objects that are named.
const MAX_TOLD: usize = 100;

/// Options of `vault compact`.
#[derive(Args)]
pub(crate) struct Compact {
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
    /// Bucket of the key objects; not used here, but accepted so that all commands take the same options.
    #[arg(long, value_name = "s3://BUCKET")]
    keys: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Runs `vault compact`.
pub(super) fn run_compact(options: &Compact) -> Result<Exit, CommandError> {
    let wanted = Options {
        folder: options.output.clone(),
        account: options.account.clone(),
        keys: public_keys(&options.key)?,
        prune: options.prune,
    };
    let location = options.reach.location(&options.store, options.keys.as_deref());
    let done = block_on(async {
        let terminal = io::stderr().is_terminal();
        let mut show = |day: &str| {
            if terminal {
                // Stderr may be closed.
                drop(io::stderr().lock().write_all(format!("\r{}\u{1b}[K", clean(day)).as_bytes()));
            }
        };
        let done = compact(&Vault::at(&location)?, &wanted, &mut show).await?;
        show("");
        Ok(done)
    })?;
    let Compacted { objects, lines, files, bytes, days, healed, pruned, unsigned, unread, older } = &done;
    if options.json {
        let json = serde_json::json!({"objects": objects, "lines": lines, "files": files, "bytes": bytes, "days": days,
            "healed": healed, "pruned": pruned, "unsigned": unsigned, "unread": unread, "older": older});
        output::print(&format!("{json}\n"))?;
        return whole(unread);
    }
    if *healed > 0 {
        output::print(&format!("{healed} files were not what was written, or gone: their lines are written anew\n"))?;
    }
    if let Some(older) = older {
        output::print(&format!("left out: {}\n", clean(older)))?;
    }
    for object in unsigned {
        output::print(&format!("left out, no signed digest names it yet: {}\n", clean(object)))?;
    }
    let pruned = if *pruned > 0 { format!(", {} removed", counted(*pruned, "day")) } else { String::new() };
    output::print(&format!(
        "{} of {} written: {}, {bytes} bytes, {}{pruned}\n",
        counted(*lines, "line"),
        counted(*objects, "index object"),
        counted(*files, "file"),
        counted(*days, "day")
    ))?;
    whole(unread)
}

/// An error for objects that were left out although they should be present.
fn whole(unread: &[String]) -> Result<Exit, CommandError> {
    let told = unread.iter().take(MAX_TOLD).map(|why| format!("not read, left out: {why}"));
    let more = unread.len().checked_sub(MAX_TOLD).filter(|more| *more > 0);
    let told: Vec<String> = told.chain(more.map(|more| format!("and {more} more objects"))).collect();
    if told.is_empty() { Ok(Exit::Fine) } else { Err(CommandError::Failed(told.join("\n"))) }
}
