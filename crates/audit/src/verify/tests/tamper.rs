//! Every row of the table of attacks in docs/vault.md, on realistically written objects. Each attack is detected, or
//! the table says that it is not.

use super::*;
use crate::testing::site::{Layer, Over};

mod chain;
mod forged;
mod planted;
mod rolled_back;

/// Two epochs, two accounts, several digests, objects of several fragments.
async fn site() -> Site {
    let site = written(&[]).await;
    let report = site.audit().await;
    assert!(report.verified && report.findings.is_empty(), "{}", report.text());
    site
}

/// The same, in a store where some names were taken beforehand.
async fn written(taken: &[String]) -> Site {
    let mut site = Site::new(1);
    site.store.0.lock().extend(taken.iter().map(|name| (name.clone(), Bytes::from_static(b"junk"))));
    for n in 0..6 {
        site.send("default", &format!("s{}", n % 2), &format!("text {n}"));
        site.send("default", &format!("s{}", n % 2), &format!("more {n}"));
        site.send("team", "t", "team");
        site.minutes(3).await;
    }
    assert!(site.uploader.drain().await);
    site.restart(100);
    for n in 0..3 {
        site.send("default", "s0", &format!("later {n}"));
        site.minutes(3).await;
    }
    site
}

const FIRST: [&str; 3] = ["chain/default/", "/E0000/", "0000000002.json"];

fn codes(report: &VerifyReport) -> Vec<&'static str> {
    report.finding_counts.keys().copied().collect()
}

/// Checks that the attack is detected, with this code.
async fn found(site: &Site, code: &str, what: &str) {
    let report = site.audit().await;
    assert!(!report.verified, "{what} was not detected");
    assert!(codes(&report).contains(&code), "{what}: {}", report.text());
}

fn thief() -> SigningKey {
    let text = SigningKey::generate("vault.test", &SeededRng::new(99)).expect("key");
    SigningKey::from_secret(&text).expect("key")
}

fn lines(site: &Site, name: &str) -> Vec<String> {
    let bytes = site.store.0.lock().get(name).cloned().expect("there");
    let text = String::from_utf8(zstd::decode_all(&bytes[..]).expect("zstd")).expect("text");
    text.lines().map(str::to_owned).collect()
}

fn set_lines(site: &Site, name: &str, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    site.change(name, |bytes| *bytes = zstd::bulk::compress(text.as_bytes(), 3).expect("zstd"));
}

/// A digest of the first epoch whose index object has lines after the first one.
fn with_index(site: &Site) -> (String, ChainDigest) {
    let objects = site.store.0.lock();
    let mut digests =
        objects.iter().filter(|(name, _)| name.starts_with("chain/default/gw/E0000/") && name.ends_with(".json"));
    let found = digests.find_map(|(name, bytes)| {
        let digest: ChainDigest = serde_json::from_slice(bytes).expect("digest");
        digest.index.as_ref().filter(|index| index.first_leaf > 0).map(|_| (name.clone(), digest.clone()))
    });
    found.expect("a digest with lines")
}

/// Payload: a changed byte, an object replaced by another intact one, bytes cut off or appended, an object missing or
/// in another's place.
#[tokio::test]
async fn payload_is_watched() {
    let object = ["default/acme/s0/", "E0000", ".agev"];
    let s = site().await;
    s.change(&s.name(&object), |bytes| *bytes.last_mut().expect("a byte") ^= 1);
    found(&s, "fragment_changed", "a byte").await;
    found(&s, "object_changed", "a byte").await;
    let s = site().await;
    let other = s.name(&["default/acme/s1/", "E0000", ".agev"]);
    let other = s.store.0.lock().get(&other).cloned().expect("there");
    s.change(&s.name(&object), |bytes| *bytes = other.to_vec());
    found(&s, "object_changed", "an object replaced").await;
    let s = site().await;
    s.change(&s.name(&object), |bytes| bytes.truncate(bytes.len() - 5));
    found(&s, "object_changed", "an object cut").await;
    let s = site().await;
    s.change(&s.name(&object), |bytes| bytes.extend_from_slice(b"more"));
    found(&s, "object_changed", "bytes behind").await;
    let s = site().await;
    s.remove(&s.name(&object));
    found(&s, "object_missing", "an object gone").await;
    let s = site().await;
    s.change(&s.name(&object), |bytes| bytes.fill(0));
    found(&s, "fragment_changed", "zeros").await;
}

