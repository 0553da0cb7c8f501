//! Finds numbers that were split into short items of a list, as streams and text splitters do:
//! `["4539 1488", " 0343 6467"]`, `["4", "5", "3", …]`; also e-mail addresses split into single letters. The list must
//! contain nothing but the value, and a sign that it was split: a separator at an end of an item, a form that lists of
//! numbers do not have, or a word that announces the value. Each byte of a list is read once. `split_values` finds
//! tokens and addresses in a few pieces, which need no list of their own.

use std::ops::{Range, RangeInclusive};

use super::super::action::WordAction;
use super::super::anchors::DigitRun;
use super::super::resolve::RedactionHit;
use super::super::rule::{RuleClass, RuleFamily};
use super::super::scan::TextScan;
use super::decoded_view::DecodedView;
use super::list_items::{self, next_item_start};
use super::windows;
use crate::sets::ByteSet;
use crate::validate::bank;

/// Most items, and most bytes of each.
const MAX_ITEMS: usize = 64;
const MAX_ITEM: usize = 24;
/// Number of digits in a value.
const DIGIT_COUNTS: RangeInclusive<usize> = 7..=34;
/// Most bytes before a list in which a word may announce a card.
const CUE_REACH: usize = 40;

/// Separators between digits.
static SEPARATORS: ByteSet = ByteSet::new(b" -./:()+@");
/// Bytes of an item.
static IN_ITEM: ByteSet = ByteSet::new(b" -./:()+@_").and_alnum();

/// The closing quote of the item that ends with `run`, if the next item begins with a digit or separator.
#[inline(always)]
pub(super) fn closing_quote_of_item(scan: &TextScan<'_>, run: &DigitRun) -> Option<usize> {
    // The next one or two bytes reject most numbers
    let has_separator = !matches!(run.after, b'"' | b'\'');
    if has_separator && !(SEPARATORS.contains(run.after) && matches!(scan.byte(run.end + 1), b'"' | b'\'')) {
        return None;
    }
    let quote = run.end + usize::from(has_separator);
    next_item_byte(scan, quote).filter(|next| next.is_ascii_digit() || SEPARATORS.contains(*next))?;
    Some(quote)
}

/// The first byte of the item after the one that ends in the quote at `at`.
#[inline(always)]
fn next_item_byte(scan: &TextScan<'_>, at: usize) -> Option<u8> {
    match scan.text.as_bytes().get(at + 1..at + 5)? {
        [b',', b'"' | b'\'', first, _] | [b',', b' ', b'"' | b'\'', first] => Some(*first),
        // One item per line; after a key there would be a colon
        [b' ' | b'\t' | b'\r' | b'\n', ..] | [b',', b' ' | b'\t' | b'\r' | b'\n', ..] => {
            next_item_start(scan.text.as_bytes(), at).map(|next| scan.byte(next))
        }
        _ => None,
    }
}

/// Adds windows of lists with the text before them on their line.
pub(super) fn find_windows(scan: &TextScan<'_>, is_fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    // Items are quoted
    if memchr::memchr2(b'"', b'\'', scan.text.as_bytes()).is_none() {
        return;
    }
    let mut read_end = 0;
    for run in &scan.anchors.digit_runs {
        if let Some(at) = closing_quote_of_item(scan, run).filter(|at| *at >= read_end) {
            read_end = add_list_window(scan, at, read_end, is_fresh, out);
        }
    }
    let mut read_end = 0;
    for at in scan.anchors.at_signs.iter().map(|at| at + 1) {
        if at >= read_end && next_item_byte(scan, at).is_some() {
            read_end = add_list_window(scan, at, read_end, is_fresh, out);
        }
    }
}

