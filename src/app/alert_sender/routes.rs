//! HTTP routes of the webhook on the admin port: current mutes, a test message, adding and ending a mute. A mute is
//! answered once it is on disk. Bodies are at most 4 KiB. Access control is that of the admin port.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::mute::{MuteError, PendingMuteWrite};
use super::{AlertSender, MAX_BODY_BYTES, delivery_id};
use net::spawn::run_blocking;
use pages::alert_message;
use runs::{Alert, AlertRule, RunOwner};

/// The least time between two test messages, in ns.
const TEST_INTERVAL_NS: u64 = 2_000_000_000;

/// Why a test message was not sent.
enum TestFailure {
    TooSoon,
    /// The reason in fixed words.
    Failed(String),
}

/// The query that selects the tenant whose mute ends.
#[derive(Deserialize)]
struct UnmuteQuery {
    tenant: Option<String>,
}

/// The routes `/api/alerts/webhook`, `/api/alerts/test` and `/api/alerts/{rule}/mute`.
pub(crate) fn router(sender: Option<Arc<AlertSender>>) -> Router {
    Router::new()
        .route("/api/alerts/webhook", get(get_settings))
        .route("/api/alerts/test", post(post_test))
        .route("/api/alerts/{rule}/mute", post(mute).delete(unmute))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(sender)
}

type AlertSenderState = State<Option<Arc<AlertSender>>>;

fn json_response(status: StatusCode, body: &Value) -> Answer {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn no_webhook_response() -> Answer {
    json_response(StatusCode::NOT_FOUND, &json!({"error": "no `extensions.admin.alerts.url` is configured"}))
}

async fn get_settings(State(sender): AlertSenderState) -> Answer {
    json_response(
        StatusCode::OK,
        &sender.map_or_else(|| json!({"configured": false, "mute": []}), |sender| sender.settings_json()),
    )
}

async fn post_test(State(sender): AlertSenderState) -> Answer {
    let Some(sender) = sender else { return no_webhook_response() };
    match sender.send_test().await {
        Ok(()) => json_response(StatusCode::OK, &json!({"sent": true})),
        Err(TestFailure::TooSoon) => {
            let body = json!({"error": "a test message was sent less than two seconds ago: try again later"});
            let mut answer = json_response(StatusCode::TOO_MANY_REQUESTS, &body);
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(TEST_INTERVAL_NS / 1_000_000_000));
            answer
        }
        Err(TestFailure::Failed(why)) => json_response(
            StatusCode::BAD_GATEWAY,
            &json!({"error": format!("the webhook did not accept the test message: {why}")}),
        ),
    }
}

async fn mute(State(sender): AlertSenderState, Path(rule): Path<String>, body: Bytes) -> Answer {
    let Some(sender) = sender else { return no_webhook_response() };
    let request = serde_json::from_slice(&body).map_err(|_| MuteError::InvalidBody);
    let muted = request.and_then(|request| sender.mutes.add(&rule, request, sender.now()));
    sender.answer_change(muted).await
}

async fn unmute(State(sender): AlertSenderState, Path(rule): Path<String>, Query(query): Query<UnmuteQuery>) -> Answer {
    let Some(sender) = sender else { return no_webhook_response() };
    let ended = sender.mutes.end(&rule, query.tenant.as_deref(), sender.now());
    sender.answer_change(ended).await
}

impl AlertSender {
    /// Sends a test message. A failed one does not count towards the limit of test messages.
    async fn send_test(&self) -> Result<(), TestFailure> {
        let now = self.now();
        let start_test = |last: u64| (now.abs_diff(last) >= TEST_INTERVAL_NS).then_some(now);
        let previous = self.last_test.fetch_update(Ordering::Relaxed, Ordering::Relaxed, start_test);
        let previous = previous.map_err(|_| TestFailure::TooSoon)?;
        let alert = Alert {
            owner: RunOwner::Here,
            rule: AlertRule::Test,
            severity: AlertRule::Test.severity(),
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
        let sent =
            self.attempt(&alert_message::format_alert(&alert, &self.parts.links, None), &delivery_id(&[alert])).await;
        sent.map_err(|failure| {
            let _ = self.last_test.compare_exchange(now, previous, Ordering::Relaxed, Ordering::Relaxed);
            TestFailure::Failed(failure.why)
        })
    }

    /// Answers with the current mutes once the change is on disk.
    async fn answer_change(&self, change: Result<PendingMuteWrite, MuteError>) -> Answer {
        let pending = match change {
            Ok(pending) => pending,
            Err(why) => return json_response(StatusCode::BAD_REQUEST, &json!({ "error": why.to_string() })),
        };
        match run_blocking(&*self.parts.tasks, "alerts", move || pending.write()).await {
            Some(Ok(())) => json_response(StatusCode::OK, &self.settings_json()),
            _ => json_response(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({"error": "the mute is active, but can't be saved and will not survive a restart"}),
            ),
        }
    }
}
