//! [`Mutes`]: alerts that are not sent for now, by configuration or by request while the gateway runs, so that
//! silencing an alert needs no roll-out. A requested mute ends after 30 days at most and survives a restart; unknown
//! rules are refused; the number of mutes is bounded. HTTP is in `routes`, the effect on an alert in the parent module.

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

/// File beside the spool with the requested mutes.
const FILE: &str = "alerts-muted.json";
/// The longest requested mute, in ns.
const LONGEST: u64 = 30 * 86_400 * 1_000_000_000;
/// The most requested mutes at a time.
const MOST: usize = 200;
/// The longest name of a tenant, in bytes.
const TENANT: usize = 256;

/// The body of a request for a mute.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Duration, such as `2h`.
    r#for: String,
    /// Restricts the mute to this tenant.
    #[serde(default)]
    tenant: Option<String>,
}

/// A mute that was requested at run time.
#[derive(Serialize, Deserialize)]
struct Made {
    rule: String,
    tenant: Option<String>,
    /// End of the mute, unix ns.
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
    /// Serialises writers, so that the file has the latest request.
    writing: Mutex<()>,
}

/// Why a mute can't be added or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MuteError {
    #[error("no rule is called `{asked}`: {rules}")]
    NoRule {
        /// The name as requested, made safe for a terminal.
        asked: String,
        /// The names of all rules.
        rules: String,
    },
    /// The body can't be parsed.
    #[error("expected {{\"for\": \"2h\", \"tenant\": …}}")]
    Body,
    /// The duration is invalid or too long.
    #[error("`for` must be a time of at most 30d, such as 2h")]
    Span,
    /// The tenant's name is empty or too long.
    #[error("`tenant` must have 1 to 256 bytes")]
    Tenant,
    /// The limit of requested mutes is reached.
    #[error("{MOST} mutes hold already: end one")]
    Full,
    /// No such mute was requested at run time.
    #[error("`{0}` is not muted here; what the configuration mutes ends with a reload")]
    NotMuted(String),
}

/// A change that has to be written to disk.
pub(super) struct Saved(Arc<Kept>);

impl Saved {
    /// Writes the mutes as they are now.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn write(&self) -> io::Result<()> {
        let _turn = self.0.writing.lock();
        let text = serde_json::to_vec(&*self.0.made.lock())?;
        files::replace(&self.0.file, &text)
    }
}

/// All mutes, configured and requested.
pub(super) struct Mutes {
    configured: Vec<Muted>,
    kept: Arc<Kept>,
}

impl Mutes {
    /// The configured mutes. Requested ones are stored beside the file `beside`.
    ///
    /// # Errors
    /// A configured mute names an unknown rule.
    pub(super) fn new(configured: Vec<Muted>, beside: &Path) -> Result<Self, MuteError> {
        for mute in &configured {
            known(&mute.rule)?;
        }
        let kept = Kept { made: Mutex::default(), file: beside.with_file_name(FILE), writing: Mutex::default() };
        Ok(Self { configured, kept: Arc::new(kept) })
    }

    /// Loads the mutes that were requested before a restart.
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

    /// Mutes a rule, or all rules with `*`, for a while.
    ///
    /// # Errors
    /// The request is invalid, or too many mutes hold.
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

    /// Ends a requested mute.
    ///
    /// # Errors
    /// No such mute was requested. Configured mutes end when the configuration changes.
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

    /// All mutes that hold now, as JSON.
    pub(super) fn shown(&self, now: u64) -> Vec<Value> {
        let one = |mute: &Muted| json!({"rule": mute.rule, "tenant": mute.tenant, "until": mute.until.map(|at| rfc3339(UnixNanos(at)))});
        let configured = self.configured.iter().filter(|mute| mute.until.is_none_or(|until| now < until)).map(one);
        let made = self.kept.made.lock();
        configured.chain(made.iter().filter(|made| holds_now(made, now)).map(|made| one(&made.muted()))).collect()
    }
}

/// Whether a requested mute still holds. One that was made while the clock was ahead ends too.
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
