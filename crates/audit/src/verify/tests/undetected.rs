//! What `vault verify` does not detect: each entry of the list in docs/vault.md that no neighbouring file shows. If a
//! test here fails, the list has an entry too many.

use super::*;

/// A vault of two accounts, with the objects of every minute.
async fn site() -> Site {
    let mut site = Site::new(41);
    for n in 0..3 {
        site.send("default", "s0", &format!("text {n}"));
        site.send("team", "s0", "another account's");
        site.minutes(3).await;
    }
    site
}

/// The report for an auditor with these anchors: nothing wrong.
async fn holds(site: &Site, anchors: &[String]) -> VerifyReport {
    let auditors = vec![site.auditor.clone()];
    let report = site.verify(VerifyOptions { auditors, ..with_anchors(anchors) }).await;
    // gaps between digests come from jumps of the test's clock
    let odd = report.findings.iter().any(|one| one.code != "late_digest");
    assert!(report.verified && !odd, "{}", report.text());
    report
}

/// A gateway under an attacker's control stores other text than it received.
#[tokio::test]
async fn undetected_a_gateway_that_lies_before_hashing() {
    let mut site = site().await;
    let sent = "transfer 9000";
    site.send("default", "s0", &sent.replace('9', "1"));
    site.minutes(3).await;
    holds(&site, &[anchored(&site).await]).await;
}

/// A client does not send a call, or a gateway drops it: no written line is missing.
#[tokio::test]
async fn undetected_what_was_never_sent() {
    let mut site = Site::new(42);
    for text in ["call 1", "call 3"] {
        site.send("default", "s0", text);
        site.minutes(3).await;
    }
    let report = holds(&site, &[anchored(&site).await]).await;
    assert!(report.missing_turns.is_empty(), "lines that name no turn do not hint at it either");
}

/// Someone with the signing key adds lines to the chain that claim an earlier arrival. Earlier anchors show how many
/// lines there were then, but this is not compared with the lines' own times.
#[tokio::test]
async fn undetected_lines_dated_back_within_their_chain() {
    const DAYS: Duration = Duration::from_secs(9 * 86_400);
    let mut site = site().await;
    let mut anchors = vec![anchored(&site).await];
    site.clock.advance(DAYS);
    site.minutes(2).await;
    anchors.push(anchored(&site).await);
    site.clock.set_back(DAYS);
    let forged = site.made("default", "s0", "this was agreed nine days ago");
    site.clock.set_forward(DAYS);
    for record in forged {
        site.journal.append(record.kind, "default", record.body);
    }
    site.minutes(3).await;
    anchors.push(anchored(&site).await);
    let report = holds(&site, &anchors).await;
    let size = |text: &String| {
        let entries = anchor::open(text, &[anchorer().public().clone()]).expect("an anchor");
        entries.iter().find(|entry| entry.account == "default").expect("an entry").tree_size
    };
    assert_eq!((size(&anchors[1]), size(&anchors[2])), (6, 8), "when they came is there to see");
    assert_eq!(report.counts.leaves, 6 + 6 + 2);
}

/// A gateway under an attacker's control rewrites its last minutes, before the next anchor.
#[tokio::test]
async fn undetected_the_last_minutes_written_anew_before_an_anchor() {
    let mut site = site().await;
    let first = anchored(&site).await;
    let (objects, journal) = (site.store.0.lock().clone(), site.journal.fork());
    site.send("default", "s0", "what was done");
    site.minutes(2).await;
    let there = site.audit().await.counts.leaves;
    *site.store.0.lock() = objects;
    site.journal = Arc::new(journal);
    site.restart(1000);
    site.send("default", "s0", "something else");
    site.minutes(2).await;
    let second = anchored(&site).await;
    let report = holds(&site, &[first, second]).await;
    assert_eq!(report.counts.leaves, there);
}

/// Without an anchor, the removed end of all chains goes unnoticed for two hours.
#[tokio::test]
async fn undetected_the_end_of_a_chain_removed() {
    let mut site = site().await;
    let then = site.store.0.lock().clone();
    site.send("default", "s0", "what was done");
    site.minutes(2).await;
    *site.store.0.lock() = then;
    holds(&site, &[]).await;
}

/// Without an anchor, a removed writer or account goes unnoticed.
#[tokio::test]
async fn undetected_a_writer_removed() {
    let site = site().await;
    site.store.0.lock().retain(|name, _| !name.contains("team"));
    holds(&site, &[]).await;
}

/// Without an anchor, and without locked objects, a history rewritten with the stolen key goes unnoticed; an anchor of
/// the genuine one reveals it.
#[tokio::test]
async fn undetected_a_history_written_anew_with_the_stolen_key() {
    let site = site().await;
    let genuine = anchored(&site).await;
    let mut forged = Site::new(43);
    forged.auditor = site.auditor.clone();
    forged.begin(0);
    forged.send("default", "s0", "nothing happened");
    forged.minutes(3).await;
    *site.store.0.lock() = forged.store.0.lock().clone();
    holds(&site, &[]).await;
    site.verify(with_anchors(&[genuine])).await.assert_told("anchor");
}

/// Without anchors, an account with past dates written with the stolen key goes unnoticed.
#[tokio::test]
async fn undetected_an_account_of_former_times_without_anchors() {
    let site = site().await;
    let mut forged = Site::new(44);
    forged.auditor = site.auditor.clone();
    forged.clock.set_back(Duration::from_secs(30 * 86_400));
    forged.begin(0);
    forged.send("forged", "s0", "text");
    forged.minutes(3).await;
    assert!(forged.uploader.drain().await);
    site.store.0.lock().extend(forged.store.0.lock().clone());
    holds(&site, &[]).await;
}

/// A withheld anchor leaves everything after the previous one unproved.
#[tokio::test]
async fn undetected_an_anchor_kept_back() {
    let mut site = site().await;
    let (first, then) = (anchored(&site).await, site.store.0.lock().clone());
    site.send("default", "s0", "what was done");
    site.minutes(2).await;
    let second = anchored(&site).await;
    *site.store.0.lock() = then;
    holds(&site, std::slice::from_ref(&first)).await;
    site.verify(with_anchors(&[first, second])).await.assert_told("anchor");
}

/// Objects older than `--expired` may be gone, whoever removed them.
#[tokio::test]
async fn undetected_what_had_expired_removed_by_somebody() {
    let site = site().await;
    let gone = site.name(&["default/acme/s0/", ".agev"]);
    site.remove(&gone);
    let expired = Some(rfc3339(site.clock.now()));
    let report = site.verify(VerifyOptions { expired, ..VerifyOptions::default() }).await;
    assert!(report.verified && report.findings.is_empty() && report.counts.expired > 0, "{}", report.text());
    assert!(!site.audit().await.verified);
}

/// A store in a folder does not list files that look like its own unfinished ones, whatever they are.
#[tokio::test]
async fn undetected_a_file_that_looks_unfinished() {
    let (site, folder) = (site().await, tempfile::tempdir().expect("scratch"));
    site.plant(".x.tmp", "anything");
    site.write_to(folder.path());
    let vault = Vault::new(Arc::new(vault::store::DirectoryStore::new(folder.path())), "", None);
    site.verify_in(&vault, VerifyOptions::default()).await.assert_clean();
}
