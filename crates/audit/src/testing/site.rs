//! A realistically written vault in memory, and what happens to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::read::Vault;
use crate::verify::{VerifyOptions, VerifyReport, verify};
use genai::ContentPart;
use kernel::clock::{Clock, ManualClock, UnixNanos};
use kernel::rng::{Rng, SeededRng};
use pipeline::spool::SpoolRecord;
use telemetry::Meter;
use vault::chain::digest::ChainDigest;
use vault::chain::note::SigningKey;
use vault::delta::DeltaPlan;
use vault::document::{self, ContentPiece, DocumentHead, ItemContent, ItemHead};
use vault::index_row::{RowKind, RowTail, UnnumberedRow};
use vault::key_ring::KeyRing;
use vault::object_names::{FragmentScope, ObjectLayout, ObjectNames, account_segment, date, rfc3339};
use vault::recipients::{ContentOwner, ContentTenant, RecipientPolicy};
use vault::store::{
    ObjectKind, ObjectVersion, PutOutcome, StoreError, VaultReader, VaultStore, VersionLock, VersionPage,
};
use vault::testing::gateway;
use vault::testing::journal::{FakeJournal, signing_key};
use vault::ticket::{SealedFragment, VaultTicketer};
use vault::uploader::{UploadJournal, Uploader};
use vault::vault_writer::VaultWriter;

const NOON: UnixNanos = UnixNanos(1_795_168_800_000_000_000);

/// Objects in memory, with their write times.
#[derive(Default)]
pub struct Memory(pub Mutex<BTreeMap<String, Bytes>>, Mutex<BTreeMap<String, UnixNanos>>);

impl VaultStore for Memory {
    fn put_once<'a>(
        &'a self,
        _: ObjectKind,
        name: &'a str,
        bytes: Bytes,
        now: UnixNanos,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        let mut objects = self.0.lock();
        // like S3, which does not compare bytes
        let is_new = !objects.contains_key(name);
        if is_new {
            objects.insert(name.to_owned(), bytes);
            self.1.lock().insert(name.to_owned(), now);
        }
        Box::pin(async move { Ok(if is_new { PutOutcome::Written } else { PutOutcome::Exists }) })
    }
}

impl VaultReader for Memory {
    fn get<'a>(
        &'a self,
        _: ObjectKind,
        name: &'a str,
        range: Option<(u64, u64)>,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        let cut = |bytes: &Bytes| match range {
            None => bytes.clone(),
            Some((first, len)) => {
                let (first, len) = (first as usize, len as usize);
                bytes.slice(first.min(bytes.len())..first.saturating_add(len).min(bytes.len()))
            }
        };
        let bytes = self.0.lock().get(name).map(cut).ok_or(StoreError::Missing);
        Box::pin(async move { bytes })
    }

    fn list<'a>(&'a self, _: ObjectKind, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        let names = self.0.lock().keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        Box::pin(async move { Ok(names) })
    }

    fn written_at<'a>(&'a self, _: ObjectKind, name: &'a str) -> BoxFuture<'a, Result<Option<UnixNanos>, StoreError>> {
        let at = self.1.lock().get(name).copied();
        Box::pin(async move { Ok(at) })
    }
}

/// Answers a listing of a kind and prefix, in place of these names.
type Listed = Box<dyn Fn(ObjectKind, &str, Vec<String>) -> Result<Vec<String>, StoreError> + Send + Sync>;

type Versions = Box<dyn Fn(Vec<String>) -> Vec<ObjectVersion> + Send + Sync>;

/// The answer of a test to a question about `Q`, if it has one.
type Answer<Q, A> = Box<dyn Fn(&Q) -> Option<A> + Send + Sync>;

/// A reader of a store whose answers a test changes.
pub struct Altered {
    pub store: Arc<Memory>,
    /// The error with which a read of a name is refused.
    pub refuses: Answer<str, StoreError>,
    pub lists: Listed,
    /// The versions behind the names of a listing, in a store that has versions.
    pub versions: Option<Versions>,
    pub lock: Answer<ObjectVersion, VersionLock>,
}

impl Altered {
    pub fn new(store: &Arc<Memory>) -> Self {
        Self {
            store: store.clone(),
            refuses: Box::new(|_| None),
            lists: Box::new(|_, _, names| Ok(names)),
            versions: None,
            lock: Box::new(|_| None),
        }
    }

    pub fn vault(self) -> Vault {
        Vault::new(Arc::new(self), "", None)
    }
}

