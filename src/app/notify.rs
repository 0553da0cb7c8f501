//! [`Notify`] sends the alerts that trackers raise to a webhook, for installations without alerting on metrics. An
//! alert is sent once while it holds, and not again for the same subject within an hour; sent alerts are recorded on
//! disk before the next message, so a restart repeats none and misses none. Each message gets five attempts, then
//! pauses while others go on. Critical alerts come first, and no account's alerts crowd out another's. Sending does not
//! delay shutdown. Names pass the redaction rules again; address and key are never logged. Rules are in the crate
//! `tracker`, message texts in `pages/notice`, mutes in `mute`, pauses in `rests`, HTTP in `routes`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hmac::{Hmac, Mac};
use http::{Request, StatusCode, header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

mod mute;
mod rests;
pub(super) mod routes;
mod turns;

use crate::app::build::{Companion, Seams};
use crate::app::start_error::StartError;
use history::{Entry, History};
use kernel::files;
use kernel::hex;
use kernel::pseudonym::IdPolicy;
use net::client::{self, Client, read, upload};
use net::spawn::blocking;
use net::{Proxies, Spawn, tls};
use pages::notice;
use runs::{Alert, Board, Severity};
use telemetry::admin::webhook::{Least, Webhook};
use telemetry::names;

use mute::Mutes;
use rests::{Rests, key};
use turns::in_turn;

/// Time between two evaluations.
const EVERY: Duration = Duration::from_secs(2);
/// Time limit of one attempt.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts per message. The pause between them doubles from a second, or follows `Retry-After`, up to a minute.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Messages per evaluation; the remaining alerts are summed up in one message.
const MESSAGES: usize = 10;
/// The same rule and subject is not sent again within this time, in ns.
const REPEAT: u64 = 3600 * 1_000_000_000;
/// An alert that ended longer ago than this is not sent, in ns.
const OLD: u64 = 15 * 60 * 1_000_000_000;
/// Sent alerts are remembered for this long, in ns, and at most `MOST` of them.
const REMEMBERED: u64 = 48 * REPEAT;
const MOST: usize = 4096;
/// The largest answer, and the largest request body of the routes, in bytes.
const ANSWER: usize = 4096;

/// The record of an alert that was sent.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Sent {
    /// When the alert began, unix ns.
    since: u64,
    /// When the alert last held, unix ns.
    at: u64,
    /// When it was sent, unix ns; 0 if it was muted.
    #[serde(default)]
    told: u64,
    /// The beginning of a later alert that was suppressed as a repetition, unix ns; it is counted once.
    #[serde(default)]
    soon: u64,
}

/// Sent alerts, by [`key`].
type Told = BTreeMap<String, Sent>;

/// The decision about an alert.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Send,
    /// Already sent, ended too long ago, or below the configured severity.
    Quiet,
    Muted,
    Repeated,
}

/// The result of sending a message.
enum Sending {
    Done,
    /// The message may succeed later: the reason in fixed words, and whether any other message would have failed too.
    Failed(String, bool),
    /// The webhook will never accept the message; the reason in fixed words.
    Refused(String),
    /// The gateway shuts down.
    Stopped,
}

/// Whether a failed message is retried.
enum Again {
    /// Within the same attempts, after at least this pause.
    After(Duration),
    /// In a later evaluation.
    Later,
    Never,
}

/// The failure of one attempt.
struct Trouble {
    /// The reason in fixed words.
    why: String,
    again: Again,
    /// Whether any other message would have failed as well.
    whole: bool,
}

impl Trouble {
    fn of_all(why: &str) -> Self {
        Self { why: why.to_owned(), again: Again::After(Duration::ZERO), whole: true }
    }
}

/// The resources for sending alerts.
pub(super) struct Parts {
    pub(super) board: Arc<dyn Board>,
    pub(super) ids: Arc<dyn IdPolicy>,
    pub(super) links: notice::Links,
    /// Runs, from which a message shows an example.
    pub(super) history: Arc<History>,
    pub(super) seams: Seams,
    pub(super) tasks: Arc<dyn Spawn>,
    pub(super) proxies: Arc<Proxies>,
    /// The file that records sent alerts, beside the spool.
    pub(super) file: PathBuf,
}

/// Sends alerts to one webhook.
pub(super) struct Notify {
    parts: Parts,
    webhook: Webhook,
    client: Client,
    mutes: Mutes,
    told: Mutex<Told>,
    rests: Mutex<Rests>,
    /// Whether `told` differs from its file.
    unsaved: AtomicBool,
    /// When the last test message was sent, unix ns.
    tested: AtomicU64,
}

impl Notify {
    /// Builds the sender; opens no connection.
    ///
    /// # Errors
    /// TLS can't be set up, or a mute names an unknown rule.
    pub(super) fn build(webhook: Webhook, parts: Parts) -> Result<Self, StartError> {
        let mutes = Mutes::new(webhook.mutes.clone(), &parts.file);
        let mutes = mutes.map_err(|why| StartError::new(format!("extensions.admin.alerts.mute: {why}")))?;
        let tls = webhook.url.expose().starts_with("https://").then(tls::Settings::default);
        let settings = client::Settings { tls, http2_only: false };
        let client = Client::build(&settings, Arc::clone(&parts.proxies), Arc::clone(&parts.tasks))?;
        let (told, rests, unsaved, tested) = Default::default();
        Ok(Self { parts, webhook, client, mutes, told, rests, unsaved, tested })
    }

