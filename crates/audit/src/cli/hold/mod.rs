//! `tollgate vault hold set|release|list`. `audit/hold` sets holds; the store enforces permissions: who sets a hold
//! needs a credential of the store, and the gateway has none.

use clap::{Args, Subcommand};

use super::erase::print_warning;
use super::public_keys::read_public_keys;
use super::vault_args::print_bytes;
use crate::cli::session_argument::parse_target;
use crate::erase::WritableVault;
use crate::hold::{apply_hold, list_notes};
use crate::read::{Vault, VaultLocation};
use command::error::{ExitStatus, Result};
use command::runtime::block_on;
use kernel::clock::{Clock, SystemClock};
use kernel::rng::SystemRng;
use kernel::terminal::{escape_unsafe, format_count};
use vault::hold_note::HoldNote;

/// Subcommands of `vault hold`.
#[derive(Subcommand)]
pub enum HoldCommand {
    /// Sets a legal hold on a session's payload and keys: they can't be deleted, erase refuses them, and sweeps keep
    /// them. Repeat it for a session that continues.
    Set(HoldArgs),
    /// Releases a legal hold.
    Release(HoldArgs),
    /// Lists the holds in force.
    List {
        /// Only this account.
        #[arg(long)]
        account: Option<String>,
        #[command(flatten)]
        location: VaultLocation,
    },
}

/// Options that select the content to hold.
#[derive(Args)]
pub struct HoldArgs {
    /// Session id as shown in spans and the index; `trace-ID` for records without a session.
    #[arg(required_unless_present = "user", conflicts_with = "user")]
    session: Option<String>,
    /// Every session of this user, by the pseudonym shown in spans; may be repeated, e.g. with the pseudonym of each
    /// epoch.
    #[arg(long, value_name = "h-…", requires = "key")]
    user: Vec<String>,
    /// Public key of the gateways' signer, or a file that contains it. The lines it signed determine the sessions of
    /// `--user`.
    #[arg(long, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// The person who does it: a role, or a name that may stay in the vault.
    #[arg(long)]
    requested_by: String,
    /// The reason: a case or a ticket.
    #[arg(long)]
    reason: String,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
    /// Only this tenant.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    location: VaultLocation,
}

/// Runs `vault hold`.
pub(super) fn run_hold(command: &HoldCommand) -> Result<ExitStatus> {
    let (out, problems) = block_on(async {
        match command {
            HoldCommand::Set(options) => change_hold(options, true).await,
            HoldCommand::Release(options) => change_hold(options, false).await,
            HoldCommand::List { account, location } => {
                let notes = list_notes(&Vault::from_location(location)?, account.as_deref()).await?;
                let lines = notes.in_force.iter().map(|HoldNote { account, tenant, session, at, by, why, .. }| {
                    escape_unsafe(&format!("{account}/{tenant}/{session}  since {at}  {by}: {why}")) + "\n"
                });
                Ok((lines.collect(), notes.invalid))
            }
        }
    })?;
    let is_complete = problems.is_empty() || matches!(command, HoldCommand::List { .. });
    print_bytes(out.as_bytes())?;
    problems.iter().for_each(|why| print_warning(why));
    Ok(if is_complete { ExitStatus::Success } else { ExitStatus::Failed })
}

async fn change_hold(options: &HoldArgs, sets: bool) -> Result<(String, Vec<String>)> {
    let HoldArgs { session, user, account, tenant, .. } = options;
    let query = parse_target(session.as_deref(), user, account.as_deref(), tenant.as_deref());
    let query = query.ok_or("pass a session or --user")?;
    let keys = read_public_keys(&options.key)?;
    let vault = WritableVault { keys, ..WritableVault::from_location(&options.location, None)? };
    let (reason, now) = ((&*options.requested_by, &*options.reason), SystemClock::new().now());
    let result = apply_hold(&vault, &query, sets, reason, now, &SystemRng).await?;
    let verb = if sets { "held" } else { "released" };
    let mut out: String = result.sessions.iter().map(|session| escape_unsafe(session) + "\n").collect();
    out.push_str(&format!(
        "{} {verb}: {} by the store, {} by a note\n",
        format_count(result.sessions.len(), "session"),
        format_count(result.objects, "object"),
        result.note_only
    ));
    result.ignored_lines.iter().for_each(|why| print_warning(why));
    let missed = |why: String| format!("not read, so packed objects may have been missed: {why}");
    Ok((out, result.unreadable.into_iter().map(missed).collect()))
}

#[cfg(test)]
mod tests;
