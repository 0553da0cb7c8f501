//! An opening leaves a line before anything is opened, or nothing is opened; the line can't be changed unseen.

use std::time::Duration;

use super::*;
use crate::erase::tests::{Desk, key};
use crate::ledger::LedgerSigner;
use crate::location::{VaultLocation, WritableVault};
use crate::signed_request::sign;
use crate::testing::site::{Site, assert_said};
use crate::verify::{VerifyOptions, VerifyReport};
use kernel::clock::{Clock as _, UnixNanos};
use vault::chain::note::SigningKey;
use vault::object_names::rfc3339;
use vault::testing::journal::signing_key;

const STORE: &str = "memory";

fn sign_request(file: &str, key: &SigningKey) -> Result<String, &'static str> {
    sign::<OpeningRequest>(file, key)
}

/// The openers' side of a site.
pub(crate) struct Openers {
    desk: Desk,
    chain: SigningKey,
}

impl Openers {
    pub(crate) fn of(site: &Site, left: Option<u64>) -> Self {
        Self { desk: Desk::of(site, left), chain: key("openings.test", 60) }
    }

    pub(crate) fn keys(&self) -> Vec<VerifyKey> {
        self.desk.erasers()
    }

    pub(crate) fn chain_key(&self) -> VerifyKey {
        self.chain.public().clone()
    }

    pub(crate) fn request(&self, site: &Site, nonce: u8) -> OpeningRequest {
        let now = site.clock.now();
        OpeningRequest {
            v: OpeningRequest::VERSION,
            store: STORE.to_owned(),
            account: "default".to_owned(),
            open_session: "s0".to_owned(),
            why: "incident 12".to_owned(),
            time: rfc3339(now),
            expires: rfc3339(now.plus(Duration::from_secs(86_400))),
            nonce: format!("{nonce:032x}"),
        }
    }

    pub(crate) fn signed(&self, request: &OpeningRequest) -> String {
        let once = sign_request(&request.text(), &self.desk.people[0]).expect("signed");
        sign_request(&once, &self.desk.people[1]).expect("signed")
    }

    pub(crate) async fn record(&self, site: &Site, file: &str, auditors: &[Identity]) -> Result<KeySelection, String> {
        self.record_as(site, file, auditors, ("openings", STORE)).await
    }

    fn signer<'o>(&'o self, writer: &'o str) -> LedgerSigner<'o> {
        LedgerSigner { key: &self.chain, earlier_keys: &[], writer }
    }

    async fn record_as(
        &self,
        site: &Site,
        file: &str,
        auditors: &[Identity],
        (writer, store): (&str, &str),
    ) -> Result<KeySelection, String> {
        let read = Ledger::read(&self.desk.place, self.signer(writer), "default", site.clock.now()).await;
        let mut ledger = read.map_err(|error| error.to_string())?;
        let recorded = record_opening(&mut ledger, file, &self.keys(), store, auditors).await;
        recorded.map_err(|error| error.to_string())
    }

    /// The recorded lines, all of which can be read.
    async fn lines(&self, site: &Site) -> Vec<IndexRow> {
        self.lines_in(&site.vault()).await
    }

    async fn lines_in(&self, vault: &Vault) -> Vec<IndexRow> {
        let signed = SignedIndex::read(vault, &[self.chain_key()], None).await.expect("signed");
        let (rows, unreadable) = list_openings(vault, &signed, None).await.expect("listed");
        assert!(unreadable.is_empty(), "{unreadable:?}");
        rows
    }

    async fn verify(&self, site: &Site) -> VerifyReport {
        let keys = vec![signing_key().public().clone(), self.chain_key()];
        site.verify(VerifyOptions { keys, openers: self.keys(), ..VerifyOptions::default() }).await
    }
}

async fn site() -> Site {
    let mut site = Site::of_session(41, "said", 3).await;
    assert!(site.uploader.drain().await);
    site
}

