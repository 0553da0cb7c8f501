//! **What**: [`Notify`]: sends the alerts that trackers raise to a webhook. **Why**: somebody must wake up also where no metrics
//! store looks. **Invariants**: an alert that holds is sent once; one that comes again for the same subject within an hour is
//! not; what was sent is on disk, so that a restart sends nothing twice, and what was not is sent after it; each message is
//! tried five times; names pass the redaction rules once more; neither address nor key is ever logged or answered.
//! **Not here**: which alerts there are (`processors/runs`), what a message says (`pages/notice`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hmac::{Hmac, Mac};
use http::{Request, StatusCode, header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::app::build::{Companion, Seams};
use crate::files;
use crate::net::client::{self, Client, read, upload};
use crate::net::spawn::blocking;
use crate::net::{Proxies, Spawn, tls};
use crate::pages::notice;
use crate::processors::runs::ALERT_RULES;
use crate::pseudonym::IdPolicy;
use crate::runs::{Alert, Board, Severity};
use crate::telemetry::admin::links::TraceLink;
use crate::telemetry::admin::webhook::{Least, Webhook};
use crate::telemetry::names;
use crate::{clock::UnixNanos, hex, vault::names::rfc3339};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// For one attempt.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts of one message; the pause doubles from a second, or is what the answer asks for, a minute at most.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Messages of one look; the rest is one message.
const MESSAGES: usize = 10;
/// The same rule for the same subject is not sent again within this time, ns.
const REPEAT: u64 = 3600 * 1_000_000_000;
/// What ended longer ago than this is no news, ns.
const OLD: u64 = 15 * 60 * 1_000_000_000;
/// What was sent is remembered for this long, ns; and so many.
const REMEMBERED: u64 = 48 * REPEAT;
const MOST: usize = 4096;
/// Largest answer that is read, bytes.
const ANSWER: usize = 4096;

/// What is known of an alert that was sent.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Sent {
    /// When it began, unix ns.
    since: u64,
    /// When it was last seen, unix ns.
    at: u64,
}

/// By digest of rule, account and subject.
type Told = BTreeMap<String, Sent>;

/// What becomes of an alert.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Send,
    /// It was sent, or is none of ours.
    Quiet,
    Muted,
    Repeated,
}

/// How a message ended.
enum Sending {
    Done,
    /// Why not: words of ours.
    Failed(String),
    /// The gateway ends.
    Stopped,
}

/// Whom to ask and what to use.
pub(super) struct Parts {
    pub(super) board: Arc<dyn Board>,
    pub(super) ids: Arc<dyn IdPolicy>,
    pub(super) link: Option<TraceLink>,
    pub(super) seams: Seams,
    pub(super) tasks: Arc<dyn Spawn>,
    pub(super) proxies: Arc<Proxies>,
    /// What was sent, beside the spool.
    pub(super) file: PathBuf,
}

/// See the module.
pub(super) struct Notify {
    parts: Parts,
    webhook: Webhook,
    client: Client,
    told: Mutex<Told>,
}

