//! [`StoreSettings`]: the kinds of store, and the questions that the gateway asks of each before it runs. Each question
//! that kinds answer differently is an exhaustive match, so a new kind compiles only if it answers them. Neighbours:
//! `directory` and `s3` (puts and reads), `processors/vault/config` (the user's configuration).

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
#[error("can't use {what} {}: {error}", path.display())]
pub struct StoreUnusable {
    /// What the path is: the folder, or the file with certificates.
    what: &'static str,
    path: PathBuf,
    /// The file system's error.
    error: io::Error,
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
    /// The key of this store below `store:` in the configuration.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::S3(_) => "s3",
        }
    }

    /// Where content is stored, for display: a path, or `s3://bucket/prefix`.
    pub fn location(&self) -> String {
        match self {
            Self::Directory(directory) => directory.path.display().to_string(),
            Self::S3(s3) => format!("s3://{}/{}", s3.bucket, s3.prefix).trim_end_matches('/').to_owned(),
        }
    }

    /// Prefix of every object's name; may be empty.
    pub fn prefix(&self) -> &str {
        match self {
            Self::Directory(_) => "",
            Self::S3(s3) => &s3.prefix,
        }
    }

    /// Prefix of references to its objects, e.g. `s3://bucket/`.
    pub fn uri(&self) -> String {
        match self {
            Self::Directory(_) => DIRECTORY_URI.to_owned(),
            Self::S3(s3) => format!("s3://{}/", s3.bucket),
        }
    }

    /// The local folder that it writes to, if any.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Directory(directory) => Some(&directory.path),
            Self::S3(_) => None,
        }
    }

    /// The server that it connects to, if any.
    pub fn server(&self) -> Option<StoreServer<'_>> {
        let s3 = self.s3_settings()?;
        let aws_url = || format!("https://s3.{}.amazonaws.com/", s3.region);
        Some(StoreServer { url: s3.endpoint.clone().unwrap_or_else(aws_url), ca_file: s3.ca_file.as_deref() })
    }

    /// The S3 settings, for `check` and `vault doctor`; `None` for other stores.
    pub fn s3_settings(&self) -> Option<&S3Settings> {
        match self {
            Self::Directory(_) => None,
            Self::S3(s3) => Some(s3),
        }
    }

    /// Creates everything that must exist before the first put, and opens the certificates: the client would notice
    /// unreadable ones only with the first upload, and then retry forever.
    pub fn prepare(&self) -> Result<(), StoreUnusable> {
        let (what, path, result) = match self {
            Self::Directory(DirectorySettings { path, .. }) => {
                ("the vault's folder", path, DirectoryStore::create_folder(path))
            }
            Self::S3(S3Settings { ca_file: Some(path), .. }) => {
                ("the `ca_file` of the vault's store,", path, std::fs::File::open(path).map(drop))
            }
            Self::S3(_) => return Ok(()),
        };
        result.map_err(|error| StoreUnusable { what, path: path.clone(), error })
    }

    /// Builds the store for the uploader; connects to nothing.
    pub fn open(&self) -> Arc<dyn VaultStore> {
        match self {
            Self::Directory(directory) => Arc::new(DirectoryStore::new(&directory.path).with_limits(directory.limits)),
            Self::S3(s3) => Arc::new(S3Store::new(s3.clone())),
        }
    }
}
