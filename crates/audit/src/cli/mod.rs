//! `tollgate vault …`: commands for auditors, which need no running gateway, because evidence must be readable and
//! provable without it. They only read, except `keygen`, `erase`, `hold`, `rewrap`, the probes of `doctor`, and new
//! output files. Content is opened with the caller's own keys, in `audit/read`; the head of the crate `vault` describes
//! standard tools that do the same.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Subcommand;

mod chain;
mod compact;
mod erase;
mod evidence;
mod get;
mod hold;
mod opening;
mod opening_log;
mod page_server;
mod public_keys;
mod report_erasure;
mod rewrap;
mod session_argument;
mod sessions;
mod share;
mod vault_args;

use crate::cli::sessions::{FindArgs, SessionArgs, run_find, run_session};
use crate::read::{ExportFormat, ReadError, ReplayedSession};
use command::error::{CommandError, ExitStatus, Result};
use command::output::{self, report_error_clean};
use kernel::rng::SystemRng;
use kernel::terminal::escape_json;
use page_server::{ServeArgs, run_serve};
use redaction::SearchScratch;
use vault::keygen::{generate_auditor_key, generate_signing_key};

pub use erase::DEFAULT_ERASER_WRITER;
pub use opening::DEFAULT_OPENINGS_WRITER;
pub use vault_args::GatewayConfig;

/// Subcommands of `vault` that work on a vault, without a gateway.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Generates an auditor's key pair: writes the secret key to a new file and prints the public key (a recipient).
    /// With `--signing`, generates an Ed25519 pair to sign digests (`vault.signing_key`) or anchors.
    Keygen {
        /// The new file; mode 0600, never overwritten.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// Generates a signing key.
        #[arg(long)]
        signing: bool,
        /// The signer's name, e.g. `vault.example.com`: no spaces, no `+`.
        #[arg(long, requires = "signing", default_value = "tollgate")]
        name: String,
    },
    /// Verifies every chain: signatures, links, roots, index lines, objects; with an auditor's key also the content.
    ///
    /// Exits with 0 if everything checked is valid, otherwise with 1. docs/vault.md explains each finding.
    Verify(Box<chain::VerifyArgs>),
    /// Signs the newest digest of every writer into a file, to be kept out of the writers' reach.
    Anchor(Box<chain::AnchorArgs>),
    /// Opens the content that a reference (`gen_ai.payload.s3_uri`) points to; prints one JSON document per line.
    Get(Box<get::GetArgs>),
    /// Prints a session in order of time: questions, answers, calls, cost, and what is redacted downstream.
    ///
    /// Redaction is shown by the present rules of `--config` (default: the built-in rules).
    Replay {
        #[command(flatten)]
        session: SessionArgs,
        /// Prints only this model call with its complete input; counted from 1.
        #[arg(long, value_name = "N")]
        turn: Option<usize>,
        /// Prints everything as one JSON document.
        #[arg(long, conflicts_with_all = ["turn", "tree"])]
        json: bool,
        /// Prints the tree of calls and denials, without content.
        #[arg(long, conflicts_with = "turn")]
        tree: bool,
        /// Prints the tree as a Mermaid flowchart.
        #[arg(long, requires = "tree")]
        mermaid: bool,
    },
    /// Destroys the keys of a session, or of all sessions of a user, so that they can never be opened again: a request,
    /// two signatures, execution.
    ///
    /// Needs rights that neither gateway nor auditor has (`vault policy --format eraser`). docs/erasure.md has the
    /// steps, and lists what erasure does not reach.
    Erase(Box<erase::EraseArgs>),
    /// Creates a folder of evidence for a period: sessions, denials, verification, digests, keys, erasures, a manifest.
    Evidence(Box<evidence::EvidenceArgs>),
    /// Prints the JSON schema of index lines (of each action, under `$defs`).
    Schema,
    /// Copies session keys for more auditors; payload is not changed.
    Rewrap(Box<rewrap::RewrapArgs>),
    /// Writes a signed request, with a reason, to open a session whose keys several auditors open together.
    OpenRequest(Box<opening::OpenRequestArgs>),
    /// Shows a request of `open-request` and adds a second person's signature.
    Approve(opening::ApproveArgs),
    /// Lists the recorded openings by request: time, account, session, reason, who signed and who opened.
    Openings(Box<opening::OpeningsArgs>),
    /// Writes your shares of a session's keys into a file for another auditor, if several auditors open keys together
    /// (`recipients: { threshold, of }`) and two openers signed the request. The other opens the session with `--share
    /// FILE`.
    Share(Box<share::ShareArgs>),
    /// Combines the shares on stdin (lines of `vault share` files, in plain text) and prints the session keys for `age
    /// -d -i`.
    Combine,
    /// Manages legal holds, which prevent deletion and erasure.
    #[command(subcommand)]
    Hold(Box<hold::HoldCommand>),
    /// Searches index lines; needs no key.
    Find(Box<FindArgs>),
    /// Packs the signed index lines of past days into few files (NDJSON, by account and day), for DuckDB, Athena,
    /// ClickHouse.
    ///
    /// Needs read access to the index and the chain. A run without new lines changes nothing; docs/vault.md has
    /// statements and lists the columns.
    Compact(Box<compact::CompactArgs>),
    /// Prints the differences between the inputs of two model calls of a session.
    Diff {
        #[command(flatten)]
        session: SessionArgs,
        /// A model call, counted from 1.
        first: usize,
        /// Another model call.
        second: usize,
    },
    /// Serves a page on loopback, or to people with roles (`--access`): search, sessions turn by turn, verification
    /// results.
    Serve(ServeArgs),
    /// Prints a session as a dataset.
    Export {
        #[command(flatten)]
        session: SessionArgs,
        /// Format of the lines.
        #[arg(long, value_enum, default_value = "messages")]
        format: ExportFormat,
    },
}

