//! Limits on the reader's memory that a writer can use up, with index objects that are small in stored form.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::row;
use crate::read::payload_fetch::FragmentHashes;
use crate::read::{FindResult, IndexQuery, Vault, find_signed, index};
use crate::signed_index::SignedIndex;
use crate::testing::site::Site;
use kernel::sha256::Sha256;
use vault::testing::journal::signing_key;

const PLANTED: &str = "index/v1/account=default/dt=2026-11-20/gw-E0000-0000000100.ndjson.zst";

/// A vault with a session, and a line of it.
async fn site() -> (Site, Vault, String) {
    let site = Site::of_session(11, "what was said", 4).await;
    let name = site.name(&["index/"]);
    let line = index::unpack_lines(&name, &site.object(&name), true)
        .expect("lines")
        .lines()
        .next()
        .expect("a line")
        .to_owned();
    let vault = site.vault();
    (site, vault, line)
}

/// Plants `count` lines, each of its own session with an id of `id` bytes; returns the object's size.
pub(crate) fn plant(site: &Site, line: &str, count: usize, id: usize) -> usize {
    let one = |n: usize| {
        let session = format!("\"{}{n:03}\"", "0".repeat(id - 3));
        line.replacen("\"leaf\":0", &format!("\"leaf\":{}", 100 + n), 1).replace("\"s0\"", &session) + "\n"
    };
    let text: String = (0..count).map(one).collect();
    site.plant(PLANTED, zstd::bulk::compress(text.as_bytes(), 1).expect("zstd"));
    site.object(PLANTED).len()
}

fn kept(found: &FindResult) -> usize {
    found.sessions.iter().map(|(session, account)| session.len() + account.len()).sum()
}

/// An object of a few KB that unpacks to more than any gateway's unsigned object, and one with ids that no gateway
/// writes, are reported and keep no memory.
#[tokio::test]
async fn what_no_gateway_can_have_written_is_not_read() {
    let (site, vault, line) = site().await;
    let query = IndexQuery::default();
    let whole = find_signed(&vault, &query, None, &mut |_, _| {}).await.expect("found").0;
    let only = BTreeSet::from([("s0".to_owned(), "default".to_owned())]);
    assert_eq!((&whole.sessions, whole.unreadable.len()), (&only, 0));
    let keys = [signing_key().public().clone()];
    let signed = Arc::new(SignedIndex::read(&vault, &keys, None).await.expect("read"));
    for (count, id, why) in
        [(17, 4 << 20, "too large"), (2, 4 << 20, "2 lines are malformed"), (3, 1025, "3 lines are malformed")]
    {
        let size = plant(&site, &line, count, id);
        assert!(size < 64 << 10, "{size} bytes");
        let found = find_signed(&vault, &query, None, &mut |_, _| {}).await.expect("found").0;
        assert_eq!((found.lines, &found.sessions), (whole.lines, &only), "{why}");
        assert!(found.unreadable.len() == 1 && found.unreadable[0].contains(why), "{:?}", found.unreadable);
        let (own, others) = find_signed(&vault, &query, Some(&*signed), &mut |_, _| {}).await.expect("found");
        assert_eq!((own.lines, others.lines, others.sessions.len()), (whole.lines, 0, 0), "{why}");
    }
}

/// Session names are kept up to a bound, lower for unsigned lines; the excess is reported, and every line is shown.
#[tokio::test]
async fn names_of_sessions_are_bounded() {
    let (site, vault, line) = site().await;
    let query = IndexQuery::default();
    plant(&site, &line, 200, 1000);
    let found = find_signed(&vault, &query, None, &mut |_, _| {}).await.expect("found").0;
    let (kept_bytes, lines) = (kept(&found), found.lines);
    assert!(found.more_sessions && lines > 200 && kept_bytes <= 64 << 10, "{kept_bytes} of {lines}");
    let keys = [signing_key().public().clone()];
    let signed = Arc::new(SignedIndex::read(&vault, &keys, None).await.expect("read"));
    let (own, others) = find_signed(&vault, &query, Some(&*signed), &mut |_, _| {}).await.expect("found");
    assert_eq!((own.sessions.len(), own.more_sessions), (1, false));
    assert!(others.more_sessions && others.lines == 200 && kept(&others) <= 32 << 10, "{}", kept(&others));
}

/// Planted lines with overlapping places must not make a reader hash an object again for each; places without overlap
/// are all found.
#[test]
fn overlapping_places_are_hashed_a_bounded_number_of_times() {
    let bytes = vec![7_u8; 10_000];
    let hashes = |places: &[(u64, u64)]| {
        let mut hashes = FragmentHashes::default();
        for (off, len) in places {
            let mut line = row(1, "model", ("m", ""), "gpt", None);
            let range = *off as usize..(*off + *len) as usize;
            (line.off, line.tail.len) = (Some(*off), Some(*len));
            line.tail.ct_sha256 = Some(kernel::hex::encode(&Sha256::digest(&bytes[range])));
            hashes.add(&line);
        }
        hashes.find_matches(&bytes, 0).len()
    };
    let apart: Vec<(u64, u64)> = (0..1_000).map(|n| (n * 10, 10)).collect();
    assert_eq!(hashes(&apart), 1_000);
    let over: Vec<(u64, u64)> = (0..1_200).map(|n| (n / 20, 9_900 + n % 20)).collect();
    let found = hashes(&over);
    assert!((1_000..1_040).contains(&found), "{found}");
}
