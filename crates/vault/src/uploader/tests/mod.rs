mod damage;
mod idle;
mod totals;

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::index_row::{IndexRow, RowTail, UnnumberedRow};
use crate::key_ring::KeyRing;
use crate::object_names::{FragmentScope, ObjectNames};
use crate::recipients::{ContentOwner, ContentTenant};
use crate::spool_record::{FragmentHeader, SealHeader};
use crate::testing::gateway::{self, PlainKeys};
use crate::testing::journal::{FakeJournal, NOON, signing_key};
use crate::ticket::{SealedFragment, VaultTicketer};
use kernel::clock::ManualClock;
use kernel::rng::SeededRng;
use pipeline::spool::{RecordKind, StoredRecord};

/// An in-memory store that records the order of puts and fails on request.
#[derive(Default)]
struct FakeStore(Mutex<StoreState>);

#[derive(Default)]
struct StoreState {
    objects: BTreeMap<String, Bytes>,
    order: Vec<(ObjectKind, String)>,
    /// Faults of the next attempts.
    faults: std::collections::VecDeque<Fault>,
    differed: bool,
    /// How long each put takes.
    time: Option<(Arc<ManualClock>, Duration)>,
}

#[derive(Clone, Copy)]
enum Fault {
    /// Not written.
    Refused,
    /// Written, but the answer is lost.
    Lost,
    /// The credential is wrong.
    Denied,
}

impl VaultStore for FakeStore {
    fn put_once<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
        bytes: Bytes,
        _: UnixNanos,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        let mut state = self.0.lock();
        let fault = state.faults.pop_front();
        let time = state.time.clone();
        let result = match (fault, state.objects.get(name)) {
            (Some(Fault::Refused), _) => Err(StoreError::Unavailable("refused".to_owned())),
            (Some(Fault::Denied), _) => Err(StoreError::Denied("403".to_owned())),
            (_, Some(there)) if *there == bytes => Ok(PutOutcome::Exists),
            (_, Some(_)) => {
                state.differed = true;
                Err(StoreError::Differs)
            }
            (fault, None) => {
                state.objects.insert(name.to_owned(), bytes);
                state.order.push((kind, name.to_owned()));
                match fault {
                    Some(_) => Err(StoreError::Unavailable("lost".to_owned())),
                    None => Ok(PutOutcome::Written),
                }
            }
        };
        Box::pin(async move {
            time.into_iter().for_each(|(clock, time)| clock.advance(time));
            result
        })
    }
}

