//! Can this configuration start? One list ([`CHECKS`]) answers, row by row; each row says what it needs. Every command
//! that loads a configuration runs the rows of the file; `validate` also those that read this machine's disk; a reload
//! also those that build what a start builds; and `check` those that write probe files or ask other machines. Only the
//! last kind creates or connects to anything, apart from the keys of a reload.
//!
//! Neighbours: `resolve` checks single settings; `cli/check` and `cli/inspect` show the results.

mod brokers;
mod clients;
mod disk;
pub(crate) mod finding;
mod keys;
mod machine;
mod tls_files;

use std::future::ready;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use crate::app::key_opening::{ConfiguredKey, configured_keys};
use crate::app::valid_settings::ValidSettings;
use crate::app::{budget_checks, kafka_loops, port_conflicts, sampling_checks, sender_identities, vault_recipients};
use config::{Problem, ProblemSeverity};
use finding::{FileContext, FileFinding, MachineContext, MachineFinding, MachineFindings};
use kernel::key_source::{KeyService, KeySource};
use vault::store::probe::ProbeCheck;

pub(crate) use tls_files::find_expiring_certificates;

#[cfg(test)]
mod tests;

struct StartCheck {
    /// What holds if the check finds nothing.
    name: &'static str,
    needs: CheckNeeds,
}

