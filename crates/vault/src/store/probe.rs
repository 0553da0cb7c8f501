//! [`probe_store`] tests what a writer's credentials may do to its buckets. A vault that its own gateway can
//! read, empty or overwrite proves nothing, and only a test shows whether a policy works.
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

use crate::aws::SendFailure;
use kernel::clock::UnixNanos;
use kernel::sha256::Sha256;

use super::object::StoreError;
use super::s3::S3Store;
use super::settings::LockMode;

/// Result of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeCheck {
    /// The expected property, in one line.
    pub property: String,
    /// Whether the property holds.
    pub verdict: ProbeVerdict,
    pub answer: String,
    /// What to do about a failure; empty if the property holds.
    pub remedy: String,
}

impl ProbeCheck {
    /// A check that passed, or its fault and remedy.
    pub fn new(property: impl Into<String>, result: Result<(), (String, String)>) -> Self {
        let verdict = if result.is_ok() { ProbeVerdict::Holds } else { ProbeVerdict::Fails };
        let (answer, remedy) = result.err().unwrap_or_default();
        Self { property: property.into(), verdict, answer, remedy }
    }

    /// A check that passed, with a warning and its remedy.
    pub fn with_warning(property: impl Into<String>, warning: (String, String)) -> Self {
        Self { verdict: ProbeVerdict::Weak, ..Self::new(property, Err(warning)) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeVerdict {
    Holds,
    /// The property does not hold, which weakens the evidence.
    Fails,
    /// The property does not hold, but another safeguard covers it.
    Weak,
}

enum StoreAnswer {
    /// Success, with the version that was created, if any.
    Done(Option<String>),
    /// Refused, with status and error code.
    Refused(u16, String),
    /// Refused because the store does not accept a put's checksum; status and error code.
    NoChecksum(u16, String),
    /// The request could not be sent, or was not answered in time.
    NotSent(SendFailure),
    /// No readable answer; the reason.
    NoAnswer(&'static str),
}

impl StoreAnswer {
    fn from_result<T, E: ProvideErrorMetadata>(
        result: Result<T, SdkError<E>>,
        version: impl FnOnce(&T) -> Option<&str>,
    ) -> Self {
        match result {
            Ok(output) => Self::Done(version(&output).map(str::to_owned)),
            Err(SdkError::ServiceError(service)) => {
                let status = service.raw().status().as_u16();
                Self::Refused(status, service.err().code().unwrap_or_default().to_owned())
            }
            Err(SdkError::TimeoutError(_)) => Self::NotSent(SendFailure::TimedOut),
            Err(SdkError::DispatchFailure(failure)) => {
                Self::NotSent(SendFailure::from_connector(failure.as_connector_error()))
            }
            Err(_) => Self::NoAnswer("the response can't be read"),
        }
    }

    /// As [`Self::from_result`], for a put, which carries a checksum.
    fn from_put<E: ProvideErrorMetadata>(result: Result<PutObjectOutput, SdkError<E>>) -> Self {
        let message = match &result {
            Err(SdkError::ServiceError(service)) => service.err().message().unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        match Self::from_result(result, |output| output.version_id()) {
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
            Self::NotSent(failure) => failure.to_string(),
            Self::NoAnswer(why) => (*why).to_owned(),
        }
    }

    fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(403, _))
    }
}

/// Whether a refusal concerns the checksum that each put carries, rather than locks. A store that does not know a
/// header answers `NotImplemented`, and seldom names the header.
fn is_about_checksums(status: u16, code: &str, message: &str) -> bool {
    let names_checksum = |text: &str| {
        let text = text.to_ascii_lowercase();
        ["checksum", "sha256", "sha-256"].iter().any(|word| text.contains(word))
    };
    let is_about_locks = message.to_ascii_lowercase().replace([' ', '-'], "").contains("objectlock");
    match code {
        "NotImplemented" => !is_about_locks,
        _ => status == 400 && (names_checksum(code) || names_checksum(message)),
    }
}

/// The remedy for error codes about credentials, whatever the request was.
fn credential_remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "SignatureDoesNotMatch" => {
            "the credentials are wrong: the secret (AWS_SECRET_ACCESS_KEY) is not the one of this access key"
        }
        "InvalidAccessKeyId" | "InvalidClientTokenId" | "UnrecognizedClientException" => {
            "the credentials are wrong: the store does not know this access key (AWS_ACCESS_KEY_ID)"
        }
        "ExpiredToken" | "InvalidToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
            "the credentials are expired or belong to another store: get new ones (AWS_SESSION_TOKEN)"
        }
        "RequestTimeTooSkewed" => "set this machine's clock: the store rejects requests whose time is too far off",
        "AuthorizationHeaderMalformed" | "PermanentRedirect" => "the bucket is in another region: set `region`",
        _ => return None,
    })
}

