//! The page and the JSON of budgets, made of a ledger.

use std::sync::Arc;

use axum::http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::BudgetBoard;
use crate::tests::{HTML, ask, ask_json, ids, state_of};
use ::budgets::config::{Budget, BudgetsConfig, check};
use ::budgets::{Answer, BudgetDesk, BudgetLine, BudgetRecord, Ledger, Measure, Names, Question};
use ::budgets::{RecordKind, Scope, Spending, Usage};
use ::runs::testing::runs::{MINUTE, NOW};
use history::RunBoard;
use telemetry::admin::{self, AdminState};

const ATTO: i128 = 1_000_000_000_000_000_000;

/// A desk whose ledger and runs a test fills.
pub(crate) struct BudgetsOf {
    budgets: Vec<Budget>,
    ledger: Mutex<Ledger>,
    flows: Mutex<Vec<(Scope, String, Names, Usage)>>,
    knows_fleet: bool,
}

impl BudgetsOf {
    pub(crate) fn new(budgets: &Value) -> Self {
        let config: BudgetsConfig = serde_json::from_value(budgets.clone()).unwrap();
        let mut problems = Vec::new();
        let budgets = check(&config, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        Self {
            ledger: Mutex::new(Ledger::new(&budgets.clone().into())),
            budgets,
            flows: Mutex::default(),
            knows_fleet: false,
        }
    }

    /// Spends dollars in a run and session, and of everyone whom these names name.
    pub(crate) fn spend(&self, account: &str, names: &Names, usd: i128) {
        let used = Spending { atto_usd: usd * ATTO, model_calls: 1, ..Spending::default() };
        self.ledger.lock().add(account, names, used, (NOW, &runs::RunOwner::Here));
        let usage = Usage { atto_usd: usd * ATTO, model_calls: 1, iterations: 3, ..Usage::default() };
        for (scope, names) in [(Scope::Run, names.clone()), (Scope::Session, Names { run: None, ..names.clone() })] {
            self.flows.lock().push((scope, account.to_owned(), names, usage));
        }
    }

    fn apply(&self, kind: RecordKind, budget: &str, scope: Scope, key: &str) {
        let (until, granted_by) = (NOW + 60 * MINUTE, "ops".to_owned());
        let used = (Measure::Amount, 0, 5 * ATTO);
        let record = BudgetRecord::new(kind, budget.to_owned(), scope, key.to_owned(), used);
        let record = BudgetRecord { until, granted_by, reason: "<b>the release</b>".to_owned(), ..record };
        self.ledger.lock().apply("default", &record, NOW - 5 * MINUTE);
    }
}

impl BudgetDesk for BudgetsOf {
    fn has_budgets(&self) -> bool {
        true
    }

    fn budgets(&self) -> &[Budget] {
        &self.budgets
    }

    fn answer(&self, _: &Question) -> Answer {
        Answer::allow()
    }

    fn lines(&self) -> Arc<[BudgetLine]> {
        self.ledger.lock().lines(&self.flows.lock(), NOW).into()
    }

