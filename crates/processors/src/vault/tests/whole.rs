//! Tests of the whole path from a request to a directory and back to an auditor.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::super::options::StoreLayout;
use super::super::recipients::{RecipientConfig, RecipientsConfig};
use super::super::{VaultConfig, build, config::StoreConfig};
use crate::testing::{deps, origin, text_of};
use audit::read::{
    ContentReference, FragmentOpener, IndexLines, IndexQuery, LeafId, LineSelection, ReadError, ReplayFilter,
    ReplayedSession, Vault, VaultLocation, each_row, get, get_lines, identities, replay,
};
use audit::verify::{VerifyOptions, VerifyReport, verify};
use genai::testing::request;
use kernel::clock::{Clock, ManualClock, UnixNanos};
use otlp::Payload;
use pipeline::{Batch, BatchOrigin, Effect, Processor, Ticketer};
use vault::chain::digest::GatewayIdentity;
use vault::index_row::IndexRow;
use vault::keygen::generate_auditor_key;
use vault::testing::journal::{FakeJournal, signing_key};
use vault::uploader::Uploader;

pub(super) const NOON: UnixNanos = UnixNanos(1_795_168_800_000_000_000);

pub(super) struct Gateway {
    pub(super) folder: tempfile::TempDir,
    pub(super) clock: Arc<ManualClock>,
    journal: Arc<FakeJournal>,
    pub(super) processor: Arc<super::super::VaultProcessor>,
    ticketer: Box<Ticketer>,
    pub(super) uploader: Uploader,
}

pub(super) fn gateway() -> Gateway {
    gateway_with(|_| {})
}

pub(super) fn gateway_with(change: impl FnOnce(&mut VaultConfig)) -> Gateway {
    let folder = tempfile::tempdir().expect("scratch");
    let public = generate_auditor_key(&folder.path().join("auditor.key")).expect("key");
    let mut config = VaultConfig {
        recipients: RecipientsConfig::Each(vec![RecipientConfig::Key(public)]),
        store: Some(StoreConfig::Directory(vault::store::settings::DirectoryConfig::Path(folder.path().join("vault")))),
        writer: Some("gw-1".to_owned()),
        ..VaultConfig::default()
    };
    change(&mut config);
    let settings = config.settings().map_err(|problems| format!("{problems:?}")).expect("valid");
    let clock = ManualClock::at(NOON);
    let site = deps(clock.clone());
    let (journal, made_by) = (Arc::new(FakeJournal::default()), Some(GatewayIdentity::current("")));
    let (processor, uploader) =
        build(&"vault".into(), &settings, &site, journal.clone(), Some(Arc::new(signing_key())), made_by);
    let ticketer = processor.ticketer().expect("ticketer");
    Gateway { folder, clock, journal, processor, ticketer, uploader: uploader.expect("uploader") }
}

impl Gateway {
    /// Processes and commits a batch without applying its effects.
    pub(super) fn send(&mut self, case: &Json) {
        let batch = self.process(case);
        drop(self.commit(batch));
    }

    /// Sends items, and waits until everything is in the store.
    pub(super) async fn send_stored(&mut self, items: Json) {
        self.send(&json!({ "items": items }));
        assert!(self.uploader.drain().await);
    }

    /// The same for items whose effects are applied.
    pub(super) async fn pass_stored(&mut self, items: Json) {
        self.pass(&json!({ "items": items }));
        assert!(self.uploader.drain().await);
    }

    /// Processes a batch without committing it.
    pub(super) fn process(&self, case: &Json) -> Batch {
        self.process_after(&[], request::payload(case))
    }

    /// Processes a payload after other steps, without committing it.
    pub(super) fn process_after(&self, steps: &[Box<dyn Processor>], payload: Payload) -> Batch {
        let origin = BatchOrigin { received: self.clock.now(), ..origin() };
        let mut batch = Batch::new(Arc::new(origin), payload);
        steps.iter().for_each(|step| step.process(&mut batch).expect("processed"));
        self.processor.process(&mut batch).expect("processed");
        batch
    }

    /// Gives the batch its ticket and commits it. Returns its effects.
    pub(super) fn commit(&mut self, batch: Batch) -> Vec<Effect> {
        for draft in batch.drafts {
            for record in (self.ticketer)(draft.body).records {
                self.journal.append(record.kind, "default", record.body);
            }
        }
        batch.effects
    }

