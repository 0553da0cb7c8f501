//! `tollgate vault erase` (request, sign, execute). Keys are destroyed only by a request that two of the given erasers
//! signed. Texts that stay in the vault for years must contain nothing that redaction would remove. The work is in
//! `audit/erase`; the store enforces permissions.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::public_keys::{parse_signing_key, read_public_keys_of_option, read_text_file};
use super::report_erasure;
use crate::cli::session_argument::parse_target;
use crate::cli::vault_args::GatewayConfig;
use crate::cli::vault_args::warn_if_key_is_open;
use crate::erase::{
    ContentTarget, ErasureOutcome, ErasureRequest, WritableVault, execute_request, resolve_target, resume_erasure,
};
use crate::ledger::{Ledger, LedgerSigner};
use crate::read::StoreAccessArgs;
use crate::signed_request::{self, SignedRequest};
use command::admin_client::{AdminClient, AdminPortArgs};
use command::error::{CommandError, ExitStatus, Result};
use command::output;
use command::runtime::block_on;
use command::time_option::parse_duration;
use kernel::clock::{Clock, SystemClock};
use kernel::files;
use kernel::rng::{Rng, SystemRng};
use kernel::terminal::{escape_json, escape_unsafe, format_count};
use redaction::{Detector, SearchScratch, builtin_rules};
use vault::chain::note::{SigningKey, VerifyKey};
use vault::index_row::ShreddedKey;
use vault::object_names::rfc3339;

/// Default name of the writer whose chain records erasures.
pub const DEFAULT_ERASER_WRITER: &str = "eraser";
/// The longest validity of a request.
const MAX_VALIDITY: Duration = Duration::from_secs(30 * 86_400);

/// Options of `vault erase`.
#[derive(Args)]
#[command(group = ArgGroup::new("step").required(true).args(["request", "sign", "execute", "resume"]))]
pub struct EraseArgs {
    /// Session id as shown in spans and the index; `trace-ID` for records without a session.
    #[arg(requires = "request", conflicts_with = "user")]
    session: Option<String>,
    /// Every session of this user, by the pseudonym shown in spans; may be repeated, e.g. with the pseudonym of each
    /// epoch.
    #[arg(long, value_name = "h-…", requires_all = ["request", "gateway_key"])]
    user: Vec<String>,
    /// Step 1: creates a request that lists what would be destroyed.
    #[arg(long, requires_all = ["requested_by", "reason", "output", "store"])]
    request: bool,
    /// Step 2, by two erasers: prints a request, asks for confirmation, and signs it.
    #[arg(long, value_name = "REQUEST", requires = "key")]
    sign: Option<PathBuf>,
    /// With `--sign`: signs without asking for confirmation. Required where there is no terminal.
    #[arg(long, requires = "sign")]
    yes: bool,
    /// Step 3: destroys what a request lists, once two erasers have signed it; continues an interrupted run.
    #[arg(long, value_name = "REQUEST", requires_all = ["erasers", "sign_with", "store"])]
    execute: Option<PathBuf>,
    /// Finishes an interrupted run without the request's file.
    #[arg(long, requires_all = ["erasers", "sign_with", "store", "account"])]
    resume: bool,
    /// The person who requests it: a role, or a name that may stay in the vault until its retention ends.
    #[arg(long)]
    requested_by: Option<String>,
    /// The reason: a ticket or a sentence, without the name of the erased person.
    #[arg(long)]
    reason: Option<String>,
    /// How long the request can be executed, at most `30d`.
    #[arg(long, default_value = "7d", value_name = "TIME", value_parser = parse_validity)]
    valid: Duration,
    /// The file for the new request.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The eraser's own signing key (`vault keygen --signing --name alice`).
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Public keys of all erasers, or a file that contains them.
    #[arg(long, value_name = "KEY|FILE")]
    erasers: Vec<String>,
    /// The key that signs the chain of erasures (`vault keygen --signing`). It must not be an eraser's or a gateway's
    /// key (keys given with `--gateway-key` are refused).
    #[arg(long, value_name = "FILE")]
    sign_with: Option<PathBuf>,
    /// Public key that signed the chain of erasures before `--sign-with`, or a file that contains it.
    #[arg(long, value_name = "KEY|FILE")]
    earlier_key: Vec<String>,
    /// Public key of the gateways' signer, or a file that contains it. The lines it signed determine the sessions of
    /// `--user`; with `--execute`, it is checked that `--sign-with` is a different key.
    #[arg(long, value_name = "KEY|FILE")]
    gateway_key: Vec<String>,
    /// Name of the writer whose chain records erasures; not a gateway's.
    #[arg(long, default_value = DEFAULT_ERASER_WRITER)]
    writer: String,
    /// Locks the written objects for this many days (COMPLIANCE) [default: the bucket's default].
    #[arg(long, value_name = "DAYS")]
    lock_days: Option<u32>,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
    /// Only this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: Option<String>,
    /// Bucket of the key objects, if it is another one.
    #[arg(long, value_name = "s3://BUCKET")]
    keys: Option<String>,
    /// The gateway to report the erasure to, with `--execute` and `--resume`; its digests then name it.
    #[command(flatten)]
    gateway: AdminPortArgs,
    #[command(flatten)]
    store_access: StoreAccessArgs,
}

