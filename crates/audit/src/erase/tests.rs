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
use crate::ledger::LedgerEntry;
use crate::read::{FragmentOpener, ReplayFilter, Vault, replay};
use crate::signed_request::{SignedRequest as _, open, sign};
use crate::testing::site::{Layer, Memory, Over, Site};
use crate::verify::{VerifyOptions, VerifyReport};
use kernel::clock::{Clock, UnixNanos};
use kernel::rng::SeededRng;
use vault::chain::note::{SigningKey, VerifyKey};
use vault::index_row::{ErasureRecord, ErasureState};
use vault::object_names::rfc3339;
use vault::store::settings::LockMode;
use vault::store::{
    ErasePredicate, ObjectKind, ObjectVersion, PutOutcome, StoreError, VaultEraser, VaultReader, VaultStore,
    VersionLock, VersionPage,
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

fn key(name: &str, seed: u64) -> SigningKey {
    let text = SigningKey::generate(name, &SeededRng::new(seed)).expect("key");
    SigningKey::from_secret(&text).expect("key")
}

impl Desk {
    pub(crate) fn of(site: &Site, left: Option<u64>) -> Self {
        let store = Mortal::new(site.store.clone(), left);
        let reader: Arc<dyn VaultReader> = site.store.clone();
        let (eraser, holder) = (store.clone(), Arc::new(vault::store::DirectoryStore::new("unused")));
        let keys = vec![signing_key().public().clone()];
        let place = WritableVault { vault: Vault::new(reader, "", None), store: store.clone(), eraser, holder, keys };
        let people = [key("alice", 1), key("bob", 2), key("carol", 3)];
        Self { store, place, chain: key("erase.test", 50), before: Vec::new(), people }
    }

    pub(crate) fn chain_key(&self) -> VerifyKey {
        self.chain.public().clone()
    }

    pub(crate) fn erasers(&self) -> Vec<VerifyKey> {
        self.people.iter().take(2).map(|person| person.public().clone()).collect()
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

    pub(crate) async fn run(&self, site: &Site, file: &str) -> Result<super::ErasureOutcome, crate::read::ReadError> {
        let mut ledger = Ledger::read(&self.place, &self.chain, &self.before, "default", "eraser").await?;
        execute_request(&self.place, &mut ledger, file, &self.erasers(), STORE, site.clock.now()).await
    }

    pub(crate) async fn erase(&self, site: &Site, session: &str) -> super::ErasureOutcome {
        let request = self.request(site, ContentTarget::Session(session.to_owned())).await;
        self.run(site, &self.signed(&request)).await.expect("erased")
    }

    /// The report for an auditor with every key.
    pub(crate) async fn audit(&self, site: &Site) -> VerifyReport {
        let keys = vec![signing_key().public().clone(), self.chain.public().clone()];
        let auditors = vec![site.auditor.clone()];
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

fn session(name: &str) -> ContentTarget {
    ContentTarget::Session(name.to_owned())
}

/// Erased content can't be opened by anyone and verifies as erased by request; other content still opens. A second
/// erasure continues the same chain.
#[tokio::test]
async fn an_erased_session_is_told_and_nothing_else_is_lost() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    let before = desk.audit(&site).await;
    assert!(before.verified && before.erasures.is_empty() && before.counts.opened == 8, "{}", before.text());
    let done = desk.erase(&site, "s0").await;
    assert_eq!((done.keys, done.objects, done.resumed), (1, 1, false));
    let report = desk.audit(&site).await;
    assert!(report.verified && report.findings.is_empty(), "{}", report.text());
    assert_eq!(
        (report.counts.opened, report.erasures.len(), report.erasures[0].fragments),
        (6, 1, 2),
        "{}",
        report.text()
    );
    assert!(report.erasures[0].finished_at.is_some() && report.erasures[0].signers == ["alice", "bob"]);
    assert!(report.text().contains("ticket 4711"), "{}", report.text());
    let mut opener = FragmentOpener::new(&desk.place.vault, vec![site.auditor.clone()]);
    let filter = ReplayFilter { account: Some("default".into()), tenant: None, ..ReplayFilter::default() };
    let told = replay(&desk.place.vault, &mut opener, "s0", &filter).await.expect("its lines are there");
    assert!(
        !told.unreadable().is_empty() && told.unreadable().iter().all(|why| why.contains("no key object")),
        "{:?}",
        told.unreadable()
    );
    desk.erase(&site, "s1").await;
    let report = desk.audit(&site).await;
    assert!(report.verified && report.findings.is_empty(), "{}", report.text());
    assert_eq!((report.counts.opened, report.erasures.len()), (4, 2), "only the other account's: {}", report.text());
    // without the erasers' keys, the report states the limitation
    let keys = vec![signing_key().public().clone(), key("erase.test", 50).public().clone()];
    let report = site.verify(VerifyOptions { keys, ..VerifyOptions::default() }).await;
    assert!(report.verified && report.not_verified.iter().any(|what| what.contains("--erasers")), "{}", report.text());
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
        let keys = || site.store.0.lock().keys().filter(|name| name.starts_with("keys/default/acme/s0/")).count();
        let first = desk.run(&site, &file).await;
        let report = desk.audit(&site).await;
        let told = !report.erasures.is_empty();
        assert!(keys() > 0 || told, "after {n} changes keys are gone without a word: {}", report.text());
        let ended_well = first.is_ok();
        if told && !ended_well {
            assert!(
                report.verified && report.finding_counts.contains_key("erasure_unfinished"),
                "{n}: {}",
                report.text()
            );
        }
        site.clock.advance(Duration::from_secs(2 * 86_400)); // the request has expired by now; what was begun is finished
        let desk = Desk::of(&site, None);
        if told && !ended_well && n % 2 == 0 {
            let mut ledger = Ledger::read(&desk.place, &desk.chain, &[], "default", "eraser").await.expect("ledger");
            let done = resume_erasure(&desk.place, &mut ledger, &desk.erasers(), STORE, site.clock.now()).await;
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

/// A user's sessions are erased together; other users' stay.
#[tokio::test]
async fn a_user_is_erased_whole() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    let request = desk.request(&site, ContentTarget::User("h-default".to_owned())).await;
    assert_eq!(request.sessions, ["acme/s0", "acme/s1"]);
    assert_eq!(desk.run(&site, &desk.signed(&request)).await.expect("erased").keys, 2);
    assert_eq!(desk.audit(&site).await.counts.opened, 4, "the other account's are left");
    let asked = TargetQuery { target: ContentTarget::User("h-nobody".to_owned()), account: None, tenant: None };
    assert!(resolve_target(&desk.place, &asked).await.expect_err("nobody").contains("no index line"));
    let asked = TargetQuery { target: session("s0"), account: None, tenant: None };
    assert!(resolve_target(&desk.place, &asked).await.expect_err("two accounts").contains("--account"));
    let asked = TargetQuery { target: session("s0"), account: Some("default".to_owned()), tenant: None };
    assert!(resolve_target(&desk.place, &asked).await.expect_err("gone").contains("no key object"));
}

/// Keys of a session with unreadable lines are erased too, under whatever tenant; the unreadable lines are reported.
/// Names that no gateway writes don't invalidate a request.
#[tokio::test]
async fn keys_of_lines_that_cannot_be_read_are_found() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    let asked = TargetQuery { target: session("s0"), account: Some("default".to_owned()), tenant: None };
    let whole = resolve_target(&desk.place, &asked).await.expect("resolved");
    assert_eq!((whole.keys.len(), whole.excluded.len()), (1, 0));
    let junk = "index/v1/account=default/dt=2026-11-20/gw-E0009-0000000000.ndjson.zst";
    for name in [
        junk,
        "keys/default/t2/s0/2026-11-20/0123456789abcdef.age",
        "keys/default/no segment/s0/2026-11-20/0123456789abcdef.age",
        "keys/default/acme/s0/no day/0123456789abcdef.age",
    ] {
        site.store.0.lock().insert(name.to_owned(), Bytes::from_static(b"junk"));
    }
    let found = resolve_target(&desk.place, &asked).await.expect("resolved");
    assert_eq!((found.sessions.clone(), found.keys.len()), (vec!["acme/s0".to_owned(), "t2/s0".to_owned()], 2));
    assert!(found.excluded.len() == 1 && found.excluded[0].contains(junk), "{:?}", found.excluded);
    let request = desk.request(&site, session("s0")).await;
    assert_eq!(desk.run(&site, &desk.signed(&request)).await.expect("erased").keys, 2);
    let one = TargetQuery { tenant: Some("t2".to_owned()), ..asked };
    assert!(resolve_target(&desk.place, &one).await.expect_err("gone").contains("no key object"));
}

/// An attacker can plant any number of unsigned lines for a user's sessions: they are counted up to a bound, and the
/// excess is reported.
#[tokio::test]
async fn planted_sessions_of_a_user_are_bounded() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    let of = |name: &&String| name.starts_with("index/v1/account=default/");
    let name = site.store.0.lock().keys().find(of).cloned().expect("an object of the index");
    let bytes = site.store.0.lock().get(&name).cloned().expect("there");
    let lines = crate::read::index::unpack_lines(&name, &bytes).expect("lines");
    let line = lines.lines().find(|line| line.contains("\"s0\"")).expect("a line of s0");
    let one = |n: usize| {
        let leaf = line.replacen("\"leaf\":", &format!("\"leaf\":{}", 1000 + n), 1);
        leaf.replace("\"s0\"", &format!("\"{n:0>1000}\"")) + "\n"
    };
    let text: String = (0..200).map(one).collect();
    let planted = "index/v1/account=default/dt=2026-11-20/gw-E0009-0000000000.ndjson.zst";
    let bytes = Bytes::from(zstd::bulk::compress(text.as_bytes(), 1).expect("zstd"));
    site.store.0.lock().insert(planted.to_owned(), bytes);
    let asked = TargetQuery { target: ContentTarget::User("h-default".to_owned()), account: None, tenant: None };
    let found = resolve_target(&desk.place, &asked).await.expect("resolved");
    assert_eq!(found.sessions, ["acme/s0", "acme/s1"]);
    let named = found.excluded.iter().filter(|why| why.contains("/000")).count();
    assert!((40..64).contains(&named), "{named} names of 1000 bytes in 64 KiB");
    assert!(
        found.excluded.iter().any(|why| why.contains("more sessions match than fit in memory")),
        "{:?}",
        found.excluded.last()
    );
}

/// One signer, one key under two names, a changed text, another vault, an expired request, a repeated request: nothing
/// is touched.
#[tokio::test]
async fn what_two_people_did_not_ask_for_is_refused() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    let request = desk.request(&site, session("s0")).await;
    let once = sign_erasure(&request.text(), &desk.people[0]).expect("signed");
    let all = desk.signed(&request);
    assert!(sign_erasure(&once, &desk.people[0]).expect_err("twice").contains("already"));
    // alice's secret under another name is still one person
    let again = sign_erasure(&once, &key("alice-too", 1)).expect("signed");
    let both = [desk.erasers(), vec![key("alice-too", 1).public().clone()]].concat();
    assert!(open::<ErasureRequest>(&again, &both).expect_err("one person").contains("1 of"));
    let stranger = sign_erasure(&once, &desk.people[2]).expect("signed");
    let changed = all.replace("\"who\": \"data", "\"who\": \"date");
    let spaced = all.replacen("\"v\": 1", "\"v\":  1", 1);
    let elsewhere = ErasureRequest { store: "other".to_owned(), ..request.clone() };
    let foreign = request
        .keys
        .iter()
        .map(|key| vault::index_row::ShreddedKey { folder: key.folder.replace("/default/", "/team/"), ..key.clone() });
    let foreign = ErasureRequest { keys: foreign.collect(), ..request.clone() };
    // signers see one session, but another session's keys would be destroyed
    let neighbour = desk.request(&site, session("s1")).await;
    let swapped = ErasureRequest { keys: neighbour.keys.clone(), ..request.clone() };
    let retold = ErasureRequest { sessions: neighbour.sessions.clone(), ..neighbour.clone() };
    let retold = ErasureRequest { what: request.what.clone(), ..retold };
    let more = ErasureRequest { keys: [request.keys.clone(), neighbour.keys.clone()].concat(), ..request.clone() };
    let whole = ErasureRequest { sessions: vec!["acme".to_owned()], ..request.clone() };
    let above = request
        .keys
        .iter()
        .map(|key| vault::index_row::ShreddedKey { folder: key.folder.replace("/s0/", "/s0/../s1/"), ..key.clone() });
    let above = ErasureRequest { keys: above.collect(), ..request.clone() };
    let no_key = request.keys.iter().map(|key| vault::index_row::ShreddedKey { id: String::new(), ..key.clone() });
    let no_key = ErasureRequest { keys: no_key.collect(), ..request.clone() };
    let forged = |request: &ErasureRequest| desk.forged(request);
    let early = ErasureRequest { time: rfc3339(site.clock.now().plus(Duration::from_secs(60))), ..request.clone() };
    for (what, file, why) in [
        ("no signature", request.text(), "no valid signatures"),
        ("one signature", once.clone(), "signed by 1"),
        ("a stranger", stranger, "signed by 1"),
        ("another text", changed, "signed by 0"),
        ("the same in other letters", spaced, "reformatted or edited"),
        ("another vault", desk.signed(&elsewhere), "for another vault, other"),
        ("another account's keys", forged(&foreign), "keys outside its sessions"),
        ("another session's keys", forged(&swapped), "keys outside its sessions"),
        ("another session than it asks for", forged(&retold), "another session than"),
        ("another session's keys too", forged(&more), "keys outside its sessions"),
        ("all sessions of a tenant", forged(&whole), "has an invalid or repeated session"),
        ("a way out of the folder", forged(&above), "keys outside its sessions"),
        ("no key's id", forged(&no_key), "keys outside its sessions"),
        ("from the future", desk.signed(&early), "in the future"),
        ("no request", "{}".to_owned(), "was not made by"),
        ("nothing", String::new(), "was not made by"),
    ] {
        let refused = desk.run(&site, &file).await.expect_err(what);
        assert!(refused.contains(why), "{what}: {refused}");
        if what.contains("session") {
            let signed = sign_erasure(&file, &desk.people[2]).expect_err("who signs is told too");
            assert!(signed.contains(why), "{what}: {signed}");
        }
    }
    site.clock.advance(Duration::from_secs(90_000));
    assert!(desk.run(&site, &all).await.expect_err("late").contains("expired"));
    let report = desk.audit(&site).await;
    assert_eq!((report.counts.opened, report.erasures.len()), (8, 0), "{}", report.text());
}

/// A hold on a key, a copy of it or an object of the session stops everything, before anything is announced or
/// destroyed.
#[tokio::test]
async fn a_legal_hold_freezes() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    let names: Vec<String> = {
        let objects = site.store.0.lock();
        let of = |start: &str| objects.keys().find(|name| name.starts_with(start)).cloned().expect("there");
        vec![of("keys/default/acme/s0/"), of("default/acme/s0/")]
    };
    for name in names {
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

/// Copies for other readers are destroyed too; keys that reappear are reported.
#[tokio::test]
async fn a_key_that_comes_back_is_found() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    let (name, bytes) = {
        let objects = site.store.0.lock();
        let found = objects.iter().find(|(name, _)| name.starts_with("keys/default/acme/s0/")).expect("a key");
        (found.0.clone(), found.1.clone())
    };
    let copy = name.replace(".age", "-0badcafe.age");
    site.store.0.lock().insert(copy.clone(), bytes.clone());
    assert_eq!(desk.erase(&site, "s0").await.objects, 2);
    assert!(desk.audit(&site).await.verified);
    site.store.0.lock().insert(copy, bytes);
    let report = desk.audit(&site).await;
    assert!(!report.verified && report.finding_counts.contains_key("key_restored"), "{}", report.text());
}

/// Someone with a digest-signing key but without an eraser's key can't make destroyed keys look erased.
#[tokio::test]
async fn a_false_erasure_is_found() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    let request = desk.request(&site, session("s0")).await;
    let thief = Desk { people: [key("alice", 91), key("bob", 92), key("carol", 93)], ..Desk::of(&site, None) };
    let forged = thief.signed(&request);
    thief.run(&site, &forged).await.expect("the thief's own erasers agree");
    let report = desk.audit(&site).await;
    assert!(!report.verified, "{}", report.text());
    let codes: Vec<_> = report.finding_counts.keys().copied().collect();
    assert!(codes.contains(&"erasure_invalid") && codes.contains(&"key_missing"), "{}", report.text());
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
            _ => ErasureRequest { keys, what: ContentTarget::User("h-default".to_owned()), ..request },
        };
        let mut ledger = Ledger::read(&desk.place, &desk.chain, &[], "default", "eraser").await.expect("ledger");
        let line = |state, file: Option<String>| ErasureRecord {
            state,
            nonce: told.nonce.clone(),
            who: told.who.clone(),
            why: told.why.clone(),
            signers: vec!["alice".to_owned(), "bob".to_owned()],
            sessions: told.sessions.clone(),
            key_ids: told.keys.iter().map(|key| key.id.clone()).collect(),
            destroyed: None,
            request: file,
        };
        let now = site.clock.now();
        ledger
            .append(LedgerEntry::Erasure(line(ErasureState::Begun, Some(desk.forged(&told)))), now)
            .await
            .expect("begun");
        site.store.0.lock().retain(|name, _| !name.starts_with("keys/default/acme/s1/"));
        ledger.append(LedgerEntry::Erasure(line(ErasureState::Done, None)), now).await.expect("done");
        for erasers in [desk.erasers(), Vec::new()] {
            let keys = vec![signing_key().public().clone(), desk.chain.public().clone()];
            let report = site.verify(VerifyOptions { keys, erasers, ..VerifyOptions::default() }).await;
            let codes: Vec<_> = report.finding_counts.keys().copied().collect();
            assert!(!report.verified && codes.contains(&"erasure_invalid"), "{name}: {}", report.text());
            assert!(codes.contains(&"key_missing") && report.erasures.is_empty(), "{name}: {}", report.text());
        }
    }
}

