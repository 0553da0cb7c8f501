//! Finds values that were split into adjacent items of a list, as streams and text splitters do:
//! `["ghp_16C7e42F", "292c6912E7…"]`. The search starts at a token prefix or an `@` in a string that ends within the
//! value and has no finding of its own; keys are not items. A finding is replaced in each string, and quotes stay.
//! Pieces separated by keys or objects are not joined.

use std::ops::Range;

use super::super::resolve::RedactionHit;
use super::super::rule::{RuleClass, RuleFamily};
use super::super::scan::{PrivateClaims, TextScan, is_object_key};
use super::blobs::sorted_ranges;
use super::decoded_view::DecodedView;
use super::list_items::next_item_start;
use super::split_numbers;
use crate::sets::ByteSet;

/// Most bytes of a value on either side of its anchor (a token's prefix or an `@`).
const REACH: usize = 256;
/// Fewest bytes of a piece.
const MIN_PIECE: usize = 4;

/// Bytes of tokens and addresses.
static IN_TOKEN: ByteSet = ByteSet::new(b"-_.+/=@~").and_alnum();

/// Adds windows of split values and split numbers.
pub(super) fn find_windows(
    scan: &TextScan<'_>,
    is_fresh: &dyn Fn(Range<usize>) -> bool,
    claims: &PrivateClaims,
    out: &mut Vec<Range<usize>>,
) {
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
            let claimed = claimed.get_or_insert_with(|| sorted_ranges(claims));
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
    split_numbers::find_windows(scan, is_fresh, out);
    out.sort_by_key(|window| window.start);
    out.dedup_by(|next, last| next.start < last.end);
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
/// and those accepted by `split_numbers`.
pub(crate) fn claim_pieces(
    scan: &TextScan<'_>,
    window: &Range<usize>,
    view: &DecodedView,
    found: impl Iterator<Item = RedactionHit>,
    claims: &mut PrivateClaims,
) {
    for claim in found {
        let rule = scan.detector.compiled_rule(claim.rule);
        let is_certain = match scan.part(window.clone()).ends_with(']') {
            true => split_numbers::is_unambiguous(scan, window, view, &claim),
            false => rule.is_some_and(|rule| rule.class == RuleClass::Secret || rule.family == Some(RuleFamily::Email)),
        };
        if !is_certain {
            continue;
        }
        for range in view.mapped_pieces(&claim.range) {
            if scan.bytes(range.clone()).iter().any(u8::is_ascii_alphanumeric) {
                claims.add(scan, claim.rule, range);
            }
        }
    }
}
