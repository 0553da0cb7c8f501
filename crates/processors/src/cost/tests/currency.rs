//! Amounts in another currency: beside USD and never in one sum with it, at the rate of the time of each item.

use serde_json::{Value as Json, json};

use super::totals::ways;
use super::{attributes, build_with, call, configured, one, processed_from, run, with_id};
use crate::cost::{CostConfig, CostProcessor, ExchangeConfig};
use crate::testing::case_file;
use otlp::Payload;
use pipeline::{Processor as _, Trust};
use rates::Usd;
use telemetry::{Meter, names};

/// 2026-11-18.
const CALLED: u64 = 1_795_000_000;
const DAY: u64 = 86_400;

fn in_euro(exchange: ExchangeConfig) -> (CostProcessor, Meter) {
    let meter = Meter::new();
    let settings = configured(|config| (config.currency, config.exchange) = (Some("EUR".to_owned()), Some(exchange)));
    (build_with(&settings, &meter), meter)
}

fn fixed(rate: &str) -> (CostProcessor, Meter) {
    in_euro(ExchangeConfig { fixed: Some(rate.to_owned()), ..ExchangeConfig::default() })
}

fn of_file(text: &str) -> (CostProcessor, Meter) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rates.csv");
    std::fs::write(&path, text).unwrap();
    in_euro(ExchangeConfig { file: Some(path.display().to_string()), ..ExchangeConfig::default() })
}

/// Amount, currency and rate on the items of a batch.
fn stamped(batch: &pipeline::Batch, item: usize) -> Json {
    let stamped = attributes(batch, item);
    json!(["amount", "currency", "exchange"].map(|key| stamped.get(&format!("tollgate.cost.{key}"))))
}

/// By currency: what was counted and not taken back.
fn counted(meter: &Meter) -> Vec<(String, String)> {
    let sums = |name| {
        meter
            .series(name)
            .iter()
            .map(|one| (one.label("currency").to_owned(), one.number().unwrap()))
            .collect::<Vec<_>>()
    };
    let mut all = std::collections::BTreeMap::<String, f64>::new();
    sums(&names::COST_AMOUNT).into_iter().for_each(|(currency, sum)| *all.entry(currency).or_default() += sum);
    sums(&names::COST_CORRECTED_AMOUNT)
        .into_iter()
        .for_each(|(currency, sum)| *all.entry(currency).or_default() -= sum);
    all.into_iter().map(|(currency, sum)| (currency, format!("{sum:.9}"))).collect()
}

fn at(time: u64, number: u64) -> Json {
    let mut call = call(number, 0, "gpt-4o", 1000, 100);
    (call["trace"], call["start"], call["end"]) = (json!(number), json!(time), json!(time + 1));
    call
}

/// The time of the call chooses the rate. A call before the first day gets no amount, and is counted.
#[test]
fn the_rate_is_that_of_the_call() {
    let (cost, meter) = of_file("date,rate\n2026-11-17,0.92\n2026-11-19,0.5\n");
    for (number, time, expected) in [
        (1, CALLED, json!(["0.00322", "EUR", "0.92@2026-11-17"])),
        (2, CALLED + DAY, json!(["0.00175", "EUR", "0.5@2026-11-19"])),
        (3, CALLED + 400 * DAY, json!(["0.00175", "EUR", "0.5@2026-11-19"])),
        (4, CALLED - 2 * DAY, json!([null, null, null])),
    ] {
        let batch = run(&cost, one(at(time, number)), u8::try_from(number).unwrap());
        assert_eq!(stamped(&batch, 0), expected, "{time}");
        assert_eq!(attributes(&batch, 0)["tollgate.cost.usd"], "0.0035", "USD stays");
    }
    assert_eq!(counted(&meter), [("EUR".to_owned(), "0.006720000".to_owned())]);
    assert_eq!(meter.values(&names::COST_USD), [0.014], "no sum has both");
    assert_eq!(meter.values(&names::COST_UNCONVERTED), [1.0]);
}

/// Without the setting nothing is stamped, and there is no metric.
#[test]
fn without_a_currency_there_is_nothing() {
    let (cost, meter) = super::metered();
    assert_eq!(stamped(&run(&cost, one(at(CALLED, 1)), 1), 0), json!([null, null, null]));
    assert!(meter.series(&names::COST_AMOUNT).is_empty() && meter.series(&names::COST_UNCONVERTED).is_empty());
}

