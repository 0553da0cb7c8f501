//! Finds numbers that were split into short items of a list, as streams and text splitters do:
//! `["4539 1488", " 0343 6467"]`, `["4", "5", "3", …]`. The list must contain nothing but the number, which must have a
//! valid check or be announced by a word; without a separator as a sign of splitting, lists of numbers stay. Each byte
//! of a list is read once. `joints` finds tokens and addresses in two pieces, which need no list of their own.

use std::ops::{Range, RangeInclusive};

use super::super::action::Action;
use super::super::anchors::Number;
use super::super::rule::{Class, Family};
use super::super::scan::{Claim, Scan};
use super::items::{self, joint};
use super::view::View;
use super::windows;
use crate::sets::Bytes;
use crate::validate::bank;

/// Most items, and most bytes of each.
const ITEMS: usize = 64;
const ITEM: usize = 24;
/// Number of digits in a value.
const DIGITS: RangeInclusive<usize> = 7..=34;
/// Most bytes before a list in which a word may announce a card.
const NEAR: usize = 40;

/// Separators between digits.
static PARTS: Bytes = Bytes::of(b" -./:()+@");
/// Bytes of an item.
static IN_PIECE: Bytes = Bytes::of(b" -./:()+@_").and_alnum();

/// The closing quote of the item of `number`, if the next item begins with a digit or separator.
#[inline(always)]
pub(super) fn ends(scan: &Scan<'_>, number: &Number) -> Option<usize> {
    // The next one or two bytes reject most numbers
    let parted = !matches!(number.behind, b'"' | b'\'');
    if parted && !(PARTS.has(number.behind) && matches!(scan.byte(number.end + 1), b'"' | b'\'')) {
        return None;
    }
    let quote = number.end + usize::from(parted);
    next(scan, quote).filter(|next| next.is_ascii_digit() || PARTS.has(*next))?;
    Some(quote)
}

/// The first byte of the item behind the one that ends in the quote at `at`.
#[inline(always)]
fn next(scan: &Scan<'_>, at: usize) -> Option<u8> {
    match scan.text.as_bytes().get(at + 1..at + 5)? {
        [b',', b'"' | b'\'', first, _] | [b',', b' ', b'"' | b'\'', first] => Some(*first),
        // One item per line; behind a key there would be a colon
        [b' ' | b'\t' | b'\r' | b'\n', ..] | [b',', b' ' | b'\t' | b'\r' | b'\n', ..] => {
            joint(scan.text.as_bytes(), at).map(|next| scan.byte(next))
        }
        _ => None,
    }
}

/// Adds windows of lists with the text before them on their line.
pub(super) fn windows(scan: &Scan<'_>, fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    // Items are quoted
    if memchr::memchr2(b'"', b'\'', scan.text.as_bytes()).is_none() {
        return;
    }
    let mut done = 0;
    for number in &scan.anchors.numbers {
        if let Some(at) = ends(scan, number).filter(|at| *at >= done) {
            done = around(scan, at, done, fresh, out);
        }
    }
    let mut done = 0;
    for at in scan.anchors.ats.iter().map(|at| at + 1) {
        if at >= done && next(scan, at).is_some() {
            done = around(scan, at, done, fresh, out);
        }
    }
}

/// Adds the window of the list whose item ends at `at`, and returns the end of the text that was read. Text before
/// `floor` was read before.
#[inline(never)]
fn around(
    scan: &Scan<'_>,
    at: usize,
    floor: usize,
    fresh: &dyn Fn(Range<usize>) -> bool,
    out: &mut Vec<Range<usize>>,
) -> usize {
    let bytes = scan.text.as_bytes();
    let (end, closed) = end_of(bytes, at);
    if let Some(start) = start_of(bytes, at, floor).filter(|_| closed)
        && Pieces::of(scan.bytes(start..end)).may_be_cut()
    {
        let window = windows::start(scan.text, start.saturating_sub(NEAR))..end;
        if fresh(window.clone()) {
            out.push(window);
        }
    }
    end
}

