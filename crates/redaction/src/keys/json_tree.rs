//! Reads everything in a text that looks like JSON: objects, Python dicts, JS literals, escaped and truncated text. The
//! meaning of a key depends on the keys beside and above it, so the walk builds a tree. It does not recurse; depth is
//! at most [`MAX_DEPTH`]; each byte is read a bounded number of times; text without structure is left after a few
//! bytes. `table` gives the meaning of keys.

use std::ops::Range;

use memchr::{memchr, memchr2};

use crate::sets::ByteSet;

use super::table::{KeyCache, KeyMatch, KeyTable, LONGEST, SiblingEvidence};

/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 64;
/// How often a string's text may be walked as a structure inside another one.
const MAX_TEXT_NESTING: usize = 4;
/// Index that means "no pair".
const NONE: u32 = u32::MAX;

/// The form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueForm {
    /// In quotes.
    Text,
    /// Without quotes.
    Bare,
    /// An object or list.
    Container,
}

/// A key with its value, or an item of a list, whose key is empty.
#[derive(Clone)]
pub(crate) struct JsonPair {
    /// The key without its quotes.
    pub(crate) key: Range<usize>,
    /// The value without its quotes.
    pub(crate) value: Range<usize>,
    /// The form of the value.
    pub(crate) kind: ValueForm,
    /// Index of the object or list that contains it.
    pub(crate) object: u32,
    /// The match of the key.
    pub(crate) key_match: KeyMatch,
    /// The key's evidence about keys beside and below it.
    evidence: SiblingEvidence,
}

/// An object or list.
#[derive(Clone, Copy)]
struct JsonContainer {
    /// Index of the pair whose value it is.
    parent: u32,
    /// Combined evidence of its keys.
    evidence: SiblingEvidence,
}

/// All pairs of a text, in order.
#[derive(Default)]
pub(crate) struct JsonTree {
    pub(crate) pairs: Vec<JsonPair>,
    containers: Vec<JsonContainer>,
    /// Containers that are open where the walk is.
    stack: Vec<OpenContainer>,
    /// Texts in strings that are still to be walked.
    nested: Vec<WalkTask>,
    /// Positions of the keys that match the table, in order.
    pub(crate) key_starts: Vec<usize>,
}

/// Bytes of an unquoted key.
static IN_KEY: ByteSet = ByteSet::new(b"_-$.").and_alnum().and_non_ascii();
/// Bytes that may end an unquoted value, and brackets.
static MAY_END: ByteSet = ByteSet::new(b"(),}]{\"\n\\");
/// Blanks.
static BLANKS: ByteSet = ByteSet::new(b" \t\r\n");
/// Blanks, including escaped line breaks.
static LINE_ENDS: ByteSet = ByteSet::new(b" \t\r\n\\n");

/// An open object or list.
#[derive(Clone, Copy)]
struct OpenContainer {
    /// Its index.
    container: u32,
    is_list: bool,
}

/// A range to walk, and the pair whose value it is.
#[derive(Clone)]
struct WalkTask {
    range: Range<usize>,
    parent: u32,
    depth: usize,
}

impl JsonTree {
    /// Removes all pairs.
    pub(crate) fn clear(&mut self) {
        self.pairs.clear();
        self.key_starts.clear();
    }

    /// Replaces the pairs with those of `text`.
    pub(crate) fn walk(&mut self, text: &str, table: &KeyTable, cache: &mut KeyCache) {
        self.pairs.clear();
        self.containers.clear();
        self.nested.clear();
        self.nested.push(WalkTask { range: 0..text.len(), parent: NONE, depth: 0 });
        while let Some(task) = self.nested.pop() {
            self.stack.clear();
            let bytes = text.as_bytes().get(..task.range.end).unwrap_or_default();
            JsonWalk { text: bytes, at: task.range.start, backslashes: 0, table, cache, tree: self, task }.run();
        }
        self.key_starts.clear();
        self.key_starts
            .extend(self.pairs.iter().filter(|pair| pair.key_match != KeyMatch::NONE).map(|pair| pair.key.start));
        // Nested text is walked after the text around it
        if !self.key_starts.is_sorted() {
            self.key_starts.sort_unstable();
        }
    }

