mod expiry;
mod s3;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bytes::Bytes;
use kernel::clock::{Clock as _, SystemClock, UnixNanos};

use super::*;

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("scratch")
}

/// Listings hide only the left-overs of crashed puts; a name with invalid UTF-8 is listed, and does not end the
/// listing.
#[tokio::test]
async fn lists_hide_only_leftovers() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = scratch();
    let store = DirectoryStore::new(folder.path());
    for name in [".x.agev.tmp", ".x.agev.0123456789abcdef.tmp", "x.age.tmp", ".hidden", ".tmp"] {
        std::fs::write(folder.path().join(name), b"x").expect("written");
    }
    std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"bad\xff")), b"x").expect("written");
    let names = store.list(ObjectKind::Payload, "").await.expect("listed");
    assert_eq!(names, [".hidden", ".tmp", "bad\u{fffd}", "x.age.tmp"]);
    let again = store.put_once(ObjectKind::Payload, "x.agev", Bytes::from_static(b"whole"), UnixNanos(0)).await;
    assert_eq!(again, Ok(PutOutcome::Written), "they hinder no retry");
}

/// A name is written once: equal bytes succeed, others are an error, and the first bytes stay.
#[tokio::test]
async fn a_directory_writes_once() {
    let folder = scratch();
    let store = DirectoryStore::new(folder.path().join("vault"));
    let put = |bytes: &'static [u8]| {
        store.put_once(ObjectKind::Payload, "a/b/c.agev", Bytes::from_static(bytes), UnixNanos(0))
    };
    assert_eq!(put(b"one").await, Ok(PutOutcome::Written));
    assert_eq!(put(b"one").await, Ok(PutOutcome::Exists));
    assert_eq!(put(b"two").await, Err(StoreError::Differs));
    assert_eq!(store.get(ObjectKind::Payload, "a/b/c.agev", None).await.expect("there"), "one");
    assert_eq!(store.get(ObjectKind::Payload, "a/b/c.agev", Some((1, 2))).await.expect("there"), "ne");
    assert_eq!(store.get(ObjectKind::Payload, "a/x", None).await, Err(StoreError::Missing));
}

/// Only the owner may read the vault's files.
#[tokio::test]
async fn files_are_private() {
    let folder = scratch();
    let root = folder.path().join("vault");
    DirectoryStore::new(&root)
        .put_once(ObjectKind::Key, "keys/k.age", Bytes::from_static(b"k"), UnixNanos(0))
        .await
        .expect("put");
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&root.join("keys")), 0o700);
    assert_eq!(mode(&root.join("keys/k.age")), 0o600);
}

/// Concurrent writers of one name never mix: one writes, equal bytes exist, other bytes differ, and the file keeps the
/// bytes of the one that wrote.
#[tokio::test]
async fn concurrent_writers_collide() {
    let folder = scratch();
    for round in 0..40 {
        let name = format!("chain/{round}.json");
        let bytes = |n: usize| Bytes::from(vec![b'a' + (n as u8 % 4); 100 + n % 4]);
        let stores: Vec<_> = (0..8).map(|_| DirectoryStore::new(folder.path())).collect();
        let puts = stores
            .iter()
            .enumerate()
            .map(|(n, store)| store.put_once(ObjectKind::Chain, &name, bytes(n), UnixNanos(0)));
        let outcomes = futures_util::future::join_all(puts).await;
        let winners: Vec<usize> = (0..8).filter(|n| outcomes[*n] == Ok(PutOutcome::Written)).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        let stored = stores[0].get(ObjectKind::Chain, &name, None).await.expect("there");
        assert!(stored == bytes(winners[0]), "the first bytes stay");
        for (n, outcome) in outcomes.into_iter().enumerate().filter(|(n, _)| *n != winners[0]) {
            let expected = if bytes(n) == stored { Ok(PutOutcome::Exists) } else { Err(StoreError::Differs) };
            assert_eq!(outcome, expected);
        }
    }
    assert_eq!(std::fs::read_dir(folder.path().join("chain")).expect("folder").count(), 40, "no left-overs");
}

/// A link planted under the name that a writer once used for its temporary file is not followed.
#[tokio::test]
async fn a_planted_link_is_not_followed() {
    let folder = scratch();
    let victim = folder.path().join("victim");
    std::fs::write(&victim, b"precious").expect("a file");
    std::os::unix::fs::symlink(&victim, folder.path().join(".x.json.tmp")).expect("a link");
    let store = DirectoryStore::new(folder.path());
    let put = store.put_once(ObjectKind::Chain, "x.json", Bytes::from_static(b"new"), UnixNanos(0));
    assert_eq!(put.await, Ok(PutOutcome::Written));
    assert_eq!(std::fs::read(&victim).expect("there"), b"precious");
}

