//! Messages to an auditor about problems with the key, the object, or the index.

use std::path::{Path, PathBuf};

use crate::read::{
    ContentLimit, ContentReference, FragmentOpener, IndexQuery, ReadError, ReplayFilter, ReplayedSession, Vault,
    VaultLocation, find_signed, get, identities, replay,
};
use crate::testing::site::{Site, files, text_of};

/// A vault in a folder: a session of two fragments in one object.
async fn folder(place: &Path) -> (Vault, age::x25519::Identity) {
    let mut site = Site::new(11);
    site.send("default", "s0", "the first");
    site.send("default", "s0", "the second");
    site.minutes(4).await;
    site.write_to(place);
    let location = VaultLocation { store: place.display().to_string(), ..VaultLocation::default() };
    (Vault::from_location(&location).expect("a vault"), site.auditor)
}

/// The only file with this ending.
fn file(place: &Path, ending: &str) -> PathBuf {
    let name = files(place).into_keys().find(|name| name.ends_with(ending));
    place.join(name.unwrap_or_else(|| panic!("no {ending}")))
}

async fn read(vault: &Vault, key: &age::x25519::Identity) -> Result<ReplayedSession, ReadError> {
    replay(&mut FragmentOpener::new(vault, vec![key.clone()]), "s0", &ReplayFilter::default()).await
}

fn told(replay: &ReplayedSession) -> (String, String) {
    (text_of(|out| replay.write_text(out)), replay.unreadable.join("\n"))
}

/// Another auditor's key opens nothing, and the error names the keys' folder; the lines are shown all the same.
#[tokio::test]
async fn a_wrong_key_is_told() {
    let place = tempfile::tempdir().expect("scratch");
    let (vault, right) = folder(place.path()).await;
    let (text, closed) = told(&read(&vault, &right).await.expect("read"));
    assert!(text.contains("the first") && text.contains("the second") && closed.is_empty(), "{text}");
    let (text, closed) = told(&read(&vault, &age::x25519::Identity::generate()).await.expect("read"));
    assert!(!text.contains("the first") && text.contains("not read"), "{text}");
    assert!(closed.contains(": none of the given identities opens the session's key"), "{closed}");
    let key = file(place.path(), ".age");
    std::fs::write(&key, b"age-encryption.org/v1\nnonsense").expect("written");
    assert!(told(&read(&vault, &right).await.expect("read")).1.contains("none of the given identities"));
    std::fs::remove_file(key).expect("removed");
    assert!(told(&read(&vault, &right).await.expect("read")).1.contains("no key object"));
}

/// A key file that is missing, empty, a public key or something else: the error says what is wrong, never the contents.
#[test]
fn a_key_file_that_is_none_is_told() {
    let place = tempfile::tempdir().expect("scratch");
    let path = place.path().join("key");
    let said = identities(std::slice::from_ref(&path)).err().expect("missing");
    assert!(said.contains("can't be read"), "{said}");
    assert!(identities(&[]).err().expect("none given").contains("--identity"));
    let public = age::x25519::Identity::generate().to_public().to_string();
    for (text, why) in [
        ("", "contains no key"),
        ("# comment\n", "contains no key"),
        (&*public, "not an `AGE-SECRET-KEY"),
        ("SECRET-XYZ", "not an `AGE"),
        ("AGE-SECRET-KEY-1XYZ", ""),
    ] {
        std::fs::write(&path, text).expect("written");
        let said = identities(std::slice::from_ref(&path)).err().expect("refused");
        assert!(said.contains(why) && !said.contains("XYZ") && !said.contains(&public), "{said}");
    }
}

/// A truncated object loses only its end; a missing one is named.
#[tokio::test]
async fn a_cut_object_is_told() {
    let place = tempfile::tempdir().expect("scratch");
    let (vault, key) = folder(place.path()).await;
    let object = file(place.path(), ".agev");
    let bytes = std::fs::read(&object).expect("there");
    std::fs::write(&object, &bytes[..bytes.len() - 5]).expect("cut");
    let (text, closed) = told(&read(&vault, &key).await.expect("read"));
    assert!(text.contains("the first") && !text.contains("the second"), "{text}");
    assert!(closed.contains("points beyond the end of the object") || closed.contains("cut off"), "{closed}");
    let mut flipped = bytes.clone();
    *flipped.last_mut().expect("a byte") ^= 1;
    std::fs::write(&object, flipped).expect("changed");
    assert!(told(&read(&vault, &key).await.expect("read")).1.contains("damaged"));
    std::fs::remove_file(&object).expect("removed");
    let (text, closed) = told(&read(&vault, &key).await.expect("read"));
    assert!(closed.contains("no such object") && text.contains("not read"), "{closed}");
}

