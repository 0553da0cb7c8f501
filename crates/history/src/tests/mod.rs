//! Tests of history: aggregates, retention, and recovery from a bad file.

use std::sync::Arc;

use super::*;

mod crowd;
mod file;
use crate::testing::view;
use ::runs::RunState;
use ::runs::testing::runs::{MINUTE, Made, NOW};
use ::runs::{RunView, UNATTRIBUTED};
use kernel::rng::{Rng, SystemRng};
use pipeline::spool::SpoolKey;

fn day(history: &RunHistory) -> WindowFigures {
    compute_figures(&history.all_runs(), TimeWindow::last(DAY, NOW))
}

/// Each run counts once, in the window of its last event; live runs count with everything they did so far (they used to
/// count only after their end); yesterday's figures are compared.
#[test]
fn figures_are_those_of_the_window() {
    let history = RunHistory::default();
    let views = [
        view("a", 10, 2, RunState::Ended, Some("acme"), 3),
        view("b", 20, 4, RunState::Failed, None, 5),
        view("c", 30, 6, RunState::Killed, Some("acme"), 7),
        view("live", 1, 60, RunState::Live, Some("acme"), 1000),
        view("yesterday", 24 * 60 + 10, 8, RunState::Ended, Some("acme"), 6),
        view("old", 49 * 60, 8, RunState::Ended, Some("acme"), 6),
    ];
    assert_eq!(history.store_views(&views, NOW).len(), 5);
    assert!(history.store_views(&views, NOW).is_empty(), "the same again is no news");
    let figures = day(&history);
    let (sum, before) = (&figures.sum, &figures.yesterday);
    assert_eq!((sum.runs, sum.live, sum.finished(), sum.failed, before.runs), (4, 1, 3, 2, 1));
    assert_eq!((sum.iterations, sum.atto_usd, before.atto_usd), (72, 1015, 6));
    assert_eq!(figures.iterations.value, Some(18.0));
    assert_eq!(figures.failure.value, Some(2.0 / 3.0), "of those that are over");
    assert_eq!(figures.p95.value, Some(60.0 * 60.0), "by its own times");
    assert_eq!(figures.iterations.change(), Some(1.25));
    assert_eq!((sum.tool_calls, sum.tool_failures), (16, 4));
    let names: Vec<&str> = figures.by_tenant.iter().map(|share| share.name.as_str()).collect();
    assert_eq!(names, ["acme", UNATTRIBUTED]);
    for shares in [&figures.by_model, &figures.by_tenant, &figures.by_feature] {
        assert_eq!(shares.iter().map(|share| share.sum.atto_usd).sum::<i128>(), sum.atto_usd);
    }
    assert_eq!(figures.longest.first().map(|run| &*run.run), Some("live"));
    assert_eq!(figures.most_expensive.first().map(|run| &*run.run), Some("live"));
    assert_eq!(history.left_out(), [0, 1]);
    let asked = ReportParameters::defaults();
    let report = build_report(&FailedSpans::default(), &history.all_runs(), asked, NOW);
    assert!(report.sum == *sum, "the report adds up the same");
    assert!(report_markdown(&report, &|_| None).contains("4 (1 live, counted up to now; 2 failed), 72 iterations"));
    let day = TimeWindow::last(DAY, NOW);
    let changes = compute_changes(&history.all_runs(), day, |run| &run.commit);
    assert!(changes.first().is_some_and(|change| change.sum == *sum), "and so does what changed");
}

