//! Digests, epochs, writers: removed, changed, forged, forked.

use super::*;
use crate::verify::anchor;

/// Digests: missing, changed, signed by someone else, in another place, reordered, without signature.
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
    found(&s, "misplaced", "digests in another order").await;
    let s = site().await;
    let copies: Vec<(String, Bytes)> = {
        let objects = s.store.0.lock();
        let team = objects.iter().filter(|(name, _)| name.starts_with("chain/team/"));
        team.map(|(name, bytes)| (name.replace("team", "other"), bytes.clone())).collect()
    };
    s.store.0.lock().extend(copies);
    found(&s, "misplaced", "a chain under another account").await;
    let s = site().await;
    s.store.0.lock().insert("chain/default/gw/E0000/hello".to_owned(), Bytes::new());
    found(&s, "unreferenced", "something else in the chain's folder").await;
}

/// A signed continuation that skips lines is found by the end of the tree before it.
#[tokio::test]
async fn a_continuation_that_skips_lines_is_found() {
    let s = site().await;
    s.resign("chain/default/gw/E0001/0000000000.json", &signing_key(), |digest| {
        digest.continues = Some(vault::chain::digest::ChainContinuation { epoch: "E0000".to_owned(), leaf: 99 });
        digest.reason = Some("damaged: x".to_owned());
    });
    let report = s.audit().await;
    let what = "do not start where the lines of the epoch E0000 end";
    assert!(
        report.findings.iter().any(|one| one.code == "tree_size" && one.message.contains(what)),
        "{}",
        report.text()
    );
}

/// A signed digest with false statements: verification compares everything that can be compared.
#[tokio::test]
async fn false_digests_are_found() {
    type Change = fn(&mut ChainDigest);
    let changes: [(&str, &str, Change); 6] = [
        ("tree_size", "a smaller tree", |digest| digest.tree_size = 1),
        ("counters", "fewer lost lines", |digest| digest.counters.gaps = 7),
        ("digest_time", "a clock that goes back", |digest| digest.end = "2026-11-19T00:00:00.000000000Z".to_owned()),
        ("checkpoint", "a note of another tree", |_| {}),
        ("object_list", "an object that no line names", |digest| digest.objects.clear()),
        ("link", "its statements about the epoch's start differ from those of the first digest", |digest| {
            digest.reason = Some("damaged: x".to_owned())
        }),
    ];
    for (code, what, change) in changes {
        let s = site().await;
        let (name, _) = with_index(&s);
        s.resign(&name, &signing_key(), change);
        if code == "checkpoint" {
            let other = s.store.0.lock().get("chain/default/gw/E0001/0000000000.json").cloned().expect("there");
            s.change(&name, |bytes| {
                let mut digest: ChainDigest = serde_json::from_slice(bytes).expect("digest");
                digest.note = serde_json::from_slice::<ChainDigest>(&other).expect("digest").note;
                *bytes = serde_json::to_vec(&digest).expect("json");
            });
        }
        found(&s, code, what).await;
    }
}

/// Whole epochs and writers: missing, or cut at an end that another epoch follows.
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
    found(&s, "epoch_truncated", "the end of an epoch that another follows").await;
    let s = site().await;
    all(&s, "").iter().filter(|name| name.starts_with("chain/")).for_each(|name| s.remove(name));
    found(&s, "no_chain", "the whole chain").await;
}

