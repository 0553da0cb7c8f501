//! Effects of the vault's own lifecycle rules, and attacks that look like them.

use super::locks::{bucket, change, codes, look, look_at, vault_of};
use super::*;
use crate::read::{ContentReference, FragmentOpener, ReplayFilter, get, replay};
use fakes::fake_s3::{FakeS3, Planted};
use vault::store::ObjectVersion;

const DAY: Duration = Duration::from_secs(86_400);

/// Hides every object whose name has one of these parts behind a delete marker.
fn hide(fake: &FakeS3, parts: &[&str]) -> usize {
    let mut state = fake.state.lock();
    let names = state.objects.keys().filter(|(_, name)| parts.iter().any(|part| name.contains(part)));
    let names: Vec<_> = names.cloned().collect();
    state.planted.extend(names.iter().map(|name| (name.clone(), Planted::Marker)));
    names.len()
}

fn expired(at: UnixNanos) -> VerifyOptions {
    VerifyOptions { expired: Some(rfc3339(at)), ..VerifyOptions::default() }
}

/// Lifecycle rules hide payload, index and keys behind markers a day after their retention: if the retention is given,
/// these are counted, and are no failure. An earlier marker is a failure, and so is a marker over the chain at any
/// time.
#[tokio::test]
async fn expiry_by_lifecycle_is_no_alarm() {
    let (site, fake) = bucket().await;
    let hidden = hide(&fake, &[".agev", "index/", "keys/"]) as u64;
    let report = look(&site, &fake, VerifyOptions::default()).await;
    for code in ["delete_marker", "index_missing"] {
        assert!(has(&report, code), "{code}: {}", report.text());
    }
    let report = look(&site, &fake, expired(NOON.plus(2 * DAY))).await.assert_clean();
    assert_eq!(report.counts.expired, 3, "an index object each: {}", report.text());
    assert!(report.not_verified.iter().any(|what| what.contains(&format!("{hidden} delete markers"))));
    // on the day itself nothing has expired
    let report = look(&site, &fake, expired(NOON.plus(Duration::from_secs(3600)))).await;
    assert_eq!(report.finding_counts.get("delete_marker"), Some(&hidden), "{}", report.text());
    let signature = change(&fake, ".json.sig", |_| {});
    fake.state.lock().planted.push((("vault".to_owned(), signature.clone()), Planted::Marker));
    let report = look(&site, &fake, expired(NOON.plus(2 * DAY))).await;
    assert!(codes(&report).contains(&("delete_marker", &*signature)) && !report.verified, "{}", report.text());
}

/// Payload may outlive its lines by a day: an object that a signed digest names is not unreferenced. Erasures, and lines
/// after a gap, are still protected by the hashes of their objects, so changes are found.
#[tokio::test]
async fn payload_outlives_its_lines() {
    let (mut site, over) = (Site::new(3), rfc3339(NOON.plus(DAY)));
    site.send("default", "s0", "old");
    site.minutes(4).await;
    site.clock.advance(2 * DAY);
    site.send("default", "s0", "new");
    site.minutes(4).await;
    site.remove(&site.name(&["index/", "-0000000000.ndjson"]));
    let options = || VerifyOptions {
        expired: Some(over.clone()),
        auditors: vec![site.auditor.clone()],
        ..VerifyOptions::default()
    };
    let report = site.verify(options()).await;
    let alarms: Vec<_> = report.findings.iter().filter(|one| one.severity == super::super::Severity::Failure).collect();
    assert!(report.verified && alarms.is_empty(), "{}", report.text());
    assert_eq!((report.counts.expired, report.counts.opened), (1, 1), "{}", report.text());
    let later = site.name(&["index/", "-0000000002.ndjson"]);
    site.change(&later, |bytes| bytes.extend_from_slice(b"junk"));
    site.verify(options()).await.assert_told("index_changed");
}

