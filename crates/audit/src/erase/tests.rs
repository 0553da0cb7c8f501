//! Erasures over realistically written vaults: reports, refusals, crashes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::request::{ContentTarget, ErasureRequest};
use super::resolve::{find_sessions, find_sessions_with_unsigned};
use super::{Ledger, TargetQuery, WritableVault, execute_request, resolve_target, resume_erasure};
use crate::ledger::{LedgerEntry, LedgerSigner};
use crate::read::{FragmentOpener, IndexQuery, ReadError, ReplayFilter, find_signed, replay};
use crate::signed_request::{SignedRequest as _, open, sign};
use crate::testing::site::{Altered, Memory, Site, assert_said, text_of};
use crate::verify::{VerifyOptions, VerifyReport};
use kernel::clock::{Clock, UnixNanos};
use kernel::rng::SeededRng;
use vault::chain::erasures::ErasureHead;
use vault::chain::note::{SigningKey, VerifyKey};
use vault::index_row::{ErasureRecord, ErasureState, ShreddedKey};
use vault::object_names::rfc3339;
use vault::store::settings::LockMode;
use vault::store::{
    ErasePredicate, ObjectKind, ObjectVersion, PutOutcome, StoreError, VaultEraser, VaultStore, VersionLock,
};
use vault::testing::journal::signing_key;

const STORE: &str = "memory";

/// A store that stops after a number of changes, like a killed process.
pub(crate) struct Mortal {
    store: Arc<Memory>,
    left: Mutex<Option<u64>>,
    held: Mutex<BTreeSet<String>>,
}

impl Mortal {
    pub(crate) fn new(store: Arc<Memory>, left: Option<u64>) -> Arc<Self> {
        Arc::new(Self { store, left: Mutex::new(left), held: Mutex::default() })
    }

    /// Allows so many changes from now on; `None`: any number.
    pub(crate) fn live(&self, left: Option<u64>) {
        *self.left.lock() = left;
    }

    /// Whether one more change is allowed.
    fn lives(&self) -> Result<(), StoreError> {
        match &mut *self.left.lock() {
            Some(0) => Err(StoreError::Unavailable("killed".to_owned())),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl VaultStore for Mortal {
    fn put_once<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
        bytes: Bytes,
        now: UnixNanos,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        Box::pin(async move {
            self.lives()?;
            self.store.put_once(kind, name, bytes, now).await
        })
    }
}

impl VaultEraser for Mortal {
    fn is_on_hold<'a>(&'a self, _: ObjectKind, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.held.lock().contains(name)) })
    }

    fn destroy<'a>(&'a self, prefix: &'a str, own: &'a ErasePredicate<'a>) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            self.lives()?;
            let mut objects = self.store.0.lock();
            let before = objects.len();
            objects.retain(|name, _| !(name.starts_with(prefix) && own(name)));
            Ok((before - objects.len()) as u64)
        })
    }
}

/// The eraser's side of a site.
pub(crate) struct Desk {
    pub(crate) store: Arc<Mortal>,
    pub(crate) place: WritableVault,
    chain: SigningKey,
    /// Keys that signed the chain earlier.
    before: Vec<VerifyKey>,
    pub(crate) people: [SigningKey; 3],
}

fn sign_erasure(file: &str, key: &SigningKey) -> Result<String, &'static str> {
    sign::<ErasureRequest>(file, key)
}

pub(crate) fn key(name: &str, seed: u64) -> SigningKey {
    let text = SigningKey::generate(name, &SeededRng::new(seed)).expect("key");
    SigningKey::from_secret(&text).expect("key")
}

impl Desk {
    pub(crate) fn of(site: &Site, left: Option<u64>) -> Self {
        let store = Mortal::new(site.store.clone(), left);
        let (eraser, holder) = (store.clone(), Arc::new(vault::store::DirectoryStore::new("unused")));
        let keys = vec![signing_key().public().clone()];
        let place = WritableVault { vault: site.vault(), store: store.clone(), eraser, holder, keys };
        let people = [key("alice", 1), key("bob", 2), key("carol", 3)];
        Self { store, place, chain: key("erase.test", 50), before: Vec::new(), people }
    }

    pub(crate) fn chain_key(&self) -> VerifyKey {
        self.chain.public().clone()
    }

    /// The gateway's public key, and that of the erasures' chain.
    pub(crate) fn keys(&self) -> Vec<VerifyKey> {
        vec![signing_key().public().clone(), self.chain_key()]
    }

    pub(crate) fn erasers(&self) -> Vec<VerifyKey> {
        self.people.iter().take(2).map(|person| person.public().clone()).collect()
    }

    fn signer<'d>(&'d self, writer: &'d str) -> LedgerSigner<'d> {
        LedgerSigner { key: &self.chain, earlier_keys: &self.before, writer }
    }

