//! `tollgate vault …`: the auditors' commands of the crate `audit`, and two for who runs a gateway's buckets. The
//! auditors' commands need no gateway; what they ask of its configuration is answered here.

use std::sync::Arc;

use clap::Subcommand;

use super::admin_address::resolve_admin_port;
use super::common::CommonArgs;
use super::config_loading::{FileCreation, load_config};
use super::doctor::{DoctorArgs, PolicyArgs, run_doctor, run_policy};
use super::redact::load_rules;
use crate::components::ProcessorSettings;
use audit::cli::{AuditCommand, GatewayConfig};
use command::admin_client::{AdminPort, AdminPortArgs};
use command::error::{CommandError, ExitStatus};
use redaction::Detector;
use vault::recipients::RecipientPolicy;

/// Subcommands of `vault`.
#[derive(Subcommand)]
pub(super) enum VaultCommand {
    #[command(flatten)]
    Audit(AuditCommand),
    /// Tests the permissions of the gateway's credentials on the configured buckets, and reports what is wrong.
    Doctor(DoctorArgs),
    /// Prints policies, lifecycle rules or Terraform for the configured buckets.
    Policy(PolicyArgs),
}

/// Runs a subcommand.
pub(super) fn run(common: &CommonArgs, command: VaultCommand) -> Result<ExitStatus, CommandError> {
    match command {
        VaultCommand::Audit(command) => Ok(audit::cli::run(common, command)),
        VaultCommand::Doctor(options) => run_doctor(common, &options),
        VaultCommand::Policy(options) => run_policy(common, &options),
    }
}

impl GatewayConfig for CommonArgs {
    fn admin_port(&self, options: &AdminPortArgs) -> Result<AdminPort, CommandError> {
        resolve_admin_port(options, self)
    }

    fn redaction_rules(&self) -> Result<Arc<Detector>, CommandError> {
        load_rules(self)
    }

    fn vault_recipients(&self) -> Result<Vec<(String, RecipientPolicy)>, CommandError> {
        let processors = load_config(self, FileCreation::Nothing)?.valid.processors;
        let vaults = processors.iter().filter_map(|placed| match &placed.value {
            ProcessorSettings::Vault(vault) if vault.store.is_some() => {
                Some((placed.id.to_string(), vault.recipients.clone()))
            }
            _ => None,
        });
        Ok(vaults.collect())
    }
}