/// Temporary files of both forms hold the secret of the key that they would have become, so erasing it destroys them;
/// the sweep removes those of crashed writers after a day, and nothing younger.
#[tokio::test]
async fn temporary_files_are_erased_and_swept() {
    let folder = scratch();
    let store = DirectoryStore::new(folder.path());
    let limits = DirectoryLimits { retention: Some(Duration::from_secs(30 * 86_400)), ..DirectoryLimits::default() };
    std::fs::create_dir(folder.path().join("keys")).expect("a folder");
    let plant = |name: &str| std::fs::write(folder.path().join("keys").join(name), b"x").expect("a file");
    let left = || std::fs::read_dir(folder.path().join("keys")).expect("a folder").count();
    [".k.age.tmp", ".k.age.0123456789abcdef.tmp", ".other.age.0123456789abcdef.tmp"].into_iter().for_each(plant);
    assert_eq!(store.destroy("keys/", &|name| name == "keys/k.age").await, Ok(2));
    assert_eq!(left(), 1, "another key's stays");
    plant("whole.age");
    let now = UnixNanos(SystemClock::new().now().0);
    let store = store.with_limits(limits);
    assert_eq!(store.remove_expired(now.plus(Duration::from_secs(3600))).await.expect("swept").objects, 0);
    assert_eq!(left(), 2, "a young one may be in use");
    assert_eq!(store.remove_expired(now.plus(Duration::from_secs(90_000))).await.expect("swept").objects, 0);
    assert_eq!(left(), 1, "the object stays");
}

/// No name can reach out of the folder.
#[tokio::test]
async fn names_stay_inside() {
    let folder = scratch();
    let store = DirectoryStore::new(folder.path().join("vault"));
    for name in ["../x", "a/../../x", "/etc/x", "", "./x", "a/./x"] {
        let put = store.put_once(ObjectKind::Payload, name, Bytes::from_static(b"x"), UnixNanos(0)).await;
        if name.contains("/./") {
            continue; // std removes it: harmless
        }
        assert!(matches!(put, Err(StoreError::Denied(_))), "{name}");
    }
    assert!(!folder.path().join("x").exists());
}

/// Listing accepts any prefix, even one that ends inside a name.
#[tokio::test]
async fn lists_by_prefix() {
    let folder = scratch();
    let store = DirectoryStore::new(folder.path());
    for name in ["p/a/1.agev", "p/ab/2.agev", "q/3.agev"] {
        store.put_once(ObjectKind::Payload, name, Bytes::from_static(b"x"), UnixNanos(0)).await.expect("put");
    }
    assert_eq!(store.list(ObjectKind::Payload, "p/a").await.expect("list"), ["p/a/1.agev", "p/ab/2.agev"]);
    assert_eq!(store.list(ObjectKind::Payload, "p/a/").await.expect("list"), ["p/a/1.agev"]);
    assert_eq!(store.list(ObjectKind::Payload, "nothing/").await.expect("list"), Vec::<String>::new());
}

/// An unwritable store is an error, not a panic, and is distinguished from a temporary failure.
#[tokio::test]
async fn an_unwritable_folder_is_denied() {
    let folder = scratch();
    let file = folder.path().join("file");
    std::fs::write(&file, b"x").expect("file");
    let store = DirectoryStore::new(file.join("vault"));
    let put = store.put_once(ObjectKind::Payload, "a/x", Bytes::from_static(b"x"), UnixNanos(0)).await;
    assert!(matches!(put, Err(StoreError::Denied(_))), "{put:?}");
}

/// Someone who can write to the folder can put a pipe, a link or a folder in an object's place: readers get an error
/// instead of waiting forever or reading something else, and a writer uses an alternative name.
#[tokio::test]
async fn only_regular_files_are_opened() {
    let folder = scratch();
    let store = DirectoryStore::new(folder.path());
    let secret = folder.path().join("secret");
    std::fs::write(&secret, b"of the reader's").expect("a file");
    let at = |name: &str| folder.path().join(name);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    std::os::unix::fs::symlink(&secret, at("link")).expect("a link");
    std::fs::create_dir(at("folder")).expect("a folder");
    for name in ["pipe", "link", "folder"] {
        let got = store.get(ObjectKind::Payload, name, None).await;
        assert_eq!(got, Err(StoreError::Denied("not a regular file".to_owned())), "{name}");
        let put = store.put_once(ObjectKind::Payload, name, Bytes::from_static(b"x"), UnixNanos(0)).await;
        assert_eq!(put, Err(StoreError::Differs), "{name}");
    }
    assert_eq!(store.list(ObjectKind::Payload, "").await.expect("listed"), ["link", "pipe", "secret"], "they are told");
}