async fn site_and_openers() -> (Site, Openers) {
    let site = site().await;
    let openers = Openers::of(&site, None);
    (site, openers)
}

/// Two signatures record an opening; the report and the list show time, session, reason and signers.
#[tokio::test]
async fn an_opening_is_recorded() {
    let (site, openers) = site_and_openers().await;
    let auditors = [Identity::generate()];
    let expires = rfc3339(site.clock.now().plus(Duration::from_secs(30 * 86_400)));
    let file = openers.signed(&OpeningRequest { expires, ..openers.request(&site, 1) });
    let permitted = openers.record(&site, &file, &auditors).await.expect("recorded");
    assert_eq!((permitted.session.as_deref(), permitted.account.as_deref()), (Some("s0"), Some("default")));
    let report = openers.verify(&site).await;
    assert!(report.verified && report.openings.len() == 1, "{}", report.text());
    let text = report.text();
    assert!(text.contains("opened by request: s0 of default in memory at 2026-"), "{text}");
    assert!(text.contains(": incident 12; signed by alice, bob"), "{text}");
    let rows = openers.lines(&site).await;
    let opening = rows[0].tail.opening.as_ref().expect("an opening");
    assert!(rows.len() == 1 && opening.auditors == [auditors[0].to_public().to_string()]);
    // each auditor uses a request once, also together with others
    let [one] = auditors;
    for auditors in [vec![one.clone()], vec![Identity::generate(), one]] {
        let again = openers.record(&site, &file, &auditors).await.expect_err("used");
        assert!(again.contains("has used this request"), "{again}");
    }
    openers.record(&site, &file, &[Identity::generate()]).await.expect("another auditor");
    assert!(openers.verify(&site).await.verified);
    let keys = vec![signing_key().public().clone(), openers.chain_key()];
    let text = site.verify(VerifyOptions { keys, ..VerifyOptions::default() }).await.text();
    assert!(text.contains("unchecked signatures of alice, bob") && text.contains("(--openers)"), "{text}");
}