/// A gateway: one process at a time over one journal and one store.
struct World {
    journal: Arc<FakeJournal>,
    store: Arc<FakeStore>,
    clock: Arc<ManualClock>,
    rng: SeededRng,
    meter: Meter,
    epochs: u32,
    keys: KeyRing,
    writer: Arc<VaultWriter>,
    ticketer: VaultTicketer,
    uploader: Uploader,
    sent: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let (journal, store, clock) = (Arc::default(), Arc::default(), ManualClock::at(NOON));
        let meter = Meter::new();
        let (writer, ticketer, uploader) = process(&journal, &store, &clock, 0, &meter);
        let keys = ring(seed);
        let rng = SeededRng::new(seed);
        Self { journal, store, clock, meter, rng, epochs: 0, keys, writer, ticketer, uploader, sent: 0 }
    }

    /// Crashes and restarts; only some of the last marks are durable.
    fn crash(&mut self) {
        let kept = usize::try_from(self.rng.next() % 8).expect("small");
        self.journal.crash(kept);
        self.epochs += 1;
        self.meter = Meter::new();
        (self.writer, self.ticketer, self.uploader) =
            process(&self.journal, &self.store, &self.clock, self.epochs, &self.meter);
        self.keys = ring(self.rng.next());
    }

    fn send(&mut self, session: &str, size: usize, end: bool) {
        let scope = Arc::new(FragmentScope {
            account: "default".into(),
            tenant: "acme".into(),
            session: session.into(),
            date: crate::object_names::date(self.clock.now()),
        });
        let key = self
            .keys
            .key(&scope, ContentOwner { account: "default", tenant: ContentTenant::Named(None) }, NOON)
            .expect("key");
        let id = format!("{:08}", self.sent);
        self.sent += 1;
        let spot = self.writer.names().object_prefix(&scope, self.clock.now(), None);
        let mut frame = SealedFragment::empty_frame(self.writer.names(), &spot, key.id(), &id);
        frame.rest_mut().extend_from_slice(format!("<{id}:{}>", "x".repeat(size)).as_bytes());
        let tail = RowTail { fragment: Some(id.clone()), ..RowTail::default() };
        let rows = vec![UnnumberedRow::new(&tail, true), UnnumberedRow::new(&RowTail::default(), false)];
        let fragment = gateway::fragment(id, key, frame);
        let mut draft = gateway::draft(self.writer.names(), "default", &scope, self.clock.now(), Some(fragment), rows);
        draft.groups[0].end = end;
        let ticketed = self.ticketer.ticket(Box::new(draft));
        for record in ticketed.records {
            self.journal.append(record.kind, "default", record.body);
        }
    }

    async fn settle(&mut self) {
        for _ in 0..200 {
            self.clock.advance(Duration::from_secs(61));
            self.uploader.step().await;
        }
        // lines due in the last interval
        self.steps(5).await;
    }

    async fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.uploader.step().await;
        }
    }

    /// Every committed fragment is in the place that its header names; keys precede objects, objects precede index
    /// lines; every leaf is in the index once.
    fn check(&self) {
        assert_eq!(self.check_whole() as u64, 2 * self.sent, "a leaf is missing");
    }

    /// The same for everything that is not damaged; returns the number of leaves in the index.
    fn check_whole(&self) -> usize {
        let (journal, store) = (self.journal.0.lock(), self.store.0.lock());
        let whole = |stored: &&StoredRecord| !journal.damaged.contains(&stored.seq);
        assert!(!store.differed, "an attempt had other bytes than the one before");
        let at: HashMap<&str, usize> =
            store.order.iter().enumerate().map(|(at, (_, name))| (name.as_str(), at)).collect();
        let keys_lost = journal.records.iter().any(|stored| stored.kind == RecordKind::Key && !whole(&stored));
        for stored in journal.records.iter().filter(whole).filter(|stored| stored.kind == RecordKind::Fragment) {
            let (header, rest): (FragmentHeader, _) = spool_record::unpack(&stored.body).expect("fragment");
            let object = store.objects.get(&header.object).unwrap_or_else(|| panic!("{} is missing", header.object));
            let start = usize::try_from(header.offset).expect("small");
            assert_eq!(object.slice(start..start + rest.len()), rest, "{}", header.object);
            match at.iter().find(|(name, _)| name.ends_with(&format!("/{}.age", header.key))) {
                Some(key) => assert!(*key.1 < at[header.object.as_str()], "keys first"),
                None => assert!(keys_lost, "its key is missing"),
            }
        }
        let mut sealed = HashMap::new();
        for stored in journal.records.iter().filter(whole).filter(|stored| stored.kind == RecordKind::Seal) {
            let (header, _): (SealHeader, _) = spool_record::unpack(&stored.body).expect("seal");
            if let Some(before) = sealed.insert(header.name.clone(), header.claims.clone()) {
                let allowed = !journal.damaged.is_empty() && before == header.claims;
                assert!(allowed, "{} was sealed twice", header.name);
            }
        }
        let (mut leaves, mut gaps): (BTreeMap<(String, u64), usize>, usize) = (BTreeMap::new(), 0);
        for (name, bytes) in store.objects.iter().filter(|(name, _)| name.contains("index/v1/account=default/dt=")) {
            let lines = zstd::decode_all(&bytes[..]).expect("zstd");
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let row: IndexRow = serde_json::from_slice(line).expect("row");
                let epoch = name.rsplit('-').nth(1).expect("epoch").to_owned();
                // in a chain that abandoned its epoch, lines have the old one
                let epoch = if row.tail.epoch.is_empty() { epoch } else { row.tail.epoch.clone() };
                *leaves.entry((epoch, row.leaf)).or_default() += 1;
                gaps += usize::from(row.tail.kind == Some(crate::index_row::RowKind::Gap));
                if let Some(object) = row.object_key {
                    match at.get(object.as_str()) {
                        Some(object) => assert!(*object < at[name.as_str()], "objects before their lines"),
                        None => assert!(!journal.damaged.is_empty(), "{object} is missing"),
                    }
                }
            }
        }
        assert!(leaves.values().all(|count| *count == 1), "a leaf is in the index twice");
        leaves.len() - gaps
    }
}

fn ring(first: u64) -> KeyRing {
    KeyRing::new(Arc::new(PlainKeys(first.into())), 100)
}

fn process<S: VaultStore + 'static>(
    journal: &Arc<FakeJournal>,
    store: &Arc<S>,
    clock: &Arc<ManualClock>,
    epoch: u32,
    meter: &Meter,
) -> (Arc<VaultWriter>, VaultTicketer, Uploader) {
    let writer = VaultWriter::new(ObjectNames::new("p", "gw", &format!("E{epoch:04}")), 1000);
    gateway::process(journal, store, clock, writer, &Arc::new(signing_key()), meter)
}

