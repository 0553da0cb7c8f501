//! A vault's location ([`VaultLocation`]), read access to the vault ([`Vault`]), and for people who erase content, copy
//! keys or set holds, write access ([`WritableVault`]). No call of `Vault` writes, and no read returns more bytes than
//! an object of its kind can have. Neighbour: `read` interprets objects.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;

use super::error::{ReadError, Result};
use kernel::clock::UnixNanos;
use vault::chain::note::VerifyKey;
use vault::object_names::SIGNATURE_SUFFIX;
use vault::store::kinds::open_address;
use vault::store::settings::{LockMode, ObjectLock, S3Settings};
use vault::store::spec::OpenedStore;
use vault::store::{
    ObjectKind, ObjectVersion, StoreError, VaultEraser, VaultLegalHolds, VaultReader, VaultStore, VersionLock,
    VersionPage,
};

/// Size of the largest digest, bytes: a gateway's digest names the objects of 4 MiB of lines.
const MAX_DIGEST: u64 = 16 << 20;
/// Size of the largest signature, bytes: a gateway's has 64.
const MAX_SIGNATURE: u64 = 4 << 10;

/// A vault's location as the user gives it, in options that every command which reads a vault has.
#[derive(Args, Clone, Debug, Default)]
pub struct VaultLocation {
    /// A folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    pub store: String,
    /// Bucket of the key objects, if it is another one.
    #[arg(long, value_name = "s3://BUCKET")]
    pub keys: Option<String>,
    #[command(flatten)]
    pub access: StoreAccessArgs,
}

/// How to connect to a store in S3.
#[derive(Args, Clone, Debug, Default)]
pub struct StoreAccessArgs {
    /// Region of the buckets.
    #[arg(long, env = "AWS_REGION")]
    pub(crate) region: Option<String>,
    /// Address of an S3-compatible store other than AWS.
    #[arg(long, env = "AWS_ENDPOINT_URL_S3", value_name = "URL", value_parser = parse_server_url)]
    endpoint: Option<String>,
    /// Addresses buckets as `endpoint/bucket/key`.
    #[arg(long)]
    force_path_style: bool,
    /// PEM certificates to trust.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Reads the first version of each object instead of the newest, so that later versions and delete markers have no
    /// effect (S3).
    #[arg(long)]
    first_version: bool,
}

/// Checks an address by the client's rules; an empty variable counts as unset.
pub(crate) fn parse_server_url(text: &str) -> Result<String, String> {
    if !text.is_empty() {
        config::address::parse_url(text)?;
    }
    Ok(text.to_owned())
}

impl StoreAccessArgs {
    /// The location of `store`, a folder or `s3://bucket/prefix`; `keys` is the bucket of key objects if it is another
    /// one.
    pub fn location(&self, store: &str, keys: Option<&str>) -> VaultLocation {
        VaultLocation { store: store.to_owned(), keys: keys.map(str::to_owned), access: self.clone() }
    }
}

impl VaultLocation {
    /// Opens the store; a folder must exist. Objects written to S3 get the lock.
    pub(crate) fn open(&self, first_version: bool, lock: Option<ObjectLock>) -> Result<OpenedStore> {
        if self.store.is_empty() {
            return Err(ReadError::new("give --store: a folder, or s3://bucket/prefix"));
        }
        let access = &self.access;
        let access = S3Settings {
            region: access.region.clone().unwrap_or_default(),
            endpoint: access.endpoint.clone(),
            force_path_style: access.force_path_style,
            ca_file: access.ca_file.clone(),
            lock,
            ..S3Settings::default()
        };
        open_address(&self.store, self.keys.as_deref(), &access, first_version).map_err(ReadError::new)
    }
}

pub struct Vault {
    pub(crate) reader: Arc<dyn VaultReader>,
    /// Prefix of all names; empty, or ends in `/`.
    prefix: String,
    /// Bucket, for references; `None` for a folder.
    bucket: Option<String>,
    /// Whether the location names the bucket of the keys.
    is_key_bucket_given: bool,
    /// Whether keys and hold notes are in a bucket of their own.
    pub(crate) has_separate_key_bucket: bool,
}

impl Vault {
    pub fn new(reader: Arc<dyn VaultReader>, prefix: &str, bucket: Option<String>) -> Self {
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { reader, prefix, bucket, is_key_bucket_given: false, has_separate_key_bucket: false }
    }

    /// The vault at `location`. No I/O yet.
    pub fn from_location(location: &VaultLocation) -> Result<Self> {
        let opened = location.open(location.access.first_version, None)?;
        Ok(Self {
            is_key_bucket_given: location.keys.is_some(),
            has_separate_key_bucket: opened.has_separate_key_bucket,
            ..Self::new(opened.store, &opened.prefix, opened.bucket)
        })
    }