/// Requests that are unsigned, signed once or by one key twice, by a stranger, edited, for another vault, too old, too
/// early, or of another kind record nothing.
#[tokio::test]
async fn faulty_requests_record_nothing() {
    let (site, openers) = site_and_openers().await;
    let (request, auditors) = (openers.request(&site, 2), [Identity::generate()]);
    let objects = site.store.0.lock().len();
    let [alice, bob, carol] = &openers.desk.people;
    let text = request.text();
    let once = sign_request(&text, alice).expect("signed");
    assert!(sign_request(&once, alice).is_err(), "one person twice");
    let stranger = sign_request(&once, carol).expect("signed");
    let edited = openers.signed(&request).replace("incident 12", "incident 13");
    let spaced = openers.signed(&request).replacen("\"v\": 1", "\"v\":  1", 1);
    let days = |days: u64| rfc3339(site.clock.now().plus(Duration::from_secs(days * 86_400)));
    let elsewhere = OpeningRequest { store: "s3://other".to_owned(), ..request.clone() };
    let private = OpeningRequest { account: "bob.zorn@example.com".to_owned(), ..request.clone() };
    let early = OpeningRequest { time: days(1), expires: days(2), ..request.clone() };
    let other_account = OpeningRequest { account: "acme".to_owned(), ..request.clone() };
    // as text, this time of the past is later than now
    let in_zone = |hours_ago: i64| {
        let at = time::OffsetDateTime::from_unix_timestamp(site.clock.now().seconds() as i64 - hours_ago * 3600);
        let zone = time::UtcOffset::from_hms(14, 0, 0).expect("a zone");
        at.expect("a time").to_offset(zone).format(&time::format_description::well_known::Rfc3339).expect("text")
    };
    let past = OpeningRequest { time: in_zone(2), expires: in_zone(1), ..request.clone() };
    let empty = OpeningRequest { why: String::new(), ..request.clone() };
    let long = OpeningRequest { expires: days(31), ..request.clone() };
    let long = alice.sign_note(&long.text()) + bob.sign_note(&long.text()).rsplit('\n').nth(1).expect("a line") + "\n";
    let huge = format!("{}\n{}", openers.signed(&request), "\u{2014} x AAAAAAAA\n".repeat(100_000));
    let cases: [(&str, &str); 17] = [
        (&text, "no valid signatures"),
        (&once, "signed by 1 of"),
        (&stranger, "signed by 1 of"),
        (&edited, "no valid signatures"),
        (&spaced, "reformatted or edited"),
        (&openers.signed(&elsewhere), "made for another vault"),
        (&openers.signed(&early), "in the future"),
        (&openers.signed(&past), "expired at"),
        (&long, "more than 30 days"),
        (&openers.signed(&other_account), "made for another account"),
        (&empty.text(), "has an empty field"),
        (&private.text(), "names an account that can't exist"),
        (&huge, "larger than 64 KiB"),
        ("{}", "was not made by"),
        ("", "was not made by"),
        ("\n\n", "was not made by"),
        (&"[".repeat(60_000), "was not made by"),
    ];
    for (file, why) in cases {
        let refused = openers.record(&site, file, &auditors).await.expect_err(why);
        assert!(refused.contains(why) || refused.contains("signed by 0 of"), "{why}: {refused}");
    }
    let erasure = openers.desk.request(&site, crate::erase::ContentTarget::Session("s0".to_owned())).await;
    let refused = openers.record(&site, &openers.desk.signed(&erasure), &auditors).await.expect_err("an erasure");
    assert!(refused.contains("was not made by"), "{refused}");
    assert!(openers.desk.run(&site, &openers.signed(&request)).await.is_err(), "an opening erases nothing");
    site.clock.advance(Duration::from_secs(86_400));
    let refused = openers.record(&site, &openers.signed(&request), &auditors).await.expect_err("expired");
    assert!(refused.contains("expired at"), "{refused}");
    assert_eq!(site.store.0.lock().len(), objects, "nothing is written");
}

/// A run that dies between any two writes leaves a vault that verifies or says what is open, and the next run records
/// the opening once.
#[tokio::test]
async fn a_killed_run_is_repeated() {
    for left in 0..4 {
        let site = site().await;
        let openers = Openers::of(&site, Some(left));
        let (file, auditors) = (openers.signed(&openers.request(&site, 3)), [Identity::generate()]);
        let died = openers.record(&site, &file, &auditors).await.is_err();
        let openers = Openers::of(&site, None);
        if died {
            openers.record(&site, &file, &auditors).await.expect("recorded");
        }
        let report = openers.verify(&site).await;
        assert!(report.verified && report.openings.len() == 1, "{left}: {}", report.text());
    }
}

