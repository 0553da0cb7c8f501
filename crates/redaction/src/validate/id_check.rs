//! [`IdCheck`]: the check of an id as data, in rule files and in users' rules: a pattern, weighted sums, an algorithm.
//! It reads the letters (in upper case) and digits of a value; separators do not count.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Validator;
use super::checksums::is_one_digit;
use crate::regex::{WholePattern, compile, parse};

/// Most letters and digits of a value.
const MAX_VALUE: usize = 40;
/// Greatest weight and modulus: sums of values of this length stay far below the greatest integer.
const MAX_NUMBER: u64 = 1_000_000;

/// A check of a value's letters (in upper case) and digits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdCheck {
    /// Regular expression that the whole value must fit, e.g. `\d{9}`.
    pub pattern: String,
    /// Regular expression of values that are never issued.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub except: String,
    /// Sums over its characters; all must hold.
    pub sums: Vec<WeightedSum>,
    /// Name of a check that is code, e.g. `luhn`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub algorithm: String,
}

/// A sum over the characters of a value. A digit counts its value, `A` counts 10, and so on to `Z`, 35.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WeightedSum {
    /// Number of leading digits that are read as one number, which is added.
    pub number: usize,
    /// Weight of each further character; those without a weight do not count.
    pub weights: Vec<i64>,
    /// Whether a product counts the sum of its two digits, as in the Luhn check.
    pub digit_sums: bool,
    /// Values of `0` to `9` and `A` to `Z`, if they differ: 36 digits.
    pub values: String,
    /// Added to the sum.
    pub add: i64,
    /// The sum is divided by this number.
    pub modulus: i64,
    /// Accepted remainders; 0 if empty. Does not apply with `checks`.
    pub remainders: Vec<i64>,
    /// The check character for each remainder, from 0 on, e.g. `0123456789X`.
    pub checks: String,
    /// Index of the check character, from 0 on; the last one if absent.
    pub at: Option<usize>,
}

impl WeightedSum {
    /// What to change in the sum, if anything; `least` and `most` are the lengths that a value can have.
    fn find_fault(&self, least: usize, most: usize) -> Option<&'static str> {
        let is_remainder = |number: &i64| (0..self.modulus).contains(number);
        if self.modulus < 2 {
            return Some("each sum needs a `modulus` of 2 or more");
        }
        if self.weights.is_empty() && self.number == 0 {
            return Some("each sum needs `weights` or `number`; without them every value passes");
        }
        if self.number + self.weights.len() > most || self.at.is_some_and(|at| at >= least) {
            return Some("`number`, `weights` and `at` must not reach beyond the characters of `pattern`");
        }
        if !self.checks.is_empty() && !self.remainders.is_empty() {
            return Some("a sum has `checks` or `remainders`, not both");
        }
        if self.checks.len() as i64 > self.modulus || !self.remainders.iter().all(is_remainder) {
            return Some("`checks` and `remainders` must not be more than a remainder of `modulus` can be");
        }
        (!matches!(self.values.len(), 0 | 36)).then_some("`values` must have 36 digits: of `0` to `9` and `A` to `Z`")
    }

    fn holds(&self, value: &[u8]) -> bool {
        let value_of = |byte: u8| {
            let own = char::from(byte).to_digit(36).map_or(0, i64::from);
            let index = usize::try_from(own).unwrap_or(0);
            self.values.as_bytes().get(index).map_or(own, |digit| i64::from(digit.wrapping_sub(b'0')))
        };
        let Some((number, rest)) = value.split_at_checked(self.number) else { return false };
        let number = number.iter().fold(0, |sum, byte| (sum * 10 + value_of(*byte)) % self.modulus);
        let products = rest.iter().zip(&self.weights).map(|(byte, weight)| value_of(*byte) * weight);
        let weighted: i64 = products.map(|it| if self.digit_sums { it / 10 + it % 10 } else { it }).sum();
        let remainder = (number + weighted + self.add).rem_euclid(self.modulus);
        if self.checks.is_empty() {
            return self.remainders.contains(&remainder) || self.remainders.is_empty() && remainder == 0;
        }
        let at = self.at.unwrap_or(value.len().saturating_sub(1));
        let check = usize::try_from(remainder).ok().and_then(|index| self.checks.as_bytes().get(index));
        check.is_some_and(|check| value.get(at) == Some(check))
    }
}

/// An [`IdCheck`], ready to use.
pub(crate) struct CompiledCheck {
    pattern: WholePattern,
    except: Option<WholePattern>,
    sums: Vec<WeightedSum>,
    algorithm: Validator,
}

impl CompiledCheck {
    /// Prepares a check; `None` if a sum could overflow, a modulus is below 2, or the algorithm is unknown.
    pub(crate) fn new(check: &IdCheck) -> Option<Self> {
        let algorithm =
            if check.algorithm.is_empty() { Validator::None } else { crate::wordlists::variant(&check.algorithm)? };
        let is_usable = check.sums.iter().all(|sum| {
            let mut numbers = sum.weights.iter().chain([&sum.add, &sum.modulus]);
            numbers.all(|number| number.unsigned_abs() <= MAX_NUMBER) && sum.modulus > 1 && sum.number <= MAX_VALUE
        });
        is_usable.then(|| Self {
            pattern: WholePattern::new(&check.pattern),
            except: (!check.except.is_empty()).then(|| WholePattern::new(&check.except)),
            sums: check.sums.clone(),
            algorithm,
        })
    }

    /// Like [`Self::new`], and checks the patterns, which are otherwise compiled at their first use, and the sums.
    ///
    /// # Errors
    /// What to change.
    pub(crate) fn from_user(check: &IdCheck) -> Result<Self, &'static str> {
        let compiles = |pattern: &String| compile(pattern, false).is_ok() && WholePattern::new(pattern).compiles();
        if !compiles(&check.pattern) || !(check.except.is_empty() || compiles(&check.except)) {
            return Err("`pattern` and `except` must be valid patterns of letters and digits");
        }
        let form = parse(&check.pattern, false).ok_or("`pattern` must be a valid pattern")?;
        let length = |bound: Option<usize>| bound.filter(|bound| (1..=MAX_VALUE).contains(bound));
        let least = length(form.properties().minimum_len()).ok_or("`pattern` must match 1 to 40 letters and digits")?;
        let most = length(form.properties().maximum_len()).unwrap_or(MAX_VALUE);
        for sum in &check.sums {
            sum.find_fault(least, most).map_or(Ok(()), Err)?;
        }
        Self::new(check).ok_or("numbers must be at most 1000000, and `algorithm` one that exists, such as `luhn`")
    }

    /// Whether the letters and digits of a text pass. A value of one repeated character never does.
    pub(crate) fn passes(&self, text: &[u8]) -> bool {
        let mut buffer = [0_u8; MAX_VALUE];
        let mut len = 0;
        for byte in text.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
            let Some(slot) = buffer.get_mut(len) else { return false };
            *slot = byte.to_ascii_uppercase();
            len += 1;
        }
        let value = buffer.get(..len).unwrap_or_default();
        !is_one_digit(value)
            && self.pattern.fits(value)
            && !self.except.as_ref().is_some_and(|except| except.fits(value))
            && self.sums.iter().all(|sum| sum.holds(value))
            && self.algorithm.accepts(std::str::from_utf8(value).unwrap_or_default(), "")
    }

    /// Whether it computes a check character, rather than only comparing the form.
    pub(crate) fn has_check_character(&self) -> bool {
        !self.sums.is_empty() || self.algorithm != Validator::None
    }
}
