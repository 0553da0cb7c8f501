//! Stores for the suite's vault, and the actions of an attacker with every right on them.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::*;
use crate::location::VaultLocation;
use kernel::clock::SystemClock;
use kernel::secret::Secret;
use vault::store::settings::{LockMode, ObjectLock, S3Settings};
use vault::store::{DirectoryStore, ObjectVersion, S3Store, VersionLock, VersionPage};
use vault::testing::vandal::Vandal;

/// An action on a name.
#[derive(Clone)]
pub(super) enum Deed {
    /// Writes these bytes over any existing object.
    Write(Bytes),
    /// Deletes the object: in S3 a marker hides it.
    Delete,
    /// Destroys the object with every version.
    Destroy,
}

/// A store for the vault.
pub(super) enum Ground {
    Memory(Arc<Memory>),
    Folder(tempfile::TempDir, Arc<Once>),
    S3(Box<Bucket>),
}

/// Buckets that contain only the vault. Everything is locked under governance, which the vandal may bypass, so that
/// changes can be reverted.
pub(super) struct Bucket {
    vandal: Vandal,
    reader: Arc<Once>,
    /// Versions that the gateway wrote.
    own: HashMap<String, String>,
}

/// Reads unchanged objects once; otherwise a nightly run would request them again for every change.
pub(super) struct Once {
    store: Arc<dyn VaultReader>,
    read: Mutex<HashMap<String, Answers>>,
    held: Mutex<HashMap<(String, String), VersionLock>>,
}

/// A read of a name: its bucket, a range.
type Asked = (ObjectKind, Option<(u64, u64)>);

type Answers = HashMap<Asked, Result<Bytes, StoreError>>;

impl Once {
    fn new(store: impl VaultReader + 'static) -> Arc<Self> {
        Arc::new(Self { store: Arc::new(store), read: Mutex::default(), held: Mutex::default() })
    }
}

impl VaultReader for Once {
    fn get<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
        range: Option<(u64, u64)>,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let known = self.read.lock().get(name).and_then(|asked| asked.get(&(kind, range)).cloned());
            if let Some(known) = known {
                return known;
            }
            let read = self.store.get(kind, name, range).await;
            self.read.lock().entry(name.to_owned()).or_default().insert((kind, range), read.clone());
            read
        })
    }

    fn list<'a>(&'a self, kind: ObjectKind, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        self.store.list(kind, prefix)
    }

    fn versions<'a>(
        &'a self,
        kind: ObjectKind,
        prefix: &'a str,
        after: Option<(String, String)>,
    ) -> BoxFuture<'a, Result<Option<VersionPage>, StoreError>> {
        self.store.versions(kind, prefix, after)
    }

    fn written_at<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<UnixNanos>, StoreError>> {
        self.store.written_at(kind, name)
    }

    fn version_lock<'a>(
        &'a self,
        kind: ObjectKind,
        version: &'a ObjectVersion,
    ) -> BoxFuture<'a, Result<Option<VersionLock>, StoreError>> {
        Box::pin(async move {
            let key = (version.name.clone(), version.id.clone());
            let known = self.held.lock().get(&key).copied();
            if known.is_some() {
                return Ok(known);
            }
            let held = self.store.version_lock(kind, version).await?;
            held.map(|held| self.held.lock().insert(key, held));
            Ok(held)
        })
    }
}

/// The bucket for an object of this name.
fn bucket_of(name: &str) -> ObjectKind {
    if name.starts_with("keys/") || name.starts_with("holds/") { ObjectKind::Key } else { ObjectKind::Payload }
}

impl Ground {
    pub(super) fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    pub(super) fn folder() -> Self {
        let folder = tempfile::tempdir().expect("scratch");
        let once = Once::new(DirectoryStore::new(folder.path()));
        Self::Folder(folder, once)
    }

    /// The server described by this line, which `tests/peers/versitygw/run.sh` prints; the contents of its buckets are
    /// removed.
    pub(super) async fn s3(line: &str) -> Self {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        let settings = S3Settings {
            bucket: text(&line["buckets"][0]),
            key_bucket: text(&line["buckets"][1]),
            prefix: String::new(),
            region: text(&line["region"]),
            endpoint: Some(text(&line["endpoint"])),
            force_path_style: true,
            lock: Some(ObjectLock { mode: LockMode::Governance, retention: Duration::from_secs(3650 * 86_400) }),
            ca_file: None,
        };
        let (key, secret) = (text(&line["access_key"]), Secret::new(text(&line["secret_key"])));
        let store = async || S3Store::with_credentials(settings.clone(), &key, &secret).await.expect("a store");
        let vandal = Vandal(store().await);
        for kind in [ObjectKind::Key, ObjectKind::Payload] {
            for version in vandal.versions(kind, "").await.expect("listed") {
                vandal.destroy(kind, &version).await.expect("removed");
            }
        }
        let reader = Once::new(store().await);
        Self::S3(Box::new(Bucket { vandal, reader, own: HashMap::new() }))
    }

