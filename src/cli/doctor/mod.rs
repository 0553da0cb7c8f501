//! `tollgate vault doctor` tests the gateway's permissions on its buckets and KMS, and shows who can open what; `vault
//! policy` prints the policies to apply. `doctor` writes only probe objects of its own, and exits with 1 if a check
//! fails. The checks are in `vault/store/probe` and `doctor_recipients`, the policies in `vault/policy`.

use clap::{Args, ValueEnum};
use serde_json::json;
use std::collections::BTreeSet;

use super::check::{as_line, fail_if_any};
use super::common::CommonArgs;
use super::config_loading::{FileAccess, load_config};
use super::doctor_recipients;
use crate::app::configured_component::vaults;
use crate::app::key_opening::{ConfiguredKey, configured_keys};
use audit::cli::{DEFAULT_ERASER_WRITER, DEFAULT_OPENINGS_WRITER};
use command::error::{CommandError, ExitStatus};
use command::output;
use command::runtime::block_on;
use kernel::clock::{Clock, SystemClock};
use kernel::key_source::{KeyService, KeySource};
use kernel::rng::{Rng, SystemRng};
use kernel::terminal::escape_unsafe;
use receivers::ReceiverPortsView;
use vault::policy::AwsPolicies;
use vault::recipients::RecipientPolicy;
use vault::store::S3Store;
use vault::store::probe::{ProbeCheck, ProbeScope, ProbeVerdict, probe_store};
use vault::store::settings::S3Settings;

const NO_VAULT: &str = "the configuration has no vault with a store, and `vault doctor` tests one: pass `--config FILE` \
                        with a vault that has `store: { s3: … }` or `store: { directory: … }`";
const NO_S3_VAULT: &str = "the configuration has no vault in S3, and the policies are for one: pass `--config FILE` with a \
                           vault that has `store: { s3: … }`";

/// Options of `vault doctor`.
#[derive(Args)]
pub(super) struct DoctorArgs {
    /// Prints one JSON object per check.
    #[arg(long)]
    json: bool,
    /// Tests only this vault of the configuration (`vault`, `vault/eu`).
    #[arg(long, value_name = "ID")]
    vault: Option<String>,
}

/// Documents that `vault policy` prints.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum PolicyFormat {
    /// IAM policy of the gateway.
    Writer,
    /// IAM policy of auditors.
    Auditor,
    /// IAM policy of those who run `vault erase` with the writer name `eraser`.
    Eraser,
    /// IAM policy of auditors who open keys together (`recipients: { threshold, of }`) and record it with the writer
    /// name `openings`.
    Opener,
    /// Policy of the payload bucket.
    Bucket,
    /// Policy of the key bucket.
    KeyBucket,
    /// Lifecycle rules of the payload bucket.
    Lifecycle,
    /// Lifecycle rules of the key bucket.
    KeyLifecycle,
    /// Buckets, lock, policies and lifecycle rules for AWS.
    Terraform,
}

/// Options of `vault policy`.
#[derive(Args)]
pub(super) struct PolicyArgs {
    /// The document to print.
    #[arg(long, value_enum, default_value = "writer")]
    format: PolicyFormat,
    /// The vault of the configuration (`vault`, `vault/eu`); required if there are several in S3.
    #[arg(long, value_name = "ID")]
    vault: Option<String>,
    /// Accounts in addition to those of the configuration and its tokens files; lifecycle rules are per account.
    #[arg(long)]
    account: Vec<String>,
    /// Allows auditors to restore archived objects, which costs money.
    #[arg(long)]
    restore: bool,
}

/// The vaults of a configuration that can be tested, and its accounts.
struct ConfiguredVaults {
    vaults: Vec<ConfiguredVault>,
    accounts: KnownAccounts,
}

struct ConfiguredVault {
    id: String,
    recipients: RecipientPolicy,
    s3: Option<S3Settings>,
    /// Its signing key, if a KMS or a command has it.
    signing_key_service: Option<ConfiguredKey>,
}

/// The accounts that may send, as far as this machine knows them.
#[derive(Default)]
struct KnownAccounts {
    /// Accounts of the configuration and of readable tokens files.
    names: BTreeSet<String>,
    /// Tokens files that were read; they may name more accounts later.
    tokens_files: Vec<String>,
    /// Why accounts may be missing.
    incomplete_because: Vec<String>,
}

