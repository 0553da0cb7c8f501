//! **What**: `tollgate vault …`: for people who hold an auditor's key; needs no running gateway and no configuration.
//! **Why**: evidence must be readable, and provable, without the gateway.
//! **Invariants**: reads only (but `keygen`, which makes one new file, and `erase` and `rewrap`, which say so); what is printed was opened with the caller's own
//! keys. **Not here**: opening (`vault/read`), stock tools that do the same (`vault` module's head).

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

mod chain;
mod compact;
mod erase;
mod evidence;
mod hold;
mod opened;
mod proof;

pub(super) use chain::public_keys;
pub(super) use erase::ERASER;

use super::Common;
use super::audit::{Serve, run_serve};
use super::auditors::{self, Sealed};
use super::doctor::{Doctor, PolicyOptions, run_doctor, run_policy};
use super::opening_log::OpeningLog;
use super::output::{self, Exit};
use super::reach::Reach;
use super::redact;
use super::run::fail;
use super::sessions::{As, Find, Session, run_find, run_session};
use audit::read::{Replay, Vault};
use kernel::rng::SystemRng;
use kernel::terminal::{clean, escaped};
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
    /// Prints a session in order of time: what was asked, answered, called, what it cost, and what of it is redacted downstream.
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
    /// Destroys the keys of a session, or of all sessions of a user, so that nobody can open them any more: a request, two
    /// signatures, the deed.
    ///
    /// Needs rights that neither gateway nor auditor has (`vault policy --format eraser`). docs/erasure.md has the steps, and
    /// what erasure does not reach.
    Erase(Box<erase::Erase>),
    /// Makes a folder of evidence for a period: sessions, what was denied, verification, digests, keys, erasures, a manifest.
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
    /// Brings tables (Parquet, by account, tenant and day) up to the index, for `find --parquet`, DuckDB, Athena, ClickHouse.
    ///
    /// Needs read access to the index only. A run that has nothing to do changes nothing; docs/vault.md tells the columns.
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

/// Where the vault is and what opens it.
#[derive(Args)]
pub(super) struct Source {
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: String,
    /// An auditor's key file; more than one may be given.
    #[arg(long, short, required_unless_present = "identity_kms", value_name = "FILE")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    sealed: Sealed,
    /// Bucket of the key objects, if it is another one.
    #[arg(long, value_name = "s3://BUCKET")]
    keys: Option<String>,
    /// The file in which each opening is noted before it happens, yours to keep; `none`: it is not noted. Default: the (first) key file's
    /// name with `.openings.jsonl` behind it.
    #[arg(long, value_name = "FILE|none")]
    log: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

/// Runs a subcommand.
pub(super) fn run(common: &Common, command: Command) -> Exit {
    let result = match command {
        Command::Keygen { output: file, signing, name } => {
            let made = if signing { signing_key(&file, &name, &SystemRng) } else { keygen(&file) };
            made.and_then(|public| output::print(&format!("{public}\n")))
        }
        Command::Verify(options) => return ended(chain::run_verify(&options)),
        Command::Prove(options) => return ended(proof::run_prove(&options)),
        Command::CheckProof(options) => return ended(proof::run_check(&options)),
        Command::Anchor(options) => return ended(chain::run_anchor(&options)),
        Command::Get(options) => opened::run_get(&options),
        Command::Replay { session, turn: Some(turn), .. } => {
            return ended(run_session(session, false, |replay, out| replay.write_turn(turn, out)));
        }
        Command::Replay { session, json: true, .. } => {
            return ended(read_through(common, session, |replay, out| {
                Ok(writeln!(out, "{}", escaped(&replay.json()?)))
            }));
        }
        Command::Replay { session, tree: true, mermaid, .. } => {
            return ended(run_session(session, !mermaid, |replay, out| {
                Ok(if mermaid { replay.write_mermaid(out) } else { replay.write_tree(out) })
            }));
        }
        Command::Replay { session, .. } => {
            return ended(read_through(common, session, |replay, out| Ok(replay.write(out))));
        }
        Command::Erase(options) => return ended(erase::run_erase(&options)),
        Command::Evidence(options) => return ended(evidence::run_evidence(&options)),
        Command::Schema => output::print(&vault::schema::text()),
        Command::Rewrap(options) => return ended(erase::run_rewrap(&options)),
        Command::Hold(command) => return ended(hold::run_hold(&command)),
        Command::Doctor(options) => return run_doctor(common, &options),
        Command::Policy(options) => return run_policy(common, &options),
        Command::Serve(options) => run_serve(&options),
        Command::Compact(options) => compact::run_compact(&options),
        Command::Find(options) => return ended(run_find(*options)),
        Command::Diff { session, first, second } => {
            return ended(run_session(session, false, |replay, out| replay.diff(first, second, out)));
        }
        Command::Export { session, format } => {
            return ended(run_session(session, false, |replay, out| Ok(replay.export(format.into(), out))));
        }
    };
    ended(result.map(|()| Exit::Fine))
}

/// A session with what the rules hide of it.
fn read_through(
    common: &Common,
    session: Session,
    write: impl FnOnce(&Replay, &mut Vec<u8>) -> Result<io::Result<()>, String>,
) -> Result<Exit, String> {
    let rules = match redact::rules(common) {
        Ok(rules) => rules,
        Err(exit) => return Ok(exit),
    };
    run_session(session, true, |replay, out| {
        let mut scratch = Scratch::new();
        replay.look_for_private(&mut |key, text| {
            let hits = rules.find_under(key, text, &mut scratch);
            hits.iter().map(|hit| rules.placeholder(hit).trim_matches(['[', ']']).to_owned()).collect()
        });
        write(replay, out)
    })
}

fn ended(result: Result<Exit, String>) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(text) => fail(&text.lines().map(clean).collect::<Vec<_>>().join("\n")),
    }
}

impl Source {
    pub(super) fn vault(&self) -> Result<Vault, String> {
        Vault::at(&self.reach.location(&self.store, self.keys.as_deref()))
    }

    /// Auditors' keys, and where it is noted what they open.
    async fn auditors(&self) -> Result<(Vec<age::x25519::Identity>, OpeningLog), String> {
        let (files, auditors) = auditors::keys(&self.identity, &self.sealed, &self.reach).await?;
        let log = OpeningLog::of(self.log.as_deref(), &files, &self.store, &auditors)?;
        Ok((auditors, log))
    }
}

pub(super) async fn open(from: &Source) -> Result<(Vault, Vec<age::x25519::Identity>, OpeningLog), String> {
    let vault = from.vault()?;
    let (auditors, log) = from.auditors().await?;
    Ok((vault, auditors, log))
}

pub(super) fn print(bytes: &[u8]) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("can't write: {error}")),
        _ => Ok(()),
    }
}
