//! [`AlertSender`] posts the alerts that trackers raise to a webhook: one message when an alert begins and one when it
//! ends, in that order. Messages wait in a bounded queue while the webhook fails. Each sent message is recorded on disk
//! before the next, so a crash repeats at most one; sending does not delay shutdown. Names pass the redaction rules
//! again; address and key are never logged. Rules are in the crate `tracker`, texts in `pages/alert_message`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub(super) mod routes;

use crate::app::build::{BackgroundTask, background_task};
use crate::app::start_error::StartError;
use history::{RETENTION, RunBoard};
use kernel::files;
use kernel::hex;
use kernel::pseudonym::IdPolicy;
use kernel::sha256::{Sha256, hmac_sha256};
use net::client::{self, HttpClient, read_response, upload_body};
use net::spawn::run_blocking;
use net::{SharedServices, tls};
use pages::alert_message;
use runs::fair_eviction::choose_eviction;
use runs::{Alert, AlertSeverity, RunView};
use telemetry::admin::webhook::{AlertWebhook, MinimumSeverity};
use telemetry::names;

const EVALUATION_INTERVAL: Duration = Duration::from_secs(2);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const SECOND_NS: u64 = 1_000_000_000;
/// The pause after a failed attempt. It doubles, or follows a longer `Retry-After`, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A message that fails for this long is given up, so that it can't block the others forever.
const RETRY_LIMIT: Duration = Duration::from_secs(15 * 60);
/// A tracker has at most as many active alerts (`MAX_ACTIVE`). When the queue is full, warnings are dropped before
/// critical messages, and first the oldest one of the account that has most of them.
const MAX_QUEUED: usize = 1000;
/// An alert that ended longer ago than this before it was seen is not sent.
const MAX_ENDED_AGE_NS: u64 = 15 * 60 * SECOND_NS;
/// Beyond this number, records of alerts that no tracker knows any more are removed.
const MAX_RECORDS: usize = 4096;
/// Records and alerts dated further ahead are ignored: the clock was wrong. Records open for longer are closed if no
/// tracker knows the alert, or if it began again after this time. Either would suppress a new alert.
const RECORD_TOLERANCE_NS: u64 = 3600 * SECOND_NS;
const MAX_ANSWER_BYTES: usize = 4096;

/// The latest alert about a subject.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct AlertRecord {
    /// When the alert began, unix ns.
    since: u64,
    #[serde(default)]
    is_open: bool,
}

type AlertRecords = BTreeMap<String, AlertRecord>;

#[derive(Default)]
struct SenderState {
    /// The records when the queue is empty.
    queued: AlertRecords,
    /// The records of the messages that were sent or given up, as in the file.
    sent: AlertRecords,
    /// Critical messages first, then in the order in which they were queued.
    queue: VecDeque<QueuedMessage>,
    pause: Duration,
    /// No attempt is made before this time, monotonic.
    next_attempt: Duration,
}

struct QueuedMessage {
    /// `until` is set if the message is about the end of the alert.
    alert: Alert,
    /// When the first attempt failed, monotonic.
    failing_since: Option<Duration>,
}

struct AttemptFailure {
    /// The reason in fixed words.
    why: String,
    /// The shortest pause before another attempt; `None` if the webhook will never accept the message.
    retry_after: Option<Duration>,
}

/// The resources for sending alerts.
pub(super) struct AlertSenderParts {
    /// Alerts, and the runs from which a message shows an example.
    pub(super) runs: RunBoard,
    pub(super) ids: Arc<dyn IdPolicy>,
    pub(super) links: alert_message::MessageLinks,
    pub(super) services: SharedServices,
    /// The file that records sent alerts, beside the spool.
    pub(super) file: PathBuf,
}

pub(super) struct AlertSender {
    parts: AlertSenderParts,
    webhook: AlertWebhook,
    client: HttpClient,
    state: Mutex<SenderState>,
}

