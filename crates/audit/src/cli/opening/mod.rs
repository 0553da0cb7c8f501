//! `tollgate vault open-request`, `vault approve` and `vault openings`: two people sign why a session is opened, and
//! the chain of openings shows it. Keys that several auditors open together are opened only for such a request
//! ([`OpeningArgs`]). The work is in `audit/openings`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use age::x25519::Identity;
use clap::Args;

use super::erase::{check_public_text, parse_validity, quote, read_signing_key, sign_request, warn_if_unlocked};
use super::public_keys::{read_public_keys_of_option, read_text_file};
use super::vault_args::VaultArgs;
use crate::cli::session_argument::parse_session_argument;
use crate::folders::KeySelection;
use crate::ledger::{Ledger, LedgerSigner};
use crate::location::WritableVault;
use crate::openings::{OpeningRequest, find_repeated_uses, list_openings, record_opening};
use crate::read::{StoreAccessArgs, Vault};
use crate::signed_index::SignedIndex;
use crate::signed_request::{self, SignedRequest as _};
use command::error::{CommandError, ExitStatus, Result};
use command::output;
use command::runtime::block_on;
use kernel::clock::{Clock, SystemClock};
use kernel::files;
use kernel::rng::{Rng, SystemRng};
use kernel::terminal::{escape_json, escape_unsafe};
use vault::object_names::rfc3339;

/// Default name of the writer whose chain records openings.
pub const DEFAULT_OPENINGS_WRITER: &str = "openings";

/// Options of `vault open-request`.
#[derive(Args)]
pub struct OpenRequestArgs {
    /// Session id as shown in spans and the index; `trace-ID` for records without a session.
    session: String,
    /// The session's account [default: `default`].
    #[arg(long)]
    account: Option<String>,
    /// The reason: a ticket or a sentence. It stays in the vault.
    #[arg(long)]
    reason: String,
    /// How long the session can be opened, at most `30d`.
    #[arg(long, default_value = "7d", value_name = "TIME", value_parser = parse_validity)]
    valid: Duration,
    /// Your own signing key (`vault keygen --signing --name alice`).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The vault, as `--store` of the commands that open it names it: a folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: String,
    /// The file for the new request.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

/// Options of `vault approve`.
#[derive(Args)]
pub struct ApproveArgs {
    /// The request's file, which gets your signature.
    request: PathBuf,
    /// Your own signing key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Signs without asking for confirmation. Required where there is no terminal.
    #[arg(long)]
    yes: bool,
}

/// Options of `vault openings`.
#[derive(Args)]
pub struct OpeningsArgs {
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: String,
    /// Public key of the signer of the chain of openings, or a file that contains it.
    #[arg(long, value_name = "KEY|FILE", required = true)]
    key: Vec<String>,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
    /// Prints the index lines as JSON, with the signed requests.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store_access: StoreAccessArgs,
}

/// Options that record an opening by request.
#[derive(Args)]
pub(crate) struct OpeningArgs {
    /// Public keys of all who may sign requests, or a file that contains them.
    #[arg(long, value_name = "KEY|FILE")]
    openers: Vec<String>,
    /// The key that signs the chain of openings (`vault keygen --signing`): not a gateway's, nor an opener's. `vault
    /// verify` and `vault openings` need its public key.
    #[arg(long, value_name = "FILE")]
    sign_with: Option<PathBuf>,
    /// Public key that signed the chain of openings before `--sign-with`, or a file that contains it.
    #[arg(long, value_name = "KEY|FILE")]
    earlier_key: Vec<String>,
    /// Name of the writer whose chain records openings; not a gateway's, and not that of erasures or copies.
    #[arg(long, default_value = DEFAULT_OPENINGS_WRITER)]
    writer: String,
    /// Locks the record of the opening for this many days (COMPLIANCE) [default: the bucket's default].
    #[arg(long, value_name = "DAYS")]
    lock_days: Option<u32>,
}

/// Requests for sessions whose keys several auditors open together.
#[derive(Args)]
pub(crate) struct RequestedOpenings {
    /// Request with two signatures (`vault open-request`, `vault approve`): for a session that several auditors open
    /// together, if you have enough of their keys here; with `serve --developers`, also to show a session's items
    /// unmasked. May be repeated. The opening is recorded in the vault.
    #[arg(long, value_name = "FILE", requires_all = ["openers", "sign_with"])]
    request: Vec<PathBuf>,
    #[command(flatten)]
    opening: OpeningArgs,
}

impl RequestedOpenings {
    /// Records the openings, and returns which keys they permit to open, and until when (RFC 3339).
    ///
    /// # Errors
    /// As for [`OpeningArgs::record`].
    pub(crate) async fn record(&self, vault: &VaultArgs, auditors: &[Identity]) -> Result<Vec<PermittedOpening>> {
        let mut permitted = Vec::new();
        for request in &self.request {
            permitted.push(self.opening.record(request, vault, auditors).await?);
        }
        Ok(permitted)
    }