/// A missing end of the newest epoch, or a missing writer: only silence is noticed, unless outside evidence exists.
#[tokio::test]
async fn what_is_cut_off_the_end_takes_an_anchor() {
    let anchor_of = |report: &VerifyReport| anchor::make(&report.heads, "2026-11-20T12:00:00Z", &thief());
    let cut = |s: &Site, start: &str| {
        let names: Vec<String> = s.store.0.lock().keys().filter(|name| name.starts_with(start)).cloned().collect();
        names.iter().for_each(|name| s.remove(name));
    };
    let anchored = |text: &str| VerifyOptions {
        anchors: vec![text.to_owned()],
        anchor_keys: vec![thief().public().clone()],
        ..VerifyOptions::default()
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
    // only the last digests: line numbers on spans reveal it, and after two hours the silence
    let s = site().await;
    let last = s.store.0.lock().keys().filter(|name| name.starts_with("chain/default/gw/E0001/")).count() / 2 - 1;
    let text = anchor_of(&s.audit().await);
    for n in 1..=last {
        cut(&s, &format!("chain/default/gw/E0001/{n:010}"));
    }
    let report = s.verify(anchored(&text)).await;
    assert!(codes(&report).contains(&"anchor"), "{}", report.text());
    let leaves = VerifyOptions { leaves: vec!["gw/E0001/000000000005".to_owned()], ..VerifyOptions::default() };
    let report = s.verify(leaves).await;
    assert!(codes(&report).contains(&"leaf_missing"), "{}", report.text());
    s.clock.advance(Duration::from_secs(3 * 3600));
    assert!(codes(&s.audit().await).contains(&"no_recent_digest"));
    // a changed anchor is invalid
    let forged = text.replace("\"tree_size\":", "\"tree_size\":1");
    let report = s.verify(anchored(&forged)).await;
    assert!(
        report.findings.iter().any(|finding| finding.message.contains("its entries differ from the signed ones")),
        "{}",
        report.text()
    );
}

/// The whole history rewritten with a stolen key: only an anchor (or a locked older version) reveals it.
#[tokio::test]
async fn a_rewritten_history_takes_an_anchor() {
    let s = site().await;
    let text = anchor::make(&s.audit().await.heads, "2026-11-20T12:00:00Z", &thief());
    // the thief runs a gateway of the same name, epochs and key, with other content
    let mut forged = Site::new(1);
    forged.auditor = s.auditor.clone();
    forged.begin(0);
    forged.send("default", "s0", "nothing happened");
    forged.minutes(3).await;
    let report = forged.audit().await;
    assert!(report.verified, "a stolen key is not seen from inside: {}", report.text());
    let options =
        VerifyOptions { anchors: vec![text], anchor_keys: vec![thief().public().clone()], ..VerifyOptions::default() };
    assert!(codes(&forged.verify(options).await).contains(&"anchor"));
}

/// Two processes with the same identity: the second to write a digest's name abandons the epoch, nothing is lost, and
/// verification reports the fork.
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
    // the first one continues: its next digest's name is taken
    s.send("default", "s0", "in the first");
    s.minutes(4).await;
    let report = s.audit().await;
    assert!(!report.verified && codes(&report).contains(&"fork"), "{}", report.text());
    assert_eq!(report.counts.leaves, 6, "nothing is lost: {}", report.text());
}

/// An unrelated key verifies nothing.
#[tokio::test]
async fn another_key_verifies_nothing() {
    let s = site().await;
    let report = s.verify(VerifyOptions { keys: vec![thief().public().clone()], ..VerifyOptions::default() }).await;
    assert!(!report.verified && report.counts.digests == 0, "{}", report.text());
}

/// A thief of the signing key writes an account, and a writer, with dates of weeks ago; a later anchor includes them,
/// but proves nothing about that time: they are reported, each by its epoch. With the anchors of its own time a chain
/// is valid.
#[tokio::test]
async fn what_was_written_later_than_it_says_is_told() {
    const DAY: Duration = Duration::from_secs(86_400);
    let s = site().await;
    let anchor_of = |report: &VerifyReport, time: UnixNanos| anchor::make(&report.heads, &rfc3339(time), &thief());
    let anchored = |anchors: &[String]| VerifyOptions {
        anchors: anchors.to_vec(),
        anchor_keys: vec![thief().public().clone()],
        ..VerifyOptions::default()
    };
    let then = anchor_of(&s.audit().await, s.clock.now());
    let report = s.verify(anchored(std::slice::from_ref(&then))).await;
    assert!(report.verified, "{}", report.text());
    // an account and another writer, in the same days, with the same key
    let mut forged = Site::new(9);
    forged.send("forged", "s0", "text");
    forged.minutes(3).await;
    assert!(forged.uploader.drain().await);
    s.store.0.lock().extend(forged.store.0.lock().clone());
    s.clock.advance(30 * DAY);
    let now = anchor_of(&s.audit().await, s.clock.now());
    let report = s.verify(anchored(&[then.clone(), now.clone()])).await;
    let told: Vec<&str> =
        report.findings.iter().filter(|one| one.code == "unanchored").map(|one| one.location.as_str()).collect();
    assert_eq!(told, ["chain/forged/gw/E0000/"], "{}", report.text());
    assert!(!report.verified);
    // without the anchors of their time, nothing proves the other chains either
    let report = s.verify(anchored(std::slice::from_ref(&now))).await;
    assert!(!report.verified && report.finding_counts["unanchored"] > 2, "{}", report.text());
}

/// An epoch whose first digest has no valid time can't be confirmed by an anchor.
#[tokio::test]
async fn a_digest_without_a_time_is_unanchored() {
    let s = site().await;
    let first = "chain/team/gw/E0000/0000000000.json";
    s.resign(first, &signing_key(), |digest| digest.end = "some day".to_owned());
    let report = s.audit().await;
    assert!(report.findings.iter().any(|one| one.code == "digest_time" && one.location == first), "{}", report.text());
    let text = anchor::make(&report.heads, &rfc3339(s.clock.now()), &thief());
    let anchor_keys = vec![thief().public().clone()];
    let report = s.verify(VerifyOptions { anchors: vec![text], anchor_keys, ..VerifyOptions::default() }).await;
    let told =
        |one: &super::super::super::VerifyFinding| one.code == "unanchored" && one.location == "chain/team/gw/E0000/";
    assert!(report.findings.iter().any(told), "{}", report.text());
}

