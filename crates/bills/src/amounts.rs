//! Arithmetic of amounts in 1e-18 of a currency. Nothing passes through floats.

use rates::Usd;

/// A ratio of 1, in 1e-9.
pub(crate) const WHOLE: u64 = 1_000_000_000;

/// `amount * part / whole`, rounded towards zero at 1e-18; 0 if `whole` is 0.
pub(crate) fn share(amount: i128, part: u64, whole: u64) -> i128 {
    let (part, whole) = (i128::from(part), i128::from(whole));
    let (Some(times), Some(rest)) = (amount.checked_div(whole), amount.checked_rem(whole)) else { return 0 };
    // in two steps, so that nothing overflows
    times.saturating_mul(part).saturating_add(rest.saturating_mul(part) / whole)
}

/// `amount * part / whole` for amounts, cut to their first 60 bits; 0 if `whole` is 0.
pub(crate) fn scale(amount: i128, part: i128, whole: i128) -> i128 {
    let shift = (128 - whole.unsigned_abs().leading_zeros()).saturating_sub(60);
    let cut = |number: i128| u64::try_from(number.unsigned_abs() >> shift).unwrap_or(u64::MAX);
    let scaled = share(amount, cut(part), cut(whole));
    if (part < 0) == (whole < 0) { scaled } else { scaled.saturating_neg() }
}

/// The amount with two decimals, or more if it is smaller than a cent.
pub(crate) fn format_amount(atto: i128) -> String {
    let cent = 10_000_000_000_000_000_i128;
    if atto != 0 && atto.abs() < cent {
        return Usd(atto).to_string();
    }
    let cents = (atto.abs() + cent / 2) / cent;
    let sign = if atto < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}

/// The decimal with the fewest digits, at most nine, that lies between two fractions of `whole`, in 1e-9: the ratio
/// that a contract would name. `None`: there is none, or `whole` is not positive.
pub(crate) fn simplest_ratio(low: i128, high: i128, whole: i128) -> Option<u64> {
    const SCALE: i128 = 1_000_000_000;
    if whole <= 0 || low < 0 || high < low {
        return None;
    }
    let scaled = |amount: i128, up: bool| {
        let (times, rest) = (amount / whole, amount % whole);
        // `rest` is below `whole`: dividing it first would lose it, multiplying it may overflow
        let part = match rest.checked_mul(SCALE) {
            Some(product) if up => product.checked_add(whole - 1)? / whole,
            Some(product) => product / whole,
            None => rest / (whole / SCALE),
        };
        times.checked_mul(SCALE)?.checked_add(part)
    };
    let (low, high) = (scaled(low, true)?, scaled(high, false)?);
    let steps = (0..10_u32).rev().map(|zeros| 10_i128.pow(zeros));
    let found = steps.filter_map(|step| (low.checked_add(step - 1)? / step).checked_mul(step));
    found.into_iter().find(|ratio| *ratio <= high).and_then(|ratio| u64::try_from(ratio).ok())
}

/// `amount` times a ratio in 1e-9.
pub(crate) fn times_ratio(amount: i128, ratio: u64) -> i128 {
    share(amount, ratio, WHOLE)
}

/// A ratio in 1e-9 as a decimal: `0.88`.
pub(crate) fn format_ratio(ratio: u64) -> String {
    Usd(i128::from(ratio).saturating_mul(1_000_000_000)).to_string()
}
