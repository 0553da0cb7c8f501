//! Fixtures for the tests of this crate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::spec::ProcessorDeps;
use echoes::FingerprintCache;
use genai::testing::builtin::vocabulary;
use genai::testing::request;
pub(crate) use genai::testing::request::case_file;
use kernel::clock::{Clock, UnixNanos};
use kernel::pseudonym::{PlainIds, Pseudonymizer};
use kernel::rng::SystemRng;
use kernel::secret::Secret;
use net::SharedServices;
use otlp::{NodeId, Payload, UnknownFields, Value};
use pipeline::{Batch, BatchOrigin, Trust};
use telemetry::Meter;

/// A client's batch of the account `default`.
pub(crate) fn origin() -> BatchOrigin {
    BatchOrigin {
        account: "default".into(),
        identity: pipeline::ClientIdentity::Unverified,
        receiver: "otlp".into(),
        trust: Trust::ThirdParty,
        received: UnixNanos(1_795_168_800_000_000_000),
        id: [7; 16],
        repeat: false,
        source_record: None,
    }
}

pub(crate) fn batch(payload: Payload) -> Batch {
    Batch::new(Arc::new(origin()), payload)
}

/// The batch encoded and parsed again, as a back end receives it.
pub(crate) fn received(batch: &Batch) -> Payload {
    let encoded = batch.payload.encode(UnknownFields::Keep).unwrap_or_else(|error| panic!("{}", error.message));
    Payload::parse(batch.payload.signal(), encoded.bytes.into()).unwrap_or_else(|error| panic!("{}", error.message))
}

pub(crate) fn attributes(payload: &Payload, node: NodeId) -> Map<String, Json> {
    payload.attributes(node).map(|attribute| (attribute.key.to_owned(), plain(attribute.value))).collect()
}

fn plain(value: Value<'_>) -> Json {
    let mut text = String::new();
    value.write_json(&mut text);
    serde_json::from_str(&text).expect("JSON")
}

/// What a processor is built with.
pub(crate) fn deps(clock: Arc<dyn Clock>) -> ProcessorDeps {
    ProcessorDeps {
        vocabulary: vocabulary(),
        ids: Arc::new(PlainIds(Pseudonymizer::new(&Secret::new("k".to_owned())))),
        fingerprints: Arc::new(FingerprintCache::new(&SystemRng)),
        max_error_text: 8 << 10,
        max_scan: 8 << 20,
        services: SharedServices { clock, ..net::testing::services() },
        storage: None,
    }
}

/// The recorded clients, each with its folder and the manifest that describes its sessions.
pub(crate) fn recorded_clients() -> Vec<(String, PathBuf, Json)> {
    let folders = std::fs::read_dir(request::at("tests/recordings")).expect("recordings");
    let mut folders: Vec<PathBuf> = folders.map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    let client = |folder: PathBuf| {
        let manifest = std::fs::read_to_string(folder.join("manifest.json")).ok()?;
        let name = folder.file_name()?.to_string_lossy().into_owned();
        Some((name, folder, serde_json::from_str(&manifest).expect("JSON")))
    };
    folders.into_iter().filter_map(client).collect()
}

/// The files of a recorded session's traces and logs, in order.
pub(crate) fn session_files(session: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(session).expect("a session").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| {
        let name = path.file_name().expect("a name").to_string_lossy();
        name.contains("-logs.") || name.contains("-traces.")
    });
    files.sort();
    files
}

/// The metrics hold this text.
pub(crate) fn assert_shows(meter: &Meter, text: &str) {
    let rendered = meter.render();
    assert!(rendered.contains(text), "{text} is not in\n{rendered}");
}

/// What `write` writes, as text.
pub(crate) fn text_of(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("written");
    String::from_utf8(out).expect("text")
}
