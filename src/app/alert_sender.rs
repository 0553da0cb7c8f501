//! [`AlertSender`] sends the alerts that trackers raise to a webhook, for installations without alerting on metrics. An
//! alert is sent once while it holds, and not again for the same subject within an hour; each sent alert is recorded
//! on disk before the next message, so a crash repeats at most one message. After five failed attempts a message waits
//! while others are sent. Critical alerts come first, and no account's alerts crowd out another's. Sending does not
//! delay shutdown. Names pass the redaction rules again; address and key are never logged. Rules are in the crate
//! `tracker`, message texts in `pages/alert_message`, mutes in `mute`, pauses in `pauses`, HTTP in `routes`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, StatusCode, header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

mod mute;
mod pauses;
pub(super) mod routes;
mod send_order;

use crate::app::build::{BackgroundTask, GatewayDeps};
use crate::app::start_error::StartError;
use history::{RunHistory, RunRecord};
use kernel::files;
use kernel::hex;
use kernel::pseudonym::IdPolicy;
use kernel::sha256::{Sha256, hmac_sha256};
use net::client::{self, HttpClient, read_response, upload_body};
use net::spawn::run_blocking;
use net::{ProxyRules, Spawn, tls};
use pages::alert_message;
use runs::{Alert, AlertSeverity, RunCatalog};
use telemetry::admin::webhook::{AlertWebhook, MinimumSeverity};
use telemetry::names;

use mute::Mutes;
use pauses::{WebhookPauses, alert_key};
use send_order::sort_for_sending;

/// Time between two evaluations.
const EVALUATION_INTERVAL: Duration = Duration::from_secs(2);
/// Time limit of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts per evaluation and message.
const MAX_ATTEMPTS: u32 = 5;
/// The pause after the first attempt. It doubles, or follows a longer `Retry-After`, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Messages per evaluation; the remaining alerts are summed up in one message.
const MAX_MESSAGES: usize = 10;
/// The same rule and subject is not sent again within this time, in ns.
const REPEAT_INTERVAL: u64 = 3600 * 1_000_000_000;
/// An alert that ended longer ago than this is not sent, in ns.
const MAX_ENDED_AGE: u64 = 15 * 60 * 1_000_000_000;
/// Sent alerts are remembered for this long, in ns, and at most [`MAX_RECORDS`] of them.
const RECORD_RETENTION: u64 = 48 * REPEAT_INTERVAL;
const MAX_RECORDS: usize = 4096;
/// The largest answer, and the largest request body of the routes, in bytes.
const MAX_BODY_BYTES: usize = 4096;

/// The record of an alert that was sent.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct SentAlert {
    /// When the alert began, unix ns.
    since: u64,
    /// When the alert last held, unix ns.
    #[serde(rename = "at")]
    last_held: u64,
    /// When it was sent, unix ns; 0 if it was muted.
    #[serde(default, rename = "told")]
    sent_at: u64,
    /// The beginning of a later alert that was suppressed as a repetition, unix ns; it is counted once.
    #[serde(default, rename = "soon")]
    repeated_since: u64,
}

/// Sent alerts, by [`alert_key`].
type SentAlerts = BTreeMap<String, SentAlert>;

/// The decision about an alert.
#[derive(Debug, PartialEq, Eq)]
enum AlertDecision {
    Send,
    /// Already sent or counted as repeated, ended too long ago, or below the configured severity.
    Skip,
    Muted,
    Repeated,
}

/// The result of sending a message.
enum SendResult {
    Sent,
    /// The message may succeed later.
    Failed {
        /// The reason in fixed words.
        why: String,
        /// Whether any other message would have failed too.
        affects_all: bool,
    },
    /// The webhook will never accept the message; the reason in fixed words.
    Refused(String),
    /// The gateway shuts down.
    Stopped,
}

/// Whether a failed message is retried.
enum RetryDecision {
    /// Within the same attempts, after at least this pause.
    After(Duration),
    /// In a later evaluation.
    Later,
    Never,
}

/// The failure of one attempt.
struct AttemptFailure {
    /// The reason in fixed words.
    why: String,
    retry: RetryDecision,
    /// Whether any other message would have failed as well.
    affects_all: bool,
}

impl AttemptFailure {
    fn affecting_all(why: &str) -> Self {
        Self { why: why.to_owned(), retry: RetryDecision::After(Duration::ZERO), affects_all: true }
    }
}

/// The resources for sending alerts.
pub(super) struct AlertSenderParts {
    pub(super) catalog: Arc<dyn RunCatalog>,
    pub(super) ids: Arc<dyn IdPolicy>,
    pub(super) links: alert_message::MessageLinks,
    /// Runs, from which a message shows an example.
    pub(super) history: Arc<RunHistory>,
    pub(super) deps: GatewayDeps,
    pub(super) tasks: Arc<dyn Spawn>,
    pub(super) proxies: Arc<ProxyRules>,
    /// The file that records sent alerts, beside the spool.
    pub(super) file: PathBuf,
}

