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
    fn to_checked(&self) -> CheckedMute {
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
    #[error("no rule is named `{requested}`; rules: {rules}")]
    NoRule {
        /// The name as requested, made safe for a terminal.
        requested: String,
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
        let _guard = self.0.writing.lock();
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
    /// The configured mutes. Requested ones are stored beside `sent_alerts_file`.
    ///
    /// # Errors
    /// A configured mute names an unknown rule.
    pub(super) fn new(configured: Vec<CheckedMute>, sent_alerts_file: &Path) -> Result<Self, MuteError> {
        for mute in &configured {
            check_rule(&mute.rule)?;
        }
        let store = MuteStore {
            requested: Mutex::default(),
            file: sent_alerts_file.with_file_name(MUTES_FILE),
            writing: Mutex::default(),
        };
        Ok(Self { configured, store: Arc::new(store) })
    }

    /// Loads the mutes that were requested before a restart.
    pub(super) fn restore(&self, now: u64) {
        let Ok(text) = std::fs::read(&self.store.file) else { return };
        let Ok(requested) = serde_json::from_slice::<Vec<RequestedMute>>(&text) else {
            tracing::warn!("the record of mutes can't be read: mutes set at run time have ended");
            return;
        };
        *self.store.requested.lock() =
            requested.into_iter().filter(|mute| is_active(mute, now)).take(MAX_MUTES).collect();
    }

    /// Whether an alert is muted now.
    pub(super) fn is_muted(&self, alert: &Alert, now: u64) -> bool {
        let applies = |mute: &CheckedMute| mute.mutes(alert.rule.as_str(), alert.tenant.as_deref(), now);
        self.configured.iter().any(applies)
            || self
                .store
                .requested
                .lock()
                .iter()
                .any(|requested| is_active(requested, now) && applies(&requested.to_checked()))
    }

    /// Mutes a rule, or all rules with `*`, for a while.
    ///
    /// # Errors
    /// The request is invalid, or too many mutes hold.
    pub(super) fn add(&self, rule: &str, request: MuteRequest, now: u64) -> Result<PendingMuteWrite, MuteError> {
        check_rule(rule)?;
        let duration_ns =
            TimeSpan::parse(&request.r#for).and_then(|duration_ns| u64::try_from(duration_ns.0.as_nanos()).ok());
        let duration_ns = duration_ns.filter(|duration_ns| (1..=MAX_MUTE_NS).contains(duration_ns));
        let duration_ns = duration_ns.ok_or(MuteError::InvalidDuration)?;
        if request.tenant.as_ref().is_some_and(|tenant| tenant.is_empty() || tenant.len() > MAX_TENANT_BYTES) {
            return Err(MuteError::InvalidTenant);
        }
        let mut requested = self.store.requested.lock();
        requested.retain(|mute| is_active(mute, now) && !(mute.rule == rule && mute.tenant == request.tenant));
        if requested.len() >= MAX_MUTES {
            return Err(MuteError::TooManyMutes);
        }
        requested.push(RequestedMute {
            rule: rule.to_owned(),
            tenant: request.tenant,
            until: now.saturating_add(duration_ns),
        });
        Ok(PendingMuteWrite(Arc::clone(&self.store)))
    }

    /// Ends a requested mute.
    ///
    /// # Errors
    /// No such mute was requested. Configured mutes end when the configuration changes.
    pub(super) fn end(&self, rule: &str, tenant: Option<&str>, now: u64) -> Result<PendingMuteWrite, MuteError> {
        check_rule(rule)?;
        let mut requested = self.store.requested.lock();
        let before = requested.len();
        requested.retain(|mute| !(mute.rule == rule && mute.tenant.as_deref() == tenant));
        if requested.len() == before {
            return Err(MuteError::NotMuted(rule.to_owned()));
        }
        requested.retain(|mute| is_active(mute, now));
        Ok(PendingMuteWrite(Arc::clone(&self.store)))
    }

    /// All mutes that hold now, as JSON.
    pub(super) fn to_json(&self, now: u64) -> Vec<Value> {
        let render = |mute: &CheckedMute| json!({"rule": mute.rule, "tenant": mute.tenant, "until": mute.until.map(|at| rfc3339(UnixNanos(at)))});
        let configured = self.configured.iter().filter(|mute| mute.until.is_none_or(|until| now < until)).map(render);
        let requested = self.store.requested.lock();
        configured
            .chain(
                requested
                    .iter()
                    .filter(|requested| is_active(requested, now))
                    .map(|requested| render(&requested.to_checked())),
            )
            .collect()
    }
}

/// Whether a requested mute still holds. A mute made while the clock was ahead would last too long, so it has ended.
fn is_active(mute: &RequestedMute, now: u64) -> bool {
    now < mute.until && mute.until.saturating_sub(now) <= MAX_MUTE_NS
}

fn check_rule(rule: &str) -> Result<(), MuteError> {
    if rule == "*" || AlertRule::parse(rule).is_some() {
        return Ok(());
    }
    let rules = AlertRule::ALL.iter().map(|rule| rule.as_str()).collect::<Vec<_>>().join(", ");
    Err(MuteError::NoRule { requested: kernel::terminal::escape_unsafe(rule), rules })
}
