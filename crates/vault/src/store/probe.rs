//! [`probe`] tests what a writer's credentials may do to its buckets. A vault that its own gateway can read, empty or
//! overwrite proves nothing, and only a test shows whether a policy works.
//!
//! The tests use probe objects of their own, never evidence. They can't be undone: each run leaves small locked objects
//! until their retention ends. Answers contain error codes, never bodies. Neighbours: `vault/policy` generates
//! policies; the command line shows the results.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::aws::{NO_CONNECTION, NO_CREDENTIALS, NO_TIME, not_sent};
use kernel::clock::UnixNanos;

use super::object::StoreError;
use super::s3::S3Store;
use super::settings::LockMode;

/// Result of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The expected property, in one line.
    pub what: String,
    /// Whether the property holds.
    pub verdict: Verdict,
    /// The store's answer.
    pub answer: String,
    /// What to do about a failure; empty if the property holds.
    pub remedy: String,
}

/// Outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The property holds.
    Holds,
    /// The property does not hold, which weakens the evidence.
    Fails,
    /// The property does not hold, but another safeguard covers it.
    Weak,
}

/// The store's answer to a request.
enum Answer {
    /// Success, with the version that was created, if any.
    Done(Option<String>),
    /// Refused, with status and error code.
    Refused(u16, String),
    /// Refused because the store does not accept a put's checksum; status and error code.
    NoChecksum(u16, String),
    /// No answer; the reason.
    None(String),
}

impl Answer {
    fn of<T, E: ProvideErrorMetadata>(
        result: Result<T, SdkError<E>>,
        version: impl FnOnce(&T) -> Option<&str>,
    ) -> Self {
        match result {
            Ok(done) => Self::Done(version(&done).map(str::to_owned)),
            Err(SdkError::ServiceError(service)) => {
                let status = service.raw().status().as_u16();
                Self::Refused(status, service.err().code().unwrap_or_default().to_owned())
            }
            Err(SdkError::TimeoutError(_)) => Self::None(NO_TIME.to_owned()),
            Err(SdkError::DispatchFailure(failure)) => Self::None(not_sent(failure.as_connector_error()).to_owned()),
            Err(_) => Self::None("the answer can't be read".to_owned()),
        }
    }

    /// As [`Self::of`], for a put, which carries a checksum.
    fn of_put<E: ProvideErrorMetadata>(result: Result<PutObjectOutput, SdkError<E>>) -> Self {
        let message = match &result {
            Err(SdkError::ServiceError(service)) => service.err().message().unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        match Self::of(result, |done| done.version_id()) {
            Self::Refused(status, code) if is_about_checksums(status, &code, &message) => {
                Self::NoChecksum(status, code)
            }
            other => other,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Done(_) => "done".to_owned(),
            Self::Refused(status, code) | Self::NoChecksum(status, code) => {
                format!("{status} {code}").trim_end().to_owned()
            }
            Self::None(why) => why.clone(),
        }
    }

    fn is(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused(status, _) if *status == wanted)
    }
}

/// Whether a refusal concerns the checksum that each put carries, rather than locks. A store that does not know a
/// header answers `NotImplemented`, and seldom names the header.
fn is_about_checksums(status: u16, code: &str, message: &str) -> bool {
    let named = |text: &str| {
        let text = text.to_ascii_lowercase();
        ["checksum", "sha256", "sha-256"].iter().any(|word| text.contains(word))
    };
    let locks = message.to_ascii_lowercase().replace([' ', '-'], "").contains("objectlock");
    match code {
        "NotImplemented" => !locks,
        _ => status == 400 && (named(code) || named(message)),
    }
}

