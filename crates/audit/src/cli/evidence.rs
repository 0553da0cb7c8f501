//! `tollgate vault evidence`: a folder of evidence for a period, as SOC 2 auditors ask for. The folder must be new. If
//! the vault does not verify, the exit code is 1 and the folder says so. The work is in `crate::evidence`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::chain::ChainArgs;
use super::public_keys::{read_public_keys_of_option, read_text_file};
use crate::cli::auditor_keys::{self, KmsIdentityArgs};
use crate::cli::opening_log::OpeningLog;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::{EvidencePeriod, PeriodEvidence, gather_evidence};
use crate::verify::{VerifyReport, verify};
use command::error::{CommandError, ExitStatus};
use command::output;
use command::runtime::block_on;
use kernel::clock::{Clock, SystemClock};
use kernel::secret::Secret;
use kernel::terminal::format_count;
use vault::chain::note::SigningKey;

/// Options of `vault evidence`.
#[derive(Args)]
#[command(group = ArgGroup::new("auditor").multiple(true).args(["identity", "identity_kms"]))]
pub struct EvidenceArgs {
    #[command(flatten)]
    chains: ChainArgs,
    /// First day or time of arrival (UTC): `2026-11-01`.
    #[arg(long, value_name = "TIME", value_parser = parse_period_time)]
    from: String,
    /// End of the period (exclusive), a day or time: `2026-12-01`.
    #[arg(long, value_name = "TIME", value_parser = parse_period_time)]
    to: String,
    /// An auditor's key file, with which fragments of the period are opened and compared with their lines.
    #[arg(long, short, value_name = "FILE")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    kms_identity: KmsIdentityArgs,
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
    /// Public keys of those who sign requests to open sessions, or a file that contains them.
    #[arg(long, value_name = "KEY|FILE")]
    openers: Vec<String>,
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
fn parse_period_time(text: &str) -> Result<String, CommandError> {
    let shaped: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    match shaped.as_str() {
        "0000-00-00" => Ok(format!("{text}T00:00:00.000000000Z")),
        "0000-00-00T00:00:00Z" => Ok(format!("{}.000000000Z", text.trim_end_matches('Z'))),
        _ => {
            Err(CommandError::Usage("must be a day or time such as `2026-11-01` or `2026-11-01T08:00:00Z`".to_owned()))
        }
    }
}

/// Runs `vault evidence`.
pub(super) fn run_evidence(options: &EvidenceArgs) -> Result<ExitStatus, CommandError> {
    if options.from >= options.to {
        return Err("--to must be after --from".into());
    }
    let key = options.sign_with.as_deref().map(|path| {
        let key = SigningKey::from_secret(&Secret::new(read_text_file(path)?));
        key.map_err(|why| CommandError::Failed(format!("{} {why}", path.display())))
    });
    let key = key.transpose()?;
    if options.output.symlink_metadata().is_ok() {
        return Err(CommandError::Failed(format!(
            "{} already exists: --output must be a new folder",
            options.output.display()
        )));
    }
    let period = EvidencePeriod { from: options.from.clone(), to: options.to.clone() };
    let mut report = VerifyReport::default();
    let mut gathered = PeriodEvidence::default();
    block_on(async {
        let (vault, account) = (options.chains.open_vault()?, options.chains.account());
        let mut verify_options = options.chains.verify_options()?;
        (verify_options.from, verify_options.to) = (Some(period.from.clone()), Some(period.to.clone()));
        verify_options.anchors = options.anchor.iter().map(|path| read_text_file(path)).collect::<Result<_, _>>()?;
        verify_options.anchor_keys = read_public_keys_of_option("--anchor-key", &options.anchor_key)?;
        verify_options.erasers = read_public_keys_of_option("--erasers", &options.erasers)?;
        verify_options.openers = read_public_keys_of_option("--openers", &options.openers)?;
        if !(options.identity.is_empty() && options.kms_identity.is_empty()) {
            let (log, chains) = (options.log.as_deref(), &options.chains);
            let (files, keys) =
                auditor_keys::read_identities(&options.identity, &options.kms_identity, chains.store_access()).await?;
            verify_options.auditors = keys;
            let log = OpeningLog::open_requested(log, &files, chains.store(), &verify_options.auditors)?;
            log.record_opening("evidence", &format!("every fragment from {} to {}", period.from, period.to))?;
        }
        gathered = gather_evidence(&vault, &period, account, &verify_options.keys).await?;
        report = verify(&vault, &verify_options, &mut |_| {}).await?;
        Ok(())
    })?;
    let bundle = EvidenceBundle {
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
    let is_complete = gathered.is_complete();
    let mut verdict = if report.verified { "verified" } else { "NOT VERIFIED: see verify.txt" }.to_owned();
    if !is_complete {
        verdict.push_str("; NOT COMPLETE: see unreadable.ndjson");
    }
    if !gathered.unsigned.is_empty() {
        verdict.push_str("; unsigned lines were left out: see unsigned.ndjson");
    }
    output::print(&format!(
        "{}, {}, {}, {} erasures; {verdict}\n",
        format_count(gathered.sessions.len(), "session"),
        format_count(gathered.lines, "line"),
        format_count(gathered.digests.len(), "digest"),
        gathered.erasures.len()
    ))?;
    Ok(if report.verified && is_complete { ExitStatus::Success } else { ExitStatus::Failed })
}