pub(super) fn parse_validity(text: &str) -> Result<Duration> {
    let span = parse_duration(text).filter(|span| *span > Duration::ZERO && *span <= MAX_VALIDITY);
    span.ok_or_else(|| CommandError::Usage("must be a duration of at most `30d`, such as `12h` or `7d`".to_owned()))
}

/// Runs `vault erase`.
pub(super) fn run_erase(config: &dyn GatewayConfig, options: &EraseArgs) -> Result<ExitStatus> {
    if let Some(path) = &options.sign {
        return sign_request(path, options.key.as_deref(), options.yes, |request: &ErasureRequest| {
            check_public_text("the requester", &request.who)?;
            check_public_text("the reason", &request.why)?;
            Ok(summarize_request(request))
        });
    }
    if options.request {
        return create_request(options);
    }
    let erasers = read_public_keys_of_option("--erasers", &options.erasers)?;
    let key = read_chain_key(options, &erasers)?;
    let earlier_keys = read_public_keys_of_option("--earlier-key", &options.earlier_key)?;
    let request_text = options.execute.as_deref().map(read_text_file).transpose()?;
    let account = match &request_text {
        Some(request_text) => {
            let read = signed_request::read::<ErasureRequest>(request_text);
            read.map_err(|why| format!("the request {why}"))?.0.account
        }
        None => options.account.clone().unwrap_or_default(),
    };
    // Check this before anything is destroyed, so that a wrong option ends the command in time.
    let admin_port = config.admin_port(&options.gateway)?;
    let outcome = block_on(async {
        let gateway = AdminClient::for_gateway(admin_port)?;
        let (vault, store) = locate_vault(options)?;
        let signer = LedgerSigner { key: &key, earlier_keys: &earlier_keys, writer: &options.writer };
        let mut ledger = Ledger::read(&vault, signer, &account, SystemClock::new().now()).await?;
        // a request may expire while a long chain is read
        ledger.now = SystemClock::new().now();
        if let Some((first, count)) = &ledger.foreign_digests {
            print_warning(&format!(
                "{count} objects at the chain's location are not signed by any given key and are ignored ({first}): they were \
                 planted, or signed by an earlier key (pass it with --earlier-key)"
            ));
        }
        let outcome = match &request_text {
            Some(request_text) => Some(execute_request(&mut ledger, request_text, &erasers, &store).await?),
            None => resume_erasure(&mut ledger, &erasers, &store).await?,
        };
        warn_if_unlocked(&ledger).await;
        if let Err(why) = report_erasure::report_newest_erasure(&ledger, &gateway).await {
            print_warning(&report_erasure::unreported_warning(&why, &account));
        }
        Ok(outcome)
    })?;
    let text = match outcome {
        None => "no unfinished erasure was found\n".to_owned(),
        Some(outcome) => format_result(&outcome, &options.writer, &key),
    };
    output::print_result(&text)
}

/// The signing key of the chain of erasures; it must not be an eraser's or a gateway's key.
fn read_chain_key(options: &EraseArgs, erasers: &[VerifyKey]) -> Result<SigningKey> {
    let key = read_signing_key(options.sign_with.as_deref())?;
    let gateways = read_public_keys_of_option("--gateway-key", &options.gateway_key)?;
    for (other_keys, owner) in [(erasers, "an eraser's own key"), (&gateways, "the key of a gateway's signer")] {
        if other_keys.contains(key.public()) {
            return Err(CommandError::Failed(format!(
                "--sign-with is {owner}: the chain of erasures needs a key of its own"
            )));
        }
    }
    Ok(key)
}