    /// The same with every object of a vault.
    pub(super) async fn filled(mut self, whole: &Whole) -> Self {
        match &mut self {
            Self::Memory(store) => *store.0.lock() = whole.objects.clone(),
            Self::Folder(..) => {
                for (name, bytes) in &whole.objects {
                    self.change(name, &[Deed::Write(bytes.clone())]).await;
                }
            }
            Self::S3(bucket) => {
                for (name, bytes) in &whole.objects {
                    bucket.put(name, bytes).await;
                }
            }
        }
        self
    }

    pub(super) fn has_versions(&self) -> bool {
        matches!(self, Self::S3(_))
    }

    /// Time of verification: a day after this store dated its objects, so that no object counts as recent.
    pub(super) fn now(&self, whole: &Whole) -> UnixNanos {
        match self {
            Self::Memory(_) => whole.site.clock.now(),
            Self::Folder(..) | Self::S3(_) => SystemClock::default().now().plus(Duration::from_secs(86_400)),
        }
    }

    pub(super) fn vault(&self) -> Vault {
        match self {
            Self::Memory(store) => Vault::new(store.clone(), "", None),
            Self::Folder(_, once) => Vault::new(once.clone(), "", None),
            Self::S3(bucket) => bucket.vault(),
        }
    }

    /// Performs these actions on a name, in order.
    pub(super) async fn change(&self, name: &str, deeds: &[Deed]) {
        for deed in deeds {
            match (self, deed) {
                (Self::Memory(store), Deed::Write(bytes)) => {
                    drop(store.0.lock().insert(name.to_owned(), bytes.clone()))
                }
                (Self::Memory(store), _) => drop(store.0.lock().remove(name)),
                (Self::Folder(folder, once), Deed::Write(bytes)) => {
                    let path = folder.path().join(name);
                    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                    std::fs::write(path, bytes).expect("written");
                    once.read.lock().remove(name);
                }
                (Self::Folder(folder, once), _) => {
                    drop(std::fs::remove_file(folder.path().join(name)));
                    once.read.lock().remove(name);
                }
                (Self::S3(bucket), deed) => bucket.change(name, deed).await,
            }
        }
    }

    /// Restores a name to the gateway's bytes, if the gateway wrote it.
    pub(super) async fn restore(&mut self, name: &str, bytes: Option<&Bytes>) {
        let deed = bytes.map_or(Deed::Delete, |bytes| Deed::Write(bytes.clone()));
        match self {
            Self::S3(bucket) => bucket.restore(name, bytes).await,
            plain => plain.change(name, &[deed]).await,
        }
    }
}

impl Bucket {
    fn vault(&self) -> Vault {
        let settings = self.vandal.0.settings();
        let (store, keys) = (format!("s3://{}", settings.bucket), Some(settings.key_bucket.clone()));
        let mut vault =
            Vault::from_location(&VaultLocation { store, keys, ..VaultLocation::default() }).expect("a vault");
        vault.reader = self.reader.clone();
        vault
    }

    /// Writes like the gateway, with a lock.
    async fn put(&mut self, name: &str, bytes: &Bytes) {
        let kind = bucket_of(name);
        let put = self.vandal.0.put_once(kind, name, bytes.clone(), NOON).await;
        assert_eq!(put, Ok(PutOutcome::Written), "{name}");
        let version = self.versions(name).await.into_iter().next().expect("a version");
        self.own.insert(name.to_owned(), version.id);
    }

    async fn versions(&self, name: &str) -> Vec<ObjectVersion> {
        let all = self.vandal.versions(bucket_of(name), name).await.expect("listed");
        all.into_iter().filter(|version| version.name == name).collect()
    }

    async fn change(&self, name: &str, deed: &Deed) {
        let kind = bucket_of(name);
        match deed {
            Deed::Write(bytes) => self.vandal.overwrite(kind, name, bytes.clone()).await.expect("written"),
            Deed::Delete => self.vandal.hide(kind, name).await.expect("hidden"),
            Deed::Destroy => {
                for version in self.versions(name).await {
                    self.vandal.destroy(kind, &version).await.expect("destroyed");
                }
            }
        }
        self.reader.read.lock().remove(name);
    }

    async fn restore(&mut self, name: &str, bytes: Option<&Bytes>) {
        let mut is_there = false;
        for version in self.versions(name).await {
            match self.own.get(name) == Some(&version.id) {
                true => is_there = true,
                false => self.vandal.destroy(bucket_of(name), &version).await.expect("destroyed"),
            }
        }
        if let (Some(bytes), false) = (bytes, is_there) {
            self.put(name, bytes).await;
        }
        self.reader.read.lock().remove(name);
    }
}