/// A look stores the tracker's current state. A run merged into another appears once, in memory and on disk; a finished
/// run stays when the tracker forgets it.
#[test]
fn a_look_is_of_this_moment() {
    let (history, first) = (RunHistory::default(), view("sub", 2, 1, RunState::Ended, None, 5));
    let other = RunView { trace: "0b".into(), ..view("other", 9, 1, RunState::Ended, None, 1) };
    let board =
        |runs: Vec<RunView>| Made { runs: runs.into_iter().map(|run| (run, Vec::new())).collect(), ..Made::default() };
    history.update_from_tracker(&board(vec![first.clone(), other.clone()]), NOW);
    assert_eq!(day(&history).sum.atto_usd, 6);
    assert_eq!(history.take_changes().0.len(), 2);
    let mut root = RunView { last: NOW, ..view("root", 0, 9, RunState::Live, None, 7) };
    root.totals.add(&first.totals);
    history.update_from_tracker(&board(vec![root.clone()]), NOW + 1);
    let sum = day(&history).sum;
    assert_eq!((sum.runs, sum.live, sum.atto_usd), (2, 1, 13), "the part is in the whole");
    let (entries, gone) = history.take_changes();
    assert_eq!((entries.len(), gone), (1, vec![RunRecord::from_view(&first, NOW).key()]));
    let (folder, key) = (tempfile::tempdir().expect("folder"), SpoolKey::from_bytes([1; 32]));
    let path = folder.path().join("h.sqlite");
    let mut store = open(&path, &key).store;
    let part = HistoryWrite { runs: vec![(RunRecord::from_view(&first, NOW).into(), None)], ..HistoryWrite::default() };
    store.write(&part, NOW).expect("write");
    let gone = HistoryWrite { removed: vec![RunRecord::from_view(&first, NOW).key()], ..HistoryWrite::default() };
    let waits = gone.merge_older(HistoryWrite { runs: part.runs, ..HistoryWrite::default() });
    assert!(waits.runs.is_empty(), "what is gone does not come back");
    store.write(&waits, NOW).expect("write");
    drop(store);
    assert!(open(&path, &key).runs.is_empty());
}

/// Calls whose client reported no usage are counted by model and service, including live runs, both in the page's JSON
/// and in the report (which used to give only the number of calls without a price); without such calls the sentence is
/// omitted.
#[test]
fn calls_without_usage_are_named() {
    let history = RunHistory::default();
    let silent = |id: &str, state, model: &str, calls: u64| {
        let mut one = view(id, 10, 2, state, Some("acme"), 3);
        (0..calls).for_each(|_| {
            one.totals.add_call(model, Default::default(), None);
            one.totals.mark_no_usage(model);
        });
        one
    };
    let views = [silent("a", RunState::Ended, "gpt-5", 2), view("b", 20, 4, RunState::Ended, None, 5)];
    history.store_views(&views[1..], NOW);
    assert!(day(&history).no_usage.sentence(str::to_owned).is_none());
    history.store_views(&views, NOW);
    history.store_views([&silent("c", RunState::Live, "gpt-5-mini", 60)], NOW);
    let figures = day(&history);
    let sentence = figures.no_usage.sentence(str::to_owned).unwrap();
    assert!(sentence.starts_with("62 model calls were answered without usage, so they have no price: "), "{sentence}");
    assert!(sentence.contains(": gpt-5-mini in agents (60), gpt-5 in agents (2). "), "{sentence}");
    assert!(
        sentence.ends_with("have the client report usage, for OpenAI's streams with stream_options.include_usage.")
    );
    assert_eq!((figures.sum.unpriced, figures.no_usage.calls), (62, 62), "they are a part of what has no price");
    let json = figures_json(&figures);
    assert_eq!(json["calls_without_usage"]["calls"], 62);
    assert_eq!(json["calls_without_usage"]["largest"][0]["model"], "gpt-5-mini");
    let report = build_report(&FailedSpans::default(), &history.all_runs(), ReportParameters::defaults(), NOW);
    assert!(report_markdown(&report, &|_| None).contains("62 model calls were answered without usage"));
    assert_eq!(report_json(&report, &|_| None)["calls_without_usage"], json["calls_without_usage"]);
}

/// A run whose id changes appears once, even if its clock is ahead of ours. (Before the fix it appeared twice, because
/// its start was compared with the time of an earlier look.)
#[test]
fn a_run_that_is_renamed_is_one_run() {
    let board = |run: RunView| Made { runs: vec![(run, Vec::new())], ..Made::default() };
    let history = RunHistory::default();
    let ahead =
        RunView { start: NOW + 9 * MINUTE, last: NOW + 9 * MINUTE, ..view("trace", 0, 1, RunState::Live, None, 5) };
    history.update_from_tracker(&board(ahead.clone()), NOW);
    history.update_from_tracker(&board(RunView { run: "named".into(), ..ahead }), NOW + MINUTE);
    let sum = day(&history).sum;
    assert_eq!((sum.runs, sum.atto_usd), (1, 5));
}