    /// Passes a batch through, as the engine does.
    pub(super) fn pass(&mut self, case: &Json) {
        let batch = self.process(case);
        let effects = self.commit(batch);
        effects.iter().for_each(|effect| self.processor.apply(effect));
    }

    pub(super) fn writer(&self) -> Arc<vault::vault_writer::VaultWriter> {
        self.processor.sealer.as_ref().expect("a store").writer.clone()
    }

    pub(super) fn location(&self) -> VaultLocation {
        VaultLocation { store: self.folder.path().join("vault").display().to_string(), ..VaultLocation::default() }
    }

    pub(super) fn auditors(&self) -> Vec<age::x25519::Identity> {
        identities(&[self.folder.path().join("auditor.key")]).expect("identity")
    }

    pub(super) fn vault(&self) -> Vault {
        Vault::from_location(&self.location()).expect("a vault")
    }

    pub(super) async fn read(&self, session: &str) -> Result<ReplayedSession, ReadError> {
        let vault = self.vault();
        let mut opener = FragmentOpener::new(&vault, self.auditors());
        replay(&mut opener, session, &ReplayFilter::default()).await
    }

    pub(super) async fn replay(&self, session: &str) -> Result<String, String> {
        let found = self.read(session).await.map_err(|error| error.to_string())?;
        Ok(text_of(|out| found.write_text(out)))
    }

    /// The content at a reference.
    pub(super) async fn get(&self, uri: &str, range: Option<String>) -> Result<String, ReadError> {
        let vault = self.vault();
        let (mut opener, mut out) = (FragmentOpener::new(&vault, self.auditors()), Vec::new());
        let wanted = ContentReference { uri: uri.to_owned(), range };
        get(&mut opener, &wanted, &mut out).await?.expect("written");
        Ok(String::from_utf8(out).expect("text"))
    }

    /// The content that lines lead to.
    pub(super) async fn get_lines(&self, wanted: &LineSelection) -> (Result<(), ReadError>, String) {
        let vault = self.vault();
        let (mut opener, mut out) = (FragmentOpener::new(&vault, self.auditors()), Vec::new());
        let got = get_lines(&mut opener, wanted, &mut out).await;
        (got.map(|written| written.expect("written")), String::from_utf8(out).expect("text"))
    }

    pub(super) async fn rows(&self) -> Vec<IndexRow> {
        let mut rows = Vec::new();
        each_row(&self.vault(), None, &|_| true, IndexLines::All, &mut |_, row| rows.push(row)).await.expect("lines");
        rows
    }

    /// The vault's objects by name, sorted.
    pub(super) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let (root, mut all) = (self.folder.path().join("vault"), Vec::new());
        files(&root, &mut all);
        let inside = |path: String| path.split_once("/vault/").expect("inside").1.to_owned();
        all.into_iter().map(|(path, bytes)| (inside(path), bytes)).collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.objects().into_keys().collect()
    }

    /// The only object with this ending, or the first of several.
    pub(super) fn object(&self, ending: &str) -> (String, Vec<u8>) {
        self.objects().into_iter().find(|(name, _)| name.ends_with(ending)).expect("an object")
    }

    /// Writes a file into the vault.
    pub(super) fn plant(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.folder.path().join("vault").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, bytes).expect("written");
    }
}

pub(super) fn turn(n: u64, history: &[(&str, &str)], answer: &str) -> Json {
    let messages: Vec<Json> = history
        .iter()
        .map(|(role, text)| json!({"role": role, "parts": [{"type": "text", "content": text}]}))
        .collect();
    json!({"name": "chat gpt-4o", "trace": 1, "span": n, "start": 1_795_168_800 + n, "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5, "gen_ai.conversation.id": "s-1",
        "tenant.id": "acme",
        "gen_ai.input.messages": Json::Array(messages).to_string(),
        "gen_ai.output.messages": json!([{"role": "assistant", "parts": [{"type": "text", "content": answer}]}]).to_string()}})
}

