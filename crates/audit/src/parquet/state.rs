//! The state of one day of one account: which index objects are in which files. A state is replaced as a whole and
//! names only durable files. Neighbour: `compact` decides when a day is rewritten.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use kernel::sha256::Sha256;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::ReadError;

use super::columns::schema;
use super::layout::{STATES, TABLES, path_segment_value};

/// One day of one account, as in object names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AccountDay {
    pub(super) account: String,
    pub(super) day: String,
}

impl AccountDay {
    /// The day in an index object's name.
    pub(super) fn from_object_name(name: &str) -> Option<Self> {
        let (account, day) = (path_segment_value(name, "account")?, path_segment_value(name, "dt")?);
        Some(Self { account: account.to_owned(), day: day.to_owned() })
    }

    pub(super) fn state_path(&self, folder: &Path) -> PathBuf {
        folder.join(STATES).join(format!("account={}", self.account)).join(format!("{}.json", self.day))
    }

    /// Path of a tenant's file, below the folder; `id` identifies the part.
    pub(super) fn table_path(&self, tenant: &str, id: &str, number: usize) -> String {
        let encoded = kernel::pseudonym::encode_segment(tenant).unwrap_or_else(|| tenant.to_owned());
        let tenant = if encoded.len() > 200 { format!("h-{}", short_hash(&[tenant])) } else { encoded };
        format!("{TABLES}/account={}/tenant={tenant}/dt={}/part-{id}-{number:03}.parquet", self.account, self.day)
    }

    /// Every table file of this day below the folder.
    pub(super) fn list_table_files(&self, folder: &Path) -> Vec<String> {
        let mut paths = Vec::new();
        let account_path = format!("{TABLES}/account={}", self.account);
        let Ok(tenants) = std::fs::read_dir(folder.join(&account_path)) else { return paths };
        for tenant in tenants.flatten() {
            let day_path = format!("{account_path}/{}/dt={}", tenant.file_name().to_string_lossy(), self.day);
            let Ok(files) = std::fs::read_dir(folder.join(&day_path)) else { continue };
            paths.extend(files.flatten().map(|file| format!("{day_path}/{}", file.file_name().to_string_lossy())));
        }
        paths
    }
}

/// A hash of texts, 32 hex digits.
pub(super) fn short_hash(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    kernel::hex::encode(hash.finalize().get(..16).unwrap_or_default())
}

/// Files that were written in one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TablePart {
    /// Index objects, without the vault's prefix, and the SHA-256 (hex) of the bytes that were read; empty in states
    /// that only listed names.
    #[serde(deserialize_with = "deserialize_objects")]
    pub(super) objects: BTreeMap<String, String>,
    /// Files, with paths below the folder.
    pub(super) files: Vec<TableFile>,
    pub(super) lines: u64,
}

/// A file of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "StoredTableFile")]
pub(super) struct TableFile {
    /// Path below the folder.
    pub(super) name: String,
    /// SHA-256 of its bytes, hex; empty in states of older versions, whose files count as changed.
    pub(super) sha256: String,
}

/// Older versions stored only names.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredTableFile {
    Hashed { name: String, sha256: String },
    Named(String),
}

impl From<StoredTableFile> for TableFile {
    fn from(stored: StoredTableFile) -> Self {
        match stored {
            StoredTableFile::Hashed { name, sha256 } => Self { name, sha256 },
            StoredTableFile::Named(name) => Self { name, sha256: String::new() },
        }
    }
}

impl TableFile {
    /// Whether the file exists and has the recorded hash.
    pub(super) fn is_unchanged(&self, folder: &Path) -> Result<bool, ReadError> {
        let path = folder.join(&self.name);
        let mut hash = Sha256::new();
        let copied = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut hash));
        match copied {
            Ok(_) => Ok(kernel::hex::encode(&hash.finalize()) == self.sha256),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(ReadError::from_file_error(&path, &error)),
        }
    }
}

fn deserialize_objects<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum StoredObjects {
        Hashed(BTreeMap<String, String>),
        Named(BTreeSet<String>),
    }
    Ok(match StoredObjects::deserialize(deserializer)? {
        StoredObjects::Hashed(objects) => objects,
        StoredObjects::Named(names) => names.into_iter().map(|name| (name, String::new())).collect(),
    })
}

/// The state of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DayState {
    pub(super) v: u8,
    /// Hash of the columns; if it differs, the day is rewritten.
    pub(super) columns: String,
    pub(super) parts: Vec<TablePart>,
}

impl Default for DayState {
    fn default() -> Self {
        Self { v: 1, columns: short_hash(&[&schema()]), parts: Vec::new() }
    }
}

impl DayState {
    /// The state at `path`; an empty one if the file does not exist.
    pub(super) fn read(path: &Path) -> Result<Self, ReadError> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| {
                ReadError::Damaged(format!(
                    "{} is not a state file of `vault compact`: delete the tables folder and run `vault compact` again",
                    path.display()
                ))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(ReadError::from_file_error(path, &error)),
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), ReadError> {
        let file_error = |error: io::Error| ReadError::from_file_error(path, &error);
        kernel::files::make_folders(kernel::files::parent_folder(path)).map_err(file_error)?;
        let json = serde_json::to_vec(self).unwrap_or_default(); // strings and numbers: serialising can't fail
        kernel::files::replace_file(path, &json).map_err(file_error)
    }

    pub(super) fn objects(&self) -> BTreeSet<&str> {
        self.parts.iter().flat_map(|part| part.objects.keys().map(String::as_str)).collect()
    }

    pub(super) fn files(&self) -> BTreeSet<&str> {
        self.parts.iter().flat_map(|part| part.files.iter().map(|file| file.name.as_str())).collect()
    }
}