/// Kinds of the written objects in order, without the chain.
fn kinds(world: &World) -> Vec<ObjectKind> {
    let order = &world.store.0.lock().order;
    order.iter().map(|(kind, _)| *kind).filter(|kind| *kind != ObjectKind::Chain).collect()
}

/// An object stays open until it is old, full or its session ends, which closes it at once; then key, object and index
/// are written in this order.
#[tokio::test]
async fn keys_then_objects_then_index() {
    let mut world = World::new(1);
    world.send("a", 10, false);
    world.send("a", 10, false);
    world.steps(5).await;
    assert_eq!(kinds(&world), [ObjectKind::Key], "the object is open, its key needs no waiting");
    world.clock.advance(Duration::from_secs(121));
    world.steps(5).await;
    assert_eq!(kinds(&world), [ObjectKind::Key, ObjectKind::Payload]);
    world.settle().await;
    assert_eq!(kinds(&world), [ObjectKind::Key, ObjectKind::Payload, ObjectKind::Index]);
    world.check();
    assert!(world.journal.waiting_kinds().is_empty());
    let mut ended = World::new(2);
    ended.send("a", 10, false);
    ended.send("a", 10, true);
    ended.steps(5).await;
    assert_eq!(kinds(&ended), [ObjectKind::Key, ObjectKind::Payload], "no time went by");
}

/// During an outage no record is marked done and attempts back off; afterwards everything is stored.
#[tokio::test]
async fn an_outage_loses_nothing() {
    let mut world = World::new(3);
    world.store.0.lock().faults.extend([Fault::Denied; 5].into_iter().chain([Fault::Refused; 60]));
    for n in 0..50 {
        world.send(&format!("s{}", n % 7), 300, false);
        world.uploader.step().await;
    }
    assert!(world.store.0.lock().faults.len() > 40, "attempts must not hammer a store that fails");
    assert!(kinds(&world).is_empty());
    assert_eq!(world.journal.0.lock().done.len(), 0, "nothing is done before it is stored");
    world.settle().await;
    world.settle().await;
    world.check();
    assert!(world.journal.waiting_kinds().is_empty());
}

