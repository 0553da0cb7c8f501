use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::calls::OwnCall;
use crate::days::utc_day_at;
use crate::focus::{as_csv, rows_of};
use genai::usage::TokenSplit;
use rates::Usd;

use super::{NOVEMBER, line, prices};

/// A column as `focus_columns.yaml` has it.
#[derive(Deserialize)]
struct Column {
    name: String,
    r#type: String,
    nulls: String,
    #[serde(default)]
    values: Vec<String>,
    min: Option<i64>,
}

#[derive(Deserialize)]
struct Columns {
    columns: Vec<Column>,
}

const CONTRACT: &str = "schema: 1\noverlay: true\nversion: o\nbase: \">=2026-11-20.4\"\ncurrency: USD\nper_tokens: 1000000\n\
                        discount: \"0.88\"\n";

type Row = HashMap<String, String>;

/// The file of three calls, one of them covered by a plan and one a correction, in a currency at this rate.
fn file(rate: i128) -> (Vec<Row>, i128) {
    let prices = prices(&[CONTRACT]);
    let units = |input| TokenSplit { input, cache_read: 3_000, output: 77, ..TokenSplit::default() };
    let mut lines = vec![
        line(&prices, ("anthropic", "claude-sonnet-4-5"), NOVEMBER + 5, units(1_001)),
        // the price of a long context
        line(&prices, ("anthropic", "claude-sonnet-4-5"), NOVEMBER + 6, units(400_000)),
        line(&prices, ("openai", "gpt-5-mini"), NOVEMBER + 86_400, units(900)),
        line(&prices, ("openai", "gpt-5-mini"), NOVEMBER + 90_000, units(901)),
    ];
    lines[0].tail.tenant = "=HYPERLINK(\"http://x\")".to_owned();
    lines[0].tail.user_key = Some("h-1".to_owned());
    lines[2].tail.billing = Some("subscription".to_owned());
    lines[2].tail.covered_usd = lines[2].tail.cost_usd.clone();
    lines[3].tail.cost_status = Some("correction".to_owned());
    lines[3].tail.cost_usd = Some("-0.25".to_owned());
    lines[3].tail.basis = None;
    let teams = HashMap::from([("h-1".to_owned(), "payments".to_owned())]);
    let mut rows = BTreeMap::new();
    for line in &lines {
        let call = OwnCall::read(line, &prices).unwrap();
        let day = utc_day_at(call.at).unwrap();
        for (key, sum) in rows_of(&call, day, &teams, &|atto, _| Some(atto * rate)).unwrap() {
            rows.entry(key).or_insert_with(crate::focus::FocusRowSum::default).add(sum);
        }
    }
    let text = as_csv(&rows, "2026-11-01".parse().unwrap(), if rate == 1 { "USD" } else { "EUR" }).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().unwrap().clone();
    let cells =
        |row: csv::StringRecord| names.iter().zip(row.iter()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    let sum = lines.iter().map(|line| Usd::parse(line.tail.cost_usd.as_deref().unwrap()).unwrap().0).sum();
    (reader.records().map(|row| cells(row.unwrap())).collect(), sum)
}

fn amount(row: &Row, name: &str) -> i128 {
    Usd::parse(&row[name]).unwrap_or_else(|| panic!("{name}: {}", row[name])).0
}

/// Each cell has the type of its column, and is null only where the specification allows it.
#[test]
fn cells_are_as_the_specification_says() {
    let text = include_str!("../focus_columns.yaml");
    let columns = config::load::parse_data::<Columns>("focus_columns.yaml", text).unwrap().columns;
    assert_eq!(columns.len(), 57);
    let (rows, _) = file(1);
    for (row, Column { name, r#type, nulls, values, min }) in
        rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)))
    {
        let cell = &row[name];
        let is_use = row["ChargeCategory"] == "Usage";
        if cell.is_empty() {
            assert!(nulls == "may" || (nulls == "set" && !is_use), "{name} is null");
            continue;
        }
        match r#type.as_str() {
            "decimal" => {
                assert!(Usd::parse(cell).is_some() && !cell.starts_with("-0.0000000000000000000"), "{name}: {cell}");
                assert!(min.is_none() || !cell.starts_with('-'), "{name}: {cell}");
            }
            "datetime" => assert!(cell.len() == 20 && cell.parse::<jiff::Timestamp>().is_ok(), "{name}: {cell}"),
            "json" => {
                let json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(cell).unwrap();
                assert!(json.values().all(serde_json::Value::is_string), "{name}: {cell}");
            }
            _ => assert!(values.is_empty() || values.contains(cell), "{name}: {cell}"),
        }
    }
}

/// Price times quantity is the cost to the last digit, costs add up to what the index has, and what a plan covers
/// isn't billed.
#[test]
fn amounts_are_exact() {
    for rate in [1, 3] {
        let (rows, sum) = file(rate);
        let of = |name: &str| rows.iter().map(|row| amount(row, name)).sum::<i128>();
        assert_eq!(of("ContractedCost"), sum * rate);
        assert_eq!(of("PricingCurrencyEffectiveCost") * rate, of("BilledCost"));
        assert!(of("BilledCost") < of("ContractedCost") && of("ContractedCost") < of("ListCost"));
        for row in rows.iter().filter(|row| row["ChargeCategory"] == "Usage") {
            for (price, cost) in [("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")] {
                let million = 1_000_000_000_000_000_000_000_000;
                let tokens: i128 = row["ConsumedQuantity"].parse().unwrap();
                assert_eq!(amount(row, "PricingQuantity") * 1_000_000, tokens * (million / 1_000_000));
                assert_eq!(amount(row, price) * tokens / 1_000_000, amount(row, cost), "{price}");
            }
            assert_eq!(amount(row, "ContractedCost") * 100, amount(row, "ListCost") * 88);
        }
        // a price of its own for each size of the prompt
        let inputs = rows.iter().filter(|row| row["SkuMeter"] == "input" && row["ProviderName"] == "anthropic");
        assert_eq!(inputs.count(), 2);
        assert_eq!(rows.iter().filter(|row| row["ChargeCategory"] == "Adjustment").count(), 1);
    }
}

/// A name that a spreadsheet would run is text; tags keep it as it is.
#[test]
fn no_cell_is_a_formula() {
    let (rows, _) = file(1);
    let row = rows.iter().find(|row| row["Tags"].contains("HYPERLINK")).unwrap();
    assert!(row["SubAccountId"].starts_with("'=") && row["Tags"].contains("\"team\":\"payments\""), "{row:?}");
    let is_formula = |cell: &String| cell.starts_with(['=', '+', '@', '\t', '\r']);
    assert!(!rows.iter().flat_map(HashMap::values).any(is_formula));
}