impl VaultReader for Altered {
    fn get<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
        range: Option<(u64, u64)>,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        match (self.refuses)(name) {
            Some(error) => Box::pin(async { Err(error) }),
            None => self.store.get(kind, name, range),
        }
    }

    fn list<'a>(&'a self, kind: ObjectKind, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move { (self.lists)(kind, prefix, self.store.list(kind, prefix).await?) })
    }

    /// A page for each version.
    fn versions<'a>(
        &'a self,
        kind: ObjectKind,
        prefix: &'a str,
        after: Option<(String, String)>,
    ) -> BoxFuture<'a, Result<Option<VersionPage>, StoreError>> {
        Box::pin(async move {
            let Some(versions) = &self.versions else { return Ok(None) };
            let mut all = versions(self.store.list(kind, prefix).await?);
            all.retain(|version| version.name.starts_with(prefix));
            let at = after.map_or(0, |(_, at)| at.parse::<usize>().expect("ours"));
            let next = all.get(at + 1).map(|next| (next.name.clone(), (at + 1).to_string()));
            Ok(Some(VersionPage { versions: all.into_iter().skip(at).take(1).collect(), next }))
        })
    }

    fn version_lock<'a>(
        &'a self,
        _: ObjectKind,
        version: &'a ObjectVersion,
    ) -> BoxFuture<'a, Result<Option<VersionLock>, StoreError>> {
        Box::pin(async move { Ok((self.lock)(version)) })
    }

    fn written_at<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<UnixNanos>, StoreError>> {
        self.store.written_at(kind, name)
    }
}

/// A gateway's vault: one process at a time over one journal and one store.
pub struct Site {
    pub journal: Arc<FakeJournal>,
    pub store: Arc<Memory>,
    pub clock: Arc<ManualClock>,
    pub rng: SeededRng,
    pub auditor: age::x25519::Identity,
    pub signer: Arc<SigningKey>,
    pub epochs: u32,
    /// Recipients for processes started from now on; `None`: the auditor.
    pub recipients: Option<RecipientPolicy>,
    pub keys: KeyRing,
    pub writer: Arc<VaultWriter>,
    pub ticketer: VaultTicketer,
    pub uploader: Uploader,
    pub sent: u64,
    /// User of lines sent from now on; `None`: `h-` and the account.
    pub user: Option<String>,
    /// The user that the client names in place of this one.
    pub claimed_user: Option<String>,
    pub is_user_adopted: bool,
    /// Layout for processes started from now on.
    pub layout: ObjectLayout,
}

/// The names that an epoch's process gives its objects.
pub fn names(epoch: u32) -> ObjectNames {
    ObjectNames::new("", "gw", &format!("E{epoch:04}"))
}

/// One process of the gateway.
pub fn process<J: UploadJournal + 'static, S: VaultStore + 'static>(
    journal: &Arc<J>,
    store: &Arc<S>,
    clock: &Arc<ManualClock>,
    names: ObjectNames,
    signer: &Arc<SigningKey>,
) -> (Arc<VaultWriter>, VaultTicketer, Uploader) {
    gateway::process(journal, store, clock, VaultWriter::new(names, 4000), signer, &Meter::new())
}

/// What `write` writes, as text.
pub fn text_of(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("written");
    String::from_utf8(out).expect("text")
}

/// Every file below a folder with its bytes.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(here) = folders.pop() {
        for entry in std::fs::read_dir(here).expect("folder").flatten() {
            match entry.file_type().expect("kind").is_dir() {
                true => folders.push(entry.path()),
                false => {
                    let name = entry.path().strip_prefix(folder).expect("below").to_string_lossy().into_owned();
                    found.insert(name, std::fs::read(entry.path()).expect("file"));
                }
            }
        }
    }
    found
}

/// The common columns of a batch's lines.
fn line_of(names: &ObjectNames, account: &str, session: &str, now: UnixNanos) -> RowTail {
    RowTail {
        ts: rfc3339(now),
        ingest_ts: rfc3339(now),
        signal: "traces".into(),
        account: account.into(),
        tenant: "acme".into(),
        session_id: Some(session.into()),
        user_key: Some(format!("h-{account}")),
        call: "model".into(),
        status: "ok".into(),
        writer: names.writer().to_string(),
        epoch: names.epoch().to_string(),
        ..RowTail::default()
    }
}

impl Site {
    pub fn new(seed: u64) -> Self {
        let (journal, store, clock) = (Arc::default(), Arc::default(), ManualClock::at(NOON));
        let signer = Arc::new(signing_key());
        let (writer, ticketer, uploader) = process(&journal, &store, &clock, names(0), &signer);
        let auditor = age::x25519::Identity::generate();
        let recipients = RecipientPolicy::unlimited([auditor.to_public()]);
        let keys = KeyRing::new(Arc::new(recipients), 100);
        let rng = SeededRng::new(seed);
        let layout = ObjectLayout::default();
        Self {
            journal,
            store,
            clock,
            rng,
            auditor,
            signer,
            epochs: 0,
            recipients: None,
            keys,
            writer,
            ticketer,
            uploader,
            sent: 0,
            user: None,
            claimed_user: None,
            is_user_adopted: false,
            layout,
        }
    }

