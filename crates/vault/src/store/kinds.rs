//! The one table of stores: each by its name in YAML, with its configuration and its settings, which implement
//! [`StoreSpec`] and open an address that a person gives; below, the answers of a folder and of S3. Neighbours:
//! `directory` and `s3` (puts and reads), `processors/vault/config` (the rest of the configuration).

use std::path::Path;
use std::sync::Arc;

use config::{ByteSize, FieldProblem};
use futures_util::future::ready;
use kernel::clock::{Clock as _, SystemClock};
use kernel::rng::{Rng as _, SystemRng};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::directory::DirectoryStore;
use super::object::{StoreFuture, VaultStore};
use super::probe::{ProbeCheck, ProbeScope, probe_store};
use super::s3::S3Store;
use super::settings::{DirectoryConfig, DirectorySettings, S3Config, S3Settings};
use super::spec::{OpenedStore, StoreProfile, StoreServer, StoreSpec};

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident: $config:ty, $settings:ty;)*) => {
        /// The destination of content.
        #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum StoreConfig {
            /// Content is dropped, and items are marked accordingly.
            None,
            $($(#[$doc])* $name($config),)*
        }

        impl StoreConfig {
            /// The store's settings. `None` if content is dropped, or after adding a problem.
            pub fn settings(&self, problems: &mut Vec<FieldProblem>, notes: &mut Vec<FieldProblem>) -> Option<Arc<dyn StoreSpec>> {
                match self {
                    Self::None => {
                        notes.push(FieldProblem::new("store", "`none`: prompts, completions and tool payloads are dropped"));
                        None
                    }
                    $(Self::$name(config) => config.settings(problems, notes).map(|settings| Arc::new(settings) as Arc<dyn StoreSpec>),)*
                }
            }
        }

        /// Opens the store at an address, by the connection and lock in `access`. `keys`: the bucket of the keys, if it
        /// is another one; `first`: read first versions. The first row is tried last: any address may be a folder.
        pub fn open_address(at: &str, keys: Option<&str>, access: &S3Settings, first: bool) -> Result<OpenedStore, String> {
            let openers = [$(<$settings>::open_address,)*];
            let opened = openers.iter().rev().find_map(|open| open(at, keys, access, first).transpose());
            opened.unwrap_or_else(|| Err("no store has such addresses".to_owned()))
        }
    };
}

table! {
    /// A folder: its path, or `{ path: …, retention: 400d, max_size: 100GiB }`.
    Directory: DirectoryConfig, DirectorySettings;
    /// An S3 bucket with Object Lock.
    S3: S3Config, S3Settings;
}

impl StoreSpec for DirectorySettings {
    fn profile(&self) -> StoreProfile<'_> {
        StoreProfile {
            key: "directory",
            location: self.path.display().to_string(),
            prefix: "",
            uri: "file:///".to_owned(),
            folder: Some(&self.path),
            server: None,
            buckets: None,
        }
    }

    fn open(&self) -> Arc<dyn VaultStore> {
        if let Some(max_size) = self.limits.expires_beyond() {
            let (directory, max_size) = (self.path.display(), ByteSize(max_size));
            tracing::info!(%directory, %max_size, "at its size this vault, which is for trying out, loses its oldest content");
        }
        Arc::new(DirectoryStore::new(&self.path).with_limits(self.limits))
    }

    fn probe(&self, _: ProbeScope) -> StoreFuture<'_, Vec<ProbeCheck>> {
        Box::pin(ready(Ok(Vec::new())))
    }
}

impl DirectorySettings {
    /// Opens any address: a folder, which must exist.
    fn open_address(at: &str, _: Option<&str>, _: &S3Settings, first: bool) -> Result<Option<OpenedStore>, String> {
        let folder = at.strip_prefix("file://").unwrap_or(at);
        if !Path::new(folder).is_dir() {
            return Err(format!(
                "{folder} is not a folder: give the vault's folder as `--store` (`store.directory` of the gateway), or \
                 s3://bucket/prefix"
            ));
        }
        if first {
            return Err("--first-version needs a store with versions; a folder has none".to_owned());
        }
        let store = Arc::new(DirectoryStore::new(folder));
        Ok(Some(OpenedStore { store, prefix: String::new(), bucket: None, has_separate_key_bucket: false }))
    }
}

impl StoreSpec for S3Settings {
    fn profile(&self) -> StoreProfile<'_> {
        let url = self.endpoint.clone().unwrap_or_else(|| format!("https://s3.{}.amazonaws.com/", self.region));
        StoreProfile {
            key: "s3",
            location: format!("s3://{}/{}", self.bucket, self.prefix).trim_end_matches('/').to_owned(),
            prefix: &self.prefix,
            uri: format!("s3://{}/", self.bucket),
            folder: None,
            server: Some(StoreServer { name: "S3", url, ca_file: self.ca_file.as_deref() }),
            buckets: Some(self),
        }
    }

    fn open(&self) -> Arc<dyn VaultStore> {
        Arc::new(S3Store::new(self.clone()))
    }

    fn probe(&self, scope: ProbeScope) -> StoreFuture<'_, Vec<ProbeCheck>> {
        let name = kernel::hex::encode(&SystemRng.id());
        Box::pin(async move { probe_store(&S3Store::new(self.clone()), &name, SystemClock::new().now(), scope).await })
    }
}

impl S3Settings {
    /// Opens `s3://bucket/prefix`.
    fn open_address(at: &str, keys: Option<&str>, access: &Self, first: bool) -> Result<Option<OpenedStore>, String> {
        let Some(rest) = at.strip_prefix("s3://") else { return Ok(None) };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let keys = keys.map_or(bucket, |keys| {
            let keys = keys.strip_prefix("s3://").unwrap_or(keys);
            keys.split_once('/').map_or(keys, |(bucket, _)| bucket)
        });
        if bucket.is_empty() || keys.is_empty() {
            return Err("the bucket name is missing: use s3://bucket/prefix".to_owned());
        }
        let settings = Self { bucket: bucket.to_owned(), key_bucket: keys.to_owned(), ..access.clone() };
        Ok(Some(OpenedStore {
            store: Arc::new(S3Store::new(settings).with_oldest_versions(first)),
            prefix: prefix.to_owned(),
            bucket: Some(bucket.to_owned()),
            has_separate_key_bucket: keys != bucket,
        }))
    }
}