/// Without runs the figures are `None` rather than zeros that look like good results.
#[test]
fn nothing_is_no_number() {
    let figures = day(&RunHistory::default());
    assert!(figures.iterations.value.is_none() && figures.p95.value.is_none());
    assert!(figures.failure.value.is_none() && figures.cost.value.is_none());
    assert_eq!(figures.failure.series, vec![None; 24]);
}

/// A table has ten names, `other` and `unattributed`, and adds up to the total.
#[test]
fn tables_are_bounded_and_whole() {
    let history = RunHistory::default();
    for number in 0..40_u32 {
        let tenant = (number % 20 != 0).then(|| format!("tenant-{}", number % 20));
        let one = view(&format!("r{number}"), 5, 1, RunState::Ended, tenant.as_deref(), i128::from(number));
        history.store_views([&one], NOW);
    }
    let figures = day(&history);
    assert_eq!(figures.by_tenant.len(), 12);
    assert_eq!(figures.by_tenant.iter().map(|share| share.sum.atto_usd).sum::<i128>(), figures.sum.atto_usd);
    assert_eq!(figures.by_tenant.get(10).map(|share| (share.name.as_str(), share.names)), Some(("other", 9)));
    assert_eq!(figures.by_tenant.last().map(|share| share.name.as_str()), Some(UNATTRIBUTED));
}

/// A run whose clock is ahead counts in the current window, and is not a change at every look.
#[test]
fn a_clock_that_is_ahead_is_now() {
    let history = RunHistory::default();
    let mut ahead = view("a", 0, 1, RunState::Ended, None, 1);
    ahead.last = NOW + 9 * 60 * MINUTE;
    assert_eq!(history.store_views([&ahead], NOW).len(), 1);
    assert!(history.store_views([&ahead], NOW + MINUTE).is_empty());
    assert_eq!(day(&history).sum.runs, 1);
}

/// Runs are kept for 48 hours; beyond the maximum the oldest are removed.
#[test]
fn it_forgets() {
    let history = RunHistory::default();
    history.store_views([&view("a", 10, 1, RunState::Ended, None, 1)], NOW);
    history.evict_old(NOW + RETENTION - 20 * MINUTE);
    assert_eq!(history.all_runs().len(), 1);
    history.evict_old(NOW + RETENTION);
    assert!(history.all_runs().is_empty());
}

fn open(path: &std::path::Path, key: &SpoolKey) -> OpenedHistory {
    let rng: Arc<dyn Rng> = Arc::new(SystemRng);
    HistoryStore::open(path, std::slice::from_ref(key), &rng, NOW).unwrap_or_else(|why| panic!("{why}"))
}

fn sample(at: u64) -> FailureSample {
    let key: FailureKey = ["timeout-1", "c0ffee", "agents", "Timeout", "chat", "acme", "OPS-1"].map(Arc::from);
    let attributes = vec![("error.type".into(), "CANARY-sealed".into())];
    FailureSample {
        account: "default".into(),
        key,
        at,
        trace: "0a".into(),
        span: "0b".into(),
        duration: 5,
        status: "timed out".into(),
        attributes,
    }
}

fn group(slot: u64, count: u64) -> FailureCount {
    FailureCount { account: "default".into(), key: sample(NOW).key, slot, count }
}