/// A line that a killed run stored in time is finished after its request expired, opens nothing, and blocks nobody. An
/// expired request begins nothing: not after a run that stored nothing, for other auditors, or by a line from after its
/// time. (Seen red: without `has_begun_in_time` the next request finds the chain busy for ever.)
#[tokio::test]
async fn a_line_begun_in_time_is_finished_after_its_request_expired() {
    for left in 0..3 {
        let site = site().await;
        let (auditors, others) = ([Identity::generate()], [Identity::generate()]);
        let killed = Openers::of(&site, Some(left));
        let file = killed.signed(&killed.request(&site, 3));
        killed.record(&site, &file, &auditors).await.expect_err("killed");
        let begun_at = rfc3339(site.clock.now());
        site.clock.advance(Duration::from_secs(2 * 86_400));
        let openers = Openers::of(&site, None);
        let objects = || site.store.0.lock().clone();
        let before = objects();
        let refused = openers.record(&site, &file, &others).await.expect_err("a new use");
        assert!(refused.contains("expired at") && !refused.contains("is recorded now"), "{left}: {refused}");
        let begun = before.keys().find(|name| name.contains("/openings-")).cloned();
        if let Some(name) = &begun {
            let line = crate::read::index::unpack_lines(name, &before[name], true).expect("lines");
            let late = line.replace(&format!("ts\":\"{begun_at}"), &format!("ts\":\"{}", rfc3339(site.clock.now())));
            assert_ne!(line, late);
            let late = zstd::bulk::compress(late.as_bytes(), 3).expect("zstd");
            let planted = name.replace("dt=2026-11-2", "dt=2026-11-1");
            assert_ne!(*name, planted);
            site.plant(&planted, late);
            let refused = openers.record(&site, &file, &auditors).await.expect_err("late");
            assert!(!refused.contains("is recorded now"), "{left}: {refused}");
            site.remove(&planted);
        }
        assert_eq!(objects(), before, "{left}: nothing is written");
        let refused = openers.record(&site, &file, &auditors).await.expect_err("expired");
        assert!(refused.contains("expired at"), "{left}: {refused}");
        assert_eq!(refused.contains("is recorded now"), begun.is_some(), "{left}: {refused}");
        let report = openers.verify(&site).await;
        assert!(report.verified && report.openings.len() == usize::from(left > 0), "{left}: {}", report.text());
        let again = openers.record(&site, &file, &auditors).await.expect_err("used, or expired");
        assert_eq!(again.contains("has used this request"), left > 0, "{left}: {again}");
        let next = openers.signed(&openers.request(&site, 4));
        openers.record(&site, &next, &others).await.expect("another opening");
        assert!(openers.verify(&site).await.verified);
    }
}

/// If the name of a killed run's digest is taken meanwhile, its line can't be finished, and an expired request writes no
/// line under the next name. (Seen red: with `append` in place of `finish_begun`.)
#[tokio::test]
async fn an_expired_request_begins_no_line_under_another_name() {
    let site = site().await;
    let auditors = [Identity::generate()];
    let killed = Openers::of(&site, Some(1));
    let file = killed.signed(&killed.request(&site, 3));
    killed.record(&site, &file, &auditors).await.expect_err("killed");
    site.clock.advance(Duration::from_secs(2 * 86_400));
    let openers = Openers::of(&site, None);
    let lines = || site.names("index/").into_iter().filter(|name| name.contains("/openings-")).collect::<Vec<_>>();
    let begun = lines();
    let epoch = begun[0].split("/openings-").nth(1).and_then(|name| name.split('-').next()).expect("an epoch");
    site.plant(&format!("chain/default/openings/{epoch}/0000000000.json.sig"), "junk");
    let refused = openers.record(&site, &file, &auditors).await.expect_err("expired");
    assert!(!refused.contains("is recorded now"), "{refused}");
    assert_eq!(lines(), begun, "{refused}");
}

/// One writer's chain refuses a second use by the same auditor. Another writer's can't know of it, so readers report it.
#[tokio::test]
async fn a_request_used_under_two_writers_is_reported() {
    let (site, openers) = site_and_openers().await;
    let file = openers.signed(&openers.request(&site, 9));
    let (one, other) = (Identity::generate(), Identity::generate());
    openers.record(&site, &file, std::slice::from_ref(&one)).await.expect("recorded");
    openers.record_as(&site, &file, &[other], ("openings-bob", STORE)).await.expect("another auditor");
    assert!(openers.verify(&site).await.verified && find_repeated_uses(&openers.lines(&site).await).is_empty());
    openers.record_as(&site, &file, &[one], ("openings-carol", STORE)).await.expect("not known there");
    let report = openers.verify(&site).await;
    assert_eq!(report.finding_counts.get("opening_invalid"), Some(&1), "{}", report.text());
    assert!(!report.verified && report.text().contains("used its request before, in openings/"), "{}", report.text());
    let repeated = find_repeated_uses(&openers.lines(&site).await);
    assert!(repeated.len() == 1 && repeated[0].starts_with("openings-carol/"), "{repeated:?}");
}