/// What a check needs, and how it runs.
enum CheckNeeds {
    /// The configuration alone.
    File(fn(&FileContext<'_>) -> Vec<FileFinding>),
    /// Files and folders of this machine, which are only read.
    Disk(fn(MachineContext<'_>, &mut MachineFindings<'_>)),
    /// As `Disk`, but `check` writes instead, which shows more.
    DiskUnlessTried(fn(MachineContext<'_>, &mut MachineFindings<'_>)),
    /// The clients and keys of a start; the result is the faults that prevent it. Runs if the disk has none.
    Start(for<'c> fn(MachineContext<'c>) -> BoxFuture<'c, Vec<String>>),
    /// Probe files, or answers of other machines.
    Network(for<'c> fn(MachineContext<'c>) -> BoxFuture<'c, Vec<ProbeCheck>>),
}

/// Remedy for faults that `check` finds by reading files.
const FILE_REMEDY: &str = "fix the file or its path in the configuration; `tollgate validate` shows the position";

macro_rules! checks {
    ($($name:literal, $needs:ident: $run:expr;)*) => {
        /// All checks, in the order in which `check` shows them. Of rows that only read, it shows only what is wrong.
        const CHECKS: &[StartCheck] = &[$(StartCheck { name: $name, needs: CheckNeeds::$needs($run) },)*];
    };
}

checks! {
    "each listener has a port of its own", File: port_conflicts::find_port_conflicts;
    "no setting is risky", File: disk::list_notes;
    "no vault is in the spool's folder", File: disk::find_shared_folders;
    "someone can open each account's content", File: vault_recipients::check_vault_recipients;
    "verified users are written to the items", File: sender_identities::check_identities;
    "samples wait until runs are evaluated", File: sampling_checks::check_waits;
    "budgets have one ledger", File: budget_checks::check_budgets;
    "no pipeline reads from Kafka what it writes", File: kafka_loops::find_kafka_loops;
    "the spool and the vaults can be written", Network: |context| Box::pin(ready(machine::check_volumes(context.valid)));
    "the spool's volume syncs fast", Network: |context| Box::pin(ready(machine::check_sync_speed(context.valid).into_iter().collect()));
    "TLS files can be used", Disk: tls_files::check_tls_files;
    "receivers can open sockets and know their clients", Disk: disk::check_receivers;
    "processors can be built", Disk: disk::check_processors;
    "vaults have their keys to sign with", Disk: disk::check_signing_keys;
    "exporters can write their files", Disk: disk::check_export_files;
    "the spool and the vaults have folders and room", DiskUnlessTried: disk::check_folders;
    "the gateway's keys are there", Disk: disk::check_key_files;
    "secrets are not open to others", Disk: disk::check_secret_files;
    "exporters send where they sent before", Disk: disk::check_destinations;
    "keys open", Start: |context| Box::pin(keys::open_service_keys(context.valid));
    "clients can be built", Start: |context| Box::pin(ready(clients::find_client_faults(context.valid)));
    "keys open, and are not too old", Network: |context| Box::pin(keys::check_keys(context));
    "stores take writes", Network: |context| Box::pin(machine::check_stores(context.valid));
    "the clock is right", Network: |context| Box::pin(machine::check_clocks(context.valid));
    "brokers have the topics and groups", Network: |context| Box::pin(brokers::check_brokers(context.valid));
    "back ends accept requests", Network: |context| Box::pin(clients::check_back_ends(context.valid));
}

/// The problems between the settings of several components.
pub(crate) fn find_file_problems(context: &FileContext<'_>) -> Vec<FileFinding> {
    let run = |check: &StartCheck| match check.needs {
        CheckNeeds::File(run) => run(context),
        _ => Vec::new(),
    };
    CHECKS.iter().flat_map(run).collect()
}

/// The problems of the files and folders that the configuration names, with positions in the file.
pub(crate) fn find_problems(context: MachineContext<'_>) -> Vec<Problem> {
    let mut orphans = MachineFindings::new(context.file);
    disk::warn_of_orphans(context, &mut orphans);
    let found = CHECKS.iter().flat_map(|check| run_on_disk(check, context)).chain(orphans.all);
    found.map(|finding| finding.problem).collect()
}

fn run_on_disk(check: &StartCheck, context: MachineContext<'_>) -> Vec<MachineFinding> {
    let mut findings = MachineFindings::new(context.file);
    if let CheckNeeds::Disk(run) | CheckNeeds::DiskUnlessTried(run) = check.needs {
        run(context, &mut findings);
        tracing::debug!(check = check.name, problems = findings.all.len(), "checked the configuration");
    }
    findings.all
}

/// The faults that would prevent a start while another configuration still runs, because once the running round has
/// ended, an unusable certificate, key or table leaves no gateway at all. What was read or opened is kept for the start
/// (`net/last_good`). Call this in a runtime, on a thread that may block.
pub(crate) fn find_start_faults(context: MachineContext<'_>) -> Vec<String> {
    let findings = CHECKS.iter().flat_map(|check| run_on_disk(check, context));
    let faults = findings.filter(|finding| finding.prevents_start);
    let describe = |problem: Problem| format!("{}: {}", problem.path, problem.message);
    let faults: Vec<String> = faults.map(|finding| describe(finding.problem)).collect();
    if !faults.is_empty() {
        return faults;
    }
    let run = |check: &StartCheck| match check.needs {
        CheckNeeds::Start(run) => Handle::current().block_on(run(context)),
        _ => Vec::new(),
    };
    CHECKS.iter().flat_map(run).collect()
}

/// Whether [`find_start_faults`] asks a KMS or runs a command, which costs too much for `--watch` each second.
pub(crate) fn needs_network(valid: &ValidSettings) -> bool {
    configured_keys(valid).iter().any(ConfiguredKey::needs_service)
}

/// Tries everything that can be tried, for `tollgate check`.
pub(crate) async fn try_all(context: MachineContext<'_>) -> Vec<ProbeCheck> {
    let mut results = Vec::new();
    for check in CHECKS {
        let findings = match check.needs {
            CheckNeeds::Disk(_) => run_on_disk(check, context),
            CheckNeeds::Network(run) => {
                results.extend(run(context).await);
                continue;
            }
            _ => continue,
        };
        let problems = findings.into_iter().map(|finding| finding.problem);
        let errors = problems.filter(|problem| problem.severity == ProblemSeverity::Error);
        results.extend(errors.map(|problem| {
            let failure = (problem.message, FILE_REMEDY.to_owned());
            ProbeCheck::new(format!("`{}` is usable", problem.path), Err(failure))
        }));
    }
    results
}

/// Checks that need a connection and were therefore not made, one line each.
pub(crate) fn list_skipped_checks(valid: &ValidSettings) -> Vec<String> {
    let keys = configured_keys(valid).into_iter().filter(ConfiguredKey::needs_service);
    let line = |key: ConfiguredKey| {
        let skipped = match key.source() {
            KeySource::Service(KeyService::Command(_)) => "its command was not run",
            KeySource::Unknown => "it is on another machine",
            _ => "decryption by KMS was not tried",
        };
        format!("{}: {skipped}; `tollgate check` tries it", key.path())
    };
    keys.map(line).collect()
}
