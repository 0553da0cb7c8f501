//! What the ledger remembers is shared fairly between accounts.

use std::ops::Range;

use super::super::ledger::{CostLedger, LedgerChanges, NameDisplay};
use super::super::waiting_calls::{InheritedModel, LedgerKey};
use super::{build, metered};
use kernel::clock::UnixNanos;
use kernel::sha256::Sha256;
use pipeline::Processor;

fn key(number: u32) -> LedgerKey {
    Sha256::short_list(&[&number.to_le_bytes()])
}

fn fill(ledger: &CostLedger, account: &str, keys: Range<u32>) {
    let display = NameDisplay { ids: None, account: account.into() };
    let mut changes = LedgerChanges::new(UnixNanos(1), display);
    for key in keys.map(key) {
        changes.log_sessions.insert(key);
        changes.ancestors.push((key, InheritedModel::default()));
    }
    ledger.apply(&changes.encode());
}

fn has_all(ledger: &CostLedger, keys: Range<u32>) -> bool {
    keys.map(key)
        .all(|key| ledger.last_log_time(&key).is_some() && ledger.waiting_calls.lock().inherited_from(&key).is_some())
}

/// An account that floods, also before a restart, makes the ledger forget nothing of another one.
#[test]
fn a_flood_forgets_nothing_of_others() {
    let (first, second) = (build(), build());
    fill(&first.ledger, "small", 0..10);
    fill(&first.ledger, "large", 10..50_020);
    assert!(has_all(&first.ledger, 0..10) && !has_all(&first.ledger, 10..20));
    assert!(second.restore(&first.checkpoint().unwrap()));
    fill(&second.ledger, "large", 50_020..100_040);
    assert!(has_all(&second.ledger, 0..10));
}

/// Totals in a checkpoint and in an effect of 0.1, which were JSON, are not lost by an upgrade.
#[test]
fn totals_of_the_last_version_are_read() {
    let (cost, meter) = metered();
    let head = r#"{"usd":[[["t","gpt-4o","openai"],"2600000000000000"]],"waiting":[]}"#;
    assert!(cost.restore(&[&(head.len() as u32).to_le_bytes(), head.as_bytes(), &[2, 0, 0, 0, 0]].concat()));
    cost.ledger.apply(
        br#"{"batch":"00","at":1,"claims":[],"priced":[["t","gpt-4o","openai","400000000000000"]],"unpriced":[],
            "deferred":[],"statuses":{"priced":1},"mismatches":0}"#,
    );
    super::assert_shows(
        &meter,
        "tollgate_cost_usd_total{tenant=\"t\",model=\"gpt-4o\",provider=\"openai\",billing=\"api\"} 0.003",
    );
}
