//! Tests of amounts and JSON.

use serde_json::{Value, json};

use super::*;
use genai::CallTokenBuckets;

/// Money for people: rounded half up from the exact amount, two significant digits for small amounts, never $0 for
/// unpriced cost. ($2.025 was "$2.02" beside three times "$0.68".)
#[test]
fn money_misleads_nobody() {
    use crate::amounts::{format_cost, format_dollars, format_seconds, format_usd};
    const MILLI: i128 = 1_000_000_000_000_000;
    let amounts = [
        (0, "$0"),
        (675 * MILLI, "$0.675"),
        (2025 * MILLI, "$2.025"),
        (500 * MILLI, "$0.50"),
        (5 * MILLI, "$0.005"),
        (10 * MILLI, "$0.01"),
        (99_900_000_000_000_000, "$0.10"),
        (2_149 * MILLI / 1000, "$0.0021"),
        (123 * MILLI / 1_000_000, "$0.00000012"),
        (1, "< $0.00000001"),
        (10_720 * MILLI, "$10.72"),
        (12_345 * MILLI, "$12.35"),
        (1_234_500 * MILLI, "$1,235"),
        (-2025 * MILLI, "-$2.025"),
    ];
    for (atto, shown) in amounts {
        assert_eq!(format_usd(atto), shown);
    }
    assert_eq!(
        (format_dollars(2.025).as_str(), format_dollars(0.1 + 0.2).as_str(), format_dollars(0.0).as_str()),
        ("$2.025", "$0.30", "$0")
    );
    assert_eq!([format_cost(0, 0), format_cost(0, 2), format_cost(500 * MILLI, 2)], ["$0", "no price", "$0.50"]);
    assert_eq!(
        [format_seconds(30.0 * 86_400.0), format_seconds(0.25), format_seconds(3700.0)],
        ["30 d", "250 ms", "1 h 1 min"]
    );
}

/// An alert states its value with a unit and the multiple of the limit, whatever the rule.
#[test]
fn alerts_say_what_was_measured() {
    let said =
        |rule, value, threshold| Alert { value, threshold, ..testing::runs::alert(rule, "r", 1) }.measurement_text();
    assert_eq!(said("session_cost", 0.01, 0.005), "$0.01, 2 × the limit of $0.005");
    assert_eq!(said("iteration_ceiling", 60.0, 50.0), "60 iterations, 1.2 × the limit of 50");
    assert_eq!(said("session_duration", 7200.0, 3600.0), "2 h, 2 × the limit of 1 h");
    assert_eq!(said("run_overdue", 3661.0, 3600.0), "1 h 1 min, 1.02 × the limit of 1 h");
    assert_eq!(said("cost_per_run_drift", 1.8, 1.5), "1.8 × the earlier cost per run (limit 1.5 ×)");
    assert_eq!(said("limit_hit", 1.0, 0.0), "a limit ended the run");
    let alerts = json::alerts(&[testing::runs::alert("iteration_ceiling", "r", 1)]);
    assert_eq!((&alerts["alerts"][0]["unit"], &alerts["alerts"][0]["multiple"]), (&json!("count"), &json!(1.4)));
}

/// Token buckets are disjoint: reasoning is not part of the output. The cost of unpriced calls is null, not 0.
#[test]
fn tokens_are_disjoint_and_no_price_is_null() {
    let mut sum = RunTotals::default();
    sum.add_call("m", CallTokenBuckets { input: 10, output: 7, reasoning: 5, ..CallTokenBuckets::default() }, None);
    let value = json::totals(&sum);
    for tokens in [&value["tokens"], &value["models"]["m"]["tokens"]] {
        assert_eq!(
            (&tokens["output"], &tokens["reasoning"], &tokens["output_total"]),
            (&json!(2), &json!(5), &json!(7))
        );
    }
    assert_eq!((&value["cost_usd"], &value["unpriced_calls"]), (&Value::Null, &json!(1)));
}