    fn now(&self) -> u64 {
        self.parts.seams.clock.now().0
    }

    /// Decides about an alert, and keeps the record of a sent alert that still holds.
    fn judge(&self, told: &mut Told, alert: &Alert, now: u64) -> Verdict {
        if let Some(sent) = told.get_mut(&key(alert)) {
            if alert.until.is_none() {
                sent.at = now;
            }
            if alert.since <= sent.since {
                return Verdict::Quiet;
            }
            if now.abs_diff(sent.told) < REPEAT {
                // If the alert still holds after that time, it is sent then.
                let counted = std::mem::replace(&mut sent.soon, alert.since) == alert.since;
                return if counted { Verdict::Quiet } else { Verdict::Repeated };
            }
        }
        let old = alert.until.is_some_and(|until| now.saturating_sub(until) > OLD);
        if old || (self.webhook.least == Least::Critical && alert.severity != Severity::Critical) {
            return Verdict::Quiet;
        }
        if self.mutes.holds(alert, now) { Verdict::Muted } else { Verdict::Send }
    }

    /// Records an alert as sent at `sent`, or as muted (0).
    fn mark(&self, alert: &Alert, now: u64, sent: u64) {
        self.told.lock().insert(key(alert), Sent { since: alert.since, at: now, told: sent, soon: 0 });
        self.unsaved.store(true, Ordering::Relaxed);
    }

    /// The alerts to send, in sending order.
    fn news(&self) -> Vec<Alert> {
        let (now, alerts) = (self.now(), self.parts.board.alerts());
        let mut told = self.told.lock();
        // A record with a time in the future, from a clock that was ahead, must not suppress alerts.
        told.retain(|_, sent| now.abs_diff(sent.at) < REMEMBERED && sent.since <= now.saturating_add(REPEAT));
        let (mut news, mut muted) = (Vec::new(), Vec::new());
        for alert in alerts {
            match self.judge(&mut told, &alert, now) {
                Verdict::Send => news.push(alert),
                Verdict::Muted => muted.push(alert),
                Verdict::Repeated => {
                    self.count("repeated");
                    self.unsaved.store(true, Ordering::Relaxed);
                }
                Verdict::Quiet => {}
            }
        }
        while told.len() > MOST {
            let oldest = told.iter().min_by_key(|(_, sent)| sent.at).map(|(key, _)| key.clone());
            oldest.and_then(|key| told.remove(&key));
        }
        drop(told);
        for alert in &muted {
            self.count("muted");
            self.mark(alert, now, 0);
        }
        in_turn(news)
    }

    fn count(&self, outcome: &'static str) {
        self.parts.seams.meter.counter(&names::ALERT_MESSAGES, &[("outcome", outcome)]).increment(1);
    }

    /// Evaluates all alerts once and sends messages. Returns false if the gateway shuts down.
    pub(super) async fn look(&self, stop: &mut watch::Receiver<bool>) -> bool {
        let news = self.news();
        let news = self.rests.lock().due(news, self.now());
        let (first, rest) = news.split_at_checked(MESSAGES).unwrap_or((&news, &[]));
        let runs = if first.is_empty() { Vec::new() } else { self.parts.history.all() };
        for alert in first {
            let run = notice::example(alert, &runs).map(|run| self.shown(run));
            let message = notice::message(&self.redacted(alert), &self.parts.links, run.as_ref());
            if matches!(self.deliver(&message, std::slice::from_ref(alert), stop).await, Sending::Stopped) {
                return false;
            }
            if self.rests.lock().all(self.now()) {
                // The whole webhook fails; the other alerts are sent with the next attempt.
                return true;
            }
        }
        if !rest.is_empty()
            && matches!(self.deliver(&notice::more(rest, &self.parts.links), rest, stop).await, Sending::Stopped)
        {
            return false;
        }
        self.save().await;
        true
    }

    /// Sends one message about some alerts. If it fails, the alerts still count as not sent.
    async fn deliver(&self, message: &Value, about: &[Alert], stop: &mut watch::Receiver<bool>) -> Sending {
        let sending = self.send(message, about, stop).await;
        let now = self.now();
        match &sending {
            Sending::Stopped => {}
            Sending::Done => {
                self.count("sent");
                self.rests.lock().sent();
            }
            Sending::Failed(why, whole) => {
                self.count("failed");
                let pause = self.rests.lock().failed(about, *whole, now) / 1_000_000_000;
                tracing::warn!(
                    alerts = about.len(),
                    "an alert could not be sent to the webhook: {why}; again in {pause} s while it holds"
                );
            }
            Sending::Refused(why) => {
                self.count("failed");
                tracing::warn!(alerts = about.len(), "the webhook does not take an alert: {why}");
            }
        }
        if matches!(sending, Sending::Done | Sending::Refused(_)) {
            about.iter().for_each(|alert| self.mark(alert, now, now));
        }
        self.save().await;
        sending
    }