/// The pseudonyms of several epochs select a user's sessions together, and no others. One alone is written as before.
#[tokio::test]
async fn a_user_with_several_pseudonyms_is_erased_whole() {
    let mut site = site().await;
    site.user = Some("h-02default".to_owned());
    site.send("default", "s2", "after the rotation");
    site.minutes(3).await;
    let desk = Desk::of(&site, None);
    let users = |names: &[&str]| {
        ContentTarget::of_users(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("users")
    };
    let one = desk.request(&site, users(&["h-02default"])).await;
    assert!(one.sessions == ["acme/s2"] && one.text().contains("\"user\": \"h-02default\""), "{}", one.text());
    let request = desk.request(&site, users(&["h-default", "h-02default"])).await;
    assert_eq!(request.sessions, ["acme/s0", "acme/s1", "acme/s2"]);
    for fewer in [users(&["h-default", "h-nobody"]), ContentTarget::Users(Vec::new())] {
        let other = ErasureRequest { what: fewer, ..request.clone() };
        let refused = desk.run(&site, &desk.signed(&other)).await.expect_err("another user's");
        assert!(refused.contains("no signed index line assigns it to this user"), "{refused}");
    }
    assert_eq!(desk.run(&site, &desk.signed(&request)).await.expect("erased").keys, 3);
    let report = desk.audit(&site).await;
    assert!(report.verified && report.counts.opened == 4, "the other account's are left: {}", report.text());
}

/// A request for a user covers only that user's sessions, whoever signed it; a planted unreadable line blocks nothing.
#[tokio::test]
async fn a_users_sessions_are_the_users() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    let request = desk.request(&site, ContentTarget::User("h-default".to_owned())).await;
    site.store.0.lock().insert("index/v1/account=default/dt=2026-11-20/gw-Z-0000000000.ndjson.zst".into(), "x".into());
    let other = ErasureRequest { what: ContentTarget::User("h-team".to_owned()), ..request.clone() };
    let refused = desk.run(&site, &desk.signed(&other)).await.expect_err("another user's");
    assert!(refused.contains("no signed index line assigns it to this user"), "{refused}");
    let done = desk.run(&site, &desk.signed(&request)).await.expect("erased");
    assert_eq!((done.keys, done.remaining_keys), (2, 0));
}