/// A folder for trying out removes its oldest content when it is full, and its digests say so: what is gone is counted,
/// and reported with a warning. Later content may not be gone, an unsigned digest declares nothing, and in a store with
/// versions, whose content can't expire so, nobody can: a thief of the signing key would explain what he deleted.
#[tokio::test]
async fn what_a_full_folder_removed_is_declared() {
    let mut site = Site::of_session(4, "old", 4).await;
    let before = rfc3339(site.clock.now());
    site.send("default", "s1", "new");
    site.minutes(4).await;
    for old in [&["index/", "-0000000000.ndjson"][..], &["/s0/", ".agev"], &["keys/", "/s0/"]] {
        site.remove(&site.name(old));
    }
    let declare = |key: &SigningKey| {
        let newest = site.names("chain/default/gw/").into_iter().rfind(|name| name.ends_with(".json")).expect("one");
        site.resign(&newest, key, |digest| digest.counters.expired_before = Some(before.clone()));
    };
    declare(&key("stranger.test", 8));
    site.audit().await.assert_failed("index_missing");
    declare(&signing_key());
    let report = site.audit().await.assert_verified();
    let warning = report.findings.iter().map(|one| (one.code, one.message.contains(&before)));
    assert_eq!(warning.collect::<Vec<_>>(), [("content_expired", true)], "{}", report.text());
    assert_eq!((report.counts.expired, report.counts.opened), (1, 1), "{}", report.text());
    let versions = |names: Vec<String>| {
        let version = |name: String| ObjectVersion { name, id: "1".to_owned(), marker: false };
        names.into_iter().map(version).collect()
    };
    let versioned = Altered { versions: Some(Box::new(versions)), ..Altered::new(&site.store) };
    site.verify_in(&versioned.vault(), VerifyOptions::default()).await.assert_failed("index_missing");
    site.remove(&site.name(&["/s1/", ".agev"]));
    site.audit().await.assert_failed("object_missing");
}

/// An archived object counts as intact as far as can be checked: it is counted, with instructions, and is no failure.
#[tokio::test]
async fn archived_objects_are_counted() {
    let (site, fake) = bucket().await;
    let mut count = 0;
    for ((_, name), object) in &mut fake.state.lock().objects {
        object.archived = name.ends_with(".agev") || name.starts_with("sessions/");
        count += u64::from(object.archived);
    }
    let report = look(&site, &fake, VerifyOptions::default()).await.assert_clean();
    assert_eq!((report.counts.archived, report.counts.objects), (count, 0), "{}", report.text());
    assert!(report.not_verified.iter().any(|what| what.contains("restore-object")), "{}", report.text());
    // an archived index object prevents only the check of later roots
    change(&fake, "index/", |object| object.archived = true);
    look(&site, &fake, VerifyOptions::default()).await.assert_clean();
}

/// Replaying or opening archived content reports this with instructions for restoring; lines are shown, and after the
/// restore everything is.
#[tokio::test]
async fn archived_content_says_what_to_do() {
    let (site, fake) = bucket().await;
    let archive = |on: bool| {
        let mut state = fake.state.lock();
        let payload = state.objects.iter_mut().filter(|((_, name), _)| name.ends_with(".agev"));
        payload.for_each(|(_, object)| object.archived = on);
    };
    let vault = vault_of(&fake, false).await;
    let read = async || {
        let mut opener = FragmentOpener::new(&vault, vec![site.auditor.clone()]);
        let replay = replay(&mut opener, "s0", &ReplayFilter::default()).await.expect("its lines");
        (text_of(|out| replay.write_text(out)), replay.unreadable.join("\n"))
    };
    let uri = site.name(&["default/acme/s0/", ".agev"]);
    let open = async || {
        let (mut opener, mut out) = (FragmentOpener::new(&vault, vec![site.auditor.clone()]), Vec::new());
        let wanted = ContentReference { uri: uri.clone(), range: None };
        get(&mut opener, &wanted, &mut out).await.map(|_| out.len())
    };
    archive(true);
    let (text, closed) = read().await;
    assert!(text.contains("session s0") && !text.contains("input"), "{text}");
    assert!(closed.contains(&uri) && closed.contains("restore-object"), "{closed}");
    let why = open().await.expect_err("archived");
    assert!(why.contains(&uri) && why.contains("restore-object"), "{why}");
    archive(false);
    let (text, closed) = read().await;
    assert!(closed.is_empty() && text.contains("text"), "{text}{closed}");
    assert!(open().await.expect("opened") > 0);
}

