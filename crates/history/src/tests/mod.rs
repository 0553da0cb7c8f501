//! Tests of history: aggregates, retention, and recovery from a bad file.

use std::sync::Arc;

use super::*;

mod crowd;
mod file;
use crate::testing::view;
use ::runs::RunState;
use ::runs::testing::runs::{MINUTE, Made, NOW};
use ::runs::{EndedRuns, RunDetail, RunStep, RunTotals, RunView, RunWork, UNATTRIBUTED, run_key};
use kernel::rng::{Rng, SystemRng};
use pipeline::spool::SpoolKey;

/// A board whose file has the views that are over, and whose tracker the others.
fn board(views: &[RunView]) -> RunBoard {
    let (live, ended): (Vec<&RunView>, Vec<&RunView>) = views.iter().partition(|view| view.state == RunState::Live);
    let mut store = HistoryStore::in_memory();
    store.write(&ended_runs(ended), NOW).expect("write");
    let made = Made { runs: live.into_iter().map(|view| (view.clone(), Vec::new())).collect(), ..Made::default() };
    RunBoard {
        sources: vec![Arc::new(made)],
        store: Arc::new(parking_lot::Mutex::new(Some(store))),
        ..RunBoard::default()
    }
}

fn ended_runs<'v>(views: impl IntoIterator<Item = &'v RunView>) -> HistoryWrite {
    let ended =
        views.into_iter().map(|view| (run_key(&view.account, &view.run), runs::testing::runs::detail(view, &[])));
    let runs = EndedRuns { ended: ended.collect(), removed: Vec::new() };
    HistoryWrite { runs, ..HistoryWrite::default() }
}

fn day(board: &RunBoard) -> WindowFigures {
    let mut figures = FigureBuilder::new(TimeWindow::last(DAY, NOW));
    board.visit_runs(figures.from(), &mut |run| figures.add(run));
    figures.finish()
}

/// Each run counts once, in the window of its last event; live runs count with everything they did so far (they used to
/// count only after their end); yesterday's figures are compared.
#[test]
fn figures_are_those_of_the_window() {
    let views = [
        view("a", 10, 2, RunState::Ended, Some("acme"), 3),
        view("b", 20, 4, RunState::Failed, None, 5),
        view("c", 30, 6, RunState::Killed, Some("acme"), 7),
        view("live", 1, 60, RunState::Live, Some("acme"), 1000),
        view("yesterday", 24 * 60 + 10, 8, RunState::Ended, Some("acme"), 6),
        view("old", 49 * 60, 8, RunState::Ended, Some("acme"), 6),
    ];
    let board = board(&views);
    let figures = day(&board);
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
    let asked = ReportParameters::defaults();
    let report = build_report(&FailedSpans::default(), &board, asked, NOW);
    assert!(report.sum == *sum, "the report adds up the same");
    assert!(report_markdown(&report, &|_| None).contains("4 (1 live, counted up to now; 2 failed), 72 iterations"));
    let changes = compute_changes(&self::board(&views[..4]), NOW - DAY, |run| run.commit);
    assert!(changes.first().is_some_and(|change| change.sum == *sum), "and so does what changed");
    let times = changes.first().map(|change| (change.first, change.last, change.averages.p95));
    assert_eq!(times, Some((NOW - 61 * MINUTE, NOW - MINUTE, Some(3600.0))));
}

/// Each run is in one place: a run that goes on after its end is read from the tracker, and one that became part of
/// another is read no more, although the file still has it.
#[test]
fn a_run_is_read_once() {
    let ended = view("a", 10, 2, RunState::Ended, None, 3);
    let mut board = board(&[ended.clone(), view("b", 10, 2, RunState::Ended, None, 4)]);
    assert_eq!(day(&board).sum.atto_usd, 7);
    let again = RunView { state: RunState::Live, ..view("a", 1, 9, RunState::Live, None, 50) };
    board.sources = vec![Arc::new(Made { runs: vec![(again, Vec::new())], ..Made::default() })];
    let sum = day(&board).sum;
    assert_eq!((sum.runs, sum.live, sum.atto_usd), (2, 1, 54));
    assert_eq!(board.find_run("default", "a").map(|run| run.view.state), Some(RunState::Live));
    assert_eq!(board.sums(0).all.atto_usd, 54);
    board.sources = vec![Arc::new(Made { removed: vec![run_key("default", "a")], ..Made::default() })];
    assert_eq!(day(&board).sum.atto_usd, 4);
    let removed = EndedRuns { removed: vec![run_key("default", "a")], ..EndedRuns::default() };
    let write = HistoryWrite { runs: removed, ..HistoryWrite::default() };
    board.store.lock().as_mut().expect("store").write(&write, NOW).expect("write");
    assert_eq!(board.accounts_with_run("b"), ["default"]);
    assert!(board.accounts_with_run("a").is_empty());
}

