//! The kinds of store, and the questions that the gateway asks of each before it runs ([`StoreSpec`]).
//! The trait has no default methods, so a new kind compiles only if it answers every question. Neighbours: `directory`
//! and `s3` (puts and reads), `processors/vault/config` (the user's configuration).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::settings::S3Settings;
use super::{DIRECTORY_URI, DirectoryLimits, DirectoryStore, S3Store, VaultStore};

pub struct StoreServer<'s> {
    pub url: String,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<&'s Path>,
}

/// Why a store can't be used on this machine.
#[derive(Debug, thiserror::Error)]
pub enum StoreUnusable {
    /// The folder can't be created.
    #[error("can't use the vault's folder {}: {error}", path.display())]
    Folder {
        path: PathBuf,
        /// The file system's error.
        error: io::Error,
    },
    /// The file with its certificates can't be read.
    #[error("can't use the `ca_file` of the vault's store, {}: {error}", path.display())]
    Certificates {
        path: PathBuf,
        /// The file system's error.
        error: io::Error,
    },
}

/// Properties of a store that the gateway needs before it runs, answered from the store's settings.
pub trait StoreSpec {
    /// The key of this store below `store:` in the configuration.
    fn key(&self) -> &'static str;
    /// Where content is stored, for display: a path, or `s3://bucket/prefix`.
    fn location(&self) -> String;
    /// Prefix of every object's name; may be empty.
    fn prefix(&self) -> &str;
    /// Prefix of references to its objects, e.g. `s3://bucket/`.
    fn uri(&self) -> String;
    /// The local folder that it writes to, if any.
    fn folder(&self) -> Option<&Path>;
    /// The server that it connects to, if any.
    fn server(&self) -> Option<StoreServer<'_>>;
    /// The S3 settings, for `check` and `vault doctor`; `None` for other stores.
    fn s3_settings(&self) -> Option<&S3Settings>;
    /// Creates everything that must exist before the first put.
    fn prepare(&self) -> Result<(), StoreUnusable>;
    /// Builds the store for the uploader; connects to nothing.
    fn open(&self) -> Arc<dyn VaultStore>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectorySettings {
    pub path: PathBuf,
    /// Retention and maximum size.
    pub limits: DirectoryLimits,
}

/// Where content is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// A folder.
    Directory(DirectorySettings),
    /// S3 buckets.
    S3(S3Settings),
}

impl StoreSettings {
    /// The store's answers to the gateway's questions.
    pub fn spec(&self) -> &dyn StoreSpec {
        match self {
            Self::Directory(settings) => settings,
            Self::S3(settings) => settings,
        }
    }
}

impl StoreSpec for DirectorySettings {
    fn key(&self) -> &'static str {
        "directory"
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn prefix(&self) -> &str {
        ""
    }

    fn uri(&self) -> String {
        DIRECTORY_URI.to_owned()
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn server(&self) -> Option<StoreServer<'_>> {
        None
    }

    fn s3_settings(&self) -> Option<&S3Settings> {
        None
    }

    fn prepare(&self) -> Result<(), StoreUnusable> {
        DirectoryStore::create_folder(&self.path)
            .map_err(|error| StoreUnusable::Folder { path: self.path.clone(), error })
    }

    fn open(&self) -> Arc<dyn VaultStore> {
        Arc::new(DirectoryStore::new(&self.path).with_limits(self.limits))
    }
}

impl StoreSpec for S3Settings {
    fn key(&self) -> &'static str {
        "s3"
    }

    fn location(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix).trim_end_matches('/').to_owned()
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    fn uri(&self) -> String {
        format!("s3://{}/", self.bucket)
    }

    fn folder(&self) -> Option<&Path> {
        None
    }

    fn server(&self) -> Option<StoreServer<'_>> {
        let aws_url = || format!("https://s3.{}.amazonaws.com/", self.region);
        Some(StoreServer { url: self.endpoint.clone().unwrap_or_else(aws_url), ca_file: self.ca_file.as_deref() })
    }

    fn s3_settings(&self) -> Option<&S3Settings> {
        Some(self)
    }

    /// Otherwise the client would detect unreadable certificates only with the first upload, and then retry forever.
    fn prepare(&self) -> Result<(), StoreUnusable> {
        let Some(path) = &self.ca_file else { return Ok(()) };
        let opened = std::fs::File::open(path).map(drop);
        opened.map_err(|error| StoreUnusable::Certificates { path: path.clone(), error })
    }

    fn open(&self) -> Arc<dyn VaultStore> {
        Arc::new(S3Store::new(self.clone()))
    }
}
