//! The vault in S3 or an S3-compatible store: conditional, checksummed, locked puts, and gets and lists for readers. It
//! uses aws-sdk-s3, because smaller clients don't support the headers of Object Lock.
//!
//! A put has one plain signed body with an explicit SHA-256, never Content-MD5 and never a trailer, and always
//! `If-None-Match: *`. A lock's retention starts at the put. The client is created with the first call. Neighbour:
//! `uploader` retries without end and decides the bytes of objects.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::ObjectLockMode;
use aws_sdk_s3::{Client, Config};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use tokio::sync::OnceCell;

use crate::aws::{CONNECT_TIMEOUT, SendFailure, TIMED_OUT, is_error_code, load_credential_chain};
use kernel::clock::UnixNanos;
use kernel::secret::Secret;
use kernel::sha256::Sha256;

use super::object::{
    MAX_READ_BYTES, ObjectKind, ObjectVersion, PageStart, PutOutcome, StoreError, StoreFuture, VaultReader, VaultStore,
    VersionLock, VersionPage,
};
use super::settings::{LockMode, S3Settings};

/// Timeout of one attempt; a put has a second more for each megabyte.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts of all requests except puts.
const MAX_SDK_ATTEMPTS: u32 = 2;
/// Longest pause within a response.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Objects in S3 buckets.
pub struct S3Store {
    settings: S3Settings,
    client: OnceCell<Client>,
    /// Whether to read the first version of each name, even below a delete marker.
    reads_oldest: bool,
}

impl S3Store {
    /// A store that loads credentials from the standard chain with the first call.
    pub fn new(settings: S3Settings) -> Self {
        Self { settings, client: OnceCell::new(), reads_oldest: false }
    }

    /// A store with these credentials instead of the standard chain's.
    pub async fn with_credentials(settings: S3Settings, key: &str, secret: &Secret) -> Result<Self, StoreError> {
        let credentials = Credentials::new(key, secret.expose(), None, None, "tollgate");
        let client = OnceCell::new_with(Some(connect(&settings, Some(credentials)).await?));
        Ok(Self { client, ..Self::new(settings) })
    }

    /// The same store, reading the first version of each name instead of the newest: a version or delete marker that
    /// someone wrote over an object later hides nothing.
    #[must_use]
    pub fn with_oldest_versions(self, oldest: bool) -> Self {
        Self { reads_oldest: oldest, ..self }
    }

    pub fn settings(&self) -> &S3Settings {
        &self.settings
    }

    pub(crate) async fn client(&self) -> Result<&Client, StoreError> {
        self.client.get_or_try_init(|| connect(&self.settings, None)).await
    }

    pub(crate) fn bucket(&self, kind: ObjectKind) -> &str {
        if kind == ObjectKind::Key { &self.settings.key_bucket } else { &self.settings.bucket }
    }