    async fn send(&self, message: &Value, about: &[Alert], stop: &mut watch::Receiver<bool>) -> Sending {
        let (delivery, mut pause) = (delivery(about), PAUSE);
        for attempt in 1..=ATTEMPTS {
            let answer = tokio::select! {
                biased;
                answer = self.attempt(message, &delivery) => answer,
                _ = stop.wait_for(|stop| *stop) => return Sending::Stopped,
            };
            let Err(Trouble { why, again, whole }) = answer else { return Sending::Done };
            match again {
                Again::Never => return Sending::Refused(why),
                Again::Later => return Sending::Failed(why, whole),
                Again::After(wanted) => pause = pause.max(wanted).min(LONGEST_PAUSE),
            }
            if attempt == ATTEMPTS {
                return Sending::Failed(format!("{why}, {ATTEMPTS} times"), whole);
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

    /// Sends one request.
    async fn attempt(&self, message: &Value, delivery: &str) -> Result<(), Trouble> {
        let body = message.to_string();
        let timestamp = (self.now() / 1_000_000_000).to_string();
        let mut request = Request::post(self.webhook.url.expose())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .header("x-tollgate-delivery", delivery)
            .header("x-tollgate-timestamp", &timestamp);
        if let Some(key) = &self.webhook.key {
            request = request.header("x-tollgate-signature", signature(key.expose(), &timestamp, &body));
        }
        let request = request.body(upload(Bytes::new(), body.into()));
        let request = request.map_err(|_| Trouble { again: Again::Later, ..Trouble::of_all("the address is none") })?;
        let asked = async {
            // The client's error may contain the address, so it is not passed on.
            let answer = self.client.send(request).await.map_err(|_| Trouble::of_all("no connection"))?;
            let (status, wait) = (answer.status(), retry_after(answer.headers()));
            let _ = read(answer.into_body(), ANSWER).await;
            if status.is_success() {
                return Ok(());
            }
            let again = match status {
                _ if status.is_server_error() => Again::After(wait.unwrap_or_default()),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Again::After(wait.unwrap_or_default()),
                // The webhook refuses this message, not all of them.
                StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                    Again::Never
                }
                _ => Again::Later,
            };
            // A rate limit concerns all messages.
            let whole = status == StatusCode::TOO_MANY_REQUESTS;
            Err(Trouble { why: format!("it answered {}", status.as_u16()), again, whole })
        };
        let late = self.parts.seams.clock.sleep(TIMEOUT);
        tokio::select! {
            answer = asked => answer,
            () = late => Err(Trouble::of_all("no answer in time")),
        }
    }

    /// A copy of the alert whose names have passed the redaction rules once more.
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

    /// A copy of the run whose id has passed the redaction rules once more.
    fn shown(&self, run: &Entry) -> Entry {
        let shown = |text: &str| self.parts.ids.shown(&run.account, text).into_owned();
        Entry { run: keep_pseudonym(&run.run, shown).into(), ..run.clone() }
    }

    async fn save(&self) {
        if !self.unsaved.swap(false, Ordering::Relaxed) {
            return;
        }
        let text = serde_json::to_vec(&*self.told.lock()).unwrap_or_default();
        let file = self.parts.file.clone();
        let saved = blocking(&*self.parts.tasks, "alerts", move || files::replace(&file, &text)).await;
        if let Some(Err(error)) = saved {
            tracing::warn!("what was sent of alerts can't be kept: {}: a restart may send it again", error.kind());
        }
    }

    /// The configuration without secrets.
    fn settings(&self) -> Value {
        json!({"configured": true, "signed": self.webhook.key.is_some(), "mute": self.mutes.shown(self.now())})
    }
}

/// Keeps a pseudonym as it is, and passes other ids through `shown`.
fn keep_pseudonym(id: &str, shown: impl Fn(&str) -> String) -> String {
    if id.starts_with(kernel::pseudonym::PREFIX) { id.to_owned() } else { shown(id) }
}

/// An id that is the same for each attempt of a message, so that the receiver can detect duplicates.
fn delivery(about: &[Alert]) -> String {
    let mut hash = Sha256::new();
    for alert in about {
        hash.update(key(alert));
        hash.update(alert.since.to_le_bytes());
    }
    hex::encode(hash.finalize().get(..16).unwrap_or(&[]))
}

/// `v1=` and the HMAC-SHA-256 of `v1:TIMESTAMP:BODY`.
fn signature(key: &str, timestamp: &str, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { return String::new() }; // any length works
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

    /// Loads the record of sent alerts. An unreadable file may cause repetitions, but does not prevent the start.
    fn prepare(&self) -> Result<(), StartError> {
        if let Ok(text) = std::fs::read(&self.parts.file) {
            match serde_json::from_slice(&text) {
                Ok(told) => *self.told.lock() = told,
                Err(_) => tracing::warn!("what was sent of alerts is unreadable: some may be sent again"),
            }
        }
        self.mutes.restore(self.now());
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
