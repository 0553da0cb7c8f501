//! Reports about the times of digests.

use super::tamper::digest_in;
use super::*;
use crate::verify::Severity;
use kernel::sha256::Sha256;
use vault::chain::digest::DigestLink;
use vault::object_names::parse_time;

/// The remarks of a report, which must have no other findings.
fn remarks(report: &VerifyReport) -> Vec<&str> {
    assert!(report.verified, "{}", report.text());
    assert!(report.findings.iter().all(|finding| finding.severity == Severity::Warning));
    report.findings.iter().map(|finding| finding.code).collect()
}

/// The digests of the epoch's chain, in order.
fn digests(site: &Site) -> Vec<(String, ChainDigest)> {
    let names = site.names("chain/default/gw/E0000/").into_iter().filter(|name| name.ends_with(".json"));
    names.map(|name| (name.clone(), digest_in(site, &name))).collect()
}

/// Signs the epoch's digests as older writers did, without the time of the next one.
fn as_of_older_writer(site: &Site) {
    let mut prev = None;
    for (name, _) in digests(site) {
        site.resign(&name, &signing_key(), |digest| {
            digest.counters.next_by = None;
            digest.prev = prev.take().or(digest.prev.take());
        });
        let ChainDigest { epoch, n, .. } = digest_in(site, &name);
        prev = Some(DigestLink { epoch, n, sha256: kernel::hex::encode(&Sha256::digest(site.object(&name))) });
    }
}

/// A writer without news is silent for up to an hour, which is no gap. A digest that comes later than the one before
/// promises is reported, with the times; so is one that is overdue now. A stop is neither.
#[tokio::test]
async fn a_gap_is_told_from_a_silence() {
    let mut site = Site::of_session(1, "text", 300).await;
    assert!(remarks(&site.audit().await).is_empty(), "idle");
    assert!((4..10).contains(&digests(&site).len()), "{} digests in five idle hours", digests(&site).len());
    let last = digests(&site).pop().expect("a digest").1;
    let due = last.counters.next_by.clone().expect("a promise");
    let until_due = parse_time(&due).expect("a time").since(site.clock.now());
    site.clock.advance(until_due);
    assert!(remarks(&site.audit().await).is_empty(), "not yet due");
    site.clock.advance(Duration::from_secs(1));
    let report = site.audit().await;
    assert_eq!(remarks(&report), ["no_recent_digest"], "{}", report.text());
    assert!(report.findings[0].message.contains(&format!("no digest since {}", last.end)), "{}", report.text());
    site.minutes(3).await;
    let report = site.audit().await;
    assert_eq!(remarks(&report), ["late_digest"], "{}", report.text());
    let what = &report.findings[0].message;
    assert!(what.contains(&format!("between {} and 2026-", last.end)) && what.contains(&due), "{what}");
    // it stops, and another process finishes the remaining records
    assert!(site.uploader.drain().await);
    let (_, stopped) = digests(&site).pop().expect("a digest");
    assert!(stopped.last && stopped.counters.next_by.is_none(), "nothing follows the last digest");
    site.clock.advance(Duration::from_secs(20_000));
    assert_eq!(remarks(&site.audit().await), ["late_digest"], "a stop is no gap");
    site.restart(100);
    site.send("default", "s0", "more");
    site.minutes(5).await;
    assert_eq!(remarks(&site.audit().await), ["late_digest"]);
}

/// Digests of older writers promise nothing: there the usual interval counts.
#[tokio::test]
async fn holes_between_digests_of_older_writers_are_told() {
    for (interval, hole, expected) in [(60, 700, Some("late_digest")), (60, 400, None), (840, 1_500, None)] {
        let mut site = Site::new(1);
        for round in 0..12 {
            site.send("default", "s0", "text");
            site.clock.advance(Duration::from_secs(if round == 8 { hole } else { interval }));
            site.minutes(1).await;
        }
        as_of_older_writer(&site);
        assert_eq!(remarks(&site.audit().await), expected.as_slice(), "{interval} {hole}");
    }
}

/// A clock that was set back shows: digests have the same time until it has caught up.
#[tokio::test]
async fn a_clock_that_went_back_is_told() {
    let mut site = Site::of_session(1, "text", 5).await;
    let at = digests(&site).pop().expect("a digest").1.end;
    site.clock.set_back(Duration::from_secs(1_800));
    for _ in 0..5 {
        site.send("default", "s0", "text");
        site.minutes(1).await;
    }
    let report = site.audit().await;
    assert_eq!(remarks(&report), ["clock_set_back"], "{}", report.text());
    let why = format!("consecutive digests have the same time as the one before them, {at}");
    assert!(report.findings[0].message.contains(&why), "{}", report.text());
    site.minutes(40).await;
    assert_eq!(remarks(&site.audit().await), ["clock_set_back"]);
}

/// A leaf seen elsewhere is compared with the chain of each possible account: the longer chain must not hide that
/// another one was cut.
#[tokio::test]
async fn a_leaf_is_somebodys() {
    let mut site = Site::new(1);
    site.send("default", "s0", "text");
    site.send("default", "s0", "text");
    site.send("team", "s0", "text");
    site.minutes(5).await;
    let leaf = |number: u64, account: Option<&str>| VerifyOptions {
        leaves: vec![format!("gw/E0000/{number:012}")],
        account: account.map(str::to_owned),
        ..VerifyOptions::default()
    };
    assert!(site.verify(leaf(1, None)).await.verified, "both have it");
    let report = site.verify(leaf(3, None)).await;
    assert!(!report.verified && report.findings[0].message.contains("but those of team do not"), "{}", report.text());
    assert!(site.verify(leaf(3, Some("default"))).await.verified);
    assert!(!site.verify(leaf(3, Some("team"))).await.verified);
    assert!(!site.verify(leaf(4, None)).await.verified);
}
