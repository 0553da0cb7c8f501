//! Compares the recipients of vaults with the accounts whose content they get. A configuration that would take content
//! that nobody could open is refused. Neighbours: `processors::vault` checks each vault's own block, `cli/doctor` shows
//! who can open what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::configured_component::ConfiguredComponent;
use crate::components::{ProcessorSettings, ReceiverSettings};
use config::file::PipelineConfig;
use config::{ComponentId, FieldProblem};
use processors::vault::VaultSettings;

/// Most accounts that one message lists.
const MAX_LISTED_ACCOUNTS: usize = 20;

/// What is wrong with the recipients of one vault.
pub(super) struct RecipientProblems {
    /// The vault.
    pub id: ComponentId,
    /// Faults: content that nobody could open.
    pub errors: Vec<FieldProblem>,
    /// Valid, but perhaps not meant.
    pub warnings: Vec<FieldProblem>,
}

/// The accounts of the receivers that feed a vault.
#[derive(Default)]
struct FedAccounts {
    /// The accounts that the configuration names.
    known: BTreeSet<Arc<str>>,
    /// Why others may appear while the gateway runs.
    open_because: Option<&'static str>,
}

/// Checks every vault with a store that a pipeline names.
pub(super) fn check_vault_recipients(
    pipelines: &[PipelineConfig],
    receivers: &[ConfiguredComponent<ReceiverSettings>],
    processors: &[ConfiguredComponent<ProcessorSettings>],
) -> Vec<RecipientProblems> {
    let vaults = processors.iter().filter_map(|component| match &component.value {
        ProcessorSettings::Vault(vault) if vault.store.is_some() => Some((&component.id, vault)),
        _ => None,
    });
    let checked = vaults.map(|(id, vault)| check_vault(id, vault, &accounts_of_vault(id, pipelines, receivers)));
    checked.filter(|found| !found.errors.is_empty() || !found.warnings.is_empty()).collect()
}

fn accounts_of_vault(
    id: &ComponentId,
    pipelines: &[PipelineConfig],
    receivers: &[ConfiguredComponent<ReceiverSettings>],
) -> FedAccounts {
    let receivers: BTreeMap<&ComponentId, &ReceiverSettings> =
        receivers.iter().map(|component| (&component.id, &component.value)).collect();
    let mut accounts = FedAccounts::default();
    let feeding = pipelines.iter().filter(|pipeline| pipeline.processors.iter().any(|(step, _)| step == id));
    for (receiver, _) in feeding.flat_map(|pipeline| &pipeline.receivers) {
        // a connector, whose items have no content; an invalid receiver is reported itself
        let Some(settings) = receivers.get(receiver) else { continue };
        match settings.ports() {
            Some(ports) => {
                accounts.known.extend(ports.accounts());
                if ports.tokens_file().is_some() {
                    accounts.open_because = Some("`auth.tokens_file` may name other accounts");
                }
            }
            None => accounts.open_because = Some("records of Kafka carry the accounts of the edges"),
        }
    }
    accounts
}

fn check_vault(id: &ComponentId, vault: &VaultSettings, accounts: &FedAccounts) -> RecipientProblems {
    let mut found = RecipientProblems { id: id.clone(), errors: Vec::new(), warnings: Vec::new() };
    let policy = &vault.recipients;
    let uncovered: Vec<&str> =
        accounts.known.iter().map(|account| &**account).filter(|account| !policy.covers(account)).collect();
    if !uncovered.is_empty() {
        let message = format!(
            "content of {} could be opened by nobody: add a recipient with `accounts: [{}]`, or one without limits",
            list_names(&uncovered),
            uncovered.first().unwrap_or(&"…")
        );
        found.errors.push(FieldProblem::new("recipients", message));
    }
    match accounts.open_because {
        Some(why) if !policy.covers_every_account() => {
            let message = format!(
                "{why}: requests of an account without a recipient are refused and retried; add a recipient without \
                 limits, or one for each account before its first request"
            );
            found.warnings.push(FieldProblem::new("recipients", message));
        }
        Some(_) => {}
        None => found.warnings.extend(unknown_accounts(vault, accounts)),
    }
    found
}

/// Accounts that recipients name and no receiver has: perhaps misspelt.
fn unknown_accounts(vault: &VaultSettings, accounts: &FedAccounts) -> Option<FieldProblem> {
    let named = vault.recipients.recipients().iter().flat_map(|recipient| recipient.accounts.iter().flatten());
    let unknown: BTreeSet<&str> =
        named.map(String::as_str).filter(|account| !accounts.known.contains(*account)).collect();
    (!unknown.is_empty()).then(|| {
        let unknown: Vec<&str> = unknown.into_iter().collect();
        let known: Vec<&str> = accounts.known.iter().map(|account| &**account).collect();
        let message = format!("no receiver has {}; known accounts: {}", list_names(&unknown), list_names(&known));
        FieldProblem::new("recipients", message)
    })
}

fn list_names(names: &[&str]) -> String {
    let shown = names.iter().take(MAX_LISTED_ACCOUNTS).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_LISTED_ACCOUNTS) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
