//! Amounts as text for people: money, counts, times, multiples, and the measurement of an alert. Pages, webhooks, alert
//! events and commands all use these forms.
//! Money is rounded half up from its exact amount, so that parts and their sum don't contradict each other; small
//! amounts keep two significant digits; unpriced cost is never shown as $0. JSON for programs is in [`super::json`],
//! names are formatted in `pages`.

use rates::Usd;

/// One USD in 1e-18 USD.
const ATTO_PER_USD: i128 = 1_000_000_000_000_000_000;
/// Shown instead of a cost without a price.
pub const NO_PRICE: &str = "no price";

/// A cost in 1e-18 USD; `None` if no part of it has a price.
pub fn cost_if_priced(atto: i128, unpriced: u64) -> Option<i128> {
    (atto != 0 || unpriced == 0).then_some(atto)
}

/// A cost for people; `unpriced`: number of calls that are not in it.
pub fn format_cost(atto: i128, unpriced: u64) -> String {
    cost_if_priced(atto, unpriced).map_or_else(|| NO_PRICE.to_owned(), format_usd)
}

/// Money for people, from 1e-18 USD: `$0`, `$0.0021`, `$0.675`, `$2.025`, `$12.34`, `$1,234`.
pub fn format_usd(atto: i128) -> String {
    let (sign, amount) = (if atto < 0 { "-" } else { "" }, atto.unsigned_abs());
    let atto_per_usd = ATTO_PER_USD.unsigned_abs();
    // Zeros at the end are removed down to `min_decimals`.
    let (decimals, min_decimals) = match amount {
        0 => return "$0".to_owned(),
        large if large >= 1000 * atto_per_usd => (0, 0),
        some if some >= 10 * atto_per_usd => (2, 2),
        few if few >= atto_per_usd / 10 => (3, 2),
        tiny if tiny < atto_per_usd / 100_000_000 => return format!("{sign}< $0.00000001"),
        // two significant digits
        small => (20_u32.saturating_sub(small.ilog10() + 1), 2),
    };
    let step = 10_u128.pow(18_u32.saturating_sub(decimals));
    let steps = amount.saturating_add(step / 2) / step;
    let (whole, fraction) = (steps / 10_u128.pow(decimals), steps % 10_u128.pow(decimals));
    let whole = format_count(u64::try_from(whole).unwrap_or(u64::MAX));
    let mut digits =
        if decimals == 0 { String::new() } else { format!("{fraction:0width$}", width = decimals as usize) };
    while digits.len() > min_decimals && digits.ends_with('0') {
        digits.pop();
    }
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}${whole}{point}{digits}")
}

/// Money for people from a float; differences below 1e-12 are rounding errors of the float.
pub fn format_dollars(usd_amount: f64) -> String {
    let picos = (usd_amount * 1e12).round();
    if picos == 0.0 && usd_amount > 0.0 {
        return "< $0.00000001".to_owned();
    }
    format_usd((picos as i128).saturating_mul(1_000_000))
}

/// The exact amount, for a tooltip.
pub fn format_exact_usd(atto: i128) -> String {
    format!("{} USD", Usd(atto))
}

/// A number with thousands separators: `12,345`.
pub fn format_count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with as many decimal places as are significant; whole numbers have none.
pub fn format_decimal(number: f64) -> String {
    match number.abs() {
        large if large >= 100.0 => {
            format!("{}{}", if number < 0.0 { "-" } else { "" }, format_count(large.round() as u64))
        }
        _ if number == number.trunc() => format!("{number:.0}"),
        middle if middle >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// A multiple, with at most two decimal places: `2`, `1.2`, `170`.
pub fn format_multiple(multiple: f64) -> String {
    if multiple >= 10.0 {
        return format_count(multiple.round() as u64);
    }
    let text = format!("{multiple:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Seconds as `42 ms`, `12.3 s`, `4 min 5 s`, `2 h 3 min`, `30 d 1 h`.
pub fn format_seconds(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    let (minute, hour, day) = (60, 3600, 86_400);
    let format_pair = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match seconds {
        0.0 => "0 s".to_owned(),
        short if short < 0.001 && short > 0.0 => "< 1 ms".to_owned(),
        short if short < 1.0 => format!("{:.0} ms", short * 1e3),
        some if some < 59.95 => format!("{some:.1} s"),
        _ if whole < hour => format_pair(whole / minute, "min", whole % minute, "s"),
        _ if whole < 2 * day => format_pair(whole / hour, "h", whole % hour / minute, "min"),
        _ => format_pair(whole / day, "d", whole % day / hour, "h"),
    }
}