/// Lines that point outside of their object, past the largest number, or to another session's content are reported, and
/// nothing is invented.
#[tokio::test]
async fn lines_that_point_outside_are_told() {
    for (from, to) in [
        ("\"off\":0,", "\"off\":99999999,"),
        ("\"len\":", "\"len\":9"),
        ("\"off\":0,", "\"off\":18446744073709551615,"),
    ] {
        let place = tempfile::tempdir().expect("scratch");
        let (vault, key) = folder(place.path()).await;
        let index = file(place.path(), ".ndjson.zst");
        let bytes = std::fs::read(&index).expect("there");
        let lines = String::from_utf8(zstd::decode_all(&bytes[..]).expect("zstd")).expect("text");
        let changed = lines.replace(from, to);
        assert_ne!(lines, changed);
        std::fs::write(&index, zstd::bulk::compress(changed.as_bytes(), 3).expect("zstd")).expect("written");
        let (_, closed) = told(&read(&vault, &key).await.expect("read"));
        assert!(closed.contains("points beyond the end of the object"), "{to}: {closed}");
        std::fs::write(&index, &bytes[..bytes.len() / 2]).expect("cut");
        let (_, closed) = told(&read(&vault, &key).await.expect("by their names"));
        assert!(closed.contains("damaged"), "{closed}");
        let found = find_signed(&vault, &IndexQuery::default(), None, &mut |_, _| {}).await.expect("the rest").0;
        assert!(found.unreadable.concat().contains("damaged"), "{:?}", found.unreadable);
    }
}

/// A reference to missing bytes, to nothing, or out of the vault's folder. The error
/// says whether an object is missing or was changed.
#[tokio::test]
async fn references_that_lead_nowhere_are_told() {
    let place = tempfile::tempdir().expect("scratch");
    let (vault, key) = folder(place.path()).await;
    let name = file(place.path(), ".agev").strip_prefix(place.path()).expect("below").display().to_string();
    let fault = async |uri: &str, range: Option<&str>| {
        let wanted = ContentReference { uri: uri.to_owned(), range: range.map(str::to_owned) };
        let mut out = Vec::new();
        let said = get(&mut FragmentOpener::new(&vault, vec![key.clone()]), &wanted, &mut out).await;
        (said.expect_err(uri), out)
    };
    for (uri, range, why) in [
        (name.as_str(), Some("bytes=99999999-100000000"), "no fragment"),
        (name.as_str(), Some("bytes=7-3"), "the range is invalid: use `bytes=first-last`"),
        (name.as_str(), Some("nonsense"), "the range is invalid: use `bytes=first-last`"),
        ("default/acme/s0/2026-11-20/gw-E0000-0000000077.agev", None, "no such object"),
        ("file:///../../etc/passwd", None, "refuses"),
        ("s3://bucket/x.agev", None, "--store is a folder"),
    ] {
        let (said, out) = fault(uri, range).await;
        assert!(said.contains(why) && out.is_empty(), "{uri} {range:?}: {said:?}");
    }
    let mut bytes = std::fs::read(place.path().join(&name)).expect("there");
    *bytes.last_mut().expect("a byte") ^= 1;
    std::fs::write(place.path().join(&name), bytes).expect("changed");
    let (said, _) = fault(&name, None).await;
    assert!(said.contains("damaged"), "{said}");
}

/// A session beyond the memory limit is an error that says so, and the part read is shown; a fragment that would unpack
/// to far more takes no more memory than the limit.
#[tokio::test]
async fn a_session_that_is_too_large_is_told() {
    let mut site = Site::new(12);
    for n in 0..4 {
        site.send("default", "s0", &format!("number {n} {}", "x".repeat(100_000)));
    }
    site.send("default", "s1", &"a".repeat(20 << 20));
    site.minutes(4).await;
    let vault = site.vault();
    let read = async |session: &str, content: u64| {
        let filter = ReplayFilter { content: ContentLimit(content), ..ReplayFilter::default() };
        replay(&mut FragmentOpener::new(&vault, vec![site.auditor.clone()]), session, &filter).await.expect("read")
    };
    let whole = read("s0", 1 << 30).await;
    assert!(!whole.is_truncated() && whole.unreadable.is_empty(), "{:?}", whole.unreadable);
    let (text, closed) = told(&read("s0", 250_000).await);
    assert!(text.contains("number 0") && text.contains("number 1") && !text.contains("number 2"), "{}", closed);
    assert!(closed.contains("2 fragments or lines") && closed.contains("--content"), "{closed}");
    let (_, closed) = told(&read("s1", 1 << 20).await);
    assert!(closed.contains("1 fragments or lines: the session exceeds the memory limit of 1 MiB"), "{closed}");
    let lines = read("s0", 2048).await;
    assert!(lines.is_truncated() && lines.unreadable.concat().contains("lines"), "{:?}", lines.unreadable);
}
