//! `tollgate vault erase` (request, sign, execute) and `vault rewrap`. Keys are destroyed only by a request that two of
//! the given erasers signed. Texts that stay in the vault for years must contain nothing that redaction would remove.
//! The work is in `audit/erase` and `audit/rewrap`; the store enforces permissions.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::super::ask::Asker;
use super::super::common::Common;
use super::super::error::{CommandError, Exit};
use super::super::listed::listed;
use super::super::moment::ago;
use super::super::output;
use super::super::place::Where;
use super::super::reach::Reach;
use super::super::runtime::block_on;
use super::keys::{public_keys_of, read};
use super::newest;
use super::source::{Source, print};
use audit::erase::{Asked, Executed, Ledger, Place, Request, Target, execute, request, resolve, resume};
use audit::rewrap::{Teller, Which, rewrap};
use kernel::clock::{Clock, SystemClock};
use kernel::files;
use kernel::rng::{Rng, SystemRng};
use kernel::secret::Secret;
use kernel::terminal::{clean, counted};
use processors::redact;
use redaction::Scratch;
use vault::chain::note::{SigningKey, VerifyKey};
use vault::names::rfc3339;
use vault::row::Shredded;
use vault::seal::parse_recipient;

/// Default name of the writer whose chain records erasures.
pub(crate) const ERASER: &str = "eraser";
/// Default name of the writer whose chain records copies of keys.
pub(crate) const REWRAP: &str = "rewrap";
/// The longest validity of a request.
const MAX_VALID: Duration = Duration::from_secs(30 * 86_400);

/// Options of `vault erase`.
#[derive(Args)]
#[command(group = ArgGroup::new("step").required(true).args(["request", "sign", "execute", "resume"]))]
pub(crate) struct Erase {
    /// Session id as shown in spans and the index; `trace-ID` for records without a session.
    #[arg(requires = "request", conflicts_with = "user")]
    session: Option<String>,
    /// Every session of this user, by the pseudonym shown in spans.
    #[arg(long, value_name = "h-…", requires_all = ["request", "gateway_key"])]
    user: Option<String>,
    /// Step 1: creates a request that lists what would be destroyed.
    #[arg(long, requires_all = ["who", "why", "output", "store"])]
    request: bool,
    /// Step 2, by two erasers: prints a request and signs it.
    #[arg(long, value_name = "REQUEST", requires = "key")]
    sign: Option<PathBuf>,
    /// Step 3: destroys what a request lists, once two erasers have signed it; continues an interrupted run.
    #[arg(long, value_name = "REQUEST", requires_all = ["erasers", "sign_with", "store"])]
    execute: Option<PathBuf>,
    /// Finishes an interrupted run without the request's file.
    #[arg(long, requires_all = ["erasers", "sign_with", "store", "account"])]
    resume: bool,
    /// The person who requests it: a role, or a name that may stay in the vault until its retention ends.
    #[arg(long)]
    who: Option<String>,
    /// The reason: a ticket or a sentence, without the name of the erased person.
    #[arg(long)]
    why: Option<String>,
    /// How long the request can be executed, at most `30d`.
    #[arg(long, default_value = "7d", value_name = "TIME", value_parser = valid)]
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
    before: Vec<String>,
    /// Public key of the gateways' signer, or a file that contains it. The lines it signed determine the sessions of
    /// `--user`; with `--execute`, it is checked that `--sign-with` is a different key.
    #[arg(long, value_name = "KEY|FILE")]
    gateway_key: Vec<String>,
    /// Name of the writer whose chain records erasures; not a gateway's.
    #[arg(long, default_value = ERASER)]
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
    gateway: Where,
    #[command(flatten)]
    reach: Reach,
}

fn valid(text: &str) -> Result<Duration, CommandError> {
    let span = ago(text).filter(|span| *span > Duration::ZERO && *span <= MAX_VALID);
    span.ok_or_else(|| CommandError::Usage("is no time up to `30d`: `12h`, `7d`".to_owned()))
}

