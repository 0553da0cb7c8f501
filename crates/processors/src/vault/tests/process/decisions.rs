//! Tests of the index lines of budgets' decisions: who was stopped, and by whose record.

use super::*;
use crate::redact::RedactConfig;
use budgets::{BudgetRecord, Measure, Names, RecordKind as Kind, Scope};
use redaction::RedactionIdPolicy;
use vault::index_row::BudgetDecision;

fn stop(budget: &str, scope: Scope, key: &str) -> BudgetRecord {
    let (repeats, until, granted_by, reason) = Default::default();
    let (kind, measure, budget, key) = (Kind::Deny, Measure::Amount, budget.to_owned(), key.to_owned());
    let (spent, limit) = (10_020_000_000_000_000_000, 10_000_000_000_000_000_000);
    BudgetRecord { kind, budget, scope, key, shadow: false, measure, spent, limit, repeats, until, granted_by, reason }
}

fn grant(key: &str, reason: &str) -> BudgetRecord {
    let stopped = stop("", Scope::User, key);
    let (granted_by, reason) = ("ops@acme.example".to_owned(), reason.to_owned());
    let (measure, until) = (Measure::ModelCalls, 1_795_000_000_000_000_000);
    BudgetRecord { kind: Kind::Grant, measure, spent: 0, limit: 40, until, granted_by, reason, ..stopped }
}

fn payload(records: &[BudgetRecord], names: &Names) -> Payload {
    let mut last = 0_u8;
    let request = BudgetRecord::encode(records, names, 1_795_000_000_000_000_000, || {
        last += 1;
        [last; 16]
    });
    Payload::parse(Signal::Traces, Bytes::from(request)).expect("OTLP")
}

fn named() -> Names {
    let text = |text: &str| Some(text.to_owned());
    let (run, session, user, tenant) = (text("r1"), text("s1"), text("ada@example.com"), text("acme"));
    let (feature, issue) = (text("incident-triage"), text("PAY-17"));
    Names { run, session, user, tenant, feature, issue, ..Names::default() }
}

/// A stop is a line of kind `decision` in the session of whoever was stopped, without content and as the published
/// schema wants it.
#[test]
fn a_stop_is_a_line_of_its_session() {
    let mut bench = Bench::new();
    let out = bench.pass_payload(payload(&[stop("one-run", Scope::Run, "r1")], &named()), trusted());
    assert_eq!((out.rows.len(), &*out.opened), (1, ""), "a record is not content");
    let tail = &out.rows[0].tail;
    assert_eq!((tail.kind, tail.decision.as_deref()), (Some(RowKind::Decision), Some("deny")));
    assert_eq!((tail.session_id.as_deref(), tail.run_id.as_deref()), (Some("s1"), Some("r1")));
    assert_eq!((tail.tenant.as_str(), tail.feature.as_deref()), ("acme", Some("incident-triage")));
    assert_eq!((tail.issue_id.as_deref(), tail.decided_by.as_deref()), (Some("PAY-17"), Some("budget one-run")));
    assert_eq!(tail.user_key, Some(bench.ids.pseudonym("default", "ada@example.com")), "erasures find the line by it");
    let budget = tail.budget.as_deref().expect("a budget");
    assert_eq!(budget.describe(), "run r1 has used 10.02 of 10 USD (budget one-run)");
    assert_eq!((&budget.until, &budget.granted_by, &budget.reason, budget.repeats), (&None, &None, &None, None));
    let repeated = BudgetRecord { repeats: 7, ..stop("one-run", Scope::Run, "r1") };
    let repeated = bench.pass_payload(payload(&[repeated], &named()), trusted());
    let repeated = serde_json::to_value(&repeated.rows[0]).expect("json");
    assert_eq!((vault::testing::schema::broken(&repeated), &repeated["budget"]["repeats"]), (vec![], &json!(7)));
    let line = serde_json::to_value(&out.rows[0]).expect("json");
    assert_eq!(vault::testing::schema::broken(&line), Vec::<String>::new());
    let mut other = line.clone();
    other["budget"]["answer"] = json!("allow");
    assert!(!vault::testing::schema::broken(&other).is_empty(), "the schema knows the answers");
    let without = line.as_object().expect("a line").iter().filter(|(key, _)| *key != "budget");
    let without: serde_json::Map<String, Json> = without.map(|(key, value)| (key.clone(), value.clone())).collect();
    assert!(!vault::testing::schema::broken(&without.into()).is_empty(), "the schema wants the budget");
}

/// Whoever was not stopped is not in the list of denials.
#[test]
fn a_shadow_decides_nothing() {
    let shadow = BudgetRecord { shadow: true, ..stop("trial", Scope::Session, "s1") };
    let out = Bench::new().pass_payload(payload(&[shadow], &named()), trusted());
    let tail = &out.rows[0].tail;
    assert_eq!((tail.kind, tail.decision.as_deref()), (Some(RowKind::Decision), None));
    assert!(tail.budget.as_deref().is_some_and(|budget| budget.shadow && budget.describe().contains("not stopped")));
}

