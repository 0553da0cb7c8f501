//! [`VaultArgs`]: the options that locate a vault and open it. Keys are never used without the log of openings. Opening
//! is in `audit`.

use std::io::{self, Write};
use std::path::PathBuf;

use age::x25519::Identity;
use clap::Args;

use crate::cli::auditor_keys::{KmsIdentityArgs, open_auditors};
use crate::cli::opening_log::OpeningLog;
use crate::read::{Vault, VaultLocation};
use command::error::CommandError;

/// Options that locate a vault and open it.
#[derive(Args)]
pub(crate) struct VaultArgs {
    #[command(flatten)]
    pub(super) location: VaultLocation,
    /// An auditor's key file; may be repeated.
    #[arg(long, short, required_unless_present = "identity_kms", value_name = "FILE")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    kms_identity: KmsIdentityArgs,
    /// File in which each opening is logged before it happens; `none` disables it [default: the first key file's name
    /// with `.openings.jsonl` appended].
    #[arg(long, value_name = "FILE|none")]
    log: Option<PathBuf>,
}

impl VaultArgs {
    /// The vault, the auditors' keys, and the log of what they open.
    pub(crate) async fn open(&self) -> Result<(Vault, Vec<Identity>, OpeningLog), CommandError> {
        let vault = Vault::from_location(&self.location)?;
        let opened = open_auditors(&self.identity, &self.kms_identity, self.log.as_deref(), &self.location).await?;
        let (auditors, log) = opened.ok_or("give --identity: the file with an auditor's secret key")?;
        Ok((vault, auditors, log))
    }
}

pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::Failed(format!("can't write: {error}")))
        }
        _ => Ok(()),
    }
}
