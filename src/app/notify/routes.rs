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

use super::mute::{MuteError, Saved};
use super::{ANSWER, Notify, delivery};
use net::spawn::blocking;
use pages::notice;
use runs::{Alert, Severity};

/// The least time between two test messages, in ns.
const TESTS: u64 = 2_000_000_000;

/// Why a test message was not sent.
enum Untold {
    TooSoon,
    /// The reason in fixed words.
    Failed(String),
}

/// The query that selects the tenant whose mute ends.
#[derive(Deserialize)]
struct Whose {
    tenant: Option<String>,
}

/// The routes `/api/alerts/webhook`, `/api/alerts/test` and `/api/alerts/{rule}/mute`.
pub(crate) fn router(notify: Option<Arc<Notify>>) -> Router {
    Router::new()
        .route("/api/alerts/webhook", get(settings))
        .route("/api/alerts/test", post(test))
        .route("/api/alerts/{rule}/mute", post(mute).delete(unmute))
        .layer(DefaultBodyLimit::max(ANSWER))
        .with_state(notify)
}

type Site = State<Option<Arc<Notify>>>;

fn answer(status: StatusCode, body: &Value) -> Answer {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn nowhere() -> Answer {
    answer(StatusCode::NOT_FOUND, &json!({"error": "no `extensions.admin.alerts.url` is configured"}))
}

async fn settings(State(notify): Site) -> Answer {
    answer(StatusCode::OK, &notify.map_or_else(|| json!({"configured": false, "mute": []}), |notify| notify.settings()))
}

async fn test(State(notify): Site) -> Answer {
    let Some(notify) = notify else { return nowhere() };
    match notify.test().await {
        Ok(()) => answer(StatusCode::OK, &json!({"sent": true})),
        Err(Untold::TooSoon) => {
            let told = json!({"error": "a test message was sent within the last two seconds"});
            let mut told = answer(StatusCode::TOO_MANY_REQUESTS, &told);
            told.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(TESTS / 1_000_000_000));
            told
        }
        Err(Untold::Failed(why)) => {
            answer(StatusCode::BAD_GATEWAY, &json!({"error": format!("the webhook did not take it: {why}")}))
        }
    }
}

async fn mute(State(notify): Site, Path(rule): Path<String>, body: Bytes) -> Answer {
    let Some(notify) = notify else { return nowhere() };
    let asked = serde_json::from_slice(&body).map_err(|_| MuteError::Body);
    let muted = asked.and_then(|asked| notify.mutes.add(&rule, asked, notify.now()));
    notify.told_of(muted).await
}

async fn unmute(State(notify): Site, Path(rule): Path<String>, Query(whose): Query<Whose>) -> Answer {
    let Some(notify) = notify else { return nowhere() };
    let ended = notify.mutes.end(&rule, whose.tenant.as_deref(), notify.now());
    notify.told_of(ended).await
}

impl Notify {
    /// Sends a test message. A failed one does not count towards the limit of test messages.
    async fn test(&self) -> Result<(), Untold> {
        let now = self.now();
        let begins = |last: u64| (now.abs_diff(last) >= TESTS).then_some(now);
        let before = self.tested.fetch_update(Ordering::Relaxed, Ordering::Relaxed, begins);
        let before = before.map_err(|_| Untold::TooSoon)?;
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
        let sent = self.attempt(&notice::message(&alert, &self.parts.links, None), &delivery(&[alert])).await;
        sent.map_err(|trouble| {
            let _ = self.tested.compare_exchange(now, before, Ordering::Relaxed, Ordering::Relaxed);
            Untold::Failed(trouble.why)
        })
    }

    /// Answers with the current mutes once the change is on disk.
    async fn told_of(&self, changed: Result<Saved, MuteError>) -> Answer {
        let saved = match changed {
            Ok(saved) => saved,
            Err(why) => return answer(StatusCode::BAD_REQUEST, &json!({ "error": why.to_string() })),
        };
        match blocking(&*self.parts.tasks, "alerts", move || saved.write()).await {
            Some(Ok(())) => answer(StatusCode::OK, &self.settings()),
            _ => answer(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({"error": "it holds now, but can't be kept over a restart"}),
            ),
        }
    }
}