impl From<ReadError> for CommandError {
    fn from(error: ReadError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs a subcommand. Control characters in errors are removed, since names in a vault may contain them.
pub fn run(config: &dyn GatewayConfig, command: AuditCommand) -> ExitStatus {
    run_on_vault(config, command).unwrap_or_else(|error| report_error_clean(&error))
}

fn run_on_vault(config: &dyn GatewayConfig, command: AuditCommand) -> Result<ExitStatus> {
    match command {
        AuditCommand::Keygen { output: file, signing, name } => {
            let public = match signing {
                true => generate_signing_key(&file, &name, &SystemRng),
                false => generate_auditor_key(&file),
            };
            let public = public.map_err(|error| error.to_string())?;
            output::print_result(&format!("{public}\n"))
        }
        AuditCommand::Verify(options) => chain::run_verify(&options),
        AuditCommand::Anchor(options) => chain::run_anchor(&options),
        AuditCommand::Get(options) => get::run_get(&options),
        AuditCommand::Replay { session, turn: Some(turn), .. } => {
            run_session(session, false, |replay, out| replay.write_turn(turn, out))
        }
        AuditCommand::Replay { session, json: true, .. } => {
            print_with_redaction_marks(config, session, |replay, out| {
                Ok(writeln!(out, "{}", escape_json(&replay.to_json()?)))
            })
        }
        AuditCommand::Replay { session, tree: true, mermaid, .. } => run_session(session, !mermaid, |replay, out| {
            Ok(if mermaid { replay.write_mermaid(out) } else { replay.write_tree(out) })
        }),
        AuditCommand::Replay { session, .. } => {
            print_with_redaction_marks(config, session, |replay, out| Ok(replay.write_text(out)))
        }
        AuditCommand::Erase(options) => erase::run_erase(config, &options),
        AuditCommand::Evidence(options) => evidence::run_evidence(&options),
        AuditCommand::Schema => output::print_result(&vault::schema::schema_text()),
        AuditCommand::Rewrap(options) => rewrap::run_rewrap(config, &options),
        AuditCommand::OpenRequest(options) => opening::run_open_request(&options),
        AuditCommand::Approve(options) => opening::run_approve(&options),
        AuditCommand::Openings(options) => opening::run_openings(&options),
        AuditCommand::Share(options) => share::run_share(&options),
        AuditCommand::Combine => share::run_combine(),
        AuditCommand::Hold(command) => hold::run_hold(&command),
        AuditCommand::Serve(options) => run_serve(config, &options),
        AuditCommand::Compact(options) => compact::run_compact(&options),
        AuditCommand::Find(options) => run_find(*options),
        AuditCommand::Diff { session, first, second } => {
            run_session(session, false, |replay, out| replay.diff(first, second, out))
        }
        AuditCommand::Export { session, format } => {
            run_session(session, false, |replay, out| Ok(replay.export(format, out)))
        }
    }
}

/// Prints a session, marking what the redaction rules would hide.
fn print_with_redaction_marks(
    config: &dyn GatewayConfig,
    session: SessionArgs,
    write: impl FnOnce(&ReplayedSession, &mut Vec<u8>) -> Result<io::Result<()>, ReadError>,
) -> Result<ExitStatus> {
    let rules = config.redaction_rules()?;
    run_session(session, true, |replay, out| {
        let mut scratch = SearchScratch::new();
        replay.apply_redaction_rules(&mut |key, text| {
            let hits = rules.find_for_key(key, text, &mut scratch);
            hits.iter().map(|hit| rules.placeholder(hit).trim_matches(['[', ']']).to_owned()).collect()
        });
        write(replay, out)
    })
}