/// Two intact fragments of one object swapped; also if a thief of the key signs matching lines.
#[tokio::test]
async fn swapped_fragments_are_found() {
    let s = site().await;
    let name = s.name(&["default/acme/s0/", "E0000", ".agev"]);
    let bytes = s.store.0.lock().get(&name).cloned().expect("there");
    let second = memchr::memmem::find_iter(&bytes, b"age-encryption.org/v1\n").nth(1).expect("two fragments");
    let swapped = [&bytes[second..], &bytes[..second]].concat();
    s.change(&name, |bytes| *bytes = swapped);
    found(&s, "fragment_changed", "fragments swapped").await;
}

/// Index: lines changed, added, removed or reordered; the object missing, renamed or planted.
#[tokio::test]
async fn lines_are_watched() {
    type Change = fn(&mut Vec<String>);
    let changes: [(&str, Change); 4] = [
        ("a line changed", |lines| lines[0] = lines[0].replace("\"ok\"", "\"no\"")),
        ("a line added", |lines| lines.push(lines[0].clone())),
        ("a line removed", |lines| drop(lines.pop())),
        ("lines in another order", |lines| lines.swap(0, 1)),
    ];
    for (what, change) in changes {
        for resign in [false, true] {
            let s = site().await;
            let (digest, said) = with_index(&s);
            let key = said.index.expect("lines").key;
            let mut text = lines(&s, &key);
            change(&mut text);
            set_lines(&s, &key, &text);
            if resign {
                // someone who can sign, and adapts the digest to the object, still has another root than in the signed
                // note
                let sha256 =
                    kernel::hex::encode(&kernel::sha256::Sha256::digest(s.store.0.lock().get(&key).expect("there")));
                s.resign(&digest, &signing_key(), |digest| digest.index.as_mut().expect("lines").sha256 = sha256);
                found(&s, "root", what).await;
                found(&s, "link", what).await;
            } else {
                found(&s, "index_changed", what).await;
                found(&s, "root", what).await;
            }
        }
    }
    let s = site().await;
    let (_, said) = with_index(&s);
    let key = said.index.expect("lines").key;
    let bytes = s.store.0.lock().get(&key).cloned().expect("there");
    s.store.0.lock().insert(key.replace("E0000-", "E0000-9"), bytes);
    found(&s, "unreferenced", "an index object planted").await;
    s.remove(&key);
    found(&s, "index_missing", "an index object gone").await;
}

/// An intact fragment put into another session's object by someone who can sign: its content reveals it.
#[tokio::test]
async fn what_is_inside_must_agree() {
    let s = site().await;
    let name = s.name(&["default/acme/s0/", "E0000", ".agev"]);
    let other = s.name(&["default/acme/s1/", "E0000", ".agev"]);
    let other = s.store.0.lock().get(&other).cloned().expect("there");
    let ends: Vec<usize> = memchr::memmem::find_iter(&other, b"age-encryption.org/v1\n").collect();
    let fragment = other.slice(..ends.get(1).copied().unwrap_or(other.len()));
    s.change(&name, |bytes| *bytes = fragment.to_vec());
    let report = s.audit().await;
    assert!(!report.verified && codes(&report).contains(&"fragment_changed"), "{}", report.text());
    // keys: a missing key without a recorded erasure is reported
    let s = site().await;
    let keys: Vec<String> =
        s.store.0.lock().keys().filter(|name| name.starts_with("keys/default/acme/s0/")).cloned().collect();
    keys.iter().for_each(|name| s.remove(name));
    found(&s, "key_missing", "keys destroyed without a word").await;
}

