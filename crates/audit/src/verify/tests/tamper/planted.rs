//! Objects planted under taken, foreign and future names.

use super::*;
use pipeline::spool::RecordKind;
use vault::spool_record::{FragmentHeader, unpack};

/// Someone with write access alone takes names in advance: nothing is lost, and it is reported. Payload gets an
/// alternative name, lines and digests another epoch.
#[tokio::test]
async fn names_taken_in_advance_lose_nothing() {
    let twin = site().await;
    let payload = twin.name(&["default/acme/s0/", "E0000", ".agev"]);
    let s = written(std::slice::from_ref(&payload)).await;
    let report = s.audit().await;
    assert_eq!(codes(&report), ["unreferenced"], "{}", report.text());
    assert_eq!(report.counts.fragments, twin.audit().await.counts.fragments);
    let stem = payload.strip_suffix(".agev").expect("payload");
    assert_eq!(s.store.0.lock().keys().filter(|name| name.starts_with(stem)).count(), 2);

    let (digest, index) = with_index(&twin);
    for name in [index, format!("{digest}.sig"), digest] {
        let s = written(std::slice::from_ref(&name)).await;
        let report = s.audit().await;
        assert!(has(&report, "fork"), "{name}: {}", report.text());
        let lost = ["index_missing", "object_missing", "fragment_changed", "root", "counters"];
        assert!(!codes(&report).iter().any(|code| lost.contains(code)), "{name}: {}", report.text());
        assert_eq!(report.counts.fragments, twin.audit().await.counts.fragments, "{name}: {}", report.text());
    }
}

/// Every reader reads objects under their alternative name if their own was taken, and reports it.
#[tokio::test]
async fn what_stands_beside_its_name_is_read() {
    use crate::read::{
        ContentReference, ExportFormat, FragmentOpener, IndexQuery, LeafId, LineSelection, ReplayFilter, get,
        get_lines, replay,
    };
    let taken = site().await.name(&["default/acme/s0/", "E0000", ".agev"]);
    let s = written(std::slice::from_ref(&taken)).await;
    let vault = s.vault();
    let opener = || FragmentOpener::new(&vault, vec![s.auditor.clone()]);
    let said =
        |moved: &[String]| moved.len() == 1 && moved[0].starts_with(&taken) && moved[0].contains("was read from");

    let filter = ReplayFilter { account: Some("default".to_owned()), ..ReplayFilter::default() };
    let mut reader = opener();
    let session = replay(&mut reader, "s0", &filter).await.expect("read");
    assert!(!session.is_partial() && session.unreadable.is_empty(), "{:?}", session.unreadable);
    assert!(said(&reader.alternative_reads), "{:?}", &reader.alternative_reads);
    let mut out = Vec::new();
    session.export(ExportFormat::Jsonl, &mut out).expect("written");
    let text = String::from_utf8(out).expect("text");
    // s0 has every second of six batches, each twice, and three later ones
    assert_eq!(text.lines().count(), 9, "{text}");
    assert!(text.contains("text 0") && text.contains("later 2") && !text.contains("junk"));

    // by a line
    let mut rows = Vec::new();
    let query = IndexQuery { account: filter.account.clone(), ..IndexQuery::default() };
    crate::read::find_signed(&vault, &query, None, &mut |row, _| rows.push(row.clone())).await.expect("found");
    let row = rows.iter().find(|row| row.object_key.as_ref() == Some(&taken)).expect("a line");
    let leaf = format!("{}/{}/{:012}", row.tail.writer, row.tail.epoch, row.leaf);
    let (mut reader, mut out) = (opener(), Vec::new());
    let lines = LineSelection { query, leaf: Some(LeafId::parse(&leaf).expect("a leaf")), keys: Vec::new() };
    get_lines(&mut reader, &lines, &mut out).await.expect("opened").expect("written");
    assert!(said(&reader.alternative_reads) && out.starts_with(b"{\"v\":1"));
    // by the reference on the span
    for range in [None, row.off.zip(row.tail.len).map(|(off, len)| format!("bytes={off}-{}", off + len - 1))] {
        let (mut reader, mut whole) = (opener(), Vec::new());
        let wanted = ContentReference { uri: taken.clone(), range };
        get(&mut reader, &wanted, &mut whole).await.expect("opened").expect("written");
        assert!(said(&reader.alternative_reads), "{:?}", reader.alternative_reads);
        assert!(whole.starts_with(&out[..out.len() - 1]));
    }
    // other accounts' lines with this number are not opened by accident
    let lines = LineSelection {
        query: IndexQuery::default(),
        leaf: Some(LeafId::parse("gw/E0000/0").expect("a leaf")),
        keys: Vec::new(),
    };
    let why = get_lines(&mut opener(), &lines, &mut Vec::new()).await.expect_err("whose?");
    assert!(why.contains("--account with one of default, team"), "{why}");
}

