//! Finds numbers that were split into short items of a list, as streams and text splitters do:
//! `["4539 1488", " 0343 6467"]`, `["4", "5", "3", …]`. The list must contain nothing but the number, which must have a
//! valid check or be announced by a word; without a separator as a sign of splitting, lists of numbers stay. Each byte
//! of a list is read once. `split_values` finds tokens and addresses in two pieces, which need no list of their own.

use std::ops::{Range, RangeInclusive};

use super::super::action::WordAction;
use super::super::anchors::DigitRun;
use super::super::rule::{RuleClass, RuleFamily};
use super::super::scan::{PrivateClaim, TextScan};
use super::decoded_view::DecodedView;
use super::list_items::{self, next_item_start};
use super::windows;
use crate::sets::ByteSet;
use crate::validate::bank;

/// Most items, and most bytes of each.
const ITEMS: usize = 64;
const ITEM: usize = 24;
/// Number of digits in a value.
const DIGITS: RangeInclusive<usize> = 7..=34;
/// Most bytes before a list in which a word may announce a card.
const NEAR: usize = 40;

/// Separators between digits.
static PARTS: ByteSet = ByteSet::new(b" -./:()+@");
/// Bytes of an item.
static IN_PIECE: ByteSet = ByteSet::new(b" -./:()+@_").and_alnum();

/// The closing quote of the item of `number`, if the next item begins with a digit or separator.
#[inline(always)]
pub(super) fn closing_quote_of_item(scan: &TextScan<'_>, number: &DigitRun) -> Option<usize> {
    // The next one or two bytes reject most numbers
    let parted = !matches!(number.behind, b'"' | b'\'');
    if parted && !(PARTS.contains(number.behind) && matches!(scan.byte(number.end + 1), b'"' | b'\'')) {
        return None;
    }
    let quote = number.end + usize::from(parted);
    next_item_byte(scan, quote).filter(|next| next.is_ascii_digit() || PARTS.contains(*next))?;
    Some(quote)
}

/// The first byte of the item behind the one that ends in the quote at `at`.
#[inline(always)]
fn next_item_byte(scan: &TextScan<'_>, at: usize) -> Option<u8> {
    match scan.text.as_bytes().get(at + 1..at + 5)? {
        [b',', b'"' | b'\'', first, _] | [b',', b' ', b'"' | b'\'', first] => Some(*first),
        // One item per line; behind a key there would be a colon
        [b' ' | b'\t' | b'\r' | b'\n', ..] | [b',', b' ' | b'\t' | b'\r' | b'\n', ..] => {
            next_item_start(scan.text.as_bytes(), at).map(|next| scan.byte(next))
        }
        _ => None,
    }
}

/// Adds windows of lists with the text before them on their line.
pub(super) fn find_windows(scan: &TextScan<'_>, fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    // Items are quoted
    if memchr::memchr2(b'"', b'\'', scan.text.as_bytes()).is_none() {
        return;
    }
    let mut done = 0;
    for number in &scan.anchors.digit_runs {
        if let Some(at) = closing_quote_of_item(scan, number).filter(|at| *at >= done) {
            done = add_list_window(scan, at, done, fresh, out);
        }
    }
    let mut done = 0;
    for at in scan.anchors.at_signs.iter().map(|at| at + 1) {
        if at >= done && next_item_byte(scan, at).is_some() {
            done = add_list_window(scan, at, done, fresh, out);
        }
    }
}

/// Adds the window of the list whose item ends at `at`, and returns the end of the text that was read. Text before
/// `floor` was read before.
#[inline(never)]
fn add_list_window(
    scan: &TextScan<'_>,
    at: usize,
    floor: usize,
    fresh: &dyn Fn(Range<usize>) -> bool,
    out: &mut Vec<Range<usize>>,
) -> usize {
    let bytes = scan.text.as_bytes();
    let (end, closed) = list_end(bytes, at);
    if let Some(start) = list_start(bytes, at, floor).filter(|_| closed)
        && ItemCounts::count(scan.bytes(start..end)).may_be_split()
    {
        let window = windows::window_start(scan.text, start.saturating_sub(NEAR))..end;
        if fresh(window.clone()) {
            out.push(window);
        }
    }
    end
}

