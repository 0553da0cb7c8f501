//! **What**: [`Mutes`]: which alerts are not sent for now: those of the configuration, and those that somebody asked
//! for while it runs. **Why**: who was woken wants quiet now, not after a roll-out. **Invariants**: one that is asked
//! for always ends, after 30 days at most; it survives a restart; a rule that there is not is refused; bounded. **Not
//! here**: HTTP (`routes`), what becomes of a muted alert (the parent).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use config::Span;
use kernel::clock::UnixNanos;
use kernel::files;
use runs::Alert;
use telemetry::admin::webhook::Muted;
use tracker::ALERT_RULES;
use vault::names::rfc3339;

/// Beside the spool.
const FILE: &str = "alerts-muted.json";
/// Longest, ns.
const LONGEST: u64 = 30 * 86_400 * 1_000_000_000;
/// Most at a time.
const MOST: usize = 200;
/// Longest name of a tenant, bytes.
const TENANT: usize = 256;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// How long.
    r#for: String,
    /// For this tenant alone.
    #[serde(default)]
    tenant: Option<String>,
}

/// A mute that somebody asked for.
#[derive(Serialize, Deserialize)]
struct Made {
    rule: String,
    tenant: Option<String>,
    /// Unix ns.
    until: u64,
}

impl Made {
    fn muted(&self) -> Muted {
        Muted { rule: self.rule.clone(), tenant: self.tenant.clone(), until: Some(self.until) }
    }
}

struct Kept {
    made: Mutex<Vec<Made>>,
    file: PathBuf,
    /// One writes at a time, so that what was asked for last is on disk.
    writing: Mutex<()>,
}

/// Why nothing is muted, or ends being so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MuteError {
    /// There is no such rule.
    #[error("no rule is called `{asked}`: {rules}")]
    NoRule {
        /// As it was written, fit for a terminal.
        asked: String,
        /// Those that there are.
        rules: String,
    },
    /// What is asked for can't be read.
    #[error("expected {{\"for\": \"2h\", \"tenant\": …}}")]
    Body,
    /// For how long it can't be.
    #[error("`for` must be a time of at most 30d, such as 2h")]
    Span,
    /// A tenant's name of no length, or too much.
    #[error("`tenant` must have 1 to 256 bytes")]
    Tenant,
    /// No more can be.
    #[error("{MOST} mutes hold already: end one")]
    Full,
    /// It was not muted by anybody who asked.
    #[error("`{0}` is not muted here; what the configuration mutes ends with a reload")]
    NotMuted(String),
}

/// A change that is to be written down.
pub(super) struct Saved(Arc<Kept>);

impl Saved {
    /// Writes what holds now.
    ///
    /// # Errors
    /// The file's.
    pub(super) fn write(&self) -> io::Result<()> {
        let _turn = self.0.writing.lock();
        let text = serde_json::to_vec(&*self.0.made.lock())?;
        files::replace(&self.0.file, &text)
    }
}

/// See the module.
pub(super) struct Mutes {
    configured: Vec<Muted>,
    kept: Arc<Kept>,
}

impl Mutes {
    /// Those of the configuration; `beside`: a file beside which the others are kept.
    ///
    /// # Errors
    /// One line: a rule that there is not.
    pub(super) fn new(configured: Vec<Muted>, beside: &Path) -> Result<Self, MuteError> {
        for mute in &configured {
            known(&mute.rule)?;
        }
        let kept = Kept { made: Mutex::default(), file: beside.with_file_name(FILE), writing: Mutex::default() };
        Ok(Self { configured, kept: Arc::new(kept) })
    }

    /// Takes in what was asked for before a restart.
    pub(super) fn restore(&self, now: u64) {
        let Ok(text) = std::fs::read(&self.kept.file) else { return };
        let Ok(made) = serde_json::from_slice::<Vec<Made>>(&text) else {
            tracing::warn!("what was muted of alerts is unreadable: nothing of it is muted any more");
            return;
        };
        *self.kept.made.lock() = made.into_iter().filter(|mute| holds_now(mute, now)).take(MOST).collect();
    }

    /// Whether an alert is muted now.
    pub(super) fn holds(&self, alert: &Alert, now: u64) -> bool {
        let mutes = |mute: &Muted| mute.mutes(alert.rule, alert.tenant.as_deref(), now);
        self.configured.iter().any(mutes)
            || self.kept.made.lock().iter().any(|made| holds_now(made, now) && mutes(&made.muted()))
    }

    /// Mutes a rule (`*`: all) for a while.
    ///
    /// # Errors
    /// One line for whoever asked.
    pub(super) fn add(&self, rule: &str, asked: Asked, now: u64) -> Result<Saved, MuteError> {
        known(rule)?;
        let span = Span::parse(&asked.r#for).and_then(|span| u64::try_from(span.0.as_nanos()).ok());
        let span = span.filter(|span| (1..=LONGEST).contains(span));
        let span = span.ok_or(MuteError::Span)?;
        if asked.tenant.as_ref().is_some_and(|tenant| tenant.is_empty() || tenant.len() > TENANT) {
            return Err(MuteError::Tenant);
        }
        let mut made = self.kept.made.lock();
        made.retain(|mute| holds_now(mute, now) && !(mute.rule == rule && mute.tenant == asked.tenant));
        if made.len() >= MOST {
            return Err(MuteError::Full);
        }
        made.push(Made { rule: rule.to_owned(), tenant: asked.tenant, until: now.saturating_add(span) });
        Ok(Saved(Arc::clone(&self.kept)))
    }

    /// Ends a mute that was asked for.
    ///
    /// # Errors
    /// One line: there is none; those of the configuration end with it.
    pub(super) fn end(&self, rule: &str, tenant: Option<&str>, now: u64) -> Result<Saved, MuteError> {
        known(rule)?;
        let mut made = self.kept.made.lock();
        let before = made.len();
        made.retain(|mute| !(mute.rule == rule && mute.tenant.as_deref() == tenant));
        if made.len() == before {
            return Err(MuteError::NotMuted(rule.to_owned()));
        }
        made.retain(|mute| holds_now(mute, now));
        Ok(Saved(Arc::clone(&self.kept)))
    }

    /// All that hold.
    pub(super) fn shown(&self, now: u64) -> Vec<Value> {
        let one = |mute: &Muted| json!({"rule": mute.rule, "tenant": mute.tenant, "until": mute.until.map(|at| rfc3339(UnixNanos(at)))});
        let configured = self.configured.iter().filter(|mute| mute.until.is_none_or(|until| now < until)).map(one);
        let made = self.kept.made.lock();
        configured.chain(made.iter().filter(|made| holds_now(made, now)).map(|made| one(&made.muted()))).collect()
    }
}

/// A clock that was ahead when it was asked for does not make it longer than any may be.
fn holds_now(mute: &Made, now: u64) -> bool {
    now < mute.until && mute.until.saturating_sub(now) <= LONGEST
}

fn known(rule: &str) -> Result<(), MuteError> {
    if rule == "*" || ALERT_RULES.iter().any(|(name, _)| *name == rule) {
        return Ok(());
    }
    let rules = ALERT_RULES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    Err(MuteError::NoRule { asked: kernel::terminal::clean(rule), rules })
}
