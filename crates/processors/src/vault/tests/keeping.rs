//! Tests of how long a vault keeps data: legal holds, and the retention and size limit of a folder.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::json;

use super::super::options::StoreLayout;
use super::whole::{Gateway, NOON, gateway, gateway_with, of, report, tool, turn};
use audit::erase::{ContentTarget, TargetQuery, WritableVault, resolve_target};
use audit::hold::{apply_hold, list_notes};
use audit::read::Vault;
use config::{ByteSize, TimeSpan};
use kernel::clock::UnixNanos;
use kernel::rng::SystemRng;
use kernel::sha256::Sha256;
use pipeline::OnFullAction;
use vault::store::kinds::StoreConfig;
use vault::store::settings::{DirectoryConfig, DirectoryOptions, Retention};
use vault::store::{DirectoryLimits, DirectoryStore, ObjectKind, StoreError, SweepResult, VaultReader};

const DAY: Duration = Duration::from_secs(86_400);

fn session(id: &str) -> TargetQuery {
    TargetQuery { target: ContentTarget::Session(id.to_owned()), account: None, tenant: None }
}

fn place_of(gateway: &Gateway) -> WritableVault {
    WritableVault::from_location(&gateway.location(), None).expect("a place")
}

async fn is_under_hold(vault: &Vault, session: &str) -> bool {
    let holds = list_notes(vault, Some("default")).await.expect("read").in_force;
    holds.iter().any(|hold| hold.tenant == "acme" && hold.session == session)
}

/// Makes all files of the vault as old as `age`.
fn age(gateway: &Gateway, age: Duration) {
    for name in gateway.names() {
        let name = gateway.folder.path().join("vault").join(name);
        let written = SystemTime::UNIX_EPOCH + Duration::from_nanos(NOON.0) - age;
        std::fs::File::options().write(true).open(name).expect("file").set_modified(written).expect("dated");
    }
}

/// The gateway with the sessions `s-1` and `s-2`.
async fn two_sessions(mut gateway: Gateway) -> Gateway {
    gateway.pass_stored(json!([turn(1, &[("user", "one")], "x"), of("s-2", tool(2))])).await;
    gateway
}

/// A hold is set, listed, blocks erasure, is released and set again; each step is a permanent note; other sessions are
/// not affected.
#[tokio::test]
async fn a_hold_is_set_and_released() {
    let gateway = two_sessions(gateway()).await;
    let place = place_of(&gateway);
    let vault = gateway.vault();
    let by = ("legal", "case 7");
    assert!(list_notes(&vault, None).await.expect("read").in_force.is_empty());
    assert!(apply_hold(&place, &session("none"), true, by, NOON, &SystemRng).await.is_err());
    let touched = apply_hold(&place, &session("s-1"), true, by, NOON, &SystemRng).await.expect("held");
    assert_eq!((touched.sessions, touched.objects, touched.note_only), (vec!["acme/s-1".to_owned()], 0, 2));
    let listed = list_notes(&vault, Some("default")).await.expect("read").in_force;
    assert_eq!((listed.len(), &*listed[0].session, &*listed[0].by, &*listed[0].why), (1, "s-1", "legal", "case 7"));
    assert!(is_under_hold(&vault, "s-1").await);
    assert!(!is_under_hold(&vault, "s-2").await);
    let resolved = resolve_target(&place, &session("s-1")).await.expect("resolved");
    assert_eq!(resolved.holds.len(), 2, "erasure is told of key and payload: {:?}", resolved.holds);
    assert!(resolve_target(&place, &session("s-2")).await.expect("resolved").holds.is_empty());
    // Released by a clock that runs behind: the release still counts as the latest note.
    apply_hold(&place, &session("s-1"), false, by, UnixNanos(5), &SystemRng).await.expect("released");
    assert!(list_notes(&vault, None).await.expect("read").in_force.is_empty());
    assert!(resolve_target(&place, &session("s-1")).await.expect("resolved").holds.is_empty());
    apply_hold(&place, &session("s-1"), true, by, NOON, &SystemRng).await.expect("held");
    assert!(is_under_hold(&vault, "s-1").await);
    assert_eq!(gateway.names().iter().filter(|name| name.starts_with("holds/default/acme/s-1/")).count(), 3);
}

