//! **What**: whether any key in a text could make a walk over its objects (`json`) find something. **Why**: `"name"` stands in nearly all
//! telemetry, before values that are no names: a look at the key and its value costs a hundredth of a walk over the text.
//! **Invariants**: what is read around a word is bounded; where the look does not see all of a value, a walk is worth it; whoever is
//! refused here would have claimed nothing, whatever stands beside it (`tests`). **Not here**: the walk.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem;

use super::json::{Kind, Tree};
use super::table::{Evidence, KeyTable, Known, LONGEST, Match};
use super::{NAMES, VALUES, WRAPS, values};
use crate::redaction::rule::KeyValue;
use crate::redaction::scan::Scan;
use crate::redaction::sets::{Bytes, Words};
use crate::redaction::stems::WordAt;

/// What may stand in a quoted key.
static IN_NAME: Bytes = Bytes::of(b"_-. ").and_alnum();
/// What a key without quotes is made of.
static IN_KEY: Bytes = Bytes::of(b"_-$.").and_alnum().and_high();
/// Quotes, and what escapes them.
static QUOTES: Bytes = Bytes::of(b"\"'\\");
/// Blanks.
static BLANKS: Bytes = Bytes::of(b" \t\r\n");
/// What a value without quotes may end with.
static MAY_END: Bytes = Bytes::of(b"(),}]{\"\n\\");
/// Bytes read behind a word for its key's end, and most of a value without quotes (as `json` reads them).
const BEHIND: usize = 48;
const BARE: usize = 512;
/// Longest text that says what the value beside it is: a question.
const LONGEST_TELLING: usize = 300;

/// Keys whose value says what the pair beside it is.
static TELLING: LazyLock<Words> = LazyLock::new(|| Words::new("system text code"));

/// Whether a walk over the objects of a text may find anything.
pub(super) fn is_worth(scan: &Scan<'_>, tree: &mut Tree, table: &KeyTable, known: &mut Known) -> bool {
    tree.clear();
    let mut look = Look { scan, tree, table, known, left: scan.text.len(), typed: OnceCell::new() };
    scan.anchors.by.keys.iter().any(|word| {
        let rest = scan.bytes(word.end..scan.text.len().min(word.end + BEHIND));
        let end = word.end + IN_NAME.leading(rest);
        let rest = rest.get(end - word.end..).unwrap_or_default();
        match rest.first() {
            // `"Phone:"`, as forms have it
            Some(b':') => look.closed(word, end + 1) || look.open(word),
            Some(b'"' | b'\'' | b'\\') => look.closed(word, end),
            Some(b'?' | b'*' | b'#') => look.closed(word, end + 1),
            _ => false,
        }
    })
}

/// Whether any known word stands where a key does: what was asked before a walk had to be worth more.
#[cfg(test)]
pub(super) fn has_key(scan: &Scan<'_>) -> bool {
    scan.anchors.by.keys.iter().any(|word| {
        let rest = scan.bytes(word.end..scan.text.len().min(word.end + BEHIND));
        let mut rest = rest.iter().skip(IN_NAME.leading(rest)).skip_while(|byte| **byte == b'\\');
        match rest.next() {
            Some(b'"' | b'\'') => matches!(rest.find(|byte| **byte != b' '), Some(b':' | b'=' | b',')),
            Some(b':') => true,
            _ => false,
        }
    })
}

/// A look at the words of a text.
struct Look<'a> {
    scan: &'a Scan<'a>,
    tree: &'a mut Tree,
    table: &'a KeyTable,
    known: &'a mut Known,
    /// Bytes of objects that may still be read: of one in another each would be read again.
    left: usize,
    /// Whether what a `value` is may be said by codes beside it.
    typed: OnceCell<bool>,
}

