//! Tests of the canaries in all recordings.

use super::*;
use vault::call_dedup::CallDeduplicator;
use vault::sessions::SessionLine;

/// The recordings whose manifests name canaries.
const RECORDED: [&str; 32] = [
    "claude-code",
    "semconv",
    "openinference",
    "agent-framework",
    "autogen",
    "azure-ai-inference",
    "crewai",
    "google-adk",
    "haystack",
    "langfuse",
    "langsmith",
    "langtrace",
    "litellm",
    "logfire",
    "openinference-frameworks",
    "openlit",
    "openllmetry",
    "openllmetry-frameworks",
    "openllmetry-legacy",
    "pydantic-ai",
    "semantic-kernel",
    "semconv-vendors",
    "strands",
    "codex",
    "gemini-cli",
    "genkit",
    "mastra",
    "opencode",
    "openinference-js",
    "openllmetry-js",
    "semconv-js",
    "vercel-ai",
];

/// The traces and logs of a recorded session as text: the vault's content, and everything else that was output.
fn passed(session: &std::path::Path) -> (String, String) {
    let (mut bench, mut opened, mut outside) = (Bench::new(), String::new(), Vec::new());
    let mut identities = Vec::new();
    for file in told_in(session) {
        let out = bench.collect(request::recorded(&file), &mut identities);
        opened.push_str(&out.0);
        outside.extend(out.1);
    }
    (opened, String::from_utf8_lossy(&outside).into_owned())
}

/// The files of a recorded session's traces and logs, in order.
fn told_in(session: &std::path::Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(session).expect("folder").map(|entry| entry.expect("entry").path());
    let is_told = |path: &std::path::PathBuf| {
        let name = path.file_name().expect("name").to_string_lossy();
        name.contains("-logs.") || name.contains("-traces.")
    };
    let mut files: Vec<_> = files.filter(is_told).collect();
    files.sort();
    files
}

