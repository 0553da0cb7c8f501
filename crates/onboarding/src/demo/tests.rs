//! The demo's checks must be able to fail, and the played session must be the recording at the present time.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parking_lot::Mutex;

use super::costs::BilledCall;
use super::gateway::ScratchDir;
use super::items::{TelemetryItem, find_missing, read_items};
use super::leak_search::LeakSearch;
use super::opened_content::OpenedContent;
use super::session;
use super::story::DemoStory;
use kernel::clock::UnixNanos;
use kernel::rng::SystemRng;
use vault::keygen::generate_auditor_key;

const NOW: UnixNanos = UnixNanos(1_900_000_000_000_000_000);

fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/recordings/claude-code/plain")
}

fn played() -> Vec<String> {
    session::build_session(NOW).unwrap().into_iter().map(|(_, request)| request).collect()
}

fn items(requests: &[String]) -> Vec<TelemetryItem> {
    read_items(requests.iter().map(String::as_str)).unwrap()
}

/// A log record that went out with these attributes.
fn exported_log(attributes: &[(&str, &str)]) -> String {
    let attribute = |(key, text): &(&str, &str)| serde_json::json!({"key": key, "value": {"stringValue": text}});
    let attributes: Vec<_> = attributes.iter().map(attribute).collect();
    serde_json::json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"attributes": attributes}]}]}]}).to_string()
}