    /// Checks that the requests are for this session, before [`Self::record`] uses them up.
    ///
    /// # Errors
    /// A request can't be read, or is for another session.
    pub(crate) fn check_session(&self, session: &str, account: Option<&str>) -> Result<()> {
        for path in &self.request {
            let request = parse_request(path, &read_text_file(path)?)?;
            if request.open_session != session || account.is_some_and(|account| account != request.account) {
                return Err(CommandError::Failed(format!(
                    "{} is for another session, {} of account {}: nothing was opened, and the request was not used",
                    path.display(),
                    quote(&request.open_session),
                    quote(&request.account)
                )));
            }
        }
        Ok(())
    }
}

/// What a recorded request permits.
#[derive(Clone)]
pub(crate) struct PermittedOpening {
    pub(crate) keys: KeySelection,
    /// The request's expiry.
    pub(crate) expires: String,
    /// The request's reason.
    pub(crate) why: String,
    /// Those who signed the request.
    pub(crate) signers: Vec<String>,
}

impl PermittedOpening {
    pub(crate) fn now(permitted: &[Self]) -> Vec<KeySelection> {
        Self::unexpired(permitted).map(|one| one.keys.clone()).collect()
    }

    /// The opening that permits this session now.
    pub(crate) fn find<'p>(permitted: &'p [Self], session: &str, account: &str) -> Option<&'p Self> {
        let is_for =
            |one: &&Self| (one.keys.session.as_deref(), one.keys.account.as_deref()) == (Some(session), Some(account));
        Self::unexpired(permitted).find(is_for)
    }

    fn unexpired(permitted: &[Self]) -> impl Iterator<Item = &Self> {
        let now = SystemClock::new().now();
        permitted.iter().filter(move |one| !signed_request::is_expired(&one.expires, now))
    }
}

impl OpeningArgs {
    /// Records an opening by the request in a file, and returns what it permits.
    ///
    /// # Errors
    /// The request is not valid here, or the line can't be written: nothing may be opened.
    pub(super) async fn record(
        &self,
        request: &Path,
        vault: &VaultArgs,
        auditors: &[Identity],
    ) -> Result<PermittedOpening> {
        let (text, key) = (read_text_file(request)?, read_signing_key(self.sign_with.as_deref())?);
        let openers = read_public_keys_of_option("--openers", &self.openers)?;
        if openers.contains(key.public()) {
            return Err("--sign-with is an opener's own key: the chain of openings needs a key of its own".into());
        }
        let earlier_keys = read_public_keys_of_option("--earlier-key", &self.earlier_key)?;
        let OpeningRequest { account, expires, why, .. } = parse_request(request, &text)?;
        check_public_text("the request's reason", &why)?;
        let place = WritableVault::from_location(&vault.location, self.lock_days)?;
        let signer = LedgerSigner { key: &key, earlier_keys: &earlier_keys, writer: &self.writer };
        let mut ledger = Ledger::read(&place, signer, &account, SystemClock::new().now()).await?;
        // a request may expire while a long chain is read
        ledger.now = SystemClock::new().now();
        let store = vault.location.store.trim_end_matches('/');
        let keys = record_opening(&mut ledger, &text, &openers, store, auditors).await?;
        warn_if_unlocked(&ledger).await;
        let (_, signers) = signed_request::open::<OpeningRequest>(&text, &openers)?;
        Ok(PermittedOpening { keys, expires, why, signers })
    }
}

