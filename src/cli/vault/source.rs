//! [`Source`]: the options that locate a vault and open it. Keys are never used without the log of openings. Opening is
//! in `audit`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::cli::auditors::{self, Sealed};
use crate::cli::error::CommandError;
use crate::cli::opening_log::OpeningLog;
use crate::cli::reach::Reach;
use audit::read::Vault;

/// Options that locate a vault and open it.
#[derive(Args)]
pub(crate) struct Source {
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    pub(super) store: String,
    /// An auditor's key file; may be repeated.
    #[arg(long, short, required_unless_present = "identity_kms", value_name = "FILE")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    sealed: Sealed,
    /// Bucket of the key objects, if it is another one.
    #[arg(long, value_name = "s3://BUCKET")]
    pub(super) keys: Option<String>,
    /// File in which each opening is logged before it happens; `none` disables it [default: the first key file's name
    /// with `.openings.jsonl` appended].
    #[arg(long, value_name = "FILE|none")]
    log: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

impl Source {
    pub(crate) fn vault(&self) -> Result<Vault, CommandError> {
        Ok(Vault::at(&self.reach.location(&self.store, self.keys.as_deref()))?)
    }

    /// The auditors' keys, and the log of what they open.
    pub(super) async fn auditors(&self) -> Result<(Vec<age::x25519::Identity>, OpeningLog), CommandError> {
        let (files, auditors) = auditors::keys(&self.identity, &self.sealed, &self.reach).await?;
        let log = OpeningLog::of(self.log.as_deref(), &files, &self.store, &auditors)?;
        Ok((auditors, log))
    }
}

pub(crate) async fn open(from: &Source) -> Result<(Vault, Vec<age::x25519::Identity>, OpeningLog), CommandError> {
    let vault = from.vault()?;
    let (auditors, log) = from.auditors().await?;
    Ok((vault, auditors, log))
}

pub(crate) fn print(bytes: &[u8]) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::Failed(format!("can't write: {error}")))
        }
        _ => Ok(()),
    }
}