/// The property that the first test checks.
const WRITE_PROPERTY: &str = "the writer may write a locked object";
pub const PROBE_BODY: &[u8] = b"tollgate vault doctor\n";
/// Name suffixes of probe objects with another lock.
const LOCK_PROBE_SUFFIXES: [&str; 4] = ["-unlocked", "-short", "-long", "-mode"];

/// Whether a name, without the vault's prefix, is that of a probe object: its id is 16 random bytes in hex.
pub fn is_probe(name: &str) -> bool {
    let Some(file) = name.strip_prefix("keys/").unwrap_or(name).strip_prefix("doctor/") else { return false };
    let id = LOCK_PROBE_SUFFIXES.iter().find_map(|suffix| file.strip_suffix(suffix)).unwrap_or(file);
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
/// A retention too short for evidence, which a policy must refuse.
const SHORT_RETENTION: Duration = Duration::from_secs(86_400);
/// An excess over the configured retention that a policy must refuse.
const EXCESS_RETENTION: Duration = Duration::from_secs(30 * 86_400);

impl From<LockMode> for ObjectLockMode {
    fn from(mode: LockMode) -> Self {
        match mode {
            LockMode::Compliance => Self::Compliance,
            LockMode::Governance => Self::Governance,
        }
    }
}

/// How much a probe tests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ProbeScope {
    /// Whether a writer may write: one locked object in each bucket.
    Writes,
    /// Also what a writer should not be able to do.
    Permissions,
}

/// Tests what a writer may do. `id` gives the probe objects unused names.
pub async fn probe_store(
    store: &S3Store,
    id: &str,
    now: UnixNanos,
    scope: ProbeScope,
) -> Result<Vec<ProbeCheck>, StoreError> {
    let client = store.client().await?;
    let settings = store.settings();
    let prefix = if settings.prefix.is_empty() { String::new() } else { format!("{}/", settings.prefix) };
    let mut checks = Vec::new();
    let payload = settings.lock.map(|lock| (lock.mode.into(), lock.retention));
    // keys are under governance, so that they can be erased
    let keys = settings.lock.map(|lock| (ObjectLockMode::Governance, lock.retention));
    for (name, object, lock) in [
        (&settings.bucket, format!("{prefix}doctor/{id}"), payload),
        (&settings.key_bucket, format!("{prefix}keys/doctor/{id}"), keys),
    ] {
        BucketProbe { client, name, object, now, checks: &mut checks }.run(lock, scope).await;
    }
    Ok(checks)
}

/// A bucket under test.
struct BucketProbe<'a> {
    client: &'a Client,
    name: &'a str,
    object: String,
    now: UnixNanos,
    checks: &'a mut Vec<ProbeCheck>,
}

