//! Populations are complete, periods have exact ends, denials are never lost.

use super::*;
use crate::erase::tests::{Desk, site_and_desk};
use kernel::clock::Clock as _;
use vault::index_row::RowTail;
use vault::object_names::rfc3339;

fn all() -> EvidencePeriod {
    EvidencePeriod {
        from: "2026-01-01T00:00:00.000000000Z".to_owned(),
        to: "2027-01-01T00:00:00.000000000Z".to_owned(),
    }
}

/// The evidence of all times and accounts.
async fn gathered(desk: &Desk) -> PeriodEvidence {
    gather_evidence(&desk.place.vault, &all(), None, &desk.keys()).await.expect("gathered")
}

/// A writer can't add a session to a population: objects that no signed digest names are listed separately, and signed
/// objects that changed are reported as missing.
#[tokio::test]
async fn what_nobody_signed_is_no_evidence() {
    let (site, desk) = site_and_desk().await;
    let vault = &desk.place.vault;
    let honest = gathered(&desk).await;
    assert!(honest.unsigned.is_empty() && honest.unreadable.is_empty(), "{:?}", honest.unsigned);
    let mut row = line("tool", "Bash", Some("denied"), "ok");
    (row.tail.writer, row.tail.epoch) = ("gw".to_owned(), "E9999".to_owned());
    let text = format!("{}\n", serde_json::to_string(&row).expect("json"));
    let forged = zstd::bulk::compress(text.as_bytes(), 3).expect("zstd");
    let folder = "index/v1/account=default/dt=2026-11-20";
    site.plant(&format!("{folder}/gw-E9999-0000000000.ndjson.zst"), forged.clone());
    site.plant(&format!("{folder}/gw-E9998-0000000000.ndjson.zst"), "x");
    site.plant("chain/default/gw/E9999/0000000000.json", "{}");
    let told = gathered(&desk).await;
    assert_eq!((told.lines, told.sessions.len(), told.actions.len()), (honest.lines, honest.sessions.len(), 0));
    assert_eq!((told.digests.len(), told.unreadable.len()), (honest.digests.len(), 0));
    assert_eq!(told.unsigned.iter().map(|one| one.lines).sum::<u64>(), 1);
    assert_eq!(told.unsigned.len(), 3, "a line, garbage, a digest: {:?}", told.unsigned);
    // another key matches nothing
    let none = gather_evidence(vault, &all(), None, &[desk.chain_key()]).await.expect("gathered");
    assert_eq!((none.lines, none.digests.len()), (0, 0));
    // a replaced signed object is missing, and reported
    site.plant(&site.name(&[folder, "gw-E0000"]), forged);
    let torn = gathered(&desk).await;
    assert!(torn.lines < honest.lines && torn.unreadable.len() == 1, "{:?}", torn.unreadable);
}

/// Every line is in one session; the halves of a period add up to the whole; an account's bundle has no other account's
/// data.
#[tokio::test]
async fn a_population_is_complete() {
    let (mut site, desk) = site_and_desk().await;
    let vault = &desk.place.vault;
    let middle = rfc3339(site.clock.now());
    site.send("default", "s9", "later");
    site.minutes(4).await;
    let whole = gathered(&desk).await;
    assert_eq!((whole.lines, whole.sessions.len(), whole.without_session, whole.gaps), (18, 4, 0, 0));
    assert_eq!(whole.sessions.values().map(|session| session.lines).sum::<u64>(), 18);
    let with_content: u64 = whole.sessions.values().map(|session| session.lines_with_content).sum();
    assert_eq!((whole.keys.len(), with_content), (4, 9));
    let keys = desk.keys();
    let part = async |period: EvidencePeriod| gather_evidence(vault, &period, None, &keys).await.expect("gathered");
    let before = part(EvidencePeriod { to: middle.clone(), ..all() }).await;
    let after = part(EvidencePeriod { from: middle, ..all() }).await;
    assert_eq!((before.lines, after.lines, after.sessions.len()), (16, 2, 1));
    assert!(before.digests.len() < whole.digests.len() && !after.digests.is_empty());
    let own = gather_evidence(vault, &all(), Some("team"), &desk.keys()).await.expect("gathered");
    assert!(own.lines == 8 && own.sessions.keys().all(|(account, ..)| account == "team") && own.keys.len() == 1);
    desk.erase(&site, "s0").await;
    let erased = gathered(&desk).await.erasures;
    assert_eq!(erased.len(), 2, "begun and done");
    assert!(erased.iter().all(|one| one.erasure.why == "ticket 4711" && one.erasure.request.is_none()));
}

fn line(call: &str, tool: &str, decision: Option<&str>, status: &str) -> IndexRow {
    let tail = RowTail {
        ts: "2026-11-20T10:00:00Z".to_owned(),
        ingest_ts: "2026-11-20T10:00:00Z".to_owned(),
        account: "default".to_owned(),
        tenant: "acme".to_owned(),
        session_id: Some("s".to_owned()),
        call: call.to_owned(),
        tool_name: Some(tool.to_owned()),
        decision: decision.map(str::to_owned),
        status: status.to_owned(),
        actor: Some("agent".to_owned()),
        user_key: Some("h-1".to_owned()),
        cost_status: (call == "model").then(|| "priced".to_owned()),
        cost_usd: (call == "model").then(|| "0.1".to_owned()),
        ..RowTail::default()
    };
    IndexRow { v: 1, leaf: 0, object_key: None, off: None, of: None, tail }
}