fn parse_request(path: &Path, text: &str) -> Result<OpeningRequest> {
    let read = signed_request::read::<OpeningRequest>(text);
    Ok(read.map_err(|why| format!("{} {why}", path.display()))?.0)
}

/// Runs `vault open-request`.
pub(super) fn run_open_request(options: &OpenRequestArgs) -> Result<ExitStatus> {
    check_public_text("--reason", &options.reason)?;
    let key = read_signing_key(Some(&options.key))?;
    let (session, account) = parse_session_argument(&options.session, options.account.as_deref());
    let now = SystemClock::new().now();
    let request = OpeningRequest {
        v: OpeningRequest::VERSION,
        store: options.store.trim_end_matches('/').to_owned(),
        account: account.unwrap_or_else(|| "default".to_owned()),
        open_session: session,
        why: options.reason.clone(),
        time: rfc3339(now),
        expires: rfc3339(now.plus(options.valid)),
        nonce: kernel::hex::encode(&SystemRng.id()),
    };
    let signed = signed_request::sign::<OpeningRequest>(&request.text(), &key);
    let signed = signed.map_err(|why| format!("the request {why}"))?;
    files::write_new(&options.output, signed.as_bytes())
        .map_err(|error| format!("can't write {}: {error}", options.output.display()))?;
    output::print_result(&format!("{}signed by {}\n", summarize_request(&request), key.public()))
}

/// Runs `vault approve`.
pub(super) fn run_approve(options: &ApproveArgs) -> Result<ExitStatus> {
    sign_request(&options.request, Some(&options.key), options.yes, |request: &OpeningRequest| {
        check_public_text("the request's reason", &request.why)?;
        Ok(summarize_request(request))
    })
}

/// What a request asks for; those who sign have no other view of it, so each field is quoted on a line of its own.
fn summarize_request(request: &OpeningRequest) -> String {
    let fields = [
        ("open the session", &request.open_session),
        ("of the account", &request.account),
        ("in the vault", &request.store),
        ("for the reason", &request.why),
        ("valid until", &request.expires),
    ];
    fields.iter().map(|(name, field)| format!("{name:<18} {}\n", quote(field))).collect()
}

/// Runs `vault openings`.
pub(super) fn run_openings(options: &OpeningsArgs) -> Result<ExitStatus> {
    let keys = read_public_keys_of_option("--key", &options.key)?;
    let (text, is_complete) = block_on(async {
        let mut text = String::new();
        let vault = Vault::from_location(&options.store_access.location(&options.store, None))?;
        let signed = SignedIndex::read(&vault, &keys, options.account.as_deref()).await?;
        let (rows, unreadable) = list_openings(&vault, &signed, options.account.as_deref()).await?;
        let repeated = find_repeated_uses(&rows);
        let is_complete = unreadable.is_empty() && repeated.is_empty();
        output::print_notes("not read", &unreadable);
        output::print_notes("used again", &repeated);
        for row in rows {
            let Some(opening) = &row.tail.opening else { continue };
            let (tail, session, why) = (&row.tail, &opening.session, &opening.why);
            let (time, account) = (&tail.ts, &tail.account);
            let (signers, auditors) = (opening.signers.join(", "), opening.auditors.join(", "));
            let as_text = || format!("{time}  {account}  {session}  {why}  signed by {signers}  opened by {auditors}");
            let line = match options.json {
                true => escape_json(&serde_json::to_string(&row).unwrap_or_default()),
                false => escape_unsafe(&as_text()),
            };
            text.push_str(&(line + "\n"));
        }
        Ok((text, is_complete))
    })?;
    output::print(&text)?;
    Ok(if is_complete { ExitStatus::Success } else { ExitStatus::Failed })
}

#[cfg(test)]
mod tests;