    fn knows_fleet(&self) -> bool {
        self.knows_fleet
    }
}

fn names(run: &str, user: &str) -> Names {
    let text = |text: &str| Some(text.to_owned());
    Names { run: text(run), session: text("s"), user: text(user), tenant: text("acme"), ..Names::default() }
}

fn pages_with(desk: Option<Arc<dyn BudgetDesk>>) -> axum::Router {
    let mut pages = state_of(RunBoard { ids: Some(ids()), ..RunBoard::default() }, "https://back.example/{trace_id}");
    pages.budgets = BudgetBoard::new(desk);
    let (meter, health) = (pages.services.meter.clone(), pages.health.clone());
    let guard = AdminState { meter, health, money: ::runs::amounts::format_dollars };
    admin::guard_routes(admin::router(Arc::new(guard)).merge(crate::router(Arc::new(pages))), Vec::new())
}

fn used() -> BudgetsOf {
    let desk = BudgetsOf::new(&json!({
        "dev-daily": {"scope": "user", "period": "day", "amount": "25 USD", "action": "ask"},
        "one-run": {"scope": "run", "amount": "10 USD", "iterations": 60, "action": "deny"},
        "trial": {"scope": "session", "amount": "100 USD", "action": "deny", "shadow": true},
    }));
    desk.spend("default", &names("r1", "h-ada"), 20);
    desk.spend("default", &names("<script>", "h-bob"), 4);
    desk.apply(RecordKind::Deny, "one-run", Scope::Run, "r1");
    desk.apply(RecordKind::Deny, "one-run", Scope::Run, "r1");
    desk.apply(RecordKind::Grant, "dev-daily", Scope::User, "h-ada");
    desk
}

/// Everyone who is at a limit comes first, with a bar, the action, who was stopped and when, and grants.
#[tokio::test]
async fn the_page_shows_who_is_at_a_limit() {
    let router = pages_with(Some(Arc::new(used())));
    let (status, page) = ask(&router, "/budgets", HTML).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!page.contains("<script") && !page.contains("<b>"), "texts are escaped: {page}");
    let rows: Vec<&str> = page.split("<li>").skip(1).collect();
    assert!(rows[0].contains("stopped or asked 2 ×, last 5 min ago"), "{}", rows[0]);
    assert!(rows[0].contains("/runs/r1?account=default") && rows[0].contains("$20.00 of $10.00"), "{}", rows[0]);
    assert!(rows[0].contains("pill bad\">at the limit") && rows[0].contains(r#"bar bad" viewBox"#), "{}", rows[0]);
    assert!(rows[0].contains(r#"width="100.0""#) && rows[0].contains("3 of 60 iterations"), "{}", rows[0]);
    assert!(rows[0].contains("tenant acme") && rows[0].contains("user h-ada"), "{}", rows[0]);
    let granted = rows.iter().find(|row| row.contains("h-ada") && row.contains("dev-daily")).unwrap();
    assert!(
        granted.contains("$20.00 of $30.00") && granted.contains("67 %") && granted.contains("resets 20"),
        "{granted}"
    );
    assert!(!granted.contains("bar warn") && !granted.contains("bar bad"), "{granted}");
    assert!(granted.contains("granted: 5 USD more until") && granted.contains("by ops: "), "{granted}");
    assert!(granted.contains("sum incomplete: counted since"), "the ledger began in the middle of the day: {granted}");
    assert!(rows.iter().any(|row| row.contains("shadow") && row.contains("budget trial")));
    assert!(page.contains("this replica only"), "{page}");
    let (_, front) = ask(&router, "/", HTML).await;
    assert!(front.contains(r#"<a href="/budgets">all</a>"#) && front.contains("$20.00 of $10.00"));
}

/// Workers of a fleet know the sums of all, and say so.
#[tokio::test]
async fn a_fleet_knows_all_sums() {
    let router = pages_with(Some(Arc::new(BudgetsOf { knows_fleet: true, ..used() })));
    let (_, page) = ask(&router, "/budgets", HTML).await;
    assert!(page.contains("all workers of the fleet") && !page.contains("this replica only"), "{page}");
    assert_eq!(ask_json(&router, "/api/budgets").await["knows"], "fleet");
}

/// The same as JSON, for programs and the command: decimals as text, times in RFC 3339.
#[tokio::test]
async fn json_is_exact() {
    let router = pages_with(Some(Arc::new(used())));
    let answer = ask_json(&router, "/api/budgets").await;
    assert_eq!(answer, ask_json(&router, "/budgets").await);
    assert_eq!(answer["knows"], "gateway");
    let first = &answer["budgets"][0];
    let uses = json!([{"measure": "amount", "spent": "20", "limit": "10", "share": 2.0},
        {"measure": "iterations", "spent": "3", "limit": "60", "share": 0.05}]);
    assert_eq!((&first["budget"], &first["key"], &first["uses"]), (&json!("one-run"), &json!("r1"), &uses));
    assert_eq!((&first["over"], &first["stops"], &first["action"]), (&json!(true), &json!(2), &json!("deny")));
    assert!(first["last_stop"].as_str().unwrap().ends_with('Z') && first["until"].is_null());
    let lines = answer["budgets"].as_array().unwrap();
    let granted = lines.iter().find(|line| line["key"] == "h-ada").unwrap();
    assert_eq!(granted["uses"][0]["limit"], "30");
    assert_eq!(
        (&granted["grants"][0]["extra"], &granted["grants"][0]["reason"]),
        (&json!("5"), &json!("<b>the release</b>"))
    );
}

/// Without budgets the page says how to set some, and the overview has no section for them.
#[tokio::test]
async fn without_budgets_the_page_says_so() {
    let router = pages_with(None);
    let (status, page) = ask(&router, "/budgets", HTML).await;
    assert!(status == StatusCode::OK && page.contains("No budgets are configured"), "{page}");
    assert_eq!(ask_json(&router, "/api/budgets").await["budgets"], json!([]));
    let (_, front) = ask(&router, "/", HTML).await;
    assert!(!front.contains("<h2>Budgets"));
}