/// Sends alerts to one webhook.
pub(super) struct AlertSender {
    parts: AlertSenderParts,
    webhook: AlertWebhook,
    client: HttpClient,
    mutes: Mutes,
    sent_alerts: Mutex<SentAlerts>,
    pauses: Mutex<WebhookPauses>,
    /// Whether `sent_alerts` differs from its file.
    unsaved: AtomicBool,
    /// When the last test message was sent, unix ns.
    last_test: AtomicU64,
}

impl AlertSender {
    /// Builds the sender; opens no connection.
    ///
    /// # Errors
    /// TLS can't be set up, or a mute names an unknown rule.
    pub(super) fn build(webhook: AlertWebhook, parts: AlertSenderParts) -> Result<Self, StartError> {
        let mutes = Mutes::new(webhook.mutes.clone(), &parts.file);
        let mutes = mutes.map_err(|why| StartError::new(format!("extensions.admin.alerts.mute: {why}")))?;
        let tls = webhook.url.expose().starts_with("https://").then(tls::ClientTlsSettings::default);
        let settings = client::ClientSettings { tls, http2_only: false };
        let client = HttpClient::build(&settings, Arc::clone(&parts.proxies), Arc::clone(&parts.tasks))?;
        let (sent_alerts, pauses, unsaved, last_test) = Default::default();
        Ok(Self { parts, webhook, client, mutes, sent_alerts, pauses, unsaved, last_test })
    }

    fn now(&self) -> u64 {
        self.parts.deps.clock.now().0
    }

    /// Decides about an alert, and keeps the record of a sent alert that still holds.
    fn decide(&self, sent_alerts: &mut SentAlerts, alert: &Alert, now: u64) -> AlertDecision {
        if let Some(sent) = sent_alerts.get_mut(&alert_key(alert)) {
            if alert.until.is_none() {
                sent.last_held = now;
            }
            if alert.since <= sent.since {
                return AlertDecision::Skip;
            }
            if now.abs_diff(sent.sent_at) < REPEAT_INTERVAL {
                // If the alert still holds after the interval, it is sent then.
                let is_counted = std::mem::replace(&mut sent.repeated_since, alert.since) == alert.since;
                return if is_counted { AlertDecision::Skip } else { AlertDecision::Repeated };
            }
        }
        let is_old = alert.until.is_some_and(|until| now.saturating_sub(until) > MAX_ENDED_AGE);
        if is_old
            || (self.webhook.min_severity == MinimumSeverity::Critical && alert.severity != AlertSeverity::Critical)
        {
            return AlertDecision::Skip;
        }
        if self.mutes.is_muted(alert, now) { AlertDecision::Muted } else { AlertDecision::Send }
    }

    /// Records an alert as sent at `sent_at`, or as muted (0).
    fn record_sent(&self, alert: &Alert, now: u64, sent_at: u64) {
        let sent = SentAlert { since: alert.since, last_held: now, sent_at, repeated_since: 0 };
        self.sent_alerts.lock().insert(alert_key(alert), sent);
        self.unsaved.store(true, Ordering::Relaxed);
    }

    /// The alerts to send, in sending order.
    fn collect_due_alerts(&self) -> Vec<Alert> {
        let (now, alerts) = (self.now(), self.parts.catalog.alerts());
        let mut sent_alerts = self.sent_alerts.lock();
        // A record with a time in the future, from a clock that was ahead, must not suppress alerts.
        sent_alerts.retain(|_, sent| {
            now.abs_diff(sent.last_held) < RECORD_RETENTION && sent.since <= now.saturating_add(REPEAT_INTERVAL)
        });
        let (mut due, mut muted) = (Vec::new(), Vec::new());
        // Another replica of a fleet sends its own.
        for alert in alerts.into_iter().filter(|alert| alert.owner.is_here()) {
            match self.decide(&mut sent_alerts, &alert, now) {
                AlertDecision::Send => due.push(alert),
                AlertDecision::Muted => muted.push(alert),
                AlertDecision::Repeated => {
                    self.count_message("repeated");
                    self.unsaved.store(true, Ordering::Relaxed);
                }
                AlertDecision::Skip => {}
            }
        }
        while sent_alerts.len() > MAX_RECORDS {
            let oldest = sent_alerts.iter().min_by_key(|(_, sent)| sent.last_held).map(|(key, _)| key.clone());
            oldest.and_then(|key| sent_alerts.remove(&key));
        }
        drop(sent_alerts);
        for alert in &muted {
            self.count_message("muted");
            self.record_sent(alert, now, 0);
        }
        sort_for_sending(due)
    }