/// A planted note cannot end a hold: a note that is last, or has an impossible number, is reported and ignored. An
/// unreadable note holds until it is released.
#[tokio::test]
async fn a_planted_note_ends_no_hold() {
    let gateway = two_sessions(gateway()).await;
    let place = place_of(&gateway);
    let folder = gateway.folder.path().join("vault/holds/default/acme/s-1");
    let by = ("legal", "case 7");
    apply_hold(&place, &session("s-1"), true, by, NOON, &SystemRng).await.expect("held");
    let forged = json!({"v": 2, "account": "default", "tenant": "acme", "session": "s-1", "set": false, "by": "x", "why": "x", "at": "x",
        "releases": ["00"]});
    for name in ["99999999999999999999.json", "18446744073709551615.json", "18446744073709551614.json", "x.json"] {
        std::fs::write(folder.join(name), forged.to_string()).expect("planted");
    }
    let held = async || {
        let noted = list_notes(&place.vault, None).await.expect("read");
        let erasable = resolve_target(&place, &session("s-1")).await.expect("resolved").holds.is_empty();
        assert_eq!(erasable, !is_under_hold(&place.vault, "s-1").await);
        (noted.in_force.len(), noted.invalid.len(), erasable)
    };
    assert_eq!(held().await, (1, 2, false));
    // Another hold beside them: both are released.
    apply_hold(&place, &session("s-1"), true, ("legal", "case 8"), NOON, &SystemRng).await.expect("held");
    assert_eq!(held().await, (2, 2, false));
    std::fs::write(folder.join("00000000000000000001.json"), "x").expect("planted");
    assert_eq!(held().await, (3, 3, false));
    apply_hold(&place, &session("s-1"), false, by, NOON, &SystemRng).await.expect("released");
    assert_eq!(held().await, (0, 3, true));
    // A release that was used cannot be used again.
    apply_hold(&place, &session("s-1"), true, by, NOON, &SystemRng).await.expect("held");
    assert_eq!(held().await, (1, 3, false));
    // A note applies where it is stored, whatever it says.
    let other = "holds/default/acme/s-2/00000000000000000001.json";
    gateway.plant(other, forged.to_string().replace("false", "true"));
    assert!(is_under_hold(&place.vault, "s-2").await);
}

/// A folder with one object that cannot be read.
struct Shut(DirectoryStore, String, StoreError);

impl VaultReader for Shut {
    fn get<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
        range: Option<(u64, u64)>,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        if name == self.1 {
            return Box::pin(async { Err(self.2.clone()) });
        }
        self.0.get(kind, name, range)
    }

    fn list<'a>(&'a self, kind: ObjectKind, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        self.0.list(kind, prefix)
    }
}

/// A note that is archived, or encrypted with a foreign key, holds its session until it can be read, and affects no
/// other session. Notes written without reading it cannot release it.
#[tokio::test]
async fn a_note_that_cannot_be_read_holds_its_session_alone() {
    let gateway = two_sessions(gateway()).await;
    let place = place_of(&gateway);
    let (by, store) = (("legal", "case 7"), gateway.folder.path().join("vault"));
    for id in ["s-1", "s-2"] {
        apply_hold(&place, &session(id), true, by, NOON, &SystemRng).await.expect("held");
    }
    let name = gateway.names().into_iter().find(|name| name.starts_with("holds/default/acme/s-2/")).expect("a note");
    let nothing = kernel::hex::encode(&Sha256::digest(b""));
    let forged = json!({"v": 2, "account": "default", "tenant": "acme", "session": "s-2", "set": false, "by": "x", "why": "x", "at": "x",
        "releases": [nothing]});
    gateway.plant("holds/default/acme/s-2/00000000000000000007.json", forged.to_string());
    for why in [StoreError::Archived, StoreError::Denied("400 InvalidRequest".to_owned())] {
        let shut = Shut(DirectoryStore::new(&store), name.clone(), why);
        let shut = WritableVault { vault: Vault::new(Arc::new(shut), "", None), ..place_of(&gateway) };
        let listed = list_notes(&shut.vault, None).await.expect("listed");
        assert_eq!(listed.in_force.iter().map(|hold| &*hold.session).collect::<Vec<_>>(), ["s-1", "s-2"]);
        assert!(listed.invalid.len() == 1 && listed.invalid[0].contains(&name), "{:?}", listed.invalid);
        assert!(is_under_hold(&shut.vault, "s-2").await);
        let refused =
            apply_hold(&shut, &session("s-2"), false, by, NOON, &SystemRng).await.expect_err("nobody knows its hash");
        assert!(refused.to_string().contains(&name), "{refused}");
        apply_hold(&shut, &session("s-1"), false, by, NOON, &SystemRng).await.expect("released");
        apply_hold(&shut, &session("s-1"), true, by, NOON, &SystemRng).await.expect("held");
    }
    apply_hold(&place, &session("s-2"), false, by, NOON, &SystemRng).await.expect("released, now that it can be read");
    // If nothing can be read, listing the holds fails.
    std::fs::remove_dir_all(store.join("holds/default/acme")).expect("gone");
    let name = format!("holds/default/acme/s-1/{:020}.json", 7);
    gateway.plant(&name, "x");
    let shut = Shut(DirectoryStore::new(&store), name, StoreError::Denied("403 AccessDenied".to_owned()));
    assert!(list_notes(&Vault::new(Arc::new(shut), "", None), None).await.is_err());
}