impl Notify {
    /// Connects to nothing.
    ///
    /// # Errors
    /// One line: TLS, or a mute of a rule that there is not.
    pub(super) fn build(webhook: Webhook, parts: Parts) -> Result<Self, String> {
        let known = |rule: &str| rule == "*" || ALERT_RULES.iter().any(|(name, _)| *name == rule);
        if let Some(mute) = webhook.mutes.iter().find(|mute| !known(&mute.rule)) {
            let names: Vec<&str> = ALERT_RULES.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "extensions.admin.alerts.mute: no rule is called `{}`: {}",
                mute.rule,
                names.join(", ")
            ));
        }
        let tls = webhook.url.expose().starts_with("https://").then(tls::Settings::default);
        let settings = client::Settings { tls, http2_only: false };
        let client = Client::build(&settings, Arc::clone(&parts.proxies), Arc::clone(&parts.tasks))?;
        Ok(Self { parts, webhook, client, told: Mutex::default() })
    }

    fn now(&self) -> u64 {
        self.parts.seams.clock.now().0
    }

    /// What becomes of an alert; what was sent and still holds stays remembered.
    fn judge(&self, told: &mut Told, alert: &Alert, now: u64) -> Verdict {
        let holds = alert.until.is_none();
        if let Some(sent) = told.get_mut(&key(alert)) {
            let again = alert.since > sent.since;
            let soon = now.saturating_sub(sent.at) < REPEAT;
            if holds || (again && soon) {
                sent.at = now;
            }
            if !again {
                return Verdict::Quiet;
            }
            if soon {
                sent.since = alert.since;
                return Verdict::Repeated;
            }
        }
        let old = alert.until.is_some_and(|until| now.saturating_sub(until) > OLD);
        if old || (self.webhook.least == Least::Critical && alert.severity != Severity::Critical) {
            return Verdict::Quiet;
        }
        let muted = self.webhook.mutes.iter().any(|mute| mute.mutes(alert.rule, alert.tenant.as_deref(), now));
        if muted { Verdict::Muted } else { Verdict::Send }
    }

    /// It was sent, or nobody wants it.
    fn mark(&self, alert: &Alert, now: u64) {
        self.told.lock().insert(key(alert), Sent { since: alert.since, at: now });
    }

    /// Alerts that are to be sent, the oldest first.
    fn news(&self) -> Vec<Alert> {
        let (now, alerts) = (self.now(), self.parts.board.alerts());
        let mut told = self.told.lock();
        let (mut news, mut muted) = (Vec::new(), Vec::new());
        for alert in alerts {
            match self.judge(&mut told, &alert, now) {
                Verdict::Send => news.push(alert),
                Verdict::Muted => muted.push(alert),
                Verdict::Repeated => self.count("repeated"),
                Verdict::Quiet => {}
            }
        }
        told.retain(|_, sent| now.saturating_sub(sent.at) < REMEMBERED);
        while told.len() > MOST {
            let oldest = told.iter().min_by_key(|(_, sent)| sent.at).map(|(key, _)| key.clone());
            oldest.and_then(|key| told.remove(&key));
        }
        drop(told);
        for alert in &muted {
            self.count("muted");
            self.mark(alert, now);
        }
        news.sort_by_key(|alert| alert.since);
        news
    }

    fn count(&self, outcome: &'static str) {
        self.parts.seams.meter.counter(&names::ALERT_MESSAGES, &[("outcome", outcome)]).increment(1);
    }

    /// One look. False: the gateway ends.
    pub(super) async fn look(&self, stop: &mut watch::Receiver<bool>) -> bool {
        let news = self.news();
        if news.is_empty() {
            return true;
        }
        let (first, rest) = news.split_at(news.len().min(MESSAGES));
        for alert in first {
            let message = notice::message(&self.redacted(alert), self.parts.link.as_ref());
            if !self.deliver(&message, std::slice::from_ref(alert), stop).await {
                return false;
            }
        }
        if !rest.is_empty() && !self.deliver(&notice::more(rest.len()), rest, stop).await {
            return false;
        }
        self.save().await;
        true
    }

    /// Sends one message about some alerts. False: the gateway ends.
    async fn deliver(&self, message: &Value, about: &[Alert], stop: &mut watch::Receiver<bool>) -> bool {
        match self.send(message, stop).await {
            Sending::Stopped => return false,
            Sending::Done => self.count("sent"),
            Sending::Failed(why) => {
                self.count("failed");
                tracing::warn!(alerts = about.len(), "alerts could not be sent to the webhook: {why}");
            }
        }
        let now = self.now();
        about.iter().for_each(|alert| self.mark(alert, now));
        true
    }

    async fn send(&self, message: &Value, stop: &mut watch::Receiver<bool>) -> Sending {
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            let why = match self.attempt(message).await {
                Ok(()) => return Sending::Done,
                Err((why, None)) => return Sending::Failed(why),
                Err((why, Some(wanted))) => {
                    pause = pause.max(wanted).min(LONGEST_PAUSE);
                    why
                }
            };
            if attempt == ATTEMPTS {
                return Sending::Failed(format!("{why}, {ATTEMPTS} times"));
            }
            let stopped = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => true,
                () = self.parts.seams.clock.sleep(pause) => false,
            };
            if stopped {
                return Sending::Stopped;
            }
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        Sending::Stopped
    }

    /// One attempt. What went wrong, and whether to come again: after how long at least.
    async fn attempt(&self, message: &Value) -> Result<(), (String, Option<Duration>)> {
        let again = |why: &str| (why.to_owned(), Some(Duration::ZERO));
        let body = message.to_string();
        let timestamp = (self.now() / 1_000_000_000).to_string();
        let mut request = Request::post(self.webhook.url.expose())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .header("x-tollgate-timestamp", &timestamp);
        if let Some(key) = &self.webhook.key {
            request = request.header("x-tollgate-signature", signature(key.expose(), &timestamp, &body));
        }
        let request = request.body(upload(Bytes::new(), body.into()));
        let request = request.map_err(|_| ("the address is none".to_owned(), None))?;
        let asked = async {
            // what the client says of a failure may name the address
            let answer = self.client.send(request).await.map_err(|_| again("no connection"))?;
            let (status, wait) = (answer.status(), retry_after(answer.headers()));
            let _ = read(answer.into_body(), ANSWER).await;
            if status.is_success() {
                return Ok(());
            }
            let come_again = status.is_server_error()
                || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
            Err((format!("it answered {}", status.as_u16()), come_again.then(|| wait.unwrap_or(Duration::ZERO))))
        };
        let late = self.parts.seams.clock.sleep(TIMEOUT);
        tokio::select! {
            answer = asked => answer,
            () = late => Err(again("no answer in time")),
        }
    }

    /// The same alert, whose names have passed the rules (again).
    fn redacted(&self, alert: &Alert) -> Alert {
        let column = |text: &str| self.parts.ids.column(&alert.account, text).into_owned();
        let shown = |text: &str| self.parts.ids.shown(&alert.account, text).into_owned();
        Alert {
            tool: column(&alert.tool),
            tenant: alert.tenant.as_deref().map(shown),
            feature: alert.feature.as_deref().map(column),
            run: keep_pseudonym(&alert.run, shown),
            session: keep_pseudonym(&alert.session, shown),
            ..alert.clone()
        }
    }

    async fn save(&self) {
        let text = serde_json::to_vec(&*self.told.lock()).unwrap_or_default();
        let file = self.parts.file.clone();
        let saved = blocking(&*self.parts.tasks, "alerts", move || files::replace(&file, &text)).await;
        if let Some(Err(error)) = saved {
            tracing::warn!("what was sent of alerts can't be kept: {}: a restart may send it again", error.kind());
        }
    }

    /// What is configured, without secrets.
    fn settings(&self) -> Value {
        let mute = |mute: &crate::telemetry::admin::webhook::Muted| json!({"rule": mute.rule, "tenant": mute.tenant, "until": mute.until.map(|at| rfc3339(UnixNanos(at)))});
        let muted: Vec<Value> = self.webhook.mutes.iter().map(mute).collect();
        json!({"configured": true, "signed": self.webhook.key.is_some(), "mute": muted})
    }

    /// Sends a message that says that it is a test.
    async fn test(&self) -> Result<(), String> {
        let now = self.now();
        let alert = Alert {
            rule: "test",
            severity: Severity::Warning,
            account: String::new(),
            run: String::new(),
            session: String::new(),
            trace: String::new(),
            tenant: None,
            feature: None,
            tool: String::new(),
            value: 1.0,
            threshold: 0.0,
            since: now,
            until: None,
        };
        self.attempt(&notice::message(&alert, None)).await.map_err(|(why, _)| why)
    }
}

