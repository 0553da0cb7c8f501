use std::sync::Arc;

use kernel::clock::UnixNanos;
use kernel::pseudonym::{PlainIds, Pseudonymizer};
use kernel::rng::SeededRng;
use kernel::secret::Secret;
use otlp::SlotId;
use pipeline::spool::RecordKind;

use super::index_row::{IndexRow, RowKind, RowTail, UnnumberedRow};
use super::key_ring::{KeyRing, MAX_KEY_IDLE, MAX_KEYS};
use super::object_names::{self, FragmentScope, ObjectName, ObjectNames, SessionName};
use super::recipients::{ContentOwner, ContentTenant, RecipientPolicy};
use super::seal::{SessionKeyGenerator, key_id, parse_recipient};
use super::spool_record::{self, FragmentHeader, KeyHeader, LeafHeader};
use super::testing::gateway::{self, PlainKeys};
use super::ticket::{SealedFragment, VaultDraft, VaultTicketer};
use super::vault_writer::{MAX_OPEN_OBJECTS, VaultWriter};

/// 2026-11-20T10:00:00Z.
const NOON: UnixNanos = UnixNanos(1_795_168_800_000_000_000);

fn ids() -> PlainIds {
    PlainIds(Pseudonymizer::new(&Secret::new("test".to_owned())))
}

fn owner() -> ContentOwner<'static> {
    ContentOwner { account: "default", tenant: ContentTenant::Named(Some("acme")) }
}

fn scope(session: &str) -> Arc<FragmentScope> {
    Arc::new(FragmentScope::new(&ids(), "default", Some("acme"), SessionName::Id(session), NOON))
}

fn writer() -> Arc<VaultWriter> {
    Arc::new(VaultWriter::new(ObjectNames::new("agent-sessions", "gw-1", "01KA"), 1000))
}

/// Object names are parsed back into their parts, whatever the ids.
#[test]
fn names_parse_back() {
    let long = "s".repeat(1024);
    for session in ["s1", "../../x", ".", "", "ada@example.com", "agv.agev", &long, "日本"] {
        for prefix in ["", "agent-sessions", "a/b"] {
            let scope = scope(session);
            let names = ObjectNames::new(prefix, "gw-1", "01KA");
            let name = names.object(&names.object_prefix(&scope, NOON, None), 7);
            let parsed = ObjectName::parse(&name).expect("an object name");
            assert!(parsed.scope.as_ref() == Some(&*scope) && parsed.file == "gw-1-01KA-0000000007");
            assert!(name.ends_with("/2026-11-20/gw-1-01KA-0000000007.agev"), "{name}");
            let keys = ObjectNames::new(prefix, "gw-1", "01KA").key(&scope, "abc");
            assert_eq!(keys, format!("{}abc.age", parsed.keys(&scope)));
            assert!(name.split('/').all(|part| part.len() <= 255 && part != "." && part != ".."), "{name}");
        }
    }
}

/// An account must not be able to occupy the place of keys or the index.
#[test]
fn reserved_accounts_are_escaped() {
    assert_eq!(object_names::account_segment("index"), "%69ndex");
    assert_eq!(object_names::account_segment("keys"), "%6Beys");
    assert_eq!(object_names::account_segment("a/b"), "a%2Fb");
    for account in ["index", "a/b", "a b", "%69ndex", "ü", "..", "default"] {
        let segment = object_names::account_segment(account);
        assert_eq!(kernel::folders::account_of_segment(&segment).as_deref(), Some(account));
    }
    for segment in ["", "index", "a b", "%", "%6", "%zz", "%+9", "%6b", "%ü", "%FF", "%empty", "ü"] {
        assert_eq!(kernel::folders::account_of_segment(segment), None, "{segment}");
    }
}

/// A later epoch has a later name; two of one moment have two names.
#[test]
fn epochs_are_in_order() {
    let rng = SeededRng::new(1);
    let (one, two) = (object_names::new_epoch(NOON, &rng), object_names::new_epoch(NOON, &rng));
    assert!(one.len() == 26 && one != two && one[..10] == two[..10], "{one} {two}");
    assert!(object_names::new_epoch(UnixNanos(NOON.0 + 2_000_000), &rng) > one);
}

