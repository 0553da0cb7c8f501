use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::amounts::times_ratio;
use crate::bill::{Bill, RowFilter};
use crate::calls::OwnCall;
use crate::causes::{DifferenceCause, Reconciliation, reconcile};
use crate::format::{ChargeKind, load_formats};
use crate::own::OwnSums;
use crate::prices::Prices;
use genai::usage::TokenSplit;
use rates::Usd;
use vault::index_row::IndexRow;

use super::{NOVEMBER, line, prices};

const DAY: u64 = 86_400;
const NOVEMBER_SPAN: (u64, u64) = (NOVEMBER, NOVEMBER + 30 * DAY);
const ANTHROPIC: [&str; 2] = ["claude-sonnet-4-5", "claude-haiku-4-5"];

/// A small generator, so that each seed gives the same month everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Calls of a month, all of which the vendor bills.
fn calls(prices: &Prices, provider: &str, models: &[&str], count: u64, seed: u64) -> Vec<IndexRow> {
    let mut random = Random(seed);
    (0..count)
        .map(|_| {
            let model = models[usize::try_from(random.below(models.len() as u64)).unwrap()];
            let units = TokenSplit {
                input: 100 + random.below(5_000),
                cache_read: random.below(3) * 1_000,
                cache_write_5m: random.below(2) * 500,
                output: 10 + random.below(2_000),
                ..TokenSplit::default()
            };
            line(prices, (provider, model), NOVEMBER + random.below(30 * DAY), units)
        })
        .collect()
}

