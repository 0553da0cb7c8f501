//! Every row of the table of attacks in docs/vault.md, on objects as they are really written. Each is detected, or the
//! table says that it is not.

use super::*;
use crate::vault::verify::anchor;

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

/// Who can write and nothing else takes names in advance: nothing is lost, and it is told. Payload goes under another name,
/// lines and digests under another epoch.
#[tokio::test]
async fn names_taken_in_advance_lose_nothing() {
    let twin = site().await;
    let payload = twin.name(&["default/acme/s0/", "E0000", ".agev"]);
    let s = written(std::slice::from_ref(&payload)).await;
    let report = s.audit().await;
    assert_eq!(codes(&report), ["stray"], "{}", report.text());
    assert_eq!(report.counts.fragments, twin.audit().await.counts.fragments);
    let stem = payload.strip_suffix(".agev").expect("payload");
    assert_eq!(s.store.0.lock().keys().filter(|name| name.starts_with(stem)).count(), 2);

    let (digest, said) = with_index(&twin);
    for name in [said.index.expect("lines").key, format!("{digest}.sig"), digest.clone()] {
        let s = written(std::slice::from_ref(&name)).await;
        let report = s.audit().await;
        assert!(codes(&report).contains(&"fork"), "{name}: {}", report.text());
        let lost = ["index_missing", "object_missing", "fragment", "root", "counters"];
        assert!(!codes(&report).iter().any(|code| lost.contains(code)), "{name}: {}", report.text());
        assert_eq!(report.counts.fragments, twin.audit().await.counts.fragments, "{name}: {}", report.text());
    }
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

/// A planted payload object must not pass for evidence.
#[tokio::test]
async fn planted_payload_is_found() {
    let s = site().await;
    let name = s.name(&["default/acme/s0/", "E0000", ".agev"]);
    let bytes = s.store.0.lock().get(&name).cloned().expect("there");
    s.store.0.lock().insert("default/acme/s0/2026-11-20/gw-E0000-0000000099.agev".to_owned(), bytes);
    found(&s, "stray", "payload planted").await;
}

/// Digests: gone, changed, signed by somebody else, in another place, reordered, without signature.
#[tokio::test]
async fn digests_are_watched() {
    let s = site().await;
    s.remove(&s.name(&FIRST));
    found(&s, "digest_missing", "a digest in the middle").await;
    let s = site().await;
    s.change(&s.name(&FIRST), |bytes| {
        let at = memchr::memmem::find(bytes, b"\"acked\":").expect("counters");
        bytes[at + 8] = b'9';
    });
    found(&s, "signature", "a digest changed").await;
    let s = site().await;
    s.resign(&s.name(&FIRST), &thief(), |digest| digest.counters.acked = 99);
    found(&s, "signature", "a digest of somebody else").await;
    let s = site().await;
    s.remove(&format!("{}.sig", s.name(&FIRST)));
    found(&s, "signature", "no signature").await;
    let s = site().await;
    s.resign(&s.name(&FIRST), &signing_key(), |digest| digest.counters.acked = 99);
    found(&s, "link", "a digest signed anew").await;
    let s = site().await;
    let (one, two) = (s.name(&FIRST), s.name(&["chain/default/", "/E0000/", "0000000003.json"]));
    for end in ["", ".sig"] {
        let mut objects = s.store.0.lock();
        let (a, b) = (objects[&format!("{one}{end}")].clone(), objects[&format!("{two}{end}")].clone());
        objects.insert(format!("{one}{end}"), b);
        objects.insert(format!("{two}{end}"), a);
    }
    found(&s, "moved", "digests in another order").await;
    let s = site().await;
    let copies: Vec<(String, Bytes)> = {
        let objects = s.store.0.lock();
        let team = objects.iter().filter(|(name, _)| name.starts_with("chain/team/"));
        team.map(|(name, bytes)| (name.replace("team", "other"), bytes.clone())).collect()
    };
    s.store.0.lock().extend(copies);
    found(&s, "moved", "a chain under another account").await;
    let s = site().await;
    s.store.0.lock().insert("chain/default/gw/E0000/hello".to_owned(), Bytes::new());
    found(&s, "stray", "something else in the chain's folder").await;
}

/// What is planted under names that no gateway gives, or of epochs that nobody knows, is told by name: never only counted.
#[tokio::test]
async fn planted_names_are_told() {
    let s = site().await;
    let real = s.name(&["index/v1/account=default/", "E0000", ".ndjson.zst"]);
    let lines = s.store.0.lock().get(&real).cloned().expect("there");
    let plant = |name: &str| drop(s.store.0.lock().insert(name.to_owned(), lines.clone()));
    let strange = [
        "index/v1/account=default/dt=2000-01-01/a",
        "index/v1/x",
        "index/v2/account=default/dt=2026-11-20/gw-E0000-0000000000.ndjson.zst",
        // an epoch that begins in the future, and one that is none
        "index/v1/account=default/dt=9999-12-31/gw-7ZZZZZZZZZZZZZZZZZZZZZZZZZ-0000000000.ndjson.zst",
        "index/v1/account=default/dt=2026-11-20/gw-F0000-0000000000.ndjson.zst",
    ];
    strange.iter().for_each(|name| plant(name));
    // one that may just have begun: a warning that names it
    let begun = "index/v1/account=default/dt=2026-11-20/other-01KAFMGG00ABCDEFGHJKMNPQRS-0000000000.ndjson.zst";
    plant(begun);
    let report = s.audit().await;
    assert!(!report.verified);
    let of = |code: &str| {
        report.findings.iter().filter(|one| one.code == code).map(|one| one.at.clone()).collect::<Vec<_>>()
    };
    let mut stray = of("stray");
    let mut wanted: Vec<String> = strange.iter().map(|name| (*name).to_owned()).collect();
    stray.sort();
    wanted.sort();
    assert_eq!(stray, wanted);
    assert_eq!(of("unclaimed"), [begun]);
}

/// What is planted into the index neither ends a search nor stands for what was written: it is told, the first line of a
/// number that a gateway's object holds is shown.
#[tokio::test]
async fn planted_objects_end_no_search() {
    use crate::vault::read::{Filter, Opener, Query, find, find_signed, replay};
    use crate::vault::signed::Signed;
    let s = site().await;
    let vault = Vault::new(s.store.clone(), "", None);
    let query = Query { session: Some("s0".to_owned()), ..Query::default() };
    let whole = find(&vault, &query, &mut |_| {}).await.expect("found");
    assert!(whole.closed.is_empty() && whole.lines > 0);
    let real = s.name(&["index/v1/account=default/", "E0000", ".ndjson.zst"]);
    let forged: Vec<String> = lines(&s, &real).iter().map(|line| line.replace("\"s0\"", "\"forged\"")).collect();
    let packed = zstd::bulk::compress(forged.join("\n").as_bytes(), 3).expect("zstd");
    for (name, bytes) in [
        ("index/v1/x", b"garbage".to_vec()),
        ("index/v1/account=default/dt=2000-01-01/a", packed.clone()),
        ("index/v1/account=default/dt=2000-01-01/other-E0000-0000000000.ndjson.zst", packed.clone()),
        ("index/v1/account=default/dt=2026-11-20/gw-E0009-0000000000.ndjson.zst", b"garbage".to_vec()),
        ("index/v1/account=default/dt=9999-12-31/gw-E0000-0000000000.ndjson.zst", packed),
    ] {
        s.store.0.lock().insert(name.to_owned(), Bytes::from(bytes));
    }
    let found = find(&vault, &query, &mut |_| {}).await.expect("found");
    assert_eq!((found.lines, found.closed.len()), (whole.lines, 5), "{:?}", found.closed);
    let forged = Query { session: Some("forged".to_owned()), ..Query::default() };
    assert_eq!(find(&vault, &forged, &mut |_| {}).await.expect("found").lines, 0);
    // who has the writer's key sees what is planted, and sees that it is
    let keys = [signing_key().public().clone()];
    let signed = Arc::new(Signed::read(&vault, &keys, None).await.expect("read"));
    let mut marks = Vec::new();
    let (own, others) =
        find_signed(&vault, &forged, &signed, &mut |_, unsigned| marks.push(unsigned)).await.expect("found");
    assert_eq!((own.lines, others.lines > 0, own.closed.len()), (0, true, 0));
    assert!(marks.iter().all(|unsigned| *unsigned), "{marks:?}");
    let (own, others) = find_signed(&vault, &query, &signed, &mut |_, _| {}).await.expect("found");
    assert_eq!((own.lines, others.lines), (whole.lines, 0));
    let none = Arc::new(Signed::read(&vault, &[], None).await.expect("read"));
    assert_eq!(find_signed(&vault, &query, &none, &mut |_, _| {}).await.expect("found").0.lines, 0);
    for (session, signed, marked) in [("forged", &signed, true), ("s0", &signed, false), ("s0", &none, true)] {
        let filter = Filter { signed: Some(signed.clone()), account: Some("default".to_owned()), ..Filter::default() };
        let mut opener = Opener::new(&vault, vec![s.auditor.clone()]);
        let told = replay(&vault, &mut opener, session, &filter).await.expect("told");
        let mut text = Vec::new();
        told.write(&mut text).expect("written");
        let text = String::from_utf8(text).expect("text");
        assert_eq!((text.contains("UNSIGNED"), told.unsigned() > 0), (marked, marked), "{session}: {text}");
        assert_eq!(told.json().expect("json").contains("\"unsigned\": true"), marked, "{session}");
    }
}

/// A continuation that skips lines, and is signed, is found by where the tree before it ends.
#[tokio::test]
async fn a_continuation_that_skips_lines_is_found() {
    let s = site().await;
    s.resign("chain/default/gw/E0001/0000000000.json", &signing_key(), |digest| {
        digest.continues = Some(crate::vault::chain::digest::Continues { epoch: "E0000".to_owned(), leaf: 99 });
        digest.reason = Some("damaged: x".to_owned());
    });
    let report = s.audit().await;
    let what = "do not start where those of the epoch E0000 end";
    assert!(report.findings.iter().any(|one| one.code == "size" && one.what.contains(what)), "{}", report.text());
}

/// A digest that says something false, and is signed: the walk compares everything that can be compared.
#[tokio::test]
async fn false_digests_are_found() {
    type Change = fn(&mut Digest);
    let changes: [(&str, &str, Change); 6] = [
        ("size", "a smaller tree", |digest| digest.tree_size = 1),
        ("counters", "fewer lost lines", |digest| digest.counters.gaps = 7),
        ("time", "a clock that goes back", |digest| digest.end = "2026-11-19T00:00:00.000000000Z".to_owned()),
        ("note", "a note of another tree", |_| {}),
        ("objects", "an object that no line names", |digest| digest.objects.clear()),
        ("link", "another beginning", |digest| digest.reason = Some("damaged: x".to_owned())),
    ];
    for (code, what, change) in changes {
        let s = site().await;
        let (name, _) = with_index(&s);
        s.resign(&name, &signing_key(), change);
        if code == "note" {
            let other = s.store.0.lock().get("chain/default/gw/E0001/0000000000.json").cloned().expect("there");
            s.change(&name, |bytes| {
                let mut digest: Digest = serde_json::from_slice(bytes).expect("digest");
                digest.note = serde_json::from_slice::<Digest>(&other).expect("digest").note;
                *bytes = serde_json::to_vec(&digest).expect("json");
            });
        }
        found(&s, code, what).await;
    }
}

/// Whole epochs and writers: gone, cut at their ends where another follows.
#[tokio::test]
async fn epochs_are_watched() {
    let all = |s: &Site, start: &str| -> Vec<String> {
        s.store.0.lock().keys().filter(|name| name.starts_with(start)).cloned().collect()
    };
    let s = site().await;
    all(&s, "chain/default/gw/E0000/").iter().for_each(|name| s.remove(name));
    found(&s, "epoch_missing", "a whole epoch").await;
    let s = site().await;
    let last = all(&s, "chain/default/gw/E0000/").into_iter().next_back().expect("digests");
    s.remove(&last);
    s.remove(last.strip_suffix(".sig").expect("a signature"));
    found(&s, "cut_off", "the end of an epoch that another follows").await;
    let s = site().await;
    all(&s, "").iter().filter(|name| name.starts_with("chain/")).for_each(|name| s.remove(name));
    found(&s, "empty", "the whole chain").await;
}

/// The end of the newest epoch, and a whole writer: silence at most, unless something outside knows better.
#[tokio::test]
async fn what_is_cut_off_the_end_takes_an_anchor() {
    let anchor_of = |report: &Report| anchor::make(&report.heads, "2026-11-20T12:00:00Z", &thief());
    let cut = |s: &Site, start: &str| {
        let names: Vec<String> = s.store.0.lock().keys().filter(|name| name.starts_with(start)).cloned().collect();
        names.iter().for_each(|name| s.remove(name));
    };
    let anchored = |text: &str| Options {
        anchors: vec![text.to_owned()],
        anchor_keys: vec![thief().public().clone()],
        ..Options::default()
    };
    for start in ["chain/default/gw/E0001/", "chain/team/"] {
        let s = site().await;
        let text = anchor_of(&s.audit().await);
        let report = s.verify(anchored(&text)).await;
        assert!(report.verified, "{}", report.text());
        cut(&s, start);
        let report = s.verify(anchored(&text)).await;
        assert!(!report.verified && codes(&report).contains(&"anchor"), "{start}: {}", report.text());
    }
    // only the last digests: the lines' numbers on spans know, and after two hours the silence
    let s = site().await;
    let last = s.store.0.lock().keys().filter(|name| name.starts_with("chain/default/gw/E0001/")).count() / 2 - 1;
    let text = anchor_of(&s.audit().await);
    for n in 1..=last {
        cut(&s, &format!("chain/default/gw/E0001/{n:010}"));
    }
    let report = s.verify(anchored(&text)).await;
    assert!(codes(&report).contains(&"anchor"), "{}", report.text());
    let leaves = Options { leaves: vec!["gw/E0001/000000000005".to_owned()], ..Options::default() };
    let report = s.verify(leaves).await;
    assert!(codes(&report).contains(&"leaf"), "{}", report.text());
    s.clock.advance(Duration::from_secs(3 * 3600));
    assert!(codes(&s.audit().await).contains(&"silent"));
    // an anchor that was changed is none
    let forged = text.replace("\"tree_size\":", "\"tree_size\":1");
    let report = s.verify(anchored(&forged)).await;
    assert!(
        report.findings.iter().any(|finding| finding.what.contains("not those that were signed")),
        "{}",
        report.text()
    );
}

/// The whole history written anew with a stolen key: only an anchor (or a locked older version) knows.
#[tokio::test]
async fn a_rewritten_history_takes_an_anchor() {
    let s = site().await;
    let text = anchor::make(&s.audit().await.heads, "2026-11-20T12:00:00Z", &thief());
    // the thief runs a gateway of the same name, epochs and key, and says other things
    let mut forged = Site::new(1);
    forged.auditor = s.auditor.clone();
    forged.begin(0);
    forged.send("default", "s0", "nothing happened");
    forged.minutes(3).await;
    let report = forged.audit().await;
    assert!(report.verified, "a stolen key is not seen from inside: {}", report.text());
    let options = Options { anchors: vec![text], anchor_keys: vec![thief().public().clone()], ..Options::default() };
    assert!(codes(&forged.verify(options).await).contains(&"anchor"));
}

/// Two processes that take themselves for one: the second to write a digest's name leaves the epoch, nothing is lost, and
/// the walk tells of the fork.
#[tokio::test]
async fn a_fork_is_found() {
    let mut s = Site::new(3);
    s.send("default", "s0", "before");
    s.minutes(4).await;
    // a copy of the volume, and a process that finishes the epoch from it
    let mut copy = Site::new(4);
    copy.auditor = s.auditor.clone();
    copy.store = s.store.clone();
    copy.journal = Arc::new(s.journal.fork());
    copy.clock = s.clock.clone();
    copy.begin(7);
    copy.send("default", "s0", "in the copy");
    copy.minutes(4).await;
    // the first one goes on: its next digest's name is taken
    s.send("default", "s0", "in the first");
    s.minutes(4).await;
    let report = s.audit().await;
    assert!(!report.verified && codes(&report).contains(&"fork"), "{}", report.text());
    assert_eq!(report.counts.leaves, 6, "nothing is lost: {}", report.text());
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

/// A key that nobody asked for verifies nothing.
#[tokio::test]
async fn another_key_verifies_nothing() {
    let s = site().await;
    let report = s.verify(Options { keys: vec![thief().public().clone()], ..Options::default() }).await;
    assert!(!report.verified && report.counts.digests == 0, "{}", report.text());
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
