//! `tollgate vault doctor` tests the gateway's permissions on its buckets and KMS; `vault policy` prints the policies
//! to apply. `doctor` writes only probe objects of its own, and exits with 1 if a check fails. The checks are in
//! `vault/store/probe`, the policies in `vault/policy`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::common::Common;
use super::error::{CommandError, Exit};
use super::output::{self, colour_out};
use super::runtime::block_on;
use super::source::{Make, load};
use super::vault::erase::ERASER;
use crate::app::keys;
use crate::app::resolve::Placed;
use crate::components::{ProcessorSettings, ReceiverSettings};
use kernel::clock::{Clock, SystemClock};
use kernel::rng::{Rng, SystemRng};
use kernel::terminal::clean;
use receivers::otlp;
use vault::kms::SealedKey;
use vault::policy::Policy;
use vault::store::S3Store;
use vault::store::probe::{Check, Verdict, probe};
use vault::store::settings::S3Settings;

const NO_S3: &str = "the configuration has no vault in S3";

/// Options of `vault doctor`.
#[derive(Args)]
pub(super) struct Doctor {
    /// Prints one JSON object per check.
    #[arg(long)]
    json: bool,
    /// Tests only this vault of the configuration (`vault`, `vault/eu`).
    #[arg(long, value_name = "ID")]
    vault: Option<String>,
}

/// Documents that `vault policy` prints.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Print {
    /// IAM policy of the gateway.
    Writer,
    /// IAM policy of auditors.
    Auditor,
    /// IAM policy of those who run `vault erase` with the writer name `eraser`.
    Eraser,
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
pub(super) struct PolicyOptions {
    /// The document to print.
    #[arg(long, value_enum, default_value = "writer")]
    format: Print,
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
struct Vaults {
    all: Vec<Vault>,
    accounts: Accounts,
}

/// One vault.
struct Vault {
    id: String,
    s3: Option<S3Settings>,
    /// Its signing key, if that is encrypted with KMS.
    sealed: Option<(PathBuf, SealedKey)>,
}

/// The accounts that may send, as far as this machine knows them.
#[derive(Default)]
struct Accounts {
    /// Accounts of the configuration and of readable tokens files.
    names: BTreeSet<String>,
    /// Tokens files that were read; they may name more accounts later.
    files: Vec<String>,
    /// Why accounts may be missing.
    unknown: Vec<String>,
}

impl Accounts {
    fn of<'s>(receivers: impl Iterator<Item = &'s otlp::Settings>) -> Self {
        let mut all = Self::default();
        for receiver in receivers {
            all.names.extend(receiver.accounts().iter().map(ToString::to_string));
            match receiver.accounts_of_file() {
                Ok(names) => {
                    all.names.extend(names.iter().map(ToString::to_string));
                    all.files.extend(receiver.tokens_file().map(|path| path.display().to_string()));
                }
                Err(why) => all.unknown.push(why.to_string()),
            }
        }
        all
    }

    /// A warning for each reason that accounts may lack a rule.
    fn uncovered(&self) -> Vec<String> {
        let line = |why: &String| {
            format!(
                "{why}: accounts that only this file names have no rule, and their payload is never moved nor expires"
            )
        };
        self.unknown.iter().map(line).collect()
    }
}

/// All vaults that can be tested, or only the requested one.
fn vaults(common: &Common, only: Option<&str>) -> Result<Vaults, CommandError> {
    let valid = load(common, Make::Nothing)?.valid;
    let of = |placed: &Placed<ProcessorSettings>| {
        let ProcessorSettings::Vault(vault) = &placed.what else { return None };
        let s3 = vault.store.as_ref()?.spec().buckets().cloned();
        let sealed = vault.sealed_key().map(|(path, sealed)| (path.to_owned(), sealed.clone()));
        (s3.is_some() || sealed.is_some()).then(|| Vault { id: placed.id.to_string(), s3, sealed })
    };
    let mut all: Vec<_> = valid.processors.iter().filter_map(of).collect();
    if all.is_empty() {
        return Err(NO_S3.into());
    }
    if let Some(only) = only {
        let there = names(&all);
        all.retain(|vault| vault.id == only);
        if all.is_empty() {
            let why = format!("--vault {only}: the configuration has no such vault in S3, but {there}");
            return Err(CommandError::Failed(why));
        }
    }
    let accounts = Accounts::of(valid.receivers.iter().map(|placed| {
        let ReceiverSettings::Otlp(otlp) = &placed.what;
        otlp
    }));
    Ok(Vaults { all, accounts })
}

fn names(vaults: &[Vault]) -> String {
    vaults.iter().map(|vault| vault.id.as_str()).collect::<Vec<_>>().join(", ")
}