    fn count_message(&self, outcome: &'static str) {
        self.parts.deps.meter.counter(&names::ALERT_MESSAGES, &[("outcome", outcome)]).increment(1);
    }

    /// Evaluates all alerts once and sends messages. Returns false if the gateway shuts down.
    pub(super) async fn evaluate_alerts(&self, stop: &mut watch::Receiver<bool>) -> bool {
        let due = self.collect_due_alerts();
        let due = self.pauses.lock().filter_due(due, self.now());
        let (single, summed_up) = due.split_at_checked(MAX_MESSAGES).unwrap_or((&due, &[]));
        let runs = if single.is_empty() { Vec::new() } else { self.parts.history.all_runs() };
        for alert in single {
            let run = alert_message::example_run(alert, &runs).map(|run| self.redact_run(run));
            let message = alert_message::format_alert(&self.redact_alert(alert), &self.parts.links, run.as_ref());
            if matches!(self.deliver(&message, std::slice::from_ref(alert), stop).await, SendResult::Stopped) {
                return false;
            }
            if self.pauses.lock().is_webhook_paused(self.now()) {
                // The whole webhook fails; the other alerts are sent with the next attempt.
                return true;
            }
        }
        if !summed_up.is_empty()
            && matches!(
                self.deliver(&alert_message::format_more_alerts(summed_up, &self.parts.links), summed_up, stop).await,
                SendResult::Stopped
            )
        {
            return false;
        }
        self.save().await;
        true
    }

    /// Sends one message about some alerts. If it fails, the alerts still count as not sent.
    async fn deliver(&self, message: &Value, alerts: &[Alert], stop: &mut watch::Receiver<bool>) -> SendResult {
        let result = self.send(message, alerts, stop).await;
        let now = self.now();
        match &result {
            SendResult::Stopped => {}
            SendResult::Sent => {
                self.count_message("sent");
                self.pauses.lock().record_success();
            }
            SendResult::Failed { why, affects_all } => {
                self.count_message("failed");
                let pause = self.pauses.lock().record_failure(alerts, *affects_all, now) / 1_000_000_000;
                tracing::warn!(
                    alerts = alerts.len(),
                    "an alert could not be sent to the webhook: {why}; retrying in {pause} s if it still holds"
                );
            }
            SendResult::Refused(why) => {
                self.count_message("failed");
                tracing::warn!(alerts = alerts.len(), "the webhook rejects an alert: {why}");
            }
        }
        if matches!(result, SendResult::Sent | SendResult::Refused(_)) {
            alerts.iter().for_each(|alert| self.record_sent(alert, now, now));
        }
        self.save().await;
        result
    }

    async fn send(&self, message: &Value, alerts: &[Alert], stop: &mut watch::Receiver<bool>) -> SendResult {
        let (delivery, mut pause) = (delivery_id(alerts), FIRST_PAUSE);
        for attempt in 1..=MAX_ATTEMPTS {
            let answer = tokio::select! {
                biased;
                answer = self.attempt(message, &delivery) => answer,
                _ = stop.wait_for(|stop| *stop) => return SendResult::Stopped,
            };
            let Err(AttemptFailure { why, retry, affects_all }) = answer else { return SendResult::Sent };
            match retry {
                RetryDecision::Never => return SendResult::Refused(why),
                RetryDecision::Later => return SendResult::Failed { why, affects_all },
                RetryDecision::After(wanted) => pause = pause.max(wanted).min(LONGEST_PAUSE),
            }
            if attempt == MAX_ATTEMPTS {
                return SendResult::Failed { why: format!("{why}, after {MAX_ATTEMPTS} attempts"), affects_all };
            }
            let stopped = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => true,
                () = self.parts.deps.clock.sleep(pause) => false,
            };
            if stopped {
                return SendResult::Stopped;
            }
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        SendResult::Stopped
    }

