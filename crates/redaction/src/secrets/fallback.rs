//! Finds the literal that code falls back to when the environment has no value: `process.env.TOKEN ?? "v"`,
//! `getenv("TOKEN", "v")`, `ENV['TOKEN'] || 'v'`. At most [`MAX_LINE`] bytes of the line after a key are read, and
//! only if the value begins with a read of the environment. `assign` decides whether the literal is secret.

use std::ops::Range;

use super::super::pairs::{KeyValuePair, PairSeparator, ends_with};
use super::super::sets::ByteSet;
use super::calls;
use super::value_checks::ByteCounts;
use crate::scan::{TextScan, bytes_ahead};

/// Most bytes of a line that are read.
const MAX_LINE: usize = 240;

/// Bytes that these expressions begin with, perhaps in a bracket.
static FIRST_BYTES: ByteSet = ByteSet::new(b"pigosednPIGOSEDN$(");

/// Replaces the pair's value by the fallback literal, if the value reads the environment.
pub(super) fn use_fallback_literal(scan: &TextScan<'_>, pair: &mut KeyValuePair) {
    let is_assigned = matches!(pair.sep, PairSeparator::Equals | PairSeparator::Colon | PairSeparator::Arrow);
    if pair.quote.is_some() || !is_assigned || !FIRST_BYTES.contains(scan.byte(pair.value.start)) {
        return;
    }
    if scan.byte(pair.value.start) == b'(' && !FIRST_BYTES.contains(scan.byte(pair.value.start + 1)) {
        return;
    }
    let rest = bytes_ahead(scan, pair.value.start, MAX_LINE);
    let bracket_len = usize::from(rest.first() == Some(&b'('));
    let head = rest.get(bracket_len..).unwrap_or_default();
    let may_begin_read = head.first().is_some_and(|first| *first != b'(' && FIRST_BYTES.contains(*first));
    let begins_with =
        |expression: &&[u8]| head.get(..expression.len()).is_some_and(|head| head.eq_ignore_ascii_case(expression));
    if !may_begin_read || !byte_list!("secrets.environment_reads").iter().any(begins_with) {
        return;
    }
    let line = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
    // A message that nothing is set is only words
    let is_mixed = |range: &Range<usize>| {
        let counts = ByteCounts::count(line.get(range.clone()).unwrap_or_default());
        counts.digits > 0 || counts.marks > counts.joints
    };
    if let Some(literal) = fallback_literal(line, bracket_len).filter(is_mixed) {
        pair.quote = Some(b'"');
        pair.value = pair.value.start + literal.start..pair.value.start + literal.end;
    }
}

/// Whether the literal that ends before `rest` is a key.
fn is_key(rest: &[u8]) -> bool {
    let marks = rest.iter().take(16).take_while(|byte| b"\\\"'` ".contains(byte)).count();
    rest.get(marks..).is_some_and(|rest| rest.starts_with(b":") || rest.starts_with(b"=>"))
}

/// Name endings of calls whose second argument is the fallback, in lower case.
const FALLBACK_CALLS: [&[u8]; 5] = [b"getenv", b"env", b".get", b".fetch", b".getordefault"];

/// The first literal from `at` on that follows `||`, `??`, `or`, the `:` of a condition, or a comma in one of the
/// [`FALLBACK_CALLS`]; none after the end of the value.
fn fallback_literal(line: &[u8], mut at: usize) -> Option<Range<usize>> {
    let mut in_condition = false;
    // `at` is 1 inside the value's bracket, else 0
    let (mut depth, mut call_depth) = (at, None);
    while let Some(byte) = line.get(at) {
        let rest = line.get(at..).unwrap_or_default();
        let joint_len = match byte {
            b'"' | b'\'' | b'`' => {
                at = calls::read_string(line, at)?.1 + 1;
                continue;
            }
            b';' => return None,
            b'(' | b'[' | b'{' => {
                depth += 1;
                let head = line.get(..at).unwrap_or_default();
                if *byte == b'(' && FALLBACK_CALLS.iter().any(|name| ends_with(head, name)) {
                    call_depth = Some(depth);
                }
                0
            }
            b')' | b']' | b'}' => {
                call_depth = call_depth.filter(|call_depth| *call_depth < depth);
                depth = depth.checked_sub(1)?;
                0
            }
            b'?' if rest.starts_with(b"? ") => {
                in_condition = true;
                0
            }
            b'|' | b'?' if rest.starts_with(b"||") || rest.starts_with(b"??") => 2,
            b' ' if rest.starts_with(b" or ") => 4,
            b':' if in_condition => 1,
            b',' if call_depth == Some(depth) => 1,
            b',' if depth == 0 || line.first() == Some(&b'(') && depth == 1 => return None,
            _ => 0,
        };
        if joint_len > 0
            && let Some(found) = calls::quoted_argument(line, at + joint_len)
        {
            return Some(found).filter(|found| !is_key(line.get(found.end..).unwrap_or_default()));
        }
        at += joint_len.max(1);
    }
    None
}