/// Losses in the spool are recorded in the chain: lines of kind `gap` in place of lost ones, and fragments as lost.
#[tokio::test]
async fn losses_are_told() {
    let mut s = Site::new(5);
    for n in 0..4 {
        s.send("default", &format!("s{n}"), "text");
    }
    s.journal.damage(pipeline::spool::RecordKind::Leaf, 1);
    s.minutes(10).await;
    let report = s.audit().await;
    assert!(report.verified, "{}", report.text());
    assert_eq!((report.counts.leaves, report.counts.gaps), (8, 2), "{}", report.text());
}

/// An interrupted run is resumed, and notices changes behind it.
#[tokio::test]
async fn a_run_goes_on() {
    let s = site().await;
    let folder = tempfile::tempdir().expect("scratch");
    let path = folder.path().join("resume.json");
    let options = || VerifyOptions { resume: Some(path.clone()), ..VerifyOptions::default() };
    let first = s.verify(options()).await;
    let again = s.verify(options()).await;
    assert!(first.verified && again.verified, "{}", again.text());
    assert_eq!(first.counts, again.counts, "nothing is counted twice");
    s.resign(&s.name(&FIRST), &signing_key(), |digest| digest.counters.acked = 99);
    assert!(!s.verify(options()).await.verified);
}

/// A store that fails when payload is listed: a run ends early, after following the chains.
struct Breaking(Arc<Memory>);

impl Over for Breaking {
    fn under(&self) -> &Memory {
        &self.0
    }

    fn list<'a>(&'a self, kind: ObjectKind, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        match kind {
            ObjectKind::Payload => Box::pin(async { Err(StoreError::Unavailable("503".to_owned())) }),
            kind => VaultReader::list(self.under(), kind, prefix),
        }
    }
}

/// A run with these options that ends early.
async fn broken_off(s: &Site, options: VerifyOptions) {
    let vault = Vault::new(Arc::new(Layer(Breaking(s.store.clone()))), "", None);
    let options = VerifyOptions { keys: vec![signing_key().public().clone()], now: s.clock.now(), ..options };
    verify(&vault, &options, &mut |_| {}).await.expect_err("the store failed");
}

/// A run's limits must not carry over to the next: saved positions count only for a run with the same options. Changes
/// made before a resumed run are found by it; a completed run leaves no positions.
#[tokio::test]
async fn a_run_that_looked_at_less_is_not_taken_up() {
    let folder = tempfile::tempdir().expect("scratch");
    let path = folder.path().join("resume.json");
    let options = || VerifyOptions { resume: Some(path.clone()), ..VerifyOptions::default() };
    let s = site().await;
    let auditors = || vec![s.auditor.clone()];
    let far = || Some("2099-01-01T00:00:00.000000000Z".to_owned());
    // resumed with the same options, to the same counts
    broken_off(&s, VerifyOptions { auditors: auditors(), ..options() }).await;
    let before = std::fs::read(&path).expect("positions");
    let went_on = s.verify(VerifyOptions { auditors: auditors(), ..options() }).await;
    assert!(went_on.verified, "{}", went_on.text());
    assert_eq!(went_on.counts, s.audit().await.counts);
    assert!(went_on.not_verified.iter().any(|what| what.contains("a part of the chain")), "{}", went_on.text());
    let payload = s.name(&["default/acme/", ".agev"]);
    s.change(&payload, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 1));
    for less in [
        VerifyOptions { no_payload: true, ..options() },
        VerifyOptions { to: Some("2020".to_owned()), ..options() },
        VerifyOptions { from: far(), ..options() },
    ] {
        broken_off(&s, less).await;
        let report = s.verify(options()).await;
        assert!(!report.verified, "{}", report.text());
    }
    // content missing for this run: an earlier one with a wider `expired` allowed it
    s.remove(&payload);
    broken_off(&s, VerifyOptions { expired: far(), ..options() }).await;
    let report = s.verify(options()).await;
    assert!(report.finding_counts.contains_key("object_missing"), "{}", report.text());
    // a completed run: the next one reads everything again, and knows the digests seen
    std::fs::write(&path, before).expect("written");
    let done = s.verify(options()).await;
    assert!(!done.verified, "other auditors: {}", done.text());
    let last = s.name(&["chain/team/gw/E0000/", "0.json"]);
    let epoch = last.rsplit_once('/').expect("a folder").0.to_owned();
    s.store.0.lock().retain(|name, _| !name.starts_with(&epoch));
    let report = s.verify(options()).await;
    let gone = |one: &super::super::VerifyFinding| one.code == "history_changed" && one.location.starts_with(&epoch);
    assert!(report.findings.iter().any(gone), "{}", report.text());
}

