//! [`StoreSpec`]: everything that the gateway asks of a store before it runs, and a store as people open it
//! ([`OpenedStore`]). `kinds` lists the stores; [`VaultStore`] is an open one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::DirectoryStore;
use super::erase::VaultEraser;
use super::hold::VaultLegalHolds;
use super::object::{StoreFuture, VaultReader, VaultStore};
use super::probe::{ProbeCheck, ProbeScope};
use super::settings::S3Settings;

pub struct StoreServer<'s> {
    /// What the server is, in texts.
    pub name: &'static str,
    pub url: String,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<&'s Path>,
}

/// Why a store can't be used on this machine.
#[derive(Debug, thiserror::Error)]
#[error("can't use {what} {}: {error}", path.display())]
pub struct StoreUnusable {
    /// What the path is: the folder, or the file with certificates.
    what: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// What the gateway needs to know about any store. It is a struct so that a store can't leave out a field.
pub struct StoreProfile<'s> {
    /// The key of this store below `store:` in the configuration.
    pub key: &'static str,
    /// Where content is stored, for display: a path, or `s3://bucket/prefix`.
    pub location: String,
    /// Prefix of every object's name; may be empty.
    pub prefix: &'s str,
    /// Prefix of references to its objects, e.g. `s3://bucket/`.
    pub uri: String,
    pub folder: Option<&'s Path>,
    pub server: Option<StoreServer<'s>>,
    /// The buckets that `vault policy` writes policies for.
    pub buckets: Option<&'s S3Settings>,
}

/// A store's settings, as the gateway uses them. No method has a default, so a new store answers all questions.
pub trait StoreSpec: Send + Sync {
    /// The properties that every store has.
    fn profile(&self) -> StoreProfile<'_>;
    /// Builds the store for the uploader; connects to nothing.
    fn open(&self) -> Arc<dyn VaultStore>;
    /// Tests what the gateway may do, by probe objects; no results if the profile's folder is all there is to test.
    fn probe(&self, scope: ProbeScope) -> StoreFuture<'_, Vec<ProbeCheck>>;
}

impl dyn StoreSpec + '_ {
    /// Creates everything that must exist before the first put, and opens the certificates: the client would notice
    /// unreadable ones only with the first upload, and then retry forever.
    pub fn prepare(&self) -> Result<(), StoreUnusable> {
        let StoreProfile { folder, server, .. } = self.profile();
        let created = folder.map(|path| ("the vault's folder", path, DirectoryStore::create_folder(path)));
        let ca_file = server.and_then(|server| server.ca_file);
        let opened = ca_file.map(|path| ("the `ca_file` of the vault's store,", path, File::open(path).map(drop)));
        created.into_iter().chain(opened).try_for_each(|(what, path, result)| {
            result.map_err(|error| StoreUnusable { what, path: path.to_owned(), error })
        })
    }
}

/// A store for people, who read, write, erase and hold.
pub trait AuditedStore: VaultReader + VaultStore + VaultEraser + VaultLegalHolds {}

impl<S: VaultReader + VaultStore + VaultEraser + VaultLegalHolds> AuditedStore for S {}

/// A store that was opened by its address. Nothing is contacted yet.
pub struct OpenedStore {
    pub store: Arc<dyn AuditedStore>,
    pub prefix: String,
    /// Bucket, for references; `None` for a folder.
    pub bucket: Option<String>,
    /// Whether keys and hold notes are in a bucket of their own.
    pub has_separate_key_bucket: bool,
}