/// Adds the window of the list whose item ends at `at`, and returns the end of the text that was read. Text before
/// `lowest` was read before.
#[inline(never)]
fn add_list_window(
    scan: &TextScan<'_>,
    at: usize,
    lowest: usize,
    is_fresh: &dyn Fn(Range<usize>) -> bool,
    out: &mut Vec<Range<usize>>,
) -> usize {
    let bytes = scan.text.as_bytes();
    let (end, is_closed) = list_end(bytes, at);
    if let Some(start) = list_start(bytes, at, lowest).filter(|_| is_closed)
        && ItemCounts::count(scan.bytes(start..end)).may_be_split()
    {
        let window = windows::window_start(scan.text, start.saturating_sub(CUE_REACH))..end;
        if is_fresh(window.clone()) {
            out.push(window);
        }
    }
    end
}

/// The opening bracket of the list whose item ends at `at`, if it is not before `lowest`.
fn list_start(bytes: &[u8], mut at: usize, lowest: usize) -> Option<usize> {
    let quote = *bytes.get(at)?;
    let skip_blanks_before = |at: usize| {
        let head = bytes.get(at.saturating_sub(32)..at).unwrap_or_default();
        at - head.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count()
    };
    for _ in 0..MAX_ITEMS {
        let item_len = IN_ITEM.count_trailing(bytes.get(at.saturating_sub(MAX_ITEM)..at)?);
        let open_quote = at.checked_sub(item_len + 1).filter(|open_quote| *open_quote >= lowest)?;
        if bytes.get(open_quote) != Some(&quote) {
            return None;
        }
        let before = skip_blanks_before(open_quote).checked_sub(1)?;
        match bytes.get(before) {
            Some(b'[') => return Some(before),
            Some(b',') => at = skip_blanks_before(before).checked_sub(1).filter(|at| bytes.get(*at) == Some(&quote))?,
            _ => return None,
        }
    }
    None
}

/// End of the items after the one that ends at `at`, and whether the list ends there.
fn list_end(bytes: &[u8], mut at: usize) -> (usize, bool) {
    let quote = bytes.get(at);
    for _ in 0..MAX_ITEMS {
        let Some(next) = next_item_start(bytes, at) else { break };
        let rest = bytes.get(next..bytes.len().min(next + MAX_ITEM)).unwrap_or_default();
        let end = next + IN_ITEM.count_leading(rest);
        if bytes.get(end) != quote {
            return (end, false);
        }
        at = end;
    }
    let after = bytes.get(at + 1..).unwrap_or_default();
    let blanks = after.iter().take(32).take_while(|byte| byte.is_ascii_whitespace()).count();
    let is_closed = after.get(blanks) == Some(&b']');
    (at + 1 + if is_closed { blanks + 1 } else { 0 }, is_closed)
}

/// Counts over the items of a list.
#[derive(Clone, Copy, Default)]
struct ItemCounts {
    items: usize,
    /// Length of the longest item.
    longest: usize,
    digits: usize,
    letters: usize,
    at_signs: usize,
    /// Number of letters before any digit.
    leading_letters: usize,
    /// Items that begin or end with a separator next to another item.
    split_at_separator: usize,
}

impl ItemCounts {
    /// Counts the items of a list, given with its brackets.
    fn count(list: &[u8]) -> Self {
        let mut counts = Self::default();
        for item in list.split(|byte| matches!(byte, b'"' | b'\'')).skip(1).step_by(2) {
            counts.items += 1;
            counts.longest = counts.longest.max(item.len());
            for byte in item {
                counts.leading_letters +=
                    usize::from(counts.leading_letters == counts.letters + counts.digits && byte.is_ascii_alphabetic());
                counts.digits += usize::from(byte.is_ascii_digit());
                counts.letters += usize::from(byte.is_ascii_alphabetic());
                counts.at_signs += usize::from(*byte == b'@');
            }
            let is_separator = |byte: Option<&u8>| byte.is_some_and(|byte| SEPARATORS.contains(*byte));
            // A sign or bracket may begin a whole number; a trailing dot may be a list number
            let begins_with_separator =
                is_separator(item.first()) && (counts.items > 1 && !b"+(".contains(item.first().unwrap_or(&b'+')));
            counts.split_at_separator +=
                usize::from(begins_with_separator || is_separator(item.last()) && item.len() > 1);
        }
        counts
    }

