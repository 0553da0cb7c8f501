use std::time::Duration;

use bytes::Bytes;

use super::super::probe::{ProbeScope, ProbeVerdict, probe_store};
use super::super::settings::{LockMode, ObjectLock, S3Settings};
use super::super::*;
use crate::aws::SendFailure;
use crate::testing::gateway::s3_settings;
use fakes::fake_s3::{FakeS3, Fault, KEYS};
use kernel::clock::UnixNanos;
use kernel::secret::Secret;

const NOON: UnixNanos = UnixNanos(1_795_168_800_000_000_000);

fn settings(fake: &FakeS3, lock: Option<ObjectLock>) -> S3Settings {
    S3Settings { lock, ..s3_settings(Some(fake.url())) }
}

const COMPLIANCE: Option<ObjectLock> =
    Some(ObjectLock { mode: LockMode::Compliance, retention: Duration::from_secs(400 * 86_400) });

async fn store(fake: &FakeS3, lock: Option<ObjectLock>) -> S3Store {
    S3Store::with_credentials(settings(fake, lock), KEYS.0, &Secret::new(KEYS.1.into())).await.expect("store")
}

async fn put(store: &S3Store, kind: ObjectKind, name: &str, bytes: &'static [u8]) -> Result<PutOutcome, StoreError> {
    store.put_once(kind, name, Bytes::from_static(bytes), NOON).await
}

/// A put has condition, checksum and lock, goes to the right bucket, and makes no other request.
#[tokio::test]
async fn puts_are_conditional_checksummed_and_locked() {
    let fake = FakeS3::start(true).await;
    let store = store(&fake, COMPLIANCE).await;
    assert_eq!(put(&store, ObjectKind::Key, "p/keys/k.age", b"key").await, Ok(PutOutcome::Written));
    assert_eq!(put(&store, ObjectKind::Payload, "p/a b%2F#?/x.agev", b"payload").await, Ok(PutOutcome::Written));
    assert_eq!(put(&store, ObjectKind::Index, "p/index/dt=2026-11-20/i", b"").await, Ok(PutOutcome::Written));
    let state = fake.state.lock();
    let until = Some(1_795_168_800 + 400 * 86_400);
    let stored: Vec<_> = state
        .objects
        .iter()
        .map(|((bucket, key), one)| (bucket.as_str(), key.as_str(), one.lock.as_deref(), one.until))
        .collect();
    assert_eq!(
        stored,
        [
            ("audit-keys", "p/keys/k.age", Some("GOVERNANCE"), until),
            ("audit-logs", "p/a b%2F#?/x.agev", Some("COMPLIANCE"), until),
            ("audit-logs", "p/index/dt=2026-11-20/i", Some("COMPLIANCE"), until),
        ]
    );
    assert!(state.log.iter().all(|line| line.starts_with("PutObject ")), "a writer needs only put: {:?}", state.log);
}

/// An existing name is a success for the writer, and its object is unchanged.
#[tokio::test]
async fn an_existing_name_is_not_overwritten() {
    let fake = FakeS3::start(false).await;
    let store = store(&fake, None).await;
    assert_eq!(put(&store, ObjectKind::Payload, "x", b"one").await, Ok(PutOutcome::Written));
    assert_eq!(put(&store, ObjectKind::Payload, "x", b"two").await, Ok(PutOutcome::Exists));
    assert_eq!(store.get(ObjectKind::Payload, "x", None).await.expect("there"), "one");
    assert_eq!(store.get(ObjectKind::Payload, "x", Some((1, 2))).await.expect("there"), "ne");
    assert_eq!(store.get(ObjectKind::Payload, "y", None).await, Err(StoreError::Missing));
}

/// Each answer is classified: retry, report, or check the machine.
#[tokio::test]
async fn faults_are_told_apart() {
    let fake = FakeS3::start(false).await;
    let store = store(&fake, None).await;
    for (fault, label) in [
        (Fault::Conflict, "retry"),
        (Fault::AccessDenied, "denied"),
        (Fault::BadDigest, "corrupt"),
        (Fault::SlowDown, "retry"),
    ] {
        fake.state.lock().faults.push_back(fault);
        let failed = put(&store, ObjectKind::Payload, "x", b"one").await.expect_err("a fault");
        assert_eq!(failed.label(), label, "{fault:?}: {failed}");
        fake.state.lock().faults.clear();
    }
    assert!(fake.state.lock().objects.is_empty());
    // stored, but the answer is lost: the uploader's next attempt finds the object; the SDK does not retry
    fake.state.lock().faults.push_back(Fault::LostAnswer);
    assert_eq!(put(&store, ObjectKind::Payload, "x", b"one").await.expect_err("no answer").label(), "retry");
    assert_eq!(put(&store, ObjectKind::Payload, "x", b"one").await, Ok(PutOutcome::Exists));
}

/// A wrong lock, bucket or secret is reported as a configuration error, without the secret.
#[tokio::test]
async fn misconfiguration_is_denied() {
    let fake = FakeS3::start(true).await;
    let failed = put(&store(&fake, None).await, ObjectKind::Payload, "x", b"one").await.expect_err("no lock");
    assert_eq!(failed, StoreError::Denied("400 InvalidRequest".to_owned()));
    let wrong = S3Store::with_credentials(settings(&fake, COMPLIANCE), KEYS.0, &Secret::new("WRONG".into()))
        .await
        .expect("store");
    let failed = put(&wrong, ObjectKind::Payload, "x", b"one").await.expect_err("wrong secret");
    assert_eq!(failed, StoreError::Denied("403 SignatureDoesNotMatch".to_owned()));
    let bad = S3Settings { ca_file: Some("/dev/null".into()), ..settings(&fake, None) };
    assert!(
        S3Store::with_credentials(bad, KEYS.0, &Secret::new(KEYS.1.into())).await.is_err(),
        "no certificate inside"
    );
}