    fn pair(&self, at: u32) -> Option<&JsonPair> {
        self.pairs.get(at as usize)
    }

    fn container(&self, pair: &JsonPair) -> Option<&JsonContainer> {
        self.containers.get(pair.object as usize)
    }

    /// The pair whose value (object or list) contains `pair`.
    pub(crate) fn parent(&self, pair: &JsonPair) -> Option<&JsonPair> {
        self.pair(self.container(pair)?.parent)
    }

    /// The keyed pair whose list contains the item `at`.
    pub(crate) fn list_key(&self, at: usize) -> Option<&JsonPair> {
        self.keyed_ancestor(self.pairs.get(at)?)
    }

    /// The nearest keyed pair whose value contains `pair`.
    fn keyed_ancestor<'t>(&'t self, pair: &'t JsonPair) -> Option<&'t JsonPair> {
        let mut pair = pair;
        for _ in 0..4 {
            pair = self.pair(self.container(pair)?.parent)?;
            if !pair.key.is_empty() {
                return Some(pair);
            }
        }
        None
    }

    /// The evidence of keys beside and above a pair.
    pub(crate) fn evidence(&self, pair: &JsonPair) -> SiblingEvidence {
        let mut evidence = self.container(pair).map(|container| container.evidence).unwrap_or_default();
        if let Some(above) = self.keyed_ancestor(pair) {
            evidence = evidence.combine(above.evidence);
            if let Some(second) = self.keyed_ancestor(above) {
                evidence.supports |= second.evidence.supports;
            }
        }
        evidence
    }
}

/// State of a walk.
struct JsonWalk<'a> {
    text: &'a [u8],
    at: usize,
    /// Backslashes before each quote of this structure.
    backslashes: usize,
    table: &'a KeyTable,
    cache: &'a mut KeyCache,
    tree: &'a mut JsonTree,
    task: WalkTask,
}

/// A quoted token.
struct QuotedToken {
    /// The range without the quotes.
    range: Range<usize>,
    /// The position after the closing quote.
    next: usize,
}

/// Position of the first of two bytes within the first 24 bytes of `rest`, in which most keys end; `None` if neither is
/// there.
#[inline(always)]
fn find_either_nearby(rest: &[u8], one: u8, other: u8) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let (ones, others) = (EACH * u64::from(one), EACH * u64::from(other));
    for (index, eight) in rest.as_chunks::<8>().0.iter().take(3).enumerate() {
        let bytes = u64::from_le_bytes(*eight);
        // Sets the top bit of each zero byte; a borrow can only affect bytes after the first of them
        let zero_bytes = |bytes: u64| bytes.wrapping_sub(EACH) & !bytes & (EACH << 7);
        let found = zero_bytes(bytes ^ ones) | zero_bytes(bytes ^ others);
        if found != 0 {
            return Some(8 * index + (found.trailing_zeros() / 8) as usize);
        }
    }
    None
}

