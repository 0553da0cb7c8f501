//! A realistically written vault in memory, and what happens to it.

use std::collections::BTreeMap;
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
use vault::chain::digest::{ChainDigest, GatewayIdentity};
use vault::chain::note::SigningKey;
use vault::delta::DeltaPlan;
use vault::document::{self, ContentPiece, DocumentHead, ItemContent, ItemHead};
use vault::index_row::{RowKind, RowTail, UnnumberedRow};
use vault::key_ring::KeyRing;
use vault::object_names::{FragmentScope, ObjectLayout, ObjectNames, account_segment, date, rfc3339};
use vault::recipients::{AccountRecipients, ContentOwner, ContentTenant, KeyHolder, RecipientPolicy};
use vault::seal::AgeKeyGenerator;
use vault::store::{
    ObjectKind, ObjectVersion, PutOutcome, StoreError, VaultReader, VaultStore, VersionLock, VersionPage,
};
use vault::testing::journal::{FakeJournal, signing_key};
use vault::ticket::{DraftGroup, SealedFragment, UriBase, VaultDraft, VaultTicketer};
use vault::uploader::{UploadIntervals, UploadJournal, Uploader, UploaderDependencies};
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
        let put = match objects.get(name) {
            Some(there) if *there == bytes => Ok(PutOutcome::Exists),
            // like S3, which does not compare bytes
            Some(_) => Ok(PutOutcome::Exists),
            None => {
                objects.insert(name.to_owned(), bytes);
                self.1.lock().insert(name.to_owned(), now);
                Ok(PutOutcome::Written)
            }
        };
        Box::pin(async move { put })
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

/// A reader over an in-memory store that overrides some answers.
pub trait Over: Send + Sync {
    fn under(&self) -> &Memory;

    fn list<'a>(&'a self, kind: ObjectKind, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        VaultReader::list(self.under(), kind, prefix)
    }

    fn versions<'a>(
        &'a self,
        _kind: ObjectKind,
        _prefix: &'a str,
        _after: Option<(String, String)>,
    ) -> BoxFuture<'a, Result<Option<VersionPage>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn held<'a>(
        &'a self,
        _kind: ObjectKind,
        _version: &'a ObjectVersion,
    ) -> BoxFuture<'a, Result<Option<VersionLock>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
}

/// Such a reader as a store.
pub struct Layer<T>(pub T);

impl<T: Over> VaultReader for Layer<T> {
    fn get<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
        range: Option<(u64, u64)>,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        self.0.under().get(kind, name, range)
    }

    fn list<'a>(&'a self, kind: ObjectKind, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        self.0.list(kind, prefix)
    }

    fn versions<'a>(
        &'a self,
        kind: ObjectKind,
        prefix: &'a str,
        after: Option<(String, String)>,
    ) -> BoxFuture<'a, Result<Option<VersionPage>, StoreError>> {
        self.0.versions(kind, prefix, after)
    }

    fn version_lock<'a>(
        &'a self,
        kind: ObjectKind,
        version: &'a ObjectVersion,
    ) -> BoxFuture<'a, Result<Option<VersionLock>, StoreError>> {
        self.0.held(kind, version)
    }

    fn written_at<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<UnixNanos>, StoreError>> {
        self.0.under().written_at(kind, name)
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
    /// Layout for processes started from now on.
    pub layout: ObjectLayout,
}

/// One process of the gateway.
pub fn process<J: UploadJournal + 'static, S: VaultStore + 'static>(
    journal: &Arc<J>,
    store: &Arc<S>,
    clock: &Arc<ManualClock>,
    epoch: u32,
    signer: &Arc<SigningKey>,
) -> (Arc<VaultWriter>, VaultTicketer, Uploader) {
    process_of(journal, store, clock, ObjectNames::new("", "gw", &format!("E{epoch:04}")), epoch, signer)
}

