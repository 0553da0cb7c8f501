//! Tests with hostile input.

use std::time::Duration;

use serde_json::json;

use super::super::options::StoreLayout;
use super::whole::{files, gateway, gateway_with, report, turn};
use kernel::clock::Clock as _;
use pipeline::Processor as _;
use vault::object_names::ObjectName;

/// Session ids that are paths, escapes, emoji, long, empty or addresses: in every layout each session is where its
/// index line says, can be read, and nothing is written outside the store's folder.
#[tokio::test]
async fn session_ids() {
    let long = "s".repeat(2048);
    let ids = [
        "../../etc",
        "..",
        ".",
        "%2e%2e/x",
        "a%b",
        "🙂🙂",
        long.as_str(),
        "",
        "ada@example.com",
        "=quarantine",
        "a\u{0}b",
        "日本語セッション",
        "h-0123456789abcdef0123456789abcdef",
    ];
    for layout in [StoreLayout::Session, StoreLayout::Packed, StoreLayout::Turn] {
        let mut gateway = gateway_with(|config| config.layout = layout);
        for (n, id) in (1..).zip(ids) {
            let mut item = turn(n, &[("user", &format!("CANARY {n}."))], "x");
            item["attributes"]["gen_ai.conversation.id"] = json!(id);
            item["attributes"]["turn.id"] = json!(id);
            item["trace"] = json!(n);
            gateway.pass(&json!({"items": [item]}));
        }
        assert!(gateway.uploader.drain().await);
        let mut all = Vec::new();
        files(gateway.folder.path(), &mut all);
        let outside = all.iter().filter(|(name, _)| !name.contains("/vault/")).count();
        assert_eq!(outside, 1, "only the auditor's key lies beside the store");
        let lines = gateway.rows().await;
        assert_eq!(lines.len(), ids.len());
        for (n, row) in (1..).zip(&lines) {
            let name = row.object_key.as_deref().expect("an object");
            assert!(ObjectName::parse(name).is_some(), "{name}");
            let is_harmless = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= 255;
            assert!(name.split('/').all(is_harmless), "{name}");
            let session = row.tail.session_id.clone();
            let session = session.unwrap_or_else(|| format!("trace-{}", row.tail.trace_id.as_deref().expect("trace")));
            let text = gateway.replay(&session).await.unwrap_or_else(|why| panic!("{layout:?} {session}: {why}"));
            assert!(text.contains(&format!("CANARY {n}.")), "{layout:?} {session}");
        }
    }
}

/// A payload of 64 MiB is sealed, stored and read back in full.
#[tokio::test]
async fn sixty_four_mib() {
    let mut gateway = gateway();
    let text = "0123456789abcde\n".repeat(4 << 20);
    gateway.pass_stored(json!([turn(1, &[("user", &text)], "x")])).await;
    let replay = gateway.read("s-1").await.expect("read");
    let mut first = Vec::new();
    replay.write_turn(1, &mut first).expect("a turn").expect("written");
    let lines = first.split(|byte| *byte == b'\n').filter(|line| line.ends_with(b"0123456789abcde")).count();
    assert_eq!(lines, 4 << 20);
}

/// A session that never ends uses objects of two minutes each, and no more memory after a day than after an hour; once
/// it is quiet it uses none.
#[tokio::test]
async fn a_session_without_end() {
    let mut gateway = gateway();
    let mut sizes = Vec::new();
    for minute in 0..180_u64 {
        let said: Vec<String> = (0..4).map(|at| format!("{minute} {at} {}", "x".repeat(300))).collect();
        let said: Vec<(&str, &str)> = said.iter().map(|text| ("user", text.as_str())).collect();
        gateway.pass(&json!({"items": [turn(minute + 1, &said, "ok")]}));
        gateway.clock.advance(Duration::from_secs(60));
        for _ in 0..12 {
            gateway.uploader.step().await;
        }
        gateway.processor.tick(gateway.clock.now());
        if minute % 60 == 59 {
            let keeper = gateway.processor.sealer.as_ref().expect("a store");
            sizes.push((keeper.bases.size().0, keeper.keys.len(), gateway.writer().open_count()));
        }
    }
    assert!(sizes.iter().all(|(bases, keys, open)| *bases <= 1 && *keys <= 1 && *open <= 1), "{sizes:?}");
    gateway.clock.advance(Duration::from_secs(4000));
    gateway.uploader.step().await;
    gateway.processor.tick(gateway.clock.now());
    let keeper = gateway.processor.sealer.as_ref().expect("a store");
    assert_eq!((keeper.bases.size(), keeper.keys.len(), gateway.writer().open_count()), ((0, 0), 0, 0));
    assert!(gateway.uploader.drain().await);
    let objects = gateway.objects().into_keys().filter(|name| name.ends_with(".agev")).count();
    assert!((60..=90).contains(&objects), "{objects}");
}

/// The clock is set back by hours: objects still close, nothing is written twice, and everything verifies.
#[tokio::test]
async fn the_clock_goes_back() {
    let mut gateway = gateway();
    gateway.pass(&json!({"items": [turn(1, &[("user", "one")], "x")]}));
    gateway.clock.set_back(Duration::from_secs(3 * 3600));
    gateway.pass(&json!({"items": [turn(2, &[("user", "two")], "y")]}));
    for _ in 0..6 {
        gateway.uploader.step().await;
    }
    assert_eq!(gateway.writer().open_count(), 0, "an object from the future is closed");
    gateway.pass_stored(json!([turn(3, &[("user", "three")], "z")])).await;
    let report = report(&gateway).await;
    assert!(report.verified, "{}", report.text());
    let text = gateway.replay("s-1").await.expect("replayed");
    assert!(["one", "two", "three"].iter().all(|word| text.contains(word)), "{text}");
}