type BillRows = BTreeMap<(u64, String, ChargeKind, &'static str), (u64, i128)>;

/// What the vendor bills for calls: tokens and amounts by day, model and kind. `day_begins`: seconds before midnight
/// UTC; `terms`: ratio of the list price (1e-9) and tier of a call.
fn bill_of(
    rows: &[IndexRow],
    prices: &Prices,
    day_begins: u64,
    terms: &dyn Fn(usize, &OwnCall<'_>) -> (u64, &'static str),
) -> BillRows {
    let mut sums = BillRows::new();
    for (number, row) in rows.iter().enumerate() {
        let call = OwnCall::read(row, prices).unwrap();
        let (ratio, tier) = terms(number, &call);
        let day = (call.at / 1_000_000_000 + day_begins - NOVEMBER) / DAY;
        for part in &call.parts {
            let sum = sums.entry((day, call.model.clone(), part.kind, tier)).or_default();
            sum.0 += part.tokens;
            sum.1 += times_ratio(part.atto, ratio);
        }
    }
    sums
}

const FORM: &str = r#"
formats:
  - name: test
    file_type: csv
    required_fields: [day, cost]
    time_zone: UTC
    start: day
    currency_is: USD
    model: [model]
    amount: cost
    kind: kind
    tokens: { field: tokens, tokens_per_unit: "1" }
    tier: tier
    kinds: { input: input, cache_read: cache_read, cache_write_5m: cache_write_5m, output: output, credit: credit }
    tiers: { batch: batch, standard: "" }
"#;

/// Columns that are left out: `tokens`, `tier`.
fn read_bill(folder: &Path, rows: &BillRows, decimals: u32, without: &[&str], more: &str, provider: &str) -> Bill {
    let step = 10_i128.pow(18 - decimals);
    let mut text = "day,model,kind,cost".to_owned();
    let has = |name: &str| !without.contains(&name);
    text.push_str(if has("tokens") { ",tokens" } else { "" });
    text.push_str(if has("tier") { ",tier" } else { "" });
    text.push('\n');
    for ((day, model, kind, tier), (tokens, atto)) in rows {
        let cost = Usd((atto + step / 2) / step * step);
        write!(text, "2026-11-{:02},{model},{},{cost}", day + 1, kind.as_str()).unwrap();
        if has("tokens") {
            write!(text, ",{tokens}").unwrap();
        }
        if has("tier") {
            write!(text, ",{}", if tier.is_empty() { "standard" } else { tier }).unwrap();
        }
        text.push('\n');
    }
    text.push_str(more);
    let (format, export) = (folder.join("format.yaml"), folder.join("export.csv"));
    std::fs::write(&format, FORM).unwrap();
    std::fs::write(&export, text).unwrap();
    let formats = load_formats(Some(&format)).unwrap();
    Bill::read(&[export], &formats, provider, None, &RowFilter::default()).unwrap()
}

fn own_of(rows: &[IndexRow], prices: &Prices, provider: &str) -> OwnSums {
    let mut own = OwnSums::default();
    for row in rows {
        own.add(&OwnCall::read(row, prices).unwrap(), (provider, NOVEMBER_SPAN), &|atto, _| Some(atto)).unwrap();
    }
    own
}

fn sum(rows: &BillRows) -> i128 {
    rows.values().map(|(_, atto)| *atto).sum()
}

/// The causes of each line and of all lines add up to the difference, to the last digit.
fn assert_adds_up(result: &Reconciliation) {
    for line in &result.lines {
        assert_eq!(line.causes.values().sum::<i128>(), line.difference(), "{} {}", line.period.from, line.model);
    }
}

/// Close enough for a cause that is computed from rounded amounts.
fn assert_near(what: &str, cause: i128, expected: i128, cents: i128) {
    let off = (cause - expected).abs();
    assert!(off <= cents * 10_i128.pow(16), "{what}: {} is not {}", Usd(cause), Usd(expected));
}

/// A month with a discount, a day of lost telemetry, a model without a price and a credit: each is named with its
/// amount, and nothing is unexplained.
#[test]
fn causes_are_named_with_their_amounts() {
    let (folder, prices) = (tempfile::tempdir().unwrap(), prices(&[]));
    let rows = calls(&prices, "anthropic", &ANTHROPIC, 4_000, 1);
    let billed = bill_of(&rows, &prices, 0, &|_, _| (880_000_000, ""));
    let lost = |row: &IndexRow| row.tail.ts.starts_with("2026-11-09");
    let seen: Vec<IndexRow> = rows.iter().filter(|row| !lost(row)).cloned().collect();
    let of_lost_day: i128 = billed.iter().filter(|((day, ..), _)| *day == 8).map(|(_, (_, atto))| *atto).sum();
    let bill = read_bill(folder.path(), &billed, 4, &["tier"], "2026-11-20,,credit,-50.00,0\n", "anthropic");
    let result = reconcile(&bill, &own_of(&seen, &prices, "anthropic"), &prices);
    assert_adds_up(&result);
    assert_eq!(result.cause(DifferenceCause::Unexplained), 0);
    assert_near("unseen", result.cause(DifferenceCause::Unseen), of_lost_day, 1);
    assert_near("credit", result.cause(DifferenceCause::Credit), -50 * 10_i128.pow(18), 0);
    let discount = (sum(&billed) - of_lost_day) * 12 / 88;
    assert_near("discount", result.cause(DifferenceCause::Discount), -discount, 1);
    assert_near("rounding", result.cause(DifferenceCause::Rounding), 0, 1);
    assert_eq!(result.ratios.len(), 1);
    assert_eq!((result.ratios[0].ratio, result.ratios[0].models.len()), (880_000_000, 2));
}

/// A part of the calls was sent in batches, which only the bill says.
#[test]
fn a_tier_that_only_the_bill_names() {
    let (folder, prices) = (tempfile::tempdir().unwrap(), prices(&[]));
    let rows = calls(&prices, "anthropic", &ANTHROPIC, 3_000, 2);
    let terms = |number: usize, _: &OwnCall<'_>| {
        if number.is_multiple_of(3) { (500_000_000, "batch") } else { (1_000_000_000, "") }
    };
    let billed = bill_of(&rows, &prices, 0, &terms);
    let batch: i128 = billed.iter().filter(|((.., tier), _)| *tier == "batch").map(|(_, (_, atto))| *atto).sum();
    let bill = read_bill(folder.path(), &billed, 8, &[], "", "anthropic");
    let result = reconcile(&bill, &own_of(&rows, &prices, "anthropic"), &prices);
    assert_adds_up(&result);
    assert_eq!(result.cause(DifferenceCause::Unexplained), 0);
    assert_near("tier", result.cause(DifferenceCause::Tier), -batch, 0);
    // all in batches, and the bill doesn't say so: the table knows the ratio
    let billed = bill_of(&rows, &prices, 0, &|_, _| (500_000_000, ""));
    let bill = read_bill(folder.path(), &billed, 8, &["tier"], "", "anthropic");
    let result = reconcile(&bill, &own_of(&rows, &prices, "anthropic"), &prices);
    assert_eq!((result.cause(DifferenceCause::Unexplained), result.ratios[0].tier), (0, Some("batch")));
    assert_near("tier", result.cause(DifferenceCause::Tier), -sum(&billed), 0);
}