/// Objects with names that no gateway writes, of unknown epochs, or of no vault kind are reported by name, wherever
/// they are, never only counted; so are objects that only look like a probe of `vault doctor`.
#[tokio::test]
async fn planted_names_are_told() {
    use std::collections::BTreeSet;
    use vault::store::probe::PROBE_BODY;
    let s = site().await;
    let id = "0123456789abcdef0123456789abcdef";
    for probe in [format!("doctor/{id}"), format!("keys/doctor/{id}-short")] {
        s.plant(&probe, PROBE_BODY);
    }
    s.plant("holds/default/acme/s0/00000000000000000001.json", "{}");
    s.audit().await.assert_clean();
    let key = s.name(&["keys/default/", ".age"]);
    let of_no_kind = [
        "lines/v1/x.ndjson.zst".to_owned(),
        "README".to_owned(),
        ".hidden".to_owned(),
        "other/acme/s0/2026-11-20/note.txt".to_owned(),
        "holds/default/x".to_owned(),
        "doctor/1".to_owned(),
        "keys/doctor/1".to_owned(),
        format!("doctor/{}", id.replace('0', "f")),
        format!("keys/doctor/{}", id.replace('0', "f")),
        format!("keys/doctor/{id}/x"),
        format!("{key}.tmp"),
        "bad\u{fffd}".to_owned(),
    ];
    of_no_kind.iter().for_each(|name| s.plant(name, "junk"));
    let real = s.name(&["index/v1/account=default/", "E0000", ".ndjson.zst"]);
    let lines = s.object(&real);
    let strange = [
        "index/v1/account=default/dt=2000-01-01/a",
        "index/v1/x",
        "index/v2/account=default/dt=2026-11-20/gw-E0000-0000000000.ndjson.zst",
        // an epoch that begins in the future, and an invalid one
        "index/v1/account=default/dt=9999-12-31/gw-7ZZZZZZZZZZZZZZZZZZZZZZZZZ-0000000000.ndjson.zst",
        "index/v1/account=default/dt=2026-11-20/gw-F0000-0000000000.ndjson.zst",
    ];
    strange.iter().for_each(|name| s.plant(name, lines.clone()));
    // one that may just have begun: a warning that names it
    let begun = "index/v1/account=default/dt=2026-11-20/other-01KAFMGG00ABCDEFGHJKMNPQRS-0000000000.ndjson.zst";
    s.plant(begun, lines);
    let report = s.audit().await;
    assert!(!report.verified);
    let of = |code: &str| {
        let found = report.findings.iter().filter(|one| one.code == code);
        found.map(|one| one.location.clone()).collect::<BTreeSet<String>>()
    };
    let wanted: BTreeSet<String> = strange.map(str::to_owned).into_iter().chain(of_no_kind).collect();
    assert_eq!(of("unreferenced"), wanted);
    assert_eq!(of("not_yet_referenced"), BTreeSet::from([begun.to_owned()]));
}

