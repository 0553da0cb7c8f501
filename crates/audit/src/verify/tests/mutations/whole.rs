//! A vault with objects of every kind that the code writes, and earlier objects of their names.

use std::collections::BTreeMap;

use super::*;
use crate::erase::tests::Desk;
use crate::erase::{TargetQuery, request::ContentTarget};
use crate::hold::apply_hold;
use crate::location::WritableVault;
use crate::openings::tests::Openers;
use crate::rewrap::tests::{Copier, of_default};
use vault::object_names::{ObjectLayout, is_payload};
use vault::store::{ErasePredicate, VaultEraser};

/// Every kind of object.
pub(super) const KINDS: [&str; 15] = [
    "key",
    "key stored beside, or copied",
    "payload",
    "payload stored beside",
    "packed payload",
    "payload of a turn",
    "index",
    "index of erasures, copies and openings",
    "sessions",
    "digest",
    "signature",
    "erasure",
    "copies",
    "opening",
    "hold",
];

/// The kind of an object, by its name.
pub(super) fn kind_of(name: &str) -> Option<&'static str> {
    let (folder, file) = name.rsplit_once('/')?;
    let parts: Vec<&str> = folder.split('/').collect();
    let gateways = file.starts_with("gw-");
    Some(match parts[..] {
        ["keys", _, _, _, _] if file.contains('-') => "key stored beside, or copied",
        ["keys", _, _, _, _] => "key",
        ["holds", _, _, _] => "hold",
        ["index", "v1", _, _] if gateways => "index",
        ["index", "v1", _, _] => "index of erasures, copies and openings",
        ["sessions", "v1", _, _] => "sessions",
        ["chain", _, "eraser", _] => "erasure",
        ["chain", _, "rewrap", _] => "copies",
        ["chain", _, "openings", _] => "opening",
        ["chain", _, "gw", _] if file.ends_with(".sig") => "signature",
        ["chain", _, "gw", _] => "digest",
        ["packed", _, _, _] => "packed payload",
        _ if file.ends_with(".json.age") => "payload of a turn",
        _ if is_payload(name) && file.matches('.').count() > 1 => "payload stored beside",
        _ if is_payload(name) => "payload",
        _ => return None,
    })
}

/// A vault of two accounts whose gateway has stopped: three layouts, taken names, an erasure that digests name, key
/// copies for another auditor, openings, a hold in force and a released one.
pub(super) struct Whole {
    pub(super) site: Site,
    /// Its objects.
    pub(super) objects: BTreeMap<String, Bytes>,
    /// The objects at earlier times.
    pub(super) earlier: Vec<BTreeMap<String, Bytes>>,
    pub(super) keys: Vec<VerifyKey>,
    erasers: Vec<VerifyKey>,
    openers: Vec<VerifyKey>,
}

/// A store like a folder's, in which hold notes decide what is held.
struct ByNotes;

impl VaultEraser for ByNotes {
    fn is_on_hold<'a>(&'a self, _: ObjectKind, _: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async { Ok(true) })
    }

    fn destroy<'a>(&'a self, _: &'a str, _: &'a ErasePredicate<'a>) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async { Ok(0) })
    }
}

impl Whole {
    pub(super) async fn new(seed: u64) -> Self {
        let mut site = Site::new(seed);
        let mut earlier = Vec::new();
        let taken = Self::first_epoch(&mut site).await;
        earlier.push(site.store.0.lock().clone());
        let desk = Desk::of(&site, None);
        desk.erase(&site, "s2").await;
        desk.report(&site, &site.name(&["chain/default/eraser/", "0000000001.json"]));
        site.minutes(1).await;
        earlier.push(site.store.0.lock().clone());
        for (layout, session) in [(ObjectLayout::Packed, "s0"), (ObjectLayout::Turn, "s1")] {
            assert!(site.uploader.drain().await);
            site.layout = layout;
            site.restart(1000);
            site.send("default", session, "later");
            site.send("default", "s3", "by another");
            site.send("team", "s0", "another account's");
            site.minutes(3).await;
        }
        assert!(site.uploader.drain().await);
        let (copier, openers) = (Copier::of(&site), Openers::of(&site, None));
        let late = age::x25519::Identity::generate();
        assert!(copier.copy_for(&late, &of_default(Some("s0"))).await.expect("copied").newly_listed > 0);
        for nonce in [1, 2] {
            let file = openers.signed(&openers.request(&site, nonce));
            openers.record(&site, &file, &[age::x25519::Identity::generate()]).await.expect("recorded");
        }
        Self::held(&site, "s1", true).await;
        Self::held(&site, "s0", true).await;
        earlier.push(site.store.0.lock().clone());
        Self::held(&site, "s0", false).await;
        taken.iter().for_each(|name| site.remove(name));
        site.clock.advance(Duration::from_secs(3600));
        let keys = [copier.keys(), vec![desk.chain_key(), openers.chain_key()]].concat();
        let objects = site.store.0.lock().clone();
        Self { objects, earlier, erasers: desk.erasers(), openers: openers.keys(), keys, site }
    }