/// Listings cover all pages and stay within their prefix.
#[tokio::test]
async fn lists_are_whole() {
    let fake = FakeS3::start(false).await;
    let store = store(&fake, None).await;
    for name in ["p/1", "p/2", "p/3", "p/4", "p/5", "q/1"] {
        put(&store, ObjectKind::Payload, name, b"x").await.expect("put");
    }
    assert_eq!(store.list(ObjectKind::Payload, "p/").await.expect("list"), ["p/1", "p/2", "p/3", "p/4", "p/5"]);
    assert_eq!(store.list(ObjectKind::Key, "p/").await.expect("list"), Vec::<String>::new());
}

/// Credentials with read access are reported, with a remedy; if nothing can be written, the tests of that bucket end.
#[tokio::test]
async fn doctor_tells_what_a_writer_may_too_much() {
    let fake = FakeS3::start(true).await;
    let lock = ObjectLock { mode: LockMode::Compliance, retention: Duration::from_secs(100 * 86_400) };
    let checks =
        probe_store(&store(&fake, Some(lock)).await, "id", NOON, ProbeScope::Permissions).await.expect("tried");
    let of = |what: &str| checks.iter().filter(|check| check.property.contains(what)).collect::<Vec<_>>();
    assert!(of("may write a locked object").iter().all(|check| check.verdict == ProbeVerdict::Holds), "{checks:?}");
    assert!(of("can't be overwritten").iter().all(|check| check.verdict == ProbeVerdict::Holds), "{checks:?}");
    for what in ["can't read", "can't list"] {
        let found = of(what);
        assert_eq!(found.len(), 2);
        assert!(
            found.iter().all(|check| check.verdict == ProbeVerdict::Fails && !check.remedy.is_empty()),
            "{found:?}"
        );
    }
    let nowhere = S3Settings { bucket: "no-such-bucket".to_owned(), ..settings(&fake, Some(lock)) };
    let store = S3Store::with_credentials(nowhere, "wrong", &Secret::new("wrong".to_owned())).await.expect("a client");
    let checks = probe_store(&store, "id2", NOON, ProbeScope::Permissions).await.expect("tried");
    assert!(
        checks.len() == 2
            && checks.iter().all(|check| check.verdict == ProbeVerdict::Fails && !check.remedy.is_empty()),
        "{checks:?}"
    );
}

/// Each cause has its own remedy: a wrong secret is not a missing permission, a dead endpoint not a missing credential.
#[tokio::test]
async fn doctor_names_the_cause() {
    let fake = FakeS3::start(true).await;
    let cannot = async |store: &S3Store| {
        let checks = probe_store(store, "id", NOON, ProbeScope::Permissions).await.expect("tried");
        checks.first().map(|check| format!("{} / {}", check.answer, check.remedy)).expect("a check")
    };
    let with = async |settings: S3Settings, key: &str, secret: &str| {
        S3Store::with_credentials(settings, key, &Secret::new(secret.to_owned())).await.expect("a client")
    };
    let told = cannot(&with(settings(&fake, COMPLIANCE), KEYS.0, "WRONG").await).await;
    assert!(told.contains("the credentials are wrong") && !told.contains("s3:PutObject"), "{told}");
    fake.state.lock().faults.push_back(Fault::AccessDenied);
    let told = cannot(&with(settings(&fake, COMPLIANCE), KEYS.0, KEYS.1).await).await;
    assert!(told.contains("s3:PutObject"), "{told}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address");
    let dead = S3Settings { endpoint: Some(format!("http://{free}")), ..settings(&fake, COMPLIANCE) };
    let told = cannot(&with(dead, KEYS.0, KEYS.1).await).await;
    assert!(
        told.starts_with("no connection: Connection refused ") && told.contains("/ no server listens there"),
        "{told}"
    );
    let none = aws_sdk_s3::error::ConnectorError::other("the credential provider was not enabled".into(), None);
    assert_eq!(SendFailure::from_connector(Some(&none)), SendFailure::NoCredentials);
}

/// A store without checksum support is distinguished from a bucket without Object Lock, however it words the refusal.
#[tokio::test]
async fn doctor_tells_checksums_from_locks() {
    let fake = FakeS3::start(true).await;
    let store = store(&fake, COMPLIANCE).await;
    let told = async |answer: (&'static str, &'static str)| {
        fake.state.lock().no_checksums = Some(answer);
        let checks = probe_store(&store, "id", NOON, ProbeScope::Permissions).await.expect("tried");
        assert_eq!(checks.len(), 2, "nothing else is tried: {checks:?}");
        checks.first().map(|check| format!("{} / {}", check.answer, check.remedy)).expect("a check")
    };
    for answer in [
        ("InvalidArgument", "x-amz-checksum-sha256 is not supported"),
        ("InvalidRequest", "Value for x-amz-checksum-sha256 header is invalid."),
        ("XAmzContentSHA256Mismatch", ""),
        ("InvalidRequest", "unsupported SHA256"),
        ("NotImplemented", "A header you provided implies functionality that is not implemented"),
    ] {
        let told = told(answer).await;
        assert!(told.contains("x-amz-checksum-sha256") && !told.contains("Object Lock"), "{answer:?}: {told}");
    }
    for answer in [("InvalidRequest", "Bucket is missing Object Lock Configuration"), ("InvalidArgument", "")] {
        let told = told(answer).await;
        assert!(told.contains("enable Object Lock") && !told.contains("checksum"), "{answer:?}: {told}");
    }
}
