//! Versions and locks, as a strict S3 reports them.

use super::super::RequiredLock;
use super::super::locks::{LockProblem, judge_lock};
use super::*;
use crate::location::VaultLocation;
use fakes::fake_s3::{FakeS3, KEYS, Planted, Stored};
use kernel::secret::Secret;
use vault::store::settings::{LockMode, S3Settings};
use vault::store::{S3Store, VersionLock};

const DAYS: u64 = 86_400;
const WANTED: RequiredLock = RequiredLock { mode: LockMode::Compliance, least: Duration::from_secs(100 * DAYS) };

/// A vault in a bucket and a key bucket, locked for 100 days.
pub(super) async fn bucket() -> (Site, FakeS3) {
    let mut site = Site::new(7);
    for n in 0..3 {
        site.send("default", &format!("s{n}"), "text");
        site.minutes(2).await;
    }
    assert!(site.uploader.drain().await);
    let fake = FakeS3::start(true).await;
    let written = i64::try_from(NOON.seconds()).expect("a time");
    for (name, bytes) in site.store.0.lock().iter() {
        let (bucket, lock) = if name.starts_with("keys/") { ("keys", "GOVERNANCE") } else { ("vault", "COMPLIANCE") };
        let until = Some(written + 100 * DAYS as i64);
        let stored = Stored { bytes: bytes.clone(), lock: Some(lock.to_owned()), until, written, archived: false };
        fake.state.lock().objects.insert((bucket.to_owned(), name.clone()), stored);
    }
    (site, fake)
}

pub(super) async fn look(site: &Site, fake: &FakeS3, options: VerifyOptions) -> VerifyReport {
    look_at(site, fake, options, false).await
}

/// As [`look`], for the newest versions or the oldest.
pub(super) async fn look_at(site: &Site, fake: &FakeS3, options: VerifyOptions, oldest: bool) -> VerifyReport {
    let vault = vault_of(fake, oldest).await;
    site.verify_in(&vault, options).await
}

/// The vault as an auditor reaches it.
pub(super) async fn vault_of(fake: &FakeS3, oldest: bool) -> Vault {
    let settings = S3Settings {
        bucket: "vault".into(),
        key_bucket: "keys".into(),
        prefix: String::new(),
        region: "eu-west-1".into(),
        endpoint: Some(fake.url()),
        force_path_style: true,
        lock: None,
        ca_file: None,
    };
    let store = S3Store::with_credentials(settings, KEYS.0, &Secret::new(KEYS.1.into())).await.expect("store");
    Vault::new(Arc::new(store.with_oldest_versions(oldest)), "", Some("vault".into()))
}

fn wanted() -> VerifyOptions {
    VerifyOptions { retention: Some(WANTED), ..VerifyOptions::default() }
}

/// Changes the first object whose name has this part.
pub(super) fn change(fake: &FakeS3, part: &str, change: impl FnOnce(&mut Stored)) -> String {
    let mut state = fake.state.lock();
    let (name, object) = state.objects.iter_mut().find(|((_, key), _)| key.contains(part)).expect("an object");
    change(object);
    name.1.clone()
}

pub(super) fn codes(report: &VerifyReport) -> Vec<(&str, &str)> {
    report.findings.iter().map(|finding| (finding.code, finding.location.as_str())).collect()
}

/// Every correct object of a vault is counted, across pages, keys included, and nothing is found.
#[tokio::test]
async fn a_locked_vault_verifies() {
    let (site, fake) = bucket().await;
    let report = look(&site, &fake, wanted()).await.assert_clean();
    assert_eq!(report.counts.locked, fake.state.lock().objects.len() as u64, "{}", report.text());
    assert!(!report.not_verified.iter().any(|what| what.contains("lock")), "{}", report.text());
    let report = look(&site, &fake, VerifyOptions::default()).await.assert_verified();
    assert_said(&report.not_verified, "--retention");
    let report = look(&site, &fake, VerifyOptions { no_locks: true, ..VerifyOptions::default() }).await;
    assert!(report.counts.locked == 0 && report.not_verified.iter().any(|what| what.contains("--no-locks")));
    let heads = fake.state.lock().log.iter().filter(|line| line.starts_with("HeadObject")).count();
    assert_eq!(heads, 2 * fake.state.lock().objects.len(), "a request for each object, none with --no-locks");
}

/// An object that is not locked, not for long enough, or only under governance is found if a retention is required.
#[tokio::test]
async fn weak_locks_are_found() {
    let (site, fake) = bucket().await;
    let open = change(&fake, "index/", |object| (object.lock, object.until) = (None, None));
    let short = change(&fake, ".json.sig", |object| object.until = object.until.map(|until| until - 2 * DAYS as i64));
    let weak = change(&fake, ".agev", |object| object.lock = Some("GOVERNANCE".into()));
    let key = change(&fake, "keys/", |object| object.lock = Some("COMPLIANCE".into()));
    let report = look(&site, &fake, wanted()).await;
    let mut found = codes(&report);
    found.sort_unstable();
    let mut expected = vec![
        ("key_in_compliance_mode", &*key),
        ("insufficient_lock", &*open),
        ("insufficient_lock", &*short),
        ("insufficient_lock", &*weak),
    ];
    expected.sort_unstable();
    assert_eq!(found, expected, "{}", report.text());
    assert!(!report.verified);
    // with governance required, governance is enough
    let least = Duration::from_secs(98 * DAYS);
    let asked = RequiredLock { mode: LockMode::Governance, least };
    let report = look(&site, &fake, VerifyOptions { retention: Some(asked), ..VerifyOptions::default() }).await;
    assert_eq!(codes(&report), [("insufficient_lock", &*open), ("key_in_compliance_mode", &*key)], "{}", report.text());
}