impl KnownAccounts {
    fn from_receivers<'s>(receivers: impl Iterator<Item = ReceiverPortsView<'s>>) -> Self {
        let mut accounts = Self::default();
        for receiver in receivers {
            accounts.names.extend(receiver.accounts().iter().map(ToString::to_string));
            match receiver.file_accounts() {
                Ok(names) => {
                    accounts.names.extend(names.iter().map(ToString::to_string));
                    accounts.tokens_files.extend(receiver.tokens_file().map(|path| path.display().to_string()));
                }
                Err(why) => accounts.incomplete_because.push(why.to_string()),
            }
        }
        accounts
    }

    /// A warning for each reason why accounts may lack a lifecycle rule.
    fn uncovered_warnings(&self) -> Vec<String> {
        let line = |why: &String| {
            format!(
                "{why}: accounts named only in this file get no lifecycle rule, so their payload is never archived and never expires"
            )
        };
        self.incomplete_because.iter().map(line).collect()
    }
}

/// All vaults that can be tested, or only the requested one.
fn load_vaults(common: &CommonArgs, only: Option<&str>) -> Result<ConfiguredVaults, CommandError> {
    let valid = load_config(common, FileAccess::Read)?.valid;
    let signing_key = |section: String| configured_keys(&valid).into_iter().find(|key| key.section == section);
    let vaults = vaults(&valid.processors).map(|(id, vault, store)| ConfiguredVault {
        id: id.to_string(),
        recipients: vault.recipients.clone(),
        s3: store.s3_settings().cloned(),
        signing_key_service: signing_key(format!("processors.{id}")),
    });
    let mut vaults: Vec<_> = vaults.collect();
    if vaults.is_empty() {
        return Err(NO_VAULT.into());
    }
    if let Some(only) = only {
        let known_ids = vault_ids(&vaults);
        vaults.retain(|vault| vault.id == only);
        if vaults.is_empty() {
            let why = format!("--vault {only}: the configuration has no such vault with a store; it has {known_ids}");
            return Err(CommandError::Failed(why));
        }
    }
    let accounts = KnownAccounts::from_receivers(valid.receivers.iter().filter_map(|placed| placed.value.ports()));
    Ok(ConfiguredVaults { vaults, accounts })
}

fn vault_ids(vaults: &[ConfiguredVault]) -> String {
    vaults.iter().map(|vault| vault.id.as_str()).collect::<Vec<_>>().join(", ")
}

/// Runs `vault doctor`.
pub(super) fn run_doctor(common: &CommonArgs, options: &DoctorArgs) -> Result<ExitStatus, CommandError> {
    let configured = load_vaults(common, options.vault.as_deref())?;
    let has_several = configured.vaults.len() > 1;
    let mut checks: Vec<(String, ProbeCheck)> = Vec::new();
    let completed = block_on(async {
        for ConfiguredVault { id, recipients, s3, signing_key_service } in configured.vaults {
            let shown = doctor_recipients::check_recipients(&recipients, &configured.accounts.names);
            checks.extend(shown.into_iter().map(|check| (id.clone(), check)));
            if let Some(key) = &signing_key_service {
                checks.push((id.clone(), check_signing_key(key).await));
            }
            let Some(settings) = s3 else { continue };
            let name = kernel::hex::encode(&SystemRng.id());
            let store = S3Store::new(settings);
            let probed = probe_store(&store, &name, SystemClock::new().now(), ProbeScope::Permissions).await;
            let probed = probed.map_err(|error| error.to_string())?;
            checks.extend(probed.into_iter().map(|check| (id.clone(), check)));
        }
        Ok(())
    });
    let mut shown = String::new();
    let mut previous_id = None;
    for (id, check) in &checks {
        if has_several && !options.json && previous_id.replace(id) != Some(id) {
            shown.push_str(&format!("{id}:\n"));
        }
        shown.push_str(&if options.json { as_json(id, check) } else { as_line(check) });
    }
    let weak = checks.iter().filter(|(_, check)| check.verdict == ProbeVerdict::Weak).count();
    output::print(&shown)?;
    completed?;
    fail_if_any(checks.iter().map(|(_, check)| check))?;
    if !options.json {
        let note = if weak > 0 { format!(", {weak} weak") } else { String::new() };
        return output::print_result(&format!("{} checks passed{note}\n", checks.len() - weak));
    }
    Ok(ExitStatus::Success)
}