    async fn put(&self, kind: ObjectKind, name: &str, bytes: Bytes, now: UnixNanos) -> Result<PutOutcome, StoreError> {
        let digest = STANDARD.encode(Sha256::digest(&bytes));
        let attempt_timeout = ATTEMPT_TIMEOUT + Duration::from_secs(bytes.len() as u64 / 1_000_000);
        let mut put = self
            .client()
            .await?
            .put_object()
            .bucket(self.bucket(kind))
            .key(name)
            .if_none_match("*")
            .checksum_sha256(digest)
            .content_type("application/octet-stream")
            .body(ByteStream::from(bytes));
        if let Some(lock) = self.settings.lock {
            let mode = if kind == ObjectKind::Key { ObjectLockMode::Governance } else { lock.mode.into() };
            let until = i64::try_from(now.plus(lock.retention).seconds()).unwrap_or(i64::MAX);
            put = put.object_lock_mode(mode).object_lock_retain_until_date(DateTime::from_secs(until));
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(attempt_timeout)
            .build();
        // `Exists` must mean that another process wrote the object, not that the SDK's first attempt did; the uploader
        // retries
        let put_config = Config::builder().timeout_config(timeouts).retry_config(RetryConfig::disabled());
        match put.customize().config_override(put_config).send().await {
            Ok(_) => Ok(PutOutcome::Written),
            Err(error) => classify_sdk_error(&error).map_or(Ok(PutOutcome::Exists), Err),
        }
    }

    async fn read(&self, kind: ObjectKind, name: &str, range: Option<(u64, u64)>) -> Result<Bytes, StoreError> {
        let from_start = range.is_some_and(|(first, _)| first == 0);
        let range =
            range.map(|(first, length)| format!("bytes={first}-{}", first.saturating_add(length).saturating_sub(1)));
        let version = if self.reads_oldest { Some(self.first_version(kind, name).await?) } else { None };
        let get = self.client().await?.get_object().bucket(self.bucket(kind)).key(name).set_range(range);
        let get = get.set_version_id(version);
        let mut body = match get.send().await.map_err(to_store_error) {
            Ok(object) => object.body,
            // an empty object has no first byte
            Err(StoreError::Denied(why)) if why.starts_with("416") && from_start => return Ok(Bytes::new()),
            Err(error) => return Err(error),
        };
        let mut bytes = BytesMut::new();
        loop {
            let received = tokio::time::timeout(READ_TIMEOUT, body.next()).await;
            let received = received.map_err(|_| StoreError::Unavailable("the response stalled".to_owned()))?;
            let Some(chunk) = received else { return Ok(bytes.freeze()) };
            let chunk = chunk.map_err(|_| StoreError::Unavailable("the response was cut off".to_owned()))?;
            if bytes.len().saturating_add(chunk.len()) > MAX_READ_BYTES {
                return Err(StoreError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
    }

    async fn list_versions(
        &self,
        kind: ObjectKind,
        prefix: &str,
        after: Option<PageStart>,
    ) -> Result<VersionPage, StoreError> {
        let (key, version) = after.unzip();
        let list = self.client().await?.list_object_versions().bucket(self.bucket(kind)).prefix(prefix);
        let page = list.set_key_marker(key).set_version_id_marker(version.filter(|id| !id.is_empty())).send().await;
        let page = page.map_err(to_store_error)?;
        let to_version = |name: Option<String>, id: Option<String>, marker: bool| ObjectVersion {
            name: name.unwrap_or_default(),
            id: id.unwrap_or_default(),
            marker,
        };
        let markers = page.delete_markers.unwrap_or_default().into_iter();
        let objects = page.versions.unwrap_or_default().into_iter();
        let markers = markers.map(|marker| to_version(marker.key, marker.version_id, true));
        let mut versions: Vec<ObjectVersion> =
            objects.map(|object| to_version(object.key, object.version_id, false)).chain(markers).collect();
        versions.sort_by(|a, b| a.name.cmp(&b.name));
        let next = match (page.is_truncated, page.next_key_marker) {
            (Some(true), Some(key)) => Some((key, page.next_version_id_marker.unwrap_or_default())),
            _ => None,
        };
        Ok(VersionPage { versions, next })
    }

    /// Calls `visit` with each version of names that start with `prefix`: names in order, and of each name the newest
    /// version first, before the delete markers. Only a page is in memory: a writer may have put any number.
    pub(super) async fn each_version(
        &self,
        kind: ObjectKind,
        prefix: &str,
        visit: &mut (dyn FnMut(ObjectVersion) + Send),
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.list_versions(kind, prefix, after.clone()).await?;
            page.versions.into_iter().for_each(&mut *visit);
            match page.next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                _ => return Ok(()),
            }
        }
    }

    /// The id of the version that was written first.
    async fn first_version(&self, kind: ObjectKind, name: &str) -> Result<String, StoreError> {
        let mut oldest = None;
        let mut visit = |version: ObjectVersion| {
            if version.name == name && !version.marker {
                oldest = Some(version.id);
            }
        };
        self.each_version(kind, name, &mut visit).await?;
        oldest.ok_or(StoreError::Missing)
    }

    /// Names that have a version, even if a delete marker hides it.
    async fn list_names_of_all_versions(&self, kind: ObjectKind, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut names = BTreeSet::new();
        let mut visit = |version: ObjectVersion| {
            if !version.marker {
                names.insert(version.name);
            }
        };
        self.each_version(kind, prefix, &mut visit).await?;
        Ok(names.into_iter().collect())
    }

    async fn list_names(&self, kind: ObjectKind, prefix: &str) -> Result<Vec<String>, StoreError> {
        if self.reads_oldest {
            return self.list_names_of_all_versions(kind, prefix).await;
        }
        let list = self.client().await?.list_objects_v2().bucket(self.bucket(kind)).prefix(prefix);
        let mut pages = list.into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(to_store_error)?;
            names.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl VaultStore for S3Store {
    fn put_once<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
        bytes: Bytes,
        now: UnixNanos,
    ) -> StoreFuture<'a, PutOutcome> {
        Box::pin(self.put(kind, name, bytes, now))
    }
}

impl VaultReader for S3Store {
    fn get<'a>(&'a self, kind: ObjectKind, name: &'a str, range: Option<(u64, u64)>) -> StoreFuture<'a, Bytes> {
        Box::pin(self.read(kind, name, range))
    }

    fn list<'a>(&'a self, kind: ObjectKind, prefix: &'a str) -> StoreFuture<'a, Vec<String>> {
        Box::pin(self.list_names(kind, prefix))
    }

    fn versions<'a>(
        &'a self,
        kind: ObjectKind,
        prefix: &'a str,
        after: Option<PageStart>,
    ) -> StoreFuture<'a, Option<VersionPage>> {
        Box::pin(async move { self.list_versions(kind, prefix, after).await.map(Some) })
    }

