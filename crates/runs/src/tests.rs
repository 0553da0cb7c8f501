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