/// Keys added after the request was made are reported, and stay.
#[tokio::test]
async fn what_came_later_is_told() {
    let mut site = site().await;
    let desk = Desk::of(&site, None);
    let file = desk.signed(&desk.request(&site, session("s0")).await);
    site.begin(1);
    site.send("default", "s0", "later");
    site.minutes(4).await;
    let done = desk.run(&site, &file).await.expect("erased");
    assert_eq!((done.keys, done.remaining_keys), (1, 1));
}

/// A writer can neither block an erasure nor make one look executed: objects without a known key's signature are
/// ignored, and a taken name is skipped.
#[tokio::test]
async fn what_is_planted_in_the_chain_of_erasures_stops_nothing() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    let plant = |name: &str, bytes: &[u8]| drop(site.store.0.lock().insert(name.to_owned(), bytes.to_vec().into()));
    let chain = "chain/default/eraser";
    // garbage, before the chain has begun
    plant(&format!("{chain}/000000000104GJQ6F3H7F2Q4ZV/0000000000.json"), b"x");
    plant(&format!("{chain}/000000000104GJQ6F3H7F2Q4ZV/0000000000.json.sig"), b"x");
    plant(&format!("{chain}/0/0000000007.json"), b"{}");
    desk.erase(&site, "s0").await;
    // a forged end of an erasure: another chain's digest and line, with the nonce of a known request
    let request = desk.request(&site, session("s1")).await;
    let file = desk.signed(&request);
    let thief = Desk { chain: key("erase.test", 99), ..Desk::of(&site, None) };
    let forged = Desk::of(&self::site().await, None);
    {
        let mut ledger = Ledger::read(&forged.place, &thief.chain, &[], "default", "eraser").await.expect("ledger");
        let said = ErasureRecord {
            state: ErasureState::Done,
            nonce: request.nonce.clone(),
            who: String::new(),
            why: String::new(),
            signers: Vec::new(),
            sessions: request.sessions.clone(),
            key_ids: Vec::new(),
            destroyed: Some(1),
            request: None,
        };
        ledger.append(LedgerEntry::Erasure(said), site.clock.now()).await.expect("forged");
        assert!(ledger.is_done(&request.nonce));
    }
    for (name, bytes) in forged.store.store.0.lock().iter().filter(|(name, _)| name.contains("/eraser")) {
        plant(name, bytes);
    }
    let ledger = Ledger::read(&desk.place, &desk.chain, &[], "default", "eraser").await.expect("read");
    assert!(!ledger.is_done(&request.nonce) && ledger.foreign_digests().is_some_and(|(_, count)| count == 3));
    // killed after its first object; then someone who saw it takes the following names
    let dying = Desk::of(&site, Some(1));
    assert!(dying.run(&site, &file).await.is_err());
    let begun = {
        let objects = site.store.0.lock();
        let lines = objects.keys().filter(|name| name.starts_with("index/") && name.contains("/eraser-"));
        let epochs: BTreeSet<String> = lines.map(|name| name.rsplit('-').nth(1).expect("epoch").to_owned()).collect();
        let mut epochs =
            epochs.into_iter().filter(|epoch| !objects.keys().any(|name| name.contains(&format!("{chain}/{epoch}/"))));
        epochs.next().expect("an epoch without a digest")
    };
    plant(&format!("{chain}/{begun}/0000000000.json"), b"x");
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
    let name = {
        let objects = site.store.0.lock();
        objects.keys().find(|name| name.contains("/eraser-")).expect("a line").clone()
    };
    let planted = name.replace("dt=2026-11-20", "dt=2026-11-19").replace("dt=2026-11-21", "dt=2026-11-19");
    let line = {
        let objects = site.store.0.lock();
        let text = crate::read::index::unpack_lines("", &objects[&name]).expect("a line");
        zstd::bulk::compress(text.replace("ticket 4711", "ticket 4712").as_bytes(), 3).expect("zstd")
    };
    assert_ne!(name, planted);
    site.store.0.lock().insert(planted, line.into());
    let desk = Desk::of(&site, None);
    desk.run(&site, &file).await.expect("erased");
    let report = desk.audit(&site).await;
    assert_eq!((report.erasures.len(), &*report.erasures[0].reason), (1, "ticket 4711"), "{}", report.text());
}

