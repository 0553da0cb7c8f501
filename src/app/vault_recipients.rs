//! Compares the recipients of vaults with the accounts whose content they get. A configuration that would take content
//! that nobody could open is refused. Neighbours: `processors::vault` checks each vault's own block, `cli/doctor` shows
//! who can open what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::configured_component::{ConfiguredComponent, vaults};
use super::start_checks::finding::{FileContext, FileFinding};
use crate::components::ReceiverSettings;
use config::file::PipelineConfig;
use config::{ComponentId, ProblemSeverity};
use processors::vault::VaultSettings;

/// Most accounts that one message lists.
const MAX_LISTED_ACCOUNTS: usize = 20;

/// The accounts of the receivers that feed a vault.
#[derive(Default)]
struct FedAccounts {
    /// The accounts that the configuration names.
    known: BTreeSet<Arc<str>>,
    /// Why others may appear while the gateway runs.
    open_because: Option<&'static str>,
}

/// Checks every vault with a store that a pipeline names.
pub(super) fn check_vault_recipients(context: &FileContext<'_>) -> Vec<FileFinding> {
    let accounts = |id| accounts_of_vault(id, &context.valid.pipelines, &context.valid.receivers);
    vaults(&context.valid.processors).flat_map(|(id, vault, _)| check_vault(id, vault, &accounts(id))).collect()
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

fn check_vault(id: &ComponentId, vault: &VaultSettings, accounts: &FedAccounts) -> Vec<FileFinding> {
    let (mut found, policy) = (Vec::new(), &vault.recipients);
    let uncovered: Vec<&str> =
        accounts.known.iter().map(|account| &**account).filter(|account| !policy.covers(account)).collect();
    if !uncovered.is_empty() {
        let message = format!(
            "content of {} could be opened by nobody: add a recipient with `accounts: [{}]`, or one without limits",
            list_names(&uncovered),
            uncovered.first().unwrap_or(&"…")
        );
        found.push(FileFinding::error("processors", id, "recipients", message));
    }
    let doubt = match accounts.open_because {
        Some(why) if !policy.covers_every_account() => Some(format!(
            "{why}: requests of an account without a recipient are refused and retried; add a recipient without \
             limits, or one for each account before its first request"
        )),
        Some(_) => None,
        None => unknown_accounts(vault, accounts),
    };
    let warning = |doubt| FileFinding::error("processors", id, "recipients", doubt);
    found.extend(doubt.map(|doubt| FileFinding { severity: ProblemSeverity::Warning, ..warning(doubt) }));
    found
}

/// Accounts that recipients name and no receiver has: perhaps misspelt.
fn unknown_accounts(vault: &VaultSettings, accounts: &FedAccounts) -> Option<String> {
    let named = vault.recipients.recipients.iter().flat_map(|recipient| recipient.accounts.iter().flatten());
    let unknown: BTreeSet<&str> =
        named.map(String::as_str).filter(|account| !accounts.known.contains(*account)).collect();
    (!unknown.is_empty()).then(|| {
        let unknown: Vec<&str> = unknown.into_iter().collect();
        let known: Vec<&str> = accounts.known.iter().map(|account| &**account).collect();
        format!("no receiver has {}; known accounts: {}", list_names(&unknown), list_names(&known))
    })
}

fn list_names(names: &[&str]) -> String {
    let shown = names.iter().take(MAX_LISTED_ACCOUNTS).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_LISTED_ACCOUNTS) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
