//! `alerts` of the admin extension: where tollgate sends the alerts that it computes itself, how messages are signed,
//! and which alerts are muted. The URL is a secret, because anyone who knows it can post there. An invalid mute is
//! an error, so that no one relies on it. `src/app/alert_sender.rs` sends, `pages/alert_message`
//! writes the messages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use config::{FieldProblem, address};
use kernel::secret::Secret;

/// Shortest signing key, in bytes.
const MIN_KEY_BYTES: usize = 16;
/// Maximum number of mutes.
const MAX_MUTES: usize = 200;

/// The least severity that is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MinimumSeverity {
    /// All alerts.
    #[default]
    Warning,
    /// Only alerts that need someone at once.
    Critical,
}

/// An alert that is not sent. It is still counted and shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertMute {
    /// Name of the rule, or `*` for all rules.
    pub rule: String,
    /// Only for this tenant. Default: all tenants.
    pub tenant: Option<String>,
    /// End of the mute, such as `2026-12-24T18:00:00Z`. Without this key it never ends.
    pub until: Option<String>,
}

/// Where tollgate sends the alerts that it computes itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertWebhookConfig {
    /// URL of a Slack incoming webhook, or of a service that accepts its JSON. It is a secret: write it as `${env:…}`
    /// or `${file:…}`.
    pub url: Option<Secret>,
    /// Key that signs each message: the header `X-Tollgate-Signature` is `v1=` and the HMAC-SHA-256, in hex, of
    /// `v1:TIMESTAMP:BODY`. At least 16 bytes.
    pub signing_key: Option<Secret>,
    /// The least severity that is sent: `warning` (default) or `critical`.
    pub severity: MinimumSeverity,
    /// Alerts that are not sent.
    pub mute: Vec<AlertMute>,
}

/// A checked mute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedMute {
    /// Name of the rule, or `*` for all rules.
    pub rule: String,
    /// Only for this tenant; `None`: all tenants.
    pub tenant: Option<String>,
    /// End of the mute, in Unix nanoseconds; `None`: never.
    pub until: Option<u64>,
}

impl CheckedMute {
    /// Whether an alert of this rule and tenant is muted at the time `now`.
    pub fn mutes(&self, rule: &str, tenant: Option<&str>, now: u64) -> bool {
        (self.rule == "*" || self.rule == rule)
            && self.tenant.as_deref().is_none_or(|muted| tenant == Some(muted))
            && self.until.is_none_or(|until| now < until)
    }
}

/// The checked webhook settings.
#[derive(Clone, Debug)]
pub struct AlertWebhook {
    /// URL that messages are posted to.
    pub url: Secret,
    /// Key that signs messages.
    pub key: Option<Secret>,
    /// The least severity that is sent.
    pub min_severity: MinimumSeverity,
    /// Alerts that are not sent.
    pub mutes: Vec<CheckedMute>,
}

impl AlertWebhookConfig {
    /// Validates the settings. `None` means that nothing is sent.
    pub(super) fn settings(&self, problems: &mut Vec<FieldProblem>) -> Option<AlertWebhook> {
        let earlier_problems = problems.len();
        let mut add_problem =
            |field: &str, what: &str| problems.push(FieldProblem::new(format!("alerts.{field}"), what));
        if self.signing_key.as_ref().is_some_and(|key| key.expose().len() < MIN_KEY_BYTES) {
            add_problem("signing_key", "must have at least 16 bytes");
        }
        if self.mute.len() > MAX_MUTES {
            add_problem("mute", "must have at most 200 entries");
        }
        let mut mutes = Vec::new();
        for (index, mute) in self.mute.iter().enumerate() {
            let is_name_char = |c: char| c.is_ascii_lowercase() || c == '_';
            if mute.rule != "*" && (mute.rule.is_empty() || !mute.rule.chars().all(is_name_char)) {
                add_problem(&format!("mute[{index}].rule"), "must be the name of a rule (docs/runs.md), or `*`");
            }
            let until = mute.until.as_deref().map(parse_instant);
            if until == Some(None) {
                add_problem(&format!("mute[{index}].until"), "must be a time such as 2026-12-24T18:00:00Z");
            }
            mutes.push(CheckedMute { rule: mute.rule.clone(), tenant: mute.tenant.clone(), until: until.flatten() });
        }
        match &self.url {
            None if self.signing_key.is_some() => {
                add_problem("signing_key", "has no effect without `url`: set `url`, or remove it")
            }
            None => {}
            Some(url) => {
                if let Err(what) = address::parse_url(url.expose()) {
                    add_problem("url", &what);
                }
            }
        }
        let (url, key) = (self.url.clone()?, self.signing_key.clone());
        (problems.len() == earlier_problems).then_some(AlertWebhook { url, key, min_severity: self.severity, mutes })
    }
}

fn parse_instant(text: &str) -> Option<u64> {
    u64::try_from(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos()).ok()
}
