//! Copies of keys for later auditors: who can make one, for whom, and which objects pass for one.

use age::x25519::Identity;

use super::*;
use crate::erase::tests::{Desk, key, site};
use crate::testing::site::Site;
use crate::verify::VerifyOptions;
use kernel::clock::Clock as _;
use vault::chain::note::{SigningKey, VerifyKey};
use vault::recipients::PolicyRecipient;
use vault::testing::journal::signing_key;

/// Someone who copies keys in a site.
pub(crate) struct Copier {
    pub(crate) desk: Desk,
    pub(crate) key: SigningKey,
    pub(crate) auditors: Vec<Identity>,
    pub(crate) now: UnixNanos,
}

impl Copier {
    pub(crate) fn of(site: &Site) -> Self {
        let (desk, auditors) = (Desk::of(site, None), vec![site.auditor.clone()]);
        Self { desk, key: key("rewrap.test", 51), auditors, now: site.clock.now() }
    }

    pub(crate) async fn copy(&self, to: &RecipientPolicy, which: &KeySelection) -> Result<RewrapSummary, ReadError> {
        let signer = LedgerSigner { key: &self.key, earlier_keys: &[], writer: "rewrap" };
        rewrap(&self.desk.place, &self.auditors, to, which, &signer, self.now).await
    }

    pub(crate) async fn copy_for(&self, late: &Identity, which: &KeySelection) -> Result<RewrapSummary, ReadError> {
        self.copy(&RecipientPolicy::unlimited([late.to_public()]), which).await
    }

    /// The gateway's public key, and that of the copies' chain.
    pub(crate) fn keys(&self) -> Vec<VerifyKey> {
        vec![signing_key().public().clone(), self.key.public().clone()]
    }
}

/// The keys of the account `default`, of one session or all.
pub(crate) fn of_default(session: Option<&str>) -> KeySelection {
    let session = session.map(str::to_owned);
    KeySelection { account: Some("default".to_owned()), session, ..KeySelection::default() }
}

/// A run that finds its copy.
fn present(keys: u64) -> RewrapSummary {
    RewrapSummary { keys, already_present: keys, ..RewrapSummary::default() }
}

/// A later auditor opens earlier content, with tollgate and with the key object alone; the same copy is not made twice;
/// someone without a key can't make one; an erasure destroys copies too.
#[tokio::test]
async fn a_later_auditor_opens_what_was_written_before() {
    let site = site().await;
    let (copier, all) = (Copier::of(&site), of_default(None));
    let (new, nobody) = (Identity::generate(), Identity::generate());
    let opened = async |identity: &Identity| {
        let (keys, auditors) = (copier.keys(), vec![identity.clone()]);
        let report = site.verify(VerifyOptions { keys, auditors, ..VerifyOptions::default() }).await.assert_verified();
        report.counts.opened
    };
    assert_eq!(opened(&new).await, 0);
    let none = Copier { auditors: vec![nobody], ..Copier::of(&site) }.copy_for(&new, &all).await.expect("nothing");
    assert_eq!((none.keys, none.written, none.failed.len()), (2, 0, 2), "{:?}", none.failed);
    let done = copier.copy_for(&new, &all).await.expect("done");
    assert_eq!(done, RewrapSummary { keys: 2, written: 2, newly_listed: 2, ..RewrapSummary::default() });
    assert_eq!(copier.copy_for(&new, &all).await.expect("done"), present(2));
    assert_eq!((opened(&new).await, opened(&site.auditor).await), (4, 8), "the other account's stay closed");
    let later = KeySelection { since: Some("2027-01-01".to_owned()), ..of_default(Some("s0")) };
    assert_eq!(copier.copy_for(&new, &later).await.expect("none").keys, 0);
    assert_eq!(copier.desk.erase(&site, "s0").await.objects, 2);
}

/// Copies of the keys of an account whose folder is encoded are listed in that account's chain; a folder that no
/// account has is refused. (Seen red: the chain was below `chain/%2569ndex`.)
#[tokio::test]
async fn copies_are_listed_in_their_accounts_chain() {
    let mut site = Site::new(44);
    site.send("index", "s0", "text");
    site.minutes(3).await;
    assert!(site.uploader.drain().await);
    let (copier, to) = (Copier::of(&site), Identity::generate());
    let done = copier.copy_for(&to, &KeySelection::default()).await.expect("done");
    assert!(done.newly_listed == 1, "{done:?}");
    site.name(&["chain/%69ndex/rewrap/"]);
    let options = VerifyOptions { keys: copier.keys(), account: Some("index".to_owned()), ..VerifyOptions::default() };
    site.verify(options).await.assert_that(|report| report.verified && report.counts.epochs == 2);
    site.plant("keys/%zz/acme/s0/2026-11-20/0123456789abcdef.age", "junk");
    let done = copier.copy_for(&to, &KeySelection::default()).await.expect("done");
    assert!(done.failed.len() == 1 && done.failed[0].contains("no account has such a folder"), "{:?}", done.failed);
}