    async fn ledger(&self, site: &Site) -> Result<Ledger<'_>, ReadError> {
        Ledger::read(&self.place, self.signer("eraser"), "default", site.clock.now()).await
    }

    pub(crate) async fn request(&self, site: &Site, what: ContentTarget) -> ErasureRequest {
        let asked = TargetQuery { target: what.clone(), account: Some("default".to_owned()), tenant: None };
        let found = resolve_target(&self.place, &asked).await.expect("resolved");
        let now = site.clock.now();
        ErasureRequest {
            v: ErasureRequest::VERSION,
            store: STORE.to_owned(),
            account: found.account,
            what,
            who: "data protection officer".to_owned(),
            why: "ticket 4711".to_owned(),
            time: rfc3339(now),
            expires: rfc3339(now.plus(Duration::from_secs(86_400))),
            nonce: format!("{:032x}", site.rng.next()),
            sessions: found.sessions,
            keys: found.keys,
            holds: found.holds,
        }
    }

    pub(crate) fn signed(&self, request: &ErasureRequest) -> String {
        let once = sign_erasure(&request.text(), &self.people[0]).expect("signed");
        sign_erasure(&once, &self.people[1]).expect("signed")
    }

    /// A request signed by two people who did not check it.
    fn forged(&self, request: &ErasureRequest) -> String {
        let text = request.text();
        let lines = self.people.iter().take(2).map(|person| person.sign_note(&text)[text.len() + 1..].to_owned());
        format!("{text}\n{}", lines.collect::<String>())
    }

    pub(crate) async fn run(&self, site: &Site, file: &str) -> Result<super::ErasureOutcome, ReadError> {
        let mut ledger = self.ledger(site).await?;
        execute_request(&mut ledger, file, &self.erasers(), STORE).await
    }

    pub(crate) async fn erase(&self, site: &Site, session: &str) -> super::ErasureOutcome {
        let request = self.request(site, ContentTarget::Session(session.to_owned())).await;
        self.run(site, &self.signed(&request)).await.expect("erased")
    }

    /// Reports a digest of its chain to the gateway, as `erase --execute` does; a later step stores it.
    pub(crate) fn report(&self, site: &Site, name: &str) {
        let (digest, signature) = (site.object(name), site.object(&format!("{name}.sig")));
        assert!(ErasureHead::verify(&digest, &signature, &[signing_key().public().clone()]).is_err(), "another key's");
        let head = ErasureHead::verify(&digest, &signature, &[self.chain_key()]).expect("a head");
        drop(site.uploader.erasure_inbox().report(head).expect("room"));
    }

    /// The report for an auditor with every key.
    pub(crate) async fn audit(&self, site: &Site) -> VerifyReport {
        let (keys, auditors) = (self.keys(), vec![site.auditor.clone()]);
        site.verify(VerifyOptions { keys, auditors, erasers: self.erasers(), ..VerifyOptions::default() }).await
    }
}

pub(crate) async fn site() -> Site {
    let mut site = Site::new(7);
    for n in 0..4 {
        site.send("default", &format!("s{}", n % 2), &format!("text {n}"));
        site.send("team", "s0", "another account's");
        site.minutes(3).await;
    }
    site
}

/// A vault, and an eraser's side of it.
pub(crate) async fn site_and_desk() -> (Site, Desk) {
    let site = site().await;
    let desk = Desk::of(&site, None);
    (site, desk)
}

fn session(name: &str) -> ContentTarget {
    ContentTarget::Session(name.to_owned())
}

fn user(name: &str) -> ContentTarget {
    ContentTarget::User(name.to_owned())
}

fn in_default(target: ContentTarget) -> TargetQuery {
    TargetQuery { target, account: Some("default".to_owned()), tenant: None }
}

/// A line about a request in the chain of erasures.
fn record(request: &ErasureRequest, state: ErasureState, file: Option<String>) -> LedgerEntry {
    LedgerEntry::Erasure(ErasureRecord {
        state,
        nonce: request.nonce.clone(),
        who: request.who.clone(),
        why: request.why.clone(),
        signers: vec!["alice".to_owned(), "bob".to_owned()],
        sessions: request.sessions.clone(),
        key_ids: request.keys.iter().map(|key| key.id.clone()).collect(),
        destroyed: None,
        request: file,
    })
}

/// Erased content can't be opened by anyone and verifies as erased by request; other content still opens. A second
/// erasure continues the same chain. Without the erasers' keys, the report does not claim that they signed.
#[tokio::test]
async fn an_erased_session_is_told_and_nothing_else_is_lost() {
    let (site, desk) = site_and_desk().await;
    let before = desk.audit(&site).await;
    assert!(before.verified && before.erasures.is_empty() && before.counts.opened == 8, "{}", before.text());
    let done = desk.erase(&site, "s0").await;
    assert_eq!((done.keys, done.objects, done.resumed), (1, 1, false));
    let report = desk.audit(&site).await.assert_clean();
    assert_eq!((report.counts.opened, report.erasures.len(), report.erasures[0].fragments), (6, 1, 2));
    assert!(report.erasures[0].finished_at.is_some() && report.erasures[0].signers == ["alice", "bob"]);
    let text = report.text();
    assert!(text.contains("\nerased by request: acme/s0") && text.contains("ticket 4711"), "{text}");
    let (_, closed, _) = read_with(&desk, &site.auditor, "s0", &[]).await;
    assert!(!closed.is_empty() && closed.lines().all(|why| why.contains("no key object")), "{closed}");
    desk.erase(&site, "s1").await;
    let report = desk.audit(&site).await.assert_clean();
    assert_eq!((report.counts.opened, report.erasures.len()), (4, 2), "only the other account's: {}", report.text());
    let report = site.verify(VerifyOptions { keys: desk.keys(), ..VerifyOptions::default() }).await;
    let text = report.text();
    assert!(report.verified && report.not_verified.iter().any(|what| what.contains("--erasers")), "{text}");
    assert!(!text.contains("\nerased by request:") && text.contains("unchecked signatures of alice"), "{text}");
    assert!(!report.erasures[0].signatures_checked);
}

