//! Finds values that were split into adjacent items of a list, as streams and text splitters do:
//! `["ghp_16C7e42F", "292c6912E7…"]`. The search starts at a token prefix or an `@` in a string that ends within the
//! value and has no finding of its own; keys are not items. A finding is replaced in each string, and quotes stay.
//! Pieces separated by keys or objects are not joined.

use std::ops::Range;

use super::super::json_repair::is_object_key;
use super::super::rule::{RuleClass, RuleFamily};
use super::super::scan::{PrivateClaim, PrivateClaims, TextScan};
use super::blobs::sorted_ranges;
use super::decoded_view::DecodedView;
use super::list_items::next_item_start;
use super::split_numbers;
use crate::sets::ByteSet;

/// Most bytes of a value on either side of its start.
const MOST: usize = 256;
/// Least bytes of a piece.
const LEAST: usize = 4;

/// Bytes of tokens and addresses.
static IN_TOKEN: ByteSet = ByteSet::new(b"-_.+/=@~").and_alnum();

pub(super) fn find_windows(
    scan: &TextScan<'_>,
    fresh: &dyn Fn(Range<usize>) -> bool,
    claims: &PrivateClaims,
    out: &mut Vec<Range<usize>>,
) {
    let words = scan.anchors.words_by_use.pattern_words.iter().map(|word| word.start);
    let mut known: Option<Vec<Range<usize>>> = None;
    let mut each = |begins: &mut dyn Iterator<Item = usize>| {
        let (mut done, mut run) = (0, 0);
        for at in begins {
            // Each string is read once, and so is each byte of a run without an end
            if at < done {
                continue;
            }
            run = token_end(scan, at, at.max(run));
            let Some(window) = joined_window(scan, at, run) else { continue };
            done = window.end;
            // A finding in the first piece was complete there
            let known = known.get_or_insert_with(|| sorted_ranges(claims));
            let upto = known.partition_point(|range| range.start < run);
            let near = known.get(upto.saturating_sub(4)..upto).unwrap_or_default();
            let found = near.iter().any(|range| range.end > window.start);
            if !found && fresh(window.clone()) {
                out.push(window);
            }
        }
    };
    each(&mut words.into_iter());
    each(&mut scan.anchors.at_signs.iter().copied());
    split_numbers::find_windows(scan, fresh, out);
    out.sort_by_key(|window| window.start);
    out.dedup_by(|next, last| next.start < last.end);
}

/// End of the token from `at` on, which was read up to `from`; bounded.
fn token_end(scan: &TextScan<'_>, at: usize, from: usize) -> usize {
    let bytes = scan.text.as_bytes();
    from + IN_TOKEN.count_leading(bytes.get(from..bytes.len().min(at + MOST)).unwrap_or_default())
}

/// The strings around the token from `at` to `end`, if it continues in the next one. A value that began in an earlier
/// string is not searched: `["import", "@pytest.fixture"]` and `["admin", "bob@example.com"]` would each become one
/// address.
fn joined_window(scan: &TextScan<'_>, at: usize, mut end: usize) -> Option<Range<usize>> {
    let bytes = scan.text.as_bytes();
    let mut joined = 0;
    while let Some(next) = next_item_start(bytes, end).filter(|_| joined < 8) {
        let behind = token_end(scan, next, next);
        if behind < next + LEAST || begins_key(bytes, next - 1, behind) {
            break;
        }
        end = behind;
        joined += 1;
    }
    if joined == 0 {
        return None;
    }
    let start = at - IN_TOKEN.count_trailing(bytes.get(at.saturating_sub(MOST)..at).unwrap_or_default());
    (end > start + 2 * LEAST).then_some(start..end)
}

/// Whether the string opened by the quote at `open` is a key; nothing before `from` closes it.
fn begins_key(bytes: &[u8], open: usize, from: usize) -> bool {
    let rest = bytes.get(from..bytes.len().min(from + MOST)).unwrap_or_default();
    let behind = bytes.get(open).and_then(|quote| rest.get(memchr::memchr(*quote, rest)? + 1..));
    behind.is_some_and(is_object_key)
}

/// Adds claims from a joined window, one for each piece. Only unambiguous findings count: secrets, e-mail addresses,
/// and those accepted by `pieces`.
pub(crate) fn claim_pieces(
    scan: &TextScan<'_>,
    window: &Range<usize>,
    view: &DecodedView,
    found: impl Iterator<Item = PrivateClaim>,
    claims: &mut PrivateClaims,
) {
    for claim in found {
        let rule = scan.detector.rules.get(usize::from(claim.rule));
        let sure = match scan.part(window.clone()).ends_with(']') {
            true => split_numbers::is_unambiguous(scan, window, view, &claim),
            false => rule.is_some_and(|rule| rule.class == RuleClass::Secret || rule.family == Some(RuleFamily::Email)),
        };
        if !sure {
            continue;
        }
        for range in view.mapped_pieces(&claim.range) {
            if scan.bytes(range.clone()).iter().any(u8::is_ascii_alphanumeric) {
                claims.add(scan, claim.rule, range);
            }
        }
    }
}
