//! [`FakeS3`]: a strict in-process S3. It hashes bodies itself, requires conditions and locks, returns lists in pages,
//! and fails on demand; real stores that tests can use are all laxer than AWS in some way. It has no policies and does
//! not enforce locks (radosgw and versitygw do, in named targets); object versions are planted by tests.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    DeleteMarkerEntry, ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
    ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsV2Input, ListObjectsV2Output, Object, ObjectLockMode,
    ObjectVersion, PutObjectInput, PutObjectOutput, Range, StreamingBlob, Timestamp,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use tokio::net::TcpListener;

/// How a put fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 409: another write is in progress.
    Conflict,
    /// 503 SlowDown.
    SlowDown,
    /// 403.
    AccessDenied,
    /// 400: the body arrived altered.
    BadDigest,
    /// The object is stored, but the response is a 500.
    LostAnswer,
}

/// A stored object.
#[derive(Clone)]
pub struct Stored {
    /// Its bytes.
    pub bytes: Bytes,
    /// `COMPLIANCE` or `GOVERNANCE`.
    pub lock: Option<String>,
    /// End of its lock, in Unix seconds.
    pub until: Option<i64>,
    /// Time of the write, in Unix seconds.
    pub written: i64,
    /// Whether it is in an archive class and can't be read.
    pub archived: bool,
}

/// An additional version that a test planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Another version.
    Version,
    /// A delete marker.
    Marker,
}

/// The state of the fake.
#[derive(Default)]
pub struct State {
    /// Objects by bucket and key.
    pub objects: BTreeMap<(String, String), Stored>,
    /// Operations in order, e.g. `PutObject audit x/y`.
    pub log: Vec<String>,
    /// Names with a second version below the one in `objects`, and names behind a delete marker.
    pub planted: Vec<((String, String), Planted)>,
    /// Bytes of planted versions that differ from those in `objects`.
    pub below: BTreeMap<(String, String), Bytes>,
    /// Faults for the next puts.
    pub faults: VecDeque<Fault>,
    /// Whether lock headers are required.
    pub locked: bool,
    /// Error code and message for a put that carries a checksum, as from a store that does not support checksums.
    pub no_checksums: Option<(&'static str, &'static str)>,
}

impl State {
    /// Whether the object is behind a delete marker.
    fn is_hidden(&self, name: &(String, String)) -> bool {
        self.planted.iter().any(|(of, what)| of == name && *what == Planted::Marker)
    }
}

/// A running fake S3.
pub struct FakeS3 {
    /// Its address.
    pub address: SocketAddr,
    /// Its state.
    pub state: Arc<Mutex<State>>,
}

/// The credentials that it accepts.
pub const KEYS: (&str, &str) = ("AKTEST", "SKTEST");

#[derive(Clone)]
struct Service(Arc<Mutex<State>>);

impl FakeS3 {
    /// Starts a fake; with `locked` it is a bucket with Object Lock whose writers must specify a lock.
    pub async fn start(locked: bool) -> Self {
        let state = Arc::new(Mutex::new(State { locked, ..State::default() }));
        let mut builder = S3ServiceBuilder::new(Service(state.clone()));
        builder.set_auth(SimpleAuth::from_single(KEYS.0, KEYS.1));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                drop(tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    drop(server.serve_connection(TokioIo::new(socket), service).await);
                }));
            }
        }));
        Self { address, state }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn error(fault: Fault) -> S3Error {
    let custom = |code: &str, status: u16| {
        let mut error = S3Error::new(S3ErrorCode::Custom(code.to_owned().into()));
        error.set_status_code(http::StatusCode::from_u16(status).unwrap());
        error
    };
    match fault {
        Fault::Conflict => custom("ConditionalRequestConflict", 409),
        Fault::SlowDown => s3_error!(SlowDown),
        Fault::AccessDenied => s3_error!(AccessDenied),
        Fault::BadDigest => s3_error!(BadDigest),
        Fault::LostAnswer => s3_error!(InternalError),
    }
}