/// The same attributes from a client are no decision: neither with `normalize` in front nor without.
#[test]
fn a_client_forges_no_decision() {
    let records = [stop("one-run", Scope::Run, "r1"), grant("h-00112233445566778899aabbccddeeff", "more")];
    let out = Bench::new().pass_payload(payload(&records, &named()), origin());
    assert_eq!(out.rows.len(), 2);
    for row in &out.rows {
        assert_eq!((row.tail.kind, &row.tail.budget), (Some(RowKind::Action), &None));
        assert_eq!((&row.tail.decision, &row.tail.decided_by), (&None, &None));
    }
}

/// An incomplete or absurd record of an upstream gateway is an action like any other.
#[test]
fn damaged_records_are_actions() {
    for (key, value) in [("spent", json!("much")), ("scope", json!("planet")), ("decision", json!(1))] {
        let mut attributes = json!({"tollgate.budget.decision": "deny", "tollgate.budget.name": "b",
            "tollgate.budget.scope": "run", "tollgate.budget.key": "r1", "tollgate.budget.measure": "amount",
            "tollgate.budget.spent": "1", "tollgate.budget.limit": "1"});
        let case = |attributes: &Json| {
            request::payload(&json!({"scope": {"name": "tollgate.budgets"}, "items": [
                {"name": "tollgate.budget.decision", "trace": 1, "span": 2, "attributes": attributes}]}))
        };
        let good = Bench::new().pass_payload(case(&attributes), trusted());
        assert_eq!(good.rows[0].tail.kind, Some(RowKind::Decision));
        attributes[format!("tollgate.budget.{key}")] = value;
        let out = Bench::new().pass_payload(case(&attributes), trusted());
        assert_eq!((out.rows[0].tail.kind, &out.rows[0].tail.budget), (Some(RowKind::Action), &None), "{key}");
    }
}

/// A grant says granted_by gave it, reason, and until when; its texts pass the rules, in the line and in the span, and the key
/// stays the pseudonym that pages show.
#[test]
fn a_grant_is_redacted() {
    let mut bench = Bench::new().redacting(closed::REDACT.clone());
    let rules = RedactConfig::default().settings().expect("the built-in rules");
    let ids = RedactionIdPolicy::new(vec![rules.detector], Pseudonymizer::new(&Secret::new("k".to_owned())));
    bench.processor.sealer.as_mut().expect("a store").ids = Arc::new(ids);
    let key = bench.ids.pseudonym("default", "ada@example.com");
    let reason = "ada@example.com asked for the release of Friday";
    let out = bench.pass_payload(payload(&[grant(&key, reason)], &Names::default()), trusted());
    let tail = &out.rows[0].tail;
    assert_eq!((tail.kind, tail.decision.as_deref()), (Some(RowKind::Decision), Some("grant")));
    assert_eq!((tail.user_key.as_ref(), out.documents.len()), (Some(&key), 0));
    let BudgetDecision { granted_by, reason, until, name, limit, key: shown, .. } =
        tail.budget.as_deref().expect("a budget");
    assert_eq!((shown, name.as_str(), limit.as_str()), (&key, "", "40"));
    assert_eq!(until.as_deref(), Some("2026-11-18T11:06:40.000000000Z"));
    assert!(granted_by.as_deref().is_some_and(|granted_by| !granted_by.contains('@')), "{granted_by:?}");
    assert!(
        reason.as_deref().is_some_and(|reason| !reason.contains('@') && reason.contains("the release of Friday")),
        "{reason:?}"
    );
    let span = out.attributes(0);
    assert_eq!(span.get("tollgate.budget.key"), Some(&key));
    assert_eq!(span.get("tollgate.budget.until").map(String::as_str), Some("1795000000000000000"));
    let reason = span.get("tollgate.budget.reason").expect("it stays");
    assert!(!reason.contains('@') && reason.contains("the release of Friday"), "{reason}");
    assert!(!String::from_utf8_lossy(&out.bytes).contains("ada@"));
}

/// With `privacy: strict` a record is forwarded as it is, because its numbers and names are tollgate's own.
#[test]
fn strict_privacy_leaves_records() {
    let uuid = "0b5f7c1e-93f8-4a53-a2c4-8e4c0c1f4b11";
    let bench = Bench::new().strict();
    let mut bench = bench.redacting(closed::REDACT.clone());
    let out = bench.pass_payload(payload(&[stop("one-run", Scope::Session, uuid)], &named()), trusted());
    let span = out.attributes(0);
    let text = |key: &str| span.get(&format!("tollgate.budget.{key}")).map(String::as_str);
    assert_eq!((text("key"), text("spent"), text("limit")), (Some(uuid), Some("10.02"), Some("10")));
    assert_eq!((text("decision"), text("name"), text("measure")), (Some("deny"), Some("one-run"), Some("amount")));
}
