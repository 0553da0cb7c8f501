//! Grants that must be refused, each with a sentence that says what is wrong, and the form of keys.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use budgets::config::{BudgetsConfig, check};
use budgets::{Answer, BudgetLine, Question};
use command::tasks::command_services;
use kernel::clock::ManualClock;
use kernel::pseudonym::{PlainIds, Pseudonymizer};
use kernel::secret::Secret;
use net::ProxyRules;

struct Desk(Vec<Budget>);

impl BudgetDesk for Desk {
    fn has_budgets(&self) -> bool {
        !self.0.is_empty()
    }

    fn budgets(&self) -> &[Budget] {
        &self.0
    }

    fn answer(&self, _: &Question) -> Answer {
        Answer::allow()
    }

    fn lines(&self) -> Arc<[BudgetLine]> {
        Arc::default()
    }

    fn knows_fleet(&self) -> bool {
        false
    }
}

fn grants() -> BudgetGrants {
    let config: BudgetsConfig = serde_json::from_value(json!({
        "dev-daily": {"scope": "user", "period": "day", "amount": "25 USD"},
        "one-run": {"scope": "run", "amount": "10 USD", "iterations": 60},
    }))
    .unwrap();
    let budgets = check(&config, &mut Vec::new());
    BudgetGrants {
        desk: Some(Arc::new(Desk(budgets))),
        receiver: Some("otlp".into()),
        inlet: InletCell::default(),
        ids: Arc::new(PlainIds(Pseudonymizer::new(&Secret::new("k".to_owned())))),
        services: SharedServices {
            clock: ManualClock::at(UnixNanos(1_795_000_000_000_000_000)),
            ..command_services(ProxyRules::direct())
        },
    }
}

fn request(changes: &Value) -> Vec<u8> {
    let mut body = json!({"key": "ada", "account": "default", "measure": "amount", "extra": "10 USD", "seconds": 3600,
        "reason": "r"});
    for (key, value) in changes.as_object().unwrap() {
        body[key] = value.clone();
    }
    body.to_string().into_bytes()
}

async fn refusal(changes: &Value) -> (StatusCode, String) {
    grants().grant(&request(changes), "ops").await.expect_err("refused")
}

/// Must not regress: nothing of this becomes a record. A good one gets as far as the engine, which isn't there.
#[tokio::test]
async fn bad_grants_are_refused() {
    let long = "x".repeat(501);
    for (changes, expected) in [
        (json!({"extra": "10"}), "with its currency"),
        (json!({"extra": "10 EUR"}), "with its currency"),
        (json!({"extra": "-1 USD"}), "with its currency"),
        (json!({"measure": "money"}), "the measure must be"),
        (json!({"measure": "model_calls"}), "from 1 to"),
        (json!({"measure": "model_calls", "extra": "0"}), "from 1 to"),
        (json!({"measure": "model_calls", "extra": "1000000001"}), "from 1 to"),
        (json!({"measure": "model_calls", "extra": "5"}), "has the limit `model_calls`"),
        (json!({"budget": "weekly"}), "no budget has this name; there are: dev-daily, one-run"),
        (
            json!({"budget": "one-run", "scope": "user"}),
            "no budget of scope `user` has the limit `amount`: set `--scope`",
        ),
        (json!({"scope": "planet"}), "the scope must be one of run, session"),
        (json!({"scope": "tenant"}), "no budget of scope `tenant`"),
        (json!({"seconds": 0}), "from 1 second to 31 days"),
        (json!({"seconds": 31 * 86_400 + 1}), "from 1 second to 31 days"),
        (json!({"seconds": u64::MAX}), "from 1 second to 31 days"),
        (json!({"reason": " "}), "the reason must be"),
        (json!({"reason": long}), "the reason must be"),
        (json!({"reason": "a\nb"}), "the reason must be"),
        (json!({"key": ""}), "the key must be"),
        (json!({"key": "h-123"}), "must be a pseudonym"),
        (json!({"account": ""}), "the account must be"),
        (json!({"color": "red"}), "the body is not a grant request"),
        (json!({"seconds": "4h"}), "the body is not a grant request"),
    ] {
        let (status, why) = refusal(&changes).await;
        assert!(status == StatusCode::BAD_REQUEST && why.contains(expected), "{changes}: {why}");
    }
    assert_eq!(refusal(&json!({})).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refusal(&json!({"budget": "one-run", "measure": "iterations", "extra": "9"})).await.0, 503);
    let none = BudgetGrants { desk: None, ..grants() };
    let (_, why) = none.grant(&request(&json!({})), "ops").await.expect_err("refused");
    assert!(why.starts_with("no budgets are configured"), "{why}");
    let apart = BudgetGrants { receiver: None, ..grants() };
    let (_, why) = apart.grant(&request(&json!({})), "ops").await.expect_err("refused");
    assert!(why.starts_with("no pipeline for traces"), "{why}");
}
