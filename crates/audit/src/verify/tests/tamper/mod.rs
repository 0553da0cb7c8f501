//! The table of attacks in docs/vault.md, on realistically written objects: each is detected, or the table says that it
//! is not. [`PAYLOAD`] and [`CHAIN`] list attacks with their findings; `mutations` makes the changes that need no key.

use super::*;
use vault::chain::digest::ChainContinuation;

mod chain;
mod forged;
mod planted;
mod rolled_back;

const FIRST: [&str; 3] = ["chain/default/", "/E0000/", "0000000002.json"];
const OBJECT: [&str; 3] = ["default/acme/s0/", "E0000", ".agev"];
const FRAGMENT: &[u8] = b"age-encryption.org/v1\n";

/// An attack on a vault, and the findings that report it.
type Attack = (&'static str, fn(&Site), &'static [&'static str]);

/// Payload and keys: changed, moved, removed, planted.
const PAYLOAD: [Attack; 4] = [
    (
        "a byte",
        |s| s.change(&s.name(&OBJECT), |bytes| *bytes.last_mut().expect("a byte") ^= 1),
        &["fragment_changed", "object_changed"],
    ),
    (
        "fragments swapped",
        |s| {
            let (name, bytes) = (s.name(&OBJECT), s.object(&s.name(&OBJECT)));
            let second = memchr::memmem::find_iter(&bytes, FRAGMENT).nth(1).expect("two fragments");
            s.plant(&name, [&bytes[second..], &bytes[..second]].concat());
        },
        &["fragment_changed"],
    ),
    (
        "payload planted",
        |s| {
            s.plant("default/acme/s0/2026-11-20/gw-E0000-0000000099.agev", s.object(&s.name(&OBJECT)));
        },
        &["unreferenced"],
    ),
    (
        "keys destroyed without a word",
        |s| s.names("keys/default/acme/s0/").iter().for_each(|name| s.remove(name)),
        &["key_missing"],
    ),
];

/// Digests, epochs and accounts: missing, signed by someone else, in another place, reordered; signed with the right
/// key, but false.
const CHAIN: [Attack; 16] = [
    ("a digest in the middle", |s| s.remove(&s.name(&FIRST)), &["digest_missing"]),
    (
        "a digest of somebody else",
        |s| s.resign(&s.name(&FIRST), &thief(), |one| one.counters.acked = 99),
        &["signature"],
    ),
    ("a digest signed anew", |s| signed_anew(s, &s.name(&FIRST), |one| one.counters.acked = 99), &["link"]),
    (
        "digests in another order",
        |s| {
            let (one, two) = (s.name(&FIRST), s.name(&["chain/default/", "/E0000/", "0000000003.json"]));
            for [one, two] in ["", ".sig"].map(|end| [&one, &two].map(|name| format!("{name}{end}"))) {
                let (a, b) = (s.object(&one), s.object(&two));
                s.plant(&one, b);
                s.plant(&two, a);
            }
        },
        &["misplaced"],
    ),
    (
        "a chain under another account",
        |s| s.names("chain/team/").iter().for_each(|name| s.plant(&name.replace("team", "other"), s.object(name))),
        &["misplaced"],
    ),
    ("something else in the chain's folder", |s| s.plant("chain/default/gw/E0000/hello", ""), &["unreferenced"]),
    (
        "a continuation that skips lines",
        |s| {
            signed_anew(s, "chain/default/gw/E0001/0000000000.json", |digest| {
                digest.continues = Some(ChainContinuation { epoch: "E0000".to_owned(), leaf: 99 });
                digest.reason = Some("damaged: x".to_owned());
            });
        },
        &["tree_size"],
    ),
    ("a smaller tree", |s| signed_anew(s, &with_index(s).0, |one| one.tree_size = 1), &["tree_size"]),
    ("fewer lost lines", |s| signed_anew(s, &with_index(s).0, |one| one.counters.gaps = 7), &["counters"]),
    (
        "a clock that goes back",
        |s| signed_anew(s, &with_index(s).0, |one| one.end = "2026-11-19T00:00:00.000000000Z".to_owned()),
        &["digest_time"],
    ),
    ("an object that no line names", |s| signed_anew(s, &with_index(s).0, |one| one.objects.clear()), &["object_list"]),
    (
        "another start of the epoch than in the first digest",
        |s| signed_anew(s, &with_index(s).0, |one| one.reason = Some("damaged: x".to_owned())),
        &["link"],
    ),
    (
        "a note of another tree",
        |s| {
            let note = digest_in(s, "chain/default/gw/E0001/0000000000.json").note;
            let name = with_index(s).0;
            s.plant(&name, serde_json::to_vec(&ChainDigest { note, ..digest_in(s, &name) }).expect("json"));
        },
        &["checkpoint"],
    ),
    (
        "a whole epoch",
        |s| s.names("chain/default/gw/E0000/").iter().for_each(|name| s.remove(name)),
        &["epoch_missing"],
    ),
    (
        "the end of an epoch that another follows",
        |s| s.names("chain/default/gw/E0000/").iter().rev().take(2).for_each(|name| s.remove(name)),
        &["epoch_truncated"],
    ),
    ("the whole chain", |s| s.names("chain/").iter().for_each(|name| s.remove(name)), &["no_chain"]),
];

/// Two epochs, two accounts, several digests, objects of several fragments.
async fn site() -> Site {
    let site = written(&[]).await;
    site.audit().await.assert_clean();
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

fn codes(report: &VerifyReport) -> Vec<&'static str> {
    report.finding_counts.keys().copied().collect()
}

fn thief() -> SigningKey {
    key("vault.test", 99)
}

fn lines(site: &Site, name: &str) -> Vec<String> {
    let text = String::from_utf8(zstd::decode_all(&site.object(name)[..]).expect("zstd")).expect("text");
    text.lines().map(str::to_owned).collect()
}

fn set_lines(site: &Site, name: &str, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    site.plant(name, zstd::bulk::compress(text.as_bytes(), 3).expect("zstd"));
}

/// A digest of the first epoch whose index object has lines after the first one, and that object.
fn with_index(site: &Site) -> (String, String) {
    let digests = site.names("chain/default/gw/E0000/").into_iter().filter(|name| name.ends_with(".json"));
    let mut found = digests.filter_map(|name| {
        let index = digest_in(site, &name).index.filter(|index| index.first_leaf > 0)?;
        Some((name, index.key))
    });
    found.next().expect("a digest with lines")
}

fn signed_anew(s: &Site, name: &str, change: fn(&mut ChainDigest)) {
    s.resign(name, &signing_key(), change);
}

pub(super) fn digest_in(s: &Site, name: &str) -> ChainDigest {
    serde_json::from_slice(&s.object(name)).expect("a digest")
}

/// Checks that the attack is reported with these codes.
async fn told(s: &Site, codes: &[&str], what: &str) {
    let report = s.audit().await;
    assert!(!report.verified && codes.iter().all(|code| has(&report, code)), "{what}: {}", report.text());
}

/// Each attack is reported with its findings; with an unrelated key nothing is verified.
#[tokio::test]
async fn every_attack_is_told_by_its_findings() {
    let s = site().await;
    let before = s.store.0.lock().clone();
    for (what, attack, codes) in PAYLOAD.into_iter().chain(CHAIN) {
        attack(&s);
        told(&s, codes, what).await;
        *s.store.0.lock() = before.clone();
    }
    let report = s.verify(VerifyOptions { keys: vec![thief().public().clone()], ..VerifyOptions::default() }).await;
    assert!(!report.verified && report.counts.digests == 0, "{}", report.text());
}

/// Index: lines changed, added, removed or reordered, also by someone who can sign.
#[tokio::test]
async fn lines_are_watched() {
    type Change = fn(&mut Vec<String>);
    let changes: [(&str, Change); 4] = [
        ("a line changed", |lines| lines[0] = lines[0].replace("\"ok\"", "\"no\"")),
        ("a line added", |lines| lines.push(lines[0].clone())),
        ("a line removed", |lines| drop(lines.pop())),
        ("lines in another order", |lines| lines.swap(0, 1)),
    ];
    let s = site().await;
    let before = s.store.0.lock().clone();
    let (digest, key) = with_index(&s);
    for (what, change) in changes {
        let mut text = lines(&s, &key);
        change(&mut text);
        set_lines(&s, &key, &text);
        told(&s, &["index_changed", "root"], what).await;
        // whoever adapts the digest to the object still has another root than in the signed note
        let sha256 = kernel::hex::encode(&kernel::sha256::Sha256::digest(s.object(&key)));
        s.resign(&digest, &signing_key(), |digest| digest.index.as_mut().expect("lines").sha256 = sha256);
        told(&s, &["link", "root"], what).await;
        *s.store.0.lock() = before.clone();
    }
}

/// A run with these options that ends early, after following the chains: the store fails when payload is listed.
async fn broken_off(s: &Site, options: VerifyOptions) {
    let mut reader = Altered::new(&s.store);
    reader.lists = Box::new(|kind, _, names| match kind {
        ObjectKind::Payload => Err(StoreError::Unavailable("503".to_owned())),
        _ => Ok(names),
    });
    let options = VerifyOptions { keys: vec![signing_key().public().clone()], now: s.clock.now(), ..options };
    verify(&reader.vault(), &options, &mut |_| {}).await.expect_err("the store failed");
}

/// A run's limits must not carry over to the next: saved positions count only for a run with the same options. Changes
/// made before a resumed run are found by it; a completed run leaves no positions, so it hides no later change.
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
    s.verify(VerifyOptions { auditors: auditors(), ..options() }).await.assert_not_verified();
    for less in [
        VerifyOptions { no_payload: true, ..options() },
        VerifyOptions { to: Some("2020".to_owned()), ..options() },
        VerifyOptions { from: far(), ..options() },
    ] {
        broken_off(&s, less).await;
        s.verify(options()).await.assert_not_verified();
    }
    // content missing for this run: an earlier one with a wider `expired` allowed it
    s.remove(&payload);
    broken_off(&s, VerifyOptions { expired: far(), ..options() }).await;
    s.verify(options()).await.assert_told("object_missing");
    // a completed run: the next one reads everything again, and knows the digests seen
    std::fs::write(&path, before).expect("written");
    let done = s.verify(options()).await;
    assert!(!done.verified, "other auditors: {}", done.text());
    let last = s.name(&["chain/team/gw/E0000/", "0.json"]);
    let epoch = last.rsplit_once('/').expect("a folder").0.to_owned();
    s.store.0.lock().retain(|name, _| !name.starts_with(&epoch));
    let report = s.verify(options()).await;
    let gone = |one: &VerifyFinding| one.code == "history_changed" && one.location.starts_with(&epoch);
    assert!(report.findings.iter().any(gone), "{}", report.text());
}

/// Objects planted beside the chain don't block an anchor; a broken chain does.
#[tokio::test]
async fn an_anchor_looks_at_the_chain_alone() {
    let s = site().await;
    let plant = |name: &str| s.plant(name, "junk");
    let payload = s.name(&["default/acme/", ".agev"]);
    plant(&payload.replace("gw-E0000", "gw-E0000-9"));
    plant("index/v1/account=default/dt=2026-11-20/gw-E0000-0000099999.ndjson.zst");
    plant("sessions/junk");
    plant("chain/junk");
    let without_payload = VerifyOptions { no_payload: true, ..VerifyOptions::default() };
    s.verify(without_payload).await.assert_failed("unreferenced");
    s.verify(chain_only()).await.assert_that(|report| report.verified && !report.heads.is_empty());
    s.resign(&s.name(&FIRST), &signing_key(), |digest| digest.counters.acked = 99);
    let report = s.verify(chain_only()).await.assert_failed("link");
    let (heads, left) = report.anchorable();
    assert!(left == ["default/gw"] && heads.len() == 1 && heads[0].account == "team", "the others are anchored");
}

/// A foreign object in a digest's place, after the newest digest or where the gateway had to avoid it, is reported, and
/// blocks no anchor; a digest missing before the newest one does.
#[tokio::test]
async fn planted_digests_stop_no_anchor() {
    let s = site().await;
    let whole = s.verify(chain_only()).await.heads;
    let newest = whole.iter().find(|head| head.account == "default").expect("a head").digest.clone();
    let name = format!("chain/default/gw/{}/{:010}.json", newest.epoch, newest.n + 1);
    s.plant(&name, "junk");
    s.plant("chain/default/gw/E0000/9999999999.json", "{}");
    let report = s.verify(chain_only()).await;
    assert!(!report.verified, "it is told");
    assert_eq!(report.anchorable(), (whole, Vec::new()), "{}", report.text());
    // taken before the gateway wrote there
    let taken = site().await.name(&FIRST);
    let s = written(std::slice::from_ref(&taken)).await;
    let report = s.verify(chain_only()).await;
    let (heads, left) = report.anchorable();
    assert!(!report.verified && left.is_empty() && heads.len() == 2, "{}", report.text());
    // missing
    let s = site().await;
    s.remove(&s.name(&FIRST));
    let (heads, left) = s.verify(chain_only()).await.anchorable();
    assert!(left == ["default/gw"] && heads.len() == 1);
}
