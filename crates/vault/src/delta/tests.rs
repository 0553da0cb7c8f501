use std::borrow::Cow;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

use super::chunks::{MAX_CHUNKS, split_chunks};
use super::{ContentRebuilder, DeltaPlan, DeltaStep, ItemFingerprints, MAX_DEPTH, RebuildError};
use crate::document::{ContentPiece, DocumentHead, DocumentWriter, ItemContent, ItemHead};
use genai::ContentPart;
use kernel::sha256::Sha256;
use otlp::write_json_text;

/// A piece of content as a client sends it.
#[derive(Clone, Debug)]
struct Given {
    part: ContentPart,
    key: String,
    text: String,
    /// The value is structure; `text` is its JSON.
    structure: bool,
}

fn text(part: ContentPart, key: &str, text: impl Into<String>) -> Given {
    Given { part, key: key.to_owned(), text: text.into(), structure: false }
}

/// A session whose documents are kept in stored form.
#[derive(Default)]
struct Session {
    streams: Vec<ItemFingerprints>,
    stored: Vec<String>,
    /// The hash of each item's whole content.
    hashes: Vec<String>,
}

impl Session {
    fn turn(&mut self, pieces: &[Given]) -> &str {
        let number = self.stored.len();
        let fragment: Arc<str> = format!("{number:032x}").into();
        let head = DocumentHead {
            v: 2,
            fragment: Cow::Owned(fragment.to_string()),
            account: "default".into(),
            tenant: "acme".into(),
            session: Some("s".into()),
            writer: "w".into(),
            epoch: "e".into(),
            received: "2026-11-20T10:00:00Z".into(),
            signal: "traces".into(),
            repeat: false,
        };
        let mut content = ItemContent::default();
        for given in pieces {
            let piece = ContentPiece {
                part: given.part.as_str().into(),
                on: "span".into(),
                key: Some(given.key.as_str().into()),
                event: None,
                time: None,
            };
            let mut value = String::new();
            match given.structure {
                true => content.push(given.part, &piece, &given.text, None),
                false => {
                    write_json_text(&given.text, &mut value);
                    content.push(given.part, &piece, &value, Some(&given.text));
                }
            }
        }
        let base = self.streams.last();
        let plan = base
            .map_or_else(|| DeltaPlan::whole(pieces.len()), |base| DeltaPlan::relative_to(&content.fingerprints, base));
        let told = ItemFingerprints::new(&fragment, 0, std::mem::take(&mut content.fingerprints), &plan, base);
        let mut writer = DocumentWriter::begin(&head);
        let (_, hashes) = writer.write_item(&ItemHead::default(), &[], content, &plan, &[7; 32]);
        self.hashes.push(hashes.content);
        self.streams = vec![told];
        self.stored.push(writer.finish());
        &self.stored[number]
    }

    /// Rebuilds every document and compares it with its hash; returns the size of the longest.
    fn check(&self) -> usize {
        let mut rebuilder = ContentRebuilder::default();
        let mut longest = 0;
        for (stored, hash) in self.stored.iter().zip(&self.hashes) {
            rebuilder.add(stored.as_bytes()).expect("a document");
            let whole = rebuilder.rebuild(stored.as_bytes(), 1 << 28).expect("whole");
            let whole = whole.unwrap_or_else(|| stored.clone().into_bytes());
            #[derive(serde::Deserialize)]
            struct Document<'a> {
                #[serde(borrow)]
                items: Vec<Item<'a>>,
            }
            #[derive(serde::Deserialize)]
            struct Item<'a> {
                #[serde(borrow)]
                content: &'a RawValue,
                content_sha256: String,
            }
            let document: Document<'_> = serde_json::from_slice(&whole).expect("a document");
            let content = document.items[0].content.get();
            assert_eq!(kernel::hex::encode(&Sha256::digest(content)), *hash, "{content:.200}");
            assert_eq!(document.items[0].content_sha256, *hash);
            longest = longest.max(whole.len());
        }
        longest
    }

    fn bytes(&self) -> usize {
        self.stored.iter().map(String::len).sum()
    }
}

/// Incompressible text: hex of hashes.
fn words(seed: usize, bytes: usize) -> String {
    let mut out = String::new();
    let mut at = 0_usize;
    while out.len() < bytes {
        out.push_str(&kernel::hex::encode(&Sha256::digest(format!("{seed} {at}"))));
        at += 1;
    }
    out.truncate(bytes);
    out
}

fn messages(count: usize, bytes: usize) -> Vec<Json> {
    let role = |n: usize| if n.is_multiple_of(2) { "user" } else { "assistant" };
    (0..count).map(|n| json!({"role": role(n), "parts": [{"type": "text", "content": words(n, bytes)}]})).collect()
}