/// A bill whose days begin at another hour has the same calls, on other days.
#[test]
fn days_of_another_time_zone() {
    let (folder, prices) = (tempfile::tempdir().unwrap(), prices(&[]));
    let rows = calls(&prices, "anthropic", &ANTHROPIC, 4_000, 3);
    // no call in the last hours, which would be on the bill of December
    let rows: Vec<IndexRow> = rows.into_iter().filter(|row| row.tail.ts.as_str() < "2026-11-30T12").collect();
    let billed = bill_of(&rows, &prices, 8 * 3_600, &|_, _| (1_000_000_000, ""));
    let bill = read_bill(folder.path(), &billed, 6, &["tier"], "", "anthropic");
    let result = reconcile(&bill, &own_of(&rows, &prices, "anthropic"), &prices);
    assert_adds_up(&result);
    assert_eq!((result.shift, result.cause(DifferenceCause::Unexplained)), (32, 0));
    assert!(result.lines.iter().filter(|line| line.causes.contains_key(&DifferenceCause::TimeZone)).count() > 40);
    assert_near("time zone", result.cause(DifferenceCause::TimeZone), 0, 1);
}

/// A job that runs at night, of which the first day is lost and one more came in the next month, is no time zone.
#[test]
fn lost_telemetry_is_no_time_zone() {
    let (folder, prices) = (tempfile::tempdir().unwrap(), prices(&[]));
    let units = |day: u64| TokenSplit { input: 1_000_000 + day, ..TokenSplit::default() };
    let call = |day: u64| line(&prices, ("anthropic", ANTHROPIC[0]), NOVEMBER + day * DAY + 3_600, units(day));
    let rows: Vec<IndexRow> = (0..30).map(call).collect();
    let billed = bill_of(&rows, &prices, 0, &|_, _| (1_000_000_000, ""));
    let seen: Vec<IndexRow> = (1..31).map(call).collect();
    let bill = read_bill(folder.path(), &billed, 6, &["tier"], "", "anthropic");
    let result = reconcile(&bill, &own_of(&seen, &prices, "anthropic"), &prices);
    assert_eq!((result.shift, result.cause(DifferenceCause::Unexplained)), (0, 0));
    assert_eq!(
        result.cause(DifferenceCause::Unseen),
        result.total(|line| if line.period.from.day() == 1 { line.bill } else { 0 })
    );
}

/// Amounts alone, without tokens: a discount that most days share and a day of lost telemetry are told apart; what a
/// day of half of its telemetry lacks can't be, so it is unexplained.
#[test]
fn a_bill_without_tokens() {
    let (folder, prices) = (tempfile::tempdir().unwrap(), prices(&[]));
    let rows = calls(&prices, "anthropic", &ANTHROPIC, 4_000, 4);
    let billed = bill_of(&rows, &prices, 0, &|_, _| (925_000_000, ""));
    let mut number = 0;
    let seen: Vec<IndexRow> = (rows.iter())
        .filter(|row| {
            number += 1;
            !(row.tail.ts.starts_with("2026-11-09") || row.tail.ts.starts_with("2026-11-10") && number % 2 == 0)
        })
        .cloned()
        .collect();
    let bill = read_bill(folder.path(), &billed, 6, &["tier", "tokens"], "", "anthropic");
    let own = own_of(&seen, &prices, "anthropic");
    let result = reconcile(&bill, &own, &prices);
    assert_adds_up(&result);
    let of_day =
        |day: u64| -> i128 { billed.iter().filter(|((on, ..), _)| *on == day - 1).map(|(_, (_, atto))| *atto).sum() };
    let half: i128 = result.lines.iter().filter(|line| line.period.from.day() == 10).map(|line| line.own).sum();
    assert_near("unseen", result.cause(DifferenceCause::Unseen), of_day(9), 1);
    assert_near("unexplained", result.cause(DifferenceCause::Unexplained), of_day(10) - half, 1);
    let own_sum: i128 = own.cells.values().map(|cell| cell.atto).sum();
    assert_near("discount", result.cause(DifferenceCause::Discount), -times_ratio(own_sum - half, 75_000_000), 1);
}