pub(super) fn tool(n: u64) -> Json {
    json!({"name": "execute_tool ls", "trace": 1, "span": n, "start": 1_795_168_800 + n, "attributes": {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "ls", "gen_ai.conversation.id": "s-1", "tenant.id": "acme",
        "gen_ai.tool.call.arguments": r#"{"path":"/CANARY"}"#, "gen_ai.tool.call.result": "a\u{1b}[31mred\nb CANARY"}})
}

/// The item in another session.
pub(super) fn of(session: &str, mut item: Json) -> Json {
    item["attributes"]["gen_ai.conversation.id"] = json!(session);
    item
}

pub(super) fn files(folder: &Path, out: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            files(&path, out);
        } else {
            out.push((path.display().to_string(), std::fs::read(&path).expect("file")));
        }
    }
}

/// A session is replayed in order: messages once, tools with arguments and results, no terminal control sequences; the
/// same before and after the index is written.
#[tokio::test]
async fn a_session_is_replayed() {
    let mut gateway = gateway();
    gateway.send(&json!({"items": [turn(1, &[("user", "CANARY one")], "CANARY two"), tool(2)]}));
    gateway.send(&json!({"items": [
        turn(3, &[("user", "CANARY one"), ("assistant", "CANARY two"), ("user", "CANARY three")], "CANARY four")]}));
    assert!(gateway.uploader.drain().await);
    let text = gateway.replay("s-1").await.expect("replayed");
    let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} is not in\n{text}"));
    let order = [
        "CANARY one",
        "CANARY two",
        "execute_tool ls",
        "arguments",
        "result",
        "(2 earlier",
        "CANARY three",
        "CANARY four",
    ];
    assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{text}");
    assert_eq!(text.matches("CANARY one").count(), 1, "{text}");
    assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[31mred"), "{text}");
    assert!(text.contains("model calls: 2, tool calls: 1, cost: 0 USD"), "{text}");
    std::fs::remove_dir_all(gateway.folder.path().join("vault/index")).expect("index");
    let unindexed = gateway.replay("s-1").await.expect("replayed");
    assert_eq!(unindexed.matches("CANARY").count(), text.matches("CANARY").count());
    assert!(gateway.replay("s-2").await.is_err());
}

/// A reference with its range leads to its document, and without a range to the whole object.
#[tokio::test]
async fn a_reference_is_opened() {
    let mut gateway = gateway();
    gateway.send(&json!({"items": [turn(1, &[("user", "CANARY one")], "x")]}));
    gateway.send_stored(json!([turn(2, &[("user", "CANARY two")], "y")])).await;
    let (name, bytes) = gateway.object(".agev");
    let second = memchr::memmem::find_iter(&bytes, b"age-encryption.org/v1").nth(1).expect("two fragments");
    let range = Some(format!("bytes={second:010}-{:010}", bytes.len() - 1));
    let text = gateway.get(&format!("file:///{name}"), range).await.expect("found");
    assert!(text.contains("CANARY two") && !text.contains("CANARY one"));
    let text = gateway.get(&name, None).await.expect("found");
    assert_eq!(text.lines().count(), 2);
    serde_json::from_str::<Json>(text.lines().next().expect("line")).expect("JSON");
    for range in ["bytes=1-9", "bytes=0-18446744073709551615", "bytes=-1"] {
        assert!(gateway.get(&name, Some(range.to_owned())).await.is_err(), "{range}");
    }
}

/// The content of a trace, a span or an index line is decrypted, each fragment once, in every layout; one without a
/// line or without content is reported.
#[tokio::test]
async fn lines_are_opened() {
    for layout in [StoreLayout::Session, StoreLayout::Packed, StoreLayout::Turn] {
        let mut gateway = gateway_with(|config| config.layout = layout);
        gateway.send(&json!({"items": [turn(1, &[("user", "CANARY one")], "x"), tool(2)]}));
        let mut other = turn(3, &[("user", "CANARY three")], "y");
        other["trace"] = json!(2);
        gateway.send_stored(json!([other])).await;
        let rows = gateway.rows().await;
        let [one, two, three] = &rows[..] else { panic!("{} lines", rows.len()) };
        let ask = async |query: IndexQuery, leaf: Option<&str>| {
            let leaf = leaf.map(|leaf| LeafId::parse(leaf).expect("a leaf"));
            let (got, text) = gateway.get_lines(&LineSelection { query, leaf, keys: Vec::new() }).await;
            got.map(|()| text)
        };
        let (trace, span) = (|row: &IndexRow| row.tail.trace_id.clone(), |row: &IndexRow| row.tail.span_id.clone());
        let text = ask(IndexQuery { trace: trace(one), ..IndexQuery::default() }, None).await.expect("opened");
        assert_eq!(text.lines().count(), 1, "{layout:?}: each fragment once: {text}");
        assert!(text.contains("CANARY one") && text.contains("/CANARY") && !text.contains("CANARY three"), "{text}");
        let text = ask(IndexQuery { span: span(two), ..IndexQuery::default() }, None).await.expect("opened");
        assert!(text.lines().count() == 1 && text.contains("/CANARY"), "{layout:?}: {text}");
        let leaf = format!("{}/{}/{:012}", three.tail.writer, three.tail.epoch, three.leaf);
        let text = ask(IndexQuery::default(), Some(&leaf)).await.expect("opened");
        assert!(text.lines().count() == 1 && text.contains("CANARY three"), "{layout:?}: {text}");
        let none =
            ask(IndexQuery { trace: Some("00".into()), ..IndexQuery::default() }, None).await.expect_err("no line");
        assert!(none.to_string().contains("no index line"), "{none}");
        let none = ask(IndexQuery { account: Some("team".into()), ..IndexQuery::default() }, Some(&leaf)).await;
        assert!(none.expect_err("another account's").to_string().contains("no index line"));
        assert!(LeafId::parse("gw/5").is_err() && LeafId::parse("gw/E/x").is_err() && LeafId::parse("/E/1").is_err());
    }
}

/// No file of the vault shows content. (`audit` tests that no other key decrypts it.)
#[tokio::test]
async fn nothing_readable_lies_in_the_directory() {
    let mut gateway = gateway();
    gateway.send_stored(json!([turn(1, &[("user", "CANARY one")], "CANARY"), tool(2)])).await;
    let all = gateway.objects();
    assert_eq!(all.len(), 5, "key, object, index, digest, signature");
    for (name, bytes) in &all {
        let plain = if name.ends_with(".zst") { zstd::decode_all(&bytes[..]).expect("zstd") } else { bytes.clone() };
        assert!(!String::from_utf8_lossy(&plain).contains("CANARY"), "{name}");
    }
}

/// The object name contains account, tenant, session, day and writer: a fragment copied under a different one is
/// refused, even if its key objects are copied too.
#[tokio::test]
async fn a_fragment_copied_to_another_tenant_or_session_is_refused() {
    let mut gateway = gateway();
    gateway.send_stored(json!([turn(1, &[("user", "CANARY one")], "x")])).await;
    let all = gateway.objects();
    for (from, to, session) in [
        ("/acme/s-1/", "/globex/s-1/", "s-1"),
        ("/acme/s-1/", "/acme/s-2/", "s-2"),
        ("/2026-11-20/", "/2026-11-21/", "s-1"),
        ("/gw-1-", "/gw-2-", "s-1"),
    ] {
        let moved = all.iter().filter(|(name, _)| !name.starts_with("index/") && !name.starts_with("chain/"));
        let moved: Vec<_> = moved.filter(|(name, _)| name.contains(from)).collect();
        moved.iter().for_each(|(name, bytes)| gateway.plant(&name.replace(from, to), bytes));
        assert!(moved.iter().any(|(name, _)| name.ends_with(".agev")), "the case moves something");
        let text = gateway.replay(session).await.unwrap_or_else(|why| why);
        let own = usize::from(session == "s-1");
        assert_eq!(text.matches("CANARY one").count(), own, "{to}: {text}");
        assert!(text.contains("belongs to another object"), "{to}: {text}");
    }
}

/// Junk in the index, a missing object, a hole (a lost fragment, written as zeros), an index line that points outside:
/// each is reported and hides nothing else, nor does a hole without the index; sums of forged lines do not stop the
/// replay.
#[tokio::test]
async fn what_is_damaged_hides_nothing_else() {
    let mut gateway = gateway();
    for (n, text) in [(1, "CANARY one"), (2, "CANARY two"), (3, "CANARY three")] {
        gateway.send(&json!({"items": [turn(n, &[("user", text)], "x")]}));
    }
    assert!(gateway.uploader.drain().await);
    let (index, lines) = gateway.object(".ndjson.zst");
    gateway.plant(&index.replace("0000000000.nd", "0000000009.nd"), "junk");
    gateway.plant(&index.replace("0000000000.ndjson.zst", "x"), "no index object");
    let lines = String::from_utf8(zstd::decode_all(&lines[..]).expect("zstd")).expect("text");
    let mut forged: Json = serde_json::from_str(lines.lines().next().expect("line")).expect("JSON");
    let mut rows = lines.clone();
    for (leaf, object) in [
        (90, "default/acme/s-1/2026-11-20/gw-1-x-0000000099.agev".to_owned()),
        (91, forged["object_key"].as_str().expect("key").to_owned()),
    ] {
        forged["leaf"] = json!(leaf);
        forged["fragment"] = json!(format!("{leaf:032}"));
        forged["object_key"] = json!(object);
        forged["off"] = json!(1_u64 << 40);
        forged["cost_status"] = json!("priced");
        forged["cost_usd"] = json!("79000000000000000000000000000");
        rows.push_str(&format!("{forged}\nno line\n"));
    }
    gateway.plant(&index, zstd::encode_all(rows.as_bytes(), 1).expect("zstd"));
    let (object, mut bytes) = gateway.object(".agev");
    let starts: Vec<usize> = memchr::memmem::find_iter(&bytes, b"age-encryption.org/v1").collect();
    bytes[starts[1]..starts[2]].fill(0);
    gateway.plant(&object, bytes);
    let text = gateway.replay("s-1").await.expect("replayed");
    for said in [
        "CANARY one",
        "CANARY three",
        "0000000009.ndjson.zst: damaged",
        "2 lines are malformed",
        "no such object",
        "points beyond the end of the object",
        "too large to add",
    ] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    assert!(!text.contains("CANARY two"), "{text}");
    std::fs::remove_dir_all(gateway.folder.path().join("vault/index")).expect("index");
    let text = gateway.replay("s-1").await.expect("replayed");
    assert!(text.contains("CANARY one") && text.contains("CANARY three") && !text.contains("CANARY two"), "{text}");
    assert!(text.contains("(not in the index)"), "{text}");
}

/// An audit shows everything that was said: refusals, thoughts, old function calls, request fields, repeated texts.
#[tokio::test]
async fn nothing_that_was_said_is_left_out() {
    let mut gateway = gateway();
    let mut case = turn(1, &[("user", "go on"), ("user", "go on")], "x");
    case["attributes"]["gen_ai.output.messages"] = json!(
        json!([
            {"role": "assistant", "content": null, "refusal": "CANARY-refusal"},
            {"role": "assistant", "content": "", "reasoning_content": "CANARY-thought"},
            {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": "CANARY-call"}},
            {"messages": [{"role": "user", "content": "CANARY-inner"}], "tools": ["CANARY-tool"]},
        ])
        .to_string()
    );
    gateway.send_stored(json!([case])).await;
    let text = gateway.replay("s-1").await.expect("replayed");
    for said in ["refusal", "thought", "call", "inner", "tool"] {
        assert!(text.contains(&format!("CANARY-{said}")), "{said} is not in\n{text}");
    }
    assert_eq!(text.matches("go on").count(), 2, "{text}");
}

/// Keys are private and never overwritten.
#[test]
fn keys_are_made_once() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("scratch");
    let path = folder.path().join("k");
    let public = generate_auditor_key(&path).expect("made");
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(generate_auditor_key(&path).is_err());
    let found = identities(&[path]).expect("read");
    assert_eq!(found[0].to_public().to_string(), public);
}

/// The report for an auditor.
pub(super) async fn report(gateway: &Gateway) -> VerifyReport {
    let (keys, auditors) = (vec![signing_key().public().clone()], gateway.auditors());
    let options = VerifyOptions { keys, auditors, ..VerifyOptions::default() };
    verify(&gateway.vault(), &options, &mut |_| {}).await.expect("a report")
}

/// The vault verifies with an auditor's key: no problem is found, and something was decrypted.
pub(super) async fn verified(gateway: &Gateway) {
    let report = report(gateway).await;
    assert!(report.verified && report.findings.is_empty() && report.counts.opened > 0, "{}", report.text());
}