impl BucketProbe<'_> {
    async fn run(&mut self, lock: Option<(ObjectLockMode, Duration)>, scope: ProbeScope) {
        let name = self.object.clone();
        let answer = self.put(&name, lock.clone()).await;
        let StoreAnswer::Done(version) = &answer else { return self.add_write_failure(&answer) };
        self.add_check(WRITE_PROPERTY, ProbeVerdict::Holds, &answer, "");
        if scope == ProbeScope::Writes {
            return;
        }
        self.probe_overwrite(&name, lock.clone()).await;
        self.probe_reads(&name).await;
        self.probe_deletes(&name, version.as_deref()).await;
        if let Some((mode, retention)) = lock {
            self.probe_shorter_retention(&name, version.as_deref(), &mode).await;
            self.probe_other_locks(&name, mode, retention).await;
        }
    }

    fn add_check(&mut self, property: &str, verdict: ProbeVerdict, answer: &StoreAnswer, remedy: &str) {
        let remedy = if verdict == ProbeVerdict::Holds { String::new() } else { remedy.to_owned() };
        self.checks.push(ProbeCheck {
            property: format!("{}: {property}", self.name),
            verdict,
            answer: answer.text(),
            remedy,
        });
    }

    /// Records a check that expects a refusal.
    fn expect_refusal<T, E: ProvideErrorMetadata>(
        &mut self,
        property: &str,
        result: Result<T, SdkError<E>>,
        remedy: &str,
    ) {
        let answer = StoreAnswer::from_result(result, |_| None);
        let verdict = if answer.is_refused() { ProbeVerdict::Holds } else { ProbeVerdict::Fails };
        self.add_check(property, verdict, &answer, remedy);
    }

    fn add_write_failure(&mut self, answer: &StoreAnswer) {
        let remedy = match answer {
            StoreAnswer::Refused(_, code) if credential_remedy(code).is_some() => {
                credential_remedy(code).unwrap_or_default()
            }
            StoreAnswer::NotSent(SendFailure::NoCredentials) => {
                "set credentials for the gateway: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role of the machine"
            }
            StoreAnswer::NotSent(SendFailure::Connection { remedy, .. }) => remedy,
            StoreAnswer::NotSent(SendFailure::TimedOut) => {
                "the endpoint does not respond: check its address, the network and the proxy (credentials were not tested)"
            }
            StoreAnswer::Refused(403, _) => {
                "grant the writer s3:PutObject and s3:PutObjectRetention (`tollgate vault policy`)"
            }
            StoreAnswer::Refused(404, _) => "create the bucket (`tollgate vault policy --format terraform`)",
            StoreAnswer::Refused(400, _) => "enable Object Lock on the bucket; it needs versioning",
            StoreAnswer::NoChecksum(..) => {
                "the store rejects the SHA-256 checksum of a put (x-amz-checksum-sha256): use a version of the store that supports it, \
                 and no proxy that changes headers; tollgate never writes a vault without checksums"
            }
            StoreAnswer::Refused(412, _) => "the name of the probe object is taken: run the test again",
            StoreAnswer::Refused(..) => "look up the error code in the store's manual",
            StoreAnswer::Done(_) | StoreAnswer::NotSent(_) | StoreAnswer::NoAnswer(_) => {
                "check endpoint, region and credentials"
            }
        };
        self.add_check(WRITE_PROPERTY, ProbeVerdict::Fails, answer, remedy);
    }

    async fn put(&self, name: &str, lock: Option<(ObjectLockMode, Duration)>) -> StoreAnswer {
        let mut put = self
            .client
            .put_object()
            .bucket(self.name)
            .key(name)
            .if_none_match("*")
            .checksum_sha256(STANDARD.encode(Sha256::digest(PROBE_BODY)))
            .body(ByteStream::from_static(PROBE_BODY));
        if let Some((mode, retention)) = lock {
            put = put.object_lock_mode(mode).object_lock_retain_until_date(self.retain_until(retention));
        }
        StoreAnswer::from_put(put.send().await)
    }

    fn retain_until(&self, retention: Duration) -> DateTime {
        DateTime::from_secs(i64::try_from(self.now.plus(retention).seconds()).unwrap_or(i64::MAX))
    }

    async fn probe_overwrite(&mut self, name: &str, lock: Option<(ObjectLockMode, Duration)>) {
        let answer = self.put(name, lock).await;
        let (verdict, remedy) = match &answer {
            StoreAnswer::Refused(412 | 403, _) => (ProbeVerdict::Holds, ""),
            StoreAnswer::Done(Some(_)) => (
                ProbeVerdict::Weak,
                "the store ignores If-None-Match: it wrote a second version next to the locked one, which `vault verify` reports",
            ),
            _ => (ProbeVerdict::Fails, "the object was replaced: use a bucket with versioning and Object Lock"),
        };
        self.add_check("an existing object can't be overwritten", verdict, &answer, remedy);
    }

    async fn probe_reads(&mut self, name: &str) {
        let get = self.client.get_object().bucket(self.name).key(name).send().await;
        self.expect_refusal("the writer can't read", get, "remove s3:GetObject from the writer's policy");
        let list = self.client.list_objects_v2().bucket(self.name).max_keys(1).send().await;
        self.expect_refusal("the writer can't list", list, "remove s3:ListBucket from the writer's policy");
    }

    async fn probe_deletes(&mut self, name: &str, version: Option<&str>) {
        let delete = self.client.delete_object().bucket(self.name).key(name);
        let property = "the writer can't hide an object behind a delete marker";
        let remedy = "remove s3:DeleteObject from the writer's policy";
        self.expect_refusal(property, delete.clone().send().await, remedy);
        let Some(version) = version else {
            let answer = StoreAnswer::NoAnswer("the store returned no version id");
            let remedy = "enable versioning: without it, a lock protects nothing";
            return self.add_check("objects have versions", ProbeVerdict::Fails, &answer, remedy);
        };
        let delete = delete.version_id(version);
        let remedy =
            "the version was deleted: enable Object Lock, and remove s3:DeleteObjectVersion from the writer's policy";
        self.expect_refusal("the writer can't delete a version", delete.clone().send().await, remedy);
        let property = "the writer can't bypass governance to delete a version";
        let remedy = "remove s3:BypassGovernanceRetention from the writer's policy";
        self.expect_refusal(property, delete.bypass_governance_retention(true).send().await, remedy);
    }

    async fn probe_shorter_retention(&mut self, name: &str, version: Option<&str>, mode: &ObjectLockMode) {
        let mode = match mode {
            ObjectLockMode::Compliance => ObjectLockRetentionMode::Compliance,
            _ => ObjectLockRetentionMode::Governance,
        };
        let short =
            ObjectLockRetention::builder().mode(mode).retain_until_date(self.retain_until(SHORT_RETENTION)).build();
        let put = self.client.put_object_retention().bucket(self.name).key(name).retention(short);
        let answer = StoreAnswer::from_result(put.set_version_id(version.map(str::to_owned)).send().await, |_| None);
        // 404: the writer was able to delete the object that this test would use
        let (verdict, remedy) = match answer {
            StoreAnswer::Refused(403, _) => (ProbeVerdict::Holds, ""),
            StoreAnswer::Done(_) => {
                (ProbeVerdict::Fails, "the lock is not in force: check the bucket's Object Lock configuration")
            }
            StoreAnswer::Refused(404, _) => (
                ProbeVerdict::Fails,
                "not tested, because the writer was able to delete the probe object (see above): fix that, then run the test again",
            ),
            _ => (ProbeVerdict::Fails, "unknown: the store answered neither with success nor with a refusal (403)"),
        };
        self.add_check("a retention can't be shortened", verdict, &answer, remedy);
    }

    /// Objects that a stolen credential could write: deletable by anyone, keys that can't be erased, and objects that
    /// fill the bucket for a century (tested with one month more).
    async fn probe_other_locks(&mut self, name: &str, mode: ObjectLockMode, retention: Duration) {
        let (other_mode, other_mode_refused) = match mode {
            ObjectLockMode::Compliance => (ObjectLockMode::Governance, "governance mode is refused"),
            _ => (ObjectLockMode::Compliance, "compliance mode is refused"),
        };
        let cases = [
            ("unlocked", "an object without a lock is refused", None),
            ("short", "a retention of a day is refused", Some((mode.clone(), SHORT_RETENTION))),
            (
                "long",
                "a retention one month longer than configured is refused",
                Some((mode, retention + EXCESS_RETENTION)),
            ),
            ("mode", other_mode_refused, Some((other_mode, retention))),
        ];
        for (suffix, property, lock) in cases {
            let answer = self.put(&format!("{name}-{suffix}"), lock).await;
            let verdict = if answer.is_refused() { ProbeVerdict::Holds } else { ProbeVerdict::Weak };
            let remedy = "restrict lock mode and retention in the writer's policy (`tollgate vault policy`)";
            self.add_check(property, verdict, &answer, remedy);
        }
    }
}
