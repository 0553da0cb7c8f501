//! `tollgate vault …`: commands for auditors, which need no running gateway, because evidence must be readable and
//! provable without it. They only read, except `keygen`, `erase`, `hold`, `rewrap`, the probes of `doctor`, and new
//! output files. Content is opened with the caller's own keys, in `audit/read`; the head of the crate `vault` describes
//! standard tools that do the same.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Subcommand;

mod chain;
mod compact;
pub(super) mod erase;
mod evidence;
mod hold;
pub(super) mod keys;
mod newest;
mod opened;
mod proof;
pub(super) mod source;

use super::audit::{Serve, run_serve};
use super::common::Common;
use super::doctor::{Doctor, PolicyOptions, run_doctor, run_policy};
use super::error::{CommandError, Exit};
use super::output::{self, report_clean};
use super::redact;
use super::sessions::{As, Find, Session, run_find, run_session};
use audit::read::{ReadError, Replay};
use kernel::rng::SystemRng;
use kernel::terminal::escaped;
use redaction::Scratch;
use vault::keygen::{keygen, signing_key};

/// Subcommands of `vault`.
#[derive(Subcommand)]
pub(super) enum Command {
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
    Verify(Box<chain::Verify>),
    /// Proves index lines, and the fragments they name, in a file that others can check without the vault.
    Prove(Box<proof::Prove>),
    /// Checks a proof file: signatures, inclusion, consistency, fragment, anchor.
    CheckProof(Box<proof::CheckProof>),
    /// Signs the newest digest of every writer into a file, to be kept out of the writers' reach.
    Anchor(Box<chain::Anchor>),
    /// Opens the content that a reference (`gen_ai.payload.s3_uri`) points to; prints one JSON document per line.
    Get(Box<opened::Get>),
    /// Prints a session in order of time: questions, answers, calls, cost, and what is redacted downstream.
    ///
    /// Redaction is shown by the present rules of `--config` (default: the built-in rules).
    Replay {
        #[command(flatten)]
        session: Session,
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
    Erase(Box<erase::Erase>),
    /// Creates a folder of evidence for a period: sessions, denials, verification, digests, keys, erasures, a manifest.
    Evidence(Box<evidence::Evidence>),
    /// Prints the JSON schema of index lines (of each action, under `$defs`).
    Schema,
    /// Copies session keys for more auditors; payload is not changed.
    Rewrap(Box<erase::Rewrap>),
    /// Manages legal holds, which prevent deletion and erasure.
    #[command(subcommand)]
    Hold(Box<hold::Hold>),
    /// Tests the permissions of the gateway's credentials on the configured buckets, and reports what is wrong.
    Doctor(Doctor),
    /// Prints policies, lifecycle rules or Terraform for the configured buckets.
    Policy(PolicyOptions),
    /// Searches index lines; needs no key.
    Find(Box<Find>),
    /// Updates tables (Parquet, by account, tenant and day) from the index, for `find --parquet`, DuckDB, Athena,
    /// ClickHouse.
    ///
    /// Needs read access to the index only. A run without new lines changes nothing; docs/vault.md lists the columns.
    Compact(Box<compact::Compact>),
    /// Prints the differences between the inputs of two model calls of a session.
    Diff {
        #[command(flatten)]
        session: Session,
        /// A model call, counted from 1.
        first: usize,
        /// Another model call.
        second: usize,
    },
    /// Serves a page on loopback: search, sessions turn by turn, verification results.
    Serve(Serve),
    /// Prints a session as a dataset.
    Export {
        #[command(flatten)]
        session: Session,
        /// Format of the lines.
        #[arg(long, value_enum, default_value = "messages")]
        format: As,
    },
}

/// Runs a subcommand. Control characters in errors are removed, since names in a vault may contain them.
pub(super) fn run(common: &Common, command: Command) -> Result<Exit, CommandError> {
    match command {
        Command::Doctor(options) => run_doctor(common, &options),
        Command::Policy(options) => run_policy(common, &options),
        command => Ok(run_on_vault(common, command).unwrap_or_else(|error| report_clean(&error))),
    }
}

fn run_on_vault(common: &Common, command: Command) -> Result<Exit, CommandError> {
    match command {
        Command::Keygen { output: file, signing, name } => {
            let public = if signing { signing_key(&file, &name, &SystemRng)? } else { keygen(&file)? };
            output::out(&format!("{public}\n"))
        }
        Command::Verify(options) => chain::run_verify(&options),
        Command::Prove(options) => proof::run_prove(&options),
        Command::CheckProof(options) => proof::run_check(&options),
        Command::Anchor(options) => chain::run_anchor(&options),
        Command::Get(options) => opened::run_get(&options),
        Command::Replay { session, turn: Some(turn), .. } => {
            run_session(session, false, |replay, out| replay.write_turn(turn, out))
        }
        Command::Replay { session, json: true, .. } => {
            read_through(common, session, |replay, out| Ok(writeln!(out, "{}", escaped(&replay.json()?))))
        }
        Command::Replay { session, tree: true, mermaid, .. } => run_session(session, !mermaid, |replay, out| {
            Ok(if mermaid { replay.write_mermaid(out) } else { replay.write_tree(out) })
        }),
        Command::Replay { session, .. } => read_through(common, session, |replay, out| Ok(replay.write(out))),
        Command::Erase(options) => erase::run_erase(common, &options),
        Command::Evidence(options) => evidence::run_evidence(&options),
        Command::Schema => output::out(&vault::schema::text()),
        Command::Rewrap(options) => erase::run_rewrap(&options),
        Command::Hold(command) => hold::run_hold(&command),
        Command::Doctor(options) => run_doctor(common, &options),
        Command::Policy(options) => run_policy(common, &options),
        Command::Serve(options) => run_serve(&options),
        Command::Compact(options) => compact::run_compact(&options),
        Command::Find(options) => run_find(*options),
        Command::Diff { session, first, second } => {
            run_session(session, false, |replay, out| replay.diff(first, second, out))
        }
        Command::Export { session, format } => {
            run_session(session, false, |replay, out| Ok(replay.export(format.into(), out)))
        }
    }
}

/// Prints a session, marking what the redaction rules would hide.
fn read_through(
    common: &Common,
    session: Session,
    write: impl FnOnce(&Replay, &mut Vec<u8>) -> Result<io::Result<()>, ReadError>,
) -> Result<Exit, CommandError> {
    let rules = redact::rules(common)?;
    run_session(session, true, |replay, out| {
        let mut scratch = Scratch::new();
        replay.look_for_private(&mut |key, text| {
            let hits = rules.find_under(key, text, &mut scratch);
            hits.iter().map(|hit| rules.placeholder(hit).trim_matches(['[', ']']).to_owned()).collect()
        });
        write(replay, out)
    })
}
