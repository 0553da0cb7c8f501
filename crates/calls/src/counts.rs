//! Token counts and model names as different records of one call report them.

use serde::{Deserialize, Serialize};

/// A call's token counts. Layers may report the input with or without cached tokens, so all forms of it are kept.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CallTokenCounts {
    /// Three forms of the input: the reported count, the total, and the count without cached tokens.
    pub input: [Option<u64>; 3],
    pub output: Option<u64>,
}

impl CallTokenCounts {
    pub(crate) fn has_input(&self) -> bool {
        self.input.iter().any(Option::is_some)
    }

    /// Whether one form of the input is equal.
    pub(crate) fn shares_input(&self, other: &Self) -> bool {
        self.input.iter().flatten().any(|input| other.input.contains(&Some(*input)))
    }

    /// The sum of both counts.
    #[must_use]
    pub fn sum_with(&self, more: &Self) -> Self {
        let add = |sum: Option<u64>, more: Option<u64>| match (sum, more) {
            (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
            (sum, more) => sum.or(more),
        };
        let ([a, b, c], [d, e, f]) = (self.input, more.input);
        Self { input: [add(a, d), add(b, e), add(c, f)], output: add(self.output, more.output) }
    }

    /// Returns true if an outer layer with these counts can wrap a call (or calls) with the `inner` counts: the outputs
    /// are equal, and so is one form of the input, if both report an input.
    pub fn matches_inner(&self, inner: &Self) -> bool {
        let input_missing = !self.has_input() || !inner.has_input();
        self.output == inner.output && (self.shares_input(inner) || (input_missing && self.output.is_some()))
    }

    /// Returns true if these counts have more than twice the input or output of `other`. A roll-up may include calls
    /// that reported nothing, but most calls report their tokens.
    pub fn is_more_than_double(&self, other: &Self) -> bool {
        let max_input = |counts: &Self| counts.input.iter().flatten().copied().max().unwrap_or(0);
        let is_double = |count: u64, other: u64| count > other.saturating_mul(2);
        is_double(max_input(self), max_input(other)) || is_double(self.output.unwrap_or(0), other.output.unwrap_or(0))
    }
}

/// The part of a model name that all layers of a call share: without a path, a vendor prefix, and a date or version
/// suffix. Only for telling layers from separate calls, never for prices.
pub fn model_stem(model: &str) -> &str {
    const VENDOR_PREFIXES: &str = "\
        us eu apac global anthropic amazon meta mistral cohere deepseek openai qwen google ai21";
    let model = model.trim();
    let mut stem = model.rsplit('/').next().unwrap_or(model);
    stem = stem.split([':', '@', '[']).next().unwrap_or(stem);
    while let Some((first, rest)) = stem.split_once('.') {
        if !VENDOR_PREFIXES.split(' ').any(|word| first.eq_ignore_ascii_case(word)) {
            break;
        }
        stem = rest;
    }
    while let Some((rest, last)) = stem.rsplit_once('-') {
        let version = last.strip_prefix('v').unwrap_or(last);
        let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        let dropped = digits && (last.starts_with('v') || last.len() > 1);
        if rest.is_empty() || !(dropped || last == "latest") {
            break;
        }
        stem = rest;
    }
    stem
}
