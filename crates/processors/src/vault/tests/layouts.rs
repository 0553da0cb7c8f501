//! Tests of the other store layouts: their objects, reading and verification, and their cost in requests.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::options::StoreLayout;
use super::whole::{Gateway, gateway_with, of, tool, turn, verified};

fn laid_out(layout: StoreLayout) -> Gateway {
    gateway_with(|config| config.layout = layout)
}

/// Sessions of one account share objects. Each session is replayed on its own, references lead to their fragment, and
/// everything verifies. Without the index the owner of a fragment is unknown, and this is reported.
#[tokio::test]
async fn packed() {
    let mut gateway = laid_out(StoreLayout::Packed);
    for n in 1..4 {
        gateway
            .pass(&json!({"items": [of("s-1", turn(n, &[("user", "CANARY one")], "two")), of("s-2", tool(n + 10))]}));
    }
    assert!(gateway.uploader.drain().await);
    let payload: Vec<String> = gateway.names().into_iter().filter(|name| name.ends_with(".agev")).collect();
    assert_eq!(payload.len(), 1);
    assert!(payload[0].starts_with("packed/default/2026-11-20/10/gw-1-"), "{payload:?}");
    let one = gateway.replay("s-1").await.expect("replayed");
    assert!(one.contains("CANARY one") && !one.contains("execute_tool"), "{one}");
    let two = gateway.replay("s-2").await.expect("replayed");
    assert!(!two.contains("CANARY one") && two.contains("execute_tool") && two.contains("CANARY"), "{two}");
    verified(&gateway).await;
    for said in [&one, &two] {
        assert!(!said.contains("not read"), "what is another session's is no loss: {said}");
    }
    let (_, bytes) = gateway.object(&payload[0]);
    let starts: Vec<usize> = memchr::memmem::find_iter(&bytes, b"age-encryption.org/v1").collect();
    assert_eq!(starts.len(), 6);
    let range = || Some(format!("bytes={:010}-{:010}", starts[1], starts[2] - 1));
    let text = gateway.get(&payload[0], range()).await.expect("found");
    assert!(text.contains("\"session\":\"s-2\"") && text.lines().count() == 1, "{text}");
    std::fs::remove_dir_all(gateway.folder.path().join("vault/index")).expect("index");
    let refused = gateway.get(&payload[0], range()).await.expect_err("unknown");
    assert!(refused.to_string().contains("the index does not name its session (yet)"), "{refused}");
}

/// Each turn in each batch has an object of its own, which the standard `age` tool decrypts to plain JSON.
#[tokio::test]
async fn one_object_a_turn() {
    let mut gateway = laid_out(StoreLayout::Turn);
    let numbered = |n: u64, turn_id: &str| {
        let mut item = turn(n, &[("user", "CANARY one")], "two");
        item["attributes"]["turn.id"] = json!(turn_id);
        item
    };
    let in_trace = |n: u64| {
        let mut item = turn(n, &[("user", "x")], "y");
        item["trace"] = json!(n);
        item
    };
    gateway.pass(&json!({"items": [numbered(1, "1"), numbered(2, "2.b"), in_trace(3), in_trace(5)]}));
    gateway.pass_stored(json!([numbered(4, "2.b")])).await;
    let payload: Vec<String> = gateway.names().into_iter().filter(|name| name.ends_with(".json.age")).collect();
    let starts: Vec<&str> = payload
        .iter()
        .map(|name| name.rsplit('/').next().expect("file").split("gw-1").next().expect("start"))
        .collect();
    let [one, two, two_again, traced, other] = starts[..] else { panic!("{payload:?}") };
    assert_eq!([one, two, two_again], ["turn_1.", "turn_2%2Eb.", "turn_2%2Eb."]);
    // If a client sends no turn id, each trace is a turn.
    assert!(traced.starts_with("turn_trace-") && traced.len() == 44 && traced != other, "{traced} {other}");
    assert!(payload.iter().all(|name| name.starts_with("default/acme/s-1/2026-11-20/")), "{payload:?}");
    let replayed = gateway.replay("s-1").await.expect("replayed");
    assert!(replayed.contains("model calls: 5"), "{replayed}");
    verified(&gateway).await;
    let (_, key) = gateway.objects().into_iter().find(|(name, _)| name.starts_with("keys/")).expect("a key");
    let secret = age::decrypt(&gateway.auditors()[0], &key).expect("opens");
    let session: age::x25519::Identity = String::from_utf8(secret).expect("text").trim().parse().expect("identity");
    let plain = age::decrypt(&session, &gateway.object(&payload[0]).1).expect("opens");
    serde_json::from_slice::<Json>(&plain).expect("plain JSON");
}

/// Requests for twenty sessions of twenty spans in five minutes, with a new session every second: for keys, for
/// payload, and for index and chain per minute.
async fn requests(layout: StoreLayout) -> [f64; 3] {
    const SESSIONS: u64 = 20;
    let mut gateway = laid_out(layout);
    let mut payload_seconds = 0_u64;
    for second in 0..300 + SESSIONS {
        for session in 0..SESSIONS {
            let Some(age) = second.checked_sub(session) else { continue };
            if age % 15 == 0 && age / 15 < 20 {
                gateway.pass(&json!({"items": [of(&format!("s-{session}"), tool(session * 100 + age / 15 + 1))]}));
            }
        }
        payload_seconds = second + 1;
        gateway.clock.advance(Duration::from_secs(1));
        for _ in 0..20 {
            if !gateway.uploader.step().await {
                break;
            }
        }
    }
    assert!(gateway.uploader.drain().await);
    let all = gateway.names();
    let count = |is: &dyn Fn(&str) -> bool| all.iter().filter(|name| is(name)).count() as f64;
    let keys = count(&|name| name.starts_with("keys/"));
    let chain = count(&|name| name.starts_with("chain/") || name.starts_with("index/"));
    let payload = count(&|name| name.ends_with(".agev"));
    assert_eq!(keys as u64, SESSIONS, "a key a session");
    verified(&gateway).await;
    let minutes = payload_seconds as f64 / 60.0;
    match layout {
        StoreLayout::Packed => [keys / SESSIONS as f64, payload / minutes, chain / minutes],
        _ => [keys / SESSIONS as f64, payload / SESSIONS as f64, chain / minutes],
    }
}

/// Requests per million payload spans in sessions of twenty, at 100 spans a second (the model in the reference): what
/// the store bills.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures are what is asked for")]
async fn requests_per_million_spans() {
    let (sessions, minutes) = (1_000_000.0 / 20.0, 1_000_000.0 / 100.0 / 60.0);
    let [keys, payload, chain] = requests(StoreLayout::Session).await;
    let default = keys * sessions + payload * sessions + chain * minutes;
    println!(
        "by session: {default:.0} puts: {keys} keys and {payload} objects a session, {chain:.1} of index and chain a minute"
    );
    let [keys, payload, chain] = requests(StoreLayout::Packed).await;
    let packed = keys * sessions + payload * minutes + chain * minutes;
    println!(
        "packed: {packed:.0} puts: {keys} keys a session, {payload:.1} objects and {chain:.1} of index and chain a minute"
    );
    assert!(default <= 215_000.0 && packed <= 60_000.0, "{default} {packed}");
    assert!(default > 100_000.0 && packed > 50_000.0, "{default} {packed}: something was not counted");
}