/// The remedy for error codes about credentials, whatever the request was.
fn identity(code: &str) -> Option<&'static str> {
    Some(match code {
        "SignatureDoesNotMatch" => {
            "the credentials are wrong: the secret (AWS_SECRET_ACCESS_KEY) is not the one of this access key"
        }
        "InvalidAccessKeyId" | "InvalidClientTokenId" | "UnrecognizedClientException" => {
            "the credentials are wrong: the store does not know this access key (AWS_ACCESS_KEY_ID)"
        }
        "ExpiredToken" | "InvalidToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
            "the credentials are over, or not of this store: get new ones (AWS_SESSION_TOKEN)"
        }
        "RequestTimeTooSkewed" => "set this machine's clock: the store takes no request with such a time",
        "AuthorizationHeaderMalformed" | "PermanentRedirect" => "the bucket is in another region: set `region`",
        _ => return None,
    })
}

/// The property that the first test checks.
const WRITES: &str = "the writer may write a locked object";
/// Body of a probe object.
pub const BODY: &[u8] = b"tollgate vault doctor\n";
/// Name suffixes of probe objects with another lock.
const LOCKS: [&str; 4] = ["-unlocked", "-short", "-long", "-mode"];

/// Whether a name, without the vault's prefix, is that of a probe object: its id is 16 random bytes in hex.
pub fn is_probe(name: &str) -> bool {
    let Some(file) = name.strip_prefix("keys/").unwrap_or(name).strip_prefix("doctor/") else { return false };
    let id = LOCKS.iter().find_map(|lock| file.strip_suffix(lock)).unwrap_or(file);
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
/// A retention too short for evidence, which a policy must refuse.
const SHORT: Duration = Duration::from_secs(86_400);
/// An excess over the configured retention that a policy must refuse.
const LONGER: Duration = Duration::from_secs(30 * 86_400);

impl From<LockMode> for ObjectLockMode {
    fn from(mode: LockMode) -> Self {
        match mode {
            LockMode::Compliance => Self::Compliance,
            LockMode::Governance => Self::Governance,
        }
    }
}

/// Tests what a writer should and should not be able to do. `id` gives the probe objects unused names.
///
/// # Errors
/// The client can't be created.
pub async fn probe(store: &S3Store, id: &str, now: UnixNanos) -> Result<Vec<Check>, StoreError> {
    let client = store.client().await?;
    let settings = store.settings();
    let prefix = if settings.prefix.is_empty() { String::new() } else { format!("{}/", settings.prefix) };
    let mut out = Vec::new();
    let mode = settings.lock.map(|lock| lock.mode.into());
    let retention = settings.lock.map(|lock| lock.retention);
    let mut bucket =
        Bucket { client, name: &settings.bucket, object: format!("{prefix}doctor/{id}"), now, out: &mut out };
    bucket.all(mode, retention).await;
    let keys = settings.lock.map(|_| ObjectLockMode::Governance);
    let mut bucket =
        Bucket { client, name: &settings.key_bucket, object: format!("{prefix}keys/doctor/{id}"), now, out: &mut out };
    bucket.all(keys, retention).await;
    Ok(out)
}

/// Tests only whether a writer may write: one locked object in each bucket. `id` gives the probe objects unused names.
///
/// # Errors
/// The client can't be created.
pub async fn writes(store: &S3Store, id: &str, now: UnixNanos) -> Result<Vec<Check>, StoreError> {
    let client = store.client().await?;
    let settings = store.settings();
    let prefix = if settings.prefix.is_empty() { String::new() } else { format!("{}/", settings.prefix) };
    let mut out = Vec::new();
    let payload = settings.lock.map(|lock| (lock.mode.into(), lock.retention));
    // keys are under governance, so that they can be erased
    let keys = settings.lock.map(|lock| (ObjectLockMode::Governance, lock.retention));
    for (name, object, lock) in [
        (&settings.bucket, format!("{prefix}doctor/{id}"), payload),
        (&settings.key_bucket, format!("{prefix}keys/doctor/{id}"), keys),
    ] {
        let mut bucket = Bucket { client, name, object: object.clone(), now, out: &mut out };
        let answer = bucket.put(&object, lock).await;
        match answer {
            Answer::Done(_) => bucket.tell(WRITES, Verdict::Holds, &answer, ""),
            _ => bucket.cannot_write(&answer),
        }
    }
    Ok(out)
}

/// A bucket under test.
struct Bucket<'a> {
    client: &'a Client,
    name: &'a str,
    object: String,
    now: UnixNanos,
    out: &'a mut Vec<Check>,
}