/// Runs `vault erase`.
pub(super) fn run_erase(common: &Common, options: &Erase) -> Result<Exit, CommandError> {
    if let Some(path) = &options.sign {
        return sign(path, options.key.as_deref());
    }
    if options.request {
        return make(options);
    }
    let erasers = public_keys_of("--erasers", &options.erasers)?;
    let key = chain_key(options, &erasers)?;
    let before = public_keys_of("--before", &options.before)?;
    let file = options.execute.as_deref().map(read).transpose()?;
    let account = match &file {
        Some(file) => request::read(file).map_err(|why| format!("the request {why}"))?.0.account,
        None => options.account.clone().unwrap_or_default(),
    };
    // Check this before anything is destroyed, so that a wrong option ends the command in time.
    let port = options.gateway.place(common)?;
    let mut done = None;
    block_on(async {
        let gateway = Asker::gateway(port)?;
        let (place, store) = place(options)?;
        let mut ledger = Ledger::read(&place, &key, &before, &account, &options.writer).await?;
        if let Some((first, count)) = ledger.strangers() {
            warn(&format!(
                "{count} objects in the chain's place are signed by no key given here, and count for nothing ({first}): they were \
                 planted, or another key signed them before (--before)"
            ));
        }
        let now = SystemClock::new().now();
        done = match &file {
            Some(file) => Some(execute(&place, &mut ledger, file, &erasers, &store, now).await?),
            None => resume(&place, &mut ledger, &erasers, &store, now).await?,
        };
        locked(&ledger).await;
        if let Err(why) = newest::report(&ledger, &gateway).await {
            warn(&newest::unreported(&why, &account));
        }
        Ok(())
    })?;
    let text = match done {
        None => "nothing was begun that is not finished\n".to_owned(),
        Some(done) => told(&done, &options.writer, &key),
    };
    output::print(&text)?;
    Ok(Exit::Fine)
}

/// The signing key of the chain of erasures; it must not be an eraser's or a gateway's key.
fn chain_key(options: &Erase, erasers: &[VerifyKey]) -> Result<SigningKey, CommandError> {
    let key = signing_key(options.sign_with.as_deref())?;
    let gateways = public_keys_of("--gateway-key", &options.gateway_key)?;
    for (theirs, whose) in [(erasers, "an eraser's own key"), (&gateways, "the key of a gateway's signer")] {
        if theirs.contains(key.public()) {
            return Err(CommandError::Failed(format!(
                "--sign-with is {whose}: the chain of erasures has one of its own"
            )));
        }
    }
    Ok(key)
}

/// Warns if the record of the erasure is not locked and can be deleted.
async fn locked(ledger: &Ledger<'_>) {
    match ledger.unlocked().await {
        Ok(None) => {}
        Ok(Some(name)) => warn(&format!(
            "what tells of this erasure is not locked and can be deleted ({name}): give --lock-days, or let the bucket lock by \
             default"
        )),
        Err(why) => warn(&format!("whether what tells of this erasure is locked can't be told: {why}")),
    }
}

/// The message about an execution.
fn told(done: &Executed, writer: &str, key: &SigningKey) -> String {
    let Executed { keys, objects, resumed, left } = done;
    let again = if *resumed { ", begun by an earlier run" } else { "" };
    let left = match left {
        0 => String::new(),
        left => {
            format!("{left} keys of these sessions are not in the request and still open content: make another one\n")
        }
    };
    let public = key.public();
    format!(
        "{} destroyed ({} now{again}); it stands in the chain of {writer}, signed by {public}\n{left}\
         Copies elsewhere are not reached: replicas and backups of the key store, auditors who keep session keys, \
         back ends. docs/erasure.md has the list.\n",
        counted(*keys, "key"),
        counted(*objects, "object"),
    )
}

fn place(options: &Erase) -> Result<(Place, String), CommandError> {
    let store = options.store.clone().unwrap_or_default();
    let location = options.reach.location(&store, options.keys.as_deref());
    let keys = public_keys_of("--gateway-key", &options.gateway_key)?;
    let place = Place { keys, ..Place::at(&location, options.lock_days)? };
    Ok((place, store.trim_end_matches('/').to_owned()))
}

