//! Exact money: [`Usd`] in 1e-18 USD, and multipliers as fractions. Decimals are parsed from text, never through
//! floats. A price that can't be held exactly is rejected; only `parse_truncated` cuts digits off.

use std::cmp::Ordering;

/// An amount in 1e-18 USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(pub i128);

/// Number of decimal places of [`Usd`].
const SCALE: u32 = 18;

impl Usd {
    pub const ZERO: Self = Self(0);

    /// Parses decimal text; `None` if it is not a decimal or finer than 1e-18.
    pub fn parse(text: &str) -> Option<Self> {
        let decimal = Decimal::parse(text)?;
        scale_up(decimal.digits, SCALE.checked_sub(decimal.scale)?).map(Self)
    }

    /// `25 USD` and `25USD`; `None` without a currency, with another one, or if it isn't above 0.
    pub fn parse_amount(text: &str) -> Option<Self> {
        let number = text.trim().strip_suffix("USD")?.trim_end();
        Self::parse(number).filter(|usd| usd.0 > 0)
    }

    /// Like [`Usd::parse`], for amounts that were computed with doubles: digits beyond 1e-18 are cut off.
    pub fn parse_truncated(text: &str) -> Option<Self> {
        let cut = text.split_once('.').filter(|(_, part)| part.len() > 18 && part.bytes().all(|b| b.is_ascii_digit()));
        match cut.and_then(|(whole, part)| Some((whole, part.get(..18)?))) {
            Some((whole, part)) => Self::parse(&format!("{whole}.{part}")),
            None => Self::parse(text),
        }
    }

    /// The sum; `None` on overflow.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; `None` on overflow.
    pub fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(0.0)
    }
}

/// Plain decimal text: no exponent, no trailing zeros.
impl std::fmt::Display for Usd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let one_usd = 10_i128.pow(SCALE);
        let (whole, part) = (self.0 / one_usd, (self.0 % one_usd).unsigned_abs());
        let sign = if self.0 < 0 && whole == 0 { "-" } else { "" };
        if part == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{part:018}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// A decimal number: `digits` divided by 10 to the power of `scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    digits: i128,
    scale: u32,
}

impl Decimal {
    /// Parses `12`, `0.0625`, also `3e-7`. Trailing zeros are dropped.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.abs() <= 40)?;
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let part = part.trim_end_matches('0');
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let unsigned = whole.strip_prefix('-').unwrap_or(whole);
        if unsigned.is_empty() || !is_digits(unsigned) || !is_digits(part) || part.len() > 36 {
            return None;
        }
        let digits: i128 = format!("{whole}{part}").parse().ok()?;
        let scale = i32::try_from(part.len()).ok()? - exponent;
        match u32::try_from(scale) {
            Ok(scale) => Some(Self { digits, scale }),
            Err(_) => Some(Self { digits: scale_up(digits, scale.unsigned_abs())?, scale: 0 }),
        }
    }

    pub(super) fn is_negative(self) -> bool {
        self.digits < 0
    }

    pub(super) fn is_zero(self) -> bool {
        self.digits == 0
    }

    /// `amount` times this, to the nearest whole number, a half to the even one; `None` on overflow.
    pub(super) fn times_rounded(self, amount: i128) -> Option<i128> {
        let denominator = scale_up(1, self.scale)?;
        // in two parts, since the whole product may be too large where the result isn't
        let (whole, rest) = (amount.div_euclid(denominator), amount.rem_euclid(denominator));
        let fraction = rest.checked_mul(self.digits)?;
        let floor = whole.checked_mul(self.digits)?.checked_add(fraction.div_euclid(denominator))?;
        let up = match fraction.rem_euclid(denominator).checked_mul(2)?.cmp(&denominator) {
            Ordering::Less => 0,
            Ordering::Equal => floor.rem_euclid(2),
            Ordering::Greater => 1,
        };
        floor.checked_add(up)
    }

    /// Converts this many USD per `per` units into 1e-18 USD per unit; `None` if that is not a whole number.
    pub(super) fn per_unit(self, per: u64) -> Option<i128> {
        let value = scale_up(self.digits, SCALE)?;
        divide(value, scale_up(i128::from(per), self.scale)?)
    }

    pub(super) fn times(self, other: Self) -> Option<Self> {
        let scale = self.scale.checked_add(other.scale)?;
        Some(Self { digits: self.digits.checked_mul(other.digits)?, scale })
    }

    /// The number as a fraction.
    pub(super) fn to_ratio(self) -> Option<Ratio> {
        Some(Ratio { numerator: self.digits, denominator: scale_up(1, self.scale)? })
    }
}

/// Plain decimal text: no exponent, no trailing zeros.
impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sign, digits) = (if self.digits < 0 { "-" } else { "" }, self.digits.unsigned_abs().to_string());
        let scale = usize::try_from(self.scale).unwrap_or(0);
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, part) = padded.split_at_checked(padded.len() - scale).unwrap_or((&padded, ""));
        let part = part.trim_end_matches('0');
        if part.is_empty() { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{part}") }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ratio {
    numerator: i128,
    denominator: i128,
}

impl Ratio {
    pub(super) const ONE: Self = Self { numerator: 1, denominator: 1 };

    pub(super) fn times(self, other: Self) -> Option<Self> {
        Some(Self {
            numerator: self.numerator.checked_mul(other.numerator)?,
            denominator: self.denominator.checked_mul(other.denominator)?,
        })
    }

    /// `amount` times this; `None` if that is not a whole number.
    pub(super) fn multiply(self, amount: i128) -> Option<i128> {
        divide(amount.checked_mul(self.numerator)?, self.denominator)
    }
}

fn divide(value: i128, by: i128) -> Option<i128> {
    (value.checked_rem(by)? == 0).then(|| value.checked_div(by)).flatten()
}

fn scale_up(value: i128, digits: u32) -> Option<i128> {
    value.checked_mul(10_i128.checked_pow(digits)?)
}

/// A decimal without exponent and trailing zeros; any other text unchanged.
pub(super) fn plain_decimal(text: String) -> String {
    Decimal::parse(&text).map_or(text, |decimal| decimal.to_string())
}