/// The opening bracket of the list whose item ends at `at`, if it is not before `floor`.
fn start_of(bytes: &[u8], mut at: usize, floor: usize) -> Option<usize> {
    let quote = *bytes.get(at)?;
    let blanks = |at: usize| {
        let head = bytes.get(at.saturating_sub(32)..at).unwrap_or_default();
        at - head.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count()
    };
    for _ in 0..ITEMS {
        let item = IN_PIECE.trailing(bytes.get(at.saturating_sub(ITEM)..at)?);
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
fn end_of(bytes: &[u8], mut at: usize) -> (usize, bool) {
    let quote = bytes.get(at);
    for _ in 0..ITEMS {
        let Some(next) = joint(bytes, at) else { break };
        let rest = bytes.get(next..bytes.len().min(next + ITEM)).unwrap_or_default();
        let end = next + IN_PIECE.leading(rest);
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
struct Pieces {
    items: usize,
    longest: usize,
    digits: usize,
    letters: usize,
    /// Number of `@`.
    ats: usize,
    /// Number of letters before any digit.
    lead: usize,
    /// Items that begin or end with a separator next to another item.
    torn: usize,
}

impl Pieces {
    /// Counts the items of a list, given with its brackets.
    fn of(list: &[u8]) -> Self {
        let mut all = Self::default();
        for item in list.split(|byte| matches!(byte, b'"' | b'\'')).skip(1).step_by(2) {
            all.items += 1;
            all.longest = all.longest.max(item.len());
            for byte in item {
                all.lead += usize::from(all.lead == all.letters + all.digits && byte.is_ascii_alphabetic());
                all.digits += usize::from(byte.is_ascii_digit());
                all.letters += usize::from(byte.is_ascii_alphabetic());
                all.ats += usize::from(*byte == b'@');
            }
            let parted = |byte: Option<&u8>| byte.is_some_and(|byte| PARTS.has(*byte));
            // A sign or bracket may begin a whole number; a trailing dot may be a list number
            let begins = parted(item.first()) && (all.items > 1 && !b"+(".contains(item.first().unwrap_or(&b'+')));
            all.torn += usize::from(begins || parted(item.last()) && item.len() > 1);
        }
        all
    }

    /// Whether the items may be pieces of one number, or single letters of an address.
    fn may_be_cut(&self) -> bool {
        let number = DIGITS.contains(&self.digits) && (self.letters == 0 || self.lead == 2 && self.digits >= 10);
        let spelt = self.ats == 1 && self.longest <= 2;
        self.items > 1 && self.longest > 0 && (number && self.ats == 0 || spelt)
    }
}

/// Keeps the text before the list, and joins its items into one string.
pub(super) fn decode(text: &str, view: &mut View) {
    let open = memchr::memrchr(b'[', text.as_bytes()).unwrap_or(text.len());
    let list = text.as_bytes().get(open..).unwrap_or_default();
    let Some(first) = memchr::memchr2(b'"', b'\'', list) else {
        view.copy(text);
        return;
    };
    view.copy(text.get(..open).unwrap_or_default());
    view.put(first, None);
    view.copy(text.get(open + first..open + first + 1).unwrap_or_default());
    items::decode(text.get(open + first + 1..text.len() - 1).unwrap_or_default(), view);
}

/// Whether a claim on a joined window covers its whole list and is unambiguous.
pub(super) fn is_sure(scan: &Scan<'_>, window: &Range<usize>, view: &View, claim: &Claim) -> bool {
    let text = scan.bytes(window.clone());
    let Some(open) = memchr::memrchr(b'[', text) else { return false };
    let list = text.get(open..).unwrap_or_default();
    let Some(value) = view.text().get(open + 1..) else { return false };
    let found = view.text().as_bytes().get(claim.range.clone()).unwrap_or_default();
    let counted = |text: &[u8]| text.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    if claim.range.start <= open || counted(value.as_bytes()) != counted(found) {
        return false;
    }
    let pieces = Pieces::of(list);
    let rule = scan.detector.rules.get(usize::from(claim.rule));
    let (class, family) = rule.map_or((Class::Name, None), |rule| (rule.class, rule.family));
    let told = matches!(class, Class::Key | Class::Cued);
    let parted = found.iter().any(|byte| PARTS.has(*byte));
    let dashed = matches!(found, [_, _, _, b'-', _, _, b'-', _, _, _, _]);
    // The first item is a whole number by itself
    let first = list.split(|byte| matches!(byte, b'"' | b'\'')).nth(1).unwrap_or_default();
    let whole = pieces.torn == 0 && first.iter().filter(|byte| byte.is_ascii_digit()).count() > 9;
    let starts = !whole && matches!(found.first(), Some(b'+' | b'(' | b'A'..=b'Z' | b'a'..=b'z'));
    let spelt = pieces.longest == 1 && told;
    let card = || is_card(found) && (class == Class::Key || near_card(scan, window.start + open));
    class != Class::Name
        && class != Class::Entropy
        && (starts || dashed || spelt || (pieces.torn > 0 && parted) || family == Some(Family::Email) || card())
}

/// Whether digits are a card number, by issuer, length and check digit.
fn is_card(found: &[u8]) -> bool {
    let (mut digits, mut len) = ([0_u8; 19], 0);
    for byte in found.iter().filter(|byte| byte.is_ascii_digit()) {
        let Some(digit) = digits.get_mut(len) else { return false };
        *digit = byte - b'0';
        len += 1;
    }
    digits.get(..len).is_some_and(bank::card)
}

/// Whether a word right before `at` announces a card.
fn near_card(scan: &Scan<'_>, at: usize) -> bool {
    let words = &scan.anchors.by.numbers;
    let upto = words.partition_point(|word| word.at < at);
    let cue =
        |action: Action| matches!(action, Action::Number(Family::CardCued) | Action::NumberProse(Family::CardCued));
    let mut near = words.get(..upto).unwrap_or_default().iter().rev().take_while(|word| word.at + NEAR >= at);
    near.any(|word| cue(word.action))
}