/// A record has the fields of the view that it was made of, in the view's order, and the view comes back from it: with
/// a mistaken order a scan would read one name or count for another.
#[test]
fn a_record_is_its_view() {
    let text = |word: &str| Some(word.to_owned());
    let mut view = testing::runs::ended("run", 3, 5);
    (view.tenant, view.feature, view.user, view.template) = (text("t"), text("f"), text("u"), text("p"));
    (view.incident, view.operation, view.state) = (text("i"), text("GET /"), RunState::Killed);
    let totals = &mut view.totals;
    (totals.failed_calls, totals.retries, totals.sub_agents, totals.reads, totals.writes) = (11, 12, 13, 14, 15);
    (totals.iterations, totals.model_changes) = (16, 17);
    totals.tool("Bash").denied = 2;
    totals.add_finish("stop");
    totals.add_error("timeout");
    totals.add_trouble("overloaded_529", "anthropic", 3);
    totals.add_fallback(["refusal", "openai", "big", "small"], 4);
    totals.add_denial("Edit", "hook", 5);
    totals.other_tenants.insert("globex".into(), ModelTotals { calls: 1, ..ModelTotals::default() });
    let bytes = encode_run(&view, testing::runs::NOW);
    let record = RunRecord::decode(&bytes).unwrap();
    assert_eq!([record.account, record.run, record.session], ["default", "run", "session-of-run"]);
    let names = [record.tenant, record.feature, record.user, record.template, record.incident];
    assert_eq!(names, ["t", "f", "u", "p", "i"].map(Some));
    assert_eq!([record.commit, record.issue, record.service], ["c0ffee", "OPS-1", "agents"].map(Some));
    assert!(record.state == RunState::Killed && record.tools[0].0 == "Bash" && record.tools[0].1.denied == 2);
    assert_eq!([record.start, record.last, record.duration], [view.start, view.last, view.duration]);
    assert_eq!([record.failed_calls, record.writes, record.iterations], [11, 15, 16]);
    assert_eq!((record.models[0].0, record.total().atto_usd), ("claude-sonnet-4-5", 5));
    assert_eq!(record.troubles, [(["overloaded_529", "anthropic"], 3)]);
    assert_eq!(record.fallbacks, [(["refusal", "openai", "big", "small"], 4)]);
    assert_eq!(record.denials, [(["Edit", "hook"], 5)]);
    assert_eq!(record.other_tenants[0].0, "globex");
    assert!(decode_run(&bytes) == Some(view.clone()));
    assert!(RunRecord::decode(&bytes[..40]).is_none(), "half a record");
    // a clock that is ahead, and no time at all
    let times = |view: &RunView| decode_run(&encode_run(view, 7)).map(|run| (run.start, run.last));
    assert_eq!(times(&view), Some((7, 7)));
    (view.start, view.last) = (0, 0);
    assert_eq!(times(&view), Some((0, 7)));
}