/// A gateway writer's name is refused: its chain is not one of erasures.
#[tokio::test]
async fn a_gateways_chain_is_left_alone() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    let refused = Ledger::read(&desk.place, &desk.chain, &[], "default", "gw").await.err().expect("refused");
    assert!(refused.contains("--writer"), "{refused}");
    assert!(Ledger::read(&desk.place, &desk.chain, &[], "default", "../x").await.is_err());
    // another key continues the first one's chain; verification gets both
    desk.erase(&site, "s0").await;
    let other = Desk { chain: key("erase.second", 51), ..Desk::of(&site, None) };
    let refused = other.run(&site, &other.signed(&other.request(&site, session("s1")).await)).await;
    assert!(refused.expect_err("nobody said who signed before").contains("--earlier-key"));
    let other = Desk { before: vec![desk.chain.public().clone()], ..other };
    other.erase(&site, "s1").await;
    let keys = vec![signing_key().public().clone(), desk.chain.public().clone(), other.chain.public().clone()];
    let report = site.verify(VerifyOptions { keys, erasers: desk.erasers(), ..VerifyOptions::default() }).await;
    assert!(report.verified && report.erasures.len() == 2, "{}", report.text());
}

/// Results of earlier runs are neither forgotten nor counted twice; expired lines don't end a chain of erasures.
#[tokio::test]
async fn erasures_outlive_runs_and_lines() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    desk.erase(&site, "s0").await;
    let folder = tempfile::tempdir().expect("scratch");
    let keys = vec![signing_key().public().clone(), desk.chain.public().clone()];
    let options = || VerifyOptions {
        keys: keys.clone(),
        erasers: desk.erasers(),
        resume: Some(folder.path().join("resume.json")),
        ..VerifyOptions::default()
    };
    let (first, again) = (site.verify(options()).await, site.verify(options()).await);
    assert!(first.verified && again.verified, "{}", again.text());
    assert_eq!((&first.counts, first.erasures.len(), again.erasures.len()), (&again.counts, 1, 1), "{}", again.text());
    desk.erase(&site, "s1").await;
    let third = site.verify(options()).await;
    assert!(third.verified && third.erasures.len() == 2, "{}", third.text());
    site.store.0.lock().retain(|name, _| !name.contains("/eraser-"));
    let mut ledger = Ledger::read(&desk.place, &desk.chain, &[], "default", "eraser").await.expect("goes on");
    assert!(ledger.begun_erasure().is_none());
    assert!(
        resume_erasure(&desk.place, &mut ledger, &desk.erasers(), STORE, site.clock.now())
            .await
            .expect("nothing")
            .is_none()
    );
}

/// A later auditor opens earlier content, with tollgate and with the key object alone; the same copy is not made twice;
/// someone without a key can't make one; an erasure destroys copies too.
#[tokio::test]
async fn a_later_auditor_opens_what_was_written_before() {
    use crate::key_selection::KeySelection;
    use crate::rewrap::{LedgerSigner, RewrapSummary, rewrap};
    let site = site().await;
    let desk = Desk::of(&site, None);
    let (new, nobody) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
    let recipients = crate::rewrap::CopyRecipients::Listed(vec![new.to_public()]);
    let which = KeySelection { account: Some("default".to_owned()), ..KeySelection::default() };
    let now = site.clock.now();
    let copier = key("rewrap.test", 51);
    let teller = LedgerSigner { key: &copier, earlier_keys: &[], writer: "rewrap" };
    let opened = async |identity: &age::x25519::Identity| {
        let keys = vec![signing_key().public().clone(), copier.public().clone()];
        let report =
            site.verify(VerifyOptions { keys, auditors: vec![identity.clone()], ..VerifyOptions::default() }).await;
        assert!(report.verified, "{}", report.text());
        report.counts.opened
    };
    assert_eq!(opened(&new).await, 0);
    let none = rewrap(&desk.place, &[nobody], &recipients, &which, &teller, now).await.expect("nothing");
    assert_eq!((none.keys, none.written, none.failed.len()), (2, 0, 2), "{:?}", none.failed);
    let run = async || {
        let auditors = std::slice::from_ref(&site.auditor);
        rewrap(&desk.place, auditors, &recipients, &which, &teller, now).await.expect("done")
    };
    assert_eq!(run().await, RewrapSummary { keys: 2, written: 2, newly_listed: 2, ..RewrapSummary::default() });
    let again = run().await;
    assert_eq!(again, RewrapSummary { keys: 2, already_present: 2, ..RewrapSummary::default() });
    assert_eq!((opened(&new).await, opened(&site.auditor).await), (4, 8), "the other account's stay closed");
    let one = KeySelection {
        session: Some("s0".to_owned()),
        since: Some("2027-01-01".to_owned()),
        ..KeySelection::default()
    };
    assert_eq!(rewrap(&desk.place, &[new], &recipients, &one, &teller, now).await.expect("none").keys, 0);
    assert_eq!(desk.erase(&site, "s0").await.objects, 2);
}