impl Bucket<'_> {
    async fn all(&mut self, mode: Option<ObjectLockMode>, retention: Option<Duration>) {
        let name = self.object.clone();
        let lock = mode.clone().zip(retention);
        let first = self.put(&name, lock.clone()).await;
        let Answer::Done(version) = &first else { return self.cannot_write(&first) };
        self.tell(WRITES, Verdict::Holds, &first, "");
        self.overwriting(&name, lock).await;
        self.reading(&name).await;
        self.deleting(&name, version.as_deref()).await;
        if let Some((mode, retention)) = mode.zip(retention) {
            self.shortening(&name, version.as_deref(), &mode).await;
            self.other_locks(&name, mode, retention).await;
        }
    }

    fn tell(&mut self, what: &str, verdict: Verdict, answer: &Answer, remedy: &str) {
        let remedy = if verdict == Verdict::Holds { String::new() } else { remedy.to_owned() };
        self.out.push(Check { what: format!("{}: {what}", self.name), verdict, answer: answer.text(), remedy });
    }

    /// Records a check that expects a refusal.
    fn refused(&mut self, what: &str, answer: &Answer, remedy: &str) {
        let verdict = if answer.is(403) { Verdict::Holds } else { Verdict::Fails };
        self.tell(what, verdict, answer, remedy);
    }

    fn cannot_write(&mut self, answer: &Answer) {
        let remedy = match answer {
            Answer::Refused(_, code) if identity(code).is_some() => identity(code).unwrap_or_default(),
            Answer::None(why) if why == NO_CREDENTIALS => {
                "give the gateway credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role of the machine"
            }
            Answer::None(why) if why == NO_CONNECTION || why == NO_TIME => {
                "nothing answers at the endpoint: look at its address, the network, a proxy; credentials were not asked for"
            }
            Answer::Refused(403, _) => {
                "give the writer s3:PutObject and s3:PutObjectRetention (`tollgate vault policy`)"
            }
            Answer::Refused(404, _) => "make the bucket (`tollgate vault policy --format terraform`)",
            Answer::Refused(400, _) => "enable Object Lock on the bucket; it needs versioning",
            Answer::NoChecksum(..) => {
                "the store does not take the SHA-256 checksum of a put (x-amz-checksum-sha256): use a version of it that does, \
                 and no proxy that changes headers; a vault is not written without checksums"
            }
            Answer::Refused(412, _) => "the probe's name is taken: run it again",
            Answer::Refused(..) => "look the code up in the store's manual",
            Answer::Done(_) | Answer::None(_) => "look at endpoint, region and credentials",
        };
        self.tell(WRITES, Verdict::Fails, answer, remedy);
    }

    async fn put(&self, name: &str, lock: Option<(ObjectLockMode, Duration)>) -> Answer {
        let mut put = self
            .client
            .put_object()
            .bucket(self.name)
            .key(name)
            .if_none_match("*")
            .checksum_sha256(STANDARD.encode(Sha256::digest(BODY)))
            .body(ByteStream::from_static(BODY));
        if let Some((mode, retention)) = lock {
            put = put.object_lock_mode(mode).object_lock_retain_until_date(self.after(retention));
        }
        Answer::of_put(put.send().await)
    }

    fn after(&self, span: Duration) -> DateTime {
        DateTime::from_secs(i64::try_from(self.now.plus(span).seconds()).unwrap_or(i64::MAX))
    }

    async fn overwriting(&mut self, name: &str, lock: Option<(ObjectLockMode, Duration)>) {
        let answer = self.put(name, lock).await;
        let (verdict, remedy) = match &answer {
            Answer::Refused(412 | 403, _) => (Verdict::Holds, ""),
            Answer::Done(Some(_)) => (
                Verdict::Weak,
                "the store ignores If-None-Match: a second version is made beside the locked one; `vault verify` reports it",
            ),
            _ => (Verdict::Fails, "the object was replaced: use a bucket with versioning and Object Lock"),
        };
        self.tell("an object that exists can't be overwritten", verdict, &answer, remedy);
    }

    async fn reading(&mut self, name: &str) {
        let get = self.client.get_object().bucket(self.name).key(name).send().await;
        let answer = Answer::of(get, |_| None);
        self.refused("the writer can't read", &answer, "take s3:GetObject from the writer");
        let list = self.client.list_objects_v2().bucket(self.name).max_keys(1).send().await;
        let answer = Answer::of(list, |_| None);
        self.refused("the writer can't list", &answer, "take s3:ListBucket from the writer");
    }

    async fn deleting(&mut self, name: &str, version: Option<&str>) {
        let delete = self.client.delete_object().bucket(self.name).key(name).send().await;
        let answer = Answer::of(delete, |done| done.version_id());
        self.refused(
            "the writer can't hide an object behind a delete marker",
            &answer,
            "take s3:DeleteObject from the writer",
        );
        if let Some(version) = version {
            let delete = self.client.delete_object().bucket(self.name).key(name).version_id(version);
            let answer = Answer::of(delete.send().await, |_| None);
            let remedy = "the version is gone: enable Object Lock, and take s3:DeleteObjectVersion from the writer";
            self.refused("the writer can't delete a version", &answer, remedy);
            let delete = self.client.delete_object().bucket(self.name).key(name).version_id(version);
            let answer = Answer::of(delete.bypass_governance_retention(true).send().await, |_| None);
            let remedy = "take s3:BypassGovernanceRetention from the writer";
            self.refused("the writer can't delete a version past its governance", &answer, remedy);
        } else {
            let none = Answer::None("the store told no version".to_owned());
            let remedy = "enable versioning: without it a lock holds nothing";
            self.tell("objects have versions", Verdict::Fails, &none, remedy);
        }
    }

    async fn shortening(&mut self, name: &str, version: Option<&str>, mode: &ObjectLockMode) {
        let mode = match mode {
            ObjectLockMode::Compliance => ObjectLockRetentionMode::Compliance,
            _ => ObjectLockRetentionMode::Governance,
        };
        let short = ObjectLockRetention::builder().mode(mode).retain_until_date(self.after(SHORT)).build();
        let put = self.client.put_object_retention().bucket(self.name).key(name).retention(short);
        let answer = Answer::of(put.set_version_id(version.map(str::to_owned)).send().await, |_| None);
        // 404: the writer was able to delete the object that this test would use
        let remedy = match answer {
            Answer::Refused(404, _) => {
                "not tried: the probe is gone, as the writer could delete it (above); mend that, and run this again"
            }
            Answer::Refused(..) | Answer::NoChecksum(..) | Answer::None(_) => {
                "not known: the store gave another answer than a refusal"
            }
            Answer::Done(_) => "the lock is not in force: look at the bucket's Object Lock",
        };
        self.refused("a retention can't be shortened", &answer, remedy);
    }

    /// Objects that a stolen credential could write: deletable by anyone, keys that can't be erased, and objects that
    /// fill the bucket for a century (tested with one month more).
    async fn other_locks(&mut self, name: &str, mode: ObjectLockMode, retention: Duration) {
        let (other, refused) = match mode {
            ObjectLockMode::Compliance => (ObjectLockMode::Governance, "governance mode is refused"),
            _ => (ObjectLockMode::Compliance, "compliance mode is refused"),
        };
        let cases = [
            ("unlocked", "an object without a lock is refused", None),
            ("short", "a retention of a day is refused", Some((mode.clone(), SHORT))),
            ("long", "a retention that is longer by a month is refused", Some((mode, retention + LONGER))),
            ("mode", refused, Some((other, retention))),
        ];
        for (word, what, lock) in cases {
            let answer = self.put(&format!("{name}-{word}"), lock).await;
            let verdict = match &answer {
                Answer::Refused(403, _) => Verdict::Holds,
                _ => Verdict::Weak,
            };
            self.tell(
                what,
                verdict,
                &answer,
                "condition the writer's policy on mode and retention (`tollgate vault policy`)",
            );
        }
    }
}
