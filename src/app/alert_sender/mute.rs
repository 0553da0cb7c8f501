//! [`Mutes`]: alerts that are not sent for now, by configuration or by request while the gateway runs, so that
//! silencing an alert needs no roll-out. A requested mute ends after 30 days at most and survives a restart; unknown
//! rules are refused; the number of mutes is bounded. HTTP is in `routes`, the effect on an alert in the parent module.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use config::TimeSpan;
use kernel::clock::UnixNanos;
use kernel::files;
use runs::{Alert, AlertRule};
use telemetry::admin::webhook::CheckedMute;
use vault::object_names::rfc3339;

/// File beside the spool with the requested mutes.
const MUTES_FILE: &str = "alerts-muted.json";
/// The longest requested mute, in ns.
const MAX_MUTE_NS: u64 = 30 * 86_400 * 1_000_000_000;
/// The most requested mutes at a time.
const MAX_MUTES: usize = 200;
/// The longest name of a tenant, in bytes.
const MAX_TENANT_BYTES: usize = 256;

/// The body of a request for a mute.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MuteRequest {
    /// Duration, such as `2h`.
    r#for: String,
    /// Restricts the mute to this tenant.
    #[serde(default)]
    tenant: Option<String>,
}

/// A mute that was requested at run time.
#[derive(Serialize, Deserialize)]
struct RequestedMute {
    rule: String,
    tenant: Option<String>,
    /// End of the mute, unix ns.
    until: u64,
}

impl RequestedMute {
    fn to_muted(&self) -> CheckedMute {
        CheckedMute { rule: self.rule.clone(), tenant: self.tenant.clone(), until: Some(self.until) }
    }
}

struct MuteStore {
    requested: Mutex<Vec<RequestedMute>>,
    file: PathBuf,
    /// Serialises writers, so that the file has the latest request.
    writing: Mutex<()>,
}

/// Why a mute can't be added or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MuteError {
    #[error("no rule is named `{asked}`; rules: {rules}")]
    NoRule {
        /// The name as requested, made safe for a terminal.
        asked: String,
        /// The names of all rules.
        rules: String,
    },
    /// The body can't be parsed.
    #[error("expected {{\"for\": \"2h\", \"tenant\": …}}")]
    InvalidBody,
    /// The duration is invalid or too long.
    #[error("`for` must be a time of at most 30d, such as 2h")]
    InvalidDuration,
    /// The tenant's name is empty or too long.
    #[error("`tenant` must have 1 to 256 bytes")]
    InvalidTenant,
    /// The limit of requested mutes is reached.
    #[error("{MAX_MUTES} mutes are already active: end one first")]
    TooManyMutes,
    /// No such mute was requested at run time.
    #[error(
        "`{0}` has no mute that was set at run time; to end a configured mute, change the configuration and reload"
    )]
    NotMuted(String),
}

/// A change that has to be written to disk.
pub(super) struct PendingMuteWrite(Arc<MuteStore>);

impl PendingMuteWrite {
    /// Writes the mutes as they are now.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn write(&self) -> io::Result<()> {
        let _turn = self.0.writing.lock();
        let text = serde_json::to_vec(&*self.0.requested.lock())?;
        files::replace_file(&self.0.file, &text)
    }
}

/// All mutes, configured and requested.
pub(super) struct Mutes {
    configured: Vec<CheckedMute>,
    store: Arc<MuteStore>,
}

impl Mutes {
    /// The configured mutes. Requested ones are stored beside the file `beside`.
    ///
    /// # Errors
    /// A configured mute names an unknown rule.
    pub(super) fn new(configured: Vec<CheckedMute>, beside: &Path) -> Result<Self, MuteError> {
        for mute in &configured {
            check_rule(&mute.rule)?;
        }
        let kept = MuteStore {
            requested: Mutex::default(),
            file: beside.with_file_name(MUTES_FILE),
            writing: Mutex::default(),
        };
        Ok(Self { configured, store: Arc::new(kept) })
    }