impl SenderState {
    /// Queues messages about alerts that began or ended; returns how many messages were dropped.
    fn queue_messages(&mut self, mut alerts: Vec<Alert>, now: u64) -> usize {
        let latest = now.saturating_add(RECORD_TOLERANCE_NS);
        alerts.retain(|alert| alert.since <= latest);
        let present: BTreeSet<String> = alerts.iter().map(alert_key).collect();
        for records in [&mut self.queued, &mut self.sent] {
            let has_room = records.len() <= MAX_RECORDS;
            records.retain(|key, record| {
                let is_present = present.contains(key);
                record.is_open &= is_present || now.saturating_sub(record.since) <= RECORD_TOLERANCE_NS;
                record.since <= latest && (has_room || is_present)
            });
        }
        for alert in alerts {
            let record = self.queued.entry(alert_key(&alert)).or_default();
            let is_old = alert.until.is_some_and(|until| now.saturating_sub(until) > MAX_ENDED_AGE_NS);
            // After a crash a tracker may raise an alert that is open here again, with a later beginning.
            let tolerance = if record.is_open { RECORD_TOLERANCE_NS } else { 0 };
            if alert.since > record.since.saturating_add(tolerance) && !is_old {
                *record = AlertRecord { since: alert.since, is_open: true };
                enqueue(&mut self.queue, Alert { until: None, ..alert.clone() });
            }
            if record.is_open && alert.since >= record.since && alert.until.is_some() {
                *record = AlertRecord { since: alert.since, is_open: false };
                enqueue(&mut self.queue, alert);
            }
        }
        let excess = self.queue.len().saturating_sub(MAX_QUEUED);
        for _ in 0..excess {
            let least = self.queue.back().map(|message| message.alert.severity());
            let candidates =
                self.queue.iter().enumerate().filter(|(_, message)| Some(message.alert.severity()) == least);
            let dropped = choose_eviction(candidates.map(|(at, message)| (&*message.alert.account, at as u64, at)));
            dropped.and_then(|at| self.queue.remove(at));
        }
        excess
    }

    /// The next message, unless the webhook pauses.
    fn next_message(&self, now: Duration) -> Option<Alert> {
        self.queue.front().filter(|_| now >= self.next_attempt).map(|message| message.alert.clone())
    }

    /// Records the result of an attempt for the first message of the queue; returns its outcome unless it is retried.
    fn record_attempt(&mut self, result: Result<(), AttemptFailure>, now: Duration) -> Option<&'static str> {
        let message = self.queue.front_mut()?;
        let outcome = if result.is_ok() { "sent" } else { "failed" };
        if let Err(AttemptFailure { why, retry_after: Some(wanted) }) = &result {
            self.pause = self.pause.saturating_mul(2).max(*wanted).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            self.next_attempt = now.saturating_add(self.pause);
            let failing_since = *message.failing_since.get_or_insert_with(|| {
                tracing::warn!("an alert could not be sent to the webhook: {why}; retrying for 15 minutes");
                now
            });
            if now.saturating_sub(failing_since) < RETRY_LIMIT {
                return None;
            }
        } else {
            (self.pause, self.next_attempt) = (Duration::ZERO, Duration::ZERO);
        }
        if let Err(AttemptFailure { why, .. }) = result {
            tracing::warn!("gave up an alert message: {why}");
        }
        if let Some(QueuedMessage { alert, .. }) = self.queue.pop_front() {
            let record = AlertRecord { since: alert.since, is_open: alert.until.is_none() };
            self.sent.insert(alert_key(&alert), record);
        }
        Some(outcome)
    }
}

/// Inserts a message behind those that are as severe. Both messages about an alert are, so they keep their order.
fn enqueue(queue: &mut VecDeque<QueuedMessage>, alert: Alert) {
    let at = queue.partition_point(|message| message.alert.severity() >= alert.severity());
    queue.insert(at, QueuedMessage { alert, failing_since: None });
}

