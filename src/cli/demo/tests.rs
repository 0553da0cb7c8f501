//! The demo's checks must be able to fail, and the played session must be the recording with new ids and times.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use parking_lot::Mutex;

use super::captured::CapturedTelemetry;
use super::check::{LeakSearch, build_search, find_canaries, find_missing, has_all};
use super::costs::SessionCosts;
use super::opened_content::OpenedContent;
use super::private_text_search::PrivateTextSearch;
use super::scratch::ScratchDir;
use super::screen::{StoryScreen, StyledText, TextRole};
use super::session::{self, RecordedRequest};
use super::story::quote_for_shell;
use kernel::clock::UnixNanos;
use kernel::rng::{SeededRng, SystemRng};
use otlp::{NodeId, OwnedValue, Payload, Signal, UnknownFields, json};
use vault::keygen::generate_auditor_key;

const NOW: UnixNanos = UnixNanos(1_900_000_000_000_000_000);

fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/claude-code/plain")
}

fn played(seed: u64) -> Vec<RecordedRequest> {
    session::build_session(NOW, &SeededRng::new(seed)).unwrap()
}

/// The output of an exporter that was given `requests`.
fn exported(requests: &[RecordedRequest]) -> Vec<u8> {
    let mut lines = String::new();
    for request in requests {
        json::encode(request.signal, &request.body, &mut lines).unwrap();
        lines.push('\n');
    }
    lines.into_bytes()
}

/// The requests with a change to every item.
fn edited(requests: &[RecordedRequest], mut edit: impl FnMut(&mut Payload, NodeId)) -> Vec<RecordedRequest> {
    let change = |request: &RecordedRequest| {
        let mut payload = Payload::parse(request.signal, request.body.clone()).unwrap();
        let items: Vec<NodeId> = payload.items().collect();
        items.into_iter().for_each(|node| edit(&mut payload, node));
        let body = Bytes::from(payload.encode(UnknownFields::Keep).unwrap().bytes);
        RecordedRequest { signal: request.signal, body }
    };
    requests.iter().map(change).collect()
}