/// Thirty turns that grow by 4 KB each are stored in a small part of their 1.9 MB. With a snapshot every sixteenth
/// turn, 1 and 17, two of them are long; the bound is 0.25 MB, of which 0.12 MB is new text.
#[test]
fn thirty_turns_that_grow_by_4_kb() {
    let system = words(999, 2000);
    let tools = json!([{"name": "ls", "description": words(998, 1000)}]).to_string();
    let mut session = Session::default();
    let mut whole = 0;
    for turn in 1..=30 {
        let input = Json::Array(messages(2 * turn - 1, 2000)).to_string();
        whole += input.len() + system.len() + tools.len();
        session.turn(&[
            text(ContentPart::System, "gen_ai.system_instructions", &system),
            text(ContentPart::Tools, "gen_ai.tool.definitions", &tools),
            text(ContentPart::Input, "gen_ai.input.messages", input),
            text(ContentPart::Output, "gen_ai.output.messages", words(turn, 100)),
        ]);
    }
    session.check();
    let stored = session.bytes();
    assert!(whole > 1_800_000 && stored < 250_000, "whole {whole}, stored {stored}");
    let all = session.stored.concat();
    assert_eq!(all.matches(&system).count(), 1, "system instructions are stored once");
    assert_eq!(all.matches(&words(998, 1000)).count(), 1, "tool definitions are stored once");
    let snapshots = session.stored.iter().filter(|stored| stored.contains(&words(0, 2000))).count();
    assert_eq!(snapshots, 30_usize.div_ceil(1 + usize::from(MAX_DEPTH)), "no chain of references is longer");
}

/// Other notations of a context shrink too: messages in separate attributes, a whole request with tools after its
/// messages, structure instead of JSON text.
#[test]
fn other_notations() {
    let (mut flat, mut request, mut structure) = (Session::default(), Session::default(), Session::default());
    let mut whole = [0; 3];
    for turn in 1..=12 {
        let said = messages(2 * turn - 1, 2000);
        let pieces: Vec<Given> = said
            .iter()
            .enumerate()
            .flat_map(|(n, message)| {
                let key = |rest: &str| format!("llm.input_messages.{n}.message.{rest}");
                let role = message["role"].as_str().expect("role").to_owned();
                [
                    text(ContentPart::Input, &key("role"), role),
                    text(ContentPart::Input, &key("content"), message.to_string()),
                ]
            })
            .collect();
        whole[0] += pieces.iter().map(|piece| piece.text.len()).sum::<usize>();
        flat.turn(&pieces);
        let body =
            json!({"model": "m", "messages": said, "tools": [{"name": words(7, 3000)}], "stream": true}).to_string();
        whole[1] += body.len();
        request.turn(&[text(ContentPart::Input, "input.value", body)]);
        let list = Json::Array(said).to_string();
        whole[2] += list.len();
        structure.turn(&[Given { structure: true, ..text(ContentPart::Input, "gen_ai.input.messages", list) }]);
    }
    for (session, whole) in [(&flat, whole[0]), (&request, whole[1]), (&structure, whole[2])] {
        session.check();
        assert!(session.bytes() * 4 < whole, "{} of {whole}", session.bytes());
    }
}