/// A sealed fragment opens with the session's secret, which only the auditors can open, each of them alone.
#[test]
fn sealed_in_two_steps() {
    let auditors = [age::x25519::Identity::generate(), age::x25519::Identity::generate()];
    let sealer = RecipientPolicy::unlimited(auditors.iter().map(age::x25519::Identity::to_public));
    let session = sealer.new_session(&sealer.audience(owner()), "a/t/s/2026-11-20").expect("session");
    let mut sealed = b"head".to_vec();
    (session.seal)(b"secret prompt", &mut sealed).expect("seal");
    assert!(sealed.starts_with(b"headage-encryption.org/v1\n"));
    for auditor in &auditors {
        let secret = String::from_utf8(age::decrypt(auditor, &session.object).expect("opens")).expect("text");
        let identity: age::x25519::Identity = secret.trim().parse().expect("identity");
        assert_eq!(key_id(&identity.to_public().to_string()), session.id);
        assert_eq!(age::decrypt(&identity, &sealed[4..]).expect("opens"), b"secret prompt");
    }
    assert!(age::decrypt(&auditors[0], &sealed[4..]).is_err());
    let nobody = RecipientPolicy::default();
    assert!(nobody.new_session(&nobody.audience(owner()), "a/t/s/2026-11-20").is_err());
}

/// Wrong recipients are refused with helpful messages that never quote the value. A valid key whose data happens to
/// begin like another type's name is accepted: one in a thousand does.
#[test]
fn recipients_are_checked() {
    let public = age::x25519::Identity::generate().to_public().to_string();
    assert!(parse_recipient(&format!(" {public}\n")).is_ok());
    for bad in ["", "age1xyz", "AGE-SECRET-KEY-1ABC", "age1pq1abc", "ssh-ed25519 AAAA"] {
        let Err(problem) = parse_recipient(bad) else { panic!("{bad} was taken") };
        assert!(bad.is_empty() || !problem.contains(bad));
    }
    let mut keys = std::iter::repeat_with(|| age::x25519::Identity::generate().to_public().to_string());
    let key = keys.by_ref().take(100_000).find(|key| key.starts_with("age1pq")).expect("one in 1024 begins so");
    assert!(parse_recipient(&key).is_ok());
}

fn ring(limit: usize) -> KeyRing {
    let auditor = age::x25519::Identity::generate();
    KeyRing::new(Arc::new(RecipientPolicy::unlimited([auditor.to_public()])), limit)
}

/// One key for each session; a new one after an idle hour; another one for another session.
#[test]
fn keys_live_for_a_session() {
    let ring = ring(10);
    let first = ring.key(&scope("a"), owner(), NOON).expect("key");
    let later = NOON.plus(MAX_KEY_IDLE);
    assert_eq!(ring.key(&scope("a"), owner(), later).expect("key").id(), first.id());
    assert_ne!(ring.key(&scope("b"), owner(), later).expect("key").id(), first.id());
    let idle = later.plus(MAX_KEY_IDLE).plus(std::time::Duration::from_secs(1));
    assert_ne!(ring.key(&scope("a"), owner(), idle).expect("key").id(), first.id());
    ring.drop_stale(idle.plus(MAX_KEY_IDLE).plus(MAX_KEY_IDLE));
    assert!(ring.is_empty());
}

/// The ring stays within its bound and evicts the least recently used keys.
#[test]
fn keys_are_bounded() {
    let ring = ring(10);
    let first = ring.key(&scope("0"), owner(), NOON).expect("key").id().to_owned();
    for n in 1..40_u64 {
        let now = UnixNanos(NOON.0 + n);
        ring.key(&scope(&n.to_string()), owner(), now).expect("key");
        assert_eq!(ring.key(&scope("0"), owner(), now).expect("key").id(), first, "in use, so kept");
        assert!(ring.len() <= 10);
    }
}

/// Offsets are contiguous, objects close by size and at the session's end, leaf numbers have no gap.
#[test]
fn the_books_are_kept() {
    let writer = writer();
    let (a, b) = (scope("a"), scope("b"));
    let place = |scope: &Arc<FragmentScope>, len, end| {
        let placed = writer.place_fragment(&writer.names().object_prefix(scope, NOON, None), len, NOON, end, None);
        let n: u64 = placed.object[placed.object.len() - 15..placed.object.len() - 5].parse().expect("number");
        (n, placed.offset, placed.last)
    };
    assert_eq!(place(&a, 400, false), (0, 0, false));
    assert_eq!(place(&b, 10, false), (1, 0, false));
    assert_eq!(place(&a, 700, false), (0, 400, true), "full");
    assert_eq!(place(&a, 5, false), (2, 0, false));
    assert_eq!(place(&a, 5, true), (2, 5, true), "the session ended");
    assert_eq!(place(&a, 5000, false), (3, 0, true), "too large for company");
    let closed = writer.close_due_objects(NOON, std::time::Duration::ZERO);
    assert_eq!(closed.len(), 1);
    assert_eq!((closed[0].fragments, closed[0].object.contains("/b/")), (1, true));
    assert_eq!(place(&b, 10, false), (4, 0, false), "a closed object gets nothing more");
    assert!(writer.close_due_objects(NOON, std::time::Duration::from_secs(1)).is_empty());
    let account: Arc<str> = "default".into();
    assert_eq!(
        [writer.assign_leaves(&account, 3), writer.assign_leaves(&account, 1), writer.assign_leaves(&"x".into(), 1)],
        [0, 3, 0]
    );
}