/// What plans cover and caching saved of each model and tenant is read from the end of a stored form; forms from before
/// plans, and from before savings, end earlier: then it is nothing.
#[test]
fn a_record_tells_what_is_covered() {
    let mut view = testing::runs::ended("run", 3, 50);
    let part = |atto_usd, covered_atto_usd| {
        let saved_atto_usd = 60 - atto_usd;
        ModelTotals { calls: 1, atto_usd, covered_atto_usd, saved_atto_usd, ..ModelTotals::default() }
    };
    let without = encode_run(&view, testing::runs::NOW);
    view.totals.add_model("codex", &part(70, 70));
    view.totals.other_tenants.insert("globex".into(), part(40, 30));
    let bytes = encode_run(&view, testing::runs::NOW);
    let record = RunRecord::decode(&bytes).unwrap();
    assert_eq!((record.total().atto_usd, record.total().payable()), (120, 50));
    assert!(decode_run(&bytes) == Some(view.clone()));
    let sum = UsageSum::of_run(&record);
    let tenants: Vec<(i128, i128)> = sum.by_tenant(&record).map(|(_, sum)| (sum.atto_usd, sum.payable())).collect();
    assert_eq!((sum.payable(), tenants), (50, vec![(80, 40), (40, 10)]));
    assert_eq!(json::totals(&view.totals)["payable_usd"], "0.00000000000000005");
    // what caching saved: 10 more was paid for the run's model; of the other tenant's part 20 was saved
    let saved: Vec<i128> = sum.by_tenant(&record).map(|(_, sum)| sum.saved_atto_usd).collect();
    assert_eq!((record.total().saved_atto_usd, saved), (-10, vec![-30, 20]));
    let shown = json::totals(&view.totals);
    assert_eq!(shown["cache_savings_usd"], "-0.00000000000000001");
    assert_eq!(shown["other_tenants"]["globex"]["cache_savings_usd"], "0.00000000000000002");
    let record = RunRecord::decode(&without).unwrap();
    assert_eq!((record.total().payable(), decode_run(&without).map(|view| view.totals.payable())), (50, Some(50)));
    assert!(json::sum(&UsageSum::of_run(&record))["cache_savings_usd"].is_null());
    // the form before savings ends with what plans cover, of each model and other tenant
    let before: Vec<i128> = view.totals.clone().unstored_mut().map(|atto| *atto).collect();
    let end = postcard::to_allocvec(&before).unwrap();
    let parts = view.totals.models.len() + view.totals.other_tenants.len();
    let covered = postcard::to_allocvec(&before[..parts]).unwrap();
    let former = [&bytes[..bytes.len() - end.len()], &covered].concat();
    let record = RunRecord::decode(&former).unwrap();
    assert_eq!((record.total().payable(), record.total().saved_atto_usd), (50, 0));
}

/// The work is read from the end of a stored form; forms from before it end earlier: then it is nothing. It is shown if
/// there is any; a session's last message is that of its last run.
#[test]
fn a_record_tells_the_work() {
    let mut view = testing::runs::ended("run", 3, 50);
    let shown = |totals: &RunTotals| {
        let value = json::totals(totals);
        ["lines_added", "lines_removed", "summary"].map(|field| value.get(field).cloned())
    };
    let without = encode_run(&view, testing::runs::NOW);
    assert_eq!(shown(&view.totals), [None, None, None]);
    view.totals.work = RunWork { lines: [0, 30], summary: [7, 1_234, 210] };
    let bytes = encode_run(&view, testing::runs::NOW);
    let record = RunRecord::decode(&bytes).unwrap();
    assert!(record.work == view.totals.work && decode_run(&bytes) == Some(view.clone()));
    let length = json!({"characters": 1234, "words": 210});
    assert_eq!(shown(&view.totals), [Some(json!(0)), Some(json!(30)), Some(length)]);
    // what plans cover and what caching saved of the one model, and no work
    let former = [&*without, &postcard::to_allocvec(&[20_i128, 5].as_slice()).unwrap()].concat();
    for bytes in [&former, &without] {
        let (record, view) = (RunRecord::decode(bytes).unwrap(), decode_run(bytes).unwrap());
        assert!(record.work == RunWork::default() && view.totals.work == RunWork::default());
    }
    assert_eq!(RunRecord::decode(&former).unwrap().total().saved_atto_usd, 5);
    let other = RunWork { lines: [120, i128::MAX], summary: [8, 9, 1] };
    let [mut there, mut back] = [view.totals.work, other];
    there.add(&other);
    back.add(&view.totals.work);
    assert!(there == back && there == RunWork { lines: [120, i128::MAX], summary: [8, 9, 1] });
    assert_eq!(there.counts(), [120, 0, 9, 1], "no number of lines");
}

/// Of the runs of a scan, the first by rank are kept, of equal ones those that came first; all are counted.
#[test]
fn the_first_runs_are_kept() {
    let mut first = FirstRuns::new(3);
    for (id, rank) in [("a", 5), ("b", 1), ("c", 5), ("d", 9), ("e", 1), ("f", 5)] {
        let bytes = encode_run(&testing::runs::ended(id, 1, 1), testing::runs::NOW);
        first.add(rank, &RunRecord::decode(&bytes).unwrap());
    }
    assert_eq!(first.count, 6);
    assert_eq!(first.into_views().iter().map(|view| &*view.run).collect::<Vec<_>>(), ["b", "e", "a"]);
}
