//! `tollgate vault verify` and `anchor`. The exit code is 0 only if everything checked is valid; it is 1 if something
//! is invalid or nothing could be checked. The verification is in `audit/verify`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{ArgGroup, Args};

use super::public_keys::{parse_signing_key, read_public_keys, read_public_keys_of_option, read_text_file};
use crate::cli::vault_args::{KmsIdentityArgs, open_auditors};
use crate::read::{Vault, VaultLocation};
use crate::verify::{RequiredLock, VerifyOptions, VerifyProgress, anchor, verify};
use command::error::{CommandError, ExitStatus, Result};
use command::output::{self, Progress};
use command::runtime::block_on;
use command::time_option::{parse_time_option, time_before};
use config::types::TimeSpan;
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::{escape_json, escape_unsafe, format_count};
use vault::object_names::rfc3339;
use vault::store::settings::LockMode;

/// Options that select chains.
#[derive(Args)]
pub(super) struct ChainArgs {
    #[command(flatten)]
    pub(super) location: VaultLocation,
    /// Public key of the writer's signer (`name+id+key`), or a file that contains it; may be repeated.
    #[arg(long, required = true, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// Only this account.
    #[arg(long)]
    pub(super) account: Option<String>,
    /// Only this writer.
    #[arg(long)]
    writer: Option<String>,
    /// Data that arrived before this time, or longer ago than this, may be missing or hidden, because its retention has
    /// ended. `vault verify --retention` implies this too.
    #[arg(long, value_parser = parse_time_option, value_name = "TIME|DAYS")]
    expired: Option<String>,
}

impl ChainArgs {
    pub(super) fn verify_options(&self) -> Result<VerifyOptions> {
        Ok(VerifyOptions {
            keys: read_public_keys(&self.key)?,
            account: self.account.clone(),
            writer: self.writer.clone(),
            now: SystemClock::new().now(),
            expired: self.expired.clone(),
            ..VerifyOptions::default()
        })
    }
}

/// Files and keys with which a verification checks more than the chains.
#[derive(Args)]
#[command(group = ArgGroup::new("auditor").multiple(true).args(["identity", "identity_kms"]))]
pub(super) struct ProofArgs {
    /// An auditor's key file, with which fragments are opened and compared with their lines.
    #[arg(long, short, value_name = "FILE")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    kms_identity: KmsIdentityArgs,
    /// File in which openings of fragments are logged before they happen; `none` disables it [default: the first key
    /// file's name with `.openings.jsonl` appended].
    #[arg(long, value_name = "FILE|none", requires = "auditor")]
    log: Option<PathBuf>,
    /// An anchor kept elsewhere; give all you have, since each proves what existed at its time.
    #[arg(long, value_name = "FILE")]
    pub(super) anchor: Vec<PathBuf>,
    /// Public key of the signer of anchors, or a file that contains it.
    #[arg(long, value_name = "KEY|FILE")]
    anchor_key: Vec<String>,
    /// Public keys of those who sign requests for erasure, or a file that contains them; an erasure must be signed by
    /// two.
    #[arg(long, value_name = "KEY|FILE")]
    erasers: Vec<String>,
    /// Public keys of those who sign requests to open sessions, or a file that contains them; an opening must be signed
    /// by two.
    #[arg(long, value_name = "KEY|FILE")]
    openers: Vec<String>,
}

impl ProofArgs {
    /// Reads the files into `options`, and logs that `command` opens `content`.
    pub(super) async fn read_into(
        &self,
        options: &mut VerifyOptions,
        location: &VaultLocation,
        (command, content): (&str, &str),
    ) -> Result<()> {
        options.anchors = self.anchor.iter().map(|path| read_text_file(path)).collect::<Result<_, _>>()?;
        options.anchor_keys = read_public_keys_of_option("--anchor-key", &self.anchor_key)?;
        options.erasers = read_public_keys_of_option("--erasers", &self.erasers)?;
        options.openers = read_public_keys_of_option("--openers", &self.openers)?;
        let opened = open_auditors(&self.identity, &self.kms_identity, self.log.as_deref(), location).await?;
        if let Some((auditors, log)) = opened {
            log.record_opening(None, command, content)?;
            options.auditors = auditors;
        }
        Ok(())
    }
}

/// Options of `vault verify`.
#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    chains: ChainArgs,
    #[command(flatten)]
    proof: ProofArgs,
    /// Reads payload only of digests from this time on: `24h`, `7d`, `2026-11-20` or `2026-11-20T08:00:00Z` (UTC).
    #[arg(long, value_parser = parse_time_option, value_name = "TIME")]
    from: Option<String>,
    /// Reads payload only of digests up to this time, in the same forms.
    #[arg(long, value_parser = parse_time_option, value_name = "TIME")]
    to: Option<String>,
    /// Verifies chain and index only.
    #[arg(long)]
    no_payload: bool,
    /// With `--anchor`: how soon after its beginning an epoch must appear in an anchor. An epoch that was written later
    /// than it claims appears in no anchor of its time.
    #[arg(long, value_parser = parse_time_span, default_value = "25h", value_name = "TIME")]
    anchored_within: Duration,
    /// A leaf seen elsewhere (`gen_ai.payload.leaf`), or a file with one per line; the chain must contain it.
    #[arg(long, value_name = "WRITER/EPOCH/NUMBER|FILE")]
    leaf: Vec<String>,
    /// The least time, from its writing, for which every object must be locked (S3) and present: `100d`, `400d`. Older
    /// objects may be missing, and are counted.
    #[arg(long, value_parser = parse_time_span, value_name = "TIME")]
    retention: Option<Duration>,
    /// The lock mode required of all objects but keys (keys are always in governance mode).
    #[arg(long, default_value = "compliance", requires = "retention", value_parser = [
        PossibleValue::new("compliance").help("Can't be removed by anyone"),
        PossibleValue::new("governance").help("Can be removed by those with the permission to bypass it"),
    ])]
    lock_mode: String,
    /// Does not query the locks of objects, which takes a request per object.
    #[arg(long, conflicts_with = "retention")]
    no_locks: bool,
    /// File that records what was verified, so that an interrupted run can continue.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Parses `100d` or `12h`, as in a configuration.