/// The signed digests show which configuration each gateway had, and until when (SOC 2, CC8.1), and to whom each
/// account's content was sealed, without the keys of other accounts.
#[tokio::test]
async fn configurations_and_recipients_are_told_from_digests() {
    let (site, desk) = site_and_desk().await;
    let gathered = gathered(&desk).await;
    let made_by: Vec<_> = gathered.configurations.keys().filter_map(|one| one.made_by.clone()).collect();
    let hash = "40bcb3ec21c27562e50fdb9f3b503f068bf02b48d59f34031f8323c1f2112b1f";
    assert!(!made_by.is_empty() && made_by.iter().all(|by| by.configuration == hash), "{made_by:?}");
    let of_configurations: u64 = gathered.configurations.values().map(|spell| spell.digests).sum();
    let of_recipients: u64 = gathered.recipients.values().map(|period| period.digests).sum();
    let all_digests = gathered.digests.len() as u64;
    assert_eq!((of_configurations, of_recipients), (all_digests, all_digests), "each digest is under one");
    let accounts: BTreeSet<_> = gathered.sessions.keys().map(|(account, ..)| account.clone()).collect();
    let shown: Vec<_> = gathered.recipients.keys().collect();
    assert_eq!(shown.iter().map(|one| one.account.clone()).collect::<BTreeSet<_>>(), accounts);
    assert!(shown.iter().all(|one| one.recipients.of[0].key == format!("age1-of-{}", one.account)), "{shown:?}");
    assert!(gathered.configurations.keys().flat_map(|one| &one.made_by).all(|gateway| gateway.recipients.is_none()));
    let folder = tempfile::tempdir().expect("scratch");
    let bundle = bundle::EvidenceBundle {
        period: &all(),
        gathered: &gathered,
        report: &crate::verify::VerifyReport::default(),
        store: "memory",
        anchors: &[],
        attached: &[],
        key: None,
        made: site.clock.now(),
    };
    bundle.write(&folder.path().join("evidence")).expect("written");
    let lines = std::fs::read_to_string(folder.path().join("evidence/recipients.ndjson")).expect("a file");
    assert_eq!(lines.lines().count(), shown.len());
    let own = r#"{"sealed_to":{"account":"default","writer":"gw","recipients":{"of":[{"key":"age1-of-default"}]}}"#;
    assert!(lines.contains(own), "{lines}");
}

/// Used tools and denials, by a rule and by a user, are counted separately; sums are exact.
#[test]
fn denials_are_reported_with_tool_and_decider() {
    let mut all_of = PeriodEvidence::default();
    let lines = [
        line("tool", "Bash", None, "ok"),
        line("tool", "Bash", None, "ToolFailed"),
        line("permission", "Bash", Some("accept"), "ok"),
        line("permission", "Bash", Some("reject"), "ok"),
        line("permission", "Read", None, "ok"),
        line("tool", "Write", Some("denied"), "ok"),
        line("model", "", None, "ok"),
        line("model", "", None, "ok"),
        line("model", "", None, "ok"),
    ];
    assert!(lines.iter().all(|row| all_of.add_row(row, &all())));
    let told: Vec<(Option<&str>, &str, bool, u64, u64)> = (all_of.actions.iter())
        .map(|(key, times)| (key.tool.as_deref(), key.outcome.as_str(), key.denied, times.count, times.failures))
        .collect();
    let want = [
        (Some("Bash"), "accept", false, 1, 0),
        (Some("Bash"), "reject", true, 1, 0),
        (Some("Bash"), "used", false, 2, 1),
        (Some("Read"), "asked", false, 1, 0),
        (Some("Write"), "denied", true, 1, 0),
    ];
    assert_eq!(told, want);
    assert!(all_of.actions.keys().all(|key| key.user.as_deref() == Some("h-1") && key.actor.is_some()));
    let session = all_of.sessions.values().next().expect("one");
    assert_eq!((session.denials, session.decisions, session.tool_calls, session.failures), (2, 3, 3, 1));
    assert_eq!((session.model_calls, session.cost_usd.map(|usd| usd.to_string())), (3, Some("0.3".to_owned())));
    let mut decided = PeriodEvidence::default();
    for by in ["config", "user_reject", "config"] {
        let mut row = line("permission", "Bash", Some("reject"), "ok");
        row.tail.decided_by = Some(by.to_owned());
        assert!(decided.add_row(&row, &all()));
    }
    let told: Vec<_> = decided.actions.iter().map(|(key, times)| (key.decided_by.as_deref(), times.count)).collect();
    assert_eq!(told, [(Some("config"), 2), (Some("user_reject"), 1)]);
}

/// A call reported by a span and a log is one call in the population, and one use.
#[test]
fn what_is_told_twice_is_counted_once() {
    let mut all_of = PeriodEvidence::default();
    for (call, signal, status) in [
        ("tool", "traces", None),
        ("tool", "logs", None),
        ("model", "traces", Some("deferred")),
        ("model", "logs", Some("priced")),
    ] {
        let mut row = line(call, "Bash", None, "ok");
        (row.tail.signal, row.tail.tool_call_id) = (signal.to_owned(), Some("c1".to_owned()));
        row.tail.cost_status = status.map(str::to_owned);
        assert!(all_of.add_row(&row, &all()));
    }
    let session = all_of.sessions.values().next().expect("one");
    assert_eq!((session.lines, session.tool_calls, session.model_calls), (4, 1, 1));
    for (call, signal) in [("model", "traces"), ("model_copy", "logs")] {
        let mut row = line(call, "", None, "overloaded");
        (row.tail.signal, row.tail.response_id) = (signal.to_owned(), Some("r1".to_owned()));
        row.tail.cost_status = None;
        assert!(all_of.add_row(&row, &all()));
    }
    let session = all_of.sessions.values().next().expect("one");
    assert_eq!((session.lines, session.failures), (6, 1));
    assert_eq!(all_of.actions.values().map(|times| times.count).collect::<Vec<_>>(), [1]);
}
