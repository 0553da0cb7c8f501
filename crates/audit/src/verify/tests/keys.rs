//! Objects planted among session keys.

use super::*;
use crate::read::{FragmentOpener, ReplayFilter, replay};
use pipeline::spool::RecordKind;
use vault::seal::seal_identity;
use vault::spool_record::{self, KeyHeader};

/// Names of the key objects that wait in the journal.
pub(super) fn waiting(site: &Site) -> Vec<String> {
    let keys = site.journal.of_kind(RecordKind::Key);
    keys.iter().map(|stored| spool_record::unpack::<KeyHeader>(&stored.body).expect("a key").0.name).collect()
}

/// Junk beside a session's keys (far too large, damaged, or another person's key) hides nothing: the session opens,
/// each object is reported by name, and the vault does not verify.
#[tokio::test]
async fn junk_among_keys_hides_nothing() {
    let mut site = Site::new(21);
    site.send("default", "s0", "what was said");
    let folder = waiting(&site).first().expect("a key").rsplit_once('/').expect("a folder").0.to_owned();
    assert!(site.uploader.drain().await);
    let other = age::x25519::Identity::generate();
    let foreign = seal_identity(&other, &[site.auditor.to_public()]).expect("sealed");
    let key = site.name(&["keys/", ".age"]);
    let mut cut = site.object(&key).to_vec();
    cut.truncate(cut.len() - 1);
    let junk: [(&str, Bytes); 5] = [
        ("0000.age", vec![0; (64 << 10) + 1].into()),
        ("zzzz.age", Bytes::from_static(b"garbage")),
        ("0123456789abcdef.age", foreign.into()),
        ("fedcba9876543210.age", cut.into()),
        ("empty", Bytes::new()),
    ];
    for (name, bytes) in &junk {
        site.plant(&format!("{folder}/{name}"), bytes.clone());
    }
    let report = site.audit().await;
    assert_eq!(report.finding_counts.get("key_unreadable"), Some(&5), "{}", report.text());
    assert!(!report.verified && report.counts.opened == 1, "{}", report.text());
    for (name, _) in &junk {
        assert!(report.findings.iter().any(|one| one.location.ends_with(name)), "{name}: {}", report.text());
    }
    let vault = site.vault();
    let mut opener = FragmentOpener::new(&vault, vec![site.auditor.clone()]);
    let read = replay(&mut opener, "s0", &ReplayFilter::default()).await.expect("read");
    assert_eq!(read.unreadable.len(), 5, "{:?}", read.unreadable);
    assert!(text_of(|out| read.write_text(out)).contains("what was said"));
}

/// A key whose name was taken before the gateway wrote it is stored under an alternative name, in the form of a copy's,
/// and opens its session; after a crash too, once the alternative name is saved.
#[tokio::test]
async fn a_key_whose_name_was_taken_is_not_lost() {
    for crash in [false, true] {
        let mut site = Site::new(22);
        site.send("default", "s0", "what was said");
        let name = waiting(&site).pop().expect("a key");
        site.plant(&name, "planted");
        if crash {
            site.uploader.step().await;
            site.uploader.step().await;
            site.restart(0);
        }
        assert!(site.uploader.drain().await);
        let stem = name.strip_suffix(".age").expect("a key").to_owned() + "-";
        assert_eq!(site.names(&stem).len(), 1, "crash: {crash}");
        let report = site.audit().await;
        assert!(has(&report, "key_unreadable") && !has(&report, "key_missing"), "{}", report.text());
        assert_eq!(report.counts.opened, 1, "{}", report.text());
    }
}

/// A key that opens nothing of a vault proves nothing about its content: this is reported, and the check does not end
/// as successful. Without keys of auditors and anchors, the report says that content and age were not checked.
#[tokio::test]
async fn a_strangers_key_is_told() {
    let site = Site::of_session(24, "what was said", 0).await;
    let stranger = VerifyOptions { auditors: vec![age::x25519::Identity::generate()], ..VerifyOptions::default() };
    let report = site.verify(stranger).await;
    assert!(report.verified && report.opened_nothing() && report.counts.fragments > 0, "{}", report.text());
    let text = report.text();
    assert!(text.contains("warning identity_opens_nothing") && !text.ends_with("\nverified"), "{text}");
    let with_nothing_asked = site.verify(VerifyOptions::default()).await;
    assert!(!with_nothing_asked.opened_nothing() && !site.audit().await.opened_nothing());
    ["--identity", "--anchor"].iter().for_each(|option| assert_said(&with_nothing_asked.not_verified, option));
}

/// If all key objects are gone, that is a failure, not something unchecked; if keys were not checked, the report says
/// so.
#[tokio::test]
async fn a_vault_without_any_key_does_not_verify() {
    let site = Site::of_session(25, "what was said", 0).await;
    site.store.0.lock().retain(|name, _| !name.starts_with("keys/"));
    site.verify(VerifyOptions::default()).await.assert_failed("key_missing");
    let report = site.verify(VerifyOptions { no_payload: true, ..VerifyOptions::default() }).await;
    assert_said(&report.not_verified, "session keys (--no-payload)");
}

/// Keys are checked whatever the range or the account: an unreferenced or missing one is reported.
#[tokio::test]
async fn keys_outside_of_the_range_are_looked_at() {
    let site = Site::of_session(26, "what was said", 0).await;
    let far = || VerifyOptions { from: Some("2099-01-01T00:00:00.000000000Z".to_owned()), ..VerifyOptions::default() };
    assert!(site.verify(far()).await.findings.is_empty());
    let key = site.name(&["keys/", ".age"]);
    let bytes = site.object(&key);
    let planted = key.replace(".age", "/copy.age");
    site.plant(&planted, bytes);
    for options in [far(), VerifyOptions { account: Some("default".to_owned()), ..far() }] {
        site.verify(options).await.assert_that(|report| has_at(report, "unreferenced", &planted));
    }
    site.remove(&planted);
    site.remove(&key);
    site.verify(far()).await.assert_failed("key_missing");
}
