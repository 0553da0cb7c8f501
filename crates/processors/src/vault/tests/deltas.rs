//! Tests of turns that refer to earlier ones: how much is stored, that it is read back, and that a lost batch loses
//! nothing else.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::context_bases::ContextBases;
use super::whole::{Gateway, NOON, gateway, turn, verified};
use crate::testing::text_of;
use audit::read::ExportFormat;
use pipeline::Processor as _;

/// Text that does not compress: hex of hashes.
fn words(seed: u64, bytes: usize) -> String {
    use kernel::sha256::Sha256;
    let mut out = String::new();
    while out.len() < bytes {
        out.push_str(&kernel::hex::encode(&Sha256::digest(format!("{seed} {}", out.len()))));
    }
    out.truncate(bytes);
    out
}

/// Turn `n` of a conversation that grows by two messages of `bytes` each.
fn grown(n: u64, bytes: usize) -> Json {
    let said: Vec<(&str, String)> =
        (1..2 * n).map(|at| (if at % 2 == 1 { "user" } else { "assistant" }, words(at, bytes))).collect();
    let history: Vec<(&str, &str)> = said.iter().map(|(role, text)| (*role, text.as_str())).collect();
    json!({"items": [turn(n, &history, &words(2 * n, bytes))]})
}

/// Total size of the payload objects, and their number.
fn payload(gateway: &Gateway) -> (usize, usize) {
    let payload = gateway.objects().into_iter().filter(|(name, _)| name.ends_with(".agev"));
    let objects: Vec<usize> = payload.map(|(_, bytes)| bytes.len()).collect();
    (objects.iter().sum(), objects.len())
}

/// Thirty turns that grow by 4 KB each take a small part of the space of thirty whole contexts, in the store and
/// encrypted. Each turn is read in full, also on its own, and everything verifies.
#[tokio::test]
async fn thirty_turns_in_the_store() {
    let (mut whole, mut deltas) = (gateway(), gateway());
    for n in 1..=30 {
        whole.send(&grown(n, 2000));
        deltas.pass(&grown(n, 2000));
    }
    assert!(whole.uploader.drain().await && deltas.uploader.drain().await);
    let ((before, _), (after, objects)) = (payload(&whole), payload(&deltas));
    // Compression halves hex: 1.9 MB of text become 0.95 MB.
    assert!(objects == 1 && before > 900_000 && after < 200_000, "{before} {after} {objects}");
    let replay = deltas.read("s-1").await.expect("read");
    let show = |number| text_of(|out| replay.write_turn(number, out).expect("a turn"));
    assert_eq!(replay.turns().len(), 30);
    for number in [1, 2, 16, 17, 30] {
        let text = show(number);
        assert!((1..=2 * number as u64).all(|at| text.contains(&words(at, 2000))), "turn {number}");
    }
    let changed = text_of(|out| replay.diff(29, 30, out).expect("turns"));
    assert!(changed.contains("(57 messages as before)") && !changed.contains(&words(57, 2000)), "{changed:.300}");
    let last = text_of(|out| replay.export(ExportFormat::Messages, out));
    let last: Json = serde_json::from_str(last.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["messages"].as_array().map(Vec::len), Some(60));
    verified(&deltas).await;
}

/// For a single fragment, read by its range, the fragments it refers to are fetched too.
#[tokio::test]
async fn a_range_is_read_whole() {
    let mut gateway = gateway();
    (1..=3).for_each(|n| gateway.pass(&grown(n, 1000)));
    assert!(gateway.uploader.drain().await);
    let (object, bytes) = gateway.object(".agev");
    let third = memchr::memmem::find_iter(&bytes, b"age-encryption.org/v1").nth(2).expect("three fragments");
    let text = gateway.get(&object, Some(format!("bytes={third}-{}", bytes.len() - 1))).await.expect("found");
    assert!((1..=6).all(|at| text.contains(&words(at, 1000))));
    assert_eq!(text.lines().count(), 1);
}

/// An uncommitted batch is never a base; two concurrent batches do not refer to each other; in any commit order each
/// turn can be read and verified.
#[tokio::test]
async fn only_what_is_committed_is_referred_to() {
    let mut gateway = gateway();
    gateway.pass(&grown(1, 1000));
    // Lost: never committed.
    drop(gateway.process(&grown(2, 1000)));
    let (third, fourth) = (gateway.process(&grown(3, 1000)), gateway.process(&grown(4, 1000)));
    let fourth = gateway.commit(fourth);
    let fifth = gateway.process(&grown(5, 1000));
    let third = gateway.commit(third);
    for effect in fourth.iter().chain(&third) {
        gateway.processor.apply(effect);
    }
    drop(gateway.commit(fifth));
    gateway.pass(&grown(6, 1000));
    assert!(gateway.uploader.drain().await);
    assert_eq!(gateway.read("s-1").await.expect("read").turns().len(), 5);
    verified(&gateway).await;
}