/// A request for another vault is reported, but fails neither a copy of the vault nor one that was moved.
#[tokio::test]
async fn a_request_for_another_vault_is_reported() {
    let (site, openers) = site_and_openers().await;
    openers.desk.erase(&site, "s0").await;
    openers.record(&site, &openers.signed(&openers.request(&site, 1)), &[Identity::generate()]).await.expect("here");
    let warnings = async |bucket: Option<&str>| {
        let vault = Vault::new(site.store.clone(), "", bucket.map(str::to_owned));
        let keys = [openers.desk.keys(), vec![openers.chain_key()]].concat();
        let options = VerifyOptions { keys, openers: openers.keys(), ..VerifyOptions::default() };
        let report = site.verify_in(&vault, options).await.assert_verified();
        let found = report.findings.into_iter().filter(|finding| finding.code == "other_store");
        found.map(|finding| format!("{} {}", finding.location, finding.message)).collect::<Vec<_>>()
    };
    assert!(warnings(None).await.is_empty());
    site.clock.advance(Duration::from_secs(60));
    let elsewhere = OpeningRequest { store: "s3://other/p".to_owned(), ..openers.request(&site, 2) };
    let file = openers.signed(&elsewhere);
    openers.record_as(&site, &file, &[Identity::generate()], ("openings", "s3://other/p")).await.expect("recorded");
    let told = warnings(None).await;
    assert!(told.len() == 1 && told[0].starts_with("openings/"), "{told:?}");
    assert_said(&told, "1 signed request for the vault s3://other/p, not for memory");
    let told = warnings(Some("copy")).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert_said(&told[..1], "2 signed requests for the vault memory, not for s3://copy");
}

/// Of runs that read the ledger before any recorded its opening, with one request or several, one records it and may
/// open; the chain has that line alone, and the next opening follows it.
#[tokio::test]
async fn concurrent_runs_record_one_opening() {
    let (site, openers) = site_and_openers().await;
    let auditors = [Identity::generate()];
    for round in 0..48 {
        // also runs on both sides of midnight, whose lines have names with different days
        let gap = if round < 24 { 1 } else { 54_000 };
        let folder = tempfile::tempdir().expect("scratch");
        let location =
            VaultLocation { store: folder.path().to_string_lossy().into_owned(), ..VaultLocation::default() };
        let place = WritableVault::from_location(&location, None).expect("a folder");
        let read = async |now: UnixNanos| {
            Ledger::read(&place, openers.signer("openings"), "default", now).await.expect("a ledger")
        };
        let record = async |mut ledger: Ledger<'_>, nonce: u8| {
            let file = openers.signed(&openers.request(&site, nonce));
            record_opening(&mut ledger, &file, &openers.keys(), STORE, &auditors).await
        };
        let (requests, clocks) = (1 + round % 3, 1 + round / 3 % 2);
        let times = (0..6_u8).map(|run| Duration::from_secs(u64::from(run % clocks) * gap));
        let ledgers = futures_util::future::join_all(times.map(|after| read(site.clock.now().plus(after)))).await;
        let runs = (0..6_u8).zip(ledgers).map(|(run, ledger)| record(ledger, run % requests));
        let recorded = futures_util::future::join_all(runs).await.iter().filter(|run| run.is_ok()).count();
        assert_eq!(recorded, 1, "{requests} requests");
        record(read(site.clock.now().plus(Duration::from_secs(gap + 1))).await, 9).await.expect("the next one");
        let rows = openers.lines_in(&Vault::from_location(&location).expect("a folder")).await;
        assert_eq!(rows.len(), 2);
    }
}