/// The same with these names.
fn process_of<J: UploadJournal + 'static, S: VaultStore + 'static>(
    journal: &Arc<J>,
    store: &Arc<S>,
    clock: &Arc<ManualClock>,
    names: ObjectNames,
    epoch: u32,
    signer: &Arc<SigningKey>,
) -> (Arc<VaultWriter>, VaultTicketer, Uploader) {
    let writer = Arc::new(VaultWriter::new(names, 4000));
    let ticketer = VaultTicketer::new(writer.clone(), UriBase("file:///".into()), "vault".into());
    let parts = UploaderDependencies {
        id: "vault".into(),
        journal: journal.clone(),
        store: store.clone(),
        writer: writer.clone(),
        clock: clock.clone(),
        rng: Arc::new(SeededRng::new(u64::from(epoch))),
        pace: UploadIntervals { object_age: Duration::from_secs(120), index_interval: Duration::from_secs(60) },
        key: signer.clone(),
        made_by: Some(GatewayIdentity::current("the configuration")),
        recipients: Arc::new(|account| AccountRecipients {
            threshold: None,
            of: vec![KeyHolder { key: format!("age1-of-{account}"), tenants: None }],
        }),
    };
    (writer, ticketer, Uploader::new(parts, &Meter::new()))
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
        let (writer, ticketer, uploader) = process(&journal, &store, &clock, 0, &signer);
        let auditor = age::x25519::Identity::generate();
        let recipients = RecipientPolicy::unlimited([auditor.to_public()]);
        let keys = KeyRing::new(Arc::new(AgeKeyGenerator::new(recipients)), 100);
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
            layout,
        }
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
        let names = ObjectNames::new("", "gw", &format!("E{epoch:04}")).with_layout(self.layout);
        (self.writer, self.ticketer, self.uploader) =
            process_of(&self.journal, &self.store, &self.clock, names, epoch, &self.signer);
        self.keys = KeyRing::new(Arc::new(AgeKeyGenerator::new(self.policy())), 100);
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
        let tail = RowTail {
            len: Some(frame.rest().len() as u64),
            item: Some(item),
            kind: Some(RowKind::Payload),
            fragment: Some(id.clone()),
            ct_sha256: Some(kernel::hex::encode(&kernel::sha256::Sha256::digest(frame.rest()))),
            key_id: Some(key.id().to_owned()),
            key_sha256: Some(key.object_sha256().to_owned()),
            commitment: Some(hashes.commitment),
            ..base.clone()
        };
        let action = RowTail { kind: Some(RowKind::Action), ..base };
        let rows = vec![UnnumberedRow::new(&tail, true), UnnumberedRow::new(&action, false)];
        let fragment = SealedFragment {
            id,
            key,
            frame,
            uri_slot: None,
            range_slot: None,
            known_slots: Vec::new(),
            pin: None,
            object_number: Arc::default(),
        };
        let group = DraftGroup {
            scope,
            object_prefix: spot,
            arrived: now,
            end: false,
            fragment: Some(fragment),
            rows,
            leaf_slots: vec![None, None],
        };
        self.ticketer.ticket(Box::new(VaultDraft { account: account.into(), groups: vec![group] })).records
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

    pub async fn verify(&self, options: VerifyOptions) -> VerifyReport {
        let vault = Vault::new(self.store.clone(), "", None);
        let options = VerifyOptions {
            keys: if options.keys.is_empty() { vec![signing_key().public().clone()] } else { options.keys },
            now: self.clock.now(),
            ..options
        };
        verify(&vault, &options, &mut |_| {}).await.expect("verified")
    }

    /// Verifies with everything that an auditor has.
    pub async fn audit(&self) -> VerifyReport {
        self.verify(VerifyOptions { auditors: vec![self.auditor.clone()], ..VerifyOptions::default() }).await
    }

    /// The first object whose name has these parts.
    pub fn name(&self, parts: &[&str]) -> String {
        let objects = self.store.0.lock();
        let name = objects.keys().find(|name| parts.iter().all(|part| name.contains(part)));
        name.unwrap_or_else(|| panic!("{parts:?} in {:?}", objects.keys())).clone()
    }

    pub fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut objects = self.store.0.lock();
        let mut bytes = objects.get(name).expect("there").to_vec();
        change(&mut bytes);
        objects.insert(name.to_owned(), bytes.into());
    }

    pub fn remove(&self, name: &str) {
        self.store.0.lock().remove(name).expect("there");
    }

    /// Changes a digest and signs it with `key`.
    pub fn resign(&self, name: &str, key: &SigningKey, change: impl FnOnce(&mut ChainDigest)) {
        let bytes = self.store.0.lock().get(name).cloned().expect("there");
        let mut digest: ChainDigest = serde_json::from_slice(&bytes).expect("a digest");
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
        let mut objects = self.store.0.lock();
        objects.insert(format!("{name}.sig"), key.sign(&json).to_vec().into());
        objects.insert(name.to_owned(), json.into());
    }
}
