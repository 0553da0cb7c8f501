//! [`BillRow`]: one line of a vendor's export in our words: times, amount, tokens.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use rust_decimal::Decimal;

use super::format::{ChargeKind, ExportFormat, ExportRow, RowWords, WITH_CACHED};
use rates::Usd;

/// Days from the first up to, but without, the last, in the bill's time zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Period {
    pub(crate) from: Date,
    pub(crate) to: Date,
}

/// One line of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BillRow {
    pub(crate) period: Period,
    /// The vendor's name of the model, or the rate table's id that the format gives for it; "" if the line has none.
    pub(crate) model: String,
    pub(crate) kind: ChargeKind,
    /// "" = standard; `None`: the export doesn't say.
    pub(crate) tier: Option<String>,
    /// 1e-18 of the currency; `None` in a usage report.
    pub(crate) amount: Option<i128>,
    /// Decimal places of the amount as written.
    pub(crate) decimals: u32,
    pub(crate) currency: String,
    pub(crate) tokens: Option<u64>,
}

/// Reads a row with its format. A usage report has several counts in one row, each of which becomes a row.
///
/// A row without an amount is none: vendors write one for a day without costs.
///
/// # Errors
/// What the row lacks; never its text.
pub(crate) fn read_row(format: &ExportFormat, zone: &TimeZone, row: &dyn ExportRow) -> Result<Vec<BillRow>, String> {
    let text = |name: &str| row.get(name).filter(|text| !text.trim().is_empty());
    let start = text(&format.start).ok_or_else(|| format!("`{}` is empty", format.start))?;
    let start = parse_day(&start, zone)
        .ok_or_else(|| format!("`{}` is not a time such as 2026-11-01 or 2026-11-01T00:00:00Z", format.start))?;
    let end = format.end.as_deref().and_then(|name| Some((name, text(name)?)));
    let end = end.map(|(name, text)| {
        parse_day(&text, zone)
            .ok_or_else(|| format!("`{name}` is not a time such as 2026-11-01 or 2026-11-01T00:00:00Z"))
    });
    let period = period_of(start, end.transpose()?).ok_or("the row ends before it begins")?;
    let RowWords { model, kind, tier } = format.read_words(row);
    let currency = format.currency.iter().find_map(|name| text(name)).map(|text| text.trim().to_uppercase());
    let currency = currency.or_else(|| format.currency_is.clone()).unwrap_or_default();
    let base = BillRow {
        period,
        model,
        kind: kind.unwrap_or(ChargeKind::Other),
        tier,
        amount: None,
        decimals: 0,
        currency,
        tokens: None,
    };
    let Some(amount_field) = &format.amount else { return count_rows(format, row, &base) };
    let Some(amount) = text(amount_field) else { return Ok(Vec::new()) };
    if base.currency.len() != 3 || !base.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err("the row names no currency in three letters".to_owned());
    }
    let scaled = parse_decimal(&amount).and_then(|amount| amount.checked_mul(parse_decimal(&format.amount_unit)?));
    let scaled = scaled
        .ok_or_else(|| format!("`{amount_field}` is not a decimal such as 1234.56, without thousands separators"))?;
    let atto = to_atto(scaled).ok_or_else(|| format!("`{amount_field}` is too large"))?;
    let count = format.tokens.as_ref().and_then(|count| Some((text(&count.field)?, count.one_is(row)?)));
    // tokens that the vendor takes back are negative
    let is_credit =
        atto < 0 && (kind.is_none() || count.as_ref().is_some_and(|(text, _)| text.trim().starts_with('-')));
    let count = count.filter(|_| base.kind.is_tokens() && !is_credit);
    let tokens = count.map(|(text, one_is)| scale_count(&text, one_is)).transpose()?;
    let decimals = scaled.normalize().scale();
    let mut rows = Vec::new();
    for credit in format.credits.iter().flat_map(|name| row.list(name)) {
        let credit = parse_decimal(&credit).ok_or("a credit is not a decimal such as -1.25")?;
        let (kind, decimals) = (ChargeKind::Credit, credit.normalize().scale());
        rows.push(BillRow { kind, amount: to_atto(credit), decimals, ..base.clone() });
    }
    let kind = if is_credit { ChargeKind::Credit } else { base.kind };
    rows.push(BillRow { kind, amount: Some(atto), decimals, tokens, ..base });
    Ok(rows)
}

