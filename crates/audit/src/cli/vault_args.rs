//! [`VaultArgs`]: the options that locate a vault and open it. Keys are never used without the log of openings. Opening
//! is in `audit`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::cli::auditor_keys::{self, KmsIdentityArgs};
use crate::cli::opening_log::OpeningLog;
use crate::cli::store_access::StoreAccessArgs;
use crate::read::Vault;
use command::error::CommandError;

/// Options that locate a vault and open it.
#[derive(Args)]
pub(crate) struct VaultArgs {
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    pub(super) store: String,
    /// An auditor's key file; may be repeated.
    #[arg(long, short, required_unless_present = "identity_kms", value_name = "FILE")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    kms_identity: KmsIdentityArgs,
    /// Bucket of the key objects, if it is another one.
    #[arg(long, value_name = "s3://BUCKET")]
    pub(super) keys: Option<String>,
    /// File in which each opening is logged before it happens; `none` disables it [default: the first key file's name
    /// with `.openings.jsonl` appended].
    #[arg(long, value_name = "FILE|none")]
    log: Option<PathBuf>,
    #[command(flatten)]
    pub(super) store_access: StoreAccessArgs,
}

impl VaultArgs {
    pub(crate) fn open_vault(&self) -> Result<Vault, CommandError> {
        Ok(Vault::from_location(&self.store_access.location(&self.store, self.keys.as_deref()))?)
    }

    /// The auditors' keys, and the log of what they open.
    pub(super) async fn read_auditors(&self) -> Result<(Vec<age::x25519::Identity>, OpeningLog), CommandError> {
        let (files, auditors) =
            auditor_keys::read_identities(&self.identity, &self.kms_identity, &self.store_access).await?;
        let log = OpeningLog::open_requested(self.log.as_deref(), &files, &self.store, &auditors)?;
        Ok((auditors, log))
    }
}

pub(crate) async fn open_with_auditors(
    options: &VaultArgs,
) -> Result<(Vault, Vec<age::x25519::Identity>, OpeningLog), CommandError> {
    let vault = options.open_vault()?;
    let (auditors, log) = options.read_auditors().await?;
    Ok((vault, auditors, log))
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