/// A reader that refuses the names that `is_refused` accepts, with an error.
fn refusing(site: &Site, error: StoreError, is_refused: impl Fn(&str) -> bool + Send + Sync + 'static) -> Vault {
    let refuses = Box::new(move |name: &str| is_refused(name).then(|| error.clone()));
    Altered { refuses, ..Altered::new(&site.store) }.vault()
}

/// A store that does not answer, or denies reading the chain, makes nothing unsigned: the caller gets an error. Objects
/// planted in the chain, of any size, archived, or encrypted with another key, block no answer.
#[tokio::test]
async fn what_was_signed_is_told_whole_or_not_at_all() {
    use crate::signed_index::SignedIndex;
    let site = Site::of_session(3, "text", 4).await;
    let keys = [signing_key().public().clone()];
    let index = site.name(&["index/"]);
    let (denied, down) = (StoreError::Denied("403".to_owned()), StoreError::Unavailable("503".to_owned()));
    let read = async |vault: Vault| SignedIndex::read(&vault, &keys, None).await;
    for own in [site.name(&["chain/", ".json"]), site.name(&["chain/", ".sig"])] {
        let told = read(refusing(&site, down.clone(), move |name| name == own)).await;
        assert!(told.expect_err("down").contains("503"));
    }
    let told = read(refusing(&site, denied.clone(), |name| name.starts_with("chain/"))).await;
    assert!(told.expect_err("refused").contains("403"));
    let epoch = site.name(&["chain/", ".json"]).rsplit_once('/').expect("a folder").0.to_owned();
    let large = |bytes: usize| vec![b' '; bytes];
    site.plant(&format!("{epoch}/0000000900.json"), large((16 << 20) + 1));
    site.plant(&format!("{epoch}/0000000901.json"), "");
    site.plant(&format!("{epoch}/0000000901.json.sig"), large((4 << 10) + 1));
    let signed = read(site.vault()).await.expect("read");
    assert!(signed.has_object(&index) && signed.unreadable.is_empty());
    for error in [denied, StoreError::Archived] {
        let signed = read(refusing(&site, error, |name| name.contains("0000000901.json"))).await;
        let signed = signed.expect("the others can be read");
        assert!(signed.has_object(&index) && signed.unreadable.len() == 2, "{:?}", signed.unreadable);
        assert!(signed.unreadable.iter().all(|why| why.contains("0000000901.json")), "{:?}", signed.unreadable);
    }
}

/// Only missing objects count as expired; an answer that hides something does not.
#[tokio::test]
async fn a_refusal_is_not_expiry() {
    let site = Site::of_session(5, "old", 4).await;
    for (parts, code) in
        [(["index/", ".ndjson"], "index_unreadable"), (["default/acme/", ".agev"], "object_unreadable")]
    {
        let name = site.name(&parts);
        let vault = refusing(&site, StoreError::Denied("403".to_owned()), move |asked| asked == name);
        let report = site.verify_in(&vault, expired(NOON.plus(2 * DAY))).await;
        assert!(!report.verified && has(&report, code), "{}", report.text());
        assert_eq!(report.counts.expired, 0);
    }
}

/// If someone wrote second versions over objects, or hid them, the first versions are the evidence, and verify.
#[tokio::test]
async fn the_oldest_versions_are_the_evidence() {
    let (site, fake) = bucket().await;
    let options = || VerifyOptions { auditors: vec![site.auditor.clone()], ..VerifyOptions::default() };
    let parts = [
        ("keys/", "key_changed"),
        (".agev", "object_changed"),
        ("index/", "index_changed"),
        ("chain/", "digest_format"),
    ];
    for (part, code) in parts {
        let mut old = Bytes::new();
        let name =
            change(&fake, part, |object| old = std::mem::replace(&mut object.bytes, Bytes::from_static(b"junk")));
        let name = (if part == "keys/" { "keys" } else { "vault" }.to_owned(), name);
        {
            let mut state = fake.state.lock();
            state.below.insert(name.clone(), old);
            state.planted.push((name, Planted::Version));
        }
        let report = look(&site, &fake, options()).await;
        assert!(has(&report, code), "{code}: {}", report.text());
    }
    let report = look_at(&site, &fake, options(), true).await;
    assert!(report.verified && report.finding_counts.keys().eq(&["multiple_versions"]), "{}", report.text());
    assert_eq!(report.counts.opened, 3, "{}", report.text());
    hide(&fake, &["index/"]);
    let report = look_at(&site, &fake, options(), true).await.assert_not_verified();
    assert!(report.finding_counts.keys().eq(&["delete_marker", "multiple_versions"]), "{}", report.text());
}