/// What nothing explains is a line of its own, whatever its sign: a price that one day alone has, and calls that
/// nobody billed.
#[test]
fn what_nothing_explains_is_said() {
    let (folder, prices) = (tempfile::tempdir().unwrap(), prices(&[]));
    let rows = calls(&prices, "anthropic", &ANTHROPIC[..1], 1_000, 5);
    let mut billed = bill_of(&rows, &prices, 0, &|_, _| (1_000_000_000, ""));
    let wrong = 7 * 10_i128.pow(18);
    let odd = billed.iter_mut().find(|((day, _, kind, _), _)| (*day, *kind) == (14, ChargeKind::Output)).unwrap();
    odd.1.1 += wrong;
    billed.retain(|(day, ..), _| *day != 20);
    let bill = read_bill(folder.path(), &billed, 8, &["tier"], "", "anthropic");
    let own = own_of(&rows, &prices, "anthropic");
    let result = reconcile(&bill, &own, &prices);
    assert_adds_up(&result);
    assert_near("unexplained", result.cause(DifferenceCause::Unexplained), wrong, 0);
    let of_day: i128 = result.lines.iter().filter(|line| line.period.from.day() == 21).map(|line| line.own).sum();
    assert_eq!(result.cause(DifferenceCause::NotBilled), -of_day);
}

/// Models that the table doesn't price, and calls whose clock is ahead.
#[test]
fn unpriced_calls_and_wrong_clocks() {
    let (folder, own_prices) = (tempfile::tempdir().unwrap(), prices(&[]));
    let later = "schema: 1\noverlay: true\nversion: o\nbase: \">=2026-11-20.4\"\ncurrency: USD\nper_tokens: 1000000\n\
                 providers: {anthropic: {models: [{id: claude-next, new: true, rates: [{price: {input: \"4\", output: \
                 \"20\", cache_read: \"0.4\", cache_write: \"5\"}}]}]}}\n";
    let vendors = prices(&[later]);
    let models = ["claude-sonnet-4-5", "claude-next"];
    let billed = bill_of(&calls(&vendors, "anthropic", &models, 2_000, 6), &vendors, 0, &|_, _| (1_000_000_000, ""));
    let mut rows = calls(&own_prices, "anthropic", &models, 2_000, 6);
    let of_next: i128 =
        billed.iter().filter(|((_, model, ..), _)| model == "claude-next").map(|(_, (_, atto))| *atto).sum();
    assert!(rows.iter().any(|row| row.tail.cost_status.as_deref() == Some("unpriced")));
    // ten years ahead, but it arrived in the month
    let basis = rows[0].tail.basis.as_mut().unwrap();
    basis.time += 10 * 365 * DAY * 1_000_000_000;
    let bill = read_bill(folder.path(), &billed, 8, &["tier"], "", "anthropic");
    let own = own_of(&rows, &own_prices, "anthropic");
    let result = reconcile(&bill, &own, &own_prices);
    assert_adds_up(&result);
    assert_eq!((result.cause(DifferenceCause::Unexplained), own.clock_off), (0, 1));
    assert_near("unpriced", result.cause(DifferenceCause::Unpriced), of_next, 0);
}