/// Killed after each single change: keys are never gone without a signed digest that announces it, and running again
/// completes the erasure, with nothing left to find.
#[tokio::test]
async fn a_crash_anywhere_is_finished_and_never_leaves_keys_gone_without_a_word() {
    for n in 0.. {
        let site = site().await;
        let request = Desk::of(&site, None).request(&site, session("s0")).await;
        let desk = Desk::of(&site, Some(n));
        let file = desk.signed(&request);
        let keys = || site.names("keys/default/acme/s0/").len();
        let first = desk.run(&site, &file).await;
        let report = desk.audit(&site).await;
        let told = !report.erasures.is_empty();
        assert!(keys() > 0 || told, "after {n} changes keys are gone without a word: {}", report.text());
        let ended_well = first.is_ok();
        let is_unfinished = report.verified && report.finding_counts.contains_key("erasure_unfinished");
        assert!(!told || ended_well || is_unfinished, "{n}: {}", report.text());
        site.clock.advance(Duration::from_secs(2 * 86_400)); // the request has expired by now; what was begun is finished
        let desk = Desk::of(&site, None);
        if told && !ended_well && n % 2 == 0 {
            let mut ledger = desk.ledger(&site).await.expect("ledger");
            let done = resume_erasure(&mut ledger, &desk.erasers(), STORE).await;
            assert!(done.expect("finished").expect("something was begun").resumed);
        } else if ended_well {
            assert!(desk.run(&site, &file).await.expect_err("again").contains("already executed"));
        } else if told {
            assert!(desk.run(&site, &file).await.expect("finished").resumed);
        } else if n == 0 {
            assert!(desk.run(&site, &file).await.expect_err("late").contains("expired"), "{n}");
            desk.erase(&site, "s0").await;
        } else {
            // its line was stored in time: nothing else can follow in this chain
            desk.run(&site, &file).await.expect("finished");
        }
        let report = desk.audit(&site).await;
        let odd: Vec<_> = report.findings.iter().filter(|finding| finding.code != "no_recent_digest").collect();
        assert!(report.verified && odd.is_empty() && keys() == 0, "{n}: {}", report.text());
        if ended_well {
            assert!(n >= 7, "two lines, two signatures, two digests, one key: {n}");
            return;
        }
    }
}

