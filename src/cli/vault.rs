//! `tollgate vault …`: the auditors' commands of the crate `audit`, and two for who runs a gateway's buckets. The
//! auditors' commands need no gateway; what they ask of its configuration is answered here.

use std::sync::Arc;

use clap::{Command, Subcommand};

use super::admin_address::resolve_admin_port;
use super::common::CommonArgs;
use super::config_loading::{FileAccess, load_config};
use super::doctor::{DoctorArgs, PolicyArgs, run_doctor, run_policy};
use super::redact::load_rules;
use crate::app::configured_component::vaults;
use audit::cli::{AuditCommand, GatewayConfig};
use command::admin_client::{AdminPort, AdminPortArgs};
use command::error::{CommandError, ExitStatus};
use redaction::Detector;
use vault::recipients::RecipientPolicy;

/// Subcommands of `vault`.
#[derive(Subcommand)]
pub(super) enum VaultCommand {
    #[command(flatten)]
    Audit(Box<AuditCommand>),
    /// Tests the permissions of the gateway's credentials on the configured buckets, and reports what is wrong.
    Doctor(DoctorArgs),
    /// Prints policies, lifecycle rules or Terraform for the configured buckets.
    Policy(PolicyArgs),
}

/// The headings of `vault --help`, and the subcommands below them.
pub(super) const HEADINGS: [(&str, &[&str]); 3] = [
    ("Read", &["find", "get", "replay", "diff", "export", "serve", "compact", "schema"]),
    ("Prove", &["verify", "anchor", "evidence", "open-request", "approve", "share", "combine", "openings"]),
    ("Manage", &["keygen", "rewrap", "erase", "hold", "doctor", "policy"]),
];

/// Puts the subcommands in the help of `vault` below headings, which clap has for options only.
pub(super) fn group_subcommands(vault: Command) -> Command {
    let mut groups = String::new();
    for (heading, names) in HEADINGS {
        groups += &format!("{heading}:\n");
        for name in names {
            let about = vault.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string);
            groups += &format!("  {name:<14}{}\n", about.unwrap_or_default());
        }
        groups.push('\n');
    }
    vault.help_template(format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}Options:\n{{options}}"))
}

/// Runs a subcommand.
pub(super) fn run(common: &CommonArgs, command: VaultCommand) -> Result<ExitStatus, CommandError> {
    match command {
        VaultCommand::Audit(command) => Ok(audit::cli::run(common, *command)),
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
        let processors = load_config(self, FileAccess::Read)?.valid.processors;
        Ok(vaults(&processors).map(|(id, vault, _)| (id.to_string(), vault.recipients.clone())).collect())
    }
}
