//! `tollgate vault evidence`: a folder of evidence for a period, as SOC 2 auditors ask for. The folder must be new. If
//! the vault does not verify, the exit code is 1 and the folder says so. The work is in `audit::evidence`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::super::auditors::{self, Sealed};
use super::super::error::{CommandError, Exit};
use super::super::opening_log::OpeningLog;
use super::super::output;
use super::super::runtime::block_on;
use super::chain::Chains;
use super::keys::{public_keys_of, read};
use audit::evidence::bundle::Bundle;
use audit::evidence::{Gathered, Period, gather};
use audit::verify::{Report, verify};
use kernel::clock::{Clock, SystemClock};
use kernel::secret::Secret;
use kernel::terminal::counted;
use vault::chain::note::SigningKey;

/// Options of `vault evidence`.
#[derive(Args)]
#[command(group = ArgGroup::new("auditor").multiple(true).args(["identity", "identity_kms"]))]
pub(crate) struct Evidence {
    #[command(flatten)]
    chains: Chains,
    /// First day or time of arrival (UTC): `2026-11-01`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: String,
    /// End of the period (exclusive), a day or time: `2026-12-01`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: String,
    /// An auditor's key file, with which fragments of the period are opened and compared with their lines.
    #[arg(long, short, value_name = "FILE")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    sealed: Sealed,
    /// File in which openings of fragments are logged before they happen; `none` disables it [default: the first key
    /// file's name with `.openings.jsonl` appended].
    #[arg(long, value_name = "FILE|none", requires = "auditor")]
    log: Option<PathBuf>,
    /// An anchor kept elsewhere; it is included in the folder.
    #[arg(long, value_name = "FILE")]
    anchor: Vec<PathBuf>,
    /// Public key of the signer of anchors, or a file that contains it.
    #[arg(long, value_name = "KEY|FILE")]
    anchor_key: Vec<String>,
    /// Public keys of those who sign requests for erasure, or a file that contains them.
    #[arg(long, value_name = "KEY|FILE")]
    erasers: Vec<String>,
    /// A file to include: `vault doctor --json`, `vault policy`, a log of openings, a drill's report.
    #[arg(long, value_name = "FILE")]
    attach: Vec<PathBuf>,
    /// Key that signs the manifest (`vault keygen --signing`).
    #[arg(long, value_name = "FILE")]
    sign_with: Option<PathBuf>,
    /// The new folder.
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

/// Converts a day or time to the form used in index lines.
fn moment(text: &str) -> Result<String, CommandError> {
    let shaped: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    match shaped.as_str() {
        "0000-00-00" => Ok(format!("{text}T00:00:00.000000000Z")),
        "0000-00-00T00:00:00Z" => Ok(format!("{}.000000000Z", text.trim_end_matches('Z'))),
        _ => Err(CommandError::Usage("is no time: `2026-11-01` or `2026-11-01T08:00:00Z`".to_owned())),
    }
}

/// Runs `vault evidence`.
pub(super) fn run_evidence(options: &Evidence) -> Result<Exit, CommandError> {
    if options.from >= options.to {
        return Err("--to is not after --from".into());
    }
    let key = options.sign_with.as_deref().map(|path| {
        let key = SigningKey::from_secret(&Secret::new(read(path)?));
        key.map_err(|why| CommandError::Failed(format!("{} {why}", path.display())))
    });
    let key = key.transpose()?;
    if options.output.symlink_metadata().is_ok() {
        return Err(CommandError::Failed(format!("{} exists: a bundle is a new folder", options.output.display())));
    }
    let period = Period { from: options.from.clone(), to: options.to.clone() };
    let mut report = Report::default();
    let mut gathered = Gathered::default();
    block_on(async {
        let (vault, account) = (options.chains.vault()?, options.chains.account());
        let mut wanted = options.chains.options()?;
        (wanted.from, wanted.to) = (Some(period.from.clone()), Some(period.to.clone()));
        wanted.anchors = options.anchor.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
        wanted.anchor_keys = public_keys_of("--anchor-key", &options.anchor_key)?;
        wanted.erasers = public_keys_of("--erasers", &options.erasers)?;
        if !(options.identity.is_empty() && options.sealed.is_empty()) {
            let (log, chains) = (options.log.as_deref(), &options.chains);
            let (files, keys) = auditors::keys(&options.identity, &options.sealed, chains.reach()).await?;
            wanted.auditors = keys;
            let log = OpeningLog::of(log, &files, chains.store(), &wanted.auditors)?;
            log.note("evidence", &format!("every fragment from {} to {}", period.from, period.to))?;
        }
        gathered = gather(&vault, &period, account, &wanted.keys).await?;
        report = verify(&vault, &wanted, &mut |_| {}).await?;
        Ok(())
    })?;
    let bundle = Bundle {
        period: &period,
        gathered: &gathered,
        report: &report,
        store: options.chains.store(),
        anchors: &options.anchor,
        attached: &options.attach,
        key: key.as_ref(),
        made: SystemClock::new().now(),
    };
    bundle.write(&options.output)?;
    let complete = gathered.is_complete();
    let mut verified = if report.verified { "verified" } else { "NOT VERIFIED: see verify.txt" }.to_owned();
    if !complete {
        verified.push_str("; NOT COMPLETE: see closed.ndjson");
    }
    if !gathered.unsigned.is_empty() {
        verified.push_str("; left out what nobody signed: see unsigned.ndjson");
    }
    output::print(&format!(
        "{}, {}, {}, {} erasures; {verified}\n",
        counted(gathered.sessions.len(), "session"),
        counted(gathered.lines, "line"),
        counted(gathered.digests.len(), "digest"),
        gathered.erased.len()
    ))?;
    Ok(if report.verified && complete { Exit::Fine } else { Exit::Failed })
}
