use super::*;

const HOUR: u64 = 3_600_000_000_000;

fn key(n: u64) -> ClaimKey {
    ClaimKey::from_parts(&[b"default", &n.to_le_bytes()])
}

fn batch(n: u8) -> [u8; 16] {
    [n; 16]
}

fn saved(claims: &Claims) -> Vec<u8> {
    let mut out = Vec::new();
    claims.save(&mut out);
    out
}

/// The second claim of a key must not count, in the same batch or another. Claims of a batch must be released when it
/// is not committed, and only then.
#[test]
fn a_key_is_claimed_once_and_discard_frees_it() {
    let claims = Claims::default();
    let claim = |n, by| claims.claim(key(n), &batch(by), UnixNanos(5));
    assert_eq!((claim(1, 1), claim(2, 2)), (ClaimResult::First, ClaimResult::First));
    assert_eq!((claim(1, 1), claim(2, 1)), (ClaimResult::ClaimedBy(batch(1)), ClaimResult::ClaimedBy(batch(2))));
    claims.settle(&batch(2), UnixNanos(5), [key(2)]);
    claims.discard(&batch(1));
    claims.discard(&batch(2));
    assert_eq!((claim(1, 3), claim(2, 3)), (ClaimResult::First, ClaimResult::ClaimedBy(batch(2))));
}

/// A restart must keep the claims of committed batches, and none of batches that were in flight. A key that was claimed
/// but is not among the settled ones must not stay claimed after the commit.
#[test]
fn only_settled_claims_are_saved() {
    let claims = Claims::default();
    claims.claim(key(1), &batch(1), UnixNanos(5));
    claims.claim(key(2), &batch(2), UnixNanos(7));
    claims.claim(key(3), &batch(1), UnixNanos(5));
    claims.settle(&batch(1), UnixNanos(5), [key(1)]);
    assert_eq!([1, 3].map(|n| claims.holder(key(n))), [Some(batch(1)), None]);
    let restored = Claims::default();
    assert!(restored.load(&saved(&claims)));
    assert_eq!(restored.len(), 1);
    assert_eq!(restored.holder(key(1)), Some(batch(1)));
    restored.settle(&batch(2), UnixNanos(7), [key(2)]);
    assert_eq!(restored.claim(key(2), &batch(3), UnixNanos(8)), ClaimResult::ClaimedBy(batch(2)));
}

/// A damaged checkpoint must give an empty set, not a wrong one.
#[test]
fn damaged_saves_are_refused() {
    let claims = Claims::default();
    claims.settle(&batch(1), UnixNanos(5), [key(1)]);
    let whole = saved(&claims);
    let restored = Claims::default();
    assert!(!restored.load(&[]));
    assert!(!restored.load(&whole[..whole.len() - 1]));
    assert!(!restored.load(&[9]));
    assert!(restored.is_empty());
}

/// Keys must live for an hour, and not for ever.
#[test]
fn keys_live_between_one_and_two_hours() {
    let claims = Claims::default();
    claims.settle(&batch(1), UnixNanos(10), [key(1)]);
    claims.settle(&batch(1), UnixNanos(HOUR), [key(2)]);
    claims.expire(UnixNanos(HOUR + 10));
    assert_eq!((claims.len(), claims.forgotten()), (2, 0));
    claims.expire(UnixNanos(2 * HOUR + 10));
    assert_eq!((claims.len(), claims.forgotten()), (0, 2));
    claims.settle(&batch(1), UnixNanos(10), [key(1)]);
    claims.expire(UnixNanos(9 * HOUR));
    assert_eq!((claims.len(), claims.forgotten()), (0, 3));
}

/// Memory must stay within the limit, and what is dropped must be counted.
#[test]
fn the_number_of_keys_is_bounded() {
    let claims = Claims::new(KEEP, 100);
    for n in 0..1000 {
        claims.settle(&batch(1), UnixNanos(n), [key(n)]);
        assert!(claims.len() <= 100);
    }
    assert_eq!(claims.len() as u64 + claims.forgotten(), 1000);
    assert!(claims.holder(key(999)).is_some());
    assert!(claims.holder(key(950)).is_some(), "the younger half is always kept");
}

/// Parts must not run together: ("a","bc") is another key than ("ab","c").
#[test]
fn parts_are_separated() {
    assert!(ClaimKey::from_parts(&[b"a", b"bc"]) != ClaimKey::from_parts(&[b"ab", b"c"]));
}

/// Batches that are refused for hours, such as while the disk is full, must leave nothing behind.
#[test]
fn refused_batches_take_no_memory() {
    let claims = Claims::default();
    for n in 0..1000_u64 {
        let mut refused = [0; 16];
        refused[..8].copy_from_slice(&n.to_le_bytes());
        claims.claim(key(n % 3), &refused, UnixNanos(n));
        claims.claim(key(7), &refused, UnixNanos(n));
        claims.discard(&refused);
    }
    let tables = claims.tables.lock();
    assert_eq!((tables.young.keys.len(), tables.young.batches.len(), tables.young.positions.len()), (0, 1, 0));
}

/// A generation may fill up while a batch is processed; then its keys are in two, and it must keep what it settles.
#[test]
fn claims_survive_a_new_generation() {
    let claims = Claims::new(KEEP, 4);
    claims.claim(key(1), &batch(1), UnixNanos(1));
    claims.claim(key(2), &batch(2), UnixNanos(1));
    claims.claim(key(3), &batch(1), UnixNanos(1));
    claims.settle(&batch(1), UnixNanos(1), [key(1), key(3)]);
    claims.discard(&batch(2));
    assert_eq!([1, 2, 3].map(|n| claims.holder(key(n))), [Some(batch(1)), None, Some(batch(1))]);
}

/// A checkpoint of the version before, which named the batch beside each key, is still read.
#[test]
fn version_1_is_read() {
    let mut saved = vec![1];
    for (n, holder) in [(1, batch(1)), (2, batch(2))] {
        saved.extend_from_slice(&key(n).to_bytes());
        saved.extend_from_slice(&holder);
        saved.extend_from_slice(&5_u64.to_le_bytes());
    }
    let claims = Claims::default();
    assert!(claims.load(&saved));
    assert_eq!([1, 2, 3].map(|n| claims.holder(key(n))), [Some(batch(1)), Some(batch(2)), None]);
    assert!(!claims.load(&saved[..saved.len() - 1]) && claims.is_empty());
}