/// For any text, the parts are few and join to the text again.
#[test]
fn parts_of_a_text() {
    let parts = |text: &str| split_chunks(text).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(parts(r#"[{"a":[1,2]}, "x,]", 3]"#), [r#"[{"a":[1,2]}"#, r#", "x,]""#, ", 3", "]"]);
    assert_eq!(parts(r#"{"m":[1,2],"t":{"x":[1,2]}}"#), [r#"{"m":[1"#, ",2", "]", r#","t":{"x":[1,2]}"#, "}"]);
    assert_eq!(parts("plain, text]"), ["plain, text]"]);
    assert_eq!(parts(r#"["never ended, "#), [r#"["never ended, "#]);
    assert_eq!(split_chunks(&"[1,".repeat(100_000)).len(), 2);
    assert_eq!(split_chunks(&format!("[{}", "1,".repeat(100_000))).len(), MAX_CHUNKS);
    assert!(parts("").is_empty());
}

fn piece_of(kind: u8, n: u8) -> String {
    match kind % 4 {
        0 => format!("{{\"role\":\"user\",\"content\":\"é\\\"{}\"}}", words(n.into(), 150)),
        1 => format!("{{\"parts\":[{{\"text\":\"日本{n}\"}},[1,[2]]]}}"),
        2 => format!("\"{}\"", "x]},\\\\".repeat(n.into())),
        _ => format!(" {n} "),
    }
}

proptest! {
    /// Contexts that grow, shrink or are edited, broken JSON among them, are restored byte for byte.
    #[test]
    fn whatever_comes_it_comes_back(turns in proptest::collection::vec(
        (proptest::collection::vec((any::<u8>(), 0_u8..40), 0..30), 0_usize..30, any::<bool>(), any::<bool>()), 1..24)) {
        let mut session = Session::default();
        let mut history: Vec<String> = Vec::new();
        for (new, keep, broken, structure) in turns {
            history.truncate(keep.max(1));
            history.extend(new.iter().map(|(kind, n)| piece_of(*kind, *n)));
            let mut list = format!("[{}]", history.join(","));
            if broken && !structure {
                list.pop();
            }
            let structure = structure && serde_json::from_str::<Json>(&list).is_ok();
            let pieces = [
                text(ContentPart::System, "s", words(1, 400)),
                Given { structure, ..text(ContentPart::Input, "i", list.clone()) },
                text(ContentPart::Input, "j", words(history.len(), 30)),
                text(ContentPart::Other, "o", list),
            ];
            session.turn(&pieces);
        }
        session.check();
    }
}

fn document(fragment: &str, content: &str) -> String {
    format!("{{\"fragment\":\"{fragment}\",\"items\":[{{\"content\":{content}}}]}}")
}

/// References to missing pieces, in cycles, or to too many pieces are errors, and end soon.
#[test]
fn false_references_are_refused() {
    let like = |base: &str, rest: &str| format!(r#"[{{"part":"input","on":"span","base":{base},{rest}}}]"#);
    let whole = r#"[{"part":"input","on":"span","key":null,"event":null,"time":null,"value":"é234"}]"#;
    let at = |item: u32, piece: u32| format!(r#"{{"fragment":"a","item":{item},"piece":{piece}}}"#);
    let build = |content: &str| {
        let mut rebuilder = ContentRebuilder::default();
        rebuilder.add(document("a", whole).as_bytes()).expect("a document");
        let one = document("b", content);
        rebuilder.add(one.as_bytes()).expect("a document");
        rebuilder.rebuild(one.as_bytes(), 10_000).map(|whole| String::from_utf8(whole.expect("changed")).expect("text"))
    };
    let good = build(&like(&at(0, 0), r#""prefix_chars":2,"suffix_chars":1,"new":"-""#)).expect("whole");
    assert!(good.contains(r#""value":"é2-4""#), "{good}");
    for bad in [
        like(&at(0, 0), r#""prefix_chars":5,"new":"-""#),
        like(&at(0, 0), r#""suffix_chars":5,"new":"-""#),
        like(&at(0, 0), r#""prefix_chars":18446744073709551615,"new":"-""#),
        like(&at(0, 1), r#""prefix_chars":1,"new":"-""#),
        like(&at(1, 0), r#""prefix_chars":1,"new":"-""#),
        like(&at(0, 0), r#""pieces":2"#),
        like(&at(0, 4_294_967_295), r#""pieces":4294967295"#),
        like(r#"{"fragment":"b","item":0,"piece":0}"#, r#""prefix_chars":1,"new":"-""#),
        format!("[{}]", vec![format!("{{\"base\":{},\"pieces\":1}}", at(0, 0)); 500].join(",")),
    ] {
        assert!(matches!(build(&bad), Err(RebuildError::Damaged(_))), "{bad:.200}");
    }
    let missing = like(r#"{"fragment":"c","item":0,"piece":0}"#, r#""prefix_chars":1,"new":"-""#);
    assert_eq!(build(&missing), Err(RebuildError::MissingFragment("c".to_owned())));
    // each doubles the previous one: refused before memory is full
    let mut rebuilder = ContentRebuilder::default();
    rebuilder.add(document("0", whole).as_bytes()).expect("a document");
    for n in 1..40 {
        let base = format!(r#"{{"fragment":"{}","item":0,"piece":0}}"#, n - 1);
        let chars = 4_u64 << (n - 1).min(60);
        let twice = like(&base, &format!(r#""prefix_chars":{chars},"suffix_chars":{chars},"new":"""#));
        rebuilder.add(document(&n.to_string(), &twice).as_bytes()).expect("a document");
    }
    let last = like(r#"{"fragment":"39","item":0,"piece":0}"#, r#""prefix_chars":1,"new":"-""#);
    rebuilder.add(document("x", &last).as_bytes()).expect("a document");
    assert!(matches!(rebuilder.rebuild(document("x", &last).as_bytes(), 1 << 20), Err(RebuildError::Damaged(_))));
}

/// The fingerprint of a context is small and has no text.
#[test]
fn memory_of_a_context() {
    let mut session = Session::default();
    session.turn(&[text(ContentPart::Input, "k", Json::Array(messages(100, 4000)).to_string())]);
    let size = session.streams[0].size();
    assert!(size < 100 * 40 + 1000, "{size}");
    assert!(!matches!(DeltaPlan::whole(1).steps[0], DeltaStep::Copy(..)));
}
