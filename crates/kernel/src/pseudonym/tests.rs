use super::*;

fn ids(key: &str) -> PlainIds {
    PlainIds(Pseudonymizer::new(&Secret::new(key.to_owned())))
}

/// An id has one form per key and account, and another under any other key or account.
#[test]
fn pseudonyms_are_keyed_by_key_and_account() {
    let one = ids("k1");
    let form = one.pseudonym("default", "ada@example.com");
    assert!(form.starts_with(PREFIX) && form.len() == 34);
    assert!(contains_pseudonym(&format!("by {form}.")) && !contains_pseudonym(&form[..33]));
    assert_eq!(form, ids("k1").pseudonym("default", "ada@example.com"));
    assert_ne!(form, one.pseudonym("other", "ada@example.com"));
    assert_ne!(form, ids("k2").pseudonym("default", "ada@example.com"));
    assert_ne!(form, one.pseudonym("default", "ada@example.con"));
}

/// A pseudonym of a later epoch shows its epoch, and the key matches an id in both forms. The forms are part of stored
/// data: a change would split every user's history.
#[test]
fn a_later_epoch_is_seen() {
    let key = Pseudonymizer::new(&Secret::new("key".to_owned()));
    let (first, third) = (key.pseudonym("default", "ada"), key.clone().with_epoch(3).pseudonym("default", "ada"));
    assert_eq!(first, "h-7290497dd9ebc07d98d845a392bad1f9");
    assert_eq!(third, "h-037290497dd9ebc07d98d845a392bad1f9");
    assert!(is_pseudonym(&first) && is_pseudonym(&third) && contains_pseudonym(&third));
    assert!(!is_pseudonym("h-7290") && !is_pseudonym(&third.to_uppercase()) && !is_pseudonym(&first[2..]));
    assert!(key.has_made("default", "ada", &first) && key.has_made("default", "ada", &third));
    assert!(!key.has_made("other", "ada", &third) && !key.has_made("default", "bob", &third));
    let other = Pseudonymizer::new(&Secret::new("key 2".to_owned()));
    assert!(!other.has_made("default", "ada", &third) && other.key_id() != key.key_id());
    assert_eq!(key.clone().with_epoch(3).key_id(), key.key_id());
}

/// An id that only looks like a pseudonym must not pass as one.
#[test]
fn a_forged_pseudonym_is_keyed() {
    let ids = ids("k");
    let forged = ids.pseudonym("default", "victim");
    assert_ne!(ids.shown_id("default", &forged), forged);
    assert!(ids.shown_id("default", &forged).starts_with(PREFIX));
}

/// Hostile ids must become one harmless path segment.
#[test]
fn key_forms_are_one_segment() {
    let ids = ids("k");
    let long = "x".repeat(1024);
    let wide = "é".repeat(64);
    for id in ["", ".", "..", "../../etc/passwd", "a/b", "a\\b", "a b", "ü", "a%2Fb", "#?&", "\0", "a\nb", &long, &wide]
    {
        let form = ids.object_name_segment("default", id);
        assert!(!form.is_empty() && form.len() <= MAX_SEGMENT && form != "." && form != "..", "{form}");
        assert!(form.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-%".contains(&b)), "{form}");
    }
    assert_eq!(ids.object_name_segment("default", ".."), "%2E%2E");
    assert_eq!(ids.object_name_segment("default", "a/b c"), "a%2Fb%20c");
    assert_eq!(ids.object_name_segment("default", "ok-1.2_3"), "ok-1.2_3");
    assert!(ids.object_name_segment("default", &long).starts_with(PREFIX));
}

/// Two ids must never share a name.
#[test]
fn key_forms_are_injective() {
    let ids = ids("k");
    let mut seen = std::collections::HashSet::new();
    for id in ["a/b", "a%2Fb", "a%2fb", "a.b", "a b", "a%20b", ".", "%2E", "", "%00", "\0"] {
        assert!(seen.insert(ids.object_name_segment("default", id).into_owned()), "{id:?}");
    }
}
