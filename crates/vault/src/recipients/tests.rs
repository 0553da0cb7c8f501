//! Who may open what: a limit is never widened by a missing, unknown or mixed tenant.

use super::*;
use crate::key_ring::KeyRing;
use crate::object_names::FragmentScope;
use crate::seal::SealFailed;
use kernel::clock::UnixNanos;

fn key() -> age::x25519::Identity {
    age::x25519::Identity::generate()
}

fn names(names: &[&str]) -> Option<BTreeSet<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

fn named<'a>(account: &'a str, tenant: Option<&'a str>) -> ContentOwner<'a> {
    ContentOwner { account, tenant: ContentTenant::Named(tenant) }
}

fn scope(account: &str) -> Arc<FragmentScope> {
    let [account, tenant, session, date] = [account, "same", "s", "2026-11-20"].map(str::to_owned);
    Arc::new(FragmentScope { account, tenant, session, date })
}

/// One recipient for everything, one for an account, one for a tenant of it, one for content without a tenant.
fn policy() -> RecipientPolicy {
    let limited = |accounts, tenants| PolicyRecipient { key: key().to_public(), accounts, tenants };
    RecipientPolicy::new(vec![
        PolicyRecipient::unlimited(key().to_public()),
        limited(names(&["acme", "keys"]), None),
        limited(names(&["acme"]), names(&["red", "a/b"])),
        limited(names(&["acme"]), names(&[UNATTRIBUTED])),
    ])
}

/// Each recipient opens exactly what its limits allow.
#[test]
fn limits_are_kept() {
    let policy = policy();
    let mixed = ContentOwner { account: "acme", tenant: ContentTenant::Mixed };
    for (owner, expected) in [
        (named("acme", Some("red")), &[0, 1, 2][..]),
        (named("acme", Some("blue")), &[0, 1]),
        (named("acme", Some("Red")), &[0, 1]),
        (named("acme", Some("")), &[0, 1, 3]),
        (named("acme", None), &[0, 1, 3]),
        (named("globex", Some("red")), &[0]),
        (named("", None), &[0]),
        (mixed, &[0, 1]),
    ] {
        assert_eq!(&*policy.audience(owner).0, expected, "{}", owner.account);
    }
    // the same by the segments of an object's name; a pseudonym is no listed tenant
    for (names, expected) in [
        (["acme", "red", "s"], &[0, 1, 2][..]),
        (["acme", "a%2Fb", "s"], &[0, 1, 2]),
        (["acme", "h-0123456789abcdef0123456789abcdef", "s"], &[0, 1]),
        (["acme", UNATTRIBUTED, "s"], &[0, 1, 3]),
        (["acme", UNATTRIBUTED, QUARANTINE_SESSION], &[0, 1]),
        (["%6Beys", "red", "s"], &[0, 1]),
        (["keys", "red", "s"], &[0]),
    ] {
        let [account, tenant, session] = names;
        assert_eq!(&*policy.audience_of_names(account, tenant, session).0, expected, "{names:?}");
    }
    assert!(policy.covers("globex") && policy.covers_every_account());
    let limited = RecipientPolicy::new(policy.recipients[2..].to_vec());
    assert!(!limited.covers("acme") && !limited.covers_every_account(), "a tenant that is not listed has nobody");
}

/// Reports show the holders of an account only, and tenants in the form of index lines.
#[test]
fn holders_are_of_the_account() {
    let policy = policy();
    let shown = policy.holders("acme", |tenant| format!("<{tenant}>"));
    let tenants: Vec<_> = shown.of.iter().map(|holder| holder.tenants.clone()).collect();
    let listed = |names: &[&str]| Some(names.iter().map(|name| format!("<{name}>")).collect::<Vec<_>>());
    assert_eq!(tenants, [None, None, listed(&["a/b", "red"]), listed(&[UNATTRIBUTED])]);
    assert_eq!(policy.holders("globex", str::to_owned).of.len(), 1);
    let json = serde_json::to_string(&policy.holders("globex", str::to_owned)).expect("json");
    assert_eq!(json, format!("{{\"of\":[{{\"key\":\"{}\"}}]}}", policy.recipients[0].key));
    let together = RecipientPolicy::unlimited([key().to_public(), key().to_public()]).with_threshold(Some(2));
    let json = serde_json::to_string(&together.holders("globex", str::to_owned)).expect("json");
    assert!(json.starts_with("{\"threshold\":2,\"of\":["), "{json}");
    // a threshold that the audience can't reach seals nothing
    let generator = RecipientPolicy::unlimited([key().to_public()]).with_threshold(Some(2));
    assert!(KeyRing::new(Arc::new(generator), 1).key(&scope("globex"), named("globex", None), UnixNanos(0)).is_err());
}

/// A session key opens only with the secrets of its audience. The same names for another audience get another key, and
/// an account that nobody may open gets none.
#[test]
fn keys_are_sealed_to_their_audience() {
    let (all, red, acme) = (key(), key(), key());
    let policy = RecipientPolicy::new(vec![
        PolicyRecipient { key: acme.to_public(), accounts: names(&["acme"]), tenants: None },
        PolicyRecipient { key: red.to_public(), accounts: names(&["acme"]), tenants: names(&["red"]) },
        PolicyRecipient { key: all.to_public(), accounts: names(&["acme", "globex"]), tenants: None },
    ]);
    let ring = KeyRing::new(Arc::new(policy), 10);
    // two tenants whose names give one segment must not share a key
    let mut ids = BTreeSet::new();
    for (owner, opens) in [
        (named("acme", Some("red")), [true, true, true]),
        (named("acme", Some("blue")), [true, false, true]),
        (named("globex", Some("red")), [false, false, true]),
    ] {
        let key = ring.key(&scope("acme"), owner, UnixNanos(0)).expect("a key");
        let object = key.take_object().expect("the first use");
        assert_eq!([&acme, &red, &all].map(|identity| age::decrypt(identity, &object).is_ok()), opens);
        assert!(ids.insert(key.id().to_owned()));
        assert_eq!(ring.key(&scope("acme"), owner, UnixNanos(0)).expect("the same").id(), key.id());
    }
    let Err(failed) = ring.key(&scope("acme"), named("unknown", None), UnixNanos(0)) else {
        panic!("sealed to nobody")
    };
    assert_eq!(failed, SealFailed::NoRecipient);
}
