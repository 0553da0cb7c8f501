use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::columns::{COLUMNS, ColumnType, position};
use super::sort::LineSorter;
use super::state::{AccountDay, DayState, TableFile, TablePart};
use super::table_reader::{ColumnCondition, TableCoverage, visit_rows, visit_table};
use super::table_writer::TableWriter;
use super::*;
use crate::read::{IndexQuery, Vault, find, find_in_tables, find_signed, find_signed_in_tables};
use crate::signed_index::SignedIndex;
use crate::testing::site::{Memory, Site};
use kernel::rng::SeededRng;
use vault::index_row::{IndexRow, RowTail, TokenBuckets};
use vault::testing::journal::signing_key;

/// An index line with many fields set, derived from a seed.
fn line(rng: &mut SeededRng, leaf: u64) -> Value {
    let dice = rng.next();
    let tenant = ["acme", "a/b c", "", "\u{1F600}"][(dice >> 10) as usize % 4];
    let one_of = |shift: u32, of: u64, name: &str| format!("{name}{}", (dice >> shift) % of);
    json!({
        "v": 1, "leaf": leaf, "object_key": one_of(0, 3, "o"), "off": dice % 7, "len": 100, "item": null, "kind": "action",
        "ts": format!("2026-11-{:02}T10:00:{:02}.000000000Z", 19 + dice % 3, (dice >> 4) % 60),
        "ingest_ts": "2026-11-20T10:00:00.000000000Z", "signal": "traces", "account": "default",
        "tenant": tenant,
        "session_id": if dice.is_multiple_of(5) { Value::Null } else { one_of(12, 40, "s").into() },
        "trace_id": one_of(20, 60, "7d"), "span_id": format!("{leaf:016x}"), "turn": one_of(14, 12, ""),
        "user_key": one_of(28, 9, "h-"), "tool_name": if dice.is_multiple_of(3) { Value::Null } else { one_of(32, 5, "Tool").into() },
        "call": "tool", "status": if dice.is_multiple_of(11) { "timeout" } else { "ok" }, "part": vec!["input"; dice as usize % 3],
        "writer": "gw", "epoch": "E1", "repeat": dice.is_multiple_of(2), "commit_sha": one_of(36, 4, "abcdef"),
        "buckets": if dice.is_multiple_of(4) { json!({"input": 1, "cache_read": 2, "cache_write_5m": 3, "cache_write_1h": 4, "output": 5, "reasoning": 6}) } else { Value::Null },
        "duration_ns": dice >> 1, "basis": Value::Null,
    })
}

fn some(seed: u64, from: u64, count: u64) -> Vec<Value> {
    let mut rng = SeededRng::new(seed);
    (from..from + count).map(|leaf| line(&mut rng, leaf)).collect()
}

/// Stores lines in an index object.
fn put(store: &Memory, account: &str, day: &str, first: u64, lines: &[Value]) -> String {
    let name = format!("index/v1/account={account}/dt={day}/gw-E1-{first:010}.ndjson.zst");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    store.0.lock().insert(name.clone(), Bytes::from(zstd::bulk::compress(text.as_bytes(), 3).expect("zstd")));
    name
}

fn vault(store: &Arc<Memory>) -> Vault {
    Vault::new(store.clone(), "", None)
}

async fn run(store: &Arc<Memory>, folder: &Path) -> CompactSummary {
    let options = CompactOptions { folder: folder.to_owned(), ..CompactOptions::default() };
    compact(&vault(store), &options, &mut |_| {}).await.expect("compacted")
}

/// Every file below a folder with its bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(here) = folders.pop() {
        for entry in std::fs::read_dir(here).expect("folder").flatten() {
            match entry.file_type().expect("kind").is_dir() {
                true => folders.push(entry.path()),
                false => {
                    let name = entry.path().strip_prefix(folder).expect("below").to_string_lossy().into_owned();
                    drop(found.insert(name, std::fs::read(entry.path()).expect("file")));
                }
            }
        }
    }
    found
}