/// A thief of the signing key dates a digest like its anchor, and its lines years earlier: lines are compared with the
/// anchor too. An object named for another day than its lines, and an invalid time of arrival, are reported even
/// without one.
#[tokio::test]
async fn lines_that_arrived_before_their_chain_began_are_told() {
    for (time, day, code) in [
        ("2020-01-01T00:00:00.000000000Z", "2020-01-01", "unanchored"),
        ("2020-01-01T00:00:00.000000000Z", "2026-11-20", "misplaced"),
        ("some day", "some day", "index_line"),
    ] {
        let s = site().await;
        let at = s.name(&["index/v1/account=team/"]);
        let digest = {
            let objects = s.store.0.lock();
            let names_it = |(name, bytes): &(&String, &Bytes)| {
                name.starts_with("chain/team/") && memchr::memmem::find(bytes, at.as_bytes()).is_some()
            };
            objects.iter().find(names_it).expect("a digest").0.clone()
        };
        let text: Vec<String> = lines(&s, &at)
            .iter()
            .map(|line| {
                let mut row: vault::index_row::IndexRow = serde_json::from_str(line).expect("a line");
                row.tail.ingest_ts = time.to_owned();
                serde_json::to_string(&row).expect("json")
            })
            .collect();
        let name = at.replace("dt=2026-11-20", &format!("dt={day}"));
        let bytes = s.store.0.lock().remove(&at).expect("there");
        s.store.0.lock().insert(name.clone(), bytes);
        set_lines(&s, &name, &text);
        let sha256 = kernel::hex::encode(&kernel::sha256::Sha256::digest(s.store.0.lock().get(&name).expect("there")));
        s.resign(&digest, &signing_key(), |digest| {
            let index = digest.index.as_mut().expect("lines");
            (index.key, index.sha256) = (name.clone(), sha256);
        });
        let heads = s.audit().await.heads;
        let anchors = vec![anchor::make(&heads, &rfc3339(s.clock.now()), &thief())];
        let anchor_keys = vec![thief().public().clone()];
        let report = s.verify(VerifyOptions { anchors, anchor_keys, ..VerifyOptions::default() }).await;
        assert!(codes(&report).contains(&code) && !report.verified, "{code}: {}", report.text());
    }
}

/// A signature without a digest is accepted only if its digest is the next one of an open epoch, and only for a while.
#[tokio::test]
async fn only_the_next_signature_is_early() {
    let s = site().await;
    let newest = s.audit().await.heads.into_iter().find(|head| head.account == "default").expect("a head").digest;
    for (epoch, n, early) in [
        (newest.epoch.as_str(), newest.n + 1, true),
        (newest.epoch.as_str(), newest.n + 2, false),
        ("E0000", 99, false),
        ("E0009", 0, true),
        ("E0009", 1, false),
        ("A0000", 0, false),
    ] {
        let name = format!("chain/default/gw/{epoch}/{n:010}.json.sig");
        let put = s.store.put_once(ObjectKind::Chain, &name, Bytes::from_static(b"x"), s.clock.now());
        assert_eq!(put.await, Ok(PutOutcome::Written));
        let report = s.audit().await;
        assert_eq!(report.verified, early, "{name}: {}", report.text());
        assert_eq!(codes(&report).contains(&"digest_missing"), !early, "{name}: {}", report.text());
        s.remove(&name);
    }
}

/// An object with session lines has its digest's day in its name, even if a thief of the key names another one: sums by
/// day would count its lines elsewhere.
#[tokio::test]
async fn lines_of_sessions_stay_on_their_day() {
    let mut s = site().await;
    s.clock.advance(Duration::from_secs(2 * 3600));
    s.minutes(2).await;
    assert!(s.audit().await.verified);
    let at = s.name(&["sessions/v1/account=default/"]);
    let digest = {
        let objects = s.store.0.lock();
        let names_it = |(name, bytes): &(&String, &Bytes)| {
            name.ends_with(".json") && memchr::memmem::find(bytes, at.as_bytes()).is_some()
        };
        objects.iter().find(names_it).expect("a digest").0.clone()
    };
    let name = at.replace("dt=2026-11-20", "dt=2026-11-27");
    assert_ne!(name, at);
    let bytes = s.store.0.lock().remove(&at).expect("there");
    s.store.0.lock().insert(name.clone(), bytes);
    s.resign(&digest, &signing_key(), |digest| digest.sessions.as_mut().expect("lines").key.clone_from(&name));
    let report = s.audit().await;
    assert!(report.findings.iter().any(|one| one.code == "misplaced" && one.location == name), "{}", report.text());
}
