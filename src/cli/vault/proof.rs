//! `tollgate vault prove` and `check-proof`. A proof file is never overwritten; checking needs no vault. Exit code 0
//! means that nothing requested is missing. Proofs are made and checked in `audit/prove`.

use std::path::PathBuf;

use clap::Args;

use super::super::error::{CommandError, Exit};
use super::super::listed::listed;
use super::super::output;
use super::super::reach::Reach;
use super::super::runtime::block_on;
use super::keys::{public_keys, public_keys_of, read};
use audit::prove::{Proved, Wanted, check, prove};
use audit::read::Vault;
use kernel::terminal::{clean, counted};

/// Options of `vault prove`.
#[derive(Args)]
pub(crate) struct Prove {
    /// Index lines, as shown in spans (`gen_ai.payload.leaf`).
    #[arg(value_name = "WRITER/EPOCH/NUMBER", required_unless_present = "session")]
    leaf: Vec<String>,
    /// Every line of this session, by its id in the index.
    #[arg(long)]
    session: Option<String>,
    /// Only this account; required if several have such lines, because each numbers its own from 0.
    #[arg(long)]
    account: Option<String>,
    /// Of the session, only the turn with this id from its client (`turn.id`), which most clients don't set; not the
    /// number of `replay --turn`.
    #[arg(long, requires = "session", value_name = "ID")]
    turn_id: Option<String>,
    /// Includes lines only, without fragments.
    #[arg(long)]
    bare: bool,
    /// An anchor to include.
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
    /// The new file.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: String,
    /// Bucket of the key objects; not used here, but accepted so that all commands take the same options.
    #[arg(long, value_name = "s3://BUCKET")]
    keys: Option<String>,
    /// Public key of the writer's signer, or a file that contains it.
    #[arg(long, required = true, value_name = "KEY|FILE")]
    key: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Options of `vault check-proof`.
#[derive(Args)]
pub(crate) struct CheckProof {
    /// The proof file.
    file: PathBuf,
    /// Public key of the writer's signer, or a file that contains it; do not take it from the proof file.
    #[arg(long, required = true, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// Public key of the signer of anchors: the anchor must contain the newest tree of each line, otherwise the exit
    /// code is 1.
    #[arg(long, value_name = "KEY|FILE")]
    anchor_key: Vec<String>,
}

/// Runs `vault prove`.
pub(super) fn run_prove(options: &Prove) -> Result<Exit, CommandError> {
    let keys = public_keys(&options.key)?;
    let (session, account) = match options.session.as_deref().map(|id| listed(id, options.account.as_deref())) {
        Some((session, account)) => (Some(session), account),
        None => (None, options.account.clone()),
    };
    let wanted = Wanted {
        account,
        leaves: options.leaf.clone(),
        session,
        turn_id: options.turn_id.clone(),
        bare: options.bare,
        anchor: options.anchor.as_deref().map(read).transpose()?,
    };
    let Proved { file, missed, told } = block_on(async {
        let vault = Vault::at(&options.reach.location(&options.store, options.keys.as_deref()))?;
        Ok(prove(&vault, &wanted, &keys).await?)
    })?;
    let text = serde_json::to_string_pretty(&file).unwrap_or_default(); // can't fail: strings and numbers
    // A proof that is handed over must be valid.
    check(&text, &keys, &[])?;
    let written = kernel::files::write_new(&options.output, format!("{text}\n").as_bytes());
    written.map_err(|error| format!("can't write {}: {error}", options.output.display()))?;
    output::print(&format!("{} proved\n", counted(file.proofs.len(), "line")))?;
    output::tell("not proved", &told);
    output::tell("lines may be missing from the file", &missed);
    Ok(if missed.is_empty() { Exit::Fine } else { Exit::Failed })
}

/// Runs `vault check-proof`.
pub(super) fn run_check(options: &CheckProof) -> Result<Exit, CommandError> {
    let (keys, anchor_keys) = (public_keys(&options.key)?, public_keys_of("--anchor-key", &options.anchor_key)?);
    let checked = check(&read(&options.file)?, &keys, &anchor_keys);
    let checked = checked.map_err(|why| format!("the proof does not hold: {why}"))?;
    let asked = !anchor_keys.is_empty();
    let unanchored = checked.iter().filter(|one| asked && !one.anchored).count();
    for one in checked {
        let holds: String = one.holds.iter().map(|what| format!("  {}\n", clean(what))).collect();
        output::print(&format!("{}\n{holds}  {}\n", clean(&one.leaf), clean(&one.line)))?;
    }
    if unanchored > 0 {
        output::print(&format!(
            "signed, and not anchored: the anchor does not tell of the trees of {unanchored} lines\n"
        ))?;
        return Ok(Exit::Failed);
    }
    output::print("proved\n")?;
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests;