/// All sessions of a user are held at once; in packed objects a held session also holds the sessions in the same
/// objects.
#[tokio::test]
async fn a_user_is_held_and_packed_objects_too() {
    let mut gateway = gateway_with(|config| config.layout = StoreLayout::Packed);
    for (n, id) in [(1, "s-1"), (2, "s-2"), (3, "s-3")] {
        let mut item = of(id, tool(n));
        item["attributes"]["user.id"] = json!(if id == "s-3" { "bob" } else { "ada" });
        gateway.pass(&json!({"items": [item]}));
    }
    assert!(gateway.uploader.drain().await);
    let keys = vec![vault::testing::journal::signing_key().public().clone()];
    let place = WritableVault { keys, ..place_of(&gateway) };
    let users: Vec<_> = gateway.rows().await.into_iter().map(|row| row.tail.user_key.expect("user")).collect();
    let asked = TargetQuery { target: ContentTarget::User(users[0].clone()), account: None, tenant: None };
    let touched = apply_hold(&place, &asked, true, ("legal", "case"), NOON, &SystemRng).await.expect("held");
    assert_eq!(touched.sessions, ["acme/s-1", "acme/s-2"]);
    let packed = gateway.names().into_iter().find(|name| name.starts_with("packed/")).expect("an object");
    assert!(place.eraser.is_on_hold(vault::store::ObjectKind::Payload, &packed).await.expect("read"));
}

/// Nothing is removed before its retention is over. Then payload and index are removed, keys two days later; digests,
/// session lines and held data stay.
#[tokio::test]
async fn a_folder_keeps_what_it_should() {
    let gateway = gateway_with(|config| {
        let path = config.store.take().map(|store| match store {
            StoreConfig::Directory(folder) => folder.path().to_owned(),
            _ => panic!("a folder"),
        });
        let retention = Some(Retention::Span(TimeSpan::seconds(90 * 86_400)));
        config.store = Some(StoreConfig::Directory(DirectoryConfig::Kept(DirectoryOptions {
            path: path.expect("a path"),
            retention,
            max_size: Some(ByteSize(64 << 20)),
            on_full: OnFullAction::Refuse,
        })));
    });
    let mut gateway = two_sessions(gateway).await;
    let place = place_of(&gateway);
    apply_hold(&place, &session("s-2"), true, ("legal", "case"), NOON, &SystemRng).await.expect("held");
    let count = |gateway: &Gateway, start: &str| gateway.names().iter().filter(|name| name.starts_with(start)).count();
    let counts =
        |gateway: &Gateway| ["default/", "keys/", "index/", "chain/", "holds/"].map(|start| count(gateway, start));
    let sweep = async |gateway: &mut Gateway, days: u64| {
        age(gateway, DAY * u32::try_from(days).expect("small"));
        gateway.clock.advance(Duration::from_secs(3601));
        gateway.uploader.step().await;
    };
    let before = counts(&gateway);
    assert_eq!(before[..3], [2, 2, 1]);
    sweep(&mut gateway, 89).await;
    assert_eq!(counts(&gateway)[..3], before[..3], "a day is left");
    sweep(&mut gateway, 90).await;
    assert_eq!(counts(&gateway)[..3], [1, 2, 0], "the held session stays");
    sweep(&mut gateway, 119).await;
    assert_eq!(counts(&gateway)[..3], [1, 2, 0], "what a key opens may have waited for the store");
    sweep(&mut gateway, 121).await;
    assert_eq!(counts(&gateway)[..3], [1, 1, 0]);
    assert!(count(&gateway, "default/acme/s-2/") == 1 && count(&gateway, "keys/default/acme/s-2/") == 1);
    assert!(counts(&gateway)[3] >= before[3] && counts(&gateway)[4] == 1);
    // No line mentions the session any more, but its note exists.
    apply_hold(&place, &session("s-2"), false, ("legal", "closed"), NOON, &SystemRng).await.expect("released");
    sweep(&mut gateway, 121).await;
    assert_eq!(counts(&gateway)[..3], [0, 0, 0]);
}

