//! The options that locate a vault and open it ([`VaultArgs`]), those for auditors' keys that are encrypted with AWS
//! KMS ([`KmsIdentityArgs`]), and [`open_auditors`], which reads all auditors' keys given to a command. Keys are never
//! used without the log of openings (`opening_log`), and decrypted ones stay in memory. `vault/kms` calls KMS.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::x25519::Identity;
use clap::Args;

use crate::cli::opening_log::OpeningLog;
use crate::location::parse_server_url;
use crate::read::{Vault, VaultLocation, identities, identities_in};
use command::admin_client::{AdminPort, AdminPortArgs};
use command::error::{CommandError, Result};
use command::{keyfile, output};
use kernel::key_source::KmsKeyFile;
use redaction::Detector;
use vault::kms::{Ciphertext, decrypt};
use vault::recipients::RecipientPolicy;

/// What these commands ask of the gateway's configuration (`--config`), which only the root package can read.
pub trait GatewayConfig {
    /// The admin port of the selected gateway.
    fn admin_port(&self, options: &AdminPortArgs) -> Result<AdminPort>;
    /// The redaction rules of the configuration, or the built-in ones.
    fn redaction_rules(&self) -> Result<Arc<Detector>>;
    /// The recipients of each vault with a store, by the vault's id.
    fn vault_recipients(&self) -> Result<Vec<(String, RecipientPolicy)>>;
}

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
    pub(crate) async fn open(&self) -> Result<(Vault, Vec<Identity>, OpeningLog)> {
        let vault = Vault::from_location(&self.location)?;
        let opened = open_auditors(&self.identity, &self.kms_identity, self.log.as_deref(), &self.location).await?;
        let (auditors, log) = opened.ok_or("give --identity: the file with an auditor's secret key")?;
        Ok((vault, auditors, log))
    }
}

pub(crate) fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::Failed(format!("can't write: {error}")))
        }
        _ => Ok(()),
    }
}

/// Options for key files that KMS decrypts.
#[derive(Args)]
pub(super) struct KmsIdentityArgs {
    /// Auditor's key file encrypted with AWS KMS (`aws kms encrypt`: base64 or bytes), decrypted in memory with the
    /// credentials of the standard chain; may be repeated.
    #[arg(long, value_name = "FILE")]
    identity_kms: Vec<PathBuf>,
    /// Region of KMS [default: --region, or else that of the standard chain].
    #[arg(long, value_name = "REGION", requires = "identity_kms")]
    kms_region: Option<String>,
    /// Address of KMS, if it is not that of AWS in the region [default: $AWS_ENDPOINT_URL_KMS].
    #[arg(long, value_name = "URL", requires = "identity_kms", value_parser = parse_server_url)]
    kms_endpoint: Option<String>,
    /// The only KMS key (id, ARN, `alias/…`) that may decrypt it [default: the key that the ciphertext names].
    #[arg(long, value_name = "ID", requires = "identity_kms")]
    kms_key_id: Option<String>,
    /// Value given to `aws kms encrypt --encryption-context`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_key_value, requires = "identity_kms")]
    kms_encryption_context: Vec<(String, String)>,
}

fn parse_key_value(text: &str) -> Result<(String, String)> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| CommandError::Usage("must have the form `key=value`".to_owned()))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The auditors' secret keys, and the log of what they open; `None` if no key was given.
///
/// # Errors
/// A file can't be read or decrypted, or has no key, or the log can't be opened. Messages never contain a file's
/// contents.
pub(super) async fn open_auditors(
    files: &[PathBuf],
    kms: &KmsIdentityArgs,
    log: Option<&Path>,
    location: &VaultLocation,
) -> Result<Option<(Vec<Identity>, OpeningLog)>> {
    if files.is_empty() && kms.identity_kms.is_empty() {
        return Ok(None);
    }
    files.iter().for_each(|file| warn_if_key_is_open(file));
    let mut keys = if files.is_empty() { Vec::new() } else { identities(files)? };
    let settings = KmsKeyFile {
        region: kms.kms_region.clone().or_else(|| location.access.region.clone()).unwrap_or_default(),
        endpoint: kms.kms_endpoint.clone(),
        key_id: kms.kms_key_id.clone(),
        encryption_context: kms.kms_encryption_context.iter().cloned().collect(),
        // AWS' own KMS is trusted by the system's certificates.
        ca_file: kms.kms_endpoint.as_ref().and(location.access.ca_file.clone()),
        ..KmsKeyFile::default()
    };
    for path in &kms.identity_kms {
        let with_path = |why: &dyn std::fmt::Display| format!("the identity file {}: {why}", path.display());
        let ciphertext = Ciphertext::read(path).map_err(|why| with_path(&why))?;
        let key = decrypt(&settings, &ciphertext).await.map_err(|why| with_path(&why))?;
        keys.extend(identities_in(path, key.text.expose())?);
    }
    let first_file = files.iter().chain(&kms.identity_kms).next();
    let log = OpeningLog::open_requested(log, first_file.map(PathBuf::as_path), &location.store, &keys)?;
    Ok(Some((keys, log)))
}

/// Warns on stderr about the file of a secret key that every user of the machine may access.
pub(super) fn warn_if_key_is_open(file: &Path) {
    if let Some(warning) = keyfile::warn_if_open_to_all(file) {
        output::print_notes("warning", [&warning]);
    }
}
