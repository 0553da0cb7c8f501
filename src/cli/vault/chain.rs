//! `tollgate vault verify` and `anchor`. The exit code is 0 only if everything checked is valid, and 1 if something is
//! not or nothing could be checked. The verification is in `audit/verify`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};

use super::super::auditors::{self, Sealed};
use super::super::error::{CommandError, Exit};
use super::super::moment::{Moment, moment};
use super::super::opening_log::OpeningLog;
use super::super::output;
use super::super::reach::Reach;
use super::super::runtime::block_on;
use super::keys::{public_keys, public_keys_of, read};
use audit::read::Vault;
use audit::verify::{Options, Progress, Report, Retention, anchor, verify};
use config::types::Span;
use kernel::clock::{Clock, SystemClock};
use kernel::secret::Secret;
use kernel::terminal::{clean, escaped};
use vault::chain::note::SigningKey;
use vault::names::rfc3339;
use vault::store::settings::LockMode;

/// The least time between two updates of the progress.
const SHOW: Duration = Duration::from_millis(200);

/// Options that select chains.
#[derive(Args)]
pub(super) struct Chains {
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: String,
    /// Public key of the writer's signer (`name+id+key`), or a file that contains it; may be repeated.
    #[arg(long, required = true, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
    /// Only this writer.
    #[arg(long)]
    writer: Option<String>,
    /// Bucket of the key objects, if it is another one.
    #[arg(long, value_name = "s3://BUCKET")]
    keys: Option<String>,
    /// Data that arrived before this time, or longer ago than this, may be missing or hidden, because its retention has
    /// ended. `vault verify --retention` implies this too.
    #[arg(long, value_parser = moment, value_name = "TIME|DAYS")]
    expired: Option<Moment>,
    #[command(flatten)]
    reach: Reach,
}

impl Chains {
    pub(super) fn store(&self) -> &str {
        &self.store
    }

    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(super) fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    pub(super) fn vault(&self) -> Result<Vault, CommandError> {
        Ok(Vault::at(&self.reach.location(&self.store, self.keys.as_deref()))?)
    }

    pub(super) fn options(&self) -> Result<Options, CommandError> {
        Ok(Options {
            keys: public_keys(&self.key)?,
            account: self.account.clone(),
            writer: self.writer.clone(),
            now: SystemClock::new().now(),
            expired: self.expired.as_ref().map(|moment| moment.text(SystemClock::new().now())),
            ..Options::default()
        })
    }
}

/// Options of `vault verify`.
#[derive(Args)]
#[command(group = ArgGroup::new("auditor").multiple(true).args(["identity", "identity_kms"]))]
pub(crate) struct Verify {
    #[command(flatten)]
    chains: Chains,
    /// An auditor's key file, with which fragments are opened and compared with their lines.
    #[arg(long, short, value_name = "FILE")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    sealed: Sealed,
    /// Reads payload only of digests from this time on: `24h`, `7d`, `2026-11-20` or `2026-11-20T08:00:00Z` (UTC).
    #[arg(long, value_parser = moment, value_name = "TIME")]
    from: Option<Moment>,
    /// Reads payload only of digests up to this time, in the same forms.
    #[arg(long, value_parser = moment, value_name = "TIME")]
    to: Option<Moment>,
    /// Verifies chain and index only.
    #[arg(long)]
    no_payload: bool,
    /// An anchor kept elsewhere; give all you have, since each proves what existed at its time.
    #[arg(long, value_name = "FILE")]
    anchor: Vec<PathBuf>,
    /// Public key of the signer of anchors, or a file that contains it.
    #[arg(long, value_name = "KEY|FILE")]
    anchor_key: Vec<String>,
    /// With `--anchor`: how soon after its beginning an epoch must appear in an anchor. An epoch that was written later
    /// than it claims appears in no anchor of its time.
    #[arg(long, value_parser = span, default_value = "25h", value_name = "TIME")]
    anchored_within: Duration,
    /// A leaf seen elsewhere (`gen_ai.payload.leaf`), or a file with one per line; the chain must contain it.
    #[arg(long, value_name = "WRITER/EPOCH/NUMBER|FILE")]
    leaf: Vec<String>,
    /// Public keys of those who sign requests for erasure, or a file that contains them; an erasure must be signed by
    /// two.
    #[arg(long, value_name = "KEY|FILE")]
    erasers: Vec<String>,
    /// File in which openings of fragments are logged before they happen; `none` disables it [default: the first key
    /// file's name with `.openings.jsonl` appended].
    #[arg(long, value_name = "FILE|none", requires = "auditor")]
    log: Option<PathBuf>,
    /// The least time, from its writing, for which every object must be locked (S3) and present: `100d`, `400d`. Older
    /// objects may be missing, and are counted.
    #[arg(long, value_parser = span, value_name = "TIME")]
    retention: Option<Duration>,
    /// The lock mode required of all objects but keys (keys are always in governance mode).
    #[arg(long, value_enum, default_value = "compliance", requires = "retention")]
    lock_mode: Mode,
    /// Does not query the locks of objects, which takes a request per object.
    #[arg(long, conflicts_with = "retention")]
    no_locks: bool,
    /// File that records what was verified, so that an interrupted run can continue.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Modes of Object Lock.
#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Can't be removed by anyone.
    Compliance,
    /// Can be removed by those with the permission to bypass it.
    Governance,
}

/// Parses `100d` or `12h`, as in a configuration.
fn span(text: &str) -> Result<Duration, CommandError> {
    Span::parse(text).map(|span| span.0).ok_or_else(|| CommandError::Usage("is no time: `100d`, `2400h`".to_owned()))
}