    fn written_at<'a>(&'a self, kind: ObjectKind, name: &'a str) -> StoreFuture<'a, Option<UnixNanos>> {
        Box::pin(async move {
            let head = self.client().await?.head_object().bucket(self.bucket(kind)).key(name);
            let head = head.send().await.map_err(to_store_error)?;
            Ok(head.last_modified.map(to_unix_nanos))
        })
    }

    fn version_lock<'a>(
        &'a self,
        kind: ObjectKind,
        version: &'a ObjectVersion,
    ) -> StoreFuture<'a, Option<VersionLock>> {
        Box::pin(async move {
            let head = self.client().await?.head_object().bucket(self.bucket(kind)).key(&version.name);
            let head = head.version_id(&version.id).send().await;
            let head = head.map_err(to_store_error)?;
            let mode = head.object_lock_mode.as_ref().and_then(|mode| match mode {
                ObjectLockMode::Compliance => Some(LockMode::Compliance),
                ObjectLockMode::Governance => Some(LockMode::Governance),
                _ => None,
            });
            let lock = mode.zip(head.object_lock_retain_until_date.map(to_unix_nanos));
            Ok(Some(VersionLock { written: head.last_modified.map_or(UnixNanos(0), to_unix_nanos), lock }))
        })
    }
}

/// A time reported by the store; a time before 1970 becomes 0.
fn to_unix_nanos(time: DateTime) -> UnixNanos {
    UnixNanos(u64::try_from(time.as_nanos()).unwrap_or_default())
}

/// The error of a request that is no conditional put.
pub(crate) fn to_store_error<E: ProvideErrorMetadata>(error: SdkError<E>) -> StoreError {
    classify_sdk_error(&error).unwrap_or(StoreError::Differs)
}

/// Maps an SDK error; `None` if the name of a conditional put exists. Texts are error codes, never bodies.
fn classify_sdk_error<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<StoreError> {
    let why = match error {
        SdkError::TimeoutError(_) => TIMED_OUT.to_owned(),
        SdkError::DispatchFailure(failure) => SendFailure::from_connector(failure.as_connector_error()).with_remedy(),
        SdkError::ResponseError(_) => "the response can't be read".to_owned(),
        SdkError::ConstructionFailure(_) => {
            return Some(StoreError::Denied("the request can't be built: check credentials and region".to_owned()));
        }
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            return classify_answer(status, service.err().code().unwrap_or_default());
        }
        _ => "the request failed".to_owned(),
    };
    Some(StoreError::Unavailable(why))
}

fn classify_answer(status: u16, code: &str) -> Option<StoreError> {
    let code = if is_error_code(code) { code } else { "" };
    let answer = if code.is_empty() { status.to_string() } else { format!("{status} {code}") };
    let is_checksum_error = code == "BadDigest" || code == "InvalidDigest" || code.contains("SHA256Mismatch");
    Some(match (status, code) {
        (412, _) => return None,
        (400, _) if is_checksum_error => StoreError::Corrupt(answer),
        (404, "NoSuchKey") => StoreError::Missing,
        (403, "InvalidObjectState") => StoreError::Archived,
        (409 | 429, _) | (503, "SlowDown") => StoreError::Busy(answer),
        (400, "RequestTimeout") | (408, _) | (500.., _) => StoreError::Unavailable(answer),
        _ => StoreError::Denied(answer),
    })
}

/// A client with the standard chain's credentials, or with these.
async fn connect(settings: &S3Settings, credentials: Option<Credentials>) -> Result<Client, StoreError> {
    let loader = load_credential_chain(&settings.region, settings.ca_file.as_deref()).await;
    let mut loader = loader.map_err(|error| StoreError::Denied(error.to_string()))?;
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(credentials) = credentials {
        loader = loader.credentials_provider(credentials);
    }
    let shared = loader.load().await;
    Ok(Client::from_conf(build_config(aws_sdk_s3::config::Builder::from(&shared), settings)))
}

/// The configuration shared by all clients.
fn build_config(builder: aws_sdk_s3::config::Builder, settings: &S3Settings) -> Config {
    builder
        .force_path_style(settings.force_path_style)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(MAX_SDK_ATTEMPTS)
                .with_initial_backoff(Duration::from_millis(100)),
        )
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .build(),
        )
        .build()
}