/// Tests whether the KMS or the command gives the signing key.
async fn check_signing_key(key: &ConfiguredKey) -> ProbeCheck {
    let property = match key.source() {
        KeySource::Service(KeyService::Command(_)) => "the command prints the signing key",
        _ => "KMS decrypts the signing key",
    };
    match key.open().await {
        Ok(opened) => ProbeCheck { answer: opened.id, ..ProbeCheck::new(property, Ok(())) },
        Err(why) => {
            ProbeCheck::new(property, Err((why.text, "the gateway does not start without this key".to_owned())))
        }
    }
}

fn as_json(id: &str, check: &ProbeCheck) -> String {
    let verdict = match check.verdict {
        ProbeVerdict::Holds => "pass",
        ProbeVerdict::Fails => "fail",
        ProbeVerdict::Weak => "warn",
    };
    let line = json!({"vault": id, "check": check.property, "verdict": verdict, "answer": check.answer, "remedy": check.remedy});
    format!("{line}\n")
}

/// Runs `vault policy`: prints one document, ready to apply. If the rules leave out accounts that are unknown on this
/// machine, the exit code is 1, unless `--account` names them.
pub(super) fn run_policy(common: &CommonArgs, options: &PolicyArgs) -> Result<ExitStatus, CommandError> {
    let ConfiguredVaults { mut vaults, mut accounts } = load_vaults(common, options.vault.as_deref())?;
    vaults.retain(|vault| vault.s3.is_some());
    let settings = match &vaults[..] {
        [] => return Err(NO_S3_VAULT.into()),
        [ConfiguredVault { s3: Some(settings), .. }] => settings,
        _ => {
            let why = format!("the configuration has several vaults in S3; give --vault: {}", vault_ids(&vaults));
            return Err(CommandError::Failed(why));
        }
    };
    accounts.names.extend(options.account.iter().cloned());
    let names: Vec<String> = accounts.names.iter().cloned().collect();
    let (policy, uncovered) = (AwsPolicies::new(settings), accounts.uncovered_warnings());
    let is_by_account = matches!(options.format, PolicyFormat::Lifecycle | PolicyFormat::Terraform);
    if is_by_account {
        output::print_notes("NOT COVERED", &uncovered);
        let coverage_note = |file: &String| {
            format!("the rules cover the accounts now in {file}: print and apply them again when an account is added")
        };
        output::print_notes("note", &accounts.tokens_files.iter().map(coverage_note).collect::<Vec<_>>());
    }
    let printed = print_policy(options, &policy, &names, &uncovered)?;
    if is_by_account && !uncovered.is_empty() && options.account.is_empty() {
        return Err(
            "rules are missing: run this command on the gateway's machine, or name the accounts with --account".into(),
        );
    }
    Ok(printed)
}

fn print_policy(
    options: &PolicyArgs,
    policy: &AwsPolicies<'_>,
    accounts: &[String],
    uncovered: &[String],
) -> Result<ExitStatus, CommandError> {
    let value = match options.format {
        PolicyFormat::Writer => policy.writer(),
        PolicyFormat::Auditor => policy.auditor(options.restore),
        PolicyFormat::Eraser => policy.eraser(DEFAULT_ERASER_WRITER),
        PolicyFormat::Opener => policy.opener(DEFAULT_OPENINGS_WRITER, options.restore),
        PolicyFormat::Bucket => policy.bucket(false),
        PolicyFormat::KeyBucket => policy.bucket(true),
        PolicyFormat::Lifecycle => policy.lifecycle(accounts),
        PolicyFormat::KeyLifecycle => policy.key_lifecycle(),
        PolicyFormat::Terraform => {
            let comments: String =
                uncovered.iter().map(|why| format!("# NOT COVERED: {}\n", escape_unsafe(why))).collect();
            return output::print_result(&(comments + &policy.terraform(accounts, options.restore)));
        }
    };
    output::print_result(&(serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"))
}

#[cfg(test)]
mod tests;