/// A pseudonym stays one.
fn keep_pseudonym(id: &str, shown: impl Fn(&str) -> String) -> String {
    if id.starts_with(crate::pseudonym::PREFIX) { id.to_owned() } else { shown(id) }
}

/// Rule, account, and what it is about.
fn key(alert: &Alert) -> String {
    let mut hash = Sha256::new();
    let (tenant, feature) = (alert.tenant.as_deref().unwrap_or(""), alert.feature.as_deref().unwrap_or(""));
    let subject = [alert.run.as_str(), if alert.run.is_empty() { &alert.session } else { "" }];
    let whose = if subject == ["", ""] { [tenant, feature] } else { ["", ""] };
    for part in [alert.rule, &alert.account].into_iter().chain(subject).chain(whose) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize().get(..16).unwrap_or(&[]))
}

/// `v1=` and the HMAC-SHA-256 of `v1:TIMESTAMP:BODY`.
fn signature(key: &str, timestamp: &str, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { return String::new() }; // any length is taken
    mac.update(format!("v1:{timestamp}:{body}").as_bytes());
    format!("v1={}", hex::encode(&mac.finalize().into_bytes()))
}

fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

impl Companion for Notify {
    fn name(&self) -> &'static str {
        "alerts"
    }

    /// What was sent before. A file that can't be read costs a repetition, never the start.
    fn prepare(&self) -> Result<(), String> {
        if let Ok(text) = std::fs::read(&self.parts.file) {
            match serde_json::from_slice(&text) {
                Ok(told) => *self.told.lock() = told,
                Err(_) => tracing::warn!("what was sent of alerts is unreadable: some may be sent again"),
            }
        }
        Ok(())
    }

    fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let clock = Arc::clone(&self.parts.seams.clock);
                let ended = tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => true,
                    () = clock.sleep(EVERY) => false,
                };
                if ended || !self.look(&mut stop).await {
                    self.save().await;
                    return;
                }
            }
        })
    }
}

/// `/api/alerts/webhook` and `/api/alerts/test`.
pub(super) fn router(notify: Option<Arc<Notify>>) -> Router {
    Router::new().route("/api/alerts/webhook", get(settings)).route("/api/alerts/test", post(test)).with_state(notify)
}

type Site = State<Option<Arc<Notify>>>;

fn answer(status: StatusCode, body: &Value) -> Answer {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn settings(State(notify): Site) -> Answer {
    answer(StatusCode::OK, &notify.map_or_else(|| json!({"configured": false, "mute": []}), |notify| notify.settings()))
}

async fn test(State(notify): Site) -> Answer {
    let Some(notify) = notify else {
        return answer(StatusCode::NOT_FOUND, &json!({"error": "no `extensions.admin.alerts.url` is configured"}));
    };
    match notify.test().await {
        Ok(()) => answer(StatusCode::OK, &json!({"sent": true})),
        Err(why) => answer(StatusCode::BAD_GATEWAY, &json!({"error": format!("the webhook did not take it: {why}")})),
    }
}