/// In all recordings of real clients, each canary in content is in the vault and nowhere else.
#[test]
fn recorded_canaries_are_in_the_vault_only() {
    let mut wrong = Vec::new();
    for folder in RECORDED {
        let root = request::at("tests/recordings").join(folder);
        let manifest: Json =
            serde_json::from_str(&std::fs::read_to_string(root.join("manifest.json")).expect("manifest"))
                .expect("JSON");
        for (session, entry) in manifest["sessions"].as_object().expect("sessions") {
            let (opened, outside) = passed(&root.join(session));
            for (place, canary) in entry["canaries"].as_object().expect("canaries") {
                let value = canary["value"].as_str().expect("value");
                let places: Vec<&str> = ["logs", "traces"]
                    .iter()
                    .flat_map(|signal| canary["seen"][signal].as_array().into_iter().flatten())
                    .filter_map(Json::as_str)
                    .collect();
                if places.iter().any(|place| is_content(place)) && !opened.contains(value) {
                    wrong.push(format!("{folder}/{session}: {place} is not in the vault"));
                }
                // In other places it is left to redaction.
                if places.iter().all(|place| is_content(place)) && outside.contains(value) {
                    wrong.push(format!("{folder}/{session}: {place} is still outside"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Index lines of a recorded session, in the order of its files.
fn lines(folder: &str, session: &str) -> Vec<IndexRow> {
    let session = request::at("tests/recordings").join(folder).join(session);
    let mut bench = Bench::new();
    told_in(&session).iter().flat_map(|file| bench.rows(request::recorded(file))).collect()
}

/// Tool calls that are reported more than once count once: Gemini CLI reports them by span and log, Codex partly by
/// both, opencode by two spans.
#[test]
fn recorded_tool_calls_count_once() {
    for (folder, session, told, made) in [
        ("gemini-cli", "prompt", 8, 4),
        ("codex", "exec", 4, 3),
        ("opencode", "run", 8, 4),
        ("claude-code", "mixed", 4, 4),
    ] {
        let mut rows = lines(folder, session);
        for _ in 0..2 {
            let (mut calls, mut sum) = (CallDeduplicator::default(), SessionLine::default());
            rows.iter().for_each(|row| sum.add(row, &mut calls));
            let tools = rows.iter().filter(|row| row.tail.call == "tool").count();
            assert_eq!((tools, sum.tool_calls), (told, made), "{folder}/{session}");
            rows.reverse();
        }
    }
}

/// A failure in a recorded session counts once in the session's line, whatever the order of its spans and events.
#[test]
fn recorded_failures_count_once() {
    for (folder, session, told, made) in [
        ("claude-code", "failing", 2, 1),
        ("claude-code", "refused", 2, 1),
        ("gemini-cli", "failing", 2, 1),
        // A call, and the agent for which it was the only one.
        ("opencode", "run", 2, 2),
    ] {
        let mut rows = lines(folder, session);
        for _ in 0..2 {
            let (mut calls, mut sum) = (CallDeduplicator::default(), SessionLine::default());
            rows.iter().for_each(|row| sum.add(row, &mut calls));
            let failed: Vec<_> = rows.iter().filter(|row| row.tail.status != "ok").collect();
            let words: Vec<_> =
                failed.iter().map(|row| (&row.tail.call, &row.tail.signal, &row.tail.action_type)).collect();
            assert_eq!((failed.len(), sum.errors), (told, made), "{folder}/{session}: {words:?}");
            rows.reverse();
        }
    }
}

/// The hooks' span of a denied permission is recorded as a denial, in its own line and in its session's.
#[test]
fn a_recorded_denial_is_one() {
    let rows = lines("claude-otel-hooks", "failures");
    let decided: Vec<_> = (rows.iter().filter(|row| row.tail.call == "permission"))
        .map(|row| (row.tail.tool_name.as_deref(), row.tail.decision.as_deref()))
        .collect();
    assert_eq!(decided, [(Some("Bash"), None), (Some("Bash"), Some("denied"))]);
    let (mut calls, mut sum) = (CallDeduplicator::default(), SessionLine::default());
    rows.iter().for_each(|row| sum.add(row, &mut calls));
    assert_eq!(sum.denials, 1);
}

/// Returns true for places that belong to the vault; other places of the manifests are left to redaction. In a span's
/// name redaction finds echoes.
fn is_content(place: &str) -> bool {
    !place.ends_with(" name")
        && !["status.message", "status_message", "exception.", "error", "metadata"]
            .iter()
            .any(|word| place.contains(word))
}

impl Bench {
    /// Collects the decrypted plaintext, and everything else that a batch became.
    fn collect(
        &mut self,
        payload: Payload,
        identities: &mut Vec<(String, age::x25519::Identity)>,
    ) -> (String, Vec<u8>) {
        let mut batch = Batch::new(Arc::new(origin(Trust::ThirdParty)), payload);
        self.processor.process(&mut batch).expect("processed");
        let mut outside = batch.payload.encode(UnknownFields::Drop).expect("encoded").bytes;
        let mut opened = String::new();
        for draft in batch.drafts {
            for stored in self.ticketer.as_mut().expect("ticketer")(draft.body).records {
                outside.extend_from_slice(&stored.body);
                if let Some((header, object)) =
                    spool_record::unpack::<KeyHeader>(&stored.body).filter(|_| stored.kind == RecordKind::Key)
                {
                    let secret = String::from_utf8(age::decrypt(&self.auditor, &object).expect("opens")).expect("text");
                    identities.push((header.key, secret.trim().parse().expect("identity")));
                }
                if let Some((header, sealed)) =
                    spool_record::unpack::<FragmentHeader>(&stored.body).filter(|_| stored.kind == RecordKind::Fragment)
                {
                    let (_, identity) = identities.iter().find(|(id, _)| *id == header.key).expect("key");
                    let plain = age::decrypt(identity, &sealed).expect("opens");
                    opened.push_str(&String::from_utf8(zstd::decode_all(&plain[..]).expect("zstd")).expect("text"));
                }
            }
        }
        (opened, outside)
    }
}