/// A completed run's file hides no later change.
#[tokio::test]
async fn a_completed_run_is_begun_anew() {
    let folder = tempfile::tempdir().expect("scratch");
    let options = || VerifyOptions { resume: Some(folder.path().join("resume.json")), ..VerifyOptions::default() };
    let s = site().await;
    for parts in [["index/", "account=default"], ["default/acme/", ".agev"]] {
        assert!(s.verify(options()).await.verified);
        let (name, mut kept) = (s.name(&parts), Vec::new());
        s.change(&name, |bytes| {
            kept.clone_from(bytes);
            bytes.truncate(bytes.len() / 2);
        });
        let report = s.verify(options()).await;
        assert!(!report.verified, "{name}: {}", report.text());
        s.change(&name, |bytes| *bytes = kept);
    }
}

/// Objects planted beside the chain don't block an anchor; a broken chain does.
#[tokio::test]
async fn an_anchor_looks_at_the_chain_alone() {
    let s = site().await;
    let plant = |name: &str| drop(s.store.0.lock().insert(name.to_owned(), Bytes::from_static(b"junk")));
    let payload = s.name(&["default/acme/", ".agev"]);
    plant(&payload.replace("gw-E0000", "gw-E0000-9"));
    plant("index/v1/account=default/dt=2026-11-20/gw-E0000-0000099999.ndjson.zst");
    plant("sessions/junk");
    plant("chain/junk");
    let chain = || VerifyOptions { chain_only: true, ..VerifyOptions::default() };
    assert!(
        !s.verify(VerifyOptions { no_payload: true, ..VerifyOptions::default() }).await.verified,
        "they are unreferenced"
    );
    let report = s.verify(chain()).await;
    assert!(report.verified && !report.heads.is_empty(), "{}", report.text());
    s.resign(&s.name(&FIRST), &signing_key(), |digest| digest.counters.acked = 99);
    let report = s.verify(chain()).await;
    assert!(!report.verified && report.finding_counts.contains_key("link"), "{}", report.text());
    let (heads, left) = report.anchorable();
    assert!(left == ["default/gw"] && heads.len() == 1 && heads[0].account == "team", "the others are anchored");
}

/// A foreign object in a digest's place, after the newest digest or where the gateway had to avoid it, is reported, and
/// blocks no anchor; a digest missing before the newest one does.
#[tokio::test]
async fn planted_digests_stop_no_anchor() {
    let chain = || VerifyOptions { chain_only: true, ..VerifyOptions::default() };
    let s = site().await;
    let whole = s.verify(chain()).await.heads;
    let newest = whole.iter().find(|head| head.account == "default").expect("a head").digest.clone();
    let name = format!("chain/default/gw/{}/{:010}.json", newest.epoch, newest.n + 1);
    s.store.0.lock().insert(name, Bytes::from_static(b"junk"));
    s.store.0.lock().insert("chain/default/gw/E0000/9999999999.json".to_owned(), Bytes::from_static(b"{}"));
    let report = s.verify(chain()).await;
    assert!(!report.verified, "it is told");
    assert_eq!(report.anchorable(), (whole, Vec::new()), "{}", report.text());
    // taken before the gateway wrote there
    let taken = site().await.name(&FIRST);
    let s = written(std::slice::from_ref(&taken)).await;
    let report = s.verify(chain()).await;
    let (heads, left) = report.anchorable();
    assert!(!report.verified && left.is_empty() && heads.len() == 2, "{}", report.text());
    // missing
    let s = site().await;
    s.remove(&s.name(&FIRST));
    let (heads, left) = s.verify(chain()).await.anchorable();
    assert!(left == ["default/gw"] && heads.len() == 1);
}