/// Copies of the keys of an account whose folder is encoded are listed in that account's chain; a folder that no account
/// has is refused. (Seen red: the chain was below `chain/%2569ndex`.)
#[tokio::test]
async fn copies_are_listed_in_their_accounts_chain() {
    use crate::key_selection::KeySelection;
    use crate::rewrap::{CopyRecipients, LedgerSigner, rewrap};
    let mut site = Site::new(44);
    site.send("index", "s0", "text");
    site.minutes(3).await;
    assert!(site.uploader.drain().await);
    let (desk, copier) = (Desk::of(&site, None), key("rewrap.test", 51));
    let signer = LedgerSigner { key: &copier, earlier_keys: &[], writer: "rewrap" };
    let auditors = std::slice::from_ref(&site.auditor);
    let (to, which) =
        (CopyRecipients::Listed(vec![age::x25519::Identity::generate().to_public()]), KeySelection::default());
    let run = async || rewrap(&desk.place, auditors, &to, &which, &signer, site.clock.now()).await.expect("done");
    let done = run().await;
    assert!(done.newly_listed == 1, "{done:?}");
    site.name(&["chain/%69ndex/rewrap/"]);
    let keys = vec![signing_key().public().clone(), copier.public().clone()];
    let options = VerifyOptions { keys, account: Some("index".to_owned()), ..VerifyOptions::default() };
    let report = site.verify(options).await;
    assert!(report.verified && report.counts.epochs == 2, "{}", report.text());
    let planted = "keys/%zz/acme/s0/2026-11-20/0123456789abcdef.age";
    site.store.0.lock().insert(planted.to_owned(), Bytes::from_static(b"junk"));
    let done = run().await;
    assert!(done.failed.len() == 1 && done.failed[0].contains("no account has such a folder"), "{:?}", done.failed);
}

