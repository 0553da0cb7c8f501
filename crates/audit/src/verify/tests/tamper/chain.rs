//! Digests, epochs, writers: removed, changed, forged, forked.

use super::*;

/// A missing end of the newest epoch, or a missing writer: only silence is noticed, unless outside evidence exists.
#[tokio::test]
async fn what_is_cut_off_the_end_takes_an_anchor() {
    let s = site().await;
    let (text, before) = (anchored(&s).await, s.store.0.lock().clone());
    let look = async |text: &str| s.verify(with_anchors(&[text.to_owned()])).await;
    look(&text).await.assert_verified();
    let first = "chain/default/gw/E0001/0000000000";
    for (start, kept) in [("chain/default/gw/E0001/", "-"), ("chain/team/", "-"), ("chain/default/gw/E0001/", first)] {
        *s.store.0.lock() = before.clone();
        s.store.0.lock().retain(|name, _| !name.starts_with(start) || name.starts_with(kept));
        let report = look(&text).await;
        assert!(!report.verified && has(&report, "anchor"), "{start}: {}", report.text());
    }
    // only the last digests: line numbers on spans reveal it, and after two hours the silence
    let leaves = VerifyOptions { leaves: vec!["gw/E0001/000000000005".to_owned()], ..VerifyOptions::default() };
    s.verify(leaves).await.assert_told("leaf_missing");
    s.clock.advance(Duration::from_secs(3 * 3600));
    assert!(has(&s.audit().await, "no_recent_digest"));
    // a changed anchor is invalid
    let report = look(&text.replace("\"tree_size\":", "\"tree_size\":1")).await;
    let differ = |finding: &VerifyFinding| finding.message.contains("its entries differ from the signed ones");
    assert!(report.findings.iter().any(differ), "{}", report.text());
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
    let report = s.audit().await.assert_failed("fork");
    assert_eq!(report.counts.leaves, 6, "nothing is lost: {}", report.text());
}

/// A thief of the signing key writes an account, and a writer, with dates of weeks ago; a later anchor includes them,
/// but proves nothing about that time: they are reported, each by its epoch. With the anchors of its own time a chain
/// is valid.
#[tokio::test]
async fn what_was_written_later_than_it_says_is_told() {
    const DAY: Duration = Duration::from_secs(86_400);
    let s = site().await;
    let then = anchored(&s).await;
    s.verify(with_anchors(std::slice::from_ref(&then))).await.assert_verified();
    // an account and another writer, in the same days, with the same key
    let mut forged = Site::new(9);
    forged.send("forged", "s0", "text");
    forged.minutes(3).await;
    assert!(forged.uploader.drain().await);
    s.store.0.lock().extend(forged.store.0.lock().clone());
    s.clock.advance(30 * DAY);
    let now = anchored(&s).await;
    let report = s.verify(with_anchors(&[then, now.clone()])).await;
    let told: Vec<&str> =
        report.findings.iter().filter(|one| one.code == "unanchored").map(|one| one.location.as_str()).collect();
    assert_eq!(told, ["chain/forged/gw/E0000/"], "{}", report.text());
    assert!(!report.verified);
    // without the anchors of their time, nothing proves the other chains either
    let report = s.verify(with_anchors(&[now])).await;
    assert!(!report.verified && report.finding_counts["unanchored"] > 2, "{}", report.text());
}

/// An epoch whose first digest has no valid time can't be confirmed by an anchor.
#[tokio::test]
async fn a_digest_without_a_time_is_unanchored() {
    let s = site().await;
    let first = "chain/team/gw/E0000/0000000000.json";
    s.resign(first, &signing_key(), |digest| digest.end = "some day".to_owned());
    s.audit().await.assert_that(|report| has_at(report, "digest_time", first));
    let report = s.verify(with_anchors(&[anchored(&s).await])).await;
    assert!(has_at(&report, "unanchored", "chain/team/gw/E0000/"), "{}", report.text());
}

/// The digest that names an object.
fn naming(s: &Site, object: &str) -> String {
    let mut digests = s.names("chain/").into_iter().filter(|name| name.ends_with(".json"));
    digests.find(|name| memchr::memmem::find(&s.object(name), object.as_bytes()).is_some()).expect("a digest")
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
        let digest = naming(&s, &at);
        let text: Vec<String> = lines(&s, &at)
            .iter()
            .map(|line| {
                let mut row: vault::index_row::IndexRow = serde_json::from_str(line).expect("a line");
                row.tail.ingest_ts = time.to_owned();
                serde_json::to_string(&row).expect("json")
            })
            .collect();
        let name = at.replace("dt=2026-11-20", &format!("dt={day}"));
        s.remove(&at);
        set_lines(&s, &name, &text);
        let sha256 = kernel::hex::encode(&kernel::sha256::Sha256::digest(s.object(&name)));
        s.resign(&digest, &signing_key(), |digest| {
            let index = digest.index.as_mut().expect("lines");
            (index.key, index.sha256) = (name.clone(), sha256);
        });
        let report = s.verify(with_anchors(&[anchored(&s).await])).await;
        assert!(has(&report, code) && !report.verified, "{code}: {}", report.text());
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
        assert_eq!(has(&report, "digest_missing"), !early, "{name}: {}", report.text());
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
    let digest = naming(&s, &at);
    let name = at.replace("dt=2026-11-20", "dt=2026-11-27");
    assert_ne!(name, at);
    s.plant(&name, s.object(&at));
    s.remove(&at);
    s.resign(&digest, &signing_key(), |digest| digest.sessions.as_mut().expect("lines").key.clone_from(&name));
    s.audit().await.assert_that(|report| has_at(report, "misplaced", &name));
}
