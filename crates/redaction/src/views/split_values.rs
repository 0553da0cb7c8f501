//! Finds values that were split into adjacent items of a list, as streams and text splitters do:
//! `["ghp_16C7e42F", "292c6912E7…"]`, `["4539 1488", " 0343 6467"]`. Tokens and addresses are searched from their
//! prefix or `@` in a string that has no finding of its own; a number must fill its list after a word or `+`.
//! A finding is replaced in each string, and quotes stay. Pieces separated by keys or objects are not joined.

use std::ops::Range;

use super::super::action::WordAction;
use super::super::anchors::DigitRun;
use super::super::resolve::RedactionHit;
use super::super::rule::{RuleClass, RuleFamily};
use super::super::scan::{TextScan, is_object_key};
use super::blobs::sorted_ranges;
use super::decoded_view::DecodedView;
use super::windows;
use crate::sets::ByteSet;

/// Most bytes of a value on either side of its anchor (a token's prefix or an `@`).
const REACH: usize = 256;
/// Fewest bytes of a piece.
const MIN_PIECE: usize = 4;
/// Most bytes between an announcing word and the list of its number.
const CUE_REACH: usize = 40;

/// Bytes of tokens and addresses.
static IN_TOKEN: ByteSet = ByteSet::new(b"-_.+/=@~").and_alnum();
/// Separators between digits, and bytes of a list of pieces.
static SEPARATORS: ByteSet = ByteSet::new(b" -./:()+@");
static IN_LIST: ByteSet = ByteSet::new(b" -./:()+@_\"',\t\r\n").and_alnum();

/// Whether a text may have strings in a list.
pub(super) fn may_have_items(scan: &TextScan<'_>) -> bool {
    scan.anchors.byte_kinds.quote != 0 && !scan.anchors.is_empty()
}

/// Adds windows of split values and split numbers.
pub(super) fn find_windows(scan: &TextScan<'_>, is_fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let words = scan.anchors.words_by_use.pattern_words.iter().map(|word| word.start);
    let mut claimed: Option<Vec<Range<usize>>> = None;
    let mut search_from = |anchors: &mut dyn Iterator<Item = usize>| {
        let (mut window_end, mut first_end) = (0, 0);
        for at in anchors {
            // Each string is read once, and so is each byte of a run without an end
            if at < window_end {
                continue;
            }
            first_end = token_end(scan, at, at.max(first_end));
            let Some(window) = joined_window(scan, at, first_end) else { continue };
            window_end = window.end;
            // A finding in the first piece was complete there
            let claimed = claimed.get_or_insert_with(|| sorted_ranges(scan));
            let next = claimed.partition_point(|range| range.start < first_end);
            let near = claimed.get(next.saturating_sub(4)..next).unwrap_or_default();
            let has_finding = near.iter().any(|range| range.end > window.start);
            if !has_finding && is_fresh(window.clone()) {
                out.push(window);
            }
        }
    };
    search_from(&mut words.into_iter());
    search_from(&mut scan.anchors.at_signs.iter().copied());
    let spelt_ats = scan.anchors.at_signs.iter().filter(|at| matches!(scan.byte(**at + 1), b'"' | b'\'')).copied();
    let numbers = scan.anchors.digit_runs.iter().filter(|run| ends_item(scan, run)).map(|run| run.start);
    add_list_windows(scan, spelt_ats, is_fresh, out);
    add_list_windows(scan, numbers, is_fresh, out);
    out.sort_by_key(|window| window.start);
    out.dedup_by(|next, last| next.start < last.end);
}

/// Whether a run of digits ends an item, perhaps with a separator, before another item.
#[inline]
fn ends_item(scan: &TextScan<'_>, run: &DigitRun) -> bool {
    let quote = run.end + usize::from(!matches!(run.after, b'"' | b'\''));
    matches!(scan.byte(quote), b'"' | b'\'') && next_item_start(scan.text.as_bytes(), quote).is_some()
}

/// Adds windows around announced lists that contain one of the positions `anchors`, with the text before them.
fn add_list_windows(
    scan: &TextScan<'_>,
    anchors: impl Iterator<Item = usize>,
    is_fresh: &dyn Fn(Range<usize>) -> bool,
    out: &mut Vec<Range<usize>>,
) {
    let mut read_end = 0;
    for at in anchors {
        if at < read_end {
            continue;
        }
        let start = at - IN_LIST.count_trailing(scan.bytes(at.saturating_sub(REACH)..at));
        read_end = at + IN_LIST.count_leading(scan.bytes(at..at + REACH));
        let is_list = scan.byte_before(start, 1) == b'[' && scan.byte(read_end) == b']';
        if is_list && (scan.byte(at) == b'@' || scan.byte(start + 1) == b'+' || is_announced(scan, start)) {
            let window = windows::window_start(scan.text, start.saturating_sub(CUE_REACH))..read_end + 1;
            if is_fresh(window.clone()) {
                out.push(window);
            }
        }
    }
}

/// Whether a word before a list announces a number.
fn is_announced(scan: &TextScan<'_>, at: usize) -> bool {
    let words = &scan.anchors.words;
    let before = words.get(..words.partition_point(|word| word.start < at)).unwrap_or_default();
    let mut near = before.iter().rev().take_while(|word| word.start + CUE_REACH >= at);
    near.any(|word| matches!(word.action, WordAction::Key | WordAction::Number(_) | WordAction::NumberProse(_)))
}