/// Without a required retention, objects locked unlike the rest are reported; a store without locks is reported once.
#[tokio::test]
async fn unlike_the_rest_is_told() {
    let (site, fake) = bucket().await;
    let open = change(&fake, "index/", |object| (object.lock, object.until) = (None, None));
    let report = look(&site, &fake, VerifyOptions::default()).await;
    assert_eq!(codes(&report), [("unlocked", &*open)], "{}", report.text());
    assert!(report.verified, "a warning");
    for object in fake.state.lock().objects.values_mut() {
        (object.lock, object.until) = (None, None);
    }
    let report = look(&site, &fake, VerifyOptions::default()).await.assert_clean();
    assert!(report.not_verified.iter().any(|what| what.contains("none of") && what.contains("is locked")));
    assert!(!look(&site, &fake, wanted()).await.verified);
}

/// A second version is a warning, a delete marker a failure; versions below it are checked all the same. The probe
/// objects of `vault doctor` are neither.
#[tokio::test]
async fn versions_and_markers_are_found() {
    let (site, fake) = bucket().await;
    let twice = change(&fake, "index/", |_| {});
    let gone = change(&fake, ".agev", |_| {});
    let tried = Stored {
        bytes: Bytes::from_static(vault::store::probe::PROBE_BODY),
        lock: None,
        until: None,
        written: 0,
        archived: false,
    };
    let doctor = ("vault".to_owned(), format!("doctor/{}", "0a".repeat(16)));
    {
        let mut state = fake.state.lock();
        state.objects.insert(doctor.clone(), tried);
        for (name, what) in [(&twice, Planted::Version), (&gone, Planted::Marker)] {
            state.planted.push((("vault".to_owned(), name.clone()), what));
        }
        state.planted.extend([(doctor.clone(), Planted::Version), (doctor, Planted::Marker)]);
    }
    let report = look(&site, &fake, wanted()).await;
    let mut found = codes(&report);
    found.sort_unstable();
    let expected = [("delete_marker", &*gone), ("multiple_versions", &*twice), ("object_missing", &*gone)];
    assert_eq!(found, expected, "{}", report.text());
}

/// Hold notes in a key bucket are checked like those beside payload: a marker over one would end a hold silently. The
/// bucket's default, governance, is a sufficient lock.
#[tokio::test]
async fn notes_of_holds_beside_keys_are_looked_at() {
    let (site, fake) = bucket().await;
    let written = i64::try_from(NOON.seconds()).expect("a time");
    let names: Vec<String> = (1..=4).map(|n| format!("holds/default/acme/s0/{n:020}.json")).collect();
    for (name, lock) in names.iter().zip([Some("GOVERNANCE"), Some("COMPLIANCE"), None, Some("GOVERNANCE")]) {
        let until = Some(written + 100 * DAYS as i64);
        let stored = Stored { bytes: Bytes::new(), lock: lock.map(str::to_owned), until, written, archived: false };
        fake.state.lock().objects.insert(("keys".to_owned(), name.clone()), stored);
    }
    fake.state.lock().planted.push((("keys".to_owned(), names[3].clone()), Planted::Marker));
    let (store, keys) = ("s3://vault".to_owned(), Some("s3://keys".to_owned()));
    let mut vault = Vault::from_location(&VaultLocation { store, keys, ..VaultLocation::default() }).expect("a vault");
    vault.reader = vault_of(&fake, false).await.reader;
    let report = site.verify_in(&vault, wanted()).await;
    assert_eq!(codes(&report), [("insufficient_lock", &*names[2]), ("delete_marker", &*names[3])], "{}", report.text());
}

/// The limits of a lock, to the hour by which clocks may differ.
#[test]
fn a_lock_is_judged_by_its_own_times() {
    let written = NOON;
    let held = |mode, days: u64, seconds: u64| VersionLock {
        written,
        lock: Some((mode, written.plus(Duration::from_secs(days * DAYS - seconds)))),
    };
    use LockMode::{Compliance, Governance};
    assert_eq!(judge_lock(Some(WANTED), false, &held(Compliance, 100, 3600)), Ok(()));
    assert!(matches!(judge_lock(Some(WANTED), false, &held(Compliance, 100, 3601)), Err(LockProblem::TooShort(_))));
    assert_eq!(judge_lock(Some(WANTED), false, &held(Governance, 400, 0)), Err(LockProblem::WrongMode));
    assert_eq!(judge_lock(Some(WANTED), true, &held(Governance, 400, 0)), Ok(()));
    assert_eq!(judge_lock(None, true, &held(Compliance, 400, 0)), Err(LockProblem::KeyUnderCompliance));
    assert_eq!(judge_lock(Some(WANTED), false, &VersionLock { written, lock: None }), Err(LockProblem::Unlocked));
    assert_eq!(judge_lock(None, false, &held(Governance, 1, 0)), Ok(()));
}