/// Options of `vault anchor`.
#[derive(Args)]
pub(crate) struct Anchor {
    #[command(flatten)]
    chains: Chains,
    /// The key that signs the anchor, which must not be a writer's (`vault keygen --signing`).
    #[arg(long, value_name = "FILE")]
    sign_with: PathBuf,
    /// The new file.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

/// Runs `vault verify`.
pub(super) fn run_verify(options: &Verify) -> Result<Exit, CommandError> {
    let mut report = Report::default();
    block_on(async {
        let vault = options.chains.vault()?;
        let mut wanted = options.chains.options()?;
        let text = |at: &Moment| at.text(wanted.now);
        (wanted.from, wanted.to) = (options.from.as_ref().map(text), options.to.as_ref().map(text));
        if wanted.from.as_ref().zip(wanted.to.as_ref()).is_some_and(|(from, to)| from >= to) {
            return Err("--to is not after --from: no payload would be read".into());
        }
        wanted.no_payload = options.no_payload;
        // Objects older than the required lock may be gone.
        wanted.expired = wanted.expired.or(options.retention.map(|least| Moment::Ago(least).text(wanted.now)));
        if !(options.identity.is_empty() && options.sealed.is_empty()) {
            let (log, chains) = (options.log.as_deref(), &options.chains);
            let (files, keys) = auditors::keys(&options.identity, &options.sealed, chains.reach()).await?;
            wanted.auditors = keys;
            let log = OpeningLog::of(log, &files, chains.store(), &wanted.auditors)?;
            log.note("verify", "every fragment")?;
        }
        wanted.anchors = options.anchor.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
        wanted.anchor_keys = public_keys_of("--anchor-key", &options.anchor_key)?;
        wanted.anchored_within = options.anchored_within;
        wanted.erasers = public_keys_of("--erasers", &options.erasers)?;
        for leaf in &options.leaf {
            let path = Path::new(leaf);
            let lines = if path.is_file() { read(path)? } else { leaf.clone() };
            wanted.leaves.extend(lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
        wanted.no_locks = options.no_locks;
        let mode = match options.lock_mode {
            Mode::Compliance => LockMode::Compliance,
            Mode::Governance => LockMode::Governance,
        };
        wanted.retention = options.retention.map(|least| Retention { mode, least });
        wanted.resume.clone_from(&options.resume);
        let mut bar = Bar::new();
        report = verify(&vault, &wanted, &mut |progress| bar.show(progress)).await?;
        bar.end();
        Ok(())
    })?;
    let text = if options.json {
        escaped(&serde_json::to_string_pretty(&report).unwrap_or_default()) // can't fail: strings and numbers
    } else {
        report.text()
    };
    output::print(&format!("{text}\n"))?;
    Ok(if report.verified && !report.opened_nothing() { Exit::Fine } else { Exit::Failed })
}

/// Runs `vault anchor`: verifies the chains, then signs. Objects planted beside a chain or after its newest digest,
/// which may be locked for years, don't prevent an anchor; they are reported, as are broken chains, which are left out.
/// In both cases the exit code is 1.
pub(super) fn run_anchor(options: &Anchor) -> Result<Exit, CommandError> {
    let key = SigningKey::from_secret(&Secret::new(read(&options.sign_with)?));
    let key = key.map_err(|why| format!("{} {why}", options.sign_with.display()))?;
    let wanted = Options { chain_only: true, ..options.chains.options()? };
    if wanted.keys.contains(key.public()) {
        return Err("--sign-with is the writer's own key: an anchor that the gateway could sign proves nothing".into());
    }
    let mut report = Report::default();
    block_on(async {
        let mut bar = Bar::new();
        report = verify(&options.chains.vault()?, &wanted, &mut |progress| bar.show(progress)).await?;
        bar.end();
        Ok(())
    })?;
    let (heads, left) = report.anchorable();
    if !report.verified {
        output::print(&format!("{}\n", report.text()))?;
    }
    if heads.is_empty() {
        output::print("no anchor was made\n")?;
        return Ok(Exit::Failed);
    }
    let text = anchor::make(&heads, &rfc3339(SystemClock::new().now()), &key);
    let written = kernel::files::write_new(&options.output, text.as_bytes());
    written.map_err(|error| format!("can't write {}: {error}", options.output.display()))?;
    let left = left.iter().map(|line| format!("left out: {}\n", clean(line))).collect::<String>();
    output::print(&format!("{left}{} writers, signed by {}\n", heads.len(), key.public()))?;
    Ok(if report.verified { Exit::Fine } else { Exit::Failed })
}

/// A progress bar on a terminal.
struct Bar {
    clock: SystemClock,
    shown: Option<Duration>,
    on: bool,
}

impl Bar {
    fn new() -> Self {
        Self { clock: SystemClock::new(), shown: None, on: io::stderr().is_terminal() }
    }

    fn show(&mut self, progress: Progress) {
        let now = self.clock.monotonic();
        if !self.on || self.shown.is_some_and(|shown| now.saturating_sub(shown) < SHOW) {
            return;
        }
        self.shown = Some(now);
        let Progress { done, all, bytes } = progress;
        let full = usize::try_from(done * 30 / all.max(1)).unwrap_or(30).min(30);
        let bar = format!("[{}{}]", "#".repeat(full), " ".repeat(30 - full));
        let line = format!("\r{bar} {done} of {all} digests, {} MiB of payload", bytes >> 20);
        drop(io::stderr().lock().write_all(line.as_bytes()));
    }

    fn end(&self) {
        if self.shown.is_some() {
            drop(io::stderr().lock().write_all(b"\n"));
        }
    }
}

#[cfg(test)]
mod tests;