/// Copies for configured recipients keep their limits: a recipient gets no copy of a key that it may not open, and a
/// key without a permitted recipient is reported.
#[tokio::test]
async fn copies_keep_the_limits_of_recipients() {
    use crate::key_selection::KeySelection;
    use crate::rewrap::{CopyRecipients, LedgerSigner, rewrap};
    use vault::recipients::{PolicyRecipient, RecipientPolicy};
    let site = site().await;
    let desk = Desk::of(&site, None);
    let (all, other_tenant) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
    let names = |name: &str| Some([name.to_owned()].into());
    let policy = RecipientPolicy::new(vec![
        PolicyRecipient { key: all.to_public(), accounts: names("default"), tenants: None },
        PolicyRecipient { key: other_tenant.to_public(), accounts: names("default"), tenants: names("globex") },
    ]);
    let copier = key("rewrap.test", 51);
    let teller = LedgerSigner { key: &copier, earlier_keys: &[], writer: "rewrap" };
    let auditors = std::slice::from_ref(&site.auditor);
    let (to, which, now) = (CopyRecipients::Permitted(policy), KeySelection::default(), site.clock.now());
    let done = rewrap(&desk.place, auditors, &to, &which, &teller, now).await.expect("done");
    assert_eq!((done.keys, done.written, done.failed.len()), (3, 2, 1), "{:?}", done.failed);
    assert!(done.failed.iter().all(|why| why.ends_with("no recipient may open its account and tenant")));
    let opens = |identity: &age::x25519::Identity| {
        let objects = site.store.0.lock();
        let keys = objects.iter().filter(|(name, _)| name.starts_with("keys/"));
        let opened = keys.filter(|(_, object)| age::decrypt(identity, object).is_ok());
        opened.map(|(name, _)| name.split('/').nth(1).expect("an account").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(opens(&all), ["default", "default"]);
    assert!(opens(&other_tenant).is_empty(), "the keys are of another tenant");
}

/// Junk in a copy's place is not taken for the copy: a copy is written beside it, the junk is reported, and the next
/// run finds the copy.
#[tokio::test]
async fn junk_in_a_copys_place_is_told() {
    use crate::key_selection::KeySelection;
    use crate::rewrap::{LedgerSigner, RewrapSummary, rewrap};
    let site = site().await;
    let desk = Desk::of(&site, None);
    let new = age::x25519::Identity::generate();
    let which =
        KeySelection { account: Some("default".to_owned()), session: Some("s0".to_owned()), ..KeySelection::default() };
    let copier = key("rewrap.test", 51);
    let teller = LedgerSigner { key: &copier, earlier_keys: &[], writer: "rewrap" };
    let run = async || {
        let (auditors, now) = ([site.auditor.clone()], site.clock.now());
        rewrap(
            &desk.place,
            &auditors,
            &crate::rewrap::CopyRecipients::Listed(vec![new.to_public()]),
            &which,
            &teller,
            now,
        )
        .await
        .expect("done")
    };
    assert_eq!(run().await.written, 1);
    let copy = site
        .store
        .0
        .lock()
        .keys()
        .find(|name| {
            name.starts_with("keys/default/acme/s0/") && name.rsplit('/').next().is_some_and(|file| file.contains('-'))
        })
        .expect("a copy")
        .clone();
    site.store.0.lock().insert(copy.clone(), Bytes::from_static(b"junk"));
    let done = run().await;
    assert_eq!((done.written, done.already_present, done.failed.len()), (1, 0, 1), "{:?}", done.failed);
    assert!(done.failed[0].starts_with(&copy), "{:?}", done.failed);
    assert_eq!(run().await, RewrapSummary { keys: 1, already_present: 1, ..RewrapSummary::default() });
    let vault = Vault::new(site.store.clone(), "", None);
    let filter = ReplayFilter { account: Some("default".into()), ..ReplayFilter::default() };
    let read = replay(&vault, &mut FragmentOpener::new(&vault, vec![new.clone()]), "s0", &filter).await.expect("read");
    let mut text = Vec::new();
    read.write_text(&mut text).expect("written");
    assert!(String::from_utf8_lossy(&text).contains("text 0"), "the copy beside it opens");
}

/// An object in a copy's place is neither counted as the copy nor signed into the chain, whatever it is: any age file
/// with a stanza, the key object itself (which opens for the person who copies), a copy for another key. The later
/// auditor gets a copy. Fails if an object's form is taken as proof.
#[tokio::test]
async fn a_planted_copy_is_not_signed() {
    use crate::key_selection::KeySelection;
    use crate::rewrap::{LedgerSigner, RewrapSummary, rewrap};
    let late = age::x25519::Identity::generate();
    let people = [late.to_public()];
    let recipients = crate::rewrap::CopyRecipients::Listed(people.to_vec());
    let copier = key("rewrap.test", 51);
    let teller = LedgerSigner { key: &copier, earlier_keys: &[], writer: "rewrap" };
    let which =
        KeySelection { account: Some("default".to_owned()), session: Some("s0".to_owned()), ..KeySelection::default() };
    let tag = &kernel::hex::encode(&kernel::sha256::Sha256::digest(people[0].to_string()))[..8];
    for kind in 0..3 {
        let site = site().await;
        let desk = Desk::of(&site, None);
        let own = site.name(&["keys/default/acme/s0/", ".age"]);
        let planted = own.replace(".age", &format!("-{tag}.age"));
        let object = match kind {
            0 => vault::seal::seal_identity(&age::x25519::Identity::generate(), &people).expect("sealed").into(),
            1 => site.store.0.lock().get(&own).cloned().expect("there"),
            _ => {
                let stranger = [age::x25519::Identity::generate().to_public()];
                vault::seal::seal_identity(&age::x25519::Identity::generate(), &stranger).expect("sealed").into()
            }
        };
        site.store.0.lock().insert(planted.clone(), object);
        let run = async |auditors: &[age::x25519::Identity]| {
            rewrap(&desk.place, auditors, &recipients, &which, &teller, site.clock.now()).await.expect("done")
        };
        let done = run(std::slice::from_ref(&site.auditor)).await;
        assert_eq!((done.written, done.already_present, done.newly_listed), (1, 0, 1), "{kind}: {:?}", done.failed);
        assert!(done.failed.iter().any(|why| why.starts_with(&planted)), "{kind}: {:?}", done.failed);
        let keys = vec![signing_key().public().clone(), copier.public().clone()];
        let auditors = vec![late.clone()];
        let report = site.verify(VerifyOptions { keys, auditors, ..VerifyOptions::default() }).await;
        assert!(!report.verified && report.finding_counts.contains_key("unreferenced"), "{kind}: {}", report.text());
        assert_eq!(report.counts.opened, 2, "{kind}: {}", report.text());
        assert_eq!(
            run(std::slice::from_ref(&site.auditor)).await,
            RewrapSummary { keys: 1, already_present: 1, ..RewrapSummary::default() }
        );
    }
}

/// A copy that a run wrote before it crashed is recognised by its name, although the chain does not list it yet: it is
/// then listed, and no second copy is made.
#[tokio::test]
async fn a_copy_of_a_run_that_died_is_told_by_the_next() {
    use crate::key_selection::KeySelection;
    use crate::rewrap::{LedgerSigner, RewrapSummary, rewrap};
    let (site, late, copier) = (site().await, age::x25519::Identity::generate(), key("rewrap.test", 51));
    let which =
        KeySelection { account: Some("default".to_owned()), session: Some("s0".to_owned()), ..KeySelection::default() };
    let teller = LedgerSigner { key: &copier, earlier_keys: &[], writer: "rewrap" };
    let run = async |left: Option<u64>| {
        let desk = Desk::of(&site, left);
        let auditors = [site.auditor.clone()];
        rewrap(
            &desk.place,
            &auditors,
            &crate::rewrap::CopyRecipients::Listed(vec![late.to_public()]),
            &which,
            &teller,
            site.clock.now(),
        )
        .await
    };
    assert!(run(Some(1)).await.is_err());
    assert_eq!(
        run(None).await.expect("done"),
        RewrapSummary { keys: 1, already_present: 1, newly_listed: 1, ..RewrapSummary::default() }
    );
    let keys = vec![signing_key().public().clone(), copier.public().clone()];
    let report = site.verify(VerifyOptions { keys, auditors: vec![late.clone()], ..VerifyOptions::default() }).await;
    assert!(report.verified && report.counts.opened == 2, "{}", report.text());
}

/// A planted line does not assign a session to a user: neither a new nor a signed request includes it; without the
/// writers' public key, requests for users are refused.
#[tokio::test]
async fn a_planted_line_makes_no_session_a_users() {
    let site = site().await;
    let mut desk = Desk::of(&site, None);
    let index = |name: &&String| name.starts_with("index/v1/account=default/");
    let name = site.store.0.lock().keys().find(index).expect("lines").clone();
    let bytes = site.store.0.lock().get(&name).cloned().expect("lines");
    let lines = String::from_utf8(zstd::decode_all(&bytes[..]).expect("zstd")).expect("text");
    let line = lines.lines().next().expect("a line").replacen("\"leaf\":0", "\"leaf\":900", 1);
    let planted = line.replace("h-default", "h-planted") + "\n";
    assert!(planted.contains("h-planted") && planted.contains("900"), "{planted}");
    let (head, _) = name.rsplit_once('-').expect("a number");
    let object = zstd::bulk::compress(planted.as_bytes(), 3).expect("zstd");
    site.store.0.lock().insert(format!("{head}-0000000900.ndjson.zst"), object.into());
    let user = || ContentTarget::User("h-planted".to_owned());
    let asked = TargetQuery { target: user(), account: Some("default".to_owned()), tenant: None };
    let none = resolve_target(&desk.place, &asked).await.expect_err("nobody signed it");
    assert!(none.contains("no index line names this user"), "{none}");
    assert!(none.contains("not included: acme/s0 of account default"), "{none}");
    let own = desk.request(&site, session("s0")).await;
    let refused = desk.run(&site, &desk.signed(&ErasureRequest { what: user(), ..own })).await.expect_err("refused");
    assert!(refused.contains("no signed index line assigns it to this user"), "{refused}");
    // nor does it block an authorised request
    desk.request(&site, ContentTarget::User("h-default".to_owned())).await;
    desk.place.keys.clear();
    let asked = TargetQuery { target: ContentTarget::User("h-default".to_owned()), ..asked };
    assert!(resolve_target(&desk.place, &asked).await.expect_err("no key").contains("public key"));
}

/// Sessions of a user that only another signer's lines or unsigned lines name are not in a request, but are reported; a
/// hold includes them.
#[tokio::test]
async fn what_other_signers_tell_of_a_user_is_not_passed_over_in_silence() {
    let mut site = site().await;
    let desk = Desk::of(&site, None);
    let user = TargetQuery { target: ContentTarget::User("h-default".to_owned()), account: None, tenant: None };
    let before = resolve_target(&desk.place, &user).await.expect("resolved");
    assert!(before.excluded.is_empty(), "{:?}", before.excluded);
    let signed: Vec<String> = site.store.0.lock().keys().filter(|name| name.starts_with("chain/")).cloned().collect();
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
        let ledger = Ledger::read(&desk.place, &desk.chain, &[], "default", "eraser").await.expect("a ledger");
        begun += usize::from(ledger.begun_erasure().is_some());
        let keys = || site.store.0.lock().keys().filter(|name| name.starts_with("keys/default/acme/s0/")).count();
        let before = keys();
        let note = format!("holds/default/acme/s0/{:020}.json", 7);
        site.store.0.lock().insert(note.clone(), Bytes::from_static(b"a note that nobody can read holds"));
        let refused = desk.run(&site, &file).await.expect_err("held");
        assert!(refused.contains("legal hold") && keys() == before, "{n}: {refused}");
        site.store.0.lock().remove(&note);
        desk.run(&site, &file).await.expect("finished");
        assert_eq!(keys(), 0);
    }
    assert!(begun > 0, "no run ended between announcement and deed");
}

/// A reader that reports locks, like a bucket.
struct Locked {
    store: Arc<Memory>,
    /// Whether the erasures' chain is locked; `None` if the store can't lock.
    locked: Option<bool>,
}

impl Over for Locked {
    fn under(&self) -> &Memory {
        &self.store
    }

    fn versions<'a>(
        &'a self,
        kind: ObjectKind,
        prefix: &'a str,
        after: Option<(String, String)>,
    ) -> BoxFuture<'a, Result<Option<VersionPage>, StoreError>> {
        // one version a page
        Box::pin(async move {
            let start = after.map(|(name, _)| name).unwrap_or_default();
            let mut names = self.list(kind, prefix).await?.into_iter().filter(|name| *name >= start);
            let version = |name| ObjectVersion { name, id: "1".to_owned(), marker: false };
            let versions = names.next().map(version).into_iter().collect();
            let next = names.next().map(|name| (name, "1".to_owned()));
            Ok(self.locked.map(|_| VersionPage { versions, next }))
        })
    }

    fn held<'a>(
        &'a self,
        _: ObjectKind,
        version: &'a ObjectVersion,
    ) -> BoxFuture<'a, Result<Option<VersionLock>, StoreError>> {
        let lock = |locked: bool| {
            let is_last = version.name.ends_with("/0000000001.json");
            (locked || !is_last).then_some((LockMode::Compliance, UnixNanos(u64::MAX)))
        };
        let held = self.locked.map(|locked| VersionLock { written: UnixNanos(0), lock: lock(locked) });
        Box::pin(async move { Ok(held) })
    }
}