/// Warns if the newest record of the chain is not locked and can be deleted.
pub(super) async fn warn_if_unlocked(ledger: &Ledger<'_>) {
    match ledger.find_unlocked_object().await {
        Ok(None) => {}
        Ok(Some(name)) => print_warning(&format!(
            "the record is not locked and can be deleted ({name}): use --lock-days, or set a default lock on \
             the bucket"
        )),
        Err(why) => print_warning(&format!("can't check whether the record is locked: {why}")),
    }
}

/// The message about an execution.
fn format_result(outcome: &ErasureOutcome, writer: &str, key: &SigningKey) -> String {
    let ErasureOutcome { keys, objects, resumed, remaining_keys: remaining } = outcome;
    let resume_note = if *resumed { ", started by an earlier run" } else { "" };
    let remaining = match remaining {
        0 => String::new(),
        remaining => {
            format!(
                "{remaining} keys of these sessions are not in the request and can still open content: create another request\n"
            )
        }
    };
    let public_key = key.public();
    format!(
        "{} destroyed ({} now{resume_note}); the erasure is recorded in the chain of {writer}, signed by {public_key}\n{remaining}\
         Copies elsewhere are not erased: replicas and backups of the key store, session keys kept by auditors, \
         data in back ends. See docs/erasure.md for the list.\n",
        format_count(*keys, "key"),
        format_count(*objects, "object"),
    )
}

fn locate_vault(options: &EraseArgs) -> Result<(WritableVault, String)> {
    let store = options.store.clone().unwrap_or_default();
    let location = options.store_access.location(&store, options.keys.as_deref());
    let keys = read_public_keys_of_option("--gateway-key", &options.gateway_key)?;
    let vault = WritableVault { keys, ..WritableVault::from_location(&location, options.lock_days)? };
    Ok((vault, store.trim_end_matches('/').to_owned()))
}

pub(super) fn read_signing_key(path: Option<&Path>) -> Result<SigningKey> {
    let path = path.ok_or("a signing key is required: pass its file")?;
    warn_if_key_is_open(path);
    parse_signing_key(path)
}

/// Creates a request, and prints what it would destroy.
fn create_request(options: &EraseArgs) -> Result<ExitStatus> {
    let EraseArgs { session, user, account, tenant, .. } = options;
    let query = parse_target(session.as_deref(), user, account.as_deref(), tenant.as_deref());
    let query = query.ok_or("pass a session or --user to select what to erase")?;
    let (requested_by, reason) =
        (options.requested_by.clone().unwrap_or_default(), options.reason.clone().unwrap_or_default());
    check_public_text("--requested-by", &requested_by)?;
    check_public_text("--reason", &reason)?;
    let path = options.output.as_deref().ok_or("--output is required: the file for the new request")?;
    let text = block_on(async {
        let (vault, store) = locate_vault(options)?;
        let resolved = resolve_target(&vault, &query).await?;
        let now = SystemClock::new().now();
        let request = ErasureRequest {
            v: ErasureRequest::VERSION,
            store,
            account: resolved.account,
            what: query.target,
            who: requested_by,
            why: reason,
            time: rfc3339(now),
            expires: rfc3339(now.plus(options.valid)),
            nonce: kernel::hex::encode(&SystemRng.id()),
            sessions: resolved.sessions,
            keys: resolved.keys,
            holds: resolved.holds,
        };
        files::write_new(path, request.text().as_bytes())
            .map_err(|error| format!("can't write {}: {error}", path.display()))?;
        let mut text = summarize_request(&request);
        for warning in &resolved.excluded {
            print_warning(warning);
            text.push_str(&(escape_unsafe(warning) + "\n"));
        }
        Ok(text)
    })?;
    output::print_result(&text)
}