/// The embedded data is the recording in `tests/recordings`, byte for byte.
#[test]
fn the_recording_is_the_recorded_one() {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/demo");
    let mut names: Vec<_> = fs::read_dir(recording()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.retain(|name| name.to_string_lossy().ends_with(".pb"));
    assert_eq!(names.len(), 11);
    for name in names {
        assert!(fs::read(recording().join(&name)).unwrap() == fs::read(ours.join(&name)).unwrap(), "{name:?} differs");
    }
}

/// The session ended just now, in numbers and in texts.
#[test]
fn a_session_has_the_present_time() {
    let requests = played();
    let times = requests.iter().flat_map(|request| request.split("UnixNano\":\"").skip(1));
    let times: Vec<u64> = times.map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect();
    assert_eq!(times.iter().max(), Some(&NOW.0));
    assert!(times.iter().all(|time| NOW.0 - time < 60_000_000_000));
    let items = items(&requests);
    let stamps: Vec<&str> = items.iter().filter_map(|item| item.text("event.timestamp")).collect();
    assert!(
        stamps.len() > 10 && stamps.iter().all(|stamp| stamp.starts_with("2030-03-17T17:46:") && stamp.len() == 24)
    );
}

/// A private text is found in every encoded form, including nested forms; other texts are not.
#[test]
fn the_search_finds_every_form() {
    const PRIVATE: &str = "CANARY-prompt-e6315b29074518ae";
    let search = LeakSearch::new([PRIVATE].into_iter()).unwrap();
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
}

/// An exporter that got the unchanged data is detected by all canaries and all of the demo's own private texts.
#[test]
fn a_leak_is_found() {
    let requests = played();
    let mut search = LeakSearch::new(requests.iter().map(String::as_str)).unwrap();
    let marks = &search.canaries;
    let manifest = fs::read_to_string(recording().parent().unwrap().join("manifest.json")).unwrap();
    assert!(marks.len() >= 8 && marks.iter().all(|mark| manifest.contains(&format!("\"{mark}\""))), "{marks:?}");
    let scratch = ScratchDir::create(None, false, &SystemRng).unwrap();
    let folder = scratch.path.join("a/b");
    fs::create_dir_all(&folder).unwrap();
    search.search_files(&scratch.path).unwrap();
    assert!(search.leaks.is_empty() && search.searched_bytes == 0);
    fs::write(folder.join("out.jsonl"), requests.join("\n") + &"\0".repeat(1 << 20)).unwrap();
    search.search_files(&scratch.path).unwrap();
    let [(place, found)] = search.leaks.as_slice() else { panic!("{} places", search.leaks.len()) };
    // The card number is there in one of its two forms.
    assert!(place.ends_with("out.jsonl") && *found == search.texts.len() - 1, "{place}: {found}");
}

/// A record that came in and did not go out is detected.
#[test]
fn a_lost_record_is_found() {
    let requests = played();
    let incoming = items(&requests);
    assert_eq!(find_missing(&incoming, &items(&requests)), Vec::<String>::new());
    assert_eq!(find_missing(&incoming, &items(&requests[1..])).len(), 5);
}

/// A bill agrees only if every call is priced once, at the client's own figure to 1e-9.
#[test]
fn a_wrong_price_is_found() {
    let incoming = items(&played());
    let calls = BilledCall::compare(&incoming, &[]);
    let calls: Vec<&str> = calls.iter().map(|call| call.cells[0].as_str()).collect();
    let prices = ["0.0133725", "0.004545", "0.00182475", "0.0030321"];
    let agrees = |bill: &[(&str, &str)]| {
        let price = |(call, usd): &(&str, &str)| {
            exported_log(&[("request_id", call), ("tollgate.cost.status", "priced"), ("tollgate.cost.usd", usd)])
        };
        let outgoing: Vec<String> = bill.iter().map(price).collect();
        BilledCall::compare(&incoming, &items(&outgoing)).iter().all(BilledCall::agrees)
    };
    let right: Vec<(&str, &str)> = calls.iter().copied().zip(prices).collect();
    assert!(right.len() == 4 && agrees(&right));
    let with_first = |usd| [&[(calls[0], usd)], &right[1..]].concat();
    assert!(agrees(&with_first("0.0133725009")), "within 1e-9");
    assert!(!agrees(&with_first("0.013372502")), "more than 1e-9 off");
    assert!(!agrees(&with_first("much")), "no number");
    assert!(!agrees(&right[1..]), "one call without a price");
    assert!(!agrees(&[&right[..], &right[..1]].concat()), "priced twice");
    assert!(!agrees(&[&right[..], &[("req_other", "0.1")]].concat()), "no call of the client");
}

/// A reference that does not resolve, and telemetry without any references, are errors.
#[tokio::test]
async fn a_broken_reference_is_found() {
    let scratch = ScratchDir::create(None, false, &SystemRng).unwrap();
    let key = scratch.path.join("auditor.key");
    generate_auditor_key(&key).unwrap();
    let none = OpenedContent::open(&items(&played()), &scratch.path, &key).await;
    assert!(none.is_err_and(|why| why.to_string().contains("no exported item refers to the vault")));
    let uri = "file:///default/acme/s/2026-11-20/w-01M7W815V7TNP9T5XP5EGKCKP7-0000000000.agev";
    let range = "bytes=0000000000-0000000009";
    let broken = exported_log(&[("gen_ai.payload.s3_uri", uri), ("gen_ai.payload.range", range)]);
    let gone = OpenedContent::open(&items(&[broken]), &scratch.path, &key).await;
    assert!(gone.is_err_and(|why| why.to_string().contains("no such object")));
}

/// A writer whose output can be inspected.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Escape sequences are printed only where colour is wanted, and none of a value's. (`tests/it/demo.rs` has the reader
/// that goes away, and shows when the directory is removed.)
#[test]
fn colour_and_control_characters() {
    for (colour, wanted) in [
        (false, "   ✗  2 private texts are in a·[2J\n"),
        (true, "   \x1b[0;1;31m✗  2 private texts are in a·[2J\x1b[0m\n"),
    ] {
        let page = Page::default();
        DemoStory::new(Box::new(page.clone()), colour).show("leak", &[&2, &"a\x1b[2J"]);
        assert_eq!(String::from_utf8(page.0.lock().clone()).unwrap(), wanted);
    }
}

/// The directory is new, and accessible to its owner only.
#[test]
fn the_directory_is_private() {
    let base = ScratchDir::create(None, false, &SystemRng).unwrap();
    let one = ScratchDir::create(Some(base.path.join("not/there/yet")), false, &SystemRng).unwrap();
    assert_eq!(fs::metadata(&one.path).unwrap().permissions().mode() & 0o777, 0o700);
    let file = base.path.join("file");
    fs::write(&file, b"x").unwrap();
    assert!(ScratchDir::create(Some(file), false, &SystemRng).is_err_and(|why| why.to_string().contains("file")));
}
