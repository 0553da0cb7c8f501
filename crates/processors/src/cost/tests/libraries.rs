//! Compares prices with two public pricing libraries (`tests/peers/prices/derive.py`). For each difference
//! `tests/cases/cost/disagreements.yaml` gives the reason and our price as a hand-written sum; an entry there that no
//! difference needs is a failure too.

use serde_json::Value as Json;

use super::super::{CallPriceInput, price_call};
use super::{case_file, item, time_of};
use genai::testing::request::at;
use rates::{RateTable, Usd};

/// Allowed relative error for a sum of a few products of doubles.
const NOISE: f64 = 1e-13;

fn agree(library: &str, ours: &str, theirs: &str) -> bool {
    if library == "genai_prices" {
        return ours == theirs;
    }
    let (ours, theirs): (f64, f64) = (ours.parse().unwrap_or(f64::NAN), theirs.parse().unwrap());
    (ours - theirs).abs() <= NOISE * theirs.abs()
}

/// Our price according to an entry of the file, if the entry covers this case.
fn speaks<'l>(line: &'l Json, library: &str, case: &Json) -> Option<&'l str> {
    let name = case["name"].as_str().unwrap();
    let variant = name.rsplit(' ').next().unwrap();
    let (provider, model) = (&case["call"]["provider"], case["call"]["model"].as_str().unwrap());
    let held = line["library"] == library && line["provider"] == *provider;
    line["ours"].get(format!("{model} {variant}")).filter(|_| held).map(|sum| sum.as_str().unwrap())
}

/// Evaluates `1000*0.14 + 100*0.28` (tokens times USD per million) to an amount. A reason is returned unchanged.
fn worked_out(sum: &str) -> String {
    if sum.starts_with(|c: char| c.is_ascii_lowercase()) {
        return sum.to_owned();
    }
    let product = |term: &str| {
        let (tokens, price) = term.split_once('*').unwrap_or_else(|| panic!("{sum}"));
        Usd::parse(price).unwrap().0 * tokens.parse::<i128>().unwrap()
    };
    let total: i128 = sum.split(" + ").map(product).sum();
    assert_eq!(total % 1_000_000, 0, "{sum}");
    Usd(total / 1_000_000).to_string()
}

/// At least 200 calls cost exactly what the libraries say, or the difference is explained.
#[test]
fn two_libraries_agree_or_it_is_explained() {
    let table = RateTable::builtin().unwrap_or_else(|error| panic!("{}", error.0));
    let text = std::fs::read_to_string(at("tests/cases/cost/libraries.json")).unwrap();
    let all: Json = serde_json::from_str(&text).unwrap();
    let lines: Vec<Json> = case_file("tests/cases/cost/disagreements.yaml");
    assert!(lines.iter().all(|line| line["why"].as_str().is_some_and(|why| why.len() > 20)), "each says why");
    let (mut exact, mut failed, mut used) = (0, Vec::new(), 0);
    for case in all["cases"].as_array().unwrap() {
        let item = item(&case["call"]);
        let priced =
            CallPriceInput::from_item(&item, time_of(&case["call"])).and_then(|call| price_call(&table, &call, false));
        let ours = match priced {
            Ok(priced) => priced.total.to_string(),
            Err(unpriced) => unpriced.reason.as_str().to_owned(),
        };
        let mut both = true;
        for (library, theirs) in case["said"].as_object().unwrap() {
            let (name, theirs) = (case["name"].as_str().unwrap(), theirs.as_str().unwrap());
            if agree(library, &ours, theirs) {
                continue;
            }
            both = false;
            let said: Vec<&str> = lines.iter().filter_map(|line| speaks(line, library, case)).collect();
            match said.as_slice() {
                [sum] if worked_out(sum) == ours => used += 1,
                [sum] => failed.push(format!("{name}: we {ours}, by hand {}", worked_out(sum))),
                _ => failed.push(format!("{name}: we {ours}, {library} {theirs}, {} lines", said.len())),
            }
        }
        exact += u32::from(both);
    }
    let sums: usize = lines.iter().map(|line| line["ours"].as_object().unwrap().len()).sum();
    assert!(failed.is_empty(), "{} not explained:\n{}", failed.len(), failed.join("\n"));
    assert_eq!(used, sums, "sums that no difference needs");
    assert!(exact >= 200, "{exact}");
}
