//! A folder that lets its oldest content expire when it is full.

use std::time::SystemTime;

use pipeline::OnFullAction;
use serde_json::json;

use super::*;
use crate::object_names::rfc3339;

const NOON: UnixNanos = UnixNanos(1_795_168_800_000_000_000);
const LINES: &str = "index/v1/account=default/dt=2026-11-20/gw-E-0000000000.ndjson.zst";

fn minute(minute: u64) -> UnixNanos {
    NOON.plus(Duration::from_secs(60 * minute))
}

/// A folder of 100,000 bytes.
struct Folder {
    folder: tempfile::TempDir,
    store: DirectoryStore,
}

impl Folder {
    fn new(on_full: OnFullAction) -> Self {
        let folder = scratch();
        let limits = DirectoryLimits { max_size: Some(100_000), on_full, ..DirectoryLimits::default() };
        let store = DirectoryStore::new(folder.path()).with_limits(limits);
        Self { folder, store }
    }

    async fn put(&self, kind: ObjectKind, name: &str, bytes: Vec<u8>) -> Result<PutOutcome, StoreError> {
        self.store.put_once(kind, name, bytes.into(), NOON).await
    }

    /// Writes payload of 10,000 bytes, and a digest of this minute that names it, of a gateway or of an eraser.
    async fn store(&self, number: u64, of_gateway: bool) -> Result<PutOutcome, StoreError> {
        let stored = self.put(ObjectKind::Payload, &payload(number), vec![7; 10_000]).await;
        self.digest(number, of_gateway, &[&payload(number)]).await;
        stored
    }

    async fn digest(&self, number: u64, of_gateway: bool, names: &[&str]) {
        let objects: Vec<_> =
            names.iter().map(|name| json!({"key": name, "version_id": null, "size": 1, "sha256": ""})).collect();
        let index = (number == 1)
            .then(|| json!({"key": LINES, "version_id": null, "sha256": "", "first_leaf": 0, "leaves": 1}));
        let made_by = of_gateway.then(|| json!({"version": "1", "configuration": ""}));
        let at = rfc3339(minute(number));
        let digest = json!({"v": 1, "account": "default", "writer": "gw", "epoch": "E", "n": number, "start": at, "end": at,
            "prev": null, "tree_size": 0, "root": "", "index": index, "objects": objects, "made_by": made_by, "note": "",
            "counters": {"acked": 0, "uploaded": 0, "pending": 0, "gaps": 0, "damaged": 0}});
        let name = format!("chain/default/gw/E/{number:010}.json");
        let put = self.put(ObjectKind::Chain, &name, serde_json::to_vec(&digest).expect("json")).await;
        assert_eq!(put, Ok(PutOutcome::Written), "digests always have room");
        self.date(&name, minute(number));
    }

    fn date(&self, name: &str, written: UnixNanos) {
        let file = std::fs::File::options().write(true).open(self.folder.path().join(name)).expect("file");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_nanos(written.0)).expect("dated");
    }

    /// The numbers of the payload objects that are left.
    async fn left(&self) -> Vec<u64> {
        let names = self.store.list(ObjectKind::Payload, "default/").await.expect("listed");
        names.iter().map(|name| name.rsplit(['-', '.']).nth(1).expect("a number").parse().expect("a number")).collect()
    }

    async fn make_room(&self, declared: Option<UnixNanos>) -> Option<UnixNanos> {
        self.store.make_room(declared).await.expect("room")
    }
}

fn payload(number: u64) -> String {
    format!("default/acme/s/2026-11-20/gw-E-{number:010}.agev")
}