/// The opening bracket of the list whose item ends at `at`, if it is not before `floor`.
fn list_start(bytes: &[u8], mut at: usize, floor: usize) -> Option<usize> {
    let quote = *bytes.get(at)?;
    let blanks = |at: usize| {
        let head = bytes.get(at.saturating_sub(32)..at).unwrap_or_default();
        at - head.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count()
    };
    for _ in 0..ITEMS {
        let item = IN_PIECE.count_trailing(bytes.get(at.saturating_sub(ITEM)..at)?);
        let open = at.checked_sub(item + 1).filter(|open| *open >= floor)?;
        if bytes.get(open) != Some(&quote) {
            return None;
        }
        let before = blanks(open).checked_sub(1)?;
        match bytes.get(before) {
            Some(b'[') => return Some(before),
            Some(b',') => at = blanks(before).checked_sub(1).filter(|at| bytes.get(*at) == Some(&quote))?,
            _ => return None,
        }
    }
    None
}

/// End of the items behind the one that ends at `at`, and whether the list ends there.
fn list_end(bytes: &[u8], mut at: usize) -> (usize, bool) {
    let quote = bytes.get(at);
    for _ in 0..ITEMS {
        let Some(next) = next_item_start(bytes, at) else { break };
        let rest = bytes.get(next..bytes.len().min(next + ITEM)).unwrap_or_default();
        let end = next + IN_PIECE.count_leading(rest);
        if bytes.get(end) != quote {
            return (end, false);
        }
        at = end;
    }
    let behind = bytes.get(at + 1..).unwrap_or_default();
    let blanks = behind.iter().take(32).take_while(|byte| byte.is_ascii_whitespace()).count();
    let closed = behind.get(blanks) == Some(&b']');
    (at + 1 + if closed { blanks + 1 } else { 0 }, closed)
}

/// Counts over the items of a list.
#[derive(Clone, Copy, Default)]
struct ItemCounts {
    items: usize,
    longest: usize,
    digits: usize,
    letters: usize,
    /// Number of `@`.
    ats: usize,
    /// Number of letters before any digit.
    leading_letters: usize,
    /// Items that begin or end with a separator next to another item.
    split_at_separator: usize,
}

impl ItemCounts {
    /// Counts the items of a list, given with its brackets.
    fn count(list: &[u8]) -> Self {
        let mut all = Self::default();
        for item in list.split(|byte| matches!(byte, b'"' | b'\'')).skip(1).step_by(2) {
            all.items += 1;
            all.longest = all.longest.max(item.len());
            for byte in item {
                all.leading_letters +=
                    usize::from(all.leading_letters == all.letters + all.digits && byte.is_ascii_alphabetic());
                all.digits += usize::from(byte.is_ascii_digit());
                all.letters += usize::from(byte.is_ascii_alphabetic());
                all.ats += usize::from(*byte == b'@');
            }
            let parted = |byte: Option<&u8>| byte.is_some_and(|byte| PARTS.contains(*byte));
            // A sign or bracket may begin a whole number; a trailing dot may be a list number
            let begins = parted(item.first()) && (all.items > 1 && !b"+(".contains(item.first().unwrap_or(&b'+')));
            all.split_at_separator += usize::from(begins || parted(item.last()) && item.len() > 1);
        }
        all
    }

    /// Whether the items may be pieces of one number, or single letters of an address.
    fn may_be_split(&self) -> bool {
        let number =
            DIGITS.contains(&self.digits) && (self.letters == 0 || self.leading_letters == 2 && self.digits >= 10);
        let spelt = self.ats == 1 && self.longest <= 2;
        self.items > 1 && self.longest > 0 && (number && self.ats == 0 || spelt)
    }
}

