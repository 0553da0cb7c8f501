//! `tollgate vault rewrap`: copies session keys for more auditors. With `--configured` each auditor gets only copies of
//! keys that the configuration lets them open. The work is in `audit/rewrap`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::erase::read_signing_key;
use super::public_keys::read_public_keys_of_option;
use super::vault_args::{VaultArgs, print_bytes};
use crate::cli::session_argument::parse_session_argument;
use crate::cli::vault_args::GatewayConfig;
use crate::folders::KeySelection;
use crate::ledger::LedgerSigner;
use crate::location::WritableVault;
use crate::rewrap::{RewrapSummary, rewrap};
use command::error::{CommandError, ExitStatus, Result};
use command::runtime::block_on;
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::escape_unsafe;
use vault::key_shares::{MAX_SHARES, is_valid_threshold};
use vault::recipients::RecipientPolicy;
use vault::seal::parse_recipient;

/// Default name of the writer whose chain records copies of keys.
pub(crate) const DEFAULT_REWRAP_WRITER: &str = "rewrap";

/// Options of `vault rewrap`.
#[derive(Args)]
#[command(group = ArgGroup::new("copies").required(true).args(["recipient", "configured"]))]
pub struct RewrapArgs {
    /// Public key (`age1…`) of an auditor who shall be able to open all selected sessions too; may be repeated.
    #[arg(long, value_name = "age1…")]
    recipient: Vec<String>,
    /// How many of the `--recipient`s are needed together to open a copy [default: each opens it alone].
    #[arg(long, value_name = "NUMBER", requires = "recipient", conflicts_with = "configured")]
    threshold: Option<u8>,
    /// Copies each key for the recipients in the configuration (`--config`) who may open its account and tenant; ID
    /// names the vault, if there are several.
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "")]
    configured: Option<String>,
    /// The key that signs the chain of copies (`vault keygen --signing`), not a gateway's. `vault verify` needs its
    /// public key too.
    #[arg(long, value_name = "FILE")]
    sign_with: PathBuf,
    /// Public key that signed the chain of copies before `--sign-with`, or a file that contains it.
    #[arg(long, value_name = "KEY|FILE")]
    earlier_key: Vec<String>,
    /// Name of the writer whose chain records copies; not a gateway's, and not that of erasures.
    #[arg(long, default_value = DEFAULT_REWRAP_WRITER)]
    writer: String,
    #[command(flatten)]
    selection: KeySelection,
    /// Locks the copies for this many days (GOVERNANCE, like all keys) [default: the bucket's default].
    #[arg(long, value_name = "DAYS")]
    lock_days: Option<u32>,
    #[command(flatten)]
    vault: VaultArgs,
}

fn copy_recipients(config: &dyn GatewayConfig, options: &RewrapArgs) -> Result<RecipientPolicy> {
    if let Some(id) = &options.configured {
        return configured_recipients(config, Some(id.as_str()).filter(|id| !id.is_empty()));
    }
    let recipients =
        options.recipient.iter().map(|text| parse_recipient(text).map_err(|why| format!("--recipient {why}")));
    let recipients: Vec<_> = recipients.collect::<Result<_, _>>()?;
    let distinct: BTreeSet<String> = recipients.iter().map(ToString::to_string).collect();
    let is_valid = |threshold: u8| {
        distinct.len() == recipients.len() && is_valid_threshold(usize::from(threshold), recipients.len())
    };
    if options.threshold.is_some_and(|threshold| !is_valid(threshold)) {
        let message =
            format!("--threshold must be from 2 to the number of different --recipients, at most {MAX_SHARES}");
        return Err(CommandError::Usage(message));
    }
    Ok(RecipientPolicy::unlimited(recipients).with_threshold(options.threshold))
}

/// The recipients of the only vault of the configuration, or of the one with this id.
fn configured_recipients(config: &dyn GatewayConfig, id: Option<&str>) -> Result<RecipientPolicy> {
    let vaults = config.vault_recipients()?;
    let ids = vaults.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ");
    let mut selected = vaults.iter().filter(|(name, _)| id.is_none_or(|id| id == name));
    match (selected.next(), selected.next()) {
        (Some((_, recipients)), None) => Ok(recipients.clone()),
        (None, _) if ids.is_empty() => Err("--configured: the configuration has no vault with a store".into()),
        (None, _) => Err(CommandError::Failed(format!("--configured: no such vault; the configuration has {ids}"))),
        (Some(_), Some(_)) => Err(CommandError::Failed(format!("--configured: name one of the vaults: {ids}"))),
    }
}

/// Runs `vault rewrap`.
pub(super) fn run_rewrap(config: &dyn GatewayConfig, options: &RewrapArgs) -> Result<ExitStatus> {
    let recipients = copy_recipients(config, options)?;
    let mut selection = options.selection.clone();
    if let Some(session) = &selection.session {
        let (session, account) = parse_session_argument(session, selection.account.as_deref());
        (selection.session, selection.account) = (Some(session), account);
    }
    let (key, earlier_keys) = (
        read_signing_key(Some(&options.sign_with))?,
        read_public_keys_of_option("--earlier-key", &options.earlier_key)?,
    );
    let signer = LedgerSigner { key: &key, earlier_keys: &earlier_keys, writer: &options.writer };
    let result = block_on(async {
        let vault = &options.vault;
        let (_, auditors, log) = vault.open().await?;
        let writable_vault = WritableVault::from_location(&vault.location, options.lock_days)?;
        let of_session = |session: &String| format!("keys of session {session}");
        let opened = options.selection.session.as_ref().map_or("session keys".to_owned(), of_session);
        let names: Vec<String> = recipients.recipients.iter().map(|recipient| recipient.key.to_string()).collect();
        log.record_opening(None, "rewrap", &format!("{opened} for {}", names.join(" ")))?;
        let now = SystemClock::new().now();
        Ok(rewrap(&writable_vault, &auditors, &recipients, &selection, &signer, now).await?)
    })?;
    let not_copied: String = result.failed.iter().map(|why| format!("not copied: {}\n", escape_unsafe(why))).collect();
    let RewrapSummary { keys, written, already_present, newly_listed, .. } = &result;
    let (writer, public) = (&options.writer, key.public());
    let summary = format!(
        "{keys} keys: {written} copies written, {already_present} already present; {newly_listed} recorded in the chain of \
         {writer}, signed by {public}\n"
    );
    print_bytes(format!("{not_copied}{summary}").as_bytes())?;
    Ok(if result.failed.is_empty() { ExitStatus::Success } else { ExitStatus::Failed })
}
