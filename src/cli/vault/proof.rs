//! `tollgate vault prove` and `check-proof`. A proof file is never overwritten; checking needs no vault. With exit code
//! 0, nothing requested is missing. Proofs are made and checked in `audit/prove`.

use std::path::PathBuf;

use clap::Args;

use super::super::error::{CommandError, ExitStatus};
use super::super::output;
use super::super::runtime::block_on;
use super::super::session_argument::parse_session_argument;
use super::super::store_access::StoreAccessArgs;
use super::public_keys::{read_public_keys, read_public_keys_of_option, read_text_file};
use audit::prove::{ProofRequest, ProofResult, check_proof_file, prove};
use audit::read::Vault;
use kernel::terminal::{escape_unsafe, format_count};

/// Options of `vault prove`.
#[derive(Args)]
pub(crate) struct ProveArgs {
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
    without_fragments: bool,
    /// An anchor to include.
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
    /// The new file.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: String,
    /// Bucket of the key objects: has no effect, since this command opens no content.
    #[arg(long, value_name = "s3://BUCKET")]
    keys: Option<String>,
    /// Public key of the writer's signer, or a file that contains it.
    #[arg(long, required = true, value_name = "KEY|FILE")]
    key: Vec<String>,
    #[command(flatten)]
    store_access: StoreAccessArgs,
}

/// Options of `vault check-proof`.
#[derive(Args)]
pub(crate) struct CheckProofArgs {
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
pub(super) fn run_prove(options: &ProveArgs) -> Result<ExitStatus, CommandError> {
    let keys = read_public_keys(&options.key)?;
    let (session, account) =
        match options.session.as_deref().map(|id| parse_session_argument(id, options.account.as_deref())) {
            Some((session, account)) => (Some(session), account),
            None => (None, options.account.clone()),
        };
    let proof_request = ProofRequest {
        account,
        leaves: options.leaf.clone(),
        session,
        turn_id: options.turn_id.clone(),
        lines_only: options.without_fragments,
        anchor: options.anchor.as_deref().map(read_text_file).transpose()?,
    };
    let ProofResult { file, possibly_missing, remarks } = block_on(async {
        let vault = Vault::from_location(&options.store_access.location(&options.store, options.keys.as_deref()))?;
        Ok(prove(&vault, &proof_request, &keys).await?)
    })?;
    let text = serde_json::to_string_pretty(&file).unwrap_or_default(); // can't fail: strings and numbers
    // Only a valid proof may leave the command.
    check_proof_file(&text, &keys, &[])?;
    let written = kernel::files::write_new(&options.output, format!("{text}\n").as_bytes());
    written.map_err(|error| format!("can't write {}: {error}", options.output.display()))?;
    output::print(&format!("{} proved\n", format_count(file.proofs.len(), "line")))?;
    output::print_notes("not proved", &remarks);
    output::print_notes("lines may be missing from the file", &possibly_missing);
    Ok(if possibly_missing.is_empty() { ExitStatus::Success } else { ExitStatus::Failed })
}

/// Runs `vault check-proof`.
pub(super) fn run_check(options: &CheckProofArgs) -> Result<ExitStatus, CommandError> {
    let (keys, anchor_keys) =
        (read_public_keys(&options.key)?, read_public_keys_of_option("--anchor-key", &options.anchor_key)?);
    let checked = check_proof_file(&read_text_file(&options.file)?, &keys, &anchor_keys);
    let checked = checked.map_err(|why| format!("the proof is not valid: {why}"))?;
    let requires_anchor = !anchor_keys.is_empty();
    let unanchored = checked.iter().filter(|line| requires_anchor && !line.anchored).count();
    for line in checked {
        let passed_steps: String =
            line.passed_steps.iter().map(|what| format!("  {}\n", escape_unsafe(what))).collect();
        output::print(&format!("{}\n{passed_steps}  {}\n", escape_unsafe(&line.leaf), escape_unsafe(&line.line)))?;
    }
    if unanchored > 0 {
        output::print(&format!(
            "signed but not anchored: the anchor does not contain the trees of {}\n",
            format_count(unanchored, "line")
        ))?;
        return Ok(ExitStatus::Failed);
    }
    output::print("proved\n")?;
    Ok(ExitStatus::Success)
}

#[cfg(test)]
mod tests;
