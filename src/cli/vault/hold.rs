//! `tollgate vault hold set|release|list`. The work is in `audit/hold`; the store enforces permissions.

use std::io::{self, Write as _};

use clap::{Args, Subcommand};

use super::super::error::{CommandError, Exit};
use super::super::listed::listed;
use super::super::reach::Reach;
use super::super::runtime::block_on;
use super::keys::public_keys;
use super::source::print;
use audit::erase::{Asked, Place, Target};
use audit::hold::{hold, notes};
use audit::read::Vault;
use kernel::clock::{Clock, SystemClock};
use kernel::rng::SystemRng;
use kernel::terminal::{clean, counted};

/// Subcommands of `vault hold`.
#[derive(Subcommand)]
pub(crate) enum Hold {
    /// Sets a legal hold on a session's payload and keys: they can't be deleted, erase refuses them, and sweeps keep
    /// them. Repeat it for a session that continues.
    Set(Touch),
    /// Releases a legal hold.
    Release(Touch),
    /// Lists the holds in force.
    List {
        /// Only this account.
        #[arg(long)]
        account: Option<String>,
        #[command(flatten)]
        at: At,
    },
}

/// Options that select the content to hold.
#[derive(Args)]
pub(crate) struct Touch {
    /// Session id as shown in spans and the index; `trace-ID` for records without a session.
    #[arg(required_unless_present = "user", conflicts_with = "user")]
    session: Option<String>,
    /// Every session of this user, by the pseudonym shown in spans.
    #[arg(long, value_name = "h-…", requires = "key")]
    user: Option<String>,
    /// Public key of the gateways' signer, or a file that contains it. The lines it signed determine the sessions of
    /// `--user`.
    #[arg(long, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// The person who does it: a role, or a name that may stay in the vault.
    #[arg(long)]
    who: String,
    /// The reason: a case or a ticket.
    #[arg(long)]
    why: String,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
    /// Only this tenant.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    at: At,
}

/// Options that locate the vault.
#[derive(Args)]
pub(crate) struct At {
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: String,
    /// Bucket of the key objects, if it is another one.
    #[arg(long, value_name = "s3://BUCKET")]
    keys: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Runs `vault hold`.
pub(super) fn run_hold(command: &Hold) -> Result<Exit, CommandError> {
    let (mut out, mut strange, mut whole) = (String::new(), Vec::new(), true);
    block_on(async {
        match command {
            Hold::Set(touch) => (out, strange) = touched(touch, true).await?,
            Hold::Release(touch) => (out, strange) = touched(touch, false).await?,
            Hold::List { account, at } => {
                let vault = Vault::at(&at.reach.location(&at.store, at.keys.as_deref()))?;
                let notes = notes(&vault, account.as_deref()).await?;
                strange = notes.strange;
                for hold in notes.in_force {
                    let line = format!(
                        "{}/{}/{}  since {}  {}: {}",
                        hold.account, hold.tenant, hold.session, hold.at, hold.by, hold.why
                    );
                    out.push_str(&(clean(&line) + "\n"));
                }
            }
        }
        whole = strange.is_empty() || matches!(command, Hold::List { .. });
        Ok(())
    })?;
    print(out.as_bytes())?;
    for why in &strange {
        // Stderr may be closed.
        drop(writeln!(io::stderr().lock(), "{}", clean(why)));
    }
    Ok(if whole { Exit::Fine } else { Exit::Failed })
}

async fn touched(touch: &Touch, set: bool) -> Result<(String, Vec<String>), CommandError> {
    let mut account = touch.account.clone();
    let what = match (&touch.session, &touch.user) {
        (Some(session), _) => {
            let (session, of) = listed(session, account.as_deref());
            account = of;
            Target::Session(session)
        }
        (None, Some(user)) => Target::User(user.clone()),
        (None, None) => return Err("give a session, or --user".into()),
    };
    let asked = Asked { what, account, tenant: touch.tenant.clone() };
    let location = touch.at.reach.location(&touch.at.store, touch.at.keys.as_deref());
    let place = Place { keys: public_keys(&touch.key)?, ..Place::at(&location, None)? };
    let done = hold(&place, &asked, set, (&touch.who, &touch.why), SystemClock::new().now(), &SystemRng).await?;
    let word = if set { "held" } else { "released" };
    let mut out: String = done.sessions.iter().map(|session| clean(session) + "\n").collect();
    out.push_str(&format!(
        "{} {word}: {} by the store, {} by a note\n",
        counted(done.sessions.len(), "session"),
        counted(done.objects, "object"),
        done.noted
    ));
    for why in &done.left_out {
        drop(writeln!(io::stderr().lock(), "{}", clean(why)));
    }
    let missed = |why: String| format!("not read, so that packed objects may have been missed: {why}");
    Ok((out, done.closed.into_iter().map(missed).collect()))
}

#[cfg(test)]
mod tests;
