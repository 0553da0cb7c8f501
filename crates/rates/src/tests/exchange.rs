//! Rates of exchange: exact amounts, which rate a time has, and files that are wrong.

use super::super::{Amount, Currency, Exchange, Usd};

const DAY: u64 = 86_400_000_000_000;
/// 2026-11-01 00:00 UTC.
const NOVEMBER: u64 = 1_793_491_200_000_000_000;

fn euro() -> Currency {
    Currency::parse("EUR").unwrap()
}

fn fixed(rate: &str) -> Exchange {
    Exchange::fixed(euro(), rate).unwrap_or_else(|error| panic!("{error}"))
}

fn parse(text: &str) -> Result<Exchange, String> {
    Exchange::parse(euro(), "rates.csv", text).map_err(|error| error.0)
}

#[test]
fn a_rate_is_valid_from_its_day_until_the_next() {
    let text =
        "\u{feff}# of the bank\r\ndate,rate\r\n\r\n2026-11-01,0.9213\r\n 2026-11-03 , 0.9300 \r\n2026-12-01,1\r\n";
    let exchange = parse(text).unwrap();
    let shown = |at: u64| exchange.rate_at(at).map(ToString::to_string);
    assert_eq!(exchange.currency().as_str(), "EUR");
    for (at, expected) in [
        (0, None),
        (NOVEMBER - 1, None),
        (NOVEMBER, Some("0.9213@2026-11-01")),
        (NOVEMBER + 2 * DAY - 1, Some("0.9213@2026-11-01")),
        (NOVEMBER + 2 * DAY, Some("0.93@2026-11-03")),
        (NOVEMBER + 30 * DAY, Some("1@2026-12-01")),
        (u64::MAX, Some("1@2026-12-01")),
    ] {
        assert_eq!(shown(at).as_deref(), expected, "{at}");
        assert_eq!(exchange.convert(Usd(10_000), at).is_some(), expected.is_some(), "{at}");
    }
    assert_eq!(fixed("0.920").rate_at(0).map(ToString::to_string).as_deref(), Some("0.92"));
}

/// Exact where 18 decimals hold the product; else the nearest, a half to the even one, of both signs.
#[test]
fn amounts_are_exact_or_the_nearest() {
    for (rate, usd, expected) in [
        ("0.92", "0.0035", "0.00322"),
        ("0.9213", "-12.5", "-11.51625"),
        ("0.5", "0.000000000000000001", "0"),
        ("0.5", "0.000000000000000003", "0.000000000000000002"),
        ("0.5", "-0.000000000000000001", "0"),
        ("0.5", "-0.000000000000000003", "-0.000000000000000002"),
        ("0.51", "0.000000000000000001", "0.000000000000000001"),
        ("0.49", "-0.000000000000000001", "0"),
        ("0.51", "-0.000000000000000001", "-0.000000000000000001"),
        ("16250.123456789012", "1000000.000000000000000001", "16250123456.789012000000016250"),
        ("0.000000000001", "1", "0.000000000001"),
    ] {
        let converted = fixed(rate).convert(Usd::parse(usd).unwrap(), 0).map(|amount| amount.to_string());
        assert_eq!(converted, Usd::parse(expected).map(|usd| usd.to_string()), "{usd} at {rate}");
    }
    for amount in [i128::MAX, i128::MIN] {
        assert_eq!(fixed("1").convert(Usd(amount), 0), Some(Amount(amount)));
        assert_eq!(fixed("1.1").convert(Usd(amount), 0), None);
        assert_eq!(fixed("999999999999.999999999999").convert(Usd(amount), 0), None);
        assert!(fixed("0.9").convert(Usd(amount), 0).is_some());
    }
}

/// The sum of converted parts and the converted sum differ by no more than the parts' rounding.
#[test]
fn sums_of_converted_amounts_stay_close() {
    let exchange = fixed("0.921345678901");
    let parts: Vec<i128> = (1..2_000_i128).map(|n| n * n * 7_919 - 3_000_000_000).collect();
    let convert = |atto: i128| exchange.convert(Usd(atto), 0).unwrap().0;
    let (sum, whole) = (parts.iter().map(|part| convert(*part)).sum::<i128>(), convert(parts.iter().sum()));
    assert!((sum - whole).unsigned_abs() <= parts.len() as u128 / 2, "{sum} {whole}");
}

#[test]
fn wrong_files_and_rates_are_refused_with_their_line() {
    let many: String = (0..20_001_u64)
        .map(|day| format!("{},1\n", kernel::calendar::date(kernel::clock::UnixNanos(day * DAY))))
        .collect();
    for (text, line) in [
        ("", "rates.csv: has no line"),
        ("date,rate\n# none\n", "rates.csv: has no line"),
        ("date,rate\ndate,rate\n", "rates.csv:2: the day"),
        ("2026-11-01;0.9213", "rates.csv:1: a line must"),
        ("2026-11-01", "rates.csv:1: a line must"),
        ("# c\n2026-11-01,0.92\n2026-11-01,0.93", "rates.csv:3: each day"),
        ("2026-11-02,0.92\n2026-11-01,0.93", "rates.csv:2: each day"),
        ("2026-02-30,0.92", "rates.csv:1: the day"),
        ("01.11.2026,0.92", "rates.csv:1: the day"),
        ("1969-12-31,0.92", "rates.csv:1: the day"),
        ("2026-11-01,0.92,0.93", "rates.csv:1: the rate"),
        ("2026-11-01,\"0,92\"", "rates.csv:1: the rate"),
        ("2026-11-01,0", "rates.csv:1: the rate"),
        ("2026-11-01,-0.92", "rates.csv:1: the rate"),
        ("2026-11-01,9e-1", "rates.csv:1: the rate"),
        ("2026-11-01,NaN", "rates.csv:1: the rate"),
        ("2026-11-01,=0.92", "rates.csv:1: the rate"),
        ("2026-11-01,0.", "rates.csv:1: the rate"),
        ("2026-11-01,.5", "rates.csv:1: the rate"),
        ("2026-11-01,0.1234567890123", "rates.csv:1: the rate"),
        ("2026-11-01,1234567890123", "rates.csv:1: the rate"),
        (&many, "rates.csv:20001: more than"),
    ] {
        let error = parse(text).expect_err(line);
        assert!(error.starts_with(line), "{error}");
        assert!(!error.contains("0.93") && !error.contains("01.11"), "{error}");
    }
    let most = many.trim_end().rsplit_once('\n').unwrap().0;
    assert!(parse(&format!("# c\nday,rate\n{most}")).is_ok());
    for rate in ["", "0", "0.0", "-1", "+1", "1e3", " 1"] {
        assert!(Exchange::fixed(euro(), rate).is_err(), "{rate}");
    }
    for currency in ["", "eur", "EURO", "E1R", "ÄB", "USD"] {
        assert!(Currency::parse(currency).is_err(), "{currency}");
    }
}
