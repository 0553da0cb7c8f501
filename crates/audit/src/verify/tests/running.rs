//! A vault whose gateway writes while it is verified.

use super::*;
use crate::location::VaultLocation;
use crate::testing::site::{Layer, Over};

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
        let bytes = site.store.0.lock()[name].clone();
        serde_json::from_slice::<ChainDigest>(&bytes).expect("a digest").index.map_or(0, |index| index.first_leaf)
    };
    let of_team = |name: &&String| name.starts_with("chain/team/") && name.ends_with(".json");
    let digests: Vec<String> = site.store.0.lock().keys().filter(of_team).cloned().collect();
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
    let report = site.verify(VerifyOptions::default()).await;
    assert!(!report.verified && report.finding_counts.contains_key("unreferenced"), "{}", report.text());
}

/// A store to which a gateway writes a key right after keys were listed.
struct Growing {
    store: Arc<Memory>,
    late: String,
}

impl Over for Growing {
    fn under(&self) -> &Memory {
        &self.store
    }

    fn list<'a>(&'a self, kind: ObjectKind, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let mut names = VaultReader::list(self.under(), kind, prefix).await?;
            names.retain(|name| prefix != "keys/" || *name != self.late);
            Ok(names)
        })
    }
}

/// A key written between the listing of keys and that of the bucket is not reported as an unknown object, whether the
/// keys' bucket is named or not.
#[tokio::test]
async fn keys_that_come_meanwhile_are_not_unreferenced() {
    let mut site = Site::new(52);
    site.send("default", "s0", "text");
    site.minutes(4).await;
    let late = "keys/default/acme/s9/2026-11-20/0123456789abcdef.age".to_owned();
    site.store.0.lock().insert(late.clone(), Bytes::from_static(b"a key"));
    for keys in [None, Some("s3://vault".to_owned())] {
        let location = VaultLocation { store: "s3://vault".to_owned(), keys, ..VaultLocation::default() };
        let mut vault = Vault::from_location(&location).expect("a vault");
        vault.reader = Arc::new(Layer(Growing { store: site.store.clone(), late: late.clone() }));
        let options = VerifyOptions {
            keys: vec![signing_key().public().clone()],
            now: site.clock.now(),
            ..VerifyOptions::default()
        };
        let report = verify(&vault, &options, &mut |_| {}).await.expect("verified");
        assert!(report.verified && !report.finding_counts.contains_key("unreferenced"), "{}", report.text());
    }
}
