//! An anchor that was kept elsewhere, changed in every way: it proves nothing, and this is reported.

use super::*;

/// The anchor of a vault at its current time.
async fn anchor_of(whole: &Whole, key: &SigningKey) -> String {
    let options = VerifyOptions { keys: whole.keys.clone(), ..chain_only() };
    anchor::make(&whole.site.verify(options).await.heads, &rfc3339(whole.site.clock.now()), key)
}

/// No byte of an anchor can be changed, and no other anchor substituted, unnoticed; an older one is no change
/// (`undetected_an_anchor_kept_back`).
#[tokio::test]
async fn every_change_of_an_anchor_is_told() {
    let (whole, strangers, own) = (Whole::new(45).await, Whole::new(46).await, key("anchor.test", 1));
    let text = anchor_of(&whole, &own).await;
    let mut changed = vec![
        ("another's vault", anchor_of(&strangers, &own).await),
        ("another's key", anchor_of(&whole, &key("anchor.test", 2)).await),
        ("half", text[..text.len() / 2].to_owned()),
        ("empty", String::new()),
        ("longer", format!("{text}x")),
        ("a line more", text.replacen('\n', "\n{}\n", 1)),
        ("a line less", text.split_once('\n').expect("lines").1.to_owned()),
    ];
    let rng = SeededRng::new(number("TOLLGATE_SEED").unwrap_or(47) as u64);
    let object = [("anchor".to_owned(), Bytes::from(text.clone()))];
    for (_, bytes, place) in places(&object, number("TOLLGATE_PLACES").unwrap_or(60), &rng) {
        let mut flipped = bytes.to_vec();
        flipped[place] ^= 1 << (rng.next() % 7);
        // a file that is not text is refused earlier
        changed.extend(String::from_utf8(flipped).ok().map(|text| ("flipped", text)));
    }
    let verified = async |text: &str| {
        let (anchors, anchor_keys) = (vec![text.to_owned()], vec![own.public().clone()]);
        let options = VerifyOptions { keys: whole.keys.clone(), anchors, anchor_keys, ..chain_only() };
        whole.site.verify(options).await.verified
    };
    assert!(verified(&text).await);
    let mut untold = Vec::new();
    for (what, text) in changed {
        if verified(&text).await {
            untold.push(format!("{what}: {text}"));
        }
    }
    assert!(untold.is_empty(), "{}", untold.join("\n"));
}