fn signing_key(path: Option<&Path>) -> Result<SigningKey, CommandError> {
    let path = path.ok_or("give the file of a signing key")?;
    let key = SigningKey::from_secret(&Secret::new(read(path)?));
    key.map_err(|why| CommandError::Failed(format!("{} {why}", path.display())))
}

/// Creates a request, and prints what it would destroy.
fn make(options: &Erase) -> Result<Exit, CommandError> {
    let mut account = options.account.clone();
    let what = match (&options.session, &options.user) {
        (Some(session), None) => {
            let (session, of) = listed(session, account.as_deref());
            account = of;
            Target::Session(session)
        }
        (None, Some(user)) => Target::User(user.clone()),
        _ => return Err("say what is to be erased: a session, or --user".into()),
    };
    let (who, why) = (options.who.clone().unwrap_or_default(), options.why.clone().unwrap_or_default());
    public("--who", &who)?;
    public("--why", &why)?;
    let path = options.output.as_deref().ok_or("give --output: the new file")?;
    let mut text = String::new();
    block_on(async {
        let (place, store) = place(options)?;
        let asked = Asked { what: what.clone(), account, tenant: options.tenant.clone() };
        let found = resolve(&place, &asked).await?;
        let now = SystemClock::new().now();
        let request = Request {
            v: Request::VERSION,
            store,
            account: found.account,
            what,
            who,
            why,
            time: rfc3339(now),
            expires: rfc3339(now.plus(options.valid)),
            nonce: kernel::hex::encode(&SystemRng.id()),
            sessions: found.sessions,
            keys: found.keys,
            holds: found.holds,
        };
        files::write_new(path, request.text().as_bytes())
            .map_err(|error| format!("can't write {}: {error}", path.display()))?;
        text = summary(&request);
        for why in &found.left_out {
            warn(why);
            text.push_str(&(clean(why) + "\n"));
        }
        Ok(())
    })?;
    output::print(&text)?;
    Ok(Exit::Fine)
}