/// Written data is read again; samples are sealed, and another key can't open them but has no other effect.
#[test]
fn it_survives_a_restart() {
    let folder = tempfile::tempdir().expect("folder");
    let (path, key) = (folder.path().join("h.sqlite"), SpoolKey::from_bytes([1; 32]));
    let history = RunHistory::default();
    let news = history.store_views(&[view("a", 10, 2, RunState::Ended, Some("acme"), i128::from(u64::MAX) * 9)], NOW);
    let runs = news.into_iter().map(|entry| (entry, Some("{\"id\":\"a\"}".to_owned()))).collect();
    let (counts, samples) = (vec![group(NOW, 4)], vec![Arc::new(sample(NOW))]);
    let mut opened = open(&path, &key);
    opened.store.write(&HistoryWrite { runs, counts, samples, ..HistoryWrite::default() }, NOW).expect("write");
    drop(opened);
    let mut bytes = std::fs::read(&path).expect("file");
    bytes.extend(std::fs::read(folder.path().join("h.sqlite-wal")).unwrap_or_default());
    assert!(!bytes.windows(13).any(|window| window == b"CANARY-sealed"), "samples lie sealed");
    let again = open(&path, &key);
    assert!(again.moved_aside.is_none());
    assert!(again.samples.first() == Some(&sample(NOW)) && again.counts.first().map(|group| group.count) == Some(4));
    let restored = RunHistory::default();
    restored.restore(again.runs);
    let entry = restored.find_run("default", "a").expect("run");
    assert_eq!(entry.atto, i128::from(u64::MAX) * 9);
    assert_eq!(again.store.read_detail(&entry).as_deref(), Some("{\"id\":\"a\"}"));
    drop(again.store);
    let other = open(&path, &SpoolKey::from_bytes([2; 32]));
    assert!(other.samples.is_empty() && other.runs.len() == 1);
}