fn tables(folder: &Path) -> Vec<String> {
    files(folder).into_keys().filter(|name| name.ends_with(".parquet")).collect()
}

/// A line without its `null` fields, which are equivalent to missing ones.
fn without_nulls(line: &Value) -> Map<String, Value> {
    line.as_object().expect("an object").clone().into_iter().filter(|(_, value)| !value.is_null()).collect()
}

/// Every field of an index line has a column; a new field needs a new column in COLUMNS of `columns.rs`.
#[test]
fn fields_have_columns() {
    let tail = RowTail {
        buckets: Some(TokenBuckets::default()),
        agent_id: Some("a1".to_owned()),
        key_sha256: Some("00".to_owned()),
        source_record: Some("in/3/7".to_owned()),
        uncounted_cost_usd: Some("0.1".to_owned()),
        ..RowTail::default()
    };
    let row = IndexRow { v: 1, leaf: 0, object_key: None, off: None, of: Some("a/b/1".to_owned()), tail };
    let Value::Object(row) = serde_json::to_value(row).expect("json") else { panic!("an object") };
    let missing: Vec<_> = row.keys().filter(|name| position(name).is_none()).collect();
    assert!(missing.is_empty(), "no column for {missing:?}");
    let unknown: Vec<_> = COLUMNS.iter().map(|column| column.name).filter(|name| !row.contains_key(*name)).collect();
    assert_eq!(unknown, ["more"]);
    let Some(ColumnType::Ints(fields)) =
        position("buckets").and_then(|at| COLUMNS.get(at)).map(|column| column.column_type)
    else {
        panic!("a group")
    };
    assert_eq!(
        row["buckets"].as_object().expect("buckets").keys().collect::<Vec<_>>(),
        fields.iter().collect::<Vec<_>>()
    );
}

/// Every value written to a table can be read back: unknown fields, values that fit no column, empty lists.
#[test]
fn tables_lose_nothing() {
    let folder = tempfile::tempdir().expect("scratch");
    let path = folder.path().join("t.parquet");
    let mut lines = some(1, 0, 300);
    lines.push(json!({"v": 2, "leaf": u64::MAX, "turn": 7, "tool_name": {"new": "form"}, "part": "input", "unheard": [1, {"of": null}],
        "more": "a field of this name", "buckets": {"input": 1, "other": 2}, "repeat": "yes", "basis": {"tier": "batch"}}));
    lines.push(json!({"v": 1, "buckets": {}, "part": [], "duration_ns": -5}));
    lines.push(json!({}));
    lines.push(json!({"buckets": {"output": 9}, "part": ["", "\u{0}", "x".repeat(100_000)]}));
    let mut table = TableWriter::new(&path).expect("a file");
    for line in &lines {
        table.push(line.as_object().expect("an object").clone(), 1).expect("pushed");
    }
    assert!(table.finish().expect("finished").0 > 0);
    let mut read = Vec::new();
    super::table_reader::visit_table(std::fs::File::open(&path).expect("file"), &[], &mut |line| {
        read.push(line);
        Ok(())
    })
    .expect("read");
    assert_eq!(read.len(), lines.len());
    for (read, line) in read.iter().zip(&lines) {
        assert_eq!(*read, without_nulls(line));
    }
    let bytes = std::fs::read(&path).expect("file");
    for cut in [0, 3, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).expect("written");
        let cut = super::table_reader::visit_table(std::fs::File::open(&path).expect("file"), &[], &mut |_| Ok(()));
        assert!(cut.is_err(), "a file that was cut off");
    }
}