/// Joins the items of a window. Of a whole list, the text before it stays, and its first quote goes.
pub(super) fn decode(text: &str, view: &mut DecodedView) {
    let list = text.rfind('[').filter(|_| text.ends_with(']')).and_then(|open| text.split_at_checked(open));
    let Some((before, list)) = list else { return join_items(text, view) };
    let quote = list.find(['"', '\'']).unwrap_or(list.len());
    view.push_plain(before);
    view.push_decoded(quote, None);
    view.push_plain(list.get(quote..=quote).unwrap_or_default());
    join_items(list.get(quote + 1..).unwrap_or_default(), view);
}

/// Whether a claim on a joined list covers all of its items, and is no mere row of digits.
fn fills_list(window: &str, view: &DecodedView, claim: &RedactionHit, class: RuleClass) -> bool {
    let Some(value) = window.rfind('[').and_then(|open| view.text.get(open..)) else { return false };
    let content = view.text.get(claim.range.clone()).unwrap_or_default();
    let count_alphanumeric = |text: &str| text.bytes().filter(u8::is_ascii_alphanumeric).count();
    let has_separator = content.bytes().any(|byte| SEPARATORS.contains(byte));
    count_alphanumeric(value) == count_alphanumeric(content)
        && !matches!(class, RuleClass::Name | RuleClass::Entropy)
        && (has_separator || class == RuleClass::Checksum)
}

/// End of the token from `at` on, which was read up to `from`; bounded.
fn token_end(scan: &TextScan<'_>, at: usize, from: usize) -> usize {
    let bytes = scan.text.as_bytes();
    from + IN_TOKEN.count_leading(bytes.get(from..bytes.len().min(at + REACH)).unwrap_or_default())
}

/// The strings around the token from `at` to `end`, if it continues in the next one. A value that began in an earlier
/// string is not searched: `["import", "@pytest.fixture"]` and `["admin", "bob@example.com"]` would each become one
/// address.
fn joined_window(scan: &TextScan<'_>, at: usize, mut end: usize) -> Option<Range<usize>> {
    let bytes = scan.text.as_bytes();
    let mut joined = 0;
    while let Some(next) = next_item_start(bytes, end).filter(|_| joined < 8) {
        let next_end = token_end(scan, next, next);
        if next_end < next + MIN_PIECE || begins_key(bytes, next - 1, next_end) {
            break;
        }
        end = next_end;
        joined += 1;
    }
    if joined == 0 {
        return None;
    }
    let start = at - IN_TOKEN.count_trailing(bytes.get(at.saturating_sub(REACH)..at).unwrap_or_default());
    (end > start + 2 * MIN_PIECE).then_some(start..end)
}

/// Whether the string opened by the quote at `open` is a key; it is not closed before `from`.
fn begins_key(bytes: &[u8], open: usize, from: usize) -> bool {
    let rest = bytes.get(from..bytes.len().min(from + REACH)).unwrap_or_default();
    let after = bytes.get(open).and_then(|quote| rest.get(memchr::memchr(*quote, rest)? + 1..));
    after.is_some_and(is_object_key)
}

/// Adds claims from a joined window, one for each piece. Only unambiguous findings count: secrets, e-mail addresses,
/// and values that fill an announced list.
pub(crate) fn claim_pieces(
    scan: &TextScan<'_>,
    window: &Range<usize>,
    view: &DecodedView,
    found: impl Iterator<Item = RedactionHit>,
) {
    for claim in found {
        let rule = scan.detector.compiled_rule(claim.rule);
        let text = scan.part(window.clone());
        let is_certain = match text.ends_with(']') {
            true => rule.is_some_and(|rule| fills_list(text, view, &claim, rule.class)),
            false => rule.is_some_and(|rule| rule.class == RuleClass::Secret || rule.family == Some(RuleFamily::Email)),
        };
        if !is_certain {
            continue;
        }
        for range in view.mapped_pieces(&claim.range) {
            if scan.bytes(range.clone()).iter().any(u8::is_ascii_alphanumeric) {
                scan.claim(claim.rule, range);
            }
        }
    }
}

/// Start of the next string in a list, after the `", "` whose first quote is at `at`.
fn next_item_start(bytes: &[u8], at: usize) -> Option<usize> {
    let quote = *bytes.get(at).filter(|byte| b"\"'".contains(byte))?;
    let rest = bytes.get(at + 1..bytes.len().min(at + 34))?;
    let count_blanks =
        |from: usize| rest.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let comma_at = count_blanks(0);
    if rest.get(comma_at) != Some(&b',') {
        return None;
    }
    let quote_at = comma_at + 1 + count_blanks(comma_at + 1);
    (rest.get(quote_at) == Some(&quote)).then_some(at + 2 + quote_at)
}

/// Removes the separators between the strings.
fn join_items(text: &str, view: &mut DecodedView) {
    let bytes = text.as_bytes();
    let next = |from: usize| Some(from + memchr::memchr2(b'"', b'\'', bytes.get(from..)?)?);
    view.decode(text, next, |at| next_item_start(bytes, at).map(|next| (next - at, None)).ok_or(1));
}
