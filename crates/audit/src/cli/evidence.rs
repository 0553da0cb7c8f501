//! `tollgate vault evidence`: a folder of evidence for a period, as SOC 2 auditors ask for. The folder must be new. If
//! the vault does not verify, the exit code is 1 and the folder says so. The work is in `crate::evidence`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::chain::ChainArgs;
use super::public_keys::{parse_signing_key, read_public_keys_of_option, read_text_file};
use crate::cli::auditor_keys::{KmsIdentityArgs, open_auditors};
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::{EvidencePeriod, gather_evidence};
use crate::read::Vault;
use crate::verify::verify;
use command::error::{CommandError, ExitStatus};
use command::output;
use command::runtime::block_on;
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::format_count;

/// Options of `vault evidence`.
#[derive(Args)]
#[command(group = ArgGroup::new("auditor").multiple(true).args(["identity", "identity_kms"]))]
pub struct EvidenceArgs {
    #[command(flatten)]
    chains: ChainArgs,
    #[command(flatten)]
    period: EvidencePeriod,
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

/// Runs `vault evidence`.
pub(super) fn run_evidence(options: &EvidenceArgs) -> Result<ExitStatus, CommandError> {
    let period = &options.period;
    if period.from >= period.to {
        return Err("--to must be after --from".into());
    }
    let key = options.sign_with.as_deref().map(parse_signing_key).transpose()?;
    if options.output.symlink_metadata().is_ok() {
        return Err(CommandError::Failed(format!(
            "{} already exists: --output must be a new folder",
            options.output.display()
        )));
    }
    let (gathered, report) = block_on(async {
        let vault = Vault::from_location(&options.chains.location)?;
        let mut verify_options = options.chains.verify_options()?;
        (verify_options.from, verify_options.to) = (Some(period.from.clone()), Some(period.to.clone()));
        verify_options.anchors = options.anchor.iter().map(|path| read_text_file(path)).collect::<Result<_, _>>()?;
        verify_options.anchor_keys = read_public_keys_of_option("--anchor-key", &options.anchor_key)?;
        verify_options.erasers = read_public_keys_of_option("--erasers", &options.erasers)?;
        verify_options.openers = read_public_keys_of_option("--openers", &options.openers)?;
        let (log, location) = (options.log.as_deref(), &options.chains.location);
        let opened = open_auditors(&options.identity, &options.kms_identity, log, location).await?;
        if let Some((auditors, log)) = opened {
            log.record_opening("evidence", &format!("every fragment from {} to {}", period.from, period.to))?;
            verify_options.auditors = auditors;
        }
        let account = options.chains.account.as_deref();
        let gathered = gather_evidence(&vault, period, account, &verify_options.keys).await?;
        Ok((gathered, verify(&vault, &verify_options, &mut |_| {}).await?))
    })?;
    let bundle = EvidenceBundle {
        period,
        gathered: &gathered,
        report: &report,
        store: &options.chains.location.store,
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
