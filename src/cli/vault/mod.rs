//! **What**: `tollgate vault …`: for people who hold an auditor's key; needs no running gateway and no configuration.
//! **Why**: evidence must be readable, and provable, without the gateway. **Invariants**: reads only (but `keygen`,
//! which makes one new file, and `erase` and `rewrap`, which say so); what is printed was opened with the caller's own
//! keys. **Not here**: opening (`audit/read`), stock tools that do the same (`vault` module's head).

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
    /// Makes an auditor's key pair: the secret into a new file, the public key (a recipient) to standard output. With
    /// `--signing` a pair that signs digests (Ed25519) for `vault.signing_key`, or anchors.
    Keygen {
        /// The new file; 0600, never overwritten.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// A key that signs.
        #[arg(long)]
        signing: bool,
        /// The signer's name, as in `vault.example.com`: letters, digits, no space, no `+`.
        #[arg(long, requires = "signing", default_value = "tollgate")]
        name: String,
    },
    /// Verifies every chain: signatures, links, roots, index lines, objects; with an auditor's key what is inside.
    ///
    /// Ends with 0 if everything that was looked at holds, else with 1. docs/vault.md says what each finding means.
    Verify(Box<chain::Verify>),
    /// Proves lines of the index, and the fragments they name, into a file that others can check without the vault.
    Prove(Box<proof::Prove>),
    /// Checks a proof file: signatures, inclusion, consistency, fragment, anchor.
    CheckProof(Box<proof::CheckProof>),
    /// Signs the newest digest of every writer into a file, to be kept where the writers can't reach it.
    Anchor(Box<chain::Anchor>),
    /// Opens what a reference (`gen_ai.payload.s3_uri`) leads to; prints one JSON document a line.
    Get(Box<opened::Get>),
    /// Prints a session in order of time: what was asked, answered, called, what it cost, and what of it is redacted
    /// downstream.
    ///
    /// Which that is, the rules of `--config` say (default: the built-in ones), as they are now.
    Replay {
        #[command(flatten)]
        session: Session,
        /// Only this model call, with all that it was given; from 1.
        #[arg(long, value_name = "N")]
        turn: Option<usize>,
        /// Everything as one JSON document.
        #[arg(long, conflicts_with_all = ["turn", "tree"])]
        json: bool,
        /// What called what, and what was denied, without what was said.
        #[arg(long, conflicts_with = "turn")]
        tree: bool,
        /// The tree as a Mermaid flowchart.
        #[arg(long, requires = "tree")]
        mermaid: bool,
    },
    /// Destroys the keys of a session, or of all sessions of a user, so that nobody can open them any more: a request,
    /// two signatures, the deed.
    ///
    /// Needs rights that neither gateway nor auditor has (`vault policy --format eraser`). docs/erasure.md has the
    /// steps, and what erasure does not reach.
    Erase(Box<erase::Erase>),
    /// Makes a folder of evidence for a period: sessions, what was denied, verification, digests, keys, erasures, a
    /// manifest.
    Evidence(Box<evidence::Evidence>),
    /// Prints the JSON schema of index lines (of each action, under `$defs`).
    Schema,
    /// Makes copies of session keys for more auditors; payload is not touched.
    Rewrap(Box<erase::Rewrap>),
    /// Legal holds: what is held can't be deleted or erased.
    #[command(subcommand)]
    Hold(Box<hold::Hold>),
    /// Tries out what the gateway's credentials may do to the configured buckets, and says what is wrong.
    Doctor(Doctor),
    /// Prints policies, lifecycle rules or Terraform for the configured buckets.
    Policy(PolicyOptions),
    /// Looks for lines of the index; needs no key.
    Find(Box<Find>),
    /// Brings tables (Parquet, by account, tenant and day) up to the index, for `find --parquet`, DuckDB, Athena,
    /// ClickHouse.
    ///
    /// Needs read access to the index only. A run that has nothing to do changes nothing; docs/vault.md tells the
    /// columns.
    Compact(Box<compact::Compact>),
    /// Prints what is not the same in what two model calls of a session were given.
    Diff {
        #[command(flatten)]
        session: Session,
        /// A model call, from 1.
        first: usize,
        /// Another one.
        second: usize,
    },
    /// Serves a page on loopback: search, sessions turn by turn, what verification found.
    Serve(Serve),
    /// Prints a session as a dataset.
    Export {
        #[command(flatten)]
        session: Session,
        /// Form of the lines.
        #[arg(long, value_enum, default_value = "messages")]
        format: As,
    },
}

/// Runs a subcommand. What a vault's names would do to a terminal is taken out of errors.
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

/// A session with what the rules hide of it.
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