/// A query over tables has the same result as over the index, whether the tables are complete, outdated, or the only
/// source.
#[tokio::test]
async fn tables_answer_as_the_index() {
    let (store, folder) = (Arc::new(Memory::default()), tempfile::tempdir().expect("scratch"));
    for (n, day) in ["2026-11-19", "2026-11-20", "2026-11-21"].into_iter().enumerate() {
        let first = n as u64 * 400;
        put(&store, "default", day, first, &some(n as u64 + 5, first, 400));
    }
    run(&store, folder.path()).await;
    // this one is added later, and is read from the index
    put(&store, "default", "2026-11-21", 2000, &some(9, 2000, 50));
    let is = |text: &str| Some(text.to_owned());
    let queries = [
        IndexQuery::default(),
        IndexQuery { session: is("s7"), ..IndexQuery::default() },
        IndexQuery { session: is("trace-7d11"), ..IndexQuery::default() },
        IndexQuery { session: is("nobody"), ..IndexQuery::default() },
        IndexQuery { tenant: is("a/b c"), tool: is("Tool3"), ..IndexQuery::default() },
        IndexQuery { tenant: is(""), failed: true, ..IndexQuery::default() },
        IndexQuery {
            account: is("default"),
            users: vec!["h-4".to_owned()],
            since: is("2026-11-20"),
            ..IndexQuery::default()
        },
        IndexQuery { users: ["h-4", "h-2", "h-nobody"].map(str::to_owned).to_vec(), ..IndexQuery::default() },
        IndexQuery { account: is("team"), ..IndexQuery::default() },
        IndexQuery { commit: is("abcdef2"), until: is("2026-11-20T10:00:30"), ..IndexQuery::default() },
        IndexQuery { commit: is("abc"), ..IndexQuery::default() },
        IndexQuery { trace: is("7d5"), span: is("0000000000000005"), ..IndexQuery::default() },
        IndexQuery { since: is("2026-11-21T10:00:50"), ..IndexQuery::default() },
    ];
    let mut found_any = 0;
    for query in queries {
        let (mut index, mut both, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        let text = |row: &IndexRow| serde_json::to_string(row).expect("json");
        let vault = vault(&store);
        let counted = find(&vault, &query, &mut |row| index.push(text(row))).await.expect("found");
        let again =
            find_in_tables(folder.path(), Some(&vault), &query, &mut |row| both.push(text(row))).await.expect("found");
        assert_eq!(counted, again, "{query:?}");
        find_in_tables(folder.path(), None, &query, &mut |row| alone.push(text(row))).await.expect("found");
        index.sort_unstable();
        both.sort_unstable();
        assert_eq!(index, both, "{query:?}");
        let late = |row: &str| serde_json::from_str::<Value>(row).expect("json")["leaf"].as_u64() >= Some(2000);
        let old: BTreeSet<_> = index.iter().filter(|row| !late(row)).collect();
        assert_eq!(alone.iter().collect::<BTreeSet<_>>(), old, "{query:?}");
        found_any += usize::from(!index.is_empty());
    }
    assert!(found_any >= 8, "queries must find something to prove something: {found_any}");
    let vault = vault(&store);
    let count = async |users: &[&str]| {
        let users = users.iter().map(|user| (*user).to_owned()).collect();
        let query = IndexQuery { users, ..IndexQuery::default() };
        find(&vault, &query, &mut |_| {}).await.expect("found").lines
    };
    let [one, other] = [count(&["h-4"]).await, count(&["h-2"]).await];
    assert!(one > 0 && other > 0);
    assert_eq!(count(&["h-4", "h-2", "h-nobody"]).await, one + other, "the pseudonyms of one user");
}

/// A second run changes no byte; new lines go into new files; many parts are merged into one, with the same lines.
#[tokio::test]
async fn runs_are_incremental() {
    let (store, folder) = (Arc::new(Memory::default()), tempfile::tempdir().expect("scratch"));
    put(&store, "default", "2026-11-19", 0, &some(1, 0, 20));
    put(&store, "default", "2026-11-20", 20, &some(2, 20, 20));
    let first = run(&store, folder.path()).await;
    assert_eq!((first.objects, first.lines, first.days), (2, 40, 2));
    let before = files(folder.path());
    assert_eq!(run(&store, folder.path()).await, CompactSummary::default());
    assert_eq!(files(folder.path()), before);
    for n in 1..=7 {
        put(&store, "default", "2026-11-20", 20 + n * 20, &some(2 + n, 20 + n * 20, 20));
        let more = run(&store, folder.path()).await;
        assert_eq!((more.objects, more.lines, more.days), (1, 20, 1));
        let now = files(folder.path());
        assert!(
            before
                .iter()
                .filter(|(name, _)| name.ends_with(".parquet"))
                .all(|(name, bytes)| now.get(name) == Some(bytes))
        );
    }
    let parts = tables(folder.path()).len();
    put(&store, "default", "2026-11-20", 900, &some(99, 900, 20));
    let merged = run(&store, folder.path()).await;
    assert_eq!((merged.objects, merged.lines), (9, 180), "the whole day");
    assert!(tables(folder.path()).len() < parts);
    let mut lines = 0;
    find_in_tables(folder.path(), None, &IndexQuery::default(), &mut |_| lines += 1).await.expect("found");
    assert_eq!(lines, 200, "each line once");
}

/// The next run repairs a run that crashed at any moment.
#[tokio::test]
async fn runs_that_died_are_put_right() {
    let (store, folder) = (Arc::new(Memory::default()), tempfile::tempdir().expect("scratch"));
    put(&store, "default", "2026-11-19", 0, &some(1, 0, 20));
    run(&store, folder.path()).await;
    let wanted = files(folder.path());
    let state = wanted.keys().find(|name| name.ends_with(".json")).expect("a state");
    let table = tables(folder.path()).first().expect("a table").clone();
    // crashed before the state was written, with files of this run, and of one that had read other objects
    std::fs::remove_file(folder.path().join(state)).expect("removed");
    std::fs::copy(folder.path().join(&table), folder.path().join(table.replace("part-", "part-0"))).expect("copied");
    std::fs::write(folder.path().join(table.replace("part-", ".part-") + ".tmp"), b"half").expect("written");
    run(&store, folder.path()).await;
    assert_eq!(files(folder.path()), wanted);
    // a damaged state is an error, not guessed
    std::fs::write(folder.path().join(state), b"{").expect("written");
    let options = CompactOptions { folder: folder.path().to_owned(), ..CompactOptions::default() };
    let told = compact(&vault(&store), &options, &mut |_| {}).await.expect_err("damaged");
    assert!(told.contains("not a state"), "{told}");
}

/// A line that readers refuse gets into no table, because one planted line would end every search of its day. (Verified
/// to fail: without the row's own check in `is_sane` the table is written, and `find` ends at it.)
#[tokio::test]
async fn what_find_refuses_is_in_no_table() {
    for (field, value) in [
        ("off", json!(-1)),
        ("item", json!(1_u64 << 40)),
        ("duration_ns", json!(-1)),
        ("basis", json!([[[]]])),
        ("leaf", json!("1")),
    ] {
        let folder = tempfile::tempdir().expect("scratch");
        let store = Arc::new(Memory::default());
        put(&store, "default", "2026-11-20", 0, &some(1, 0, 5));
        let mut strange = some(2, 7, 1);
        strange[0][field] = value;
        let planted = put(&store, "default", "2026-11-20", 7, &strange);
        let done = run(&store, folder.path()).await;
        assert_eq!(done.lines, 5, "{field}");
        assert!(done.unreadable.len() == 1 && done.unreadable[0].contains(&planted), "{field}: {:?}", done.unreadable);
        let (mut count, vault) = (0, vault(&store));
        let found = find_in_tables(folder.path(), Some(&vault), &IndexQuery::default(), &mut |_| count += 1).await;
        assert!(found.is_ok() && count == 5, "{field}: {count}");
    }
}

/// With a key, only lines that a signed digest names are included; a planted object is reported, a changed one ends the
/// run.
#[tokio::test]
async fn planted_lines_are_left_out() {
    let folder = tempfile::tempdir().expect("scratch");
    let mut site = Site::new(3);
    site.send("default", "s", "text");
    site.minutes(4).await;
    let planted = put(&site.store, "default", "2026-11-20", 777, &some(1, 777, 5));
    let options = |folder: &Path| CompactOptions {
        folder: folder.to_owned(),
        keys: vec![signing_key().public().clone()],
        ..CompactOptions::default()
    };
    let vault = vault(&site.store);
    let done = compact(&vault, &options(folder.path()), &mut |_| {}).await.expect("compacted");
    assert_eq!(done.unsigned, std::slice::from_ref(&planted));
    assert_eq!((done.objects, done.lines), (1, 2));
    let other = CompactOptions { keys: vec![other_key()], ..options(&folder.path().join("other")) };
    assert_eq!(
        compact(&vault, &other, &mut |_| {}).await.expect("compacted").unsigned.len(),
        2,
        "nobody signed anything"
    );
    let named =
        site.store.0.lock().keys().find(|name| name.contains("index/") && **name != planted).expect("one").clone();
    put(&site.store, "default", "2026-11-20", 778, &[]);
    let other = site.store.0.lock().get(&planted).cloned().expect("there");
    site.store.0.lock().insert(named, other);
    let told = compact(&vault, &options(&folder.path().join("third")), &mut |_| {}).await.expect_err("changed");
    assert!(told.contains("does not match the hash in its digest"), "{told}");
}

/// What a run without keys took from planted objects is gone after a run with keys, also where nothing else is left.
#[tokio::test]
async fn a_run_with_keys_cleans_tables_of_one_without() {
    let folder = tempfile::tempdir().expect("scratch");
    let mut site = Site::new(3);
    site.send("default", "s", "text");
    site.minutes(4).await;
    put(&site.store, "default", "2026-11-20", 777, &some(1, 777, 5));
    put(&site.store, "default", "2020-01-01", 900, &some(2, 900, 5));
    assert_eq!(run(&site.store, folder.path()).await.lines, 12);
    let options = CompactOptions {
        folder: folder.path().to_owned(),
        keys: vec![signing_key().public().clone()],
        ..CompactOptions::default()
    };
    let vault = vault(&site.store);
    let done = compact(&vault, &options, &mut |_| {}).await.expect("compacted");
    assert_eq!((done.lines, done.unsigned.len()), (2, 2));
    let clean = tempfile::tempdir().expect("scratch");
    let fresh = CompactOptions { folder: clean.path().to_owned(), ..options };
    compact(&vault, &fresh, &mut |_| {}).await.expect("compacted");
    let tables_of = |folder: &Path| {
        files(folder).into_iter().filter(|(name, _)| name.ends_with(".parquet")).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(tables_of(folder.path()), tables_of(clean.path()));
}

/// With a key, a table is read only if all its objects are signed and unchanged: the result is that of the index, with
/// planted lines marked, whoever made the tables and however.
#[tokio::test]
async fn tables_with_planted_lines_are_not_read() {
    let folder = tempfile::tempdir().expect("scratch");
    let mut site = Site::new(3);
    site.send("default", "s", "text");
    site.minutes(4).await;
    run(&site.store, folder.path()).await;
    let first: Vec<String> = site.store.0.lock().keys().filter(|name| name.starts_with("index/")).cloned().collect();
    site.send("default", "later", "more");
    site.minutes(4).await;
    put(&site.store, "default", "2026-11-20", 0, &some(1, 0, 5));
    run(&site.store, folder.path()).await;
    let vault = vault(&site.store);
    let signed = SignedIndex::read(&vault, &[signing_key().public().clone()], None).await.expect("read");
    let ask = async || {
        let (mut lines, query) = (BTreeSet::new(), IndexQuery::default());
        let mut each = |row: &IndexRow, unsigned| lines.extend([(serde_json::to_string(row).expect("json"), unsigned)]);
        let found = find_signed_in_tables(folder.path(), &vault, &query, &signed, &mut each).await.expect("found");
        (lines, found)
    };
    let (lines, (own, others)) = ask().await;
    assert_eq!((own.lines, others.lines), (4, 5));
    assert!(
        own.unreadable.len() == 1 && own.unreadable[0].contains("index objects were skipped because not all objects are signed; lines still in the index were read from there"),
        "{:?}",
        own.unreadable
    );
    let mut index = BTreeSet::new();
    let mut each = |row: &IndexRow, unsigned| index.extend([(serde_json::to_string(row).expect("json"), unsigned)]);
    find_signed(&vault, &IndexQuery::default(), &signed, &mut each).await.expect("found");
    assert_eq!(lines, index);
    // signed lines are read from their table
    let kept = site.store.0.lock().remove(&first[0]).expect("there");
    assert_eq!(ask().await.0, index);
    // a table is not read if its object differs from the digest, or if the hash of the object is unknown
    let state = files(folder.path()).into_keys().find(|name| name.ends_with(".json")).expect("a state");
    let path = folder.path().join(state);
    let whole: Value = serde_json::from_slice(&std::fs::read(&path).expect("there")).expect("json");
    let mut named = whole.clone();
    for part in named["parts"].as_array_mut().expect("parts") {
        let names: Vec<String> = part["objects"].as_object().expect("a map").keys().cloned().collect();
        part["objects"] = json!(names);
    }
    let mut changed = whole.clone();
    changed["parts"][0]["objects"][&first[0]] = json!("00".repeat(32));
    for state in [named, changed] {
        std::fs::write(&path, state.to_string()).expect("written");
        let (lines, (own, _)) = ask().await;
        assert_eq!((own.lines, lines.len()), (2, 7), "the signed table is gone too");
    }
    site.store.0.lock().insert(first[0].clone(), kept);
    assert_eq!(ask().await.0, index);
    find_in_tables(folder.path(), None, &IndexQuery::default(), &mut |_| {})
        .await
        .expect("a state of names alone is one");
}

/// A key that signed nothing here.
fn other_key() -> vault::chain::note::VerifyKey {
    let folder = tempfile::tempdir().expect("scratch");
    let public = vault::keygen::generate_signing_key(&folder.path().join("key"), "other.example", &SeededRng::new(77));
    vault::chain::note::VerifyKey::parse(&public.expect("a key")).expect("a key")
}

/// The order is by tenant, session, turn as a number, time; the same with little memory as with much; a line stored
/// twice comes once.
#[test]
fn lines_are_sorted_in_little_memory() {
    let folder = tempfile::tempdir().expect("scratch");
    let mut lines = some(4, 0, 500);
    lines.extend(lines[100..150].to_vec());
    let sorted = |limit: usize| {
        let mut sorter = LineSorter::with_limit(folder.path(), limit);
        for line in &lines {
            assert!(sorter.push(&line.to_string()).expect("pushed"));
        }
        assert!(!sorter.push("{\"v\":1}").expect("pushed"), "no line");
        let mut out: Vec<Value> = Vec::new();
        sorter
            .finish(&mut |line| {
                out.push(serde_json::from_str(&line.text).expect("json"));
                Ok(())
            })
            .expect("sorted");
        out
    };
    let (much, little) = (sorted(usize::MAX), sorted(20_000));
    assert!(std::fs::read_dir(folder.path()).expect("folder").next().is_none(), "runs are gone");
    assert_eq!(much, little);
    assert_eq!(much.len(), 500);
    let key = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        (text("tenant"), text("session_id"), text("turn").parse::<u64>().expect("a number"), text("ts"))
    };
    assert!(much.iter().map(key).is_sorted());
}

/// Days that are no longer in the index are kept unless pruning is requested; an index that can't be found removes
/// nothing.
#[tokio::test]
async fn days_without_an_index_are_pruned() {
    let (store, folder) = (Arc::new(Memory::default()), tempfile::tempdir().expect("scratch"));
    let old = put(&store, "default", "2026-01-01", 0, &some(1, 0, 20));
    put(&store, "default", "2026-11-20", 20, &some(2, 20, 20));
    run(&store, folder.path()).await;
    store.0.lock().remove(&old);
    assert_eq!(run(&store, folder.path()).await, CompactSummary::default());
    assert!(tables(folder.path()).iter().any(|name| name.contains("2026-01-01")));
    let prune = CompactOptions { folder: folder.path().to_owned(), prune: true, ..CompactOptions::default() };
    let done = compact(&vault(&store), &prune, &mut |_| {}).await.expect("pruned");
    assert_eq!(done.pruned, 1);
    assert!(!files(folder.path()).keys().any(|name| name.contains("2026-01-01")));
    store.0.lock().clear();
    assert!(compact(&vault(&store), &prune, &mut |_| {}).await.is_err());
    assert!(!tables(folder.path()).is_empty());
}

/// Names and bounds exclude only files and groups that can't match.
#[test]
fn tests_are_asked_of_single_columns() {
    let folder = tempfile::tempdir().expect("scratch");
    let day = AccountDay { account: "default".into(), day: "2026-11-20".into() };
    let name = day.table_path("acme", "x", 0);
    let mut one = TableWriter::new(&folder.path().join(&name)).expect("a file");
    for line in some(6, 0, 1000) {
        one.push(without_nulls(&line), 1).expect("pushed");
    }
    let (_, sha256) = one.finish().expect("finished");
    let part = TablePart { objects: BTreeMap::new(), files: vec![TableFile { name, sha256 }], lines: 1000 };
    DayState { parts: vec![part], ..DayState::default() }.write(&day.state_path(folder.path())).expect("written");
    let count_from = |tests: &[ColumnCondition<'_>], day: &dyn Fn(&str) -> bool| {
        let mut count = 0;
        let covered = TableCoverage::read(folder.path(), tests, day, None).expect("read");
        visit_rows(folder.path(), &covered, tests, &mut |_| count += 1).expect("read");
        count
    };
    let count = |tests: &[ColumnCondition<'_>]| count_from(tests, &|_| true);
    let by = |holds: &dyn Fn(&Map<String, Value>) -> bool| {
        some(6, 0, 1000).iter().filter(|line| holds(&without_nulls(line))).count()
    };
    assert_eq!(count(&[]), 1000);
    assert_eq!(
        count(&[ColumnCondition::Equals("tool_name", "Tool1")]),
        by(&|line| line.get("tool_name") == Some(&"Tool1".into()))
    );
    assert_eq!(
        count(&[ColumnCondition::NotEquals("tool_name", "Tool1")]),
        by(&|line| line.get("tool_name") != Some(&"Tool1".into()))
    );
    let text = |line: &Map<String, Value>, name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
    let since = "2026-11-20T10:00:30";
    assert_eq!(
        count(&[ColumnCondition::AtLeast("ts", since)]),
        by(&|line| text(line, "ts").is_some_and(|ts| &*ts >= since))
    );
    assert_eq!(
        count(&[ColumnCondition::LessThan("ts", since)]),
        by(&|line| text(line, "ts").is_some_and(|ts| &*ts < since))
    );
    assert_eq!(count(&[ColumnCondition::StartsWith("user_key", "h-")]), 1000);
    assert_eq!(count(&[ColumnCondition::Equals("account", "other")]), 0);
    let mut far = 0;
    let path = folder.path().join(day.table_path("acme", "x", 0));
    let file = std::fs::File::open(&path).expect("file");
    visit_table(file, &[ColumnCondition::Equals("session_id", "zzz")], &mut |_| {
        far += 1;
        Ok(())
    })
    .expect("read");
    assert_eq!(far, 0);
}

/// Without a key, a malformed object does not end a run: it is left out and reported, and other new objects are
/// included, in every run.
#[tokio::test]
async fn a_planted_object_ends_no_run() {
    let (store, folder) = (Arc::new(Memory::default()), tempfile::tempdir().expect("scratch"));
    put(&store, "default", "2026-11-20", 20, &some(2, 20, 20));
    let day = "index/v1/account=default/dt=2026-11-20";
    let plant = |name: &str, bytes: Vec<u8>| drop(store.0.lock().insert(format!("{day}/{name}"), bytes.into()));
    plant("gw-E1-0000000500.ndjson.zst", b"junk".to_vec());
    let lines = format!("{}\n{{}}\n", some(3, 600, 1)[0]);
    plant("gw-E1-0000000600.ndjson.zst", zstd::bulk::compress(lines.as_bytes(), 3).expect("zstd"));
    let first = run(&store, folder.path()).await;
    assert_eq!((first.objects, first.lines, first.unreadable.len()), (1, 20, 2), "{:?}", first.unreadable);
    let again = run(&store, folder.path()).await;
    assert_eq!((again.objects, again.lines, again.unreadable.len()), (0, 0, 2), "{:?}", again.unreadable);
    put(&store, "default", "2026-11-20", 40, &some(4, 40, 20));
    let more = run(&store, folder.path()).await;
    assert_eq!((more.objects, more.lines, more.unreadable.len()), (1, 20, 2), "{:?}", more.unreadable);
}

/// A table that someone changed, cut, replaced, removed or added is not read: its lines come from the index, this is
/// reported, and the next run writes the table again.
#[tokio::test]
async fn changed_tables_are_not_read() {
    let (store, folder) = (Arc::new(Memory::default()), tempfile::tempdir().expect("scratch"));
    put(&store, "default", "2026-11-20", 0, &some(1, 0, 40));
    run(&store, folder.path()).await;
    let wanted = files(folder.path());
    let name = tables(folder.path()).first().expect("a table").clone();
    let (path, whole) = (folder.path().join(&name), wanted[&name].clone());
    let other = tempfile::tempdir().expect("scratch");
    let strangers = Arc::new(Memory::default());
    put(&strangers, "default", "2026-11-20", 0, &some(2, 0, 40));
    run(&strangers, other.path()).await;
    let forged = files(other.path()).remove(&tables(other.path())[0]).expect("there");
    let ask = async |vault: Option<&Vault>| {
        let mut lines = BTreeSet::new();
        let mut each = |row: &IndexRow| _ = lines.insert(serde_json::to_string(row).expect("json"));
        let found = find_in_tables(folder.path(), vault, &IndexQuery::default(), &mut each).await.expect("found");
        (lines, found.unreadable)
    };
    let vault = vault(&store);
    let (index, closed) = ask(Some(&vault)).await;
    assert!(index.len() == 40 && closed.is_empty(), "{closed:?}");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for change in [Some(flipped), Some(whole[..whole.len() / 2].to_vec()), Some(forged.clone()), Some(Vec::new()), None]
    {
        match &change {
            Some(bytes) => std::fs::write(&path, bytes).expect("written"),
            None => std::fs::remove_file(&path).expect("removed"),
        }
        let (lines, closed) = ask(Some(&vault)).await;
        assert!(lines == index && closed.len() == 1 && closed[0].contains(&name), "{closed:?}");
        let (lines, closed) = ask(None).await;
        assert!(lines.len() < 40 && lines.is_subset(&index) && closed.len() == 1, "{closed:?}");
        assert_eq!(run(&store, folder.path()).await.rewritten_files, 1);
        assert_eq!(files(folder.path()), wanted);
    }
    std::fs::write(path.with_file_name("part-planted-000.parquet"), forged).expect("written");
    assert_eq!(ask(None).await, (index, Vec::new()), "no state names it");
}