/// If a run goes on after its group was evicted, its row has both parts, however often the later one is written. A group
/// that contains the earlier part itself, because its state is older than the file, replaces both. The row used to show
/// the later part alone.
#[test]
fn a_run_that_was_given_up_keeps_its_earlier_part() {
    let part = |minutes: u64, atto: i128, [first_heard, heard]: [u64; 2]| {
        let one = view("a", minutes, 2, RunState::Ended, None, atto);
        let [first_heard, heard] = [first_heard, heard].map(|minute| NOW - (90 - minute) * MINUTE);
        RunDetail { first_heard, heard, ..runs::testing::runs::detail(&one, &[RunStep::default()]) }
    };
    let board = board(&[]);
    let told = |detail: &RunDetail, now: u64| {
        let ended = vec![(detail.view.key(), detail.clone())];
        let write = HistoryWrite { runs: EndedRuns { ended, removed: Vec::new() }, ..HistoryWrite::default() };
        let mut store = board.store.lock();
        store.as_mut().expect("store").write(&write, now).expect("write");
        drop(store);
        let run = board.find_run("default", "a").expect("the run");
        let sum = board.sums(0).all;
        assert_eq!((sum.atto_usd, sum.calls), (run.view.totals.atto_usd(), run.view.totals.calls()));
        (sum.runs, sum.atto_usd, run.step_count, run.steps.map_or(0, |steps| steps.len()))
    };
    let (first, second, third) = (part(30, 5, [10, 20]), part(10, 7, [30, 40]), part(1, 9, [50, 60]));
    assert_eq!(told(&first, NOW), (1, 5, 1, 1));
    assert_eq!(told(&second, NOW), (1, 12, 2, 2));
    assert_eq!(told(&second, NOW), (1, 12, 2, 2), "written again");
    assert_eq!(told(&part(10, 8, [30, 45]), NOW), (1, 13, 2, 2), "revised");
    assert_eq!(told(&third, NOW), (1, 22, 3, 3));
    let run = board.find_run("default", "a").expect("the run").view;
    assert_eq!((run.start, run.last), (first.view.start, third.view.last));
    assert_eq!(told(&part(30, 30, [10, 61]), NOW), (1, 30, 1, 1), "the whole run");
    let with_span = |mut detail: RunDetail| {
        detail.steps = Some(vec![RunStep { span: [1; 8], ..RunStep::default() }]);
        detail
    };
    assert_eq!(told(&with_span(part(30, 5, [62, 63])), NOW), (1, 35, 2, 2));
    assert_eq!(told(&with_span(part(30, 5, [64, 65])), NOW), (1, 35, 2, 2), "sent again");
}

/// Calls whose client reported no usage are counted by model and service, including live runs, both in the page's JSON
/// and in the report (which used to give only the number of calls without a price); without such calls the sentence is
/// omitted.
#[test]
fn calls_without_usage_are_named() {
    let silent = |id: &str, state, model: &str, calls: u64| {
        let mut one = view(id, 10, 2, state, Some("acme"), 3);
        (0..calls).for_each(|_| {
            one.totals.add_call(model, Default::default(), None);
            one.totals.mark_no_usage(model);
        });
        one
    };
    let views = [silent("a", RunState::Ended, "gpt-5", 2), view("b", 20, 4, RunState::Ended, None, 5)];
    assert!(day(&board(&views[1..])).no_usage.sentence(str::to_owned).is_none());
    let [a, b] = views;
    let board = board(&[a, b, silent("c", RunState::Live, "gpt-5-mini", 60)]);
    let figures = day(&board);
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
    let report = build_report(&FailedSpans::default(), &board, ReportParameters::defaults(), NOW);
    assert!(report_markdown(&report, &|_| None).contains("62 model calls were answered without usage"));
    assert_eq!(report_json(&report, &|_| None)["calls_without_usage"], json["calls_without_usage"]);
}