fn parse_time_span(text: &str) -> Result<Duration> {
    TimeSpan::parse(text)
        .map(|span| span.0)
        .ok_or_else(|| CommandError::Usage("must be a duration such as `100d` or `2400h`".to_owned()))
}

/// Options of `vault anchor`.
#[derive(Args)]
pub struct AnchorArgs {
    #[command(flatten)]
    chains: ChainArgs,
    /// The key that signs the anchor, which must not be a writer's (`vault keygen --signing`).
    #[arg(long, value_name = "FILE")]
    sign_with: PathBuf,
    /// The new file.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

/// Runs `vault verify`.
pub(super) fn run_verify(options: &VerifyArgs) -> Result<ExitStatus> {
    let report = block_on(async {
        let vault = Vault::from_location(&options.chains.location)?;
        let mut verify_options = options.chains.verify_options()?;
        (verify_options.from, verify_options.to) = (options.from.clone(), options.to.clone());
        if verify_options.from.as_ref().zip(verify_options.to.as_ref()).is_some_and(|(from, to)| from >= to) {
            return Err("--to must be after --from: otherwise no payload is read".into());
        }
        verify_options.no_payload = options.no_payload;
        // Objects older than the required lock may be gone.
        verify_options.expired =
            verify_options.expired.or(options.retention.map(|min_time| time_before(verify_options.now, min_time)));
        let opened = ("verify", "every fragment");
        options.proof.read_into(&mut verify_options, &options.chains.location, opened).await?;
        verify_options.anchored_within = Some(options.anchored_within);
        for leaf in &options.leaf {
            let path = Path::new(leaf);
            let lines = if path.is_file() { read_text_file(path)? } else { leaf.clone() };
            verify_options
                .leaves
                .extend(lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
        verify_options.no_locks = options.no_locks;
        let is_governance = options.lock_mode == "governance";
        let mode = if is_governance { LockMode::Governance } else { LockMode::Compliance };
        verify_options.retention = options.retention.map(|min_time| RequiredLock { mode, least: min_time });
        verify_options.resume.clone_from(&options.resume);
        let mut bar = Progress::default();
        let report = verify(&vault, &verify_options, &mut |at| bar.show(|| progress_bar(at))).await?;
        drop(bar);
        Ok(report)
    })?;
    let text = if options.json {
        escape_json(&serde_json::to_string_pretty(&report).unwrap_or_default()) // can't fail: strings and numbers
    } else {
        report.text()
    };
    output::print(&format!("{text}\n"))?;
    Ok(if report.verified && !report.opened_nothing() { ExitStatus::Success } else { ExitStatus::Failed })
}

/// Runs `vault anchor`: verifies the chains, then signs. Planted objects are reported and don't prevent an anchor,
/// because they may be locked for years; broken chains are reported and left out. In both cases the exit code is 1.
pub(super) fn run_anchor(options: &AnchorArgs) -> Result<ExitStatus> {
    let key = parse_signing_key(&options.sign_with)?;
    let verify_options = VerifyOptions { chain_only: true, ..options.chains.verify_options()? };
    if verify_options.keys.contains(key.public()) {
        return Err("--sign-with is the writer's own key: use another key, because an anchor that the gateway could sign proves nothing".into());
    }
    let report = block_on(async {
        let vault = Vault::from_location(&options.chains.location)?;
        let mut bar = Progress::default();
        let report = verify(&vault, &verify_options, &mut |at| bar.show(|| progress_bar(at))).await?;
        drop(bar);
        Ok(report)
    })?;
    let (heads, left_out) = report.anchorable();
    if !report.verified {
        output::print(&format!("{}\n", report.text()))?;
    }
    if heads.is_empty() {
        output::print("no anchor was made\n")?;
        return Ok(ExitStatus::Failed);
    }
    let text = anchor::make(&heads, &rfc3339(SystemClock::new().now()), &key);
    let written = kernel::files::write_new(&options.output, text.as_bytes());
    written.map_err(|error| format!("can't write {}: {error}", options.output.display()))?;
    let left_out = left_out.iter().map(|line| format!("left out: {}\n", escape_unsafe(line))).collect::<String>();
    output::print(&format!("{left_out}{}, signed by {}\n", format_count(heads.len(), "writer"), key.public()))?;
    Ok(if report.verified { ExitStatus::Success } else { ExitStatus::Failed })
}

/// The progress line of a verification.
fn progress_bar(VerifyProgress { done, all, bytes }: VerifyProgress) -> String {
    let filled = usize::try_from(done * 30 / all.max(1)).unwrap_or(30).min(30);
    let bar = format!("[{}{}]", "#".repeat(filled), " ".repeat(30 - filled));
    format!("{bar} {done} of {all} digests, {} MiB of payload", bytes >> 20)
}

#[cfg(test)]
mod tests;
