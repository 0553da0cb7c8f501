//! Reports about the times of digests.

use super::*;
use crate::verify::Severity;

/// The remarks of a report, which must have no other findings.
fn remarks(report: &VerifyReport) -> Vec<&str> {
    assert!(report.verified, "{}", report.text());
    assert!(report.findings.iter().all(|finding| finding.severity == Severity::Warning));
    report.findings.iter().map(|finding| finding.code).collect()
}

/// A writer without a digest for longer than usual is reported, with the time; a writer without new lines, with longer
/// intervals, or stopped in between is not.
#[tokio::test]
async fn holes_between_digests_are_told() {
    let mut site = Site::of_session(1, "text", 12).await;
    let before = rfc3339(site.clock.now());
    assert!(remarks(&site.audit().await).is_empty(), "idle");
    site.clock.advance(Duration::from_secs(700));
    site.minutes(3).await;
    let report = site.audit().await;
    assert_eq!(remarks(&report), ["late_digest"], "{}", report.text());
    let what = &report.findings[0].message;
    assert!(what.contains(&format!("between {before} and 2026-")), "{what}");
    // it stops, and another process finishes the remaining records
    site.clock.advance(Duration::from_secs(7_200));
    site.restart(100);
    site.send("default", "s0", "more");
    site.minutes(5).await;
    assert_eq!(remarks(&site.audit().await), ["late_digest"]);
    let mut slow = Site::new(1);
    slow.send("default", "s0", "text");
    for _ in 0..12 {
        slow.clock.advance(Duration::from_secs(840));
        slow.minutes(1).await;
    }
    assert!(remarks(&slow.audit().await).is_empty());
}

/// A clock that was set back shows: digests have the same time until it has caught up.
#[tokio::test]
async fn a_clock_that_went_back_is_told() {
    let mut site = Site::of_session(1, "text", 5).await;
    let at = rfc3339(site.clock.now());
    site.clock.set_back(Duration::from_secs(1_800));
    site.send("default", "s0", "text");
    site.minutes(5).await;
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