    /// A vault with a batch of the session `s0`, this many minutes later; with 0, when all is uploaded.
    pub async fn of_session(seed: u64, text: &str, minutes: u32) -> Self {
        let mut site = Site::new(seed);
        site.send("default", "s0", text);
        site.minutes(minutes).await;
        assert!(minutes > 0 || site.uploader.drain().await);
        site
    }

    /// A line of the session `s0` from each of two processes.
    pub async fn of_two_epochs() -> Self {
        let mut site = Site::new(1);
        for epoch in 0..2 {
            site.send("default", "s0", "text");
            site.minutes(3).await;
            assert!(site.uploader.drain().await);
            if epoch == 0 {
                site.restart(1000);
            }
        }
        site
    }

    /// Starts another process; of the last marks only `kept` are durable.
    pub fn restart(&mut self, kept: usize) {
        self.journal.crash(kept);
        self.epochs += 1;
        self.begin(self.epochs);
    }

    /// The recipients of new keys.
    pub fn policy(&self) -> RecipientPolicy {
        self.recipients.clone().unwrap_or_else(|| RecipientPolicy::unlimited([self.auditor.to_public()]))
    }

    /// Starts a process with this epoch.
    pub fn begin(&mut self, epoch: u32) {
        let names = names(epoch).with_layout(self.layout);
        (self.writer, self.ticketer, self.uploader) =
            process(&self.journal, &self.store, &self.clock, names, &self.signer);
        self.keys = KeyRing::new(Arc::new(self.policy()), 100);
    }

    /// Sends a batch of one session: an item with content, and an action without.
    pub fn send(&mut self, account: &str, session: &str, text: &str) {
        for record in self.made(account, session, text) {
            self.journal.append(record.kind, account, record.body);
        }
    }

    /// The records of such a batch.
    pub fn made(&mut self, account: &str, session: &str, text: &str) -> Vec<SpoolRecord> {
        let now = self.clock.now();
        let scope = Arc::new(FragmentScope {
            account: account_segment(account),
            tenant: "acme".into(),
            session: session.into(),
            date: date(now),
        });
        let owner = ContentOwner { account, tenant: ContentTenant::Named(Some("acme")) };
        let key = self.keys.key(&scope, owner, now).expect("key");
        let (id, names) = (format!("{:016x}", self.sent), self.writer.names().clone());
        self.sent += 1;
        let head = DocumentHead {
            v: 1,
            fragment: id.as_str().into(),
            account: account.into(),
            tenant: "acme".into(),
            session: Some(session.into()),
            writer: names.writer().as_ref().into(),
            epoch: names.epoch().as_ref().into(),
            received: rfc3339(now).into(),
            signal: "traces".into(),
            repeat: false,
        };
        let mut content = ItemContent::default();
        let piece = ContentPiece { part: "input".into(), on: "span".into(), key: None, event: None, time: None };
        content.push(ContentPart::Input, &piece, &serde_json::to_string(text).expect("json"), None);
        let mut salt = [0; 32];
        self.rng.fill(&mut salt);
        let mut document = document::DocumentWriter::begin(&head);
        let (item, hashes) = document.write_item(&ItemHead::default(), &[], content, &DeltaPlan::whole(1), &salt);
        let plain = match self.layout {
            ObjectLayout::Turn => document.finish().into_bytes(),
            _ => zstd::bulk::compress(document.finish().as_bytes(), 3).expect("zstd"),
        };
        let spot = names.object_prefix(&scope, now, None);
        let mut frame = SealedFragment::empty_frame(&names, &spot, key.id(), &id);
        key.seal(&plain, frame.rest_mut()).expect("sealed");
        let mut base = line_of(&names, account, session, now);
        base.user_key = self.user.clone().or(base.user_key);
        base.claimed_user_key.clone_from(&self.claimed_user);
        base.user_adopted = self.is_user_adopted;
        let tail = RowTail {
            len: Some(frame.rest().len() as u64),
            item: Some(item),
            kind: Some(RowKind::Payload),
            fragment: Some(id.clone()),
            ct_sha256: Some(kernel::hex::encode(&kernel::sha256::Sha256::digest(frame.rest()))),
            key_id: Some(key.id().to_owned()),
            key_sha256: Some(key.object_sha256.clone()),
            commitment: Some(hashes.commitment),
            ..base.clone()
        };
        let action = RowTail { kind: Some(RowKind::Action), ..base };
        let rows = vec![UnnumberedRow::new(&tail, true), UnnumberedRow::new(&action, false)];
        let fragment = gateway::fragment(id, key, frame);
        let draft = gateway::draft(&names, account, &scope, now, Some(fragment), rows);
        self.ticketer.ticket(Box::new(draft)).records
    }

