//! `alerts` of the admin extension: where tollgate sends the alerts that it computes itself, and how messages are
//! signed. The URL is a secret, because anyone who knows it can post there. `src/app/alert_sender` sends the
//! messages, `pages/alert_message` writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, address};
use kernel::secret::Secret;

/// Shortest signing key, in bytes.
const MIN_KEY_BYTES: usize = 16;

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
        (problems.len() == earlier_problems).then_some(AlertWebhook { url, key, min_severity: self.severity })
    }
}