/// Without runs the figures are `None` rather than zeros that look like good results.
#[test]
fn nothing_is_no_number() {
    let figures = day(&RunBoard::default());
    assert!(figures.iterations.value.is_none() && figures.p95.value.is_none());
    assert!(figures.failure.value.is_none() && figures.cost.value.is_none());
    assert_eq!(figures.failure.series, vec![None; 24]);
}

/// A table has ten names, `other` and `unattributed`, and adds up to the total.
#[test]
fn tables_are_bounded_and_whole() {
    let one = |number: u32| {
        let tenant = (!number.is_multiple_of(20)).then(|| format!("tenant-{}", number % 20));
        view(&format!("r{number}"), 5, 1, RunState::Ended, tenant.as_deref(), i128::from(number))
    };
    let figures = day(&board(&(0..40).map(one).collect::<Vec<_>>()));
    assert_eq!(figures.by_tenant.len(), 12);
    assert_eq!(figures.by_tenant.iter().map(|share| share.sum.atto_usd).sum::<i128>(), figures.sum.atto_usd);
    assert_eq!(figures.by_tenant.get(10).map(|share| (share.name.as_str(), share.names)), Some(("other", 9)));
    assert_eq!(figures.by_tenant.last().map(|share| share.name.as_str()), Some(UNATTRIBUTED));
}

/// A run whose clock is ahead counts in the current window.
#[test]
fn a_clock_that_is_ahead_is_now() {
    let mut ahead = view("a", 0, 1, RunState::Ended, None, 1);
    ahead.last = NOW + 9 * 60 * MINUTE;
    assert_eq!(day(&board(&[ahead])).sum.runs, 1);
}

/// Runs are kept for 48 hours from when they were written, whatever their own times, or as small rows for longer.
#[test]
fn it_forgets() {
    let (folder, key) = (tempfile::tempdir().expect("folder"), SpoolKey::from_bytes([1; 32]));
    let rng: Arc<dyn Rng> = Arc::new(SystemRng);
    for (days, left) in [(0, [true, false, false]), (90, [true, true, false])] {
        let path = folder.path().join(format!("{days}.sqlite"));
        let mut store =
            HistoryStore::open(&path, std::slice::from_ref(&key), &rng, NOW, days * DAY).expect("open").store;
        store.write(&ended_runs([&view("a", 9 * 24 * 60, 1, RunState::Ended, Some("acme"), 1)]), NOW).expect("write");
        let jumped = NOW + 500 * DAY;
        store.write(&ended_runs([&view("b", 0, 1, RunState::Ended, None, 1)]), jumped).expect("write");
        assert!(store.read_run(run_key("default", "a")).is_some_and(|run| run.steps.is_some()), "a clock that jumped");
        let found = [RETENTION - MINUTE, RETENTION + MINUTE, 91 * DAY].map(|later| {
            store.clock = NOW + later;
            store.write(&ended_runs([&view("b", 0, 1, RunState::Ended, None, 1)]), NOW + later).expect("write");
            let run = store.read_run(run_key("default", "a"));
            let has_calls = later < RETENTION;
            assert!(
                run.iter().all(|run| run.steps.is_some() == has_calls && run.view.tenant.as_deref() == Some("acme"))
            );
            run.is_some()
        });
        assert_eq!(found, left, "{days} days");
    }
}