/// The summary of a request, with the object of each key. Those who sign have no other view of it.
fn summary(request: &Request) -> String {
    let what = match &request.what {
        Target::Session(session) => format!("session {session}"),
        Target::User(user) => format!("every session of the user {user}"),
    };
    let (sessions, keys) = (counted(request.sessions.len(), "session"), counted(request.keys.len(), "key"));
    let mut out = vec![
        format!("{what} in {}", request.store),
        format!("account {}, {sessions}, {keys}; until {}", request.account, request.expires),
        format!("{}: {}", request.who, request.why),
    ];
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Shredded { folder, id } in &request.keys {
        let mut parts = folder.trim_end_matches('/').rsplit('/');
        // A request is valid only if its keys are those of its sessions.
        let (_day, session, tenant) =
            (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        keys.entry(format!("{tenant}/{session}")).or_default().push(format!("    {folder}{id}"));
    }
    for session in &request.sessions {
        out.push(format!("  {session}"));
        out.extend(keys.remove(session).unwrap_or_default());
    }
    out.extend(request.holds.iter().map(|held| format!("under legal hold: {held}")));
    // A line break within a text would look like a line of this summary.
    out.iter().map(|line| clean(line) + "\n").collect()
}

/// Prints a warning to stderr.
fn warn(what: &str) {
    // Stderr may be closed.
    drop(writeln!(io::stderr().lock(), "{}", clean(what)));
}

/// Checks a text that will be stored in objects that can't be deleted.
fn public(option: &str, text: &str) -> Result<(), CommandError> {
    if text.trim().is_empty() || text.len() > 500 || text.chars().any(char::is_control) {
        return Err(CommandError::Failed(format!("{option} is a line of 1 to 500 bytes")));
    }
    let rules = redact::Config::default().settings().map_err(|_| "the rules of redaction can't be built")?;
    let mut scratch = Scratch::new();
    match rules.detector.find(text, &mut scratch).first() {
        None => Ok(()),
        Some(hit) => Err(CommandError::Failed(format!(
            "{option} holds something private ({}): it would stand in the vault for years. Name a role and a ticket",
            rules.detector.rule_name(hit)
        ))),
    }
}

fn sign(path: &Path, key: Option<&Path>) -> Result<Exit, CommandError> {
    let (file, key) = (read(path)?, signing_key(key)?);
    let say = |why: &str| format!("{} {why}", path.display());
    let (request, _) = request::read(&file).map_err(say)?;
    request::timely(&request, SystemClock::new().now()).map_err(|why| say(&why.to_string()))?;
    let signed = request::sign(&file, &key).map_err(say)?;
    output::print(&summary(&request))?;
    files::replace(path, signed.as_bytes()).map_err(|error| format!("can't write {}: {error}", path.display()))?;
    output::print(&format!("signed by {}\n", key.public()))?;
    Ok(Exit::Fine)
}

/// Options of `vault rewrap`.
#[derive(Args)]
pub(crate) struct Rewrap {
    /// Public key (`age1…`) of an auditor who shall be able to open the sessions too; may be repeated.
    #[arg(long, required = true, value_name = "age1…")]
    recipient: Vec<String>,
    /// The key that signs the chain of copies (`vault keygen --signing`), not a gateway's. `vault verify` needs its
    /// public key too.
    #[arg(long, value_name = "FILE")]
    sign_with: PathBuf,
    /// Public key that signed the chain of copies before `--sign-with`, or a file that contains it.
    #[arg(long, value_name = "KEY|FILE")]
    before: Vec<String>,
    /// Name of the writer whose chain records copies; not a gateway's, and not that of erasures.
    #[arg(long, default_value = REWRAP)]
    writer: String,
    /// Only this session.
    #[arg(long)]
    session: Option<String>,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
    /// Only this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// Only keys of this day or later, `2026-11-20`.
    #[arg(long, value_name = "DAY")]
    since: Option<String>,
    /// Locks the copies for this many days (GOVERNANCE, like all keys) [default: the bucket's default].
    #[arg(long, value_name = "DAYS")]
    lock_days: Option<u32>,
    #[command(flatten)]
    from: Source,
}

/// Runs `vault rewrap`.
pub(super) fn run_rewrap(options: &Rewrap) -> Result<Exit, CommandError> {
    let recipients =
        options.recipient.iter().map(|text| parse_recipient(text).map_err(|why| format!("--recipient {why}")));
    let recipients: Vec<_> = recipients.collect::<Result<_, _>>()?;
    let (session, account) = match options.session.as_deref().map(|id| listed(id, options.account.as_deref())) {
        Some((session, account)) => (Some(session), account),
        None => (None, options.account.clone()),
    };
    let which = Which { account, tenant: options.tenant.clone(), session, since: options.since.clone() };
    let (key, before) = (signing_key(Some(&options.sign_with))?, public_keys_of("--before", &options.before)?);
    let teller = Teller { key: &key, before: &before, writer: &options.writer };
    let mut done = Default::default();
    block_on(async {
        let from = &options.from;
        let (auditors, log) = from.auditors().await?;
        let place = Place::at(&from.reach.location(&from.store, from.keys.as_deref()), options.lock_days)?;
        let what = options
            .session
            .as_deref()
            .map_or("session keys".to_owned(), |session| format!("keys of session {session}"));
        log.note("rewrap", &format!("{what} for {}", options.recipient.join(" ")))?;
        done = rewrap(&place, &auditors, &recipients, &which, &teller, SystemClock::new().now()).await?;
        Ok(())
    })?;
    let closed: String = done.closed.iter().map(|why| format!("not copied: {}\n", clean(why))).collect();
    let line = format!(
        "{} keys: {} copies written, {} were there; {} told in the chain of {}, signed by {}\n",
        done.keys,
        done.written,
        done.there,
        done.told,
        options.writer,
        key.public()
    );
    print(format!("{closed}{line}").as_bytes())?;
    Ok(if done.closed.is_empty() { Exit::Fine } else { Exit::Failed })
}
