//! Every object of a vault, changed in every way that somebody may change it: each must be told.

use super::*;
use crate::erase::tests::Desk;
use crate::rewrap::{Teller, Which, rewrap};

/// Random bytes that are flipped, of each object; by night (`TOLLGATE_FLIPS`) 200 of each kind, over all its objects.
const FLIPS: usize = 2;

/// A number of the environment.
#[expect(clippy::disallowed_methods, reason = "a test's own switch")]
fn told(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What becomes of an object. `other` is one of the same kind in the same vault, `strangers` one in another vault.
struct Change<'a> {
    name: &'a str,
    bytes: &'a Bytes,
    other: Option<(&'a str, &'a Bytes)>,
    strangers: &'a Bytes,
}

/// Objects by name, as they are after a change; none: it changes nothing.
type Changed = Option<Vec<(String, Option<Bytes>)>>;

fn one(name: &str, bytes: Bytes) -> Changed {
    Some(vec![(name.to_owned(), Some(bytes))])
}

type Way = fn(&Change<'_>) -> Changed;

/// The ways, by name.
const WAYS: [(&str, Way); 9] = [
    ("truncated", |change| one(change.name, change.bytes.slice(..change.bytes.len().checked_sub(1)?))),
    ("half", |change| one(change.name, change.bytes.slice(..change.bytes.len() / 2))),
    ("longer", |change| one(change.name, [change.bytes, &b"x"[..]].concat().into())),
    ("empty", |change| one(change.name, Bytes::new())),
    ("deleted", |change| Some(vec![(change.name.to_owned(), None)])),
    ("a stranger's", |change| one(change.name, change.strangers.clone())),
    ("its neighbour's", |change| {
        let (_, bytes) = change.other?;
        one(change.name, bytes.clone())
    }),
    ("swapped", |change| {
        let (name, bytes) = change.other?;
        Some(vec![(change.name.to_owned(), Some(bytes.clone())), (name.to_owned(), Some(change.bytes.clone()))])
    }),
    ("a folder deeper", |change| {
        let (folder, file) = change.name.rsplit_once('/')?;
        one(&format!("{folder}/sub/{file}"), change.bytes.clone())
    }),
];

/// Kinds of objects, by what their names begin with and end in.
const KINDS: [(&str, &str, &str); 8] = [
    ("key", "keys/", ".age"),
    ("payload", "", ".agev"),
    ("index", "index/", ".zst"),
    ("sessions", "sessions/", ".zst"),
    ("digest", "chain/default/gw/", ".json"),
    ("signature", "chain/default/gw/", ".sig"),
    ("erasure", "chain/default/eraser/", ""),
    ("copies", "chain/default/rewrap/", ""),
];

/// A vault of two accounts, an erasure and copies of keys for another auditor, whose gateway has stopped.
struct Whole {
    site: Site,
    keys: Vec<VerifyKey>,
    erasers: Vec<VerifyKey>,
}

impl Whole {
    async fn new(seed: u64) -> Self {
        let mut site = Site::new(seed);
        for n in 0..4 {
            site.send("default", &format!("s{}", n % 3), &format!("text {n}"));
            site.minutes(1).await;
        }
        site.send("team", "s0", "another account's");
        // sessions are over after an hour without a line
        site.clock.advance(Duration::from_secs(2 * 3600));
        site.minutes(2).await;
        assert!(site.uploader.drain().await);
        let desk = Desk::of(&site, None);
        desk.erase(&site, "s2").await;
        let copier = SigningKey::generate("rewrap.test", &SeededRng::new(seed)).expect("key");
        let copier = SigningKey::from_secret(&copier).expect("key");
        let teller = Teller { key: &copier, before: &[], writer: "rewrap" };
        let which = Which { account: Some("default".into()), session: Some("s0".into()), ..Which::default() };
        let (auditors, to) = ([site.auditor.clone()], [age::x25519::Identity::generate().to_public()]);
        let done = rewrap(&desk.place, &auditors, &to, &which, &teller, site.clock.now()).await.expect("copied");
        assert_eq!(done.told, 1);
        site.clock.advance(Duration::from_secs(3600));
        let keys = vec![signing_key().public().clone(), desk.chain_key(), copier.public().clone()];
        Self { erasers: desk.erasers(), keys, site }
    }

    async fn verify(&self, auditor: bool) -> Report {
        let auditors = if auditor { vec![self.site.auditor.clone()] } else { Vec::new() };
        let (keys, erasers) = (self.keys.clone(), self.erasers.clone());
        self.site.verify(Options { keys, erasers, auditors, ..Options::default() }).await
    }

    fn objects(&self) -> Vec<(String, Bytes)> {
        self.site.store.0.lock().iter().map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
    }

    fn put(&self, objects: &[(String, Option<Bytes>)]) {
        let mut store = self.site.store.0.lock();
        for (name, bytes) in objects {
            match bytes {
                Some(bytes) => drop(store.insert(name.clone(), bytes.clone())),
                None => drop(store.remove(name)),
            }
        }
    }

    /// Applies a change and takes it back; gives it in words where nobody told of it.
    async fn untold(&self, what: &str, changed: Vec<(String, Option<Bytes>)>) -> Option<String> {
        let before: Vec<(String, Option<Bytes>)> = {
            let store = self.site.store.0.lock();
            changed.iter().map(|(name, _)| (name.clone(), store.get(name).cloned())).collect()
        };
        if before == changed {
            return None;
        }
        self.put(&changed);
        let mut untold = Vec::new();
        for auditor in [false, true] {
            let report = self.verify(auditor).await;
            // what an epoch that goes on may still name is told, and no failure: here all have ended
            if report.verified {
                untold.push(if auditor { "with the auditor's key" } else { "without a key" });
            }
        }
        self.put(&before);
        (!untold.is_empty()).then(|| format!("{what}: {} {}", changed[0].0, untold.join(", ")))
    }
}

/// Changes every object in every way, and `flips` random bytes of each; gives what nobody told of.
async fn untold(flips: usize) -> (Vec<String>, usize) {
    let (whole, strangers) = (Whole::new(31).await, Whole::new(32).await);
    let report = whole.verify(true).await;
    assert!(report.verified && report.findings.iter().all(|one| one.code == "no_digest"), "{}", report.text());
    let (objects, foreign) = (whole.objects(), strangers.objects());
    let (mut untold, mut count, rng) = (Vec::new(), 0, SeededRng::new(told("TOLLGATE_SEED").unwrap_or(33)));
    for (kind, start, end) in KINDS {
        let own = |(name, _): &&(String, Bytes)| {
            let payload = kind == "payload";
            name.starts_with(start) && name.ends_with(end) && (!payload || name.ends_with(".agev"))
        };
        let of_kind: Vec<&(String, Bytes)> = objects.iter().filter(own).collect();
        assert!(of_kind.len() > 1, "{kind}: {of_kind:?}");
        let theirs = foreign.iter().find(own).map(|(_, bytes)| bytes).expect("a stranger's");
        for (at, (name, bytes)) in of_kind.iter().copied().enumerate() {
            let other = of_kind.get((at + 1) % of_kind.len()).map(|(name, bytes)| (name.as_str(), bytes));
            let change = Change { name, bytes, other, strangers: theirs };
            for (way, make) in WAYS {
                let Some(changed) = make(&change) else { continue };
                count += 1;
                untold.extend(whole.untold(&format!("{kind} {way}"), changed).await);
            }
            for _ in 0..flips {
                let mut flipped = bytes.to_vec();
                let (place, bit) = (rng.next() as usize % bytes.len(), 1 << (rng.next() % 8));
                flipped[place] ^= bit;
                count += 1;
                let what = format!("{kind} flipped at {place} by {bit}");
                untold.extend(whole.untold(&what, vec![(name.clone(), Some(flipped.into()))]).await);
            }
        }
    }
    (untold, count)
}

/// No object of a vault can be changed, removed, replaced, swapped or copied elsewhere without a word of `verify`, with an
/// auditor's key and without.
#[tokio::test]
async fn every_change_of_every_object_is_told() {
    let flips = told("TOLLGATE_FLIPS").and_then(|flips| usize::try_from(flips).ok()).unwrap_or(FLIPS);
    let (untold, count) = untold(flips).await;
    assert!(count > 400, "{count}");
    assert!(untold.is_empty(), "{} of {count} untold:\n{}", untold.len(), untold.join("\n"));
}
