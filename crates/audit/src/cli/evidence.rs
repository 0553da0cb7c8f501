//! `tollgate vault evidence`: a folder of evidence for a period, as SOC 2 auditors ask for. The folder must be new. If
//! the vault does not verify, the exit code is 1 and the folder says so. The work is in `crate::evidence`.

use std::path::PathBuf;

use clap::Args;

use super::chain::{ChainArgs, ProofArgs};
use super::public_keys::parse_signing_key;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::{EvidencePeriod, gather_evidence};
use crate::read::Vault;
use crate::verify::verify;
use command::error::{CommandError, ExitStatus, Result};
use command::output;
use command::runtime::block_on;
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::format_count;

/// Options of `vault evidence`.
#[derive(Args)]
#[command(mut_arg("anchor", |anchor| anchor.help("An anchor kept elsewhere; it is included in the folder")))]
pub struct EvidenceArgs {
    #[command(flatten)]
    chains: ChainArgs,
    #[command(flatten)]
    period: EvidencePeriod,
    #[command(flatten)]
    proof: ProofArgs,
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
pub(super) fn run_evidence(options: &EvidenceArgs) -> Result<ExitStatus> {
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
        let content = format!("every fragment from {} to {}", period.from, period.to);
        let opened = ("evidence", &*content);
        options.proof.read_into(&mut verify_options, &options.chains.location, opened).await?;
        let account = options.chains.account.as_deref();
        let gathered = gather_evidence(&vault, period, account, &verify_options.keys).await?;
        Ok((gathered, verify(&vault, &verify_options, &mut |_| {}).await?))
    })?;
    let bundle = EvidenceBundle {
        period,
        gathered: &gathered,
        report: &report,
        store: &options.chains.location.store,
        anchors: &options.proof.anchor,
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