    /// Sends one request.
    async fn attempt(&self, message: &Value, delivery: &str) -> Result<(), AttemptFailure> {
        let body = message.to_string();
        let timestamp = (self.now() / 1_000_000_000).to_string();
        let mut request = Request::post(self.webhook.url.expose())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .header("x-tollgate-delivery", delivery)
            .header("x-tollgate-timestamp", &timestamp);
        if let Some(key) = &self.webhook.key {
            request = request.header("x-tollgate-signature", sign_body(key.expose(), &timestamp, &body));
        }
        let request = request.body(upload_body(Bytes::new(), body.into()));
        let request = request.map_err(|_| AttemptFailure {
            retry: RetryDecision::Later,
            ..AttemptFailure::affecting_all("the webhook URL is invalid")
        })?;
        let exchange = async {
            // The client's error may contain the address, so it is not passed on.
            let answer = self.client.send(request).await.map_err(|_| AttemptFailure::affecting_all("no connection"))?;
            let (status, wanted_pause) = (answer.status(), retry_after(answer.headers()));
            let _ = read_response(answer.into_body(), MAX_BODY_BYTES).await;
            if status.is_success() {
                return Ok(());
            }
            let retry = match status {
                _ if status.is_server_error() => RetryDecision::After(wanted_pause.unwrap_or_default()),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                    RetryDecision::After(wanted_pause.unwrap_or_default())
                }
                // The webhook refuses this message, not all of them.
                StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                    RetryDecision::Never
                }
                _ => RetryDecision::Later,
            };
            // A rate limit concerns all messages.
            let affects_all = status == StatusCode::TOO_MANY_REQUESTS;
            Err(AttemptFailure { why: format!("it answered {}", status.as_u16()), retry, affects_all })
        };
        let timeout = self.parts.deps.clock.sleep(ATTEMPT_TIMEOUT);
        tokio::select! {
            answer = exchange => answer,
            () = timeout => Err(AttemptFailure::affecting_all("no answer in time")),
        }
    }

    /// A copy of the alert whose names have passed the redaction rules once more.
    fn redact_alert(&self, alert: &Alert) -> Alert {
        let redact_name = |text: &str| self.parts.ids.redact_column(&alert.account, text).into_owned();
        let redact_id = |text: &str| self.parts.ids.shown_id(&alert.account, text).into_owned();
        Alert {
            tool: redact_name(&alert.tool),
            tenant: alert.tenant.as_deref().map(redact_id),
            feature: alert.feature.as_deref().map(redact_name),
            run: keep_pseudonym(&alert.run, redact_id),
            session: keep_pseudonym(&alert.session, redact_id),
            ..alert.clone()
        }
    }

    /// A copy of the run whose id has passed the redaction rules once more.
    fn redact_run(&self, run: &RunRecord) -> RunRecord {
        let redact_id = |text: &str| self.parts.ids.shown_id(&run.account, text).into_owned();
        RunRecord { run: keep_pseudonym(&run.run, redact_id).into(), ..run.clone() }
    }

    async fn save(&self) {
        if !self.unsaved.swap(false, Ordering::Relaxed) {
            return;
        }
        let text = serde_json::to_vec(&*self.sent_alerts.lock()).unwrap_or_default();
        let file = self.parts.file.clone();
        let saved = run_blocking(&*self.parts.tasks, "alerts", move || files::replace_file(&file, &text)).await;
        if let Some(Err(error)) = saved {
            tracing::warn!(
                "the record of sent alerts can't be saved: {}; after a restart they may be sent again",
                error.kind()
            );
        }
    }

    /// The configuration without secrets.
    fn settings_json(&self) -> Value {
        json!({"configured": true, "signed": self.webhook.key.is_some(), "mute": self.mutes.to_json(self.now())})
    }
}

/// Keeps a pseudonym as it is, and passes other ids through `redact_id`.
fn keep_pseudonym(id: &str, redact_id: impl Fn(&str) -> String) -> String {
    if id.starts_with(kernel::pseudonym::PREFIX) { id.to_owned() } else { redact_id(id) }
}

/// An id that is the same for each attempt of a message, so that the receiver can detect duplicates.
fn delivery_id(alerts: &[Alert]) -> String {
    let mut hash = Sha256::new();
    for alert in alerts {
        hash.update(alert_key(alert));
        hash.update(alert.since.to_le_bytes());
    }
    hex::encode(hash.finalize().get(..16).unwrap_or(&[]))
}

/// `v1=` and the HMAC-SHA-256 of `v1:TIMESTAMP:BODY`.
fn sign_body(key: &str, timestamp: &str, body: &str) -> String {
    let code = hmac_sha256(key.as_bytes(), format!("v1:{timestamp}:{body}").as_bytes());
    format!("v1={}", hex::encode(&code))
}

fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

impl BackgroundTask for AlertSender {
    fn name(&self) -> &'static str {
        "alerts"
    }

    /// Loads the record of sent alerts. An unreadable file may cause repetitions, but does not prevent the start.
    fn prepare(&self) -> Result<(), StartError> {
        if let Ok(text) = std::fs::read(&self.parts.file) {
            match serde_json::from_slice(&text) {
                Ok(sent_alerts) => *self.sent_alerts.lock() = sent_alerts,
                Err(_) => tracing::warn!("the record of sent alerts can't be read: some alerts may be sent again"),
            }
        }
        self.mutes.restore(self.now());
        Ok(())
    }

    fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let clock = Arc::clone(&self.parts.deps.clock);
                let ended = tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => true,
                    () = clock.sleep(EVALUATION_INTERVAL) => false,
                };
                if ended || !self.evaluate_alerts(&mut stop).await {
                    self.save().await;
                    return;
                }
            }
        })
    }
}
