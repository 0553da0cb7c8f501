//! Checks whether digits may be a phone number of an ITU-T E.164 plan. Pure functions. `numbers::phone` reads the
//! notations.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use super::checksums;
use crate::wordlists;

/// Country codes with the lengths of a national number, sorted.
static PLANS: LazyLock<Vec<(u32, RangeInclusive<usize>)>> = LazyLock::new(|| {
    let parse = |word: &str| {
        let (code, lengths) = word.split_once(':')?;
        let (min, max) = lengths.split_once('-').unwrap_or((lengths, lengths));
        Some((code.parse().ok()?, min.parse().ok()?..=max.parse().ok()?))
    };
    let mut plans: Vec<_> = wordlists::words("numbers.phone_plans").filter_map(parse).collect();
    plans.sort_unstable_by_key(|(code, _)| *code);
    plans
});

/// Whether `digits` (ASCII, country code first) are a number of some country's plan.
pub(crate) fn is_international(digits: &[u8]) -> bool {
    let Some((code_len, (code, lengths))) = find_plan(digits) else { return false };
    let rest = digits.get(code_len..).unwrap_or_default();
    lengths.contains(&rest.len())
        && (*code != 1 || matches!(rest.first(), Some(b'2'..=b'9')))
        && !checksums::is_one_digit(rest)
}

/// The length of the country code at the start of `digits`, and its plan.
fn find_plan(digits: &[u8]) -> Option<(usize, &'static (u32, RangeInclusive<usize>))> {
    let mut code = 0_u32;
    digits.iter().take(3).enumerate().find_map(|(index, digit)| {
        code = code * 10 + u32::from(digit.wrapping_sub(b'0'));
        let at = PLANS.binary_search_by_key(&code, |(code, _)| *code).ok()?;
        Some((index + 1, PLANS.get(at)?))
    })
}

/// Whether all digits of a text are the same filler, as in `000-000-0000`. Fives may be a number.
pub(crate) fn is_filler_number(text: &str) -> bool {
    is_one_digit(text) && text.bytes().find(u8::is_ascii_digit) != Some(b'5')
}

/// Whether all digits of a text are the same.
pub(crate) fn is_one_digit(text: &str) -> bool {
    let mut digits = text.bytes().filter(u8::is_ascii_digit);
    let first = digits.next();
    digits.all(|digit| Some(digit) == first)
}