impl JsonWalk<'_> {
    fn run(&mut self) {
        while let Some(open) = self.text.get(self.at..).and_then(|rest| memchr2(b'{', b'[', rest)) {
            self.at += open;
            self.tree.stack.clear();
            self.backslashes = 0;
            let is_list = self.byte() == Some(b'[');
            // A list of words or numbers outside all objects has no keys
            let has_keys = if is_list { self.opens_list_of_objects() } else { !self.is_block() };
            if !has_keys {
                self.at += 1;
                continue;
            }
            self.open_container(self.task.parent, is_list);
            while !self.tree.stack.is_empty() && self.read_next().is_some() {}
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Whether `{` begins a block of code: it is followed neither by a quote nor by a word with `:` or `=`.
    fn is_block(&self) -> bool {
        let rest = self.text.get(self.at + 1..).unwrap_or_default();
        let rest = rest.get(BLANKS.count_leading(rest)..).unwrap_or_default();
        let key = IN_KEY.count_leading(rest.get(..rest.len().min(LONGEST)).unwrap_or_default());
        match rest.get(key) {
            Some(b'"' | b'\'' | b'\\' | b',' | b';' | b'{' | b'[' | b'}' | b']') if key == 0 => false,
            _ if key == 0 => true,
            Some(b':' | b'=' | b'\\') => false,
            Some(byte) if BLANKS.contains(*byte) => {
                let rest = rest.get(key..).unwrap_or_default();
                !matches!(rest.get(BLANKS.count_leading(rest)), Some(b':' | b'=' | b'\\'))
            }
            _ => true,
        }
    }

    /// Whether `[` is followed by `{`, within a few bytes; in a string, a quote counts too.
    fn opens_list_of_objects(&self) -> bool {
        let rest = self.text.get(self.at + 1..).unwrap_or_default();
        let next = rest.iter().take(64).find(|byte| !LINE_ENDS.contains(**byte));
        matches!(next, Some(b'{')) || (self.task.parent != NONE && matches!(next, Some(b'"' | b'\'')))
    }

    fn open_container(&mut self, parent: u32, is_list: bool) {
        let container = u32::try_from(self.tree.containers.len()).unwrap_or(NONE);
        self.tree.containers.push(JsonContainer { parent, evidence: SiblingEvidence::default() });
        self.tree.stack.push(OpenContainer { container, is_list });
        self.at += 1;
    }

    /// Reads one pair, item or end; `None` if there is no more structure.
    fn read_next(&mut self) -> Option<()> {
        self.skip_blanks(true);
        let open = *self.tree.stack.last()?;
        match self.byte()? {
            b'}' | b']' => {
                self.tree.stack.pop();
                self.at += 1;
                Some(())
            }
            _ if open.is_list => self.read_value(0..0, open),
            _ => {
                let key = self.read_key()?;
                self.skip_blanks(false);
                match self.byte()? {
                    b':' => self.at += 1,
                    b'=' => self.at += 1 + usize::from(self.text.get(self.at + 1) == Some(&b'>')),
                    _ => return None,
                }
                self.skip_blanks(false);
                self.read_value(key, open)
            }
        }
    }

    /// Skips blanks, escaped line breaks and, with `commas`, commas.
    fn skip_blanks(&mut self, commas: bool) {
        while let Some(byte) = self.byte() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b',' | b';' if commas => self.at += 1,
                b'\\' => {
                    let rest = self.text.get(self.at..).unwrap_or_default();
                    let backslashes = rest.iter().take_while(|byte| **byte == b'\\').count();
                    match rest.get(backslashes) {
                        Some(b'n' | b'r' | b't') => self.at += backslashes + 1,
                        _ => return,
                    }
                }
                _ => return,
            }
        }
    }

    fn read_key(&mut self) -> Option<Range<usize>> {
        if let Some(quoted) = self.read_quoted(256) {
            self.at = quoted.next;
            return Some(quoted.range);
        }
        let rest = self.text.get(self.at..)?;
        let len = IN_KEY.count_leading(rest.get(..rest.len().min(LONGEST))?);
        let key = self.at..self.at + len;
        self.at += len;
        (len > 0).then_some(key)
    }

    /// Reads the quoted token that starts here, of at most `max_len` bytes. If the text ends in it and `max_len` is
    /// `usize::MAX`, the token ends there.
    fn read_quoted(&mut self, max_len: usize) -> Option<QuotedToken> {
        let rest = self.text.get(self.at..)?;
        let backslashes = match rest.first()? {
            b'\\' => rest.iter().take(16).take_while(|byte| **byte == b'\\').count(),
            b'"' | b'\'' => 0,
            _ => return None,
        };
        let quote = *rest.get(backslashes)?;
        if quote != b'"' && quote != b'\'' {
            return None;
        }
        self.backslashes = backslashes;
        let from = self.at + backslashes + 1;
        let text = self.text.get(..self.text.len().min(from.saturating_add(max_len)))?;
        let mut at = from;
        loop {
            let rest = text.get(at..)?;
            let next = match backslashes {
                0 => find_either_nearby(rest, quote, b'\\').or_else(|| memchr2(quote, b'\\', rest)),
                _ => find_either_nearby(rest, quote, quote).or_else(|| memchr(quote, rest)),
            };
            let Some(next) = next else {
                let end = self.text.len();
                return (max_len == usize::MAX).then_some(QuotedToken { range: from.min(end)..end, next: end });
            };
            at += next;
            if backslashes == 0 {
                if self.text.get(at) == Some(&b'\\') {
                    at += 2;
                    continue;
                }
                return Some(QuotedToken { range: from..at, next: at + 1 });
            }
            let backslashes_before =
                self.text.get(from..at)?.iter().rev().take(16).take_while(|byte| **byte == b'\\').count();
            if backslashes_before <= backslashes {
                return Some(QuotedToken { range: from..at - backslashes_before, next: at + 1 });
            }
            at += 1;
        }
    }

    /// The match of the next pair's key, and its evidence about others.
    fn match_key(&mut self, range: &Range<usize>) -> Option<(KeyMatch, SiblingEvidence)> {
        let key = self.text.get(range.clone())?;
        if key.is_empty() {
            return Some((KeyMatch::NONE, SiblingEvidence::default()));
        }
        Some(self.cache.find(self.table, key))
    }

    fn read_value(&mut self, key: Range<usize>, open: OpenContainer) -> Option<()> {
        let (key_match, evidence) = self.match_key(&key)?;
        if let Some(parent) = self.tree.containers.get_mut(open.container as usize) {
            parent.evidence = parent.evidence.combine(evidence);
        }
        let mut pair = JsonPair {
            key,
            value: self.at..self.at,
            kind: ValueForm::Container,
            object: open.container,
            key_match,
            evidence,
        };
        let index = u32::try_from(self.tree.pairs.len()).unwrap_or(NONE);
        let byte = self.byte()?;
        match byte {
            b'{' | b'[' => {
                self.tree.pairs.push(pair);
                if self.tree.stack.len() >= MAX_DEPTH {
                    return None;
                }
                self.open_container(index, byte == b'[');
                return Some(());
            }
            b'"' | b'\'' | b'\\' => {
                let quoted = self.read_quoted(usize::MAX)?;
                pair.value = quoted.range.clone();
                pair.kind = ValueForm::Text;
                self.at = quoted.next;
                let is_nested = self.queue_nested(index, quoted.range);
                if open.is_list && !is_nested && !self.is_list_of_known_key(open) {
                    return Some(());
                }
            }
            _ => {
                pair.value = self.read_unquoted();
                pair.kind = ValueForm::Bare;
                if pair.value.is_empty() {
                    return None;
                }
                if open.is_list && !self.is_list_of_known_key(open) {
                    return Some(());
                }
            }
        }
        self.tree.pairs.push(pair);
        Some(())
    }

    /// Queues a string for a later walk if it holds a structure.
    fn queue_nested(&mut self, parent: u32, range: Range<usize>) -> bool {
        let text = self.text.get(range.clone()).unwrap_or_default();
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        let is_nested = range.len() > 8 && self.task.depth < MAX_TEXT_NESTING && matches!(first, Some(b'{' | b'['));
        if is_nested {
            self.tree.nested.push(WalkTask { range, parent, depth: self.task.depth + 1 });
        }
        is_nested
    }

    /// Whether the items of a list are values of a key in the table.
    fn is_list_of_known_key(&self, list: OpenContainer) -> bool {
        let container = self.tree.containers.get(list.container as usize);
        let pair = container.and_then(|container| self.tree.pair(container.parent));
        pair.is_some_and(|pair| pair.key.is_empty() || pair.key_match != KeyMatch::NONE)
    }

    /// Reads an unquoted value, balancing brackets within a few hundred bytes.
    fn read_unquoted(&mut self) -> Range<usize> {
        let from = self.at;
        let mut open_brackets = 0_usize;
        let rest = self.text.get(from..).unwrap_or_default();
        let rest = rest.get(..rest.len().min(512)).unwrap_or_default();
        let mut ends_value = |offset: usize, byte: u8| match byte {
            b'(' => {
                open_brackets += 1;
                false
            }
            b')' => {
                open_brackets = open_brackets.saturating_sub(1);
                false
            }
            b',' | b'}' | b']' => open_brackets == 0,
            // An escaped line break or quote ends the value
            b'\\' => matches!(self.text.get(from + offset + 1), Some(b'n' | b'r' | b'"' | b'\\')),
            _ => true,
        };
        let end =
            rest.iter().enumerate().position(|(offset, byte)| MAY_END.contains(*byte) && ends_value(offset, *byte));
        let end = end.unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default();
        self.at = from + end;
        from..from + text.trim_ascii_end().len()
    }
}