/// A damaged, a newer, and a foreign file are moved aside; only the owner can read the file.
#[test]
fn a_file_that_is_wrong_is_moved_aside() {
    use std::os::unix::fs::PermissionsExt as _;
    let key = SpoolKey::from_bytes([1; 32]);
    let newer = |path: &std::path::Path| {
        drop(open(path, &key));
        let db = rusqlite::Connection::open(path).expect("open");
        db.execute_batch("PRAGMA user_version = 99").expect("version");
    };
    let foreign = |path: &std::path::Path| {
        let db = rusqlite::Connection::open(path).expect("open");
        db.execute_batch("CREATE TABLE theirs (x)").expect("table");
    };
    let damaged = |path: &std::path::Path| std::fs::write(path, b"not a database ".repeat(999)).expect("file");
    let spoils: [&dyn Fn(&std::path::Path); 3] = [&newer, &foreign, &damaged];
    for spoil in spoils {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("h.sqlite");
        spoil(&path);
        let opened = open(&path, &key);
        assert!(opened.moved_aside.as_ref().is_some_and(|aside| aside.exists()));
        assert!(opened.runs.is_empty());
        let mode = std::fs::metadata(&path).expect("file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// Groups are by the requested attributes; samples are bounded, latest first; a batch in two pipelines counts once.
#[test]
fn the_report_groups() {
    let failures = FailedSpans::default();
    let noticed = |batch: u8, at: u64, count: u64| failures::BatchFailures {
        account: "default".into(),
        batch: [batch; 16],
        received: at,
        counts: [(sample(at).key, count)].into(),
        samples: (0..3).map(|number| sample(at + number)).collect(),
    };
    failures.add_batch(&noticed(1, NOW - 10 * MINUTE, 5));
    failures.add_batch(&noticed(1, NOW - 10 * MINUTE, 5));
    failures.add_batch(&noticed(2, NOW - 5 * MINUTE, 2));
    failures.add_batch(&noticed(3, NOW - 30 * 60 * MINUTE, 100));
    let made = build_report(&failures, &[], ReportParameters { samples: 4, ..ReportParameters::defaults() }, NOW);
    assert_eq!((made.spans, made.groups), (7, 1));
    let value = report_json(&made, &|_| Some("https://back.example/t".to_owned()));
    assert_eq!(value["groups"][0]["by"]["exception.slug"], "timeout-1");
    assert_eq!(value["groups"][0]["issues"][0], "OPS-1");
    assert_eq!(value["groups"][0]["samples"].as_array().map(Vec::len), Some(4));
    assert_eq!(value["groups"][0]["samples"][0]["time"], runs::json::time(NOW - 5 * MINUTE + 2));
    assert!(ReportParameters::parse_grouping("name,nonsense").is_err());
    let longer = build_report(
        &failures,
        &[],
        ReportParameters {
            since: RETENTION,
            by: ReportParameters::parse_grouping("tenant.id").expect("by"),
            ..ReportParameters::defaults()
        },
        NOW,
    );
    assert_eq!(longer.spans, 107);
    let text = report_markdown(&longer, &|_| None);
    assert!(text.contains("107 × acme") && text.contains("CANARY-sealed"), "{text}");
}

/// Names can't inject markup.
#[test]
fn markdown_means_nothing() {
    let failures = FailedSpans::default();
    let mut hostile = sample(NOW);
    hostile.status = "](javascript:x) <b>\u{202e}|\n# Title https://evil.example @team".into();
    let key = hostile.key.clone();
    let (account, counts) = ("default".into(), [(key, 1)].into());
    failures.add_batch(&failures::BatchFailures {
        account,
        batch: [9; 16],
        received: NOW,
        counts,
        samples: vec![hostile],
    });
    let text = report_markdown(&build_report(&failures, &[], ReportParameters::defaults(), NOW), &|_| None);
    assert!(text.contains("\\]\u{28}javascript:x) \\<b\\>\\| \\# Title"), "{text}");
    assert!(!text.contains('\u{202e}') && !text.contains("https://evil") && !text.contains("@team"), "{text}");
}

/// The comment has the data for the ticket, by session.
#[test]
fn the_ticket_is_told() {
    let history = RunHistory::default();
    history.store_views(&[view("a", 10, 2, RunState::Ended, Some("acme"), 25 * 10_i128.pow(16))], NOW);
    let link = |_: &RunRecord| Some("https://back.example/trace/1".to_owned());
    let vault = |_: &RunRecord| Some("s3://audit-logs/x/".to_owned());
    let comment = JiraComment::for_issue("OPS-1", &history.all_runs(), &link, &vault);
    assert_eq!(comment.runs, 1);
    for part in [
        "session: session-of-a",
        "tool calls: 4 (1 failed)",
        "duration: 2 min 0 s",
        "cost: 0.25 USD",
        "https://back.example/trace/1",
        "s3_uri: s3://audit-logs/x/",
    ] {
        assert!(comment.text.contains(part), "{part}: {}", comment.text);
    }
    assert_eq!(JiraComment::for_issue("OPS-2", &history.all_runs(), &link, &vault).runs, 0);
}

/// A failed write is merged with the next one and precedes it, so that the latest state wins; the waiting data is
/// bounded. (A bound on the new data as well lost runs that arrived in a crowd.)
#[test]
fn what_could_not_be_written_waits() {
    let write = |slots: std::ops::Range<u64>, count: u64| HistoryWrite {
        counts: slots.map(|slot| group(slot, count)).collect(),
        samples: vec![Arc::new(sample(count))],
        ..HistoryWrite::default()
    };
    let all = write(2..5, 2).merge_older(write(0..3, 1));
    let told = |write: &HistoryWrite| write.counts.iter().map(|group| (group.slot, group.count)).collect::<Vec<_>>();
    assert_eq!(told(&all), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 2)]);
    assert_eq!(all.samples.len(), 2);
    assert_eq!(told(&all.keep_newest(3)), [(2, 2), (3, 2), (4, 2)]);
}

/// Texts that the vault step fills in later are in no sample; attributes with only similar names are.
#[test]
fn slots_are_in_no_sample() {
    for key in [
        "gen_ai.payload.ref",
        "gen_ai.tool.call.arguments_ref",
        "gen_ai.input.messages_ref",
        "tollgate.content.shape",
        "tollgate.context.hash",
    ] {
        assert!(failure_recorder::is_slot(key), "{key}");
    }
    for key in ["gen_ai.tool.name", "tollgate.run.id", "customer_ref", "error.type"] {
        assert!(!failure_recorder::is_slot(key), "{key}");
    }
}
