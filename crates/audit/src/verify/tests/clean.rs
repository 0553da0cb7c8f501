//! Runs without any wrongdoing must verify. `TOLLGATE_CHAIN_RUNS` sets the number of runs (1,000 at night).

use super::*;

/// Another signing key and another auditor from one process to the next, while lines and content wait: waiting records
/// are finished with the new key, both keys together verify everything, and each fragment opens for the auditors of its
/// time.
#[tokio::test]
async fn keys_are_rotated_without_a_gap() {
    let mut site = Site::of_session(5, "before", 3).await;
    site.send("default", "s0", "waits");
    let (old, before) = (site.signer.public().clone(), site.auditor.clone());
    site.signer = Arc::new(key("vault.next", 6));
    site.auditor = age::x25519::Identity::generate();
    site.restart(100);
    site.send("default", "s0", "after");
    site.minutes(4).await;
    let new = site.signer.public().clone();
    let with = async |keys: Vec<VerifyKey>, auditors: Vec<age::x25519::Identity>| {
        site.verify(VerifyOptions { keys, auditors, ..VerifyOptions::default() }).await
    };
    let report = with(vec![old.clone(), new.clone()], vec![before, site.auditor.clone()]).await.assert_clean();
    assert_eq!((report.counts.epochs, report.counts.leaves, report.counts.gaps), (2, 6, 0), "{}", report.text());
    assert_eq!((report.counts.fragments, report.counts.opened), (3, 3), "{}", report.text());
    for one in [old, new] {
        assert!(!with(vec![one], Vec::new()).await.verified, "one key has signed a part only");
    }
}

/// The seeds of a test, at most `TOLLGATE_CHAIN_RUNS`.
fn seeds(runs: u64) -> std::ops::Range<u64> {
    let asked = |name| config::env::var(name).and_then(|number| number.parse::<u64>().ok());
    let first = asked("TOLLGATE_SEED").unwrap_or_default();
    first..first + asked("TOLLGATE_CHAIN_RUNS").unwrap_or(runs)
}

/// Lets something happen to a gateway; in a quarter of the cases it returns a number, and the test chooses.
async fn happens(site: &mut Site) -> Option<u64> {
    let dice = site.rng.next();
    match dice % 8 {
        0..3 => site.send(["default", "team"][(dice >> 8) as usize % 2], &format!("s{}", (dice >> 16) % 3), "text"),
        3..5 => {
            site.clock.advance(Duration::from_secs((dice >> 8) % 90));
            site.uploader.step().await;
        }
        5 => site.restart((dice >> 8) as usize % 6),
        _ => return Some(dice >> 8),
    }
    None
}

/// At whatever moment a process crashes, and whichever of its last marks are lost, the next process finishes
/// everything, and there is nothing to find.
#[tokio::test]
async fn crashes_are_no_alarms() {
    let mut erased = 0;
    for seed in seeds(40) {
        let mut site = Site::new(seed);
        for _ in 0..12 {
            if let Some(dice) = happens(&mut site).await {
                site.uploader.drain().await;
                if dice.is_multiple_of(2) {
                    site.restart(100);
                }
            }
        }
        if seed % 2 == 0 {
            site.minutes(5).await;
        } else {
            assert!(site.uploader.drain().await, "seed {seed}");
        }
        if site.store.0.lock().is_empty() {
            continue;
        }
        let report = site.audit().await;
        assert!(report.verified && report.findings.is_empty(), "seed {seed}: {}", report.text());
        assert_eq!(report.counts.leaves, 2 * site.sent, "seed {seed}: {}", report.text());
        assert_eq!(report.counts.opened, site.sent, "seed {seed}: {}", report.text());
        erased += u64::from(erased_is_no_alarm(&mut site, seed).await);
    }
    assert!(erased > 0, "nothing was erased");
}

/// An object has lines in two digests, and the process ends between them: the first digest has the object's hash, the
/// second one, of a process that did not store the object, has none. That is no gap. (With the lines of the second
/// digest alone, the object seems to have bytes that no line covers.)
#[tokio::test]
async fn a_crash_between_the_digests_of_an_object_is_no_alarm() {
    let mut seen = 0;
    for (apart, until) in (1..8).flat_map(|apart| (1..20).map(move |until| (apart * 10, until * 10))) {
        let mut site = Site::new(1);
        site.send("default", "s0", "text");
        site.clock.advance(Duration::from_secs(apart));
        // Its object is closed later, so the first digest ends before its line.
        site.send("default", "s1", "text");
        site.send("default", "s0", "more");
        for _ in 0..until / 10 {
            site.clock.advance(Duration::from_secs(10));
            site.uploader.step().await;
        }
        site.restart(100);
        site.minutes(5).await;
        let report = site.audit().await;
        assert!(report.verified && report.findings.is_empty(), "{apart} {until}: {}", report.text());
        seen += u64::from(is_listed_both_ways(&site));
    }
    assert!(seen > 0, "no process ended between two digests of one object");
}