/// One request erases all sessions of a user and no other user's, by one pseudonym or by those of several epochs. A
/// planted unreadable line blocks nothing.
#[tokio::test]
async fn a_user_is_erased_whole() {
    let mut site = site().await;
    site.user = Some("h-02default".to_owned());
    site.send("default", "s2", "after the rotation");
    site.minutes(3).await;
    let desk = Desk::of(&site, None);
    let users = |names: &[&str]| {
        ContentTarget::of_users(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("users")
    };
    let planted = "index/v1/account=default/dt=2026-11-20/gw-Z-0000000000.ndjson.zst";
    site.plant(planted, "x");
    let one = desk.request(&site, users(&["h-02default"])).await;
    assert!(one.sessions == ["acme/s2"] && one.text().contains("\"user\": \"h-02default\""), "{}", one.text());
    assert_eq!(desk.request(&site, user("h-default")).await.sessions, ["acme/s0", "acme/s1"]);
    let request = desk.request(&site, users(&["h-default", "h-02default"])).await;
    assert_eq!(request.sessions, ["acme/s0", "acme/s1", "acme/s2"]);
    for what in [user("h-team"), users(&["h-default", "h-nobody"]), ContentTarget::Users(Vec::new())] {
        let other = ErasureRequest { what, ..request.clone() };
        let refused = desk.run(&site, &desk.signed(&other)).await.expect_err("another user's");
        assert!(refused.contains("no signed index line assigns it to this user"), "{refused}");
    }
    let done = desk.run(&site, &desk.signed(&request)).await.expect("erased");
    assert_eq!((done.keys, done.remaining_keys), (3, 0));
    site.remove(planted);
    let report = desk.audit(&site).await;
    assert!(report.verified && report.counts.opened == 4, "the other account's are left: {}", report.text());
    for (target, account, why) in [
        (user("h-nobody"), None, "no index line"),
        (session("s0"), None, "--account"),
        (session("s0"), Some("default".to_owned()), "no key object"),
    ] {
        let asked = TargetQuery { target, account, tenant: None };
        assert!(resolve_target(&desk.place, &asked).await.expect_err(why).contains(why), "{why}");
    }
}

/// Keys of a session with unreadable lines are erased too, under whatever tenant; the unreadable lines are reported.
/// Names that no gateway writes don't invalidate a request.
#[tokio::test]
async fn keys_of_lines_that_cannot_be_read_are_found() {
    let (site, desk) = site_and_desk().await;
    let asked = in_default(session("s0"));
    let whole = resolve_target(&desk.place, &asked).await.expect("resolved");
    assert_eq!((whole.keys.len(), whole.excluded.len()), (1, 0));
    let junk = "index/v1/account=default/dt=2026-11-20/gw-E0009-0000000000.ndjson.zst";
    for name in [
        junk,
        "keys/default/t2/s0/2026-11-20/0123456789abcdef.age",
        "keys/default/no segment/s0/2026-11-20/0123456789abcdef.age",
        "keys/default/acme/s0/no day/0123456789abcdef.age",
    ] {
        site.plant(name, "junk");
    }
    let found = resolve_target(&desk.place, &asked).await.expect("resolved");
    assert_eq!((found.sessions.clone(), found.keys.len()), (vec!["acme/s0".to_owned(), "t2/s0".to_owned()], 2));
    assert!(found.excluded.len() == 1 && found.excluded[0].contains(junk), "{:?}", found.excluded);
    assert_eq!(desk.erase(&site, "s0").await.keys, 2);
    let one = TargetQuery { tenant: Some("t2".to_owned()), ..asked };
    assert!(resolve_target(&desk.place, &one).await.expect_err("gone").contains("no key object"));
}

/// An attacker can plant any number of unsigned lines for a user's sessions: they are counted up to a bound, and the
/// excess is reported.
#[tokio::test]
async fn planted_sessions_of_a_user_are_bounded() {
    let (site, desk) = site_and_desk().await;
    let name = site.name(&["index/v1/account=default/"]);
    let lines = crate::read::index::unpack_lines(&name, &site.object(&name), true).expect("lines");
    let line = lines.lines().find(|line| line.contains("\"s0\"")).expect("a line of s0");
    crate::read::tests::bounds::plant(&site, line, 200, 1000);
    let found = resolve_target(&desk.place, &in_default(user("h-default"))).await.expect("resolved");
    assert_eq!(found.sessions, ["acme/s0", "acme/s1"]);
    let named = found.excluded.iter().filter(|why| why.contains("/000")).count();
    assert!((40..64).contains(&named), "{named} names of 1000 bytes in 64 KiB");
    assert_said(&found.excluded, "more sessions match than fit in memory");
}

/// Two people who are one, keys that the signers did not see, another vault, an expired request: nothing is touched,
/// and the signer is warned. (`faulty_requests_record_nothing` has the faults of every kind of signed request.)
#[tokio::test]
async fn what_two_people_did_not_ask_for_is_refused() {
    let (site, desk) = site_and_desk().await;
    let request = desk.request(&site, session("s0")).await;
    let once = sign_erasure(&request.text(), &desk.people[0]).expect("signed");
    // alice's secret under another name is still one person
    let again = sign_erasure(&once, &key("alice-too", 1)).expect("signed");
    let both = [desk.erasers(), vec![key("alice-too", 1).public().clone()]].concat();
    assert!(open::<ErasureRequest>(&again, &both).expect_err("one person").contains("1 of"));
    let elsewhere = ErasureRequest { store: "other".to_owned(), ..request.clone() };
    let with_keys = |change: &dyn Fn(&mut ShreddedKey)| {
        let mut changed = request.clone();
        changed.keys.iter_mut().for_each(change);
        desk.forged(&changed)
    };
    // signers see one session, but another session's keys would be destroyed
    let neighbour = desk.request(&site, session("s1")).await;
    let swapped = ErasureRequest { keys: neighbour.keys.clone(), ..request.clone() };
    let more = ErasureRequest { keys: [request.keys.clone(), neighbour.keys.clone()].concat(), ..request.clone() };
    let retold = ErasureRequest { what: request.what.clone(), ..neighbour };
    let whole = ErasureRequest { sessions: vec!["acme".to_owned()], ..request.clone() };
    let outside = "keys outside its sessions";
    for (what, file, why) in [
        ("one signature", once.clone(), "signed by 1"),
        ("another vault", desk.signed(&elsewhere), "for another vault, other"),
        ("another account's keys", with_keys(&|key| key.folder = key.folder.replace("/default/", "/team/")), outside),
        ("another session's keys", desk.forged(&swapped), outside),
        ("another session than it asks for", desk.forged(&retold), "another session than"),
        ("another session's keys too", desk.forged(&more), outside),
        ("all sessions of a tenant", desk.forged(&whole), "has an invalid or repeated session"),
        ("a way out of the folder", with_keys(&|key| key.folder = key.folder.replace("/s0/", "/s0/../s1/")), outside),
        ("no key's id", with_keys(&|key| key.id.clear()), outside),
    ] {
        let refused = desk.run(&site, &file).await.expect_err(what);
        assert!(refused.contains(why), "{what}: {refused}");
        if what.contains("session") {
            let signed = sign_erasure(&file, &desk.people[2]).expect_err("who signs is told too");
            assert!(signed.contains(why), "{what}: {signed}");
        }
    }
    site.clock.advance(Duration::from_secs(90_000));
    assert!(desk.run(&site, &desk.signed(&request)).await.expect_err("late").contains("expired"));
    let report = desk.audit(&site).await;
    assert_eq!((report.counts.opened, report.erasures.len()), (8, 0), "{}", report.text());
}

/// A hold on a key or an object of the session stops everything, before anything is announced or destroyed.
#[tokio::test]
async fn a_legal_hold_freezes() {
    let (site, desk) = site_and_desk().await;
    for name in [site.name(&["keys/default/acme/s0/"]), site.names("default/acme/s0/").remove(0)] {
        desk.store.held.lock().insert(name.clone());
        let request = desk.request(&site, session("s0")).await;
        assert_eq!(request.holds, [name.as_str()]);
        let before = site.store.0.lock().clone();
        let refused = desk.run(&site, &desk.signed(&request)).await.expect_err("held");
        assert!(refused.contains("legal hold") && refused.contains(&name), "{refused}");
        assert_eq!(*site.store.0.lock(), before);
        desk.store.held.lock().clear();
    }
    desk.erase(&site, "s0").await;
}

/// Someone with a digest-signing key but without an eraser's key can't make destroyed keys look erased.
#[tokio::test]
async fn a_false_erasure_is_found() {
    let (site, desk) = site_and_desk().await;
    let thief = Desk { people: [key("alice", 91), key("bob", 92), key("carol", 93)], ..Desk::of(&site, None) };
    thief.erase(&site, "s0").await;
    desk.audit(&site).await.assert_failed("erasure_invalid").assert_told("key_missing");
}

/// Signatures of erasers don't excuse destroying another session's keys: verification compares what was done with what
/// was requested.
#[tokio::test]
async fn an_erasure_of_other_keys_is_found() {
    for name in ["keys", "a user's", "sessions"] {
        let site = site().await;
        let desk = Desk::of(&site, None);
        let request = desk.request(&site, session("s0")).await;
        let ErasureRequest { keys, sessions, .. } = desk.request(&site, session("s1")).await;
        // an eraser's older program did not check this
        let told = match name {
            "keys" => ErasureRequest { keys, ..request },
            "sessions" => ErasureRequest { keys, sessions, ..request },
            _ => ErasureRequest { keys, what: user("h-default"), ..request },
        };
        let mut ledger = desk.ledger(&site).await.expect("ledger");
        ledger.append(record(&told, ErasureState::Begun, Some(desk.forged(&told)))).await.expect("begun");
        site.store.0.lock().retain(|name, _| !name.starts_with("keys/default/acme/s1/"));
        ledger.append(record(&told, ErasureState::Done, None)).await.expect("done");
        for erasers in [desk.erasers(), Vec::new()] {
            let report = site.verify(VerifyOptions { keys: desk.keys(), erasers, ..VerifyOptions::default() }).await;
            let report = report.assert_failed("erasure_invalid").assert_told("key_missing");
            assert!(report.erasures.is_empty(), "{name}: {}", report.text());
        }
    }
}

/// A writer can neither block an erasure nor make one look executed: objects without a known key's signature are
/// ignored, and a taken name is skipped.
#[tokio::test]
async fn what_is_planted_in_the_chain_of_erasures_stops_nothing() {
    let (site, desk) = site_and_desk().await;
    let chain = "chain/default/eraser";
    // garbage, before the chain has begun
    site.plant(&format!("{chain}/000000000104GJQ6F3H7F2Q4ZV/0000000000.json"), "x");
    site.plant(&format!("{chain}/000000000104GJQ6F3H7F2Q4ZV/0000000000.json.sig"), "x");
    site.plant(&format!("{chain}/0/0000000007.json"), "{}");
    desk.erase(&site, "s0").await;
    // a forged end of an erasure: another chain's digest and line, with the nonce of a known request
    let request = desk.request(&site, session("s1")).await;
    let file = desk.signed(&request);
    let forged = self::site().await;
    {
        let thief = Desk { chain: key("erase.test", 99), ..Desk::of(&forged, None) };
        let mut ledger = thief.ledger(&site).await.expect("ledger");
        ledger.append(record(&request, ErasureState::Done, None)).await.expect("forged");
        assert!(ledger.is_done(&request.nonce));
    }
    for (name, bytes) in forged.store.0.lock().iter().filter(|(name, _)| name.contains("/eraser")) {
        site.plant(name, bytes.clone());
    }
    let ledger = desk.ledger(&site).await.expect("read");
    assert!(!ledger.is_done(&request.nonce) && ledger.foreign_digests.as_ref().is_some_and(|(_, count)| *count == 3));
    // killed after its first object; then someone who saw it takes the following names
    let dying = Desk::of(&site, Some(1));
    assert!(dying.run(&site, &file).await.is_err());
    let lines = site.names("index/").into_iter().filter(|name| name.contains("/eraser-"));
    let epochs: BTreeSet<String> = lines.map(|name| name.rsplit('-').nth(1).expect("epoch").to_owned()).collect();
    let mut begun = epochs.into_iter().filter(|epoch| site.names(&format!("{chain}/{epoch}/")).is_empty());
    let begun = begun.next().expect("an epoch without a digest");
    site.plant(&format!("{chain}/{begun}/0000000000.json"), "x");
    let done = desk.run(&site, &file).await.expect("erased all the same");
    assert_eq!((done.keys, done.resumed), (1, false));
    assert!(desk.run(&site, &file).await.expect_err("once").contains("already executed"));
    let report = desk.audit(&site).await;
    assert!(!report.verified && report.erasures.len() == 2, "what was planted is told: {}", report.text());
    assert!(report.erasures.iter().all(|erased| erased.finished_at.is_some()), "{}", report.text());
}

/// Bytes planted beside an earlier run's line are not signed as the run's own.
#[tokio::test]
async fn a_line_that_was_planted_is_not_signed() {
    let site = site().await;
    let file = Desk::of(&site, None).signed(&Desk::of(&site, None).request(&site, session("s0")).await);
    assert!(Desk::of(&site, Some(1)).run(&site, &file).await.is_err());
    let name = site.name(&["/eraser-"]);
    let planted = name.replace("dt=2026-11-20", "dt=2026-11-19").replace("dt=2026-11-21", "dt=2026-11-19");
    let text = crate::read::index::unpack_lines("", &site.object(&name), true).expect("a line");
    let line = zstd::bulk::compress(text.replace("ticket 4711", "ticket 4712").as_bytes(), 3).expect("zstd");
    assert_ne!(name, planted);
    site.plant(&planted, line);
    let desk = Desk::of(&site, None);
    desk.run(&site, &file).await.expect("erased");
    let report = desk.audit(&site).await;
    assert_eq!((report.erasures.len(), &*report.erasures[0].reason), (1, "ticket 4711"), "{}", report.text());
}

/// A gateway writer's name is refused: its chain is not one of erasures.
#[tokio::test]
async fn a_gateways_chain_is_left_alone() {
    let (site, desk) = site_and_desk().await;
    let read = async |writer: &str| {
        Ledger::read(&desk.place, desk.signer(writer), "default", site.clock.now()).await.err().expect("refused")
    };
    assert!(read("gw").await.contains("--writer"));
    assert!(read("../x").await.contains("not a valid writer name"));
    // another key continues the first one's chain; verification gets both
    desk.erase(&site, "s0").await;
    let other = Desk { chain: key("erase.second", 51), ..Desk::of(&site, None) };
    let refused = other.run(&site, &other.signed(&other.request(&site, session("s1")).await)).await;
    assert!(refused.expect_err("nobody said who signed before").contains("--earlier-key"));
    let other = Desk { before: vec![desk.chain_key()], ..other };
    other.erase(&site, "s1").await;
    let keys = [desk.keys(), vec![other.chain_key()]].concat();
    let report = site.verify(VerifyOptions { keys, erasers: desk.erasers(), ..VerifyOptions::default() }).await;
    assert!(report.verified && report.erasures.len() == 2, "{}", report.text());
}

/// Results of earlier runs are neither forgotten nor counted twice; expired lines don't end a chain of erasures.
#[tokio::test]
async fn erasures_outlive_runs_and_lines() {
    let (site, desk) = site_and_desk().await;
    desk.erase(&site, "s0").await;
    let folder = tempfile::tempdir().expect("scratch");
    let options = || VerifyOptions {
        keys: desk.keys(),
        erasers: desk.erasers(),
        resume: Some(folder.path().join("resume.json")),
        ..VerifyOptions::default()
    };
    let (first, again) = (site.verify(options()).await, site.verify(options()).await);
    assert!(first.verified && again.verified, "{}", again.text());
    assert_eq!((&first.counts, first.erasures.len(), again.erasures.len()), (&again.counts, 1, 1), "{}", again.text());
    desk.erase(&site, "s1").await;
    site.verify(options()).await.assert_that(|report| report.verified && report.erasures.len() == 2);
    site.store.0.lock().retain(|name, _| !name.contains("/eraser-"));
    let mut ledger = desk.ledger(&site).await.expect("goes on");
    assert!(ledger.begun_erasure().is_none());
    let resumed = resume_erasure(&mut ledger, &desk.erasers(), STORE).await;
    assert!(resumed.expect("nothing").is_none());
}

/// A planted line does not assign a session to a user: neither a new nor a signed request includes it; without the
/// writers' public key, requests for users are refused.
#[tokio::test]
async fn a_planted_line_makes_no_session_a_users() {
    let (site, mut desk) = site_and_desk().await;
    let name = site.name(&["index/v1/account=default/"]);
    let lines = String::from_utf8(zstd::decode_all(&site.object(&name)[..]).expect("zstd")).expect("text");
    let line = lines.lines().next().expect("a line").replacen("\"leaf\":0", "\"leaf\":900", 1);
    let planted = line.replace("h-default", "h-planted") + "\n";
    assert!(planted.contains("h-planted") && planted.contains("900"), "{planted}");
    let (head, _) = name.rsplit_once('-').expect("a number");
    site.plant(&format!("{head}-0000000900.ndjson.zst"), zstd::bulk::compress(planted.as_bytes(), 3).expect("zstd"));
    let asked = in_default(user("h-planted"));
    let none = resolve_target(&desk.place, &asked).await.expect_err("nobody signed it");
    assert!(none.contains("no index line names this user"), "{none}");
    assert!(none.contains("not included: acme/s0 of account default"), "{none}");
    let own = ErasureRequest { what: user("h-planted"), ..desk.request(&site, session("s0")).await };
    let refused = desk.run(&site, &desk.signed(&own)).await.expect_err("refused");
    assert!(refused.contains("no signed index line assigns it to this user"), "{refused}");
    // nor does it block an authorised request
    desk.request(&site, user("h-default")).await;
    desk.place.keys.clear();
    let asked = in_default(user("h-default"));
    assert!(resolve_target(&desk.place, &asked).await.expect_err("no key").contains("public key"));
}

/// Sessions of a user that only another signer's lines or unsigned lines name are not in a request, but are reported; a
/// hold includes them.
#[tokio::test]
async fn what_other_signers_tell_of_a_user_is_not_passed_over_in_silence() {
    let (mut site, desk) = site_and_desk().await;
    let user = TargetQuery { target: user("h-default"), account: None, tenant: None };
    let before = resolve_target(&desk.place, &user).await.expect("resolved");
    assert!(before.excluded.is_empty(), "{:?}", before.excluded);
    let signed = site.names("chain/");
    site.send("default", "s-new", "text");
    site.minutes(4).await;
    // the digest of the newer lines is missing
    site.store.0.lock().retain(|name, _| !name.starts_with("chain/") || signed.contains(name));
    let found = resolve_target(&desk.place, &user).await.expect("resolved");
    assert_eq!(found.sessions, before.sessions);
    let [why] = &found.excluded[..] else { panic!("{:?}", found.excluded) };
    assert!(why.contains("acme/s-new of account default: not signed by a given key"), "{why}");
    let told = find_sessions_with_unsigned(&desk.place, &user).await.expect("told");
    assert!(told.folders.contains(&("acme".to_owned(), "s-new".to_owned())) && told.excluded().is_empty());
    assert_eq!(told.folders.len(), found.sessions.len() + 1);
    // a release of a hold considers signed lines only
    assert_eq!(find_sessions(&desk.place, &user).await.expect("told").folders.len(), found.sessions.len());
    // a session without keys was planted, or is empty: there is nothing to hold
    site.store.0.lock().retain(|name, _| !name.starts_with("keys/default/acme/s-new/"));
    let told = find_sessions_with_unsigned(&desk.place, &user).await.expect("told");
    assert!(told.folders.len() == found.sessions.len() && told.excluded().len() == 1, "{:?}", told.excluded());
}

/// An id that a client only claimed selects nothing, in either direction; searches and requests say so, and which sessions
/// have data of another user.
#[tokio::test]
async fn claimed_ids_are_said_and_select_nothing() {
    let (mut site, desk) = site_and_desk().await;
    for (session, user, claimed) in
        [("s-ann", "h-ann", Some("h-bob")), ("s-bob", "h-bob", None), ("s-ann", "h-cid", None)]
    {
        (site.user, site.claimed_user) = (Some(user.to_owned()), claimed.map(str::to_owned));
        site.send("default", session, "text");
    }
    site.minutes(4).await;
    let ann = resolve_target(&desk.place, &in_default(user("h-ann"))).await.expect("resolved");
    assert_eq!(ann.sessions, ["acme/s-ann"]);
    let [claim, shared] = &ann.excluded[..] else { panic!("{:?}", ann.excluded) };
    assert!(claim.contains("clients of this user named the user h-bob"), "{claim}");
    assert!(shared.contains("acme/s-ann also has data of another user"), "{shared}");
    let bob = resolve_target(&desk.place, &in_default(user("h-bob"))).await.expect("resolved");
    assert_eq!(bob.sessions, ["acme/s-bob"]);
    let [claimant] = &bob.excluded[..] else { panic!("{:?}", bob.excluded) };
    assert!(claimant.contains("clients of the verified user h-ann named this user"), "{claimant}");
    let query = IndexQuery { users: vec!["h-bob".to_owned()], ..IndexQuery::default() };
    let (found, _) = find_signed(&site.vault(), &query, None, &mut |_, _| {}).await.expect("found");
    assert_eq!(found.sessions.iter().map(|(session, _)| &**session).collect::<Vec<_>>(), ["s-bob"]);
    assert_eq!(found.claimed_ids, std::slice::from_ref(claimant));
}

/// A hold set after an erasure was announced stops it; after the release it is completed.
#[tokio::test]
async fn a_hold_stops_an_erasure_that_has_begun() {
    let mut begun = 0;
    for n in 0..8 {
        let site = site().await;
        let request = Desk::of(&site, None).request(&site, session("s0")).await;
        let desk = Desk::of(&site, Some(n));
        let file = desk.signed(&request);
        if desk.run(&site, &file).await.is_ok() {
            break;
        }
        let desk = Desk::of(&site, None);
        begun += usize::from(desk.ledger(&site).await.expect("a ledger").begun_erasure().is_some());
        let keys = || site.names("keys/default/acme/s0/").len();
        let before = keys();
        let note = format!("holds/default/acme/s0/{:020}.json", 7);
        site.plant(&note, "a note that nobody can read holds");
        let refused = desk.run(&site, &file).await.expect_err("held");
        assert!(refused.contains("legal hold") && keys() == before, "{n}: {refused}");
        site.remove(&note);
        desk.run(&site, &file).await.expect("finished");
        assert_eq!(keys(), 0);
    }
    assert!(begun > 0, "no run ended between announcement and deed");
}

/// If the bucket did not lock the erasures' chain, the object is reported by name to the eraser; if it is locked, or
/// the store can't lock, nothing is reported.
#[tokio::test]
async fn an_erasure_that_could_be_deleted_is_told() {
    for (locked, told) in [(Some(false), true), (Some(true), false), (None, false)] {
        let site = site().await;
        let (mut desk, mut reader) = (Desk::of(&site, None), Altered::new(&site.store));
        if let Some(locked) = locked {
            let version = |name| ObjectVersion { name, id: "1".to_owned(), marker: false };
            reader.versions = Some(Box::new(move |names| names.into_iter().map(version).collect()));
            reader.lock = Box::new(move |version| {
                let is_last = version.name.ends_with("/0000000001.json");
                let lock = (locked || !is_last).then_some((LockMode::Compliance, UnixNanos(u64::MAX)));
                Some(VersionLock { written: UnixNanos(0), lock })
            });
        }
        desk.place.vault = reader.vault();
        let file = desk.signed(&desk.request(&site, session("s0")).await);
        let mut ledger = desk.ledger(&site).await.expect("a ledger");
        assert_eq!(ledger.find_unlocked_object().await, Ok(None), "nothing is written yet");
        let done = execute_request(&mut ledger, &file, &desk.erasers(), STORE).await;
        done.expect("erased");
        let name = ledger.find_unlocked_object().await.expect("asked");
        let of_its_chain = |name: &String| name.starts_with("chain/default/eraser/") && name.ends_with(".json");
        assert_eq!(name.as_ref().is_some_and(of_its_chain), told, "{locked:?}: {name:?}");
        assert_eq!(name.is_some(), told);
    }
}

/// A hidden copy of a key below its session (in a subfolder, under another name, as an older version) is destroyed too.
/// A copy that is put back later is reported, opens nothing under a non-standard name, and is destroyed by a second
/// request.
#[tokio::test]
async fn copies_put_aside_undo_no_erasure() {
    let (site, desk) = site_and_desk().await;
    let name = site.name(&["keys/default/acme/s0/", ".age"]);
    let object = site.object(&name);
    let (folder, file) = name.rsplit_once('/').expect("a folder");
    let session = folder.rsplit_once('/').expect("a session").0;
    let aside = [
        format!("{folder}/sub/{file}"),
        format!("{folder}/0123456789abcdef.age"),
        format!("{session}/kept"),
        name.replace(".age", "-0badcafe.age"),
    ];
    aside.iter().for_each(|name| site.plant(name, object.clone()));
    desk.erase(&site, "s0").await;
    assert_eq!(site.names(session), Vec::<String>::new());
    desk.audit(&site).await.assert_clean();
    for name in &aside {
        site.plant(name, object.clone());
        let report = desk.audit(&site).await;
        assert!(!report.verified && report.finding_counts.contains_key("key_restored"), "{name}: {}", report.text());
        let (text, ..) = read_with(&desk, &site.auditor, "s0", &desk.keys()).await;
        assert!(!text.contains("text 0"), "{name}");
        site.remove(name);
    }
    site.plant(&aside[0], object);
    assert_eq!(desk.erase(&site, "s0").await.objects, 1);
    let report = desk.audit(&site).await;
    assert!(report.verified && report.erasures.len() == 2 && site.names(session).is_empty(), "{}", report.text());
}

/// A copy sealed to someone else, under a non-standard name, is destroyed with its session, even in a hidden subfolder;
/// a key that was added later stays, and is reported. Objects added afterwards are destroyed by a second request,
/// although no key object is left. Fails if copies are recognised by name or bytes alone.
#[tokio::test]
async fn what_is_sealed_to_somebody_else_goes_too() {
    let (mut site, desk) = site_and_desk().await;
    let name = site.name(&["keys/default/acme/s0/", ".age"]);
    let (folder, _) = name.rsplit_once('/').expect("a folder");
    let session_folder = folder.rsplit_once('/').expect("a session").0.to_owned();
    let resealed = resealed(&site, &name, &age::x25519::Identity::generate());
    let aside = [
        format!("{folder}/foo.age"),
        format!("{folder}/.foo.age"),
        format!("{session_folder}/x"),
        format!("{folder}/sub/0123456789abcdef.age"),
    ];
    let file = desk.signed(&desk.request(&site, session("s0")).await);
    aside.iter().for_each(|name| site.plant(name, resealed.clone()));
    let later = format!("{folder}/00000000deadbeef.age");
    site.plant(&later, "a key of content that came later");
    let done = desk.run(&site, &file).await.expect("erased");
    let left = site.names(&session_folder);
    assert_eq!((done.keys, done.objects, done.remaining_keys, left), (1, 5, 1, vec![later.clone()]));
    site.remove(&later);
    for name in &aside {
        site.plant(name, resealed.clone());
        let done = desk.erase(&site, "s0").await;
        assert_eq!((done.objects, site.names(&session_folder)), (1, Vec::new()), "{name}");
    }
    site.minutes(1).await;
    desk.audit(&site).await.assert_that(|report| report.verified && report.erasures.len() == 5);
    let nothing = resolve_target(&desk.place, &in_default(session("s0"))).await.expect_err("nothing is left");
    assert!(nothing.contains("no key object"));
}

/// The session key of an object, sealed to someone else.
fn resealed(site: &Site, name: &str, to: &age::x25519::Identity) -> Bytes {
    let opened = crate::read::open_key(None, &site.object(name), std::slice::from_ref(&site.auditor), &[]);
    let secret = opened.expect("a key").key().expect("opened");
    vault::seal::seal_identity(&secret, &[to.to_public()]).expect("sealed").into()
}

/// A key with only an older version left, behind a delete marker, is in the request, and a hold on it stops the
/// erasure.
#[tokio::test]
async fn older_versions_of_keys_are_found() {
    let (site, mut desk) = site_and_desk().await;
    let name = site.name(&["keys/default/acme/s0/", ".age"]);
    let behind = vec![name.clone(), name.replace(".age", "-deadbeef.age"), name.replace(".age", "/foo")];
    site.remove(&name);
    let (mut reader, hidden) = (Altered::new(&site.store), behind.clone());
    reader.versions = Some(Box::new(move |names| {
        let behind = hidden.iter().flat_map(|name| [(name.clone(), false), (name.clone(), true)]);
        let all = names.into_iter().map(|name| (name, false)).chain(behind);
        all.map(|(name, marker)| ObjectVersion { name, id: "1".to_owned(), marker }).collect()
    }));
    desk.place.vault = reader.vault();
    let request = desk.request(&site, session("s0")).await;
    assert_eq!(request.keys.len(), 1, "{:?}", request.keys);
    assert!(request.holds.is_empty());
    desk.store.held.lock().extend(behind.clone());
    let held = desk.request(&site, session("s0")).await.holds;
    assert_eq!(held, behind.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
    let refused = desk.run(&site, &desk.signed(&request)).await.expect_err("held");
    assert!(refused.contains("legal hold"), "{refused}");
}

/// A session as text, its unreadable parts, and whether anything is missing.
async fn read_with(
    desk: &Desk,
    auditor: &age::x25519::Identity,
    session: &str,
    keys: &[VerifyKey],
) -> (String, String, bool) {
    let vault = &desk.place.vault;
    let signed = match keys {
        [] => None,
        keys => Some(Arc::new(crate::signed_index::SignedIndex::read(vault, keys, None).await.expect("chains"))),
    };
    let filter = ReplayFilter { account: Some("default".into()), signed, ..ReplayFilter::default() };
    let read = replay(&mut FragmentOpener::new(vault, vec![auditor.clone()]), session, &filter).await.expect("read");
    let exported = text_of(|out| read.export(crate::read::ExportFormat::Jsonl, out));
    (text_of(|out| read.write_text(out)) + &exported, read.unreadable.join("\n"), read.is_partial())
}

/// A key that was destroyed by request and put back, under its own name or a copy's, opens nothing in replay and
/// export, which report it and end with 1. With only the gateway's key nothing proves the erasure, so that a planted
/// line hides no content; the commands report it and end with 1 all the same. Fails if any key object in the day's
/// folder opens content.
#[tokio::test]
async fn a_key_that_is_back_shows_nothing() {
    let (site, desk) = site_and_desk().await;
    let name = site.name(&["keys/default/acme/s0/", ".age"]);
    let object = site.object(&name);
    desk.erase(&site, "s0").await;
    let (both, gateway) = (desk.keys(), [signing_key().public().clone()]);
    let (text, _, partial) = read_with(&desk, &site.auditor, "s0", &both).await;
    assert!(!text.contains("text 0") && !partial, "gone by request is no loss");
    for name in [name.clone(), name.replace(".age", "-deadbeef.age")] {
        site.plant(&name, object.clone());
        for keys in [&[][..], &both[..]] {
            let (text, closed, partial) = read_with(&desk, &site.auditor, "s0", keys).await;
            assert!(!text.contains("text 0") && partial, "{name}: {closed}");
            let why = "erased by request of data protection officer (ticket 4711), but its key exists again";
            assert!(closed.contains(why) && closed.contains("vault verify"), "{closed}");
        }
        let (text, closed, partial) = read_with(&desk, &site.auditor, "s0", &gateway).await;
        assert!(text.contains("text 0") && partial && closed.contains("as another --key"), "{closed}");
        site.remove(&name);
    }
    let (text, closed, partial) = read_with(&desk, &site.auditor, "s1", &both).await;
    assert!(text.contains("text 1") && !partial, "{closed}");
}

/// An object that opens, but is neither the one in the lines nor a copy listed in a chain, is not used; a listed one
/// is.
#[tokio::test]
async fn keys_that_no_line_lists_open_nothing() {
    let (site, desk) = site_and_desk().await;
    let name = site.name(&["keys/default/acme/s0/", ".age"]);
    let late = age::x25519::Identity::generate();
    let planted = name.replace(".age", "-deadbeef.age");
    site.plant(&planted, resealed(&site, &name, &late));
    let (text, closed, partial) = read_with(&desk, &late, "s0", &[]).await;
    let why = "its hash is not the one that index lines give";
    assert!(!text.contains("text 0") && partial && closed.contains(why), "{closed}");
    site.remove(&planted);
    let copier = crate::rewrap::tests::Copier::of(&site);
    copier.copy_for(&late, &Default::default()).await.expect("done");
    for keys in [&[][..], &[signing_key().public().clone()][..]] {
        let (text, closed, partial) = read_with(&desk, &late, "s0", keys).await;
        assert!(text.contains("text 0") && !partial, "{closed}");
    }
}