/// Refuses a put that AWS would refuse, or that a careful writer would not send.
fn check(headers: &http::HeaderMap, input: &PutObjectInput, locked: bool) -> S3Result<()> {
    if !matches!(input.if_none_match, Some(ETagCondition::Any)) {
        return Err(s3_error!(AccessDenied, "the policy asks for If-None-Match"));
    }
    if input.checksum_sha256.is_none() || input.content_md5.is_some() {
        return Err(s3_error!(InvalidRequest, "one checksum, SHA-256"));
    }
    if headers.contains_key("x-amz-trailer") || headers.contains_key("x-amz-sdk-checksum-algorithm") {
        return Err(s3_error!(InvalidRequest, "no trailers"));
    }
    let lock = (input.object_lock_mode.is_some(), input.object_lock_retain_until_date.is_some());
    if lock != (locked, locked) {
        return Err(s3_error!(InvalidRequest, "lock headers do not suit the bucket"));
    }
    Ok(())
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let S3Request { mut input, headers, .. } = request;
        let name = (input.bucket.to_string(), input.key.to_string());
        let body = input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
        let chunks: Vec<Bytes> = body.try_collect().await.map_err(|_| s3_error!(IncompleteBody))?;
        let bytes = Bytes::from(chunks.concat());
        let mut state = self.0.lock();
        state.log.push(format!("PutObject {} {}", name.0, name.1));
        if let Some((code, message)) = state.no_checksums.filter(|_| input.checksum_sha256.is_some()) {
            let mut error = S3Error::with_message(S3ErrorCode::Custom(code.to_owned().into()), message);
            let status = if code == "NotImplemented" { 501 } else { 400 };
            error.set_status_code(http::StatusCode::from_u16(status).unwrap());
            return Err(error);
        }
        check(&headers, &input, state.locked)?;
        if input.checksum_sha256.as_deref() != Some(&*STANDARD.encode(digest(&SHA256, &bytes))) {
            return Err(s3_error!(BadDigest));
        }
        let fault = state.faults.pop_front();
        if let Some(fault) = fault.filter(|fault| *fault != Fault::LostAnswer) {
            return Err(error(fault));
        }
        if state.objects.contains_key(&name) {
            return Err(s3_error!(PreconditionFailed));
        }
        let lock = input.object_lock_mode.map(|mode| mode.as_str().to_owned());
        let until = input.object_lock_retain_until_date.map(|date| time::OffsetDateTime::from(date).unix_timestamp());
        state.objects.insert(name, Stored { bytes, lock, until, written: 0, archived: false });
        match fault {
            Some(fault) => Err(error(fault)),
            None => Ok(S3Response::new(PutObjectOutput::default())),
        }
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let mut state = self.0.lock();
        state.log.push(format!("GetObject {} {}", input.bucket, input.key));
        let name = (input.bucket.to_string(), input.key.to_string());
        let found = state.objects.get(&name).filter(|_| input.version_id.is_some() || !state.is_hidden(&name));
        let found = found.ok_or_else(|| s3_error!(NoSuchKey))?;
        if found.archived {
            return Err(s3_error!(InvalidObjectState));
        }
        let below = state.below.get(&name).filter(|_| input.version_id.as_deref().is_some_and(|id| id != "a"));
        let bytes = below.unwrap_or(&found.bytes).clone();
        let bytes = match input.range {
            Some(Range::Int { first, last }) => {
                let end = last.map_or(bytes.len(), |last| (last as usize + 1).min(bytes.len()));
                bytes.slice(first as usize..end)
            }
            _ => bytes,
        };
        let length = i64::try_from(bytes.len()).unwrap();
        let body = s3s::Body::from(bytes);
        Ok(S3Response::new(GetObjectOutput {
            body: Some(StreamingBlob::from(body)),
            content_length: Some(length),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let mut state = self.0.lock();
        state.log.push(format!("HeadObject {} {}", input.bucket, input.key));
        let found = state.objects.get(&(input.bucket.to_string(), input.key.to_string()));
        let found = found.ok_or_else(|| s3_error!(NoSuchKey))?;
        let at = |seconds: i64| Timestamp::from(time::OffsetDateTime::from_unix_timestamp(seconds).unwrap());
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(i64::try_from(found.bytes.len()).unwrap()),
            last_modified: Some(at(found.written)),
            object_lock_mode: found.lock.clone().map(ObjectLockMode::from),
            object_lock_retain_until_date: found.until.map(at),
            version_id: input.version_id,
            ..HeadObjectOutput::default()
        }))
    }

    async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        const PAGE: usize = 3;
        let input = request.input;
        let prefix = input.prefix.unwrap_or_default();
        let mut state = self.0.lock();
        state.log.push(format!("ListObjectVersions {} {prefix}", input.bucket));
        let after = (input.key_marker.unwrap_or_default(), input.version_id_marker.unwrap_or_default());
        // the newest version of a name comes first
        let mut all: Vec<(String, String, Option<Planted>)> = Vec::new();
        for (bucket, key) in state.objects.keys().filter(|(of, key)| *of == *input.bucket && key.starts_with(&prefix)) {
            let here = state.planted.iter().filter(|(name, _)| name.0 == *bucket && name.1 == *key);
            let planted = here.enumerate().map(|(n, (_, what))| (key.clone(), format!("b{n}"), Some(*what)));
            all.extend([(key.clone(), "a".to_owned(), None)].into_iter().chain(planted));
        }
        // as in versitygw: a page begins with the last entry of the previous page
        all.retain(|(key, version, _)| (key, version) >= (&after.0, &after.1));
        let next = (all.len() > PAGE).then(|| all[PAGE - 1].clone());
        all.truncate(PAGE);
        let (markers, versions): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.2 == Some(Planted::Marker));
        let versions = versions.into_iter().map(|(key, version, _)| ObjectVersion {
            key: Some(key),
            version_id: Some(version),
            ..ObjectVersion::default()
        });
        let markers = markers.into_iter().map(|(key, version, _)| DeleteMarkerEntry {
            key: Some(key),
            version_id: Some(version),
            ..DeleteMarkerEntry::default()
        });
        Ok(S3Response::new(ListObjectVersionsOutput {
            versions: Some(versions.collect()),
            delete_markers: Some(markers.collect()),
            is_truncated: Some(next.is_some()),
            next_key_marker: next.clone().map(|next| next.0),
            next_version_id_marker: next.map(|next| next.1),
            ..ListObjectVersionsOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        const PAGE: usize = 2;
        let input = request.input;
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.unwrap_or_default();
        let mut state = self.0.lock();
        state.log.push(format!("ListObjectsV2 {} {prefix}", input.bucket));
        let bucket = input.bucket.to_string();
        let names: Vec<String> = state
            .objects
            .keys()
            .filter(|(of, key)| *of == bucket && key.starts_with(&prefix) && *key > after)
            .filter(|name| !state.is_hidden(name))
            .map(|(_, key)| key.clone())
            .collect();
        let page: Vec<String> = names.iter().take(PAGE).cloned().collect();
        let next = (names.len() > PAGE).then(|| page.last().unwrap().clone());
        let modified = Some(Timestamp::from(time::OffsetDateTime::UNIX_EPOCH));
        let objects =
            page.into_iter().map(|key| Object { key: Some(key), last_modified: modified.clone(), ..Object::default() });
        Ok(S3Response::new(ListObjectsV2Output {
            contents: Some(objects.collect()),
            is_truncated: Some(next.is_some()),
            next_continuation_token: next,
            ..ListObjectsV2Output::default()
        }))
    }
}