/// Whether a digest lists an object with its hash, and another one without.
fn is_listed_both_ways(site: &Site) -> bool {
    let store = site.store.0.lock();
    let digests = store.iter().filter(|(name, _)| name.starts_with("chain/") && name.ends_with(".json"));
    let mut listed = std::collections::BTreeMap::<String, std::collections::BTreeSet<bool>>::new();
    for (_, digest) in digests {
        let digest: serde_json::Value = serde_json::from_slice(digest).unwrap_or_default();
        for object in digest["objects"].as_array().into_iter().flatten() {
            listed.entry(object["key"].to_string()).or_default().insert(object["sha256"].is_string());
        }
    }
    listed.values().any(|ways| ways.len() > 1)
}

/// A session is erased by a run that crashes and one that finishes; then the session continues.
async fn erased_is_no_alarm(site: &mut Site, seed: u64) -> bool {
    use crate::erase::ContentTarget;
    use crate::erase::tests::Desk;
    if site.names("keys/default/acme/s0/").is_empty() {
        return false;
    }
    let request = Desk::of(site, None).request(site, ContentTarget::Session("s0".to_owned())).await;
    let desk = Desk::of(site, Some(seed % 9));
    let file = desk.signed(&request);
    let first = desk.run(site, &file).await;
    let desk = Desk::of(site, None);
    if first.is_err() {
        desk.run(site, &file).await.expect("finished");
    }
    // the gateway caches a session's public key: content sealed to it now can never be opened
    site.send("default", "s0", "afterwards");
    site.send("default", "s1", "something else");
    assert!(site.uploader.drain().await, "seed {seed}");
    let report = desk.audit(site).await;
    assert!(report.verified && report.findings.is_empty(), "seed {seed}: {}", report.text());
    let noise = report.erasures.first().expect("it is told").fragments;
    assert_eq!(report.counts.opened + noise, site.sent, "seed {seed}: {}", report.text());
    assert!(noise > 0, "seed {seed}: {}", report.text());
    true
}

/// Unreadable records, wherever they are: losses are reported, lost lines by lines of kind `gap` in their place, and
/// the rest still verifies.
#[tokio::test]
async fn damage_is_told_and_no_alarm() {
    use pipeline::spool::RecordKind;
    let (mut told, mut gaps, mut forks, runs) = (0, 0, 0, seeds(60));
    // 676: a digest unknown to its writer had lines
    for seed in runs.clone().chain([676]) {
        let mut site = Site::new(seed);
        for _ in 0..14 {
            if let Some(dice) = happens(&mut site).await {
                let kind = [RecordKind::Leaf, RecordKind::Seal, RecordKind::Fragment][dice as usize % 3];
                site.journal.damage_waiting(kind, (dice >> 8) as usize);
            }
        }
        site.minutes(12).await;
        let report = site.verify(VerifyOptions::default()).await;
        told += u64::from(!report.findings.is_empty() || report.counts.gaps > 0);
        gaps += report.counts.gaps;
        // a digest was stored, its seal was damaged, and the process crashed: the next process can't know of it, and
        // says so
        forks += u64::from(has(&report, "fork"));
        // permanent losses remain, and the writer declared that its spool is damaged
        let explained = |finding: &&VerifyFinding| {
            finding.code == "fork"
                || finding.message.contains("its writer reports unreadable records in its spool")
                || finding.code == "object_changed"
        };
        let failures = report.findings.iter().filter(|finding| finding.severity == crate::verify::Severity::Failure);
        let bad: Vec<_> = failures.filter(|finding| !explained(finding)).collect();
        assert!(bad.is_empty() || report.counts.epochs == 0, "seed {seed}: {bad:?}\n{}", report.text());
    }
    assert!(told > 0 && gaps > 0, "nothing was damaged");
    assert!(forks * 10 <= runs.end - runs.start, "{forks} of {runs:?}");
}
