//! Content in the shape of a chat is removed from any place of any service: shapes from tests/cases/chat/shapes.yaml,
//! places and words chosen by seed.

use serde::Deserialize;

use super::*;
use kernel::rng::{Rng, SeededRng};

/// Number of seeds in `cargo test`; nightly runs use more (`TOLLGATE_SEEDS`).
const SEEDS: u64 = 1000;
pub(super) const WORDS: &str = "copper lantern meadow violin harbour thunder cactus marble pigeon saddle orchid ribbon walnut \
    glacier ember falcon juniper mosaic pebble quartz raven summit tulip velvet";

#[derive(Deserialize)]
struct Shapes {
    json: BTreeMap<String, String>,
    text: BTreeMap<String, String>,
}

pub(super) fn number(rng: &SeededRng, below: usize) -> usize {
    let mut bytes = [0; 8];
    rng.fill(&mut bytes);
    usize::try_from(u64::from_le_bytes(bytes) % below as u64).unwrap_or(0)
}

/// One of the words of a list.
pub(super) fn pick<'w>(rng: &SeededRng, words: &'w str) -> &'w str {
    let words: Vec<&str> = words.split(' ').collect();
    words[number(rng, words.len())]
}

/// Three to nine words, beginning with a marker; some joined by characters that JSON escapes.
pub(super) fn said(rng: &SeededRng) -> String {
    let mut words = vec!["CANARY".to_owned()];
    words.extend((0..2 + number(rng, 7)).map(|_| pick(rng, WORDS).to_owned()));
    words.join([" ", ", ", " the ", "  "][number(rng, 4)])
}

/// An item of an ordinary service that contains `shape` somewhere.
fn item(rng: &SeededRng, shape: &str, is_json: bool) -> (bool, Json) {
    let structure = || serde_json::from_str::<Json>(shape).expect("JSON");
    let text = if is_json && number(rng, 3) == 0 { format!("{:#}", structure()) } else { shape.to_owned() };
    let text = match number(rng, 4) {
        0 => format!("2026-11-25 INFO app.py:5 {text}"),
        1 if is_json => format!("data: {text}\n\n"),
        2 if is_json => json!({"msg": "answer", "inner": text}).to_string(),
        _ => text,
    };
    let place = number(rng, if is_json { 8 } else { 5 });
    match place {
        0 => (true, json!({"body": text})),
        1 => (true, json!({"body": "done", "attributes": {"payload": text}})),
        2 => (true, json!({"body": {"msg": "x", "detail": text}})),
        3 => (false, json!({"name": "POST /v1", "attributes": {"http.request.method": "POST", "app.payload": text}})),
        4 => (false, json!({"name": "POST /v1", "events": [{"name": "answer", "attributes": {"payload": text}}]})),
        5 => (true, json!({"body": structure()})),
        6 => (true, json!({"body": "done", "attributes": {"payload": structure()}})),
        _ => (false, json!({"name": "POST /v1", "attributes": {"payload": [structure()]}})),
    }
}

/// No word of the chat is forwarded, whatever shape, place, spacing and nesting the seed selects.
#[test]
fn no_shape_leaves_in_any_place() {
    let shapes: Shapes = crate::testing::case_file("tests/cases/chat/shapes.yaml");
    let json = shapes.json.iter().map(|(name, shape)| (name, shape, true));
    let all: Vec<_> = json.chain(shapes.text.iter().map(|(name, shape)| (name, shape, false))).collect();
    let mut leaks = Vec::new();
    let seeds = fixtures::seeds(1, SEEDS);
    for seed in seeds.clone() {
        let rng = SeededRng::new(seed);
        let (name, shape, is_json) = all[number(&rng, all.len())];
        let said = said(&rng);
        let (log, item) = item(&rng, &shape.replace("@@", &said), is_json);
        // A bench with an empty memory, so that nothing seen before can help.
        let mut bench = Bench::with(LeftContent::Nothing, true);
        let out = bench.pass(&json!({"signal": if log { "logs" } else { "traces" }, "resource": {"service.name": "shop"}, "items": [item]}));
        if out.leaks("CANARY") || WORDS.split(' ').any(|word| out.leaks(word)) {
            leaks.push(format!("seed {seed}, {name}: {item}"));
        }
    }
    assert!(leaks.is_empty(), "{} of {} leak:\n{}", leaks.len(), seeds.end - seeds.start, leaks.join("\n"));
}