fn open(path: &std::path::Path, key: &SpoolKey) -> OpenedHistory {
    let rng: Arc<dyn Rng> = Arc::new(SystemRng);
    HistoryStore::open(path, std::slice::from_ref(key), &rng, NOW, RETENTION).unwrap_or_else(|why| panic!("{why}"))
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
    let one = RunView {
        operation: Some("GET /".into()),
        ..view("a", 10, 2, RunState::Ended, Some("acme"), i128::from(u64::MAX) * 9)
    };
    let runs = ended_runs([&one]).runs;
    let (counts, samples) = (vec![group(NOW, 4)], vec![Arc::new(sample(NOW))]);
    let mut opened = open(&path, &key);
    opened.store.write(&HistoryWrite { runs, counts, samples }, NOW).expect("write");
    drop(opened);
    let mut bytes = std::fs::read(&path).expect("file");
    bytes.extend(std::fs::read(folder.path().join("h.sqlite-wal")).unwrap_or_default());
    assert!(!bytes.windows(13).any(|window| window == b"CANARY-sealed"), "samples lie sealed");
    let again = open(&path, &key);
    assert!(again.moved_aside.is_none());
    assert!(again.samples.first() == Some(&sample(NOW)) && again.counts.first().map(|group| group.count) == Some(4));
    let run = again.store.read_run(run_key("default", "a")).expect("run");
    assert!(run.view == one && run.steps.is_some_and(|steps| steps.is_empty()));
    drop(again.store);
    let other = open(&path, &SpoolKey::from_bytes([2; 32]));
    assert!(other.samples.is_empty() && other.store.read_run(run_key("default", "a")).is_some());
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
        assert!(opened.store.accounts().is_empty());
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
    let made = build_report(
        &failures,
        &RunBoard::default(),
        ReportParameters { samples: 4, ..ReportParameters::defaults() },
        NOW,
    );
    assert_eq!((made.spans, made.groups), (7, 1));
    let value = report_json(&made, &|_| Some("https://back.example/t".to_owned()));
    assert_eq!(value["groups"][0]["by"]["exception.slug"], "timeout-1");
    assert_eq!(value["groups"][0]["issues"][0], "OPS-1");
    assert_eq!(value["groups"][0]["samples"].as_array().map(Vec::len), Some(4));
    assert_eq!(value["groups"][0]["samples"][0]["time"], runs::json::time(NOW - 5 * MINUTE + 2));
    assert!(ReportParameters::parse_grouping("name,nonsense").is_err());
    let longer = build_report(
        &failures,
        &RunBoard::default(),
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
    let text =
        report_markdown(&build_report(&failures, &RunBoard::default(), ReportParameters::defaults(), NOW), &|_| None);
    assert!(text.contains("\\]\u{28}javascript:x) \\<b\\>\\| \\# Title"), "{text}");
    assert!(!text.contains('\u{202e}') && !text.contains("https://evil") && !text.contains("@team"), "{text}");
}

/// The comment has the data for the ticket, by session.
#[test]
fn the_ticket_is_told() {
    let mut view = view("a", 10, 2, RunState::Ended, Some("acme"), 25 * 10_i128.pow(16));
    view.totals.work = RunWork { lines: [1_100, 10], summary: [1, 5_000, 900] };
    let mut planned = RunView { session: view.session.clone(), ..self::view("b", 5, 1, RunState::Ended, None, 1) };
    planned.totals.tool("ExitPlanMode").ok = 1;
    planned.totals.tools.remove("Bash");
    planned.totals.work = RunWork { lines: [20, 20], summary: [2, 1_234, 1] };
    let idle = RunView { run: "c".into(), session: "idle".into(), issue: Some("OPS-3".into()), ..planned.clone() };
    let idle = RunView { totals: RunTotals::default(), ..idle };
    let board = board(&[view, planned, idle]);
    let link = |run: &RunView| Some(format!("https://back.example/trace/{}", run.run));
    let vault = |run: &RunView| Some(format!("s3://audit-logs/{}/", run.run));
    let comment = JiraComment::for_issue("OPS-1", (&board, 0), &link, &vault);
    assert_eq!(comment.runs, 2);
    for part in [
        "tollgate: 2 agent runs in 1 session for OPS-1",
        "session: session-of-a",
        "tool calls: 5 (1 failed)",
        "** lines: 1,120 added, 30 removed\n",
        "** summary: 1,234 characters, 1 word\n",
        "duration: 7 min 0 s",
        "cost: 0.250000000000000001 USD",
        "plan: the call of ExitPlanMode in s3://audit-logs/b/",
        "trace: https://back.example/trace/a",
        "s3_uri: s3://audit-logs/a/",
    ] {
        assert!(comment.text.contains(part), "{part}: {}", comment.text);
    }
    let idle = JiraComment::for_issue("OPS-3", (&board, 0), &link, &vault).text;
    assert!(idle.contains("session: idle") && !idle.contains("lines:") && !idle.contains("summary:"), "{idle}");
    assert_eq!(JiraComment::for_issue("OPS-2", (&board, 0), &link, &vault).runs, 0);
}

/// Counts and samples that could not be written are written later, as they are then.
#[test]
fn what_could_not_be_written_waits() {
    let failures = FailedSpans::default();
    failures.restore(vec![group(NOW, 2)], Vec::new());
    failures.restore(vec![group(NOW, 1)], vec![sample(NOW)]);
    let (counts, samples) = failures.take_changes();
    failures.give_back(&counts, &samples);
    let (again, _) = failures.take_changes();
    assert_eq!(again.iter().map(|group| group.count).collect::<Vec<_>>(), [3]);
    assert!(failures.take_changes().0.is_empty());
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