/// A copied line and a stranger's chain are reported, and lines that the holder of the chain's key invents; the newest
/// epoch as a whole is missed by an anchor alone. (`every_change_of_every_object_is_told` changes each object.)
#[tokio::test]
async fn changes_of_the_chain_are_reported() {
    let (site, openers) = site_and_openers().await;
    for nonce in [4, 5, 6] {
        let file = openers.signed(&openers.request(&site, nonce));
        openers.record(&site, &file, &[Identity::generate()]).await.expect("recorded");
    }
    // a digest that follows its signature may be a moment late
    site.clock.advance(Duration::from_secs(3600));
    assert!(openers.verify(&site).await.verified);
    let before = site.store.0.lock().clone();
    let newest = site.names("chain/default/openings/").pop().expect("a digest");
    let epoch = newest.split('/').nth(3).expect("an epoch");
    site.store.0.lock().retain(|name, _| !name.contains(epoch));
    assert!(openers.verify(&site).await.verified);
    *site.store.0.lock() = before.clone();
    let line = site.name(&["index/", "/openings-"]);
    for planted in [line.replace("-0000000000.", "-0000000001."), line.replace("/openings-", "/other-")] {
        site.plant(&planted, before[&line].clone());
    }
    assert!(!openers.verify(&site).await.verified, "a copied line");
    assert_eq!(openers.lines(&site).await.len(), 3, "and not listed");
    *site.store.0.lock() = before.clone();
    let stranger = Openers { chain: key("stranger", 61), ..Openers::of(&site, None) };
    let (file, as_other) = (openers.signed(&openers.request(&site, 8)), ("other", STORE));
    stranger.record_as(&site, &file, &[Identity::generate()], as_other).await.expect("recorded");
    assert!(!openers.verify(&site).await.verified, "a stranger's chain");
    *site.store.0.lock() = before;
    lines_without_requests_are_invalid(&site, &openers).await;
}

/// With the chain's key alone, lines can be written, but they are invalid: without signatures, with those of a request
/// that was used, for another account, after its time, for nobody, or with other words than the request's.
async fn lines_without_requests_are_invalid(site: &Site, openers: &Openers) {
    let request = openers.request(site, 7);
    let signed = openers.signed(&request);
    let auditor = Identity::generate().to_public().to_string();
    let line = OpeningRecord {
        nonce: request.nonce.clone(),
        why: request.why.clone(),
        session: request.open_session.clone(),
        signers: vec!["alice".to_owned(), "bob".to_owned()],
        auditors: vec![auditor],
        request: signed.clone(),
    };
    let expired = OpeningRequest { expires: request.time.clone(), ..request.clone() };
    let elsewhere = OpeningRequest { account: "acme".to_owned(), ..request.clone() };
    let lines = [
        (true, line.clone()),
        (false, line.clone()),
        (false, OpeningRecord { request: request.text(), ..line.clone() }),
        (false, OpeningRecord { request: "\u{0}".repeat(1000), ..line.clone() }),
        (false, OpeningRecord { request: openers.signed(&expired), ..line.clone() }),
        (false, OpeningRecord { request: openers.signed(&elsewhere), ..line.clone() }),
        (false, OpeningRecord { session: "s1".to_owned(), ..line.clone() }),
        (false, OpeningRecord { why: "maintenance".to_owned(), ..line.clone() }),
        (false, OpeningRecord { nonce: "9".repeat(32), ..line.clone() }),
        (false, OpeningRecord { auditors: Vec::new(), ..line }),
    ];
    let mut invalid = 0;
    for (is_valid, line) in lines {
        let read = Ledger::read(&openers.desk.place, openers.signer("openings"), "default", site.clock.now()).await;
        read.expect("read").append(LedgerEntry::Opening(line)).await.expect("written");
        invalid += u64::from(!is_valid);
        let report = openers.verify(site).await;
        let found = report.finding_counts.get("opening_invalid").copied().unwrap_or_default();
        assert!(found == invalid && report.verified == (invalid == 0), "{}", report.text());
    }
}