/// Whoever reports the tokens, in whatever order and batches: amounts follow the charges, corrections too, and the
/// metrics say what the stamps say. A gateway behind adds nothing to what the first stamped.
#[test]
fn amounts_add_up_as_charges_do() {
    let cases: Vec<Json> = case_file("tests/cases/reported-usage.yaml");
    for case in &cases {
        let usd = Usd::parse(case["usd"].as_str().unwrap()).unwrap();
        for way in ways(case) {
            let gateways = [fixed("0.5"), fixed("0.9")];
            let mut sum = Usd::ZERO;
            for (number, request) in (1..).zip(&way) {
                let mut payload: Payload = request.clone();
                for ((cost, _), trust) in gateways.iter().zip([Trust::ThirdParty, Trust::Internal]) {
                    let batch = processed_from(cost, payload, number, |origin| origin.trust = trust);
                    batch.effects.iter().for_each(|effect| cost.apply(effect));
                    for item in (0..request.item_count()).filter(|_| trust == Trust::Internal) {
                        let amount =
                            stamped(&batch, item)[0].as_str().map_or(Usd::ZERO, |usd| Usd::parse(usd).unwrap());
                        sum = sum.plus(amount).unwrap();
                    }
                    payload = batch.payload;
                }
            }
            assert_eq!(sum.0 * 2, usd.0, "{}", case["name"]);
            let half = format!("{:.9}", usd.to_f64() / 2.0);
            for (_, meter) in &gateways {
                assert_eq!(counted(meter), [("EUR".to_owned(), half.clone())], "{}", case["name"]);
            }
        }
    }
}

/// A correction is converted at the time of the item that carries it. The sums survive a restart, and another currency
/// begins anew beside them.
#[test]
fn sums_survive_a_restart() {
    let file = "2026-11-18,0.5\n2026-11-19,0.25\n";
    let (cost, meter) = of_file(file);
    run(&cost, one(with_id(call(1, 0, "gpt-4o", 1000, 100), "chatcmpl-1")), 1);
    let mut later = with_id(call(2, 0, "gpt-4o", 1000, 200), "chatcmpl-1");
    (later["start"], later["end"]) = (json!(CALLED + DAY), json!(CALLED + DAY + 1));
    let batch = run(&cost, one(later), 2);
    assert_eq!(stamped(&batch, 0), json!(["0.00025", "EUR", "0.25@2026-11-19"]), "0.001 USD more");
    let sum = ("EUR".to_owned(), "0.002000000".to_owned());
    assert_eq!(counted(&meter), std::slice::from_ref(&sum));
    let saved = cost.checkpoint().unwrap();
    let (restarted, meter) = of_file(file);
    assert!(restarted.restore(&saved));
    assert_eq!(counted(&meter), std::slice::from_ref(&sum));
    let (other, meter) = (|config: &mut CostConfig| config.currency = Some("CHF".to_owned()), Meter::new());
    let settings = configured(|config| {
        config.exchange = Some(ExchangeConfig { fixed: Some("2".to_owned()), ..ExchangeConfig::default() });
        other(config);
    });
    let restarted = build_with(&settings, &meter);
    assert!(restarted.restore(&saved));
    run(&restarted, one(at(CALLED, 9)), 9);
    assert_eq!(counted(&meter), [("CHF".to_owned(), "0.007000000".to_owned()), sum]);
}

/// What can't be used is refused, by field; a file with its path and line.
#[test]
fn wrong_settings_are_refused() {
    let with = |currency: Option<&str>, exchange: Option<Json>| {
        let exchange = exchange.map(|exchange| serde_json::from_value(exchange).unwrap());
        let config = CostConfig { currency: currency.map(str::to_owned), exchange, ..CostConfig::default() };
        config.settings().map_err(|problems| problems.iter().map(|one| one.path.to_string()).collect::<Vec<_>>())
    };
    let euro = Some("EUR");
    for (currency, exchange, field) in [
        (euro, None, "currency"),
        (None, Some(json!({"fixed": "0.9"})), "exchange"),
        (euro, Some(json!({})), "exchange"),
        (euro, Some(json!({"fixed": "0.9", "file": "rates.csv"})), "exchange"),
        (euro, Some(json!({"file": " "})), "exchange"),
        (euro, Some(json!({"fixed": "0"})), "exchange.fixed"),
        (euro, Some(json!({"fixed": "0,9"})), "exchange.fixed"),
        (Some("USD"), Some(json!({"fixed": "1"})), "currency"),
        (Some("euro"), Some(json!({"fixed": "1"})), "currency"),
    ] {
        assert_eq!(with(currency, exchange).err(), Some(vec![field.to_owned()]), "{currency:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rates.csv").display().to_string();
    let load = || with(euro, Some(json!({"file": path}))).unwrap().load_exchange().map_err(|error| error.0);
    assert!(load().unwrap_err().starts_with(&format!("{path}: ")), "no file");
    std::fs::write(&path, "2026-11-01,0.92\n2026-11-01,0.93\n").unwrap();
    assert_eq!(load().unwrap_err(), format!("{path}:2: each day must be after the one before"));
    std::fs::write(&path, b"2026-11-01,0.92\n\xff\xfe\n").unwrap();
    assert!(load().unwrap_err().starts_with(&path), "no text");
}
