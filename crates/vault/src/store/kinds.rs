//! **What**: the kinds of store, in one table, and what the gateway asks of each before it runs ([`StoreSpec`]).
//! **Invariants**: the trait has no default, so that a new kind compiles only when it answers every question.
//! **Not here**: puts and reads (`directory`, `s3`), what a user writes (`processors/vault/config`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::settings::S3Settings;
use super::{DIRECTORY_URI, DirectoryStore, Limits, S3Store, VaultStore};

/// A server that a store is asked at.
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

/// The settings of a store, as the gateway sees them.
pub trait StoreSpec {
    /// Its key below `store`.
    fn key(&self) -> &'static str;
    /// Where content lies, for people.
    fn location(&self) -> String;
    /// Start of all names.
    fn prefix(&self) -> &str;
    /// Start of references to its objects.
    fn uri(&self) -> String;
    /// The folder that it writes in; none: it writes elsewhere.
    fn folder(&self) -> Option<&Path>;
    /// Whom it asks over the network; none: nobody.
    fn server(&self) -> Option<StoreServer<'_>>;
    /// The buckets whose rights can be tried; none: it has none.
    fn buckets(&self) -> Option<&S3Settings>;
    /// Reads what it needs of files. Makes nothing.
    ///
    /// # Errors
    /// A file can't be used.
    fn rehearse(&self) -> Result<(), StoreUnusable>;
    /// Makes what must be there before the first put.
    ///
    /// # Errors
    /// It can't be made, or a file can't be used.
    fn prepare(&self) -> Result<(), StoreUnusable>;
    /// Opens it for the uploader; connects to nothing.
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
