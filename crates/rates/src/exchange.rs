//! [`Exchange`]: what a USD costs in another currency, by day. An [`Amount`] of that currency is a type of its own, so
//! it can't get into a sum of [`Usd`]. Exact decimals, no floats; a time before the first rate has none, which is never
//! guessed. `processors/cost` stamps such amounts.

use std::sync::Arc;

use super::compile::parse_time;
use super::decimal::{Decimal, Usd};
use super::table::RatesError;

/// Maximum number of lines of a file.
const MAX_LINES: usize = 20_000;
/// Maximum number of digits of a rate behind the point, and before it.
const MAX_DIGITS: usize = 12;

/// A currency other than USD, by its three letters of ISO 4217.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(Arc<str>);

impl Currency {
    /// Checks the letters.
    ///
    /// # Errors
    /// They aren't three capital letters, or they are `USD`, in which all amounts are given anyway.
    pub fn parse(text: &str) -> Result<Self, RatesError> {
        let is_valid = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) && text != "USD";
        let problem = "must be the three capital letters of a currency (ISO 4217) other than USD, such as `EUR`";
        if is_valid { Ok(Self(text.into())) } else { Err(RatesError(problem.to_owned())) }
    }

    /// `EUR`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An amount of a [`Currency`], in 1e-18 of its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub i128);

/// Plain decimal text: no exponent, no trailing zeros.
impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Usd(self.0).fmt(f)
    }
}

/// What a USD costs from a day on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeRate {
    /// Unix ns; 0: always.
    from: u64,
    /// `2026-11-01`, UTC; `None` for a fixed rate.
    pub day: Option<Box<str>>,
    /// Plain decimal text, such as `0.9213`.
    pub rate: Box<str>,
    decimal: Decimal,
}

impl ExchangeRate {
    fn parse(from: u64, day: Option<&str>, rate: &str) -> Result<Self, &'static str> {
        const PROBLEM: &str = "the rate must be a plain decimal above zero, such as `0.9213`, with at most 12 digits \
            before the point and 12 behind it";
        let (whole, part) = rate.split_once('.').unwrap_or((rate, "0"));
        let is_number =
            |digits: &str| (1..=MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let decimal = Some(rate).filter(|_| is_number(whole) && is_number(part)).and_then(Decimal::parse);
        let decimal = decimal.filter(|decimal| !decimal.is_zero()).ok_or(PROBLEM)?;
        Ok(Self { from, day: day.map(Into::into), rate: decimal.to_string().into(), decimal })
    }

    /// Converts an amount: exact, or to the nearest 1e-18 (a half to the even one) if the product is finer. `None`: too
    /// large.
    pub fn convert(&self, usd: Usd) -> Option<Amount> {
        self.decimal.times_rounded(usd.0).map(Amount)
    }
}

/// `0.9213@2026-11-01`; of a fixed rate `0.92`.
impl std::fmt::Display for ExchangeRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.rate)?;
        self.day.as_ref().map_or(Ok(()), |day| write!(f, "@{day}"))
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    currency: Currency,
    /// In order of time; not empty.
    rates: Vec<ExchangeRate>,
}

impl Exchange {
    /// One rate for all times: `rate` units of the currency for a USD.
    ///
    /// # Errors
    /// The rate is no plain decimal above zero.
    pub fn fixed(currency: Currency, rate: &str) -> Result<Self, RatesError> {
        let rate = ExchangeRate::parse(0, None, rate).map_err(|problem| RatesError(problem.to_owned()))?;
        Ok(Self { currency, rates: vec![rate] })
    }

    /// Parses a CSV file: lines of a day (UTC) and the rate from that day on, in order. Blank lines, comments (`#`) and
    /// one heading are skipped. `name` is used in errors.
    ///
    /// # Errors
    /// The first bad line, with its number, or there is no rate. The text has nothing of the file but its name.
    pub fn parse(currency: Currency, name: &str, text: &str) -> Result<Self, RatesError> {
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).zip(1..);
        let mut lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#')).peekable();
        let _heading = lines.next_if(|(line, _)| line.starts_with(|first: char| first.is_alphabetic()));
        let mut rates: Vec<ExchangeRate> = Vec::new();
        for (line, number) in lines {
            let problem = match parse_line(line) {
                _ if rates.len() >= MAX_LINES => "more than 20,000 rates",
                Ok(rate) if rates.last().is_none_or(|last| last.from < rate.from) => {
                    rates.push(rate);
                    continue;
                }
                Ok(_) => "each day must be after the one before",
                Err(problem) => problem,
            };
            return Err(RatesError(format!("{name}:{number}: {problem}")));
        }
        if rates.is_empty() {
            return Err(RatesError(format!("{name}: has no line with a day and a rate, such as `2026-11-01,0.9213`")));
        }
        Ok(Self { currency, rates })
    }

    /// The currency into which amounts are converted.
    pub fn currency(&self) -> &Currency {
        &self.currency
    }

    /// The rate at a time (Unix ns). `None`: before the first day.
    pub fn rate_at(&self, at: u64) -> Option<&ExchangeRate> {
        let next = self.rates.partition_point(|rate| rate.from <= at);
        self.rates.get(next.checked_sub(1)?)
    }

    /// Converts an amount at the rate of a time (Unix ns), as [`ExchangeRate::convert`] does. `None`: no rate, or too
    /// large.
    pub fn convert(&self, usd: Usd, at: u64) -> Option<Amount> {
        self.rate_at(at)?.convert(usd)
    }
}

fn parse_line(line: &str) -> Result<ExchangeRate, &'static str> {
    let (day, rate) = line.split_once(',').ok_or("a line must be a day and a rate, such as `2026-11-01,0.9213`")?;
    let (day, rate) = (day.trim(), rate.trim());
    let from = Some(day).filter(|day| day.len() == 10).and_then(|day| parse_time(&format!("{day}T00:00:00Z")));
    ExchangeRate::parse(from.ok_or("the day must be a date since 1970, such as `2026-11-01`")?, Some(day), rate)
}