/// Evidence is asked for: one day at another price, a price above ours on all days, and kinds that offset each other
/// are unexplained.
#[test]
fn a_ratio_needs_evidence() {
    let (folder, prices) = (tempfile::tempdir().unwrap(), prices(&[]));
    let rows = calls(&prices, "anthropic", &ANTHROPIC[..1], 600, 7);
    let own = own_of(&rows, &prices, "anthropic");
    let of_day = |bill: &BillRows, day: u64| -> i128 {
        bill.iter().filter(|((on, ..), _)| *on == day).map(|(_, (_, atto))| *atto).sum()
    };
    let list = bill_of(&rows, &prices, 0, &|_, _| (1_000_000_000, ""));
    let read = |billed: &BillRows| {
        let bill = read_bill(folder.path(), billed, 8, &["tier"], "", "anthropic");
        let result = reconcile(&bill, &own, &prices);
        assert_adds_up(&result);
        result
    };
    // one day at half the price is below what is listed on others
    let odd = |number: u64| {
        let of_odd_day = move |_: usize, call: &OwnCall<'_>| {
            let is_odd = (call.at / 1_000_000_000 - NOVEMBER) / DAY == number;
            (if is_odd { 700_000_000 } else { 1_000_000_000 }, "")
        };
        bill_of(&rows, &prices, 0, &of_odd_day)
    };
    let result = read(&odd(4));
    assert_eq!(result.cause(DifferenceCause::Discount), 0);
    assert_near("one day", result.cause(DifferenceCause::Unexplained), -(of_day(&list, 4) * 3 / 10), 1);
    let dearer = bill_of(&rows, &prices, 0, &|_, _| (1_100_000_000, ""));
    let result = read(&dearer);
    assert_near("surcharge", result.cause(DifferenceCause::Unexplained), sum(&list) / 10, 1);
    assert_eq!(result.ratios[0].ratio, 1_100_000_000);
    let mut offset = list.clone();
    let cents = 100 * 10_i128.pow(16);
    for ((day, _, kind, _), (_, atto)) in &mut offset {
        *atto += match (*day, *kind) {
            (9, ChargeKind::Input) => cents,
            (9, ChargeKind::Output) => -cents,
            _ => 0,
        };
    }
    let result = read(&offset);
    assert!(result.cause(DifferenceCause::Unexplained).abs() < 10_i128.pow(12));
    assert!((result.total(|line| line.unexplained) - 2 * cents).abs() < 10_i128.pow(12));
}

/// One model with two names is not two causes that look harmless.
#[test]
fn one_model_with_two_names() {
    let (folder, prices) = (tempfile::tempdir().unwrap(), prices(&[]));
    let rows = calls(&prices, "anthropic", &ANTHROPIC[..1], 600, 8);
    let mut billed = BillRows::new();
    for ((day, _, kind, tier), cell) in bill_of(&rows, &prices, 0, &|_, _| (1_400_000_000, "")) {
        billed.insert((day, "our deployment".to_owned(), kind, tier), cell);
    }
    let bill = read_bill(folder.path(), &billed, 8, &["tier"], "", "anthropic");
    let result = reconcile(&bill, &own_of(&rows, &prices, "anthropic"), &prices);
    assert_adds_up(&result);
    assert_eq!((result.cause(DifferenceCause::Unseen), result.cause(DifferenceCause::NotBilled)), (0, 0));
    assert_eq!(result.renamed.values().sum::<usize>(), 30);
    assert!(result.total(|line| line.unexplained) > sum(&billed));
}

/// What a plan covers is on no bill, so it must not fill the place of calls that were not seen.
#[test]
fn covered_calls_are_on_no_bill() {
    let (folder, prices) = (tempfile::tempdir().unwrap(), prices(&[]));
    let mut rows = calls(&prices, "anthropic", &ANTHROPIC[..1], 300, 9);
    let billed = bill_of(&rows, &prices, 0, &|_, _| (1_000_000_000, ""));
    for row in &mut rows {
        row.tail.billing = Some("subscription".to_owned());
        row.tail.covered_usd = row.tail.cost_usd.clone();
    }
    let bill = read_bill(folder.path(), &billed, 8, &["tier"], "", "anthropic");
    let own = own_of(&rows, &prices, "anthropic");
    let result = reconcile(&bill, &own, &prices);
    assert_adds_up(&result);
    assert_eq!((result.total(|line| line.own), own.covered.1), (0, 300));
    assert_near("unseen", result.cause(DifferenceCause::Unseen), sum(&billed), 1);
}

/// A line of an older version names neither provider nor tokens: it is no call of this provider.
#[test]
fn a_line_without_provider_is_not_counted() {
    let prices = prices(&[]);
    let mut rows = calls(&prices, "anthropic", &ANTHROPIC[..1], 2, 10);
    rows[1].tail.basis = None;
    rows[1].tail.provider = None;
    let own = own_of(&rows, &prices, "anthropic");
    assert_eq!((own.calls, own.corrections.1), (1, 0));
}