    /// Advances the clock by minutes, with the uploader running.
    pub async fn minutes(&mut self, minutes: u32) {
        for _ in 0..minutes {
            self.clock.advance(Duration::from_secs(61));
            for _ in 0..6 {
                self.uploader.step().await;
            }
        }
    }

    /// The vault as its readers reach it.
    pub fn vault(&self) -> Vault {
        Vault::new(self.store.clone(), "", None)
    }

    pub async fn verify(&self, options: VerifyOptions) -> VerifyReport {
        self.verify_in(&self.vault(), options).await
    }

    /// Verifies over another reader of the vault.
    pub async fn verify_in(&self, vault: &Vault, options: VerifyOptions) -> VerifyReport {
        let options = VerifyOptions {
            keys: if options.keys.is_empty() { vec![signing_key().public().clone()] } else { options.keys },
            now: self.clock.now(),
            ..options
        };
        verify(vault, &options, &mut |_| {}).await.expect("verified")
    }

    /// Verifies with everything that an auditor has.
    pub async fn audit(&self) -> VerifyReport {
        self.verify(VerifyOptions { auditors: vec![self.auditor.clone()], ..VerifyOptions::default() }).await
    }

    /// Writes every object below a folder.
    pub fn write_to(&self, folder: &Path) {
        for (name, bytes) in &*self.store.0.lock() {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, bytes).expect("written");
        }
    }

    /// The first object whose name has these parts.
    pub fn name(&self, parts: &[&str]) -> String {
        let objects = self.store.0.lock();
        let name = objects.keys().find(|name| parts.iter().all(|part| name.contains(part)));
        name.unwrap_or_else(|| panic!("{parts:?} in {:?}", objects.keys())).clone()
    }

    /// All names with this prefix.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.store.0.lock().keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// The bytes of an object.
    pub fn object(&self, name: &str) -> Bytes {
        self.store.0.lock().get(name).cloned().expect("there")
    }

    /// Puts an object there, whatever was there.
    pub fn plant(&self, name: &str, bytes: impl Into<Bytes>) {
        self.store.0.lock().insert(name.to_owned(), bytes.into());
    }

    pub fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.object(name).to_vec();
        change(&mut bytes);
        self.plant(name, bytes);
    }

    pub fn remove(&self, name: &str) {
        self.store.0.lock().remove(name).expect("there");
    }

    /// Changes a digest and signs it with `key`.
    pub fn resign(&self, name: &str, key: &SigningKey, change: impl FnOnce(&mut ChainDigest)) {
        let mut digest: ChainDigest = serde_json::from_slice(&self.object(name)).expect("a digest");
        change(&mut digest);
        let root = STANDARD.decode(&digest.root).expect("base64").try_into().expect("32 bytes");
        let origin = vault::chain::digest::checkpoint_origin(
            key.public().name(),
            &digest.account,
            &digest.writer,
            &digest.epoch,
        );
        digest.note = key.sign_note(&vault::chain::note::Checkpoint { origin, size: digest.tree_size, root }.text());
        let json = serde_json::to_vec(&digest).expect("json");
        self.plant(&format!("{name}.sig"), key.sign(&json).to_vec());
        self.plant(name, json);
    }
}

/// Checks that one of these lines says this.
#[track_caller]
pub fn assert_said(lines: &[String], part: &str) {
    assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:?}");
}

impl VerifyReport {
    /// The report, of which this is true.
    #[track_caller]
    pub fn assert_that(self, is_expected: impl FnOnce(&Self) -> bool) -> Self {
        assert!(is_expected(&self), "{}", self.text());
        self
    }

    /// The report, which has no failure.
    #[track_caller]
    pub fn assert_verified(self) -> Self {
        self.assert_that(|report| report.verified)
    }

    /// The report, which has no finding.
    #[track_caller]
    pub fn assert_clean(self) -> Self {
        self.assert_that(|report| report.verified && report.findings.is_empty())
    }

    /// The report, which has a failure.
    #[track_caller]
    pub fn assert_not_verified(self) -> Self {
        self.assert_that(|report| !report.verified)
    }

    /// The report, which has a failure, and a finding with this code.
    #[track_caller]
    pub fn assert_failed(self, code: &str) -> Self {
        self.assert_that(|report| !report.verified && report.finding_counts.contains_key(code))
    }

    /// The report, which has a finding with this code.
    #[track_caller]
    pub fn assert_told(self, code: &str) -> Self {
        self.assert_that(|report| report.finding_counts.contains_key(code))
    }
}