/// A turn that refers into an open object is placed in that object, however late; a dropped batch keeps nothing open.
/// Later turns begin another object with a whole context.
#[tokio::test]
async fn an_object_never_needs_another() {
    let mut gateway = gateway();
    gateway.pass(&grown(1, 1000));
    let (late, gone) = (gateway.process(&grown(2, 1000)), gateway.process(&grown(2, 1000)));
    gateway.clock.advance(Duration::from_secs(300));
    for _ in 0..4 {
        gateway.uploader.step().await;
    }
    assert_eq!(payload(&gateway), (0, 0), "two batches are on their way into it");
    let while_closing = gateway.process(&grown(3, 1000));
    drop(gateway.commit(late));
    drop(gone);
    drop(gateway.commit(while_closing));
    for _ in 0..4 {
        gateway.uploader.step().await;
    }
    assert_eq!(payload(&gateway).1, 1, "closed");
    gateway.pass(&grown(4, 1000));
    gateway.pass(&grown(5, 1000));
    assert!(gateway.uploader.drain().await);
    assert_eq!(payload(&gateway).1, 2);
    // Each object can be read without the other.
    let payload: Vec<_> = gateway.objects().into_iter().filter(|(name, _)| name.ends_with(".agev")).collect();
    let mut turns = 0;
    for (name, _) in &payload {
        for (other, _) in payload.iter().filter(|(other, _)| other != name) {
            std::fs::remove_file(gateway.folder.path().join("vault").join(other)).expect("hidden");
        }
        turns += gateway.get(name, None).await.expect("found").lines().count();
        payload.iter().for_each(|(name, bytes)| gateway.plant(name, bytes));
    }
    assert_eq!(turns, 5);
    verified(&gateway).await;
}

/// An agent and its sub-agent alternate within one session: each continues from its own last context.
#[tokio::test]
async fn sub_agents_have_contexts_of_their_own() {
    let (mut alone, mut mixed) = (gateway(), gateway());
    for n in 1..=8 {
        alone.pass(&grown(n, 1000));
        mixed.pass(&grown(n, 1000));
        let words: Vec<String> = (0..2 * n).map(|at| words(1000 + at, 1000)).collect();
        let said: Vec<(&str, &str)> = words.iter().map(|text| ("user", text.as_str())).collect();
        mixed.pass(&json!({"items": [turn(100 + n, &said, "done")]}));
    }
    assert!(alone.uploader.drain().await && mixed.uploader.drain().await);
    let (alone, both) = (payload(&alone).0, payload(&mixed).0);
    assert!(both < 3 * alone, "{both} of {alone}");
    verified(&mixed).await;
}

/// Memory for contexts is bounded: a session beyond the limit is stored in full and uses no memory; closed objects are
/// removed.
#[test]
fn memory_is_bounded() {
    let gateway = gateway();
    let writer = gateway.writer();
    let small = ContextBases::new(20_000);
    let mut refused = 0;
    for n in 0..400_u32 {
        let scope = vault::object_names::FragmentScope {
            account: "default".into(),
            tenant: "acme".into(),
            session: format!("s-{n}"),
            date: "2026-11-20".into(),
        };
        let spot = writer.names().object_prefix(&scope, NOON, None);
        let mut lookup = small.lookup(&writer, &scope, &spot, "f");
        let mut content = vault::document::ItemContent::default();
        let piece = vault::document::ContentPiece {
            part: "input".into(),
            on: "span".into(),
            key: None,
            event: None,
            time: None,
        };
        let text = Json::Array((0..3).map(|at| json!({ "content": words(at, 300) })).collect()).to_string();
        content.push(genai::ContentPart::Input, &piece, &json!(text).to_string(), Some(&text));
        lookup.plan_content(&mut content, 0);
        let landed = std::sync::Arc::default();
        let (_, _, learnt) = lookup.finish(&landed);
        let placed = writer.place_fragment(&spot, 10, NOON, false, None);
        landed.set(placed.number).expect("once");
        let before = small.size().0;
        small.remember(&learnt);
        refused += u32::from(small.size().0 == before);
    }
    let (sessions, bytes) = small.size();
    assert!(bytes <= 20_000 && sessions > 20 && refused > 300, "{sessions} {bytes} {refused}");
    assert!(bytes / sessions < 700, "{bytes} {sessions}");
    writer.close_due_objects(NOON, Duration::ZERO);
    small.remove_closed(&writer);
    assert_eq!(small.size(), (0, 0));
}