impl Look<'_> {
    /// Whether a walk is worth it because of a word in quotes that end at `end`, if they do.
    fn closed(&mut self, word: &WordAt, end: usize) -> bool {
        let scan = self.scan;
        let rest = scan.bytes(end..scan.text.len().min(end + BEHIND));
        let slashes = rest.iter().take_while(|byte| **byte == b'\\').count();
        let Some(quote @ (b'"' | b'\'')) = rest.get(slashes).copied() else { return false };
        let blanks = rest.iter().skip(slashes + 1).take_while(|byte| **byte == b' ').count();
        let behind = slashes + 1 + blanks;
        let quoted = Quoted { quote, slashes, word, end };
        match rest.get(behind) {
            Some(b':' | b'=') => quoted.key(scan).is_none_or(|key| self.is_wanted(key, end + behind)),
            Some(b',') => quoted.text(scan).is_some_and(|told| self.is_told(told, end + behind + 1)),
            _ => false,
        }
    }

    /// Whether a walk is worth it because of a word without quotes before a colon.
    fn open(&mut self, word: &WordAt) -> bool {
        let scan = self.scan;
        let head = scan.bytes(word.at.saturating_sub(LONGEST)..word.at);
        let tail = scan.bytes(word.end..scan.text.len().min(word.end + LONGEST));
        let start = word.at - IN_KEY.trailing(head);
        // the letter of an escaped line end is none of a key
        let escaped = start > 0 && scan.byte(start - 1) == b'\\' && start < word.at;
        if !escaped && !follows(scan, start) {
            return false;
        }
        let key = start + usize::from(escaped)..word.end + IN_KEY.leading(tail);
        let rest = scan.bytes(key.end..scan.text.len().min(key.end + BEHIND));
        let sign = key.end + BLANKS.leading(rest);
        scan.byte(sign) == b':' && self.is_wanted(key, sign)
    }

    /// Whether any rule of a key could claim the value behind its `:` or `=` at `sign`.
    fn is_wanted(&mut self, key: Range<usize>, sign: usize) -> bool {
        let (scan, table) = (self.scan, self.table);
        let found = self.known.find(table, scan.bytes(key.clone())).0;
        let arrow = scan.bytes(sign..scan.text.len().min(sign + 2)) == b"=>";
        let from = sign + 1 + usize::from(arrow);
        let from = from + lead(scan.bytes(from..scan.text.len().min(from + BEHIND)));
        if scan.bytes(key.clone()) == b"value" && matches!(scan.byte(from), b'"' | b'\'' | b'\\') {
            return self.is_typed() || self.is_second(key.start);
        }
        let mut rules = table.rules(found).iter().filter(|rule| rule.allowed(found, Evidence::all())).peekable();
        if rules.peek().is_none() {
            return false;
        }
        if scan.byte(from) == b'{' {
            self.tree.put_start(key.start);
            return self.wraps(from);
        }
        let Some((range, kind)) = value(scan, from) else { return true };
        let wanted = rules.any(|rule| {
            rule.value == KeyValue::Street
                || values::private(scan.text, range.clone(), rule.value, kind, Evidence::all()).is_some()
        });
        if !wanted && kind == Kind::Text {
            // nor does `flat` want it
            self.tree.put_start(key.start);
        }
        wanted
    }

    /// Whether the object at `at` may hold no more than the value of its key.
    fn wraps(&mut self, at: usize) -> bool {
        let Some((pairs, end)) = self.tree.object(self.scan.text, at, self.table, self.known) else { return true };
        let Some(left) = self.left.checked_sub(end - at) else { return true };
        self.left = left;
        pairs.iter().any(|pair| pair.object == 0 && WRAPS.has(self.scan.bytes(pair.key.clone())))
    }

    /// Whether the text has keys of FHIR's that say by a code or an address what a value is.
    fn is_typed(&self) -> bool {
        let has = |word: &[u8]| memmem::find(self.scan.text.as_bytes(), word).is_some();
        *self.typed.get_or_init(|| has(b"type") || has(b"system"))
    }

    /// Whether the pair before the key at `start` says what its value is.
    fn is_second(&mut self, start: usize) -> bool {
        static BETWEEN: Bytes = Bytes::of(b", \t\r\n");
        let from = start.saturating_sub(LONGEST_TELLING);
        let without = |head: &'static Bytes, text: &mut &[u8]| {
            *text = text.get(..text.len() - head.trailing(text)).unwrap_or_default()
        };
        let mut head = self.scan.bytes(from..start);
        without(&QUOTES, &mut head);
        without(&BETWEEN, &mut head);
        if let Some(line) = head.strip_suffix(b"\\n") {
            head = line;
            without(&BETWEEN, &mut head);
        }
        without(&QUOTES, &mut head);
        let open = memchr::memrchr2(b'"', b'\'', head);
        open.is_some_and(|open| self.is_told(from + open + 1..from + head.len(), start))
    }

    /// Whether a text in quotes is the value of a key that says what another value is: `{"key":"email","value":"x"}`. `behind`: where
    /// the next pair begins.
    fn is_told(&mut self, told: Range<usize>, behind: usize) -> bool {
        static SIGNS: Bytes = Bytes::of(b":=> \t\r\n");
        static BETWEEN: Bytes = Bytes::of(b"\"'\\ \t\r\n");
        let scan = self.scan;
        let head = scan.bytes(told.start.saturating_sub(BEHIND)..told.start);
        let without = |head: &[u8], set: &Bytes| head.len() - set.trailing(head);
        let head = head.get(..without(head, &QUOTES)).unwrap_or_default();
        let before = head.get(..without(head, &SIGNS)).unwrap_or_default();
        // an item of a list
        if before.len() == head.len() || matches!(before.last(), Some(b',' | b'[' | b'(')) {
            return before.last().is_some_and(|byte| byte.is_ascii_alphanumeric());
        }
        let key = before.get(..without(before, &QUOTES)).unwrap_or_default();
        let key = key.get(key.len() - IN_KEY.trailing(key)..).unwrap_or_default();
        let next = scan.bytes(behind..scan.text.len().min(behind + BEHIND));
        let next = next.get(BETWEEN.leading(next)..).unwrap_or_default();
        let next = next.get(..IN_KEY.leading(next)).unwrap_or_default();
        let tells = TELLING.has(key) || NAMES.has(key) && VALUES.has(next);
        tells && self.known.find(self.table, scan.bytes(told)).0 != Match::NONE
    }
}

