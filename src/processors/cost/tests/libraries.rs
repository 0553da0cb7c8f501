//! What two public pricing libraries say a call costs (`tests/peers/prices/derive.py`), against what we say. Where they
//! differ, `tests/cases/cost/disagreements.yaml` says why; a line there that no difference needs is a failure too.

use serde_json::Value as Json;

use super::super::{Call, price};
use super::{item, time_of};
use crate::rates::Table;
use crate::testing::request::at;

/// Doubles add up to this relative error in a sum of a few products.
const NOISE: f64 = 1e-13;

fn agree(library: &str, ours: &str, theirs: &str) -> bool {
    if library == "genai_prices" {
        return ours == theirs;
    }
    let (ours, theirs): (f64, f64) = (ours.parse().unwrap_or(f64::NAN), theirs.parse().unwrap());
    (ours - theirs).abs() <= NOISE * theirs.abs()
}

/// Whether a line of the file speaks of this case.
fn speaks(line: &Json, library: &str, case: &Json) -> bool {
    let name = case["name"].as_str().unwrap();
    let variant = name.rsplit(' ').next().unwrap();
    let holds = |key: &str, value: &str| match &line[key] {
        Json::Null => true,
        Json::Array(any) => any.iter().any(|one| one == value),
        one => one == value,
    };
    holds("library", library)
        && holds("provider", case["call"]["provider"].as_str().unwrap())
        && holds("model", case["call"]["model"].as_str().unwrap())
        && holds("variant", variant)
}

/// At least 200 calls cost to the last digit what the libraries say, or it is written down why not.
#[test]
fn two_libraries_agree_or_it_is_explained() {
    let table = Table::builtin().unwrap_or_else(|error| panic!("{}", error.0));
    let text = std::fs::read_to_string(at("tests/cases/cost/libraries.json")).unwrap();
    let all: Json = serde_json::from_str(&text).unwrap();
    let path = "tests/cases/cost/disagreements.yaml";
    let lines: Vec<Json> = crate::config::load::data(path, &std::fs::read_to_string(at(path)).unwrap())
        .unwrap_or_else(|_| panic!("{path}"));
    assert!(lines.iter().all(|line| line["why"].as_str().is_some_and(|why| why.len() > 20)), "each says why");
    let (mut exact, mut failed, mut used) = (0, Vec::new(), vec![false; lines.len()]);
    for case in all["cases"].as_array().unwrap() {
        let item = item(&case["call"]);
        let priced = Call::of(&item, time_of(&case["call"])).and_then(|call| price(&table, &call, false));
        let ours = match priced {
            Ok(priced) => priced.total.to_string(),
            Err(unpriced) => unpriced.reason.as_str().to_owned(),
        };
        let mut both = true;
        for (library, theirs) in case["said"].as_object().unwrap() {
            if agree(library, &ours, theirs.as_str().unwrap()) {
                continue;
            }
            both = false;
            let named: Vec<usize> = (0..lines.len()).filter(|at| speaks(&lines[*at], library, case)).collect();
            if named.is_empty() {
                failed.push(format!("{}: we {ours}, {library} {theirs}", case["name"].as_str().unwrap()));
            }
            named.into_iter().for_each(|at| used[at] = true);
        }
        exact += u32::from(both);
    }
    let idle: Vec<&Json> = lines.iter().zip(&used).filter(|(_, used)| !**used).map(|(line, _)| line).collect();
    assert!(failed.is_empty(), "{} not explained:\n{}", failed.len(), failed.join("\n"));
    assert!(idle.is_empty(), "nothing needs: {idle:?}");
    assert!(exact >= 200, "{exact}");
}