fn count_rows(format: &ExportFormat, row: &dyn ExportRow, base: &BillRow) -> Result<Vec<BillRow>, String> {
    let mut counts = Vec::new();
    for (word, name) in &format.counts {
        if let Some(text) = row.get(name).filter(|text| !text.trim().is_empty()) {
            counts.push((word.as_str(), scale_count(&text, "1")?));
        }
    }
    let cached: u64 =
        counts.iter().filter(|(word, _)| *word == ChargeKind::CacheRead.as_str()).map(|(_, count)| count).sum();
    let rows = counts.into_iter().map(|(word, count)| match ChargeKind::parse(word) {
        Some(kind) => (kind, count),
        None => (ChargeKind::Input, if word == WITH_CACHED { count.saturating_sub(cached) } else { count }),
    });
    let rows = rows.filter(|(_, count)| *count > 0);
    Ok(rows.map(|(kind, count)| BillRow { kind, tokens: Some(count), ..base.clone() }).collect())
}

fn scale_count(text: &str, one_is: &str) -> Result<u64, String> {
    let tokens = parse_decimal(text).and_then(|count| count.checked_mul(parse_decimal(one_is)?));
    let tokens =
        tokens.and_then(|tokens| u64::try_from(tokens.round().mantissa()).ok().filter(|_| tokens.round().scale() == 0));
    tokens.ok_or_else(|| "a count of tokens is not a whole number, or negative".to_owned())
}

/// A decimal number as programs write it: `-12.50`, `1.5e-7`. Thousands separators are refused, because `1,234` is
/// two different numbers in two countries.
fn parse_decimal(text: &str) -> Option<Decimal> {
    let text = text.trim();
    if !text.contains(['e', 'E']) {
        return text.parse().ok();
    }
    // a double whose last digits a decimal can't hold
    let rounded = || format!("{:.18}", text.parse::<f64>().ok()?).parse().ok();
    Decimal::from_scientific(text).ok().or_else(rounded)
}

/// In 1e-18. `None`: so large that sums of them might not fit.
fn to_atto(amount: Decimal) -> Option<i128> {
    let most = 1_000_000_000_000_000_000_000_000_000_000;
    Usd::parse_truncated(&amount.to_string()).map(|usd| usd.0).filter(|atto| atto.abs() <= most)
}

/// A day with its time as seconds, in the zone.
fn parse_day(text: &str, zone: &TimeZone) -> Option<DateTime> {
    let text = text.trim();
    let at = |time: Timestamp| Some(time.to_zoned_datetime(zone.clone()).datetime());
    if let Some(utc) = text.strip_suffix(" UTC") {
        return at(utc.parse::<DateTime>().ok()?.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp());
    }
    if let Some(seconds) = text.parse::<i64>().ok().filter(|_| text.len() > 8) {
        return at(Timestamp::from_second(seconds).ok()?);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return at(time);
    }
    let day = ["%m/%d/%Y", "%Y%m%d"].iter().find_map(|format| Date::strptime(format, text).ok());
    day.map(|day| day.at(0, 0, 0, 0)).or_else(|| text.parse::<DateTime>().ok())
}

/// The whole days that the times lie in. Without an end, the day of the start.
fn period_of(start: DateTime, end: Option<DateTime>) -> Option<Period> {
    let from = start.date();
    let tomorrow = from.checked_add(1.day()).ok()?;
    let to = match end {
        Some(end) if end < start => return None,
        Some(end) => end.checked_sub(1.nanosecond()).ok()?.date().checked_add(1.day()).ok()?.max(tomorrow),
        None => tomorrow,
    };
    Some(Period { from, to })
}