/// Objects planted in the index neither end a search nor replace genuine lines: they are reported, and the first line
/// of a number in a gateway's object is shown.
#[tokio::test]
async fn planted_objects_end_no_search() {
    use crate::read::{FragmentOpener, IndexQuery, ReplayFilter, find_signed, replay};
    use crate::signed_index::SignedIndex;
    let s = site().await;
    let vault = s.vault();
    let query = IndexQuery { session: Some("s0".to_owned()), ..IndexQuery::default() };
    let whole = find_signed(&vault, &query, None, &mut |_, _| {}).await.expect("found").0;
    assert!(whole.unreadable.is_empty() && whole.lines > 0);
    let real = s.name(&["index/v1/account=default/", "E0000", ".ndjson.zst"]);
    let forged: Vec<String> = lines(&s, &real).iter().map(|line| line.replace("\"s0\"", "\"forged\"")).collect();
    let packed = zstd::bulk::compress(forged.join("\n").as_bytes(), 3).expect("zstd");
    for (name, bytes) in [
        ("index/v1/x", b"garbage".to_vec()),
        ("index/v1/account=default/dt=2000-01-01/a", packed.clone()),
        ("index/v1/account=default/dt=2000-01-01/other-E0000-0000000000.ndjson.zst", packed.clone()),
        ("index/v1/account=default/dt=2026-11-20/gw-E0009-0000000000.ndjson.zst", b"garbage".to_vec()),
        ("index/v1/account=default/dt=9999-12-31/gw-E0000-0000000000.ndjson.zst", packed),
    ] {
        s.plant(name, bytes);
    }
    let found = find_signed(&vault, &query, None, &mut |_, _| {}).await.expect("found").0;
    assert_eq!((found.lines, found.unreadable.len()), (whole.lines, 5), "{:?}", found.unreadable);
    let forged = IndexQuery { session: Some("forged".to_owned()), ..IndexQuery::default() };
    assert_eq!(find_signed(&vault, &forged, None, &mut |_, _| {}).await.expect("found").0.lines, 0);
    // with the writer's key, planted lines are marked
    let keys = [signing_key().public().clone()];
    let signed = Arc::new(SignedIndex::read(&vault, &keys, None).await.expect("read"));
    let mut marks = Vec::new();
    let (own, others) =
        find_signed(&vault, &forged, Some(&*signed), &mut |_, unsigned| marks.push(unsigned)).await.expect("found");
    assert_eq!((own.lines, others.lines > 0, own.unreadable.len()), (0, true, 0));
    assert!(marks.iter().all(|unsigned| *unsigned), "{marks:?}");
    let (own, others) = find_signed(&vault, &query, Some(&*signed), &mut |_, _| {}).await.expect("found");
    assert_eq!((own.lines, others.lines), (whole.lines, 0));
    let none = Arc::new(SignedIndex::read(&vault, &[], None).await.expect("read"));
    assert_eq!(find_signed(&vault, &query, Some(&*none), &mut |_, _| {}).await.expect("found").0.lines, 0);
    for (session, signed, marked) in [("forged", &signed, true), ("s0", &signed, false), ("s0", &none, true)] {
        let filter = ReplayFilter {
            signed: Some(signed.clone()),
            account: Some("default".to_owned()),
            ..ReplayFilter::default()
        };
        let mut opener = FragmentOpener::new(&vault, vec![s.auditor.clone()]);
        let told = replay(&mut opener, session, &filter).await.expect("told");
        let text = text_of(|out| told.write_text(out));
        assert_eq!((text.contains("UNSIGNED"), told.unsigned() > 0), (marked, marked), "{session}: {text}");
        assert_eq!(told.to_json().expect("json").contains("\"unsigned\": true"), marked, "{session}");
    }
}

/// If a name is taken while an attempt's outcome is unknown (the gateway crashed before it recorded the answer), the
/// object is mistaken for its own: that content is lost, but the loss is reported.
#[tokio::test]
async fn a_name_taken_behind_a_crash_is_told() {
    let mut s = Site::new(41);
    s.send("default", "s0", "what was said");
    s.send("default", "s1", "what else was said");
    let fragment = s.journal.of_kind(RecordKind::Fragment).into_iter().next().expect("a fragment");
    let (FragmentHeader { object, .. }, _) = unpack(&fragment.body).expect("a header");
    s.restart(0);
    s.plant(&object, "planted");
    assert!(s.uploader.drain().await);
    let report = s.audit().await.assert_failed("object_changed");
    assert!(report.findings.iter().all(|one| one.location.contains(&object)), "{}", report.text());
    assert_eq!(report.counts.opened, 1, "the other session's content");
}

/// Session lines that no digest names are reported by name, wherever they claim to come from; named ones are not.
#[tokio::test]
async fn planted_lines_of_sessions_are_found() {
    let mut s = Site::new(43);
    s.send("default", "s0", "what was said");
    s.minutes(40).await;
    let own = s.name(&["sessions/v1/account=default/"]);
    s.audit().await.assert_clean();
    let bytes = s.object(&own);
    let (folder, number) = own.rsplit_once('-').expect("a number");
    let first = format!("{folder}-0000000000.ndjson.zst");
    assert_ne!(number, "0000000000.ndjson.zst");
    for planted in [first, own.replace("E0000", "D0000"), own.replace("/v1/", "/v2/"), "sessions/junk".to_owned()] {
        s.plant(&planted, bytes.clone());
        let report = s.audit().await;
        let told: Vec<_> = report.findings.iter().map(|one| (one.code, one.location.as_str())).collect();
        assert_eq!(told, [("unreferenced", planted.as_str())], "{}", report.text());
        s.remove(&planted);
    }
}
