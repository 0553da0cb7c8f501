//! A vault whose gateway writes while it is verified.

use super::*;
use crate::location::VaultLocation;

/// Stored objects that a running gateway has not named yet are no failure, judged by each account's own numbers: an
/// account with fewer lines than another, and a new one. After the end of the epoch no more objects may appear.
#[tokio::test]
async fn accounts_are_numbered_apart() {
    let mut site = Site::new(51);
    for n in 0..4 {
        site.send("default", "s0", &format!("text {n}"));
    }
    site.send("team", "t", "the first");
    site.minutes(4).await;
    site.send("team", "t", "the second");
    site.minutes(4).await;
    assert!(site.verify(VerifyOptions::default()).await.verified);
    let named = |name: &str| -> u64 {
        let digest: ChainDigest = serde_json::from_slice(&site.object(name)).expect("a digest");
        digest.index.map_or(0, |index| index.first_leaf)
    };
    let mut digests = site.names("chain/team/");
    digests.retain(|name| name.ends_with(".json"));
    let second = digests.iter().position(|name| named(name) == 2).expect("the second line's");
    for from in [second, 0] {
        // a new account has its first lines there, and no others
        if from == 0 {
            site.remove(&site.name(&["index/v1/account=team/", "0000000002"]));
        }
        for name in &digests[from..] {
            for end in ["", ".sig"] {
                site.store.0.lock().remove(&format!("{name}{end}"));
            }
        }
        let report = site.verify(VerifyOptions::default()).await;
        let odd: Vec<&str> =
            report.findings.iter().map(|one| one.code).filter(|code| *code != "not_yet_referenced").collect();
        assert!(report.verified && odd.is_empty(), "from {from}: {}", report.text());
    }
    assert!(site.uploader.drain().await);
    site.verify(VerifyOptions::default()).await.assert_failed("unreferenced");
}

/// A key written between the listing of keys and that of the bucket is not reported as an unknown object, whether the
/// keys' bucket is named or not.
#[tokio::test]
async fn keys_that_come_meanwhile_are_not_unreferenced() {
    let site = Site::of_session(52, "text", 4).await;
    let late = "keys/default/acme/s9/2026-11-20/0123456789abcdef.age";
    site.plant(late, "a key");
    for keys in [None, Some("s3://vault".to_owned())] {
        let location = VaultLocation { store: "s3://vault".to_owned(), keys, ..VaultLocation::default() };
        let mut vault = Vault::from_location(&location).expect("a vault");
        // a gateway writes the key right after keys were listed
        let (mut reader, hidden) = (Altered::new(&site.store), late.to_owned());
        reader.lists = Box::new(move |_, prefix, mut names| {
            names.retain(|name| prefix != "keys/" || *name != hidden);
            Ok(names)
        });
        vault.reader = Arc::new(reader);
        let report = site.verify_in(&vault, VerifyOptions::default()).await;
        assert!(report.verified && !has(&report, "unreferenced"), "{}", report.text());
    }
}