/// Runs `vault doctor`.
pub(super) fn run_doctor(common: &Common, options: &Doctor) -> Result<Exit, CommandError> {
    let vaults = vaults(common, options.vault.as_deref())?;
    let several = vaults.all.len() > 1;
    let mut checks: Vec<(String, Check)> = Vec::new();
    let tried = block_on(async {
        for Vault { id, s3, sealed } in vaults.all {
            if let Some((path, sealed)) = &sealed {
                checks.push((id.clone(), key(path, sealed).await));
            }
            let Some(settings) = s3 else { continue };
            let name = kernel::hex::encode(&SystemRng.id());
            let store = S3Store::new(settings);
            let found = probe(&store, &name, SystemClock::new().now()).await.map_err(|error| error.to_string())?;
            checks.extend(found.into_iter().map(|check| (id.clone(), check)));
        }
        Ok(())
    });
    let mut shown = String::new();
    let mut before = None;
    for (id, check) in &checks {
        if several && !options.json && before.replace(id) != Some(id) {
            shown.push_str(&format!("{id}:\n"));
        }
        shown.push_str(&if options.json { as_json(id, check) } else { as_line(check) });
    }
    let failed = checks.iter().filter(|(_, check)| check.verdict == Verdict::Fails).count();
    let weak = checks.iter().filter(|(_, check)| check.verdict == Verdict::Weak).count();
    output::print(&shown)?;
    tried?;
    if failed > 0 {
        return Err(CommandError::Failed(format!("{failed} of {} checks failed", checks.len())));
    }
    if !options.json {
        let note = if weak > 0 { format!(", {weak} weak") } else { String::new() };
        return output::out(&format!("{} checks hold{note}\n", checks.len() - weak));
    }
    Ok(Exit::Fine)
}

/// Tests whether KMS decrypts the signing key.
async fn key(path: &Path, sealed: &SealedKey) -> Check {
    let what = "KMS opens the signing key".to_owned();
    match keys::opened(path, sealed).await {
        Ok(key) => Check { what, verdict: Verdict::Holds, answer: key.public().to_string(), remedy: String::new() },
        Err(error) => {
            let remedy = "the gateway does not start without it; look at `signing_key_kms`".to_owned();
            Check { what, verdict: Verdict::Fails, answer: error.text, remedy }
        }
    }
}

fn as_json(id: &str, check: &Check) -> String {
    let verdict = match check.verdict {
        Verdict::Holds => "holds",
        Verdict::Fails => "fails",
        Verdict::Weak => "weak",
    };
    let line =
        json!({"vault": id, "check": check.what, "verdict": verdict, "answer": check.answer, "remedy": check.remedy});
    format!("{line}\n")
}

fn as_line(check: &Check) -> String {
    let (mark, colour) = match check.verdict {
        Verdict::Holds => ("√", "32"),
        Verdict::Fails => ("×", "31"),
        Verdict::Weak => ("!", "33"),
    };
    let mark = if colour_out() { format!("\u{1b}[{colour}m{mark}\u{1b}[0m") } else { mark.to_owned() };
    let remedy = if check.remedy.is_empty() { String::new() } else { format!("    {}\n", check.remedy) };
    format!("{mark} {}  ({})\n{remedy}", check.what, check.answer)
}

/// Runs `vault policy`: prints one document, ready to apply. If the rules leave out accounts that are unknown on this
/// machine, the exit code is 1, unless `--account` names them.
pub(super) fn run_policy(common: &Common, options: &PolicyOptions) -> Result<Exit, CommandError> {
    let Vaults { mut all, mut accounts } = vaults(common, options.vault.as_deref())?;
    all.retain(|vault| vault.s3.is_some());
    let settings = match &all[..] {
        [] => return Err(NO_S3.into()),
        [Vault { s3: Some(settings), .. }] => settings,
        _ => {
            let why = format!("the configuration has several vaults in S3; give --vault: {}", names(&all));
            return Err(CommandError::Failed(why));
        }
    };
    accounts.names.extend(options.account.iter().cloned());
    let names: Vec<String> = accounts.names.iter().cloned().collect();
    let (policy, uncovered) = (Policy::new(settings), accounts.uncovered());
    let by_account = matches!(options.format, Print::Lifecycle | Print::Terraform);
    if by_account {
        output::tell("NOT COVERED", &uncovered);
        let later = |file: &String| {
            format!("accounts of {file} are as it stands now: print and apply this again when it gets another")
        };
        output::tell("note", &accounts.files.iter().map(later).collect::<Vec<_>>());
    }
    let printed = print_policy(options, &policy, &names, &uncovered)?;
    if by_account && !uncovered.is_empty() && options.account.is_empty() {
        return Err("rules are missing: run this where the gateway runs, or name the accounts (--account)".into());
    }
    Ok(printed)
}

fn print_policy(
    options: &PolicyOptions,
    policy: &Policy<'_>,
    accounts: &[String],
    uncovered: &[String],
) -> Result<Exit, CommandError> {
    let value = match options.format {
        Print::Writer => policy.writer(),
        Print::Auditor => policy.auditor(options.restore),
        Print::Eraser => policy.eraser(ERASER),
        Print::Bucket => policy.bucket(false),
        Print::KeyBucket => policy.bucket(true),
        Print::Lifecycle => policy.lifecycle(accounts),
        Print::KeyLifecycle => policy.key_lifecycle(),
        Print::Terraform => {
            let not: String = uncovered.iter().map(|why| format!("# NOT COVERED: {}\n", clean(why))).collect();
            return output::out(&(not + &policy.terraform(accounts, options.restore)));
        }
    };
    output::out(&(serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"))
}

#[cfg(test)]
mod tests;