/// A full folder accepts no more data and loses none; waiting data is written once there is room.
#[tokio::test]
async fn a_full_folder_refuses() {
    use vault::store::{ObjectKind, PutOutcome, VaultReader as _, VaultStore as _};
    let folder = tempfile::tempdir().expect("scratch");
    let limits = DirectoryLimits { retention: Some(DAY), max_size: Some(1000), on_full: OnFullAction::Refuse };
    let store = DirectoryStore::new(folder.path()).with_limits(limits);
    let name = |n: u32| format!("default/acme/s/2026-11-20/gw-E-{n:010}.agev");
    let put = async |n: u32| store.put_once(ObjectKind::Payload, &name(n), vec![7; 400].into(), NOON).await;
    assert_eq!(put(1).await, Ok(PutOutcome::Written));
    assert_eq!(put(2).await, Ok(PutOutcome::Written));
    assert_eq!(put(3).await, Err(StoreError::Full));
    assert_eq!(put(2).await, Ok(PutOutcome::Exists), "what is there takes no room");
    assert_eq!(StoreError::Full.label(), "full");
    let again = DirectoryStore::new(folder.path()).with_limits(limits);
    let refused = again.put_once(ObjectKind::Payload, &name(3), vec![7; 400].into(), NOON).await;
    assert_eq!(refused, Err(StoreError::Full), "counted after a start");
    assert_eq!(store.list(ObjectKind::Payload, "").await.expect("listed").len(), 2);
    let later = UnixNanos(u64::MAX);
    assert_eq!(store.remove_expired(later).await, Ok(SweepResult { objects: 2, bytes: 800, held: 0 }));
    assert!(!folder.path().join("default").exists(), "empty folders go");
    assert_eq!(put(3).await, Ok(PutOutcome::Written));
}

/// A folder for trying out keeps its size, however much arrives: the oldest content goes, new content opens, what is on
/// hold stays, and verification tells all that is gone from what somebody removed.
#[tokio::test]
async fn a_tryout_folder_keeps_its_size() {
    const SIZE: u64 = 1 << 20;
    let mut gateway = gateway_with(|config| {
        let path = config.store.as_ref().map(|store| match store {
            StoreConfig::Directory(folder) => folder.path().to_owned(),
            _ => panic!("a folder"),
        });
        config.store = Some(StoreConfig::Directory(DirectoryConfig::Kept(DirectoryOptions {
            path: path.expect("a path"),
            retention: None,
            max_size: Some(ByteSize(SIZE)),
            on_full: OnFullAction::Expire,
        })));
    });
    let rng = kernel::rng::SeededRng::new(1);
    for n in 0..40 {
        let text: String = (0..4_000).map(|_| format!("{:016x}", rng.next())).collect();
        gateway.pass(&json!({"items": [of(&format!("s-{n}"), turn(n, &[("user", &text)], "x"))]}));
        for _ in 0..6 {
            gateway.clock.advance(Duration::from_secs(61));
            for _ in 0..4 {
                gateway.uploader.step().await;
            }
            let size: usize = gateway.objects().values().map(Vec::len).sum();
            assert!(size as u64 <= SIZE, "{size} bytes after {n} sessions");
        }
        if n == 0 {
            let place = place_of(&gateway);
            apply_hold(&place, &session("s-0"), true, ("legal", "case"), NOON, &SystemRng).await.expect("held");
        }
    }
    let sessions: Vec<bool> =
        (0..40).map(|n| gateway.names().iter().any(|name| name.starts_with(&format!("default/acme/s-{n}/")))).collect();
    let oldest = sessions.iter().skip(1).position(|is_there| *is_there).expect("content") + 1;
    assert!(sessions[0] && (10..35).contains(&oldest) && sessions[oldest..].iter().all(|there| *there), "{sessions:?}");
    assert!(gateway.replay("s-39").await.is_ok_and(|text| text.contains("model calls: 1")));
    let full = report(&gateway).await;
    assert!(full.verified && full.findings.iter().all(|one| one.code == "content_expired"), "{}", full.text());
    assert!(full.counts.expired as usize >= oldest - 1 && !full.findings.is_empty(), "{}", full.text());
    let (newest, _) =
        gateway.objects().into_iter().rfind(|(name, _)| name.starts_with("default/acme/s-39/")).expect("one");
    std::fs::remove_file(gateway.folder.path().join("vault").join(newest)).expect("removed");
    let stolen = report(&gateway).await;
    assert!(!stolen.verified && stolen.finding_counts.contains_key("object_missing"), "{}", stolen.text());
}