fn draft(writer: &VaultWriter, ring: &KeyRing, session: &str, plain: &[u8]) -> VaultDraft {
    let scope = scope(session);
    let key = ring.key(&scope, owner(), NOON).expect("key");
    let spot = writer.names().object_prefix(&scope, NOON, None);
    let mut frame = SealedFragment::empty_frame(writer.names(), &spot, key.id(), "f00d");
    key.seal(plain, frame.rest_mut()).expect("seal");
    let tail = RowTail { kind: Some(RowKind::Payload), tenant: "acme".to_owned(), ..RowTail::default() };
    let rows = vec![UnnumberedRow::new(&tail, true), UnnumberedRow::new(&RowTail::default(), false)];
    let fragment = SealedFragment {
        uri_slot: Some(SlotId(1)),
        range_slot: Some(SlotId(2)),
        known_slots: vec![(SlotId(4), "k".to_owned())],
        ..gateway::fragment("f00d".to_owned(), key, frame)
    };
    let mut draft = gateway::draft(writer.names(), "default", &scope, NOON, Some(fragment), rows);
    draft.groups[0].leaf_slots[0] = Some(SlotId(3));
    draft
}

/// A million sessions of one fragment each, within a minute: keys and open objects stay bounded, each fragment has its
/// own object, no number is assigned twice, and everything is released over time.
#[test]
fn a_million_sessions() {
    let (writer, ring) = (writer(), KeyRing::new(Arc::new(PlainKeys(0.into())), MAX_KEYS));
    let (account, base): (Arc<str>, _) = ("default".into(), (*scope("s")).clone());
    let count = 1_000_000_u64;
    for n in 0..count {
        let (now, scope) =
            (UnixNanos(NOON.0 + n * 60_000), Arc::new(FragmentScope { session: n.to_string(), ..base.clone() }));
        let first = ring.key(&scope, owner(), now).expect("key");
        assert!(first.id() == format!("{n:016x}"), "a key of its own");
        let placed = writer.place_fragment(&writer.names().object_prefix(&scope, now, None), 100, now, false, None);
        assert_eq!((placed.number, placed.offset, placed.last), (n, 0, n >= MAX_OPEN_OBJECTS as u64));
        assert_eq!(writer.assign_leaves(&account, 1), n);
        if n % 100_000 == 99_999 {
            assert!(
                ring.len() <= MAX_KEYS && writer.open_count() <= MAX_OPEN_OBJECTS,
                "{} {}",
                ring.len(),
                writer.open_count()
            );
        }
    }
    let later = UnixNanos(NOON.0 + count * 60_000).plus(MAX_KEY_IDLE).plus(std::time::Duration::from_secs(1));
    assert_eq!(writer.close_due_objects(later, std::time::Duration::from_secs(120)).len(), MAX_OPEN_OBJECTS);
    ring.drop_stale(later);
    assert!(ring.is_empty() && writer.open_count() == 0);
}

/// A ticket returns the key (once, and first), the fragment, its leaves, and slot texts that agree with them. Lines have
/// the fixed order of keys, the ticket's numbers, and one object each.
#[test]
fn a_ticket_fixes_everything() {
    let (writer, ring) = (writer(), ring(10));
    let mut ticketer = VaultTicketer::new(writer.clone(), "s3://audit/".into(), "vault".into());
    let one = draft(&writer, &ring, "a", b"one");
    let (bound, one) = (one.max_bytes(writer.names()), ticketer.ticket(Box::new(one)));
    let two = ticketer.ticket(Box::new(draft(&writer, &ring, "a", b"two")));
    let kinds = |records: &[pipeline::spool::SpoolRecord]| records.iter().map(|r| r.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&one.records), [RecordKind::Key, RecordKind::Fragment, RecordKind::Leaf]);
    assert_eq!(kinds(&two.records), [RecordKind::Fragment, RecordKind::Leaf]);
    assert!(one.records.iter().map(|r| r.body.len() as u64 + 64).sum::<u64>() <= bound);
    let (key, _): (KeyHeader, _) = spool_record::unpack(&one.records[0].body).expect("key");
    let (fragment, sealed): (FragmentHeader, _) = spool_record::unpack(&one.records[1].body).expect("fragment");
    let (second, _): (FragmentHeader, _) = spool_record::unpack(&two.records[0].body).expect("fragment");
    assert_eq!(second.offset, sealed.len() as u64);
    assert_eq!(second.object, fragment.object);
    assert!(key.name.contains("/a/2026-11-20/") && key.name.ends_with(&format!("{}.age", fragment.key)));
    let slot = |ticketed: &pipeline::TicketResult, n| {
        ticketed.slots.iter().find(|(slot, _)| *slot == SlotId(n)).map(|(_, text)| text.clone()).expect("slot")
    };
    assert_eq!(slot(&one, 1), format!("s3://audit/{}", fragment.object));
    assert_eq!(slot(&one, 2), format!("bytes=0000000000-{:010}", sealed.len() - 1));
    assert_eq!(slot(&two, 3), "gw-1/01KA/000000000002");
    assert_eq!(slot(&two, 2).len(), super::ticket::widths::RANGE);
    let (header, lines): (LeafHeader, _) = spool_record::unpack(&two.records[1].body).expect("leaf");
    assert_eq!((header.first, header.count, header.day.as_str()), (2, 2, "2026-11-20"));
    let rows: Vec<IndexRow> = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a row"))
        .collect();
    assert_eq!((rows[0].leaf, rows[1].leaf), (2, 3));
    assert_eq!(rows[0].object_key, header.object);
    assert!(rows[0].off.is_some_and(|off| off > 0) && rows[1].off.is_none());
    assert_eq!(rows[0].tail.tenant, "acme");
    let order: Vec<&str> = std::str::from_utf8(&lines).expect("text").split('"').skip(1).step_by(2).take(6).collect();
    assert_eq!(order[..4], ["v", "leaf", "object_key", header.object.as_deref().expect("object")]);
    // splicing gives the same text as serialising the whole row
    let whole = serde_json::to_string(&rows[0]).expect("json");
    assert!(lines.starts_with(whole.as_bytes()));
}

