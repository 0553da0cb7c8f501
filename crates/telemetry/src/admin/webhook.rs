//! **What**: `alerts` of the admin extension: where the alerts that tollgate computes itself are sent, how messages are
//! signed, what is muted. **Invariants**: the address is a secret, as whoever knows it can write there; a mute that
//! can't be understood is refused, so that nobody relies on it. **Not here**: sending (`app/notify`), messages
//! (`pages/notice`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use config::{FieldProblem, address};
use kernel::secret::Secret;

/// Shortest signing key, bytes.
const SHORTEST: usize = 16;
/// Most mutes.
const MUTES: usize = 200;

/// From which severity on alerts are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Least {
    /// All.
    #[default]
    Warning,
    /// Those that must wake somebody.
    Critical,
}

/// An alert that is not sent. It is counted and shown all the same.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mute {
    /// The rule, or `*`.
    pub rule: String,
    /// For this tenant alone.
    pub tenant: Option<String>,
    /// Until then, e.g. `2026-12-24T18:00:00Z`; for good without it.
    pub until: Option<String>,
}

/// Where the alerts that tollgate computes itself are sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// An incoming webhook of Slack, or anything that takes its JSON. A secret: give it as `${env:…}` or `${file:…}`.
    pub url: Option<Secret>,
    /// Signs each message: `X-Tollgate-Signature` is `v1=` and the HMAC-SHA-256 in hex of `v1:TIMESTAMP:BODY`. At least
    /// 16 bytes.
    pub signing_key: Option<Secret>,
    /// From which severity on: `warning` or `critical`.
    pub severity: Least,
    /// What is not sent.
    pub mute: Vec<Mute>,
}

/// A mute that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Muted {
    /// The rule, or `*`.
    pub rule: String,
    /// For this tenant alone.
    pub tenant: Option<String>,
    /// Until then, unix ns.
    pub until: Option<u64>,
}

impl Muted {
    /// Whether it mutes an alert of this rule and tenant now.
    pub fn mutes(&self, rule: &str, tenant: Option<&str>, now: u64) -> bool {
        (self.rule == "*" || self.rule == rule)
            && self.tenant.as_deref().is_none_or(|mine| tenant == Some(mine))
            && self.until.is_none_or(|until| now < until)
    }
}

/// Valid settings.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where to send.
    pub url: Secret,
    /// What messages are signed with.
    pub key: Option<Secret>,
    /// From which severity on.
    pub least: Least,
    /// What is not sent.
    pub mutes: Vec<Muted>,
}

impl Config {
    /// Checks it. `None`: nothing is sent.
    pub(super) fn settings(&self, problems: &mut Vec<FieldProblem>) -> Option<Webhook> {
        let before = problems.len();
        let mut bad = |field: &str, what: &str| problems.push(FieldProblem::new(format!("alerts.{field}"), what));
        if self.signing_key.as_ref().is_some_and(|key| key.expose().len() < SHORTEST) {
            bad("signing_key", "is shorter than 16 bytes: it could be guessed");
        }
        if self.mute.len() > MUTES {
            bad("mute", "has more than 200 entries");
        }
        let mut mutes = Vec::new();
        for (at, mute) in self.mute.iter().enumerate() {
            let name = |c: char| c.is_ascii_lowercase() || c == '_';
            if mute.rule != "*" && (mute.rule.is_empty() || !mute.rule.chars().all(name)) {
                bad(&format!("mute[{at}].rule"), "must be the name of a rule (docs/runs.md), or `*`");
            }
            let until = mute.until.as_deref().map(instant);
            if until == Some(None) {
                bad(&format!("mute[{at}].until"), "must be a time such as 2026-12-24T18:00:00Z");
            }
            mutes.push(Muted { rule: mute.rule.clone(), tenant: mute.tenant.clone(), until: until.flatten() });
        }
        match &self.url {
            None if self.signing_key.is_some() => bad("signing_key", "signs nothing without `url`"),
            None => {}
            Some(url) => {
                if let Err(what) = address::url(url.expose()) {
                    bad("url", &what);
                }
            }
        }
        let (url, key) = (self.url.clone()?, self.signing_key.clone());
        (problems.len() == before).then_some(Webhook { url, key, least: self.severity, mutes })
    }
}

fn instant(text: &str) -> Option<u64> {
    u64::try_from(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos()).ok()
}
