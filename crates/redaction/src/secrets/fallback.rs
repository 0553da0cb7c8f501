//! Finds the literal that code falls back to when the environment has no value: `process.env.TOKEN ?? "v"`,
//! `getenv("TOKEN", "v")`, `ENV['TOKEN'] || 'v'`. At most [`MOST`] bytes of the line behind a key are read, and only if
//! the value begins with a read of the environment. `${X:-v}` is in `templates`; `assign` decides whether the literal
//! is secret.

use std::ops::Range;
use std::sync::LazyLock;

use super::super::pairs::{KeyValuePair, PairSeparator, ends_with};
use super::super::sets::ByteSet;
use super::calls;
use super::value_checks::ByteCounts;
use crate::scan::{TextScan, bytes_ahead};
use crate::wordlists;

/// Most bytes of a line that are read.
const MOST: usize = 240;

/// Expressions that read the environment, in lower case.
static READS: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("secrets.environment_reads"));

/// Bytes that they begin with, perhaps in a bracket.
static BEGINS: ByteSet = ByteSet::new(b"pigosednPIGOSEDN$(");

/// Replaces the pair's value by the fallback literal, if the value reads the environment.
pub(super) fn use_fallback_literal(scan: &TextScan<'_>, pair: &mut KeyValuePair) {
    let assigned = matches!(pair.sep, PairSeparator::Equals | PairSeparator::Colon | PairSeparator::Arrow);
    if pair.quote.is_some() || !assigned || !BEGINS.contains(scan.byte(pair.value.start)) {
        return;
    }
    if scan.byte(pair.value.start) == b'(' && !BEGINS.contains(scan.byte(pair.value.start + 1)) {
        return;
    }
    let rest = bytes_ahead(scan, pair.value.start, MOST);
    let open = usize::from(rest.first() == Some(&b'('));
    let head = rest.get(open..).unwrap_or_default();
    let begins = head.first().is_some_and(|first| *first != b'(' && BEGINS.contains(*first));
    let reads = |read: &&[u8]| head.get(..read.len()).is_some_and(|head| head.eq_ignore_ascii_case(read));
    if !begins || !READS.iter().any(reads) {
        return;
    }
    let line = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
    // A message that nothing is set is only words
    let mixed = |range: &Range<usize>| {
        let look = ByteCounts::count(line.get(range.clone()).unwrap_or_default());
        look.digits > 0 || look.marks > look.joints
    };
    if let Some(literal) = fallback_literal(line, open).filter(mixed) {
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
const CALLS: [&[u8]; 5] = [b"getenv", b"env", b".get", b".fetch", b".getordefault"];

/// The first literal from `at` on behind `||`, `??`, `or`, `:` or a comma in a call that reads; none behind the end of
/// the value.
fn fallback_literal(line: &[u8], mut at: usize) -> Option<Range<usize>> {
    let mut asked = false;
    let (mut depth, mut call) = (at, None);
    while let Some(byte) = line.get(at) {
        let rest = line.get(at..).unwrap_or_default();
        let joint = match byte {
            b'"' | b'\'' | b'`' => {
                at = calls::read_string(line, at)?.1 + 1;
                continue;
            }
            b';' => return None,
            b'(' | b'[' | b'{' => {
                depth += 1;
                let head = line.get(..at).unwrap_or_default();
                if *byte == b'(' && CALLS.iter().any(|name| ends_with(head, name)) {
                    call = Some(depth);
                }
                0
            }
            b')' | b']' | b'}' => {
                call = call.filter(|call| *call < depth);
                depth = depth.checked_sub(1)?;
                0
            }
            b'?' if rest.starts_with(b"? ") => {
                asked = true;
                0
            }
            b'|' | b'?' if rest.starts_with(b"||") || rest.starts_with(b"??") => 2,
            b' ' if rest.starts_with(b" or ") => 4,
            b':' if asked => 1,
            b',' if call == Some(depth) => 1,
            b',' if depth == 0 || line.first() == Some(&b'(') && depth == 1 => return None,
            _ => 0,
        };
        if joint > 0
            && let Some(found) = calls::quoted_argument(line, at + joint)
        {
            return Some(found).filter(|found| !is_key(line.get(found.end..).unwrap_or_default()));
        }
        at += joint.max(1);
    }
    None
}