/// Each write of an object is timed under the store's answer, for as long as the store takes.
#[tokio::test]
async fn puts_are_timed_by_outcome() {
    let mut world = World::new(3);
    world.store.0.lock().time = Some((Arc::clone(&world.clock), Duration::from_secs(3)));
    world.store.0.lock().faults.extend([Fault::Denied, Fault::Refused, Fault::Lost]);
    world.send("a", 300, true);
    world.settle().await;
    world.check();
    let metrics = world.meter.render();
    let puts = |end: &str, outcome: &str| {
        let name = format!("tollgate_vault_put_duration_seconds_{end}{{processor=\"vault\",outcome=\"{outcome}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok());
        line.unwrap_or_else(|| panic!("{name}\n{metrics}"))
    };
    // the store has the object whose answer was lost
    assert_eq!(["denied", "retry", "exists"].map(|outcome| puts("count", outcome)), [1.0, 2.0, 1.0]);
    // an object, an index object, a signature and a digest
    assert!(puts("count", "written") >= 4.0, "{metrics}");
    for outcome in ["denied", "retry", "exists", "written"] {
        assert_eq!(puts("sum", outcome), 3.0 * puts("count", outcome), "{outcome}");
    }
}

/// A drain writes open objects and one index object; with a dead store it ends and leaves the rest in the spool.
#[tokio::test]
async fn a_drain_ends() {
    let mut world = World::new(4);
    for n in 0..20 {
        world.send(&format!("s{n}"), 10, false);
    }
    world.store.0.lock().faults.extend([Fault::Refused; 60]);
    assert!(!world.uploader.drain().await, "the store is dead");
    assert!(!world.journal.waiting_kinds().is_empty());
    world.store.0.lock().faults.clear();
    assert!(world.uploader.drain().await);
    assert_eq!(kinds(&world).iter().filter(|kind| **kind == ObjectKind::Index).count(), 1);
    world.check();
    assert!(world.journal.waiting_kinds().is_empty());
}

/// A full spool without room for seals recovers by itself.
#[tokio::test]
async fn seals_wait_for_room() {
    let mut world = World::new(5);
    world.send("a", 2000, false);
    world.journal.0.lock().full = true;
    world.settle().await;
    assert_eq!(kinds(&world), [ObjectKind::Key], "no object without its seal");
    world.journal.0.lock().full = false;
    world.settle().await;
    world.check();
}

/// Any order of sending, crashing, losing marks, failing and losing answers ends with everything stored once.
#[tokio::test]
async fn crashes_and_faults_lose_nothing() {
    for seed in 0..120 {
        let mut world = World::new(seed);
        for _ in 0..60 {
            match world.rng.next() % 16 {
                0 => world.crash(),
                1..=3 => {
                    let fault = [Fault::Refused, Fault::Lost, Fault::Lost]
                        [usize::try_from(world.rng.next() % 3).expect("small")];
                    world.store.0.lock().faults.push_back(fault);
                }
                4 => world.clock.advance(Duration::from_secs(130)),
                5..=9 => {
                    world.uploader.step().await;
                }
                10 => {
                    let mut journal = world.journal.0.lock();
                    journal.synced = journal.done.len();
                }
                11 => world.clock.advance(Duration::from_secs(7 * 3600)),
                n => {
                    let size = usize::try_from(world.rng.next() % 500).expect("small");
                    let session = format!("s{}", world.rng.next() % 4);
                    world.send(&session, size, n >= 14);
                }
            }
        }
        world.crash();
        world.store.0.lock().faults.clear();
        world.settle().await;
        assert!(world.uploader.drain().await, "seed {seed}: {:?} left", world.journal.waiting_kinds());
        world.check();
        assert!(world.journal.waiting_kinds().is_empty(), "seed {seed}");
    }
}

/// An object that someone else wrote neither blocks others nor is mistaken for the writer's: the writer's own goes
/// under an alternative name.
#[tokio::test]
async fn a_foreign_object_holds_up_nobody_else() {
    let mut world = World::new(6);
    world.send("a", 10, true);
    let name = {
        let journal = world.journal.0.lock();
        let fragment = journal.records.iter().find(|stored| stored.kind == RecordKind::Fragment).expect("fragment");
        let (header, _): (FragmentHeader, _) = spool_record::unpack(&fragment.body).expect("header");
        header.object
    };
    world.store.0.lock().objects.insert(name.clone(), Bytes::from_static(b"foreign"));
    for n in 0..10 {
        world.send(&format!("s{n}"), 10, true);
    }
    world.settle().await;
    assert!(world.uploader.drain().await);
    assert!(world.journal.waiting_kinds().is_empty());
    let store = world.store.0.lock();
    assert_eq!(store.objects.get(&name).map(|bytes| &bytes[..]), Some(&b"foreign"[..]));
    let beside = |other: &&String| crate::object_names::is_alternative_name(&name, other);
    assert_eq!(store.objects.keys().filter(beside).count(), 1);
    assert_eq!(store.order.iter().filter(|(kind, _)| *kind == ObjectKind::Payload).count(), 11);
}

/// Fragments dropped by an operator don't change the promised ranges of the others.
#[tokio::test]
async fn dropped_records_do_not_move_others() {
    let mut world = World::new(7);
    world.send("a", 10, false);
    world.send("a", 10, false);
    {
        let mut journal = world.journal.0.lock();
        let first = journal.records.iter().find(|stored| stored.kind == RecordKind::Fragment).expect("one").seq;
        journal.done.push(first);
        journal.synced = 1;
    }
    world.crash();
    world.settle().await;
    {
        // waiting lines that are dropped block nothing
        world.send("b", 10, true);
        world.uploader.step().await;
        let mut journal = world.journal.0.lock();
        let leaf = journal.records.iter().rfind(|stored| stored.kind == RecordKind::Leaf).expect("one").seq;
        journal.done.push(leaf);
    }
    world.settle().await;
    assert!(world.journal.waiting_kinds().is_empty());
    let store = world.store.0.lock();
    let object =
        store.objects.iter().find(|(name, _)| name.contains("/a/") && name.ends_with(".agev")).expect("object").1;
    assert!(object.ends_with(b"<00000001:xxxxxxxxxx>") && object.starts_with(b"\0\0"));
}

/// A store over HTTP.
async fn s3(fake: &fakes::fake_s3::FakeS3) -> Arc<crate::store::S3Store> {
    let buckets = gateway::s3_settings(Some(fake.url()));
    let settings = crate::store::settings::S3Settings { key_bucket: buckets.bucket.clone(), ..buckets };
    let secret = kernel::secret::Secret::new(fakes::fake_s3::KEYS.1.into());
    let store =
        crate::store::S3Store::with_credentials(settings, fakes::fake_s3::KEYS.0, &secret).await.expect("store");
    Arc::new(store)
}

/// Over real HTTP, with conflicts, throttling, lost answers, a refused credential and a crash: every object is written
/// once, with the same bytes, and the writer makes only puts.
#[tokio::test]
async fn s3_faults_lose_nothing() {
    use fakes::fake_s3::{FakeS3, Fault as S3Fault};
    let fake = FakeS3::start(false).await;
    let store = s3(&fake).await;
    let mut world = World::new(11);
    for round in 0..3 {
        (world.writer, world.ticketer, world.uploader) =
            process(&world.journal, &store, &world.clock, round, &world.meter);
        world.keys = ring(u64::from(round) << 32);
        for n in 0..6 {
            world.send(&format!("s{}", n % 3), 100, n == 5);
        }
        let faults =
            [S3Fault::Conflict, S3Fault::LostAnswer, S3Fault::SlowDown, S3Fault::LostAnswer, S3Fault::AccessDenied];
        fake.state.lock().faults.extend(faults);
        for _ in 0..4 {
            world.clock.advance(Duration::from_secs(61));
            world.uploader.step().await;
        }
        world.journal.crash(0);
    }
    (world.writer, world.ticketer, world.uploader) = process(&world.journal, &store, &world.clock, 9, &world.meter);
    fake.state.lock().faults.clear();
    world.settle().await;
    assert!(
        world.journal.waiting_kinds().is_empty(),
        "{:?} {:?}",
        world.journal.waiting_kinds(),
        fake.state.lock().log
    );
    let state = fake.state.lock();
    for stored in world.journal.0.lock().records.iter().filter(|stored| stored.kind == RecordKind::Fragment) {
        let (header, rest): (FragmentHeader, _) = spool_record::unpack(&stored.body).expect("fragment");
        let object = &state.objects[&("audit-logs".to_owned(), header.object)];
        let start = usize::try_from(header.offset).expect("small");
        assert_eq!(object.bytes.slice(start..start + rest.len()), rest);
    }
    assert!(state.log.iter().all(|line| line.starts_with("PutObject ")));
}

/// Someone who throttles the store and takes a name before the retry causes no loss of a key or content: a rejected
/// attempt has written nothing, so an existing object must be another party's.
#[tokio::test]
async fn a_name_taken_behind_a_throttled_attempt_loses_nothing() {
    use fakes::fake_s3::{FakeS3, Fault as S3Fault, Stored as InS3};
    let fake = FakeS3::start(false).await;
    let store = s3(&fake).await;
    let mut world = World::new(12);
    (world.writer, world.ticketer, world.uploader) = process(&world.journal, &store, &world.clock, 0, &world.meter);
    world.send("a", 10, true);
    let mut taken = Vec::new();
    for kind in ["/keys/", ".agev"] {
        if kind == ".agev" {
            // the key, under its alternative name
            world.uploader.step().await;
        }
        fake.state.lock().faults.push_back(S3Fault::SlowDown);
        for _ in 0..20 {
            world.uploader.step().await;
            let name = fake.state.lock().log.last().cloned().filter(|line| line.contains(kind));
            let Some(name) = name else { continue };
            let key = name.strip_prefix("PutObject audit-logs ").expect("a put").to_owned();
            let junk = Bytes::from_static(b"planted");
            let planted = InS3 { bytes: junk, lock: None, until: None, written: 0, archived: false };
            fake.state.lock().objects.insert(("audit-logs".to_owned(), key.clone()), planted);
            taken.push(key);
            break;
        }
        assert!(fake.state.lock().faults.is_empty(), "{kind}: nothing was turned away");
        world.clock.advance(Duration::from_secs(2));
        world.uploader.step().await;
    }
    assert_eq!(taken.len(), 2, "{:?}", fake.state.lock().log);
    world.settle().await;
    assert!(world.journal.waiting_kinds().is_empty());
    let state = fake.state.lock();
    for name in &taken {
        let there = |key: &str| state.objects[&("audit-logs".to_owned(), key.to_owned())].bytes.clone();
        assert_eq!(&there(name)[..], b"planted");
        let stem = name.rsplit_once('.').expect("an ending").0;
        let beside: Vec<_> = state.objects.keys().filter(|(_, key)| key.starts_with(stem) && key != name).collect();
        assert_eq!(beside.len(), 1, "{name}: {:?}", state.objects.keys());
        assert_ne!(&there(&beside[0].1)[..], b"planted");
    }
}