    /// The object's name in a reference: `s3://bucket/name`, `file:///name`, or the plain name.
    pub fn parse_reference<'a>(&self, reference: &'a str) -> Result<&'a str> {
        if let Some(name) = reference.strip_prefix("file://") {
            return Ok(name.trim_start_matches('/'));
        }
        let Some(rest) = reference.strip_prefix("s3://") else { return Ok(reference.trim_start_matches('/')) };
        let (bucket, name) = rest
            .split_once('/')
            .ok_or_else(|| ReadError::new("the reference has no object name: use s3://bucket/name"))?;
        match &self.bucket {
            Some(expected) if expected == bucket => Ok(name),
            Some(expected) => {
                Err(ReadError::new(format!("the reference is to the bucket {bucket}, but --store is {expected}")))
            }
            None => Err(ReadError::new("the reference is to S3, but --store is a folder")),
        }
    }

    /// The full name in the store of an object whose name is given without the prefix.
    pub(crate) fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A name without the prefix; `None` if the name has another start.
    pub(crate) fn relative_name<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(&self.prefix)
    }

    /// Whether keys may be in a bucket that the location does not name.
    pub(crate) fn keys_may_be_elsewhere(&self) -> bool {
        self.bucket.is_some() && !self.is_key_bucket_given
    }

    /// `s3://bucket/prefix`, as commands name the vault; `None` for a folder.
    pub(crate) fn s3_location(&self) -> Option<String> {
        self.bucket.as_ref().map(|bucket| format!("s3://{bucket}/{}", self.prefix).trim_end_matches('/').to_owned())
    }

    /// The prefix of all names, without its trailing slash.
    pub(crate) fn prefix(&self) -> &str {
        self.prefix.strip_suffix('/').unwrap_or(&self.prefix)
    }

    /// A digest or a signature; an object too large to be one is an error.
    pub(crate) async fn try_fetch_chain_object(&self, name: &str) -> Result<Bytes, StoreError> {
        let limit = if name.ends_with(SIGNATURE_SUFFIX) { MAX_SIGNATURE } else { MAX_DIGEST };
        self.fetch_within(ObjectKind::Chain, name, limit).await
    }

    /// A whole object of at most `limit` bytes; a larger one is an error.
    pub(crate) async fn fetch_within(&self, kind: ObjectKind, name: &str, limit: u64) -> Result<Bytes, StoreError> {
        let bytes = self.reader.get(kind, name, Some((0, limit + 1))).await?;
        if bytes.len() as u64 > limit { Err(StoreError::TooLarge) } else { Ok(bytes) }
    }

    /// As [`Self::try_fetch_chain_object`], with a [`ReadError`].
    pub(crate) async fn fetch_chain_object(&self, name: &str) -> Result<Bytes> {
        self.try_fetch_chain_object(name).await.map_err(|error| ReadError::from_object_error(name, &error))
    }

    /// A whole object, for callers that need the store's error rather than a [`ReadError`].
    pub(crate) async fn try_fetch(&self, kind: ObjectKind, name: &str) -> Result<Bytes, StoreError> {
        self.reader.get(kind, name, None).await
    }

    /// When an object was written, by the store's clock; `None` if the store does not report it, or the object is gone.
    pub(crate) async fn fetch_write_time(&self, kind: ObjectKind, name: &str) -> Option<UnixNanos> {
        self.reader.written_at(kind, name).await.ok().flatten()
    }

    /// A page of the versions of names below `prefix`; `None` if the store has no versions.
    pub(crate) async fn list_versions(
        &self,
        kind: ObjectKind,
        prefix: &str,
        after: Option<(String, String)>,
    ) -> Result<Option<VersionPage>> {
        self.reader
            .versions(kind, &self.full_name(prefix), after)
            .await
            .map_err(|error| ReadError::new(error.to_string()))
    }

    /// All versions of names below `prefix`, without delete markers; `None` if the store has no versions.
    pub(crate) async fn list_all_versions(&self, kind: ObjectKind, prefix: &str) -> Result<Option<Vec<ObjectVersion>>> {
        let (mut versions, mut after) = (Vec::new(), None);
        loop {
            let Some(page) = self.list_versions(kind, prefix, after).await? else { return Ok(None) };
            versions.extend(page.versions.into_iter().filter(|version| !version.marker));
            after = page.next;
            if after.is_none() {
                return Ok(Some(versions));
            }
        }
    }

    /// A version's lock; `None` if the store can't lock.
    pub(crate) async fn fetch_lock(&self, kind: ObjectKind, version: &ObjectVersion) -> Result<Option<VersionLock>> {
        self.reader
            .version_lock(kind, version)
            .await
            .map_err(|error| ReadError::from_object_error(&version.name, &error))
    }

    /// An object, or the bytes in `range` (first byte, length).
    pub(crate) async fn fetch(&self, kind: ObjectKind, name: &str, range: Option<(u64, u64)>) -> Result<Bytes> {
        self.reader.get(kind, name, range).await.map_err(|error| ReadError::from_object_error(name, &error))
    }

    /// Full names of the objects below `prefix`, which is given without the vault's prefix.
    pub(crate) async fn list(&self, kind: ObjectKind, prefix: &str) -> Result<Vec<String>> {
        let prefix = self.full_name(prefix);
        self.reader.list(kind, &prefix).await.map_err(|error| ReadError::from_object_error(&prefix, &error))
    }
}

/// A vault with the rights to read, write, erase and hold.
pub struct WritableVault {
    /// Read access.
    pub vault: Vault,
    /// Write access.
    pub store: Arc<dyn VaultStore>,
    /// Destroys keys.
    pub eraser: Arc<dyn VaultEraser>,
    /// Sets legal holds.
    pub holder: Arc<dyn VaultLegalHolds>,
    /// Public keys of the gateways' signers. Only lines signed by one of these keys show which sessions are a user's.
    pub keys: Vec<VerifyKey>,
}

impl WritableVault {
    /// The vault at `location`. Objects written to S3 are locked for `lock_days`, or by the bucket's default if `None`.
    /// The store is not contacted yet.
    pub fn from_location(location: &VaultLocation, lock_days: Option<u32>) -> Result<Self> {
        let lock = lock_days.map(|days| ObjectLock {
            mode: LockMode::Compliance,
            retention: Duration::from_secs(u64::from(days) * 86_400),
        });
        let OpenedStore { store, prefix, bucket, .. } = location.open(false, lock)?;
        let vault = Vault::new(store.clone(), &prefix, bucket);
        Ok(Self { vault, store: store.clone(), eraser: store.clone(), holder: store, keys: Vec::new() })
    }
}
