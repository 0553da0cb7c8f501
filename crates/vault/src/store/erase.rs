//! [`VaultEraser`]: destroys key objects with all their versions, and reports legal holds. Neither a writer nor an
//! auditor has these rights. Only key objects can be named, objects under legal hold are refused, and the objects are
//! gone when the call returns. Neighbour: `audit/erase` decides what may be destroyed.

use std::io::ErrorKind;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::ObjectLockLegalHoldStatus;
use futures_util::future::BoxFuture;

use super::directory::{DirectoryStore, classify_io_error as io_error, sync_folder};
use super::object::{ObjectKind, StoreError};
use super::s3::{S3Store, classify_sdk_error};

/// Destroys key objects.
pub trait VaultEraser: Send + Sync {
    /// Whether a version of the object is under legal hold.
    fn is_on_hold<'a>(&'a self, kind: ObjectKind, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Destroys every version, and delete markers over them, of the key objects whose names begin with `prefix` and
    /// match `own`, at any depth. Returns how many there were; none is not an error.
    fn destroy<'a>(&'a self, prefix: &'a str, own: &'a ErasePredicate<'a>) -> BoxFuture<'a, Result<u64, StoreError>>;
}

/// Whether an object of this name is to be destroyed.
pub type ErasePredicate<'o> = dyn Fn(&str) -> bool + Send + Sync + 'o;

impl VaultEraser for DirectoryStore {
    fn is_on_hold<'a>(&'a self, _: ObjectKind, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.is_held(name))
    }

    fn destroy<'a>(&'a self, prefix: &'a str, own: &'a ErasePredicate<'a>) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            let (start, mut gone) = (prefix.rsplit_once('/').map_or("", |(folder, _)| folder), 0);
            let mut folders = vec![(start.to_owned(), self.path(start)?)];
            while let Some((below, folder)) = folders.pop() {
                let mut entries = match tokio::fs::read_dir(&folder).await {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(io_error(error)),
                };
                let before = gone;
                while let Some(entry) = entries.next_entry().await.map_err(io_error)? {
                    let file = entry.file_name().to_string_lossy().into_owned();
                    if entry.file_type().await.map_err(io_error)?.is_dir() {
                        folders.push((format!("{below}/{file}"), entry.path()));
                        continue;
                    }
                    // a temporary file left by a crashed writer holds the same secret
                    let whole = file.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")).unwrap_or(&file);
                    let name = format!("{below}/{whole}");
                    if name.starts_with(prefix) && own(&name) {
                        tokio::fs::remove_file(entry.path()).await.map_err(io_error)?;
                        gone += 1;
                    }
                }
                if gone > before {
                    sync_folder(&folder).await.map_err(io_error)?;
                }
            }
            Ok(gone)
        })
    }
}

/// One version of an object, or a delete marker.
struct ListedVersion {
    name: String,
    id: String,
    marker: bool,
}

impl S3Store {
    /// Versions of the names that match `own`, followed by the delete markers over them.
    async fn versions_of(
        &self,
        kind: ObjectKind,
        prefix: &str,
        own: &ErasePredicate<'_>,
    ) -> Result<Vec<ListedVersion>, StoreError> {
        let (mut found, mut over) = (Vec::new(), Vec::new());
        let (mut key, mut version) = (None, None);
        loop {
            let list = self.client().await?.list_object_versions().bucket(self.bucket(kind)).prefix(prefix);
            let page = list.set_key_marker(key.take()).set_version_id_marker(version.take()).send().await;
            let page = page.map_err(|error| classify_sdk_error(&error).into_store_error())?;
            let keep = |marker: bool, name: Option<String>, id: Option<String>| {
                Some(ListedVersion { name: name.filter(|name| own(name))?, id: id?, marker })
            };
            let versions = page.versions.unwrap_or_default().into_iter();
            found.extend(versions.filter_map(|one| keep(false, one.key, one.version_id)));
            let markers = page.delete_markers.unwrap_or_default().into_iter();
            over.extend(markers.filter_map(|one| keep(true, one.key, one.version_id)));
            (key, version) = (page.next_key_marker, page.next_version_id_marker);
            if page.is_truncated != Some(true) || key.is_none() {
                found.append(&mut over);
                return Ok(found);
            }
        }
    }

    /// Version ids of one object.
    pub(super) async fn version_ids(&self, kind: ObjectKind, name: &str) -> Result<Vec<String>, StoreError> {
        let versions = self.versions_of(kind, name, &|one| one == name).await?;
        Ok(versions.into_iter().filter(|version| !version.marker).map(|version| version.id).collect())
    }

    async fn is_any_version_held(&self, kind: ObjectKind, name: &str) -> Result<bool, StoreError> {
        let versions = self.versions_of(kind, name, &|one| one == name).await?;
        for ListedVersion { id, .. } in versions.into_iter().filter(|version| !version.marker) {
            let get = self.client().await?.get_object_legal_hold().bucket(self.bucket(kind)).key(name).version_id(id);
            match get.send().await {
                Ok(hold) => {
                    let status = hold.legal_hold.and_then(|hold| hold.status);
                    if status == Some(ObjectLockLegalHoldStatus::On) {
                        return Ok(true);
                    }
                }
                Err(error) if has_no_lock(&error) => {}
                Err(error) => return Err(classify_sdk_error(&error).into_store_error()),
            }
        }
        Ok(false)
    }

    async fn destroy_versions(&self, prefix: &str, own: &ErasePredicate<'_>) -> Result<u64, StoreError> {
        let mut gone = 0;
        // markers last: after an interrupted run, the next one still sees that there was something
        for ListedVersion { name, id, .. } in self.versions_of(ObjectKind::Key, prefix, own).await? {
            let delete = self.client().await?.delete_object().bucket(self.bucket(ObjectKind::Key)).key(name);
            let delete = delete.version_id(id).bypass_governance_retention(true).send().await;
            delete.map_err(|error| classify_sdk_error(&error).into_store_error())?;
            gone += 1;
        }
        Ok(gone)
    }
}

/// The object or its bucket has no lock, so it can't be under legal hold.
fn has_no_lock<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    const CODES: [&str; 3] =
        ["NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"];
    matches!(error, SdkError::ServiceError(service) if CODES.contains(&service.err().code().unwrap_or_default()))
}

impl VaultEraser for S3Store {
    fn is_on_hold<'a>(&'a self, kind: ObjectKind, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.is_any_version_held(kind, name))
    }

    fn destroy<'a>(&'a self, prefix: &'a str, own: &'a ErasePredicate<'a>) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(self.destroy_versions(prefix, own))
    }
}