/// Copies for configured recipients keep their limits: a recipient gets no copy of a key that it may not open, and a
/// key without a permitted recipient is reported.
#[tokio::test]
async fn copies_keep_the_limits_of_recipients() {
    let site = site().await;
    let (all, other_tenant) = (Identity::generate(), Identity::generate());
    let names = |name: &str| Some([name.to_owned()].into());
    let to = RecipientPolicy::new(vec![
        PolicyRecipient { key: all.to_public(), accounts: names("default"), tenants: None },
        PolicyRecipient { key: other_tenant.to_public(), accounts: names("default"), tenants: names("globex") },
    ]);
    let done = Copier::of(&site).copy(&to, &KeySelection::default()).await.expect("done");
    assert_eq!((done.keys, done.written, done.failed.len()), (3, 2, 1), "{:?}", done.failed);
    assert!(done.failed.iter().all(|why| why.ends_with("no recipient may open its account and tenant")));
    let opens = |identity: &Identity| {
        let opened = |name: &String| age::decrypt(identity, &site.object(name)).is_ok();
        let names = site.names("keys/").into_iter().filter(opened);
        names.map(|name| name.split('/').nth(1).expect("an account").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(opens(&all), ["default", "default"]);
    assert!(opens(&other_tenant).is_empty(), "the keys are of another tenant");
}

/// An object in a copy's place is neither counted as the copy nor signed into the chain, whatever it is: junk, any age
/// file with a stanza, the key object itself (which opens for the person who copies), a copy for another key. A copy
/// is written beside it, which the later auditor opens and the next run finds. Fails if a form is taken as proof.
#[tokio::test]
async fn a_planted_copy_is_not_signed() {
    let late = Identity::generate();
    let stranger = Identity::generate().to_public();
    let tag = &kernel::hex::encode(&Sha256::digest(late.to_public().to_string()))[..8];
    let sealed = |to| vault::seal::seal_identity(&Identity::generate(), &[to]).expect("sealed");
    for kind in 0..4 {
        let site = site().await;
        let (copier, which) = (Copier::of(&site), of_default(Some("s0")));
        let own = site.name(&["keys/default/acme/s0/", ".age"]);
        let planted = own.replace(".age", &format!("-{tag}.age"));
        let object = match kind {
            0 => sealed(late.to_public()),
            1 => site.object(&own).to_vec(),
            2 => sealed(stranger.clone()),
            _ => b"junk".to_vec(),
        };
        site.plant(&planted, object);
        let done = copier.copy_for(&late, &which).await.expect("done");
        assert_eq!((done.written, done.already_present, done.newly_listed), (1, 0, 1), "{kind}: {:?}", done.failed);
        assert!(done.failed.iter().any(|why| why.starts_with(&planted)), "{kind}: {:?}", done.failed);
        let (keys, auditors) = (copier.keys(), vec![late.clone()]);
        let report = site.verify(VerifyOptions { keys, auditors, ..VerifyOptions::default() }).await;
        assert!(!report.verified && report.finding_counts.contains_key("unreferenced"), "{kind}: {}", report.text());
        assert_eq!(report.counts.opened, 2, "{kind}: {}", report.text());
        assert_eq!(copier.copy_for(&late, &which).await.expect("done"), present(1));
    }
}

/// A copy that a run wrote before it crashed is recognised by its name, although the chain does not list it yet: it is
/// then listed, and no second copy is made.
#[tokio::test]
async fn a_copy_of_a_run_that_died_is_told_by_the_next() {
    let (site, late, which) = (site().await, Identity::generate(), of_default(Some("s0")));
    let dying = Copier { desk: Desk::of(&site, Some(1)), ..Copier::of(&site) };
    assert!(dying.copy_for(&late, &which).await.is_err());
    let copier = Copier::of(&site);
    let done = copier.copy_for(&late, &which).await.expect("done");
    assert_eq!(done, RewrapSummary { newly_listed: 1, ..present(1) });
    let (keys, auditors) = (copier.keys(), vec![late]);
    let report = site.verify(VerifyOptions { keys, auditors, ..VerifyOptions::default() }).await;
    assert!(report.verified && report.counts.opened == 2, "{}", report.text());
}