/// If the bucket did not lock the erasures' chain, the object is reported by name to the eraser; if it is locked, or
/// the store can't lock, nothing is reported.
#[tokio::test]
async fn an_erasure_that_could_be_deleted_is_told() {
    for (locked, told) in [(Some(false), true), (Some(true), false), (None, false)] {
        let site = site().await;
        let mut desk = Desk::of(&site, None);
        desk.place.vault = Vault::new(Arc::new(Layer(Locked { store: site.store.clone(), locked })), "", None);
        let request = desk.request(&site, session("s0")).await;
        let mut ledger = Ledger::read(&desk.place, &desk.chain, &[], "default", "eraser").await.expect("a ledger");
        assert_eq!(ledger.find_unlocked_object().await, Ok(None), "nothing is written yet");
        let file = desk.signed(&request);
        execute_request(&desk.place, &mut ledger, &file, &desk.erasers(), STORE, site.clock.now())
            .await
            .expect("erased");
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
    let site = site().await;
    let desk = Desk::of(&site, None);
    let name = site.name(&["keys/default/acme/s0/", ".age"]);
    let object = site.store.0.lock().get(&name).cloned().expect("there");
    let (folder, file) = name.rsplit_once('/').expect("a folder");
    let session = folder.rsplit_once('/').expect("a session").0;
    let aside = [format!("{folder}/sub/{file}"), format!("{folder}/0123456789abcdef.age"), format!("{session}/kept")];
    let put = |name: &String| drop(site.store.0.lock().insert(name.clone(), object.clone()));
    aside.iter().for_each(put);
    desk.erase(&site, "s0").await;
    let left = || site.store.0.lock().keys().filter(|name| name.starts_with(session)).cloned().collect::<Vec<_>>();
    assert_eq!(left(), Vec::<String>::new());
    let report = desk.audit(&site).await;
    assert!(report.verified && report.findings.is_empty(), "{}", report.text());
    for name in &aside {
        put(name);
        let report = desk.audit(&site).await;
        assert!(!report.verified && report.finding_counts.contains_key("key_restored"), "{name}: {}", report.text());
        let vault = &desk.place.vault;
        let filter = ReplayFilter { account: Some("default".into()), ..ReplayFilter::default() };
        let read = replay(vault, &mut FragmentOpener::new(vault, vec![site.auditor.clone()]), "s0", &filter)
            .await
            .expect("read");
        let mut text = Vec::new();
        read.write_text(&mut text).expect("written");
        assert!(!String::from_utf8_lossy(&text).contains("text 0"), "{name}");
        site.remove(name);
    }
    put(&aside[0]);
    assert_eq!(desk.erase(&site, "s0").await.objects, 1);
    let report = desk.audit(&site).await;
    assert!(report.verified && report.erasures.len() == 2 && left().is_empty(), "{}", report.text());
}

/// A copy sealed to someone else, under a non-standard name, is destroyed with its session, even in a hidden subfolder;
/// a key that was added later stays. Objects added afterwards are destroyed by a second request, although no key object
/// is left. Fails if copies are recognised by name or bytes alone.
#[tokio::test]
async fn what_is_sealed_to_somebody_else_goes_too() {
    let mut site = site().await;
    let desk = Desk::of(&site, None);
    let name = site.name(&["keys/default/acme/s0/", ".age"]);
    let (folder, _) = name.rsplit_once('/').expect("a folder");
    let session_folder = folder.rsplit_once('/').expect("a session").0.to_owned();
    let object = site.store.0.lock().get(&name).cloned().expect("there");
    let secret = crate::read::open_key(None, &object, std::slice::from_ref(&site.auditor), &[])
        .expect("a key")
        .key()
        .expect("opened");
    let thief = age::x25519::Identity::generate();
    let resealed: Bytes = vault::seal::seal_identity(&secret, &[thief.to_public()]).expect("sealed").into();
    let aside = [
        format!("{folder}/foo.age"),
        format!("{folder}/.foo.age"),
        format!("{session_folder}/x"),
        format!("{folder}/sub/0123456789abcdef.age"),
    ];
    let put = |name: &String| drop(site.store.0.lock().insert(name.clone(), resealed.clone()));
    let left =
        || site.store.0.lock().keys().filter(|name| name.starts_with(&session_folder)).cloned().collect::<Vec<_>>();
    let file = desk.signed(&desk.request(&site, session("s0")).await);
    aside.iter().for_each(put);
    let later = format!("{folder}/00000000deadbeef.age");
    site.store.0.lock().insert(later.clone(), Bytes::from_static(b"a key of content that came later"));
    let done = desk.run(&site, &file).await.expect("erased");
    assert_eq!((done.keys, done.objects, done.remaining_keys, left()), (1, 5, 1, vec![later.clone()]));
    site.remove(&later);
    for name in &aside {
        put(name);
        let done = desk.erase(&site, "s0").await;
        assert_eq!((done.objects, left()), (1, Vec::new()), "{name}");
    }
    site.minutes(1).await;
    let report = desk.audit(&site).await;
    assert!(report.verified && report.erasures.len() == 5, "{}", report.text());
    let asked = TargetQuery { target: session("s0"), account: Some("default".to_owned()), tenant: None };
    assert!(resolve_target(&desk.place, &asked).await.expect_err("nothing is left").contains("no key object"));
}

/// A key with only an older version left, behind a delete marker, is in the request, and a hold on it stops the
/// erasure.
#[tokio::test]
async fn older_versions_of_keys_are_found() {
    let site = site().await;
    let mut desk = Desk::of(&site, None);
    let name = site.name(&["keys/default/acme/s0/", ".age"]);
    let behind = vec![name.clone(), name.replace(".age", "-deadbeef.age"), name.replace(".age", "/foo")];
    site.remove(&name);
    desk.place.vault =
        Vault::new(Arc::new(Layer(Behind { store: site.store.clone(), behind: behind.clone() })), "", None);
    let request = desk.request(&site, session("s0")).await;
    assert_eq!(request.keys.len(), 1, "{:?}", request.keys);
    assert!(request.holds.is_empty());
    desk.store.held.lock().extend(behind.clone());
    let held = desk.request(&site, session("s0")).await.holds;
    assert_eq!(held, behind.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
    let refused = desk.run(&site, &desk.signed(&request)).await.expect_err("held");
    assert!(refused.contains("legal hold"), "{refused}");
}

/// A reader with some names behind delete markers.
struct Behind {
    store: Arc<Memory>,
    behind: Vec<String>,
}

impl Over for Behind {
    fn under(&self) -> &Memory {
        &self.store
    }

    /// A page for each version.
    fn versions<'a>(
        &'a self,
        kind: ObjectKind,
        prefix: &'a str,
        after: Option<(String, String)>,
    ) -> BoxFuture<'a, Result<Option<VersionPage>, StoreError>> {
        Box::pin(async move {
            let names = self.list(kind, prefix).await?.into_iter().map(|name| (name, false));
            let behind = self.behind.iter().filter(|name| name.starts_with(prefix)).cloned();
            let all = names.chain(behind.clone().map(|name| (name, false))).chain(behind.map(|name| (name, true)));
            let from = after.map_or(0, |(_, at)| at.parse::<usize>().expect("ours"));
            let versions: Vec<ObjectVersion> = all
                .skip(from)
                .take(2)
                .map(|(name, marker)| ObjectVersion { name, id: "1".to_owned(), marker })
                .collect();
            let next = versions.get(1).map(|last| (last.name.clone(), (from + 1).to_string()));
            let versions = versions.into_iter().take(1).collect();
            Ok(Some(VersionPage { versions, next }))
        })
    }
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
    let read =
        replay(vault, &mut FragmentOpener::new(vault, vec![auditor.clone()]), session, &filter).await.expect("read");
    let (mut text, mut exported) = (Vec::new(), Vec::new());
    read.write_text(&mut text).expect("written");
    read.export(crate::read::ExportFormat::Jsonl, &mut exported).expect("written");
    let all = String::from_utf8([text, exported].concat()).expect("text");
    (all, read.unreadable().join("\n"), read.is_partial())
}