/// A later price names its call's leaf once; after a restart only the ids connect them. The reservation includes room
/// for the name.
#[test]
fn a_late_price_names_its_call() {
    let tail = |kind, status: &str, span: &str| RowTail {
        kind: Some(kind),
        account: "default".to_owned(),
        trace_id: Some("t".to_owned()),
        span_id: Some(span.to_owned()),
        cost_status: Some(status.to_owned()),
        ..RowTail::default()
    };
    let draft = |tails: &[RowTail]| {
        let rows: Vec<UnnumberedRow> = tails.iter().map(|tail| UnnumberedRow::new(tail, false)).collect();
        gateway::draft(writer().names(), "default", &scope("a"), NOON, None, rows)
    };
    let rows = |writer: &Arc<VaultWriter>, tails: &[RowTail]| {
        let draft = draft(tails);
        let bound = draft.max_bytes(writer.names());
        let ticketed = VaultTicketer::new(writer.clone(), "s3://audit/".into(), "vault".into()).ticket(Box::new(draft));
        assert!(ticketed.records[0].body.len() as u64 <= bound);
        let (_, lines): (LeafHeader, _) = spool_record::unpack(&ticketed.records[0].body).expect("leaf");
        let lines = std::str::from_utf8(&lines).expect("text").to_owned();
        lines.lines().map(|line| serde_json::from_str(line).expect("a row")).collect::<Vec<IndexRow>>()
    };
    let (first, price) = (tail(RowKind::Action, "deferred", "s"), tail(RowKind::Price, "priced", "s"));
    let books = writer();
    rows(&books, &[tail(RowKind::Action, "priced", "x"), first.clone()]);
    let said = |rows: Vec<IndexRow>| rows.into_iter().map(|row| row.of).collect::<Vec<_>>();
    assert_eq!(
        said(rows(&books, &[tail(RowKind::Price, "priced", "other"), price.clone(), price.clone()])),
        [None, Some("gw-1/01KA/000000000001".to_owned()), None]
    );
    assert_eq!(said(rows(&writer(), &[price])), [None]);
}

/// A malformed record is distinguished from a good one.
#[test]
fn damaged_records_are_refused() {
    let body =
        spool_record::pack(&KeyHeader { name: "n".to_owned(), key: "k".to_owned(), epoch: String::new() }, b"rest");
    let (header, rest): (KeyHeader, _) = spool_record::unpack(&body).expect("whole");
    assert_eq!((header.name.as_str(), &rest[..]), ("n", &b"rest"[..]));
    for cut in [0, 3, 4, 10] {
        assert!(spool_record::unpack::<KeyHeader>(&body.slice(..cut)).is_none());
    }
    assert!(spool_record::unpack::<FragmentHeader>(&body).is_none());
}

/// A session's folder has the same name as in its objects, whatever its ids.
#[test]
fn a_session_is_in_one_folder() {
    let ids = PlainIds(Pseudonymizer::new(&Secret::new("key".into())));
    let (tenant, session) = ("acme/eu", "one two");
    let scope = FragmentScope::new(&ids, "default", Some(tenant), SessionName::Id(session), UnixNanos(0));
    let folder = object_names::session_folder("default", tenant, session);
    assert_eq!(folder, "default/acme%2Feu/one%20two/");
    assert!(scope.path().starts_with(&folder), "{}", scope.path());
}
