//! **What**: the kinds of store, in one table, and what the gateway asks of each before it runs ([`StoreSpec`]).
//! **Invariants**: the trait has no default, so that a new kind compiles only when it answers every question.
//! **Not here**: puts and reads (`directory`, `s3`), what a user writes (`processors/vault/config`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::settings::S3Settings;
use super::{DIRECTORY_URI, DirectoryStore, Limits, S3Store, VaultStore};

/// The server behind a networked store.
pub struct StoreServer<'s> {
    /// Its URL.
    pub url: String,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<&'s Path>,
}

/// Why a store can't be used on this machine.
#[derive(Debug, thiserror::Error)]
pub enum StoreUnusable {
    /// The folder can't be made.
    #[error("can't use the vault's folder {}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the file system says.
        error: io::Error,
    },
    /// Its certificates can't be read.
    #[error("can't use the `ca_file` of the vault's store, {}: {error}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What the file system says.
        error: io::Error,
    },
}

/// What the gateway needs to know of a store before it runs; its settings answer.
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
    /// The settings of S3, for `check` and `vault doctor`; none for other stores.
    fn buckets(&self) -> Option<&S3Settings>;
    /// Reads the files that the settings name, so that `validate` reports them. Makes nothing.
    ///
    /// # Errors
    /// A file can't be used.
    fn rehearse(&self) -> Result<(), StoreUnusable>;
    /// Makes what must exist before the first put.
    ///
    /// # Errors
    /// It can't be made, or a file can't be used.
    fn prepare(&self) -> Result<(), StoreUnusable>;
    /// Builds the store for the uploader; connects to nothing.
    fn open(&self) -> Arc<dyn VaultStore>;
}

/// A store in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectorySettings {
    /// The folder.
    pub path: PathBuf,
    /// What it keeps.
    pub limits: Limits,
}

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident($settings:ty);)*) => {
        /// Where content goes.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum StoreSettings { $($(#[$doc])* $name($settings),)* }

        impl StoreSettings {
            /// What the gateway asks of it.
            pub fn spec(&self) -> &dyn StoreSpec {
                match self { $(Self::$name(settings) => settings,)* }
            }
        }
    };
}

table! {
    /// A folder.
    Directory(DirectorySettings);
    /// S3.
    S3(S3Settings);
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

    fn buckets(&self) -> Option<&S3Settings> {
        None
    }

    fn rehearse(&self) -> Result<(), StoreUnusable> {
        Ok(())
    }

    fn prepare(&self) -> Result<(), StoreUnusable> {
        DirectoryStore::prepare(&self.path).map_err(|error| StoreUnusable::Folder { path: self.path.clone(), error })
    }

    fn open(&self) -> Arc<dyn VaultStore> {
        Arc::new(DirectoryStore::new(&self.path).limited(self.limits))
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
        let aws = || format!("https://s3.{}.amazonaws.com/", self.region);
        Some(StoreServer { url: self.endpoint.clone().unwrap_or_else(aws), ca_file: self.ca_file.as_deref() })
    }

    fn buckets(&self) -> Option<&S3Settings> {
        Some(self)
    }

    /// The client would only find out with the first upload that its certificates can't be read, and then keep trying.
    fn rehearse(&self) -> Result<(), StoreUnusable> {
        let Some(path) = &self.ca_file else { return Ok(()) };
        let opened = std::fs::File::open(path).map(drop);
        opened.map_err(|error| StoreUnusable::Certificates { path: path.clone(), error })
    }

    fn prepare(&self) -> Result<(), StoreUnusable> {
        self.rehearse()
    }

    fn open(&self) -> Arc<dyn VaultStore> {
        Arc::new(S3Store::new(self.clone()))
    }
}
