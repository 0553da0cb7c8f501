//! What the ledger remembers is shared fairly between accounts.

use std::ops::Range;

use serde_json::Value as Json;

use super::super::billed_sums::BilledSum;
use super::super::ledger::{CostLedger, LedgerChanges, NameDisplay};
use super::super::waiting_calls::{InheritedModel, LedgerKey};
use super::build;
use kernel::clock::UnixNanos;
use pipeline::{ClaimKey, Processor};

fn key(number: u32) -> LedgerKey {
    ClaimKey::from_parts(&[&number.to_le_bytes()]).to_bytes()
}

fn fill(ledger: &CostLedger, account: &str, keys: Range<u32>) {
    let display = NameDisplay { ids: None, account: account.into() };
    let mut changes = LedgerChanges::new(&[0; 16], UnixNanos(1), display);
    for key in keys.map(key) {
        changes.sums.push((key, BilledSum::default()));
        changes.log_sessions.insert(key);
        changes.billed_spans.push((key, None));
        changes.ancestors.push((key, InheritedModel::default()));
    }
    ledger.apply(&changes.encode());
}

fn has_all(ledger: &CostLedger, keys: Range<u32>) -> bool {
    keys.map(key).all(|key| {
        ledger.billed_sum(&key).is_some()
            && ledger.last_log_time(&key).is_some()
            && ledger.billed_span(&key).is_some()
            && ledger.waiting_calls.lock().inherited_from(&key).is_some()
    })
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

/// A checkpoint whose entries have no accounts is restored.
#[test]
fn checkpoints_without_accounts_are_read() {
    let (first, second) = (build(), build());
    fill(&first.ledger, "small", 0..10);
    let saved = first.ledger.save();
    let (length, rest) = saved.split_first_chunk().unwrap();
    let (head, claims) = rest.split_at(u32::from_le_bytes(*length) as usize);
    let mut head: Json = serde_json::from_slice(head).unwrap();
    for field in ["above", "sums", "heard", "billed_spans"] {
        for entry in head[field].as_array_mut().unwrap() {
            assert!(entry.as_array_mut().unwrap().pop().unwrap().is_u64());
        }
    }
    let head = head.to_string();
    assert!(second.ledger.restore(&[&(head.len() as u32).to_le_bytes(), head.as_bytes(), claims].concat()));
    assert!(has_all(&second.ledger, 0..10));
}
