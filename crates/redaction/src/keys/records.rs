//! The keys beside and above a key, from the braces of a text alone: the meaning of `name` depends on them. Braces in
//! strings count too, so that a document within a string is read like any other. The text is read once, and only if it
//! has a key whose rules need this.

use std::ops::Range;

use super::table::SiblingEvidence;
use crate::scan::TextScan;
use crate::sets::ByteSet;

/// Most records that are left to find the one around a key.
const MAX_CLIMB: usize = 64;
/// Most bytes of a key, and of blanks after it.
const MAX_KEY: usize = 80;

/// An object: `{`, keys with values, `}`.
struct Record {
    range: Range<usize>,
    /// Index of the record that contains it.
    parent: Option<usize>,
    /// Combined evidence of its keys.
    evidence: SiblingEvidence,
    /// Evidence of the key whose value it is.
    above: SiblingEvidence,
}

/// All records of a text, in order.
#[derive(Default)]
pub(super) struct Records {
    list: Vec<Record>,
    is_read: bool,
}

impl Records {
    /// The evidence of keys beside and above the key at `at`; `None` if it is in no record.
    pub(super) fn around(&mut self, scan: &TextScan<'_>, at: usize) -> Option<SiblingEvidence> {
        if !self.is_read {
            self.read(scan);
            self.is_read = true;
        }
        let mut index = self.list.partition_point(|record| record.range.start < at).checked_sub(1)?;
        for _ in 0..MAX_CLIMB {
            let record = self.list.get(index)?;
            if at < record.range.end {
                let mut evidence = record.evidence.combine(record.above);
                let parent = record.parent.and_then(|parent| self.list.get(parent));
                evidence.supports |= parent.map_or(0, |parent| parent.above.supports);
                return Some(evidence);
            }
            index = record.parent?;
        }
        None
    }

    fn read(&mut self, scan: &TextScan<'_>) {
        let text = scan.text.as_bytes();
        let key_before = |at: usize| scan.detector.keys.find(key_before(text, at)).1;
        let mut open: Option<usize> = None;
        // The record that was closed last in each open one gives its key to the next one in the same list
        let mut last_closed: Option<usize> = None;
        for at in memchr::memchr3_iter(b'{', b'}', b':', text) {
            match text.get(at) {
                Some(b'{') => {
                    let above = match last_closed.and_then(|last| self.list.get(last)) {
                        Some(last) if last.parent == open && follows_item(text, at) => last.above,
                        _ => key_of_value(text, at).map(key_before).unwrap_or_default(),
                    };
                    let evidence = SiblingEvidence::default();
                    self.list.push(Record { range: at..text.len(), parent: open, evidence, above });
                    open = Some(self.list.len() - 1);
                    last_closed = None;
                }
                Some(b'}') => {
                    let Some(record) = open.and_then(|index| self.list.get_mut(index)) else { continue };
                    record.range.end = at;
                    (last_closed, open) = (open, record.parent);
                }
                // Code is full of `::`
                _ if text.get(at + 1) == Some(&b':') || text.get(at.wrapping_sub(1)) == Some(&b':') => {}
                _ => {
                    if let Some(record) = open.and_then(|index| self.list.get_mut(index)) {
                        record.evidence = record.evidence.combine(key_before(at));
                    }
                }
            }
        }
    }
}

/// Bytes between a key and its separator, or a separator and its value.
static BETWEEN: ByteSet = ByteSet::new(b" \t\r\n\"'`\\[");

/// The bytes before `at` without `BETWEEN` at their end, and the position of that end.
fn trimmed_before(text: &[u8], at: usize) -> (&[u8], usize) {
    let head = text.get(at.saturating_sub(MAX_KEY)..at).unwrap_or_default();
    let len = head.len() - BETWEEN.count_trailing(head);
    (head.get(..len).unwrap_or_default(), at - (head.len() - len))
}

/// The separator of the key whose value begins at `at`, perhaps in a list.
fn key_of_value(text: &[u8], at: usize) -> Option<usize> {
    let (head, end) = trimmed_before(text, at);
    let len = head.strip_suffix(b"=>").or_else(|| head.strip_suffix(b":")).or_else(|| head.strip_suffix(b"="))?.len();
    Some(end - head.len() + len)
}

/// Whether the item of a list that begins at `at` follows another one.
fn follows_item(text: &[u8], at: usize) -> bool {
    trimmed_before(text, at).0.last() == Some(&b',')
}

/// The key before the separator at `at`.
fn key_before(text: &[u8], at: usize) -> &[u8] {
    static IN_KEY: ByteSet = ByteSet::new(b"_-. ").and_alnum().and_non_ascii();
    let (head, end) = trimmed_before(text, at);
    // A quoted key may have blanks
    let is_quoted = text.get(end).is_some_and(|byte| b"\"'\\".contains(byte));
    let key = head.get(head.len() - IN_KEY.count_trailing(head)..).unwrap_or_default();
    match is_quoted {
        true => key,
        false => key.rsplit(|byte| *byte == b' ').next().unwrap_or_default(),
    }
}
