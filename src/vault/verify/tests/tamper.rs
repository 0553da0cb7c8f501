//! Every row of the table of attacks in docs/vault.md, on objects as they are really written. Each is detected, or the
//! table says that it is not.

use super::*;

mod chain;
mod planted;

/// Two epochs, two accounts, several digests, objects of several fragments.
async fn site() -> Site {
    let site = written(&[]).await;
    let report = site.audit().await;
    assert!(report.verified && report.findings.is_empty(), "{}", report.text());
    site
}

/// The same, into a store where somebody has taken some names.
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

fn codes(report: &Report) -> Vec<&'static str> {
    report.found.keys().copied().collect()
}

/// Found, with this code, and not by the way.
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

/// The digest of the first epoch that names index lines, by turns.
fn with_index(site: &Site) -> (String, Digest) {
    let objects = site.store.0.lock();
    let mut digests =
        objects.iter().filter(|(name, _)| name.starts_with("chain/default/gw/E0000/") && name.ends_with(".json"));
    let found = digests.find_map(|(name, bytes)| {
        let digest: Digest = serde_json::from_slice(bytes).expect("digest");
        digest.index.as_ref().filter(|index| index.first_leaf > 0).map(|_| (name.clone(), digest.clone()))
    });
    found.expect("a digest with lines")
}

/// Payload: a byte, an object replaced by another whole one, bytes cut off or put behind, an object gone or in another's
/// place.
#[tokio::test]
async fn payload_is_watched() {
    let object = ["default/acme/s0/", "E0000", ".agev"];
    let s = site().await;
    s.change(&s.name(&object), |bytes| *bytes.last_mut().expect("a byte") ^= 1);
    found(&s, "fragment", "a byte").await;
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
    found(&s, "fragment", "zeros").await;
}

/// Two fragments of one object swapped, whole; also where the thief of the key signs what fits.
#[tokio::test]
async fn swapped_fragments_are_found() {
    let s = site().await;
    let name = s.name(&["default/acme/s0/", "E0000", ".agev"]);
    let bytes = s.store.0.lock().get(&name).cloned().expect("there");
    let second = memchr::memmem::find_iter(&bytes, b"age-encryption.org/v1\n").nth(1).expect("two fragments");
    let swapped = [&bytes[second..], &bytes[..second]].concat();
    s.change(&name, |bytes| *bytes = swapped);
    found(&s, "fragment", "fragments swapped").await;
}

/// Index: lines changed, added, removed, in another order; the object gone, renamed, planted.
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
                // who can sign, and makes the digest fit the object, still has another root than the note before
                let sha256 = crate::hex::encode(&sha2::Sha256::digest(s.store.0.lock().get(&key).expect("there")));
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
    found(&s, "stray", "an index object planted").await;
    s.remove(&key);
    found(&s, "index_missing", "an index object gone").await;
}

/// A fragment put into another session's object, whole, by somebody who can sign: what is inside tells.
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
    assert!(!report.verified && codes(&report).contains(&"fragment"), "{}", report.text());
    // keys: without an erasure that says so, a missing key is told
    let s = site().await;
    let keys: Vec<String> =
        s.store.0.lock().keys().filter(|name| name.starts_with("keys/default/acme/s0/")).cloned().collect();
    keys.iter().for_each(|name| s.remove(name));
    found(&s, "key_missing", "keys destroyed without a word").await;
}

/// What the spool lost is told in the chain: lines of kind `gap` in their places, and fragments as lost.
#[tokio::test]
async fn losses_are_told() {
    let mut s = Site::new(5);
    for n in 0..4 {
        s.send("default", &format!("s{n}"), "text");
    }
    s.journal.damage(crate::pipeline::spool::RecordKind::Leaf, 1);
    s.minutes(10).await;
    let report = s.audit().await;
    assert!(report.verified, "{}", report.text());
    assert_eq!((report.counts.leaves, report.counts.gaps), (8, 2), "{}", report.text());
}

/// A run that ended early goes on, and sees what was changed behind it.
#[tokio::test]
async fn a_run_goes_on() {
    let s = site().await;
    let folder = tempfile::tempdir().expect("scratch");
    let path = folder.path().join("resume.json");
    let options = || Options { resume: Some(path.clone()), ..Options::default() };
    let first = s.verify(options()).await;
    let again = s.verify(options()).await;
    assert!(first.verified && again.verified, "{}", again.text());
    assert_eq!(first.counts, again.counts, "nothing is counted twice");
    s.resign(&s.name(&FIRST), &signing_key(), |digest| digest.counters.acked = 99);
    assert!(!s.verify(options()).await.verified);
}