/// A key that was destroyed by request and put back, under its own name or a copy's, opens nothing in replay and
/// export, which report it and end with 1. With only the gateway's key nothing proves the erasure, so that a planted
/// line hides no content; the commands report it and end with 1 all the same. Fails if any key object in the day's
/// folder opens content.
#[tokio::test]
async fn a_key_that_is_back_shows_nothing() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    let name = site.name(&["keys/default/acme/s0/", ".age"]);
    let object = site.store.0.lock().get(&name).cloned().expect("there");
    desk.erase(&site, "s0").await;
    let gateway = signing_key().public().clone();
    let both = [gateway.clone(), desk.chain_key()];
    let (text, _, partial) = read_with(&desk, &site.auditor, "s0", &both).await;
    assert!(!text.contains("text 0") && !partial, "gone by request is no loss");
    for name in [name.clone(), name.replace(".age", "-deadbeef.age")] {
        site.store.0.lock().insert(name.clone(), object.clone());
        for keys in [&[][..], &both[..]] {
            let (text, closed, partial) = read_with(&desk, &site.auditor, "s0", keys).await;
            assert!(!text.contains("text 0") && partial, "{name}: {closed}");
            assert!(
                closed.contains("erased by request of data protection officer (ticket 4711), but its key exists again"),
                "{closed}"
            );
            assert!(closed.contains("vault verify"), "{closed}");
        }
        let (text, closed, partial) = read_with(&desk, &site.auditor, "s0", std::slice::from_ref(&gateway)).await;
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
    use crate::key_selection::KeySelection;
    use crate::rewrap::{LedgerSigner, rewrap};
    let site = site().await;
    let desk = Desk::of(&site, None);
    let name = site.name(&["keys/default/acme/s0/", ".age"]);
    let object = site.store.0.lock().get(&name).cloned().expect("there");
    let late = age::x25519::Identity::generate();
    let secret = crate::read::open_key(None, &object, std::slice::from_ref(&site.auditor), &[])
        .expect("a key")
        .key()
        .expect("opened");
    let resealed: Bytes = vault::seal::seal_identity(&secret, &[late.to_public()]).expect("sealed").into();
    let planted = name.replace(".age", "-deadbeef.age");
    site.store.0.lock().insert(planted.clone(), resealed);
    let (text, closed, partial) = read_with(&desk, &late, "s0", &[]).await;
    assert!(
        !text.contains("text 0") && partial && closed.contains("its hash is not the one that index lines give"),
        "{closed}"
    );
    site.remove(&planted);
    let copier = key("rewrap.test", 51);
    let teller = LedgerSigner { key: &copier, earlier_keys: &[], writer: "rewrap" };
    let auditors = [site.auditor.clone()];
    let now = site.clock.now();
    rewrap(
        &desk.place,
        &auditors,
        &crate::rewrap::CopyRecipients::Listed(vec![late.to_public()]),
        &KeySelection::default(),
        &teller,
        now,
    )
    .await
    .expect("done");
    for keys in [&[][..], &[signing_key().public().clone()][..]] {
        let (text, closed, partial) = read_with(&desk, &late, "s0", keys).await;
        assert!(text.contains("text 0") && !partial, "{closed}");
    }
}

/// A request is valid for at most 30 days; without the erasers' keys, the report does not claim that they signed.
#[tokio::test]
async fn requests_do_not_wait_for_years() {
    let site = site().await;
    let desk = Desk::of(&site, None);
    let mut request = desk.request(&site, session("s0")).await;
    let days = |days: u64| rfc3339(site.clock.now().plus(Duration::from_secs(days * 86_400)));
    request.expires = days(31);
    assert!(desk.run(&site, &desk.forged(&request)).await.expect_err("too long").contains("30 days"));
    request.expires = days(30);
    desk.run(&site, &desk.forged(&request)).await.expect("erased");
    assert!(desk.audit(&site).await.text().contains("\nerased by request: acme/s0"));
    let keys = vec![signing_key().public().clone(), desk.chain_key()];
    let report = site.verify(VerifyOptions { keys, ..VerifyOptions::default() }).await;
    let text = report.text();
    assert!(!text.contains("\nerased by request:") && text.contains("unchecked signatures of alice"), "{text}");
    assert!(!report.erasures[0].signatures_checked);
}