/// The embedded data is the recording in `tests/recordings`, byte for byte.
#[test]
fn the_recording_is_the_recorded_one() {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo");
    let mut names: Vec<_> = fs::read_dir(recording()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.retain(|name| name.to_string_lossy().ends_with(".pb"));
    assert_eq!(names.len(), 11);
    for name in names {
        assert!(fs::read(recording().join(&name)).unwrap() == fs::read(ours.join(&name)).unwrap(), "{name:?} differs");
    }
}

/// Lengths and items are unchanged, every id and time is new, and the session has just ended.
#[test]
fn a_session_has_new_ids_and_the_present_time() {
    let (one, two) = (played(1), played(2));
    let mut names: Vec<PathBuf> = fs::read_dir(recording()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|name| name.extension().is_some_and(|ending| ending == "pb"));
    names.sort();
    let mut ends = Vec::new();
    for ((one, two), name) in one.iter().zip(&two).zip(&names) {
        let old = fs::read(name).unwrap();
        assert_eq!((one.body.len(), two.body.len()), (old.len(), old.len()));
        for id in
            ["6ed8a7a0-dbfa-5455-9a70-788b415c75dd", "630e36c5-4cab-4bf7-8192-83789745d536", "ab130997e67851c38b43"]
        {
            assert!(!String::from_utf8_lossy(&one.body).contains(id), "{id} is left");
        }
        let [before, one, two] =
            [&Bytes::from(old), &one.body, &two.body].map(|body| Payload::parse(one.signal, body.clone()).unwrap());
        let nodes = before.items().zip(one.items()).zip(two.items());
        for ((node, one_node), two_node) in nodes {
            let delta = one.time(one_node).wrapping_sub(before.time(node));
            assert_eq!(one.time(one_node), two.time(two_node));
            assert!(delta > 0 && one.time(one_node) <= NOW.0);
            ends.push(one.end_time(one_node).max(one.time(one_node)));
            for id in [Payload::trace_id, Payload::span_id, Payload::parent_span_id] {
                assert_eq!(id(&one, one_node).is_empty(), id(&before, node).is_empty());
                assert!(id(&before, node).is_empty() || id(&one, one_node) != id(&before, node));
                assert!(id(&before, node).is_empty() || id(&one, one_node) != id(&two, two_node));
            }
        }
    }
    assert_eq!(ends.into_iter().max(), Some(NOW.0));
}

/// An id is the same in all places: one session, one trace, spans with existing parents, calls with the same id on both
/// signals.
#[test]
fn ids_stay_joined() {
    let came = CapturedTelemetry::from_requests(&played(3)).unwrap();
    let all = |key: &str| came.items().filter_map(|item| item.text(key)).collect::<BTreeSet<_>>();
    assert_eq!(all("session.id").len(), 1);
    assert_eq!(all("session.id"), all("gen_ai.conversation.id"));
    assert_eq!(all("prompt.id").len(), 1);
    let requests = |name: &str| {
        came.items()
            .filter(|item| item.name() == name)
            .filter_map(|item| item.text("request_id"))
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(requests("api_request").len(), 4);
    assert_eq!(requests("api_request"), requests("claude_code.llm_request"));
    let stamps = all("event.timestamp");
    assert!(stamps.iter().all(|stamp| stamp.starts_with("2030-03-17T17:46:") && stamp.len() == 24), "not moved");
}

/// A private text is found in every encoded form, including nested forms; other texts are not.
#[test]
fn the_search_finds_every_form() {
    const PRIVATE: &str = "CANARY-prompt-e6315b29074518ae";
    let search = PrivateTextSearch::new(vec![PRIVATE.to_owned(), "ada.lovelace@example.com".to_owned()]).unwrap();
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let around = |text: &str| format!("{{\"key\":\"some {text} more\"}}").into_bytes();
    let percent: String = PRIVATE.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let escaped: String = PRIVATE.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let hex = kernel::hex::encode(format!("x{PRIVATE}").as_bytes());
    let mut forms = vec![
        around(PRIVATE),
        around(&PRIVATE.to_lowercase()),
        around(&percent),
        around(&escaped),
        around(&escaped.replace('\\', "\\\\")),
        around(&hex),
        around(&format!("0{hex}")),
        [b"head".to_vec(), gzip(&around(PRIVATE))].concat(),
        [b"head".to_vec(), zstd::encode_all(&around(PRIVATE)[..], 3).unwrap()].concat(),
        around(&STANDARD.encode(gzip(&around(&percent)))),
    ];
    for before in ["", "a", "ab"] {
        let text = format!("{before}{PRIVATE}??>>{before}");
        forms.push(around(&STANDARD.encode(&text)));
        forms.push(around(&format!("word{}", URL_SAFE_NO_PAD.encode(&text))));
    }
    for (number, form) in forms.iter().enumerate() {
        assert_eq!(search.find(form), BTreeSet::from([PRIVATE]), "form {number}");
    }
    assert_eq!(search.find(b"to ada.lovelace%40example.com").len(), 1);
    for other in ["CANARY-prompt-e6315b29074518", "ada.lovelace at example.com", &STANDARD.encode("CANARY"), "[EMAIL]"]
    {
        assert!(search.find(&around(other)).is_empty());
    }
    let mut zeros = around("nothing");
    zeros.resize(1 << 20, 0);
    assert!(search.find(&zeros).is_empty());
}

/// An exporter that got the unchanged data is detected by all canaries and all of the demo's own private texts.
#[test]
fn a_leak_is_found() {
    let requests = played(4);
    let marks = find_canaries(&requests);
    let manifest = fs::read_to_string(recording().parent().unwrap().join("manifest.json")).unwrap();
    assert!(marks.len() >= 8 && marks.iter().all(|mark| manifest.contains(&format!("\"{mark}\""))), "{marks:?}");
    let search = build_search(&marks).unwrap();
    let scratch = ScratchDir::create(None, false, &SystemRng).unwrap();
    let folder = scratch.path().join("a/b");
    fs::create_dir_all(&folder).unwrap();
    let mut leaks = LeakSearch::default();
    leaks.search_files(&search, scratch.path()).unwrap();
    assert!(leaks.found.is_empty() && leaks.bytes == 0);
    fs::write(folder.join("out.jsonl"), exported(&requests)).unwrap();
    leaks.search_files(&search, scratch.path()).unwrap();
    let [(place, found)] = leaks.found.as_slice() else { panic!("{} places", leaks.found.len()) };
    assert!(place.ends_with("out.jsonl") && marks.is_subset(found));
    // The card number is there in one of its two forms.
    assert_eq!(found.len(), search.len() - 1);
    let mut leaks = LeakSearch::default();
    leaks.search_bytes(&search, "/metrics", marks.first().unwrap().as_bytes());
    assert_eq!(leaks.found.len(), 1);
}

/// A recording without marks proves nothing, and neither does one with some marks missing.
#[test]
fn no_marks_are_no_proof() {
    assert!(has_all(8, 8) && !has_all(7, 8) && !has_all(0, 0));
}

/// A printed path must be one word to a shell, so that it can be copied.
#[test]
fn what_is_copied_is_one_word() {
    for (word, shown) in [("/tmp/a-1", "/tmp/a-1"), ("/tmp/a b", "'/tmp/a b'"), ("it's", r"'it'\''s'"), ("", "''")] {
        assert_eq!(quote_for_shell(word), shown);
        let told = std::process::Command::new("sh").args(["-c", &format!("printf %s {shown}")]).output().unwrap();
        assert_eq!(told.stdout, word.as_bytes());
    }
}

/// A record that came in and did not go out is detected.
#[test]
fn a_lost_record_is_found() {
    let requests = played(5);
    let came = CapturedTelemetry::from_requests(&requests).unwrap();
    let all = CapturedTelemetry::from_exported(&exported(&requests)).unwrap();
    assert_eq!(find_missing(&came, &all), Vec::<String>::new());
    for signal in Signal::ALL {
        assert_eq!(came.count(signal), all.count(signal));
    }
    let one_less = CapturedTelemetry::from_exported(&exported(&requests[1..])).unwrap();
    assert_eq!(find_missing(&came, &one_less).len(), 5);
}

/// A bill agrees only if every call is priced once, at the client's own figure to 1e-9.
#[test]
fn a_wrong_price_is_found() {
    let requests = played(6);
    let came = CapturedTelemetry::from_requests(&requests).unwrap();
    let prices = ["0.0133725", "0.004545", "0.00182475", "0.0030321"];
    let bill = |prices: [&str; 4], also_spans: bool| {
        let mut next = prices.into_iter();
        let went = edited(&requests, |payload, node| {
            let log = payload.get_str(node, "event.name") == Some("api_request");
            let span = also_spans && payload.get_str(node, "span.type") == Some("llm_request");
            let price = if log { next.next().unwrap() } else { "0.0133725" };
            if (log && !price.is_empty()) || span {
                payload.set(node, "tollgate.cost.status", OwnedValue::Str("priced".to_owned()));
                payload.set(node, "tollgate.cost.usd", OwnedValue::Str(price.to_owned()));
                payload.set(node, "tollgate.cost.rates", OwnedValue::Str("2026-11-20+0123456789ab".to_owned()));
            }
        });
        SessionCosts::compare(&came, &CapturedTelemetry::from_exported(&exported(&went)).unwrap())
    };
    let right = bill(prices, false);
    assert!(right.agrees());
    assert_eq!(right.totals(), ("0.02277435".parse().unwrap(), "0.02277435".parse().unwrap()));
    assert_eq!(right.rates.as_deref(), Some("2026-11-20+0123456789ab"));
    assert!(bill(["0.0133725009", prices[1], prices[2], prices[3]], false).agrees(), "within 1e-9");
    assert!(!bill(["0.013372502", prices[1], prices[2], prices[3]], false).agrees(), "more than 1e-9 off");
    assert!(!bill([prices[0], prices[1], "", prices[3]], false).agrees(), "one call without a price");
    assert!(!bill(prices, true).agrees(), "priced on both signals");
    assert!(!SessionCosts::compare(&CapturedTelemetry::from_exported(b"").unwrap(), &came).agrees(), "no call at all");
}

/// A reference that does not resolve, and telemetry without any references, are errors.
#[tokio::test]
async fn a_broken_reference_is_found() {
    let scratch = ScratchDir::create(None, false, &SystemRng).unwrap();
    let key = scratch.path().join("auditor.key");
    generate_auditor_key(&key).unwrap();
    let requests = played(7);
    let none =
        OpenedContent::open_references(&CapturedTelemetry::from_requests(&requests).unwrap(), scratch.path(), &key)
            .await;
    assert!(none.is_err_and(|why| why.to_string().contains("no exported item refers to the vault")));
    let stamped = edited(&requests, |payload, node| {
        let uri = "file:///default/acme/s/2026-11-20/w-01M7W815V7TNP9T5XP5EGKCKP7-0000000000.agev";
        payload.set(node, "gen_ai.payload.s3_uri", OwnedValue::Str(uri.to_owned()));
        payload.set(node, "gen_ai.payload.range", OwnedValue::Str("bytes=0000000000-0000000009".to_owned()));
    });
    let gone =
        OpenedContent::open_references(&CapturedTelemetry::from_requests(&stamped).unwrap(), scratch.path(), &key)
            .await;
    assert!(gone.is_err_and(|why| why.to_string().contains("no such object")));
}

/// A writer whose output can be inspected; it may refuse to write.
#[derive(Clone, Default)]
struct Page {
    text: Arc<Mutex<Vec<u8>>>,
    closed: bool,
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.text.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn shown(width: usize, colour: bool, show: impl FnOnce(&mut StoryScreen)) -> String {
    let page = Page::default();
    show(&mut StoryScreen::new(Box::new(page.clone()), width, colour));
    let text = page.text.lock().clone();
    String::from_utf8(text).unwrap()
}

/// No line is wider than the screen, wrapping loses no text, and cells are aligned in columns.
#[test]
fn texts_fit_the_screen() {
    let long = "A sentence with words, some-of-them-quite-long-and-without-any-space-at-all-so-that-they-must-be-cut, and more.";
    for width in [64, 80, 100] {
        let text = shown(width, false, |screen| screen.print_wrapped(3, &StyledText::plain(long)));
        assert!(text.lines().all(|line| line.chars().count() <= width && line.starts_with("   ")));
        let letters = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(letters(&text), letters(long));
    }
    let row = shown(64, false, |screen| {
        screen.print_row(
            2,
            2,
            &[(8, StyledText::plain("a key")), (10, StyledText::plain(long)), (10, StyledText::plain("short"))],
        );
    });
    assert_eq!(row, "  a key     A sentence  short\n            with word…\n");
    assert_eq!(StyledText::plain(long).elide(11).len(), 11);
    assert_eq!(StyledText::plain("short").elide(11).len(), 5);
}

/// Without colour there is no escape sequence; with colour every line ends uncoloured; control characters are never
/// printed.
#[test]
fn colour_and_control_characters() {
    let say = |screen: &mut StoryScreen| {
        screen.print_wrapped(
            0,
            &StyledText::styled(TextRole::Wrong, "bad\x1b[2J\nthing").append(TextRole::Plain, " fine"),
        )
    };
    assert_eq!(shown(80, false, say), "bad·[2J⏎thing fine\n");
    assert_eq!(shown(80, true, say), "\x1b[0;1;31mbad·[2J⏎thing\x1b[0;0m fine\n");
    let marked =
        StyledText::plain("to ada@example.com, again ada@example.com").mark(["ada@example.com"], TextRole::Private);
    let text = shown(80, true, |screen| screen.print_wrapped(0, &marked));
    assert_eq!(text.matches("\x1b[0;33mada@example.com\x1b[0").count(), 2);
}

/// A reader that has gone away is detected, without an error.
#[test]
fn a_closed_pipe_is_no_error() {
    let mut screen = StoryScreen::new(Box::new(Page { closed: true, ..Page::default() }), 80, false);
    assert!(screen.is_open());
    screen.print_wrapped(0, &StyledText::plain("hello"));
    screen.print_blank_line();
    assert!(!screen.is_open());
}

/// The directory is new, accessible to its owner only, and removed at the end unless it is to be kept.
#[test]
fn the_directory_is_private_and_goes() {
    let base = ScratchDir::create(None, false, &SystemRng).unwrap();
    let one = ScratchDir::create(Some(&base.path().join("not/there/yet")), false, &SystemRng).unwrap();
    assert_eq!(fs::metadata(one.path()).unwrap().permissions().mode() & 0o777, 0o700);
    fs::write(one.path().join("file"), b"x").unwrap();
    let path = one.path().to_path_buf();
    drop(one);
    assert!(!path.exists());
    let kept = ScratchDir::create(Some(base.path()), true, &SystemRng).unwrap();
    let path = kept.path().to_path_buf();
    drop(kept);
    assert!(path.exists());
    let file = base.path().join("file");
    fs::write(&file, b"x").unwrap();
    assert!(ScratchDir::create(Some(&file), false, &SystemRng).is_err_and(|why| why.to_string().contains("file")));
}