    /// Whether the items may be pieces of one number, or single letters of an address.
    fn may_be_split(&self) -> bool {
        let may_be_number = DIGIT_COUNTS.contains(&self.digits)
            && (self.letters == 0 || self.leading_letters == 2 && self.digits >= 10);
        let is_spelt = self.at_signs == 1 && self.longest <= 2;
        self.items > 1 && self.longest > 0 && (may_be_number && self.at_signs == 0 || is_spelt)
    }
}

/// Keeps the text before the list, and joins its items into one string.
pub(super) fn decode(text: &str, view: &mut DecodedView) {
    let open = memchr::memrchr(b'[', text.as_bytes()).unwrap_or(text.len());
    let list = text.as_bytes().get(open..).unwrap_or_default();
    let Some(first_quote) = memchr::memchr2(b'"', b'\'', list) else {
        view.push_plain(text);
        return;
    };
    view.push_plain(text.get(..open).unwrap_or_default());
    view.push_decoded(first_quote, None);
    view.push_plain(text.get(open + first_quote..open + first_quote + 1).unwrap_or_default());
    list_items::decode(text.get(open + first_quote + 1..text.len() - 1).unwrap_or_default(), view);
}

/// Whether a claim on a joined window covers its whole list and is unambiguous.
pub(super) fn is_unambiguous(
    scan: &TextScan<'_>,
    window: &Range<usize>,
    view: &DecodedView,
    claim: &RedactionHit,
) -> bool {
    let text = scan.bytes(window.clone());
    let Some(open) = memchr::memrchr(b'[', text) else { return false };
    let list = text.get(open..).unwrap_or_default();
    let Some(value) = view.text.get(open + 1..) else { return false };
    let content = view.text.as_bytes().get(claim.range.clone()).unwrap_or_default();
    let count_alphanumeric = |text: &[u8]| text.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    if claim.range.start <= open || count_alphanumeric(value.as_bytes()) != count_alphanumeric(content) {
        return false;
    }
    let counts = ItemCounts::count(list);
    let rule = scan.detector.compiled_rule(claim.rule);
    let (class, family) = rule.map_or((RuleClass::Name, None), |rule| (rule.class, rule.family));
    let is_cued = matches!(class, RuleClass::Key | RuleClass::Cued);
    let has_separator = content.iter().any(|byte| SEPARATORS.contains(*byte));
    let is_dashed = matches!(content, [_, _, _, b'-', _, _, b'-', _, _, _, _]);
    // The first item may be a whole number by itself
    let first_item = list.split(|byte| matches!(byte, b'"' | b'\'')).nth(1).unwrap_or_default();
    let is_first_whole =
        counts.split_at_separator == 0 && first_item.iter().filter(|byte| byte.is_ascii_digit()).count() > 9;
    let has_distinct_start =
        !is_first_whole && matches!(content.first(), Some(b'+' | b'(' | b'A'..=b'Z' | b'a'..=b'z'));
    let is_spelt = counts.longest == 1 && is_cued;
    let is_card = || {
        bank::has_card_number(content) && (class == RuleClass::Key || has_card_word_before(scan, window.start + open))
    };
    class != RuleClass::Name
        && class != RuleClass::Entropy
        && (has_distinct_start
            || is_dashed
            || is_spelt
            || (counts.split_at_separator > 0 && has_separator)
            || family == Some(RuleFamily::Email)
            || is_card())
}

/// Whether a word right before `at` announces a card.
fn has_card_word_before(scan: &TextScan<'_>, at: usize) -> bool {
    let words = &scan.anchors.words_by_use.number_words;
    let next = words.partition_point(|word| word.start < at);
    let announces_card = |action: WordAction| {
        matches!(action, WordAction::Number(RuleFamily::CardCued) | WordAction::NumberProse(RuleFamily::CardCued))
    };
    let mut nearby = words.get(..next).unwrap_or_default().iter().rev().take_while(|word| word.start + CUE_REACH >= at);
    nearby.any(|word| announces_card(word.action))
}