/// Keeps the text before the list, and joins its items into one string.
pub(super) fn decode(text: &str, view: &mut DecodedView) {
    let open = memchr::memrchr(b'[', text.as_bytes()).unwrap_or(text.len());
    let list = text.as_bytes().get(open..).unwrap_or_default();
    let Some(first) = memchr::memchr2(b'"', b'\'', list) else {
        view.push_plain(text);
        return;
    };
    view.push_plain(text.get(..open).unwrap_or_default());
    view.push_decoded(first, None);
    view.push_plain(text.get(open + first..open + first + 1).unwrap_or_default());
    list_items::decode(text.get(open + first + 1..text.len() - 1).unwrap_or_default(), view);
}

/// Whether a claim on a joined window covers its whole list and is unambiguous.
pub(super) fn is_unambiguous(
    scan: &TextScan<'_>,
    window: &Range<usize>,
    view: &DecodedView,
    claim: &PrivateClaim,
) -> bool {
    let text = scan.bytes(window.clone());
    let Some(open) = memchr::memrchr(b'[', text) else { return false };
    let list = text.get(open..).unwrap_or_default();
    let Some(value) = view.text().get(open + 1..) else { return false };
    let found = view.text().as_bytes().get(claim.range.clone()).unwrap_or_default();
    let counted = |text: &[u8]| text.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    if claim.range.start <= open || counted(value.as_bytes()) != counted(found) {
        return false;
    }
    let pieces = ItemCounts::count(list);
    let rule = scan.detector.rules.get(usize::from(claim.rule));
    let (class, family) = rule.map_or((RuleClass::Name, None), |rule| (rule.class, rule.family));
    let told = matches!(class, RuleClass::Key | RuleClass::Cued);
    let parted = found.iter().any(|byte| PARTS.contains(*byte));
    let dashed = matches!(found, [_, _, _, b'-', _, _, b'-', _, _, _, _]);
    // The first item is a whole number by itself
    let first = list.split(|byte| matches!(byte, b'"' | b'\'')).nth(1).unwrap_or_default();
    let whole = pieces.split_at_separator == 0 && first.iter().filter(|byte| byte.is_ascii_digit()).count() > 9;
    let starts = !whole && matches!(found.first(), Some(b'+' | b'(' | b'A'..=b'Z' | b'a'..=b'z'));
    let spelt = pieces.longest == 1 && told;
    let card = || is_card_number(found) && (class == RuleClass::Key || has_card_word_before(scan, window.start + open));
    class != RuleClass::Name
        && class != RuleClass::Entropy
        && (starts
            || dashed
            || spelt
            || (pieces.split_at_separator > 0 && parted)
            || family == Some(RuleFamily::Email)
            || card())
}

/// Whether digits are a card number, by issuer, length and check digit.
fn is_card_number(found: &[u8]) -> bool {
    let (mut digits, mut len) = ([0_u8; 19], 0);
    for byte in found.iter().filter(|byte| byte.is_ascii_digit()) {
        let Some(digit) = digits.get_mut(len) else { return false };
        *digit = byte - b'0';
        len += 1;
    }
    digits.get(..len).is_some_and(bank::is_card_number)
}

/// Whether a word right before `at` announces a card.
fn has_card_word_before(scan: &TextScan<'_>, at: usize) -> bool {
    let words = &scan.anchors.words_by_use.number_words;
    let upto = words.partition_point(|word| word.start < at);
    let cue = |action: WordAction| {
        matches!(action, WordAction::Number(RuleFamily::CardCued) | WordAction::NumberProse(RuleFamily::CardCued))
    };
    let mut near = words.get(..upto).unwrap_or_default().iter().rev().take_while(|word| word.start + NEAR >= at);
    near.any(|word| cue(word.action))
}