    /// Names that were taken beforehand: the gateway's own objects have alternative names.
    async fn first_epoch(site: &mut Site) -> Vec<String> {
        let mut taken = Vec::new();
        for n in 0..5 {
            site.send("default", &format!("s{}", n % 3), &format!("text {n}"));
            if n < 2 {
                let key = super::super::keys::waiting(site).pop().expect("a key");
                let folder = key.trim_start_matches("keys/").rsplit_once('/').expect("a folder").0.to_owned();
                taken.extend([format!("{folder}/gw-E0000-{n:010}.agev"), key]);
            }
        }
        taken.iter().for_each(|name| site.plant(name, "taken"));
        site.send("team", "s0", "another account's");
        site.minutes(3).await;
        site.send("default", "s1", "text 5");
        site.send("default", "s4", "text 6");
        site.minutes(3).await;
        // sessions are over after an hour without a line
        site.clock.advance(Duration::from_secs(2 * 3600));
        site.minutes(2).await;
        taken
    }

    async fn held(site: &Site, session: &str, set: bool) {
        let place = WritableVault { eraser: Arc::new(ByNotes), ..Desk::of(site, None).place };
        let what = ContentTarget::Session(session.to_owned());
        let asked = TargetQuery { target: what, account: Some("default".to_owned()), tenant: None };
        apply_hold(&place, &asked, set, ("auditor", "case 7"), site.clock.now(), &site.rng).await.expect("held");
    }

    pub(super) async fn verify(&self, ground: &Ground, auditor: bool) -> VerifyReport {
        let options = VerifyOptions {
            keys: self.keys.clone(),
            erasers: self.erasers.clone(),
            openers: self.openers.clone(),
            auditors: if auditor { vec![self.site.auditor.clone()] } else { Vec::new() },
            now: ground.now(self),
            ..VerifyOptions::default()
        };
        verify(&ground.vault(), &options, &mut |_| {}).await.expect("verified")
    }

    /// Names of a kind, including those of earlier times.
    pub(super) fn of_kind(&self, kind: &str) -> Vec<String> {
        let all = self.earlier.iter().chain([&self.objects]).flat_map(BTreeMap::keys);
        let own: BTreeSet<&String> = all.filter(|name| kind_of(name) == Some(kind)).collect();
        own.into_iter().cloned().collect()
    }

    /// Earlier objects of a name that are no longer there.
    pub(super) fn older(&self, name: &str) -> Vec<Bytes> {
        let now = self.objects.get(name);
        self.earlier.iter().filter_map(|then| then.get(name)).filter(|then| Some(*then) != now).cloned().collect()
    }

    /// All objects of a kind as they were at each earlier time.
    pub(super) fn rolled_back(&self, kind: &str) -> Vec<Deeds> {
        let names = self.of_kind(kind);
        let at = |then: &BTreeMap<String, Bytes>| {
            let changed = names.iter().filter(|name| then.get(*name) != self.objects.get(*name));
            let deed = |name: &String| then.get(name).map_or(Deed::Delete, |bytes| Deed::Write(bytes.clone()));
            changed.map(|name| (name.clone(), vec![deed(name)])).collect()
        };
        self.earlier.iter().map(at).collect()
    }
}
