//! `tollgate vault hold set|release|list`. `audit/hold` sets holds; the store enforces permissions.

use std::io::{self, Write as _};

use clap::{Args, Subcommand};

use super::public_keys::read_public_keys;
use super::vault_args::print_bytes;
use crate::cli::session_argument::parse_session_argument;
use crate::cli::store_access::StoreAccessArgs;
use crate::erase::{ContentTarget, TargetQuery, WritableVault};
use crate::hold::{apply_hold, list_notes};
use crate::read::Vault;
use command::error::{CommandError, ExitStatus};
use command::runtime::block_on;
use kernel::clock::{Clock, SystemClock};
use kernel::rng::SystemRng;
use kernel::terminal::{escape_unsafe, format_count};

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
        location: VaultLocationArgs,
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
    location: VaultLocationArgs,
}

/// Options that locate the vault.
#[derive(Args)]
pub struct VaultLocationArgs {
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: String,
    /// Bucket of the key objects, if it is another one.
    #[arg(long, value_name = "s3://BUCKET")]
    keys: Option<String>,
    #[command(flatten)]
    store_access: StoreAccessArgs,
}

/// Runs `vault hold`.
pub(super) fn run_hold(command: &HoldCommand) -> Result<ExitStatus, CommandError> {
    let (mut out, mut problems, mut is_complete) = (String::new(), Vec::new(), true);
    block_on(async {
        match command {
            HoldCommand::Set(options) => (out, problems) = change_hold(options, true).await?,
            HoldCommand::Release(options) => (out, problems) = change_hold(options, false).await?,
            HoldCommand::List { account, location } => {
                let vault =
                    Vault::from_location(&location.store_access.location(&location.store, location.keys.as_deref()))?;
                let notes = list_notes(&vault, account.as_deref()).await?;
                problems = notes.invalid;
                for hold in notes.in_force {
                    let line = format!(
                        "{}/{}/{}  since {}  {}: {}",
                        hold.account, hold.tenant, hold.session, hold.at, hold.by, hold.why
                    );
                    out.push_str(&(escape_unsafe(&line) + "\n"));
                }
            }
        }
        is_complete = problems.is_empty() || matches!(command, HoldCommand::List { .. });
        Ok(())
    })?;
    print_bytes(out.as_bytes())?;
    for why in &problems {
        // Stderr may be closed.
        drop(writeln!(io::stderr().lock(), "{}", escape_unsafe(why)));
    }
    Ok(if is_complete { ExitStatus::Success } else { ExitStatus::Failed })
}

async fn change_hold(options: &HoldArgs, sets: bool) -> Result<(String, Vec<String>), CommandError> {
    let mut account = options.account.clone();
    let target = match (&options.session, ContentTarget::of_users(&options.user)) {
        (Some(session), _) => {
            let (session, account_of_session) = parse_session_argument(session, account.as_deref());
            account = account_of_session;
            ContentTarget::Session(session)
        }
        (None, Some(users)) => users,
        (None, None) => return Err("pass a session or --user".into()),
    };
    let query = TargetQuery { target, account, tenant: options.tenant.clone() };
    let location = options.location.store_access.location(&options.location.store, options.location.keys.as_deref());
    let vault =
        WritableVault { keys: read_public_keys(&options.key)?, ..WritableVault::from_location(&location, None)? };
    let result = apply_hold(
        &vault,
        &query,
        sets,
        (&options.requested_by, &options.reason),
        SystemClock::new().now(),
        &SystemRng,
    )
    .await?;
    let verb = if sets { "held" } else { "released" };
    let mut out: String = result.sessions.iter().map(|session| escape_unsafe(session) + "\n").collect();
    out.push_str(&format!(
        "{} {verb}: {} by the store, {} by a note\n",
        format_count(result.sessions.len(), "session"),
        format_count(result.objects, "object"),
        result.note_only
    ));
    for why in &result.ignored_lines {
        drop(writeln!(io::stderr().lock(), "{}", escape_unsafe(why)));
    }
    let missed = |why: String| format!("not read, so packed objects may have been missed: {why}");
    Ok((out, result.unreadable.into_iter().map(missed).collect()))
}

#[cfg(test)]
mod tests;