impl AlertSender {
    /// Builds the sender; opens no connection.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub(super) fn build(webhook: AlertWebhook, parts: AlertSenderParts) -> Result<Self, StartError> {
        let tls = webhook.url.expose().starts_with("https://").then(tls::ClientTlsSettings::default);
        let settings = client::ClientSettings { tls, http2_only: false };
        let client = HttpClient::build(&settings, &parts.services)?;
        Ok(Self { parts, webhook, client, state: Mutex::default() })
    }

    fn now(&self) -> u64 {
        self.parts.services.clock.now().0
    }

    fn count_messages(&self, outcome: &'static str, count: usize) {
        self.parts.services.meter.counter(&names::ALERT_MESSAGES, &[("outcome", outcome)]).increment(count as u64);
    }

    /// Queues messages about new and ended alerts, in the order in which they began.
    fn queue_messages(&self) {
        let mut alerts = self.parts.runs.alerts();
        // Another replica of a fleet sends its own.
        alerts.retain(|alert| alert.owner.is_here());
        if self.webhook.min_severity == MinimumSeverity::Critical {
            alerts.retain(|alert| alert.severity() == AlertSeverity::Critical);
        }
        alerts.sort_by_key(|alert| alert.since);
        let dropped = self.state.lock().queue_messages(alerts, self.now());
        if dropped > 0 {
            self.count_messages("dropped", dropped);
            tracing::warn!(
                dropped,
                "more than {MAX_QUEUED} messages wait for the webhook: some were dropped, warnings first"
            );
        }
    }

    /// Queues new messages and sends those that are due. Returns false if the gateway shuts down.
    pub(super) async fn evaluate_alerts(&self, stop: &mut watch::Receiver<bool>) -> bool {
        let clock = &self.parts.services.clock;
        loop {
            // Before each message, so that a new critical alert does not wait for many warnings.
            self.queue_messages();
            let Some(alert) = self.state.lock().next_message(clock.monotonic()) else { return true };
            let run = self.example_run(&alert).await.map(|run| self.redact_run(&run));
            let (redacted, delivery) = (self.redact_alert(&alert), delivery_id(&alert));
            let result = tokio::select! {
                biased;
                result = self.attempt(&redacted, run.as_ref(), &delivery) => result,
                _ = stop.wait_for(|stop| *stop) => return false,
            };
            let Some(outcome) = self.state.lock().record_attempt(result, clock.monotonic()) else { return true };
            self.count_messages(outcome, 1);
            self.save().await;
        }
    }

    /// The run that illustrates an alert.
    async fn example_run(&self, alert: &Alert) -> Option<RunView> {
        let (runs, alerts) = (self.parts.runs.clone(), [alert.clone()]);
        let from = self.now().saturating_sub(RETENTION);
        let find = move || {
            let mut examples = alert_message::ExampleRuns::new(&alerts);
            runs.visit_runs(from, &mut |run| examples.add(run));
            examples.finish().pop().flatten()
        };
        run_blocking(&*self.parts.services.tasks, "alert", find).await.flatten()
    }

    /// Sends one request about an alert whose names were redacted.
    async fn attempt(&self, alert: &Alert, run: Option<&RunView>, delivery: &str) -> Result<(), AttemptFailure> {
        let body = alert_message::format_alert(alert, &self.parts.links, run).to_string();
        let timestamp = (self.now() / SECOND_NS).to_string();
        let mut request = Request::post(self.webhook.url.expose())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .header("x-tollgate-delivery", delivery)
            .header("x-tollgate-timestamp", &timestamp);
        if let Some(key) = &self.webhook.key {
            request = request.header("x-tollgate-signature", sign_body(key.expose(), &timestamp, &body));
        }
        let request = request.body(upload_body([body.into()]));
        let failure = |why: &str, retry_after| AttemptFailure { why: why.to_owned(), retry_after };
        let request = request.map_err(|_| failure("the webhook URL is invalid", None))?;
        let exchange = async {
            // The client's error may contain the address, so it is not passed on.
            let answer = self.client.send(request).await.map_err(|_| failure("no connection", Some(Duration::ZERO)))?;
            let (status, wanted_pause) = (answer.status(), retry_after(answer.headers()));
            let _ = read_response(answer.into_body(), MAX_ANSWER_BYTES).await;
            let is_temporary = status.is_server_error()
                || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
            let rejection =
                || failure(&format!("the webhook answered {}", status.as_u16()), is_temporary.then_some(wanted_pause));
            status.is_success().then_some(()).ok_or_else(rejection)
        };
        tokio::select! {
            answer = exchange => answer,
            () = self.parts.services.clock.sleep(ATTEMPT_TIMEOUT) => Err(failure("no answer in time", Some(Duration::ZERO))),
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
    fn redact_run(&self, run: &RunView) -> RunView {
        let redact_id = |text: &str| self.parts.ids.shown_id(&run.account, text).into_owned();
        RunView { run: keep_pseudonym(&run.run, redact_id), ..run.clone() }
    }

    async fn save(&self) {
        let text = serde_json::to_vec(&self.state.lock().sent).unwrap_or_default();
        let file = self.parts.file.clone();
        let saved =
            run_blocking(&*self.parts.services.tasks, "alerts", move || files::replace_file(&file, &text)).await;
        if let Some(Err(error)) = saved {
            let error = error.kind();
            tracing::warn!("the record of sent alerts can't be saved: {error}; after a restart they may be sent again");
        }
    }
}

/// Keeps a pseudonym as it is, and passes other ids through `redact_id`.
fn keep_pseudonym(id: &str, redact_id: impl Fn(&str) -> String) -> String {
    if id.starts_with(kernel::pseudonym::PREFIX) { id.to_owned() } else { redact_id(id) }
}

/// A digest of an alert's rule, account and subject: its run, else its session, else its tenant and feature; and the
/// budget that it is about.
fn alert_key(alert: &Alert) -> String {
    let subject = match (&*alert.run, &*alert.session) {
        ("", "") => ["", "", alert.tenant.as_deref().unwrap_or(""), alert.feature.as_deref().unwrap_or("")],
        ("", session) => ["", session, "", ""],
        (run, _) => [run, "", "", ""],
    };
    let budget = Some(&*alert.tool).filter(|_| alert.rule.is_of_budget());
    let hash = Sha256::digest_list([alert.rule.as_str(), &alert.account].into_iter().chain(subject).chain(budget));
    hex::encode(hash.get(..16).unwrap_or(&[]))
}

/// An id that is the same for each attempt of a message, so that the receiver can detect duplicates.
fn delivery_id(alert: &Alert) -> String {
    let digest = Sha256::digest(format!("{}{}{}", alert_key(alert), alert.since, alert.until.is_some()));
    hex::encode(digest.get(..16).unwrap_or(&[]))
}

/// `v1=` and the HMAC-SHA-256 of `v1:TIMESTAMP:BODY`.
fn sign_body(key: &str, timestamp: &str, body: &str) -> String {
    let code = hmac_sha256(key.as_bytes(), format!("v1:{timestamp}:{body}").as_bytes());
    format!("v1={}", hex::encode(&code))
}

/// The pause that `Retry-After` asks for; zero without it.
fn retry_after(headers: &http::HeaderMap) -> Duration {
    let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs)
}

impl AlertSender {
    pub(super) fn into_task(self: Arc<Self>) -> BackgroundTask {
        let sender = Arc::clone(&self);
        background_task("alerts", move || sender.prepare(), |stop| self.run(stop))
    }

    /// Loads the record of sent alerts. An unreadable file may cause repetitions, but does not prevent the start.
    pub(super) fn prepare(&self) {
        let Ok(text) = std::fs::read(&self.parts.file) else { return };
        match serde_json::from_slice::<AlertRecords>(&text) {
            Ok(sent) => *self.state.lock() = SenderState { queued: sent.clone(), sent, ..SenderState::default() },
            Err(_) => tracing::warn!("the record of sent alerts can't be read: some alerts may be sent again"),
        }
    }

    async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let ended = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                () = self.parts.services.clock.sleep(EVALUATION_INTERVAL) => false,
            };
            if ended || !self.evaluate_alerts(&mut stop).await {
                return;
            }
        }
    }
}