/// The summary of a request, with the object of each key. Those who sign have no other view of it, so each field is
/// quoted on a line of its own.
fn summarize_request(request: &ErasureRequest) -> String {
    let target = match &request.what {
        ContentTarget::Session(session) => format!("erase the session  {}", quote(session)),
        ContentTarget::User(user) => format!("erase every session of the user  {}", quote(user)),
        ContentTarget::Users(users) => {
            let users: Vec<String> = users.iter().map(|user| quote(user)).collect();
            format!("erase every session of the user  {}", users.join(", "))
        }
    };
    let (sessions, keys) = (format_count(request.sessions.len(), "session"), format_count(request.keys.len(), "key"));
    let mut lines = vec![
        target,
        format!("of the account     {}", quote(&request.account)),
        format!("in the vault       {}", quote(&request.store)),
        format!("requested by       {}", quote(&request.who)),
        format!("for the reason     {}", quote(&request.why)),
        format!("{sessions}, {keys}; valid until {}", quote(&request.expires)),
    ];
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ShreddedKey { folder, id } in &request.keys {
        let mut parts = folder.trim_end_matches('/').rsplit('/');
        // A request is valid only if its keys are those of its sessions.
        let (_day, session, tenant) =
            (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        keys.entry(format!("{tenant}/{session}")).or_default().push(format!("    {}", quote(&format!("{folder}{id}"))));
    }
    for session in &request.sessions {
        lines.push(format!("  {}", quote(session)));
        lines.extend(keys.remove(session).unwrap_or_default());
    }
    lines.extend(request.holds.iter().map(|hold| format!("under legal hold: {}", quote(hold))));
    lines.iter().map(|line| line.clone() + "\n").collect()
}

/// A field as a JSON string of visible characters, so that no text looks like another field or line.
pub(super) fn quote(field: &str) -> String {
    escape_json(&serde_json::Value::from(field).to_string())
}

pub(super) fn print_warning(warning: &str) {
    // Stderr may be closed.
    drop(writeln!(io::stderr().lock(), "{}", escape_unsafe(warning)));
}

/// Checks a text that will be stored in objects that can't be deleted.
pub(super) fn check_public_text(option: &str, text: &str) -> Result<()> {
    if text.trim().is_empty() || text.len() > 500 || text.chars().any(char::is_control) {
        return Err(CommandError::Failed(format!("{option} must be one line of 1 to 500 bytes")));
    }
    let rules = builtin_rules().ok().and_then(|rules| Detector::new(&rules, &[]).ok());
    let rules = rules.ok_or("the redaction rules can't be loaded")?;
    let mut scratch = SearchScratch::new();
    match rules.find(text, &mut scratch).first() {
        None => Ok(()),
        Some(hit) => Err(CommandError::Failed(format!(
            "{option} contains private text ({}) that would stay in the vault for years: write a role and a ticket instead",
            rules.rule_name(hit)
        ))),
    }
}

/// Adds a signature to the request in a file, after showing what `summarize` says of it and asking, unless `yes`.
pub(super) fn sign_request<R: SignedRequest>(
    path: &Path,
    key: Option<&Path>,
    yes: bool,
    summarize: impl Fn(&R) -> Result<String>,
) -> Result<ExitStatus> {
    let (text, key) = (read_text_file(path)?, read_signing_key(key)?);
    let with_path = |why: &str| format!("{} {why}", path.display());
    let (request, _) = signed_request::read::<R>(&text).map_err(with_path)?;
    let now = SystemClock::new().now();
    signed_request::check_validity(&request, now).map_err(|why| with_path(&why.to_string()))?;
    let signed = signed_request::sign::<R>(&text, &key).map_err(with_path)?;
    output::print(&summarize(&request)?)?;
    if !yes {
        let has_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        confirm_signing(has_terminal.then(|| io::stdin().lock()))?;
    }
    if read_text_file(path)? != text {
        let why =
            "nothing was signed: the file changed meanwhile, perhaps somebody else signed it; run the command again";
        return Err(why.into());
    }
    files::replace_file(path, signed.as_bytes()).map_err(|error| format!("can't write {}: {error}", path.display()))?;
    output::print(&format!("signed by {}\n", key.public()))?;
    Ok(ExitStatus::Success)
}

/// Asks whether to sign what was shown; `None` if there is no terminal to ask at.
fn confirm_signing(terminal: Option<impl BufRead>) -> Result<()> {
    let terminal = terminal.ok_or("nothing was signed: without a terminal to ask at, pass --yes to sign")?;
    output::print("type `yes` to sign: ")?;
    let mut answer = String::new();
    terminal.take(64).read_line(&mut answer).map_err(|error| format!("the answer can't be read: {error}"))?;
    if answer.trim() == "yes" { Ok(()) } else { Err("nothing was signed".into()) }
}

#[cfg(test)]
pub(super) mod tests;
