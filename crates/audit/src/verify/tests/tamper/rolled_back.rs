//! A removed chain of erasures, with the destroyed keys put back.

use std::collections::BTreeMap;

use super::*;
use crate::erase::tests::Desk;

/// A vault with an erasure, which the gateway names if `is_reported`, and its state before the erasure.
async fn erased(is_reported: bool) -> (Site, Desk, BTreeMap<String, Bytes>) {
    let mut site = crate::erase::tests::site().await;
    let before = site.store.0.lock().clone();
    let desk = Desk::of(&site, None);
    desk.erase(&site, "s0").await;
    if is_reported {
        desk.report(&site, &site.name(&["chain/default/eraser/", "0000000001.json"]));
    }
    site.minutes(3).await;
    (site, desk, before)
}

/// The chain of erasures removed and the destroyed keys put back: the vault looks as before.
fn roll_back(site: &Site, before: &BTreeMap<String, Bytes>) {
    let mut objects = site.store.0.lock();
    objects.retain(|name, _| !name.contains("/eraser"));
    let keys = before.iter().filter(|(name, _)| name.starts_with("keys/"));
    objects.extend(keys.map(|(name, bytes)| (name.clone(), bytes.clone())));
}

/// The gateway's digests name the newest erasure, so a rollback is found without an anchor, even if the last digest was
/// removed and the gateway restarted in between.
#[tokio::test]
async fn a_rolled_back_erasure_is_found() {
    let (mut site, desk, before) = erased(true).await;
    desk.audit(&site).await.assert_that(|report| report.verified && report.erasures.len() == 1);
    site.restart(1000);
    site.minutes(3).await;
    let digest = digest_in(&site, &site.name(&["chain/default/gw/E0001/", "0000000000.json"]));
    assert_eq!(digest.counters.erasures.len(), 1, "another process names it, too");
    let team = digest_in(&site, &site.name(&["chain/team/gw/E0001/", "0000000000.json"]));
    assert!(team.counters.erasures.is_empty(), "another account's digests do not");
    assert!(desk.audit(&site).await.verified);
    let last = site.name(&["chain/default/eraser/", "0000000001.json"]);
    for name in [last.clone(), format!("{last}.sig")] {
        site.remove(&name);
    }
    let report = desk.audit(&site).await;
    assert!(has(&report, "erasure_missing"), "the end of an erasure: {}", report.text());
    roll_back(&site, &before);
    let report = desk.audit(&site).await.assert_failed("erasure_missing");
    assert!(report.findings.iter().all(|one| one.code != "key_restored"), "nothing else would tell: {}", report.text());
}

/// An older report does not replace a newer one.
#[tokio::test]
async fn an_older_erasure_is_not_newest() {
    let (mut site, desk, _) = erased(true).await;
    desk.erase(&site, "s1").await;
    let in_chain = |site: &Site, writer: &str| {
        let names = site.names(&format!("chain/default/{writer}/")).into_iter();
        names.filter(|name| name.ends_with(".json")).collect::<Vec<_>>()
    };
    let digests = in_chain(&site, "eraser");
    assert_eq!(digests.len(), 4);
    for at in [3, 0, 2] {
        desk.report(&site, &digests[at]);
        site.minutes(2).await;
    }
    let digest = digest_in(&site, in_chain(&site, "gw").last().expect("a digest"));
    let link = &digest.counters.erasures["eraser"];
    assert_eq!(format!("chain/default/eraser/{}/{:010}.json", link.epoch, link.n), digests[3]);
}

/// Not detected (docs/vault.md): an unreported erasure, rolled back before the next anchor.
#[tokio::test]
async fn undetected_an_unreported_erasure_rolled_back() {
    let (site, desk, before) = erased(false).await;
    roll_back(&site, &before);
    desk.audit(&site).await.assert_that(|report| report.verified && report.erasures.is_empty());
}