    /// Loads the mutes that were requested before a restart.
    pub(super) fn restore(&self, now: u64) {
        let Ok(text) = std::fs::read(&self.store.file) else { return };
        let Ok(made) = serde_json::from_slice::<Vec<RequestedMute>>(&text) else {
            tracing::warn!("the record of mutes can't be read: mutes set at run time have ended");
            return;
        };
        *self.store.requested.lock() = made.into_iter().filter(|mute| is_active(mute, now)).take(MAX_MUTES).collect();
    }

    /// Whether an alert is muted now.
    pub(super) fn is_muted(&self, alert: &Alert, now: u64) -> bool {
        let mutes = |mute: &CheckedMute| mute.mutes(alert.rule.as_str(), alert.tenant.as_deref(), now);
        self.configured.iter().any(mutes)
            || self.store.requested.lock().iter().any(|made| is_active(made, now) && mutes(&made.to_muted()))
    }

    /// Mutes a rule, or all rules with `*`, for a while.
    ///
    /// # Errors
    /// The request is invalid, or too many mutes hold.
    pub(super) fn add(&self, rule: &str, asked: MuteRequest, now: u64) -> Result<PendingMuteWrite, MuteError> {
        check_rule(rule)?;
        let span = TimeSpan::parse(&asked.r#for).and_then(|span| u64::try_from(span.0.as_nanos()).ok());
        let span = span.filter(|span| (1..=MAX_MUTE_NS).contains(span));
        let span = span.ok_or(MuteError::InvalidDuration)?;
        if asked.tenant.as_ref().is_some_and(|tenant| tenant.is_empty() || tenant.len() > MAX_TENANT_BYTES) {
            return Err(MuteError::InvalidTenant);
        }
        let mut made = self.store.requested.lock();
        made.retain(|mute| is_active(mute, now) && !(mute.rule == rule && mute.tenant == asked.tenant));
        if made.len() >= MAX_MUTES {
            return Err(MuteError::TooManyMutes);
        }
        made.push(RequestedMute { rule: rule.to_owned(), tenant: asked.tenant, until: now.saturating_add(span) });
        Ok(PendingMuteWrite(Arc::clone(&self.store)))
    }

    /// Ends a requested mute.
    ///
    /// # Errors
    /// No such mute was requested. Configured mutes end when the configuration changes.
    pub(super) fn end(&self, rule: &str, tenant: Option<&str>, now: u64) -> Result<PendingMuteWrite, MuteError> {
        check_rule(rule)?;
        let mut made = self.store.requested.lock();
        let before = made.len();
        made.retain(|mute| !(mute.rule == rule && mute.tenant.as_deref() == tenant));
        if made.len() == before {
            return Err(MuteError::NotMuted(rule.to_owned()));
        }
        made.retain(|mute| is_active(mute, now));
        Ok(PendingMuteWrite(Arc::clone(&self.store)))
    }

    /// All mutes that hold now, as JSON.
    pub(super) fn to_json(&self, now: u64) -> Vec<Value> {
        let one = |mute: &CheckedMute| json!({"rule": mute.rule, "tenant": mute.tenant, "until": mute.until.map(|at| rfc3339(UnixNanos(at)))});
        let configured = self.configured.iter().filter(|mute| mute.until.is_none_or(|until| now < until)).map(one);
        let made = self.store.requested.lock();
        configured.chain(made.iter().filter(|made| is_active(made, now)).map(|made| one(&made.to_muted()))).collect()
    }
}

/// Whether a requested mute still holds. One that was made while the clock was ahead ends too.
fn is_active(mute: &RequestedMute, now: u64) -> bool {
    now < mute.until && mute.until.saturating_sub(now) <= MAX_MUTE_NS
}

fn check_rule(rule: &str) -> Result<(), MuteError> {
    if rule == "*" || AlertRule::parse(rule).is_some() {
        return Ok(());
    }
    let rules = AlertRule::ALL.iter().map(|rule| rule.as_str()).collect::<Vec<_>>().join(", ");
    Err(MuteError::NoRule { asked: kernel::terminal::escape_unsafe(rule), rules })
}
