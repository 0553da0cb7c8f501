//! HTTP routes of the webhook on the admin port: whether there is one, and a test message. Access control is that of
//! the admin port.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::{AlertSender, AttemptFailure, delivery_id};
use runs::{Alert, AlertRule, RunOwner};

pub(crate) fn router(sender: Option<Arc<AlertSender>>) -> Router {
    Router::new()
        .route("/api/alerts/webhook", get(get_settings))
        .route("/api/alerts/test", post(post_test))
        .with_state(sender)
}

type AlertSenderState = State<Option<Arc<AlertSender>>>;

fn json_response(status: StatusCode, body: &Value) -> Answer {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn get_settings(State(sender): AlertSenderState) -> Answer {
    let is_signed = sender.as_ref().is_some_and(|sender| sender.webhook.key.is_some());
    json_response(StatusCode::OK, &json!({"configured": sender.is_some(), "signed": is_signed}))
}

async fn post_test(State(sender): AlertSenderState) -> Answer {
    let Some(sender) = sender else {
        let body = json!({"error": "no `extensions.admin.alerts.url` is configured"});
        return json_response(StatusCode::NOT_FOUND, &body);
    };
    match sender.send_test().await {
        Ok(()) => json_response(StatusCode::OK, &json!({"sent": true})),
        Err(AttemptFailure { why, .. }) => {
            let body = json!({"error": format!("the webhook did not accept the test message: {why}")});
            json_response(StatusCode::BAD_GATEWAY, &body)
        }
    }
}

impl AlertSender {
    async fn send_test(&self) -> Result<(), AttemptFailure> {
        let alert = Alert {
            owner: RunOwner::Here,
            rule: AlertRule::Test,
            account: String::new(),
            run: String::new(),
            session: String::new(),
            trace: String::new(),
            tenant: None,
            feature: None,
            tool: String::new(),
            value: 1.0,
            threshold: 0.0,
            since: self.now(),
            until: None,
        };
        self.attempt(&alert, None, &delivery_id(&alert)).await
    }
}