/// Above nine tenths a removal is announced, and nothing is removed before it is declared; then the oldest digests lose
/// their content, until eight tenths are left. Other objects stay, as does what no digest of a gateway names.
#[tokio::test]
async fn the_oldest_content_goes_once_it_is_declared() {
    let folder = Folder::new(OnFullAction::Expire);
    for (name, written) in [
        (LINES, minute(1)),
        ("sessions/v1/account=default/dt=2026-11-20/gw-E-0000000000.ndjson.zst", minute(0)),
        ("keys/default/acme/s/2026-11-20/k.age", minute(0)),
    ] {
        folder.put(ObjectKind::Index, name, vec![7; 100]).await.expect("put");
        folder.date(name, written);
    }
    folder.store(0, false).await.expect("put");
    for number in 1..=7 {
        folder.store(number, true).await.expect("put");
    }
    assert_eq!(folder.make_room(None).await, None, "there is room");
    folder.put(ObjectKind::Payload, &payload(8), vec![7; 8_000]).await.expect("put");
    let announced = folder.make_room(None).await.expect("announced");
    assert_eq!(announced, minute(2).plus(Duration::from_nanos(1)), "what two digests name is enough");
    assert_eq!(folder.make_room(Some(minute(1))).await, Some(announced), "that is too little");
    assert_eq!(folder.left().await, (0..=8).collect::<Vec<_>>(), "nothing is declared");
    assert_eq!(folder.make_room(Some(announced)).await, None);
    assert_eq!(folder.left().await, [0, 3, 4, 5, 6, 7, 8]);
    let others = folder.store.list(ObjectKind::Payload, "").await.expect("listed");
    let kept = |start: &str| others.iter().filter(|name| name.starts_with(start)).count();
    assert_eq!(["index/", "sessions/", "keys/", "chain/"].map(kept), [0, 1, 1, 8]);
    folder.put(ObjectKind::Payload, &payload(9), vec![7; 20_000]).await.expect("put");
    assert_eq!(folder.make_room(Some(announced)).await, Some(minute(4).plus(Duration::from_nanos(1))), "it goes on");
}

/// An object without room gets it, also a large one. A digest that shares an object with the last one goes with it.
/// Without `expire`, nothing is removed.
#[tokio::test]
async fn a_refused_object_gets_room() {
    let folder = Folder::new(OnFullAction::Expire);
    for number in (0..8).filter(|number| *number != 3) {
        folder.store(number, true).await.expect("put");
    }
    folder.put(ObjectKind::Payload, &payload(3), vec![7; 10_000]).await.expect("put");
    folder.digest(3, true, &[&payload(2), &payload(3)]).await;
    let big = async || folder.put(ObjectKind::Payload, &payload(9), vec![7; 35_000]).await;
    assert_eq!((folder.make_room(None).await, big().await), (None, Err(StoreError::Full)));
    let announced = folder.make_room(None).await.expect("announced");
    assert_eq!(
        announced,
        minute(3).plus(Duration::from_nanos(1)),
        "three are enough, but for the object of two digests"
    );
    assert_eq!(folder.make_room(Some(announced)).await, None);
    assert_eq!((folder.left().await, big().await), (vec![4, 5, 6, 7], Ok(PutOutcome::Written)));
    let refusing = Folder::new(OnFullAction::Refuse);
    for number in 0..9 {
        refusing.store(number, true).await.expect("put");
    }
    assert_eq!(refusing.put(ObjectKind::Payload, &payload(9), vec![7; 10_000]).await, Err(StoreError::Full));
    assert_eq!((refusing.make_room(Some(minute(60))).await, refusing.left().await.len()), (None, 9));
}

/// A planted digest removes nothing but content: no key, no digest, and nothing outside.
#[tokio::test]
async fn a_digest_names_content_only() {
    let folder = Folder::new(OnFullAction::Expire);
    let key = "keys/default/acme/s/2026-11-20/k.json.age";
    folder.put(ObjectKind::Key, key, vec![7; 100]).await.expect("put");
    let outside = tempfile::NamedTempFile::with_suffix(".agev").expect("a file");
    let lead_out = format!("../../../../../../../..{}", outside.path().display());
    folder.digest(0, true, &[key, "chain/default/gw/E/0000000000.json", &lead_out]).await;
    for number in 1..=9 {
        folder.store(number, true).await.expect("put");
    }
    folder.make_room(Some(minute(60))).await;
    assert!(folder.left().await.len() < 9, "it removed content");
    assert_eq!(folder.store.list(ObjectKind::Key, "keys/").await.expect("listed"), [key]);
    assert!(outside.path().exists() && folder.folder.path().join("chain/default/gw/E/0000000000.json").exists());
}