/// A word within quotes.
struct Quoted<'w> {
    quote: u8,
    slashes: usize,
    word: &'w WordAt,
    /// Where the closing quote, or the backslashes before it, stand.
    end: usize,
}

impl Quoted<'_> {
    /// What stands in the quotes; none where that is not seen.
    fn key(&self, scan: &Scan<'_>) -> Option<Range<usize>> {
        let head = scan.bytes(self.word.at.saturating_sub(LONGEST)..self.word.at);
        let start = self.word.at - IN_NAME.trailing(head);
        // an escape such as \n is no part of a key, its letter seems to be
        let quoted = start > 0 && scan.byte(start - 1) == self.quote;
        let slashes = scan.bytes(start.saturating_sub(self.slashes + 1)..start.saturating_sub(1));
        let escaped = slashes.len() == self.slashes && slashes.iter().all(|byte| *byte == b'\\');
        (quoted && escaped).then_some(start..self.end)
    }

    /// What stands in the quotes, whatever it is; none where that is long.
    fn text(&self, scan: &Scan<'_>) -> Option<Range<usize>> {
        let from = self.word.at.saturating_sub(LONGEST_TELLING);
        let head = scan.bytes(from..self.word.at);
        let opens = |at: &usize| {
            let before = head.get(..*at).unwrap_or_default();
            before.iter().rev().take_while(|byte| **byte == b'\\').count() == self.slashes
        };
        let open = memchr::memrchr_iter(self.quote, head).take(8).find(opens)?;
        Some(from + open + 1..self.end)
    }
}

/// Whether a key without quotes that begins at `start` may stand in an object: behind its begin, or the end of another pair.
fn follows(scan: &Scan<'_>, start: usize) -> bool {
    let head = scan.bytes(start.saturating_sub(BEHIND)..start).trim_ascii_end();
    let line = scan.bytes(start - start.min(BEHIND)..start).get(head.len()..).unwrap_or_default();
    match head {
        [.., b'\\', b'n' | b'r' | b't'] | [.., b'{' | b',' | b';' | b'}' | b']' | b'"' | b'\''] | [] => true,
        _ => line.contains(&b'\n'),
    }
}

/// The value from `at` on; none where it holds others, or where it ends is not seen.
fn value(scan: &Scan<'_>, at: usize) -> Option<(Range<usize>, Kind)> {
    let rest = scan.bytes(at..scan.text.len().min(at + 2 * values::LONGEST));
    let lead = lead(rest);
    let (at, rest) = (at + lead, rest.get(lead..)?);
    let slashes = rest.iter().take(16).take_while(|byte| **byte == b'\\').count();
    let quote = *rest.get(slashes)?;
    if quote != b'"' && quote != b'\'' {
        let end = rest.iter().take(BARE).position(|byte| MAY_END.has(*byte)).unwrap_or(rest.len().min(BARE));
        let ends = match rest.get(end) {
            Some(b'(' | b')') => false,
            Some(b'\\') => matches!(rest.get(end + 1), Some(b'n' | b'r' | b'"' | b'\\')),
            _ => true,
        };
        return (ends && !matches!(quote, b'[' | b'{')).then_some((at..at + end, Kind::Bare));
    }
    let text = rest.get(slashes + 1..)?;
    let len = memchr::memchr2(quote, b'\\', text)?;
    let closing = text.get(len..)?;
    let whole = closing.iter().take(slashes).all(|byte| *byte == b'\\') && closing.get(slashes) == Some(&quote);
    // a text may hold objects of its own
    let nests = matches!(text.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{' | b'['));
    let start = at + slashes + 1;
    (whole && !nests).then_some((start..start + len, Kind::Text))
}

/// Blanks and escaped line ends that a text begins with.
fn lead(text: &[u8]) -> usize {
    let mut lead = 0;
    loop {
        let rest = text.get(lead..).unwrap_or_default();
        lead += BLANKS.leading(rest);
        match rest.get(BLANKS.leading(rest)..) {
            Some([b'\\', b'n' | b'r' | b't', ..]) => lead += 2,
            _ => return lead,
        }
    }
}