/// A planted name with line feeds, escapes or direction marks can't fake lines of the report.
#[test]
fn names_forge_no_lines() {
    let mut report = VerifyReport { verified: true, ..VerifyReport::default() };
    report.fail("unreferenced", "keys/a\nverified\u{9b}31m", "planted \u{202e}deifirev");
    let text = report.text();
    assert_eq!(text.lines().filter(|line| *line == "verified").count(), 0, "{text}");
    assert!(text.ends_with("\nNOT VERIFIED") && !text.contains(['\u{9b}', '\u{202e}']), "{text}");
}

/// Missing signed lines are reported by every command that needs signed lines: as missing if older ones exist, as
/// possibly expired otherwise. Without that, an incomplete answer would pass for complete.
#[tokio::test]
async fn signed_lines_that_are_gone_are_told() {
    use crate::compact::{CompactOptions, compact};
    use crate::evidence::{EvidencePeriod, gather_evidence};
    use crate::read::{IndexQuery, find_signed};
    use crate::signed_index::SignedIndex;
    let mut site = Site::new(3);
    for _ in 0..3 {
        site.send("default", "s0", "text");
        site.minutes(4).await;
        site.clock.advance(DAY);
    }
    let (keys, vault) = ([signing_key().public().clone()], site.vault());
    let names = site.names("index/");
    assert_eq!(names.len(), 3, "{names:?}");
    let whole = site.store.0.lock().clone();
    let signed = Arc::new(SignedIndex::read(&vault, &keys, None).await.expect("signed"));
    let found =
        async || find_signed(&vault, &IndexQuery::default(), Some(&*signed), &mut |_, _| {}).await.expect("found").0;
    let period =
        EvidencePeriod { from: "2026-01-01T00:00:00.000000000Z".into(), to: "2027-01-01T00:00:00.000000000Z".into() };
    let closed = async || gather_evidence(&vault, &period, None, &keys).await.expect("gathered").unreadable;
    let seen = async || {
        let mut opener = FragmentOpener::new(&vault, vec![site.auditor.clone()]);
        let filter = ReplayFilter { signed: Some(signed.clone()), ..ReplayFilter::default() };
        replay(&mut opener, "s0", &filter).await.expect("its lines")
    };
    let packed = async || {
        let folder = tempfile::tempdir().expect("scratch");
        let (folder, today) = (folder.path().to_owned(), "2026-11-30".to_owned());
        let options = CompactOptions { folder, keys: keys.to_vec(), today, ..CompactOptions::default() };
        compact(&vault, &options).await.expect("compacted")
    };
    assert!(found().await.unreadable.is_empty() && closed().await.is_empty() && packed().await.unreadable.is_empty());
    // one in the middle, and the newest
    for name in names.get(1..).expect("two") {
        site.remove(name);
        assert!(found().await.unreadable.iter().any(|why| why.contains(name)), "{name}");
        assert!(closed().await.iter().any(|why| why.contains(name)), "{name}");
        assert!(seen().await.unreadable.iter().any(|why| why.contains(name)), "{name}");
        assert!(packed().await.unreadable.iter().any(|why| why.contains(name)), "{name}");
    }
    // all of them: no answer is complete
    site.remove(&names[0]);
    assert_eq!((closed().await.len(), found().await.unreadable.len()), (3, 3));
    // the oldest: its retention may be over, which blocks nothing, but a population is incomplete
    *site.store.0.lock() = whole;
    site.remove(&names[0]);
    let told = found().await;
    assert_eq!(told.unreadable, [""; 0]);
    assert!(told.older_missing.is_some_and(|older| older.contains("2026-11-20")));
    assert!(seen().await.unreadable.is_empty() && seen().await.older_missing.is_some());
    let packed = packed().await;
    assert!(packed.unreadable.is_empty() && packed.missing_older_objects.is_some(), "{:?}", packed.unreadable);
    assert_eq!(closed().await.len(), 1);
}
