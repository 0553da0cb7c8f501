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
use crate::app::resolve::ValidSettings;
use audit::cli::{DEFAULT_ERASER_WRITER, DEFAULT_OPENINGS_WRITER};
use command::error::{CommandError, ExitStatus};
use command::output;
use command::runtime::block_on;
use config::ComponentId;
use kernel::key_source::{KeyService, KeySource};
use kernel::terminal::escape_unsafe;
use vault::policy::AwsPolicies;
use vault::store::probe::{ProbeCheck, ProbeScope, ProbeVerdict};

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
    fn from_settings(valid: &ValidSettings) -> Self {
        let mut accounts = Self::default();
        for receiver in valid.receivers.iter().filter_map(|placed| placed.value.ports()) {
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

/// A configuration with vaults that can be tested: all of them, or only the requested one.
fn load_vaults(common: &CommonArgs, only: Option<&str>) -> Result<ValidSettings, CommandError> {
    let mut valid = load_config(common, FileAccess::Read)?.valid;
    let known_ids = join_ids(vaults(&valid.processors).map(|(id, ..)| id));
    if known_ids.is_empty() {
        return Err(NO_VAULT.into());
    }
    if let Some(only) = only {
        valid.processors.retain(|placed| placed.id.to_string() == only);
        if vaults(&valid.processors).next().is_none() {
            let why = format!("--vault {only}: the configuration has no such vault with a store; it has {known_ids}");
            return Err(CommandError::Failed(why));
        }
    }
    Ok(valid)
}

fn join_ids<'i>(ids: impl Iterator<Item = &'i ComponentId>) -> String {
    ids.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Runs `vault doctor`.
pub(super) fn run_doctor(common: &CommonArgs, options: &DoctorArgs) -> Result<ExitStatus, CommandError> {
    let valid = load_vaults(common, options.vault.as_deref())?;
    let (accounts, keys) = (KnownAccounts::from_settings(&valid).names, configured_keys(&valid));
    let has_several = vaults(&valid.processors).count() > 1;
    let mut checks: Vec<(String, ProbeCheck)> = Vec::new();
    let completed = block_on(async {
        for (id, vault, store) in vaults(&valid.processors) {
            let shown = doctor_recipients::check_recipients(&vault.recipients, &accounts);
            checks.extend(shown.into_iter().map(|check| (id.to_string(), check)));
            // Its signing key, if a KMS or a command has it.
            let section = format!("processors.{id}");
            if let Some(key) = keys.iter().find(|key| key.section == section) {
                checks.push((id.to_string(), check_signing_key(key).await));
            }
            let probed = store.probe(ProbeScope::Permissions).await.map_err(|error| error.to_string())?;
            checks.extend(probed.into_iter().map(|check| (id.to_string(), check)));
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
    let valid = load_vaults(common, options.vault.as_deref())?;
    let in_s3 = vaults(&valid.processors).filter_map(|(id, _, store)| Some((id, store.profile().buckets?)));
    let settings = match in_s3.collect::<Vec<_>>().as_slice() {
        [] => return Err(NO_S3_VAULT.into()),
        [(_, settings)] => *settings,
        several => {
            let ids = join_ids(several.iter().map(|(id, _)| *id));
            return Err(CommandError::Failed(format!(
                "the configuration has several vaults in S3; give --vault: {ids}"
            )));
        }
    };
    let mut accounts = KnownAccounts::from_settings(&valid);
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
