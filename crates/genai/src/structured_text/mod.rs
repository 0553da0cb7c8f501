//! [`rewrite`] walks structure in text (JSON, or Python's printed dicts, lists and objects) and lets a visitor remove
//! entries and change leaves. Content occurs in such text, and the rest must stay readable.
//!
//! Linear in the text and bounded in depth. Unchanged parts are copied byte for byte; truncated text is walked to its
//! end. `nested_content` decides what is content, `processors/redact` what is private.

mod scan;

use std::borrow::Cow;

use kernel::notation::{push_escaped, unescape};

use super::announcements::is_plain_word;
use super::chat_evidence;
pub use super::chat_evidence::ChatEvidence;

/// Maximum nesting depth.
const MAX_DEPTH: usize = 64;
/// Maximum nesting of structured texts inside structured texts.
const MAX_TEXT_LEVELS: usize = 3;
/// Maximum number of entries of a map examined for evidence.
const MAX_MAP_ENTRIES: usize = 1024;

/// The value at a place in the structure.
pub enum StructureLeaf<'t> {
    /// A string, with its escapes decoded.
    Text(Cow<'t, str>),
    /// A number, `true`, `None`.
    Word(&'t str),
    /// A map or list.
    Nested,
}

/// Decides what happens to each entry and leaf of a text.
pub trait StructureVisitor {
    /// Returns true if [`StructureVisitor::removes_entry`] is to be called for entries with this key.
    fn is_listed(&mut self, _key: &str) -> bool {
        false
    }
    /// Returns true if the entry is to be removed, with everything in it. `raw` is the value as written in the text,
    /// `evidence` comes from the entry's map.
    fn removes_entry(&mut self, _key: &str, _leaf: &StructureLeaf<'_>, _raw: &str, _evidence: ChatEvidence) -> bool {
        false
    }
    /// Returns true if `["word", "text"]` inside a list is a speaker with the text that was said.
    fn is_speaker(&mut self, _word: &str) -> bool {
        false
    }
    /// The evidence from a map's entries: keys with their texts, the name in front of the bracket first.
    fn map_evidence(&mut self, _entries: &[(Cow<'_, str>, Cow<'_, str>)]) -> ChatEvidence {
        ChatEvidence::default()
    }
    /// Called when part of a text could not be parsed. `rest` is the text that stays.
    /// `bounds_uncertain`: an entry may have ended elsewhere than assumed. Only [`rewrite_embedded`] calls this.
    fn on_unparsable(&mut self, _rest: &str, _bounds_uncertain: bool) {}
    /// The replacement for a key, if it changes.
    fn replace_key(&mut self, _key: &str) -> Option<String> {
        None
    }
    /// The replacement for a string under `key` (the innermost entry's key), if it changes.
    fn replace_text(&mut self, _key: &str, _text: &str) -> Option<String> {
        None
    }
    /// The replacement for an unquoted word such as a number under `key`, as a string.
    fn replace_word(&mut self, _key: &str, _word: &str) -> Option<String> {
        None
    }
}

/// Changes nothing.
impl StructureVisitor for () {}

/// The result of walking a text.
pub enum WalkOutcome {
    /// Nothing was changed.
    Unchanged,
    /// The new text.
    Changed(String),
    /// The text is not structure. Whatever the visitor collected so far must not be used.
    NotStructure,
    /// The structure nests too deep.
    TooDeep,
}

/// Returns true if a text may be structure. This check is the only cost of other texts.
pub fn may_be_structure(text: &str) -> bool {
    let first = text.bytes().find(|byte| !byte.is_ascii_whitespace());
    text.len() > 4 && matches!(first, Some(b'{' | b'['))
}

/// Returns true if a text may hold entries somewhere, even after other text. This check is the only cost if not.
pub fn may_contain_structure(text: &str) -> bool {
    let Some(inside) = find_structure(text, 0).and_then(|at| text.get(at..)) else { return false };
    may_be_structure(inside)
        || memchr::memchr2(b':', b'=', inside.as_bytes()).is_some()
        || inside.contains("('")
        || inside.contains("(\"")
}

/// The position of the next structure: `{`, `[`, the bracket of `Name(`, or the quote before one of them.
pub(super) fn find_structure(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let opens = |at: &usize| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        bytes.get(*at) != Some(&b'(') || before.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    };
    let at = from + memchr::memchr3_iter(b'{', b'[', b'(', bytes.get(from..)?).find(|at| opens(&(from + at)))?;
    let quotes = bytes.get(from..at)?.iter().rev().take_while(|byte| matches!(byte, b'"' | b'\'' | b'\\')).count();
    Some(at - quotes)
}

/// Walks `text`, which must consist of structured values.
pub fn rewrite(text: &str, visit: &mut impl StructureVisitor) -> WalkOutcome {
    rewrite_at(text, visit, 0, false)
}

/// Evidence is read from each map with a listed key, also below another: at most so many times the size of the text.
const EVIDENCE_PASSES: usize = 16;

/// Walks the structures in `text`. Text around them and unparsable parts are copied.
pub fn rewrite_embedded(text: &str, visit: &mut impl StructureVisitor) -> WalkOutcome {
    rewrite_at(text, visit, 0, true)
}

fn rewrite_at(text: &str, visit: &mut impl StructureVisitor, level: usize, skip_prose: bool) -> WalkOutcome {
    let evidence_bytes = text.len().saturating_mul(EVIDENCE_PASSES);
    let mut walk = StructureWalk { text, level, skip_prose, evidence_bytes, ..StructureWalk::default() };
    let mut bounds_uncertain = false;
    loop {
        if skip_prose {
            walk.copy_prose();
        }
        walk.copy_space();
        match walk.peek() {
            None => break,
            Some(b'{' | b'[') if walk.walk_value("", visit).is_some() => {}
            Some(b'(' | b'"' | b'\'') if skip_prose && walk.walk_value("", visit).is_some() => {}
            _ if walk.too_deep => return WalkOutcome::TooDeep,
            Some(_) if skip_prose => {
                (walk.depth, bounds_uncertain) = (0, true);
                walk.copy_char();
            }
            _ => return WalkOutcome::NotStructure,
        }
    }
    if skip_prose && (bounds_uncertain || walk.malformed) {
        visit.on_unparsable(&walk.out, bounds_uncertain);
    }
    if walk.changed { WalkOutcome::Changed(walk.out) } else { WalkOutcome::Unchanged }
}

/// Removes a string's quotes (a truncated string has only the opening one), or the `=` after a name without quotes.
fn strip_quotes(raw: &str) -> &str {
    let Some(quote) = raw.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        return raw.trim().trim_end_matches('=').trim_end();
    };
    let inner = raw.get(1..).unwrap_or_default();
    inner.strip_suffix(quote).unwrap_or(inner)
}

#[derive(Default)]
struct StructureWalk<'t> {
    text: &'t str,
    at: usize,
    out: String,
    depth: usize,
    level: usize,
    /// Skip the text around structures.
    skip_prose: bool,
    changed: bool,
    /// A string did not end, or a backslash appears outside of a string.
    malformed: bool,
    too_deep: bool,
    /// Bytes that may still be read for evidence, so that broken structure takes linear time.
    evidence_bytes: usize,
}

/// The brackets being walked: the closing one, the position of the members, and their evidence once computed.
struct MapMembers {
    close: u8,
    from: usize,
    evidence: Option<ChatEvidence>,
}

impl<'t> StructureWalk<'t> {
    fn walk_value(&mut self, key: &str, visit: &mut impl StructureVisitor) -> Option<()> {
        if let Some(raw) = self.read_angle_word() {
            self.leaf_text(key, raw, raw.into(), visit);
            return Some(());
        }
        match self.peek() {
            Some(b'{') => self.walk_members(b'}', key, visit),
            Some(b'[') => self.walk_pair(b']', visit).or_else(|| self.walk_members(b']', key, visit)),
            Some(b'(') => self.walk_pair(b')', visit).or_else(|| self.walk_members(b')', key, visit)),
            Some(b'"' | b'\'') => {
                let (raw, text) = self.read_strings();
                self.leaf_text(key, raw, text, visit);
                Some(())
            }
            mark => {
                self.malformed |= mark == Some(b'\\');
                self.word_or_call(key, visit)
            }
        }
    }

    /// Removes the value of `('key', value)`, or the text of `["speaker", "text"]` and `("speaker", "text")` inside a
    /// list, if the visitor wants that. `None` if the value stays.
    fn walk_pair(&mut self, close: u8, visit: &mut impl StructureVisitor) -> Option<()> {
        let from = self.at;
        let Some(to) = self.removed_pair_end(close, visit) else {
            self.at = from;
            return None;
        };
        self.changed = true;
        self.out.push_str(self.slice(from, to));
        self.out.push(char::from(close));
        Some(())
    }

    /// The position after the key (and its comma, in a tuple), if the value is to be removed.
    fn removed_pair_end(&mut self, close: u8, visit: &mut impl StructureVisitor) -> Option<usize> {
        let in_list = self.slice(0, self.at).trim_end().ends_with(['[', ',']);
        if close == b']' && !in_list {
            return None;
        }
        self.at += 1;
        self.skip_space();
        self.peek().filter(|byte| matches!(byte, b'"' | b'\''))?;
        let key = unescape(strip_quotes(self.read_string()));
        let after_key = self.at;
        self.skip_space();
        let is_listed = close == b')' && visit.is_listed(&key);
        let is_spoken = in_list && visit.is_speaker(&key);
        self.peek().filter(|byte| *byte == b',' && (is_listed || is_spoken))?;
        self.at += 1;
        let after_comma = self.at;
        self.skip_space();
        let (start, leaf) = (self.at, self.skip_value());
        let raw = self.slice(start, self.at);
        self.charge(raw.len());
        self.skip_space();
        self.at += usize::from(self.peek() == Some(b','));
        self.skip_space();
        let is_pair = self.peek().is_none_or(|byte| byte == close);
        let is_said = is_spoken && matches!(&leaf, StructureLeaf::Text(text) if !is_plain_word(text));
        let evidence = ChatEvidence { chat_shape: true, ..ChatEvidence::default() };
        let is_removed = is_pair
            && ((is_listed && visit.removes_entry(&key, &leaf, raw, ChatEvidence::default()))
                || (is_said && visit.removes_entry(chat_evidence::SAID, &leaf, raw, evidence)));
        self.at += usize::from(self.peek().is_some());
        is_removed.then_some(if close == b')' { after_comma } else { after_key })
    }

    /// Walks the members between brackets: entries of a map, elements of a list, arguments of a call.
    fn walk_members(&mut self, close: u8, parent: &str, visit: &mut impl StructureVisitor) -> Option<()> {
        self.depth += 1;
        self.too_deep |= self.depth > MAX_DEPTH;
        if self.too_deep {
            return None;
        }
        self.copy_char();
        let mut map = MapMembers { close, from: self.at, evidence: None };
        let mut any_kept = false;
        loop {
            let length_before = self.out.len();
            self.copy_space();
            match self.peek() {
                None => break,
                Some(byte) if byte == close => {
                    self.copy_char();
                    break;
                }
                Some(_) if any_kept => self.out.insert(length_before, ','),
                Some(_) => {}
            }
            match self.walk_member(&mut map, parent, visit)? {
                true => any_kept = true,
                false => self.out.truncate(length_before),
            }
            let length_before = self.out.len();
            self.copy_space();
            match self.peek() {
                Some(b',') => {
                    self.out.truncate(length_before);
                    self.at += 1;
                }
                next if next.is_none_or(|byte| byte == close) => {}
                _ => return None,
            }
        }
        self.depth -= 1;
        Some(())
    }

    /// Walks one member. Returns `Some(false)` if it was removed.
    fn walk_member(&mut self, map: &mut MapMembers, parent: &str, visit: &mut impl StructureVisitor) -> Option<bool> {
        let from = self.at;
        let name = match self.peek() {
            Some(b'{' | b'[' | b'(') => None,
            _ => Some(self.read_angle_word().unwrap_or_else(|| self.read_name())),
        };
        self.skip_space();
        // Java prints objects as `UserMessage{content='…'}`. Text that must be structure has no `=` in braces.
        let has_keywords = map.close != b'}' || self.skip_prose;
        let keyword = name.and_then(|name| name.trim_end().strip_suffix('=')).filter(|_| has_keywords);
        let key = match self.peek() {
            Some(b':') if map.close == b'}' => {
                self.at += 1;
                name
            }
            _ => keyword,
        };
        let Some(key) = key else {
            self.at = from;
            return self.walk_value(parent, visit).map(|()| true);
        };
        let (name, key) = (key, unescape(strip_quotes(key)));
        let head = self.slice(from, self.at);
        match visit.replace_key(&key) {
            Some(new) => {
                self.changed = true;
                push_escaped(&new, if name.starts_with('\'') { '\'' } else { '"' }, &mut self.out);
                self.out.push_str(head.strip_prefix(name).unwrap_or(":"));
            }
            None => self.out.push_str(head),
        }
        self.copy_space();
        if visit.is_listed(&key) {
            let start = self.at;
            let leaf = if keyword.is_some() { self.skip_printed_value(map.close) } else { self.skip_value() };
            let raw = self.slice(start, self.at);
            let evidence = self.map_evidence(map, visit);
            if self.too_deep {
                return None;
            }
            if visit.removes_entry(&key, &leaf, raw, evidence) {
                self.changed = true;
                return Some(false);
            }
            self.at = start;
        }
        self.walk_value(&key, visit).map(|()| true)
    }

    /// Counts bytes that were read ahead and will be read again. When none are left, the text counts as too deep.
    fn charge(&mut self, bytes: usize) {
        self.evidence_bytes = self.evidence_bytes.saturating_sub(bytes);
        self.too_deep |= self.evidence_bytes == 0;
    }

    /// Skips the value of `name=value`. Text without quotes, as Java prints it, ends before the next `, name=` or
    /// before `close`.
    fn skip_printed_value(&mut self, close: u8) -> StructureLeaf<'t> {
        let (start, leaf) = (self.at, self.skip_value());
        let head = self.slice(start, self.at).split(['(', '[', '{', '"', '\'']).next().unwrap_or_default().trim();
        if head.is_empty() || (matches!(leaf, StructureLeaf::Nested) && !head.contains(char::is_whitespace)) {
            return leaf;
        }
        let text = self.text.get(start..).unwrap_or_default();
        let printed = text.get(..Self::printed_text_end(text, close)).unwrap_or(text);
        self.at = start + printed.len();
        self.charge(printed.len());
        Self::leaf_from_words(printed)
    }

    /// The evidence from the entries of this map, computed once.
    fn map_evidence(&mut self, map: &mut MapMembers, visit: &mut impl StructureVisitor) -> ChatEvidence {
        if let Some(evidence) = map.evidence {
            return evidence;
        }
        // `HumanMessage(`, `UserMessage {`
        let before = self.slice(0, map.from.saturating_sub(1)).trim_end();
        let name = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let mut entries = vec![(Cow::Borrowed(chat_evidence::OBJECT_NAME), Cow::Borrowed(name))];
        let position = std::mem::replace(&mut self.at, map.from);
        while let Some(byte) = self.peek().filter(|byte| *byte != map.close && entries.len() < MAX_MAP_ENTRIES) {
            if byte.is_ascii_whitespace() || byte == b',' {
                self.at += 1;
                continue;
            }
            let start = self.at;
            if self.evidence_bytes == 0 {
                self.too_deep = true;
                break;
            }
            let name = self.read_name();
            self.skip_space();
            let colon = self.peek() == Some(b':');
            self.at += usize::from(colon);
            self.skip_space();
            let leaf = self.skip_value();
            if colon || name.trim_end().ends_with('=') {
                let key = unescape(strip_quotes(name));
                let text = match leaf {
                    StructureLeaf::Text(text) => text,
                    StructureLeaf::Nested => chat_evidence::STRUCTURE_STAND_IN.into(),
                    StructureLeaf::Word("null" | "None" | "true" | "false" | "True" | "False") => "".into(),
                    // a number is no text
                    StructureLeaf::Word(word) if !word.starts_with(char::is_alphabetic) => "".into(),
                    StructureLeaf::Word(word) => word.into(),
                };
                entries.push((key, text));
            }
            // An unexpected character was found: move on by at least one byte.
            self.at = self.at.max(start + 1);
            self.evidence_bytes = self.evidence_bytes.saturating_sub(self.at - start);
        }
        self.at = position;
        *map.evidence.insert(visit.map_evidence(&entries))
    }

    /// Walks a word without quotes (`12:30` and `<a: b>` count as one word), or a call with its arguments.
    fn word_or_call(&mut self, key: &str, visit: &mut impl StructureVisitor) -> Option<()> {
        let from = self.at;
        let mut parts = 0;
        loop {
            self.read_word();
            parts += 1;
            if self.peek() != Some(b':') {
                break;
            }
            self.at += 1;
        }
        let word = self.slice(from, self.at);
        // At the top level a text with colons is prose.
        let is_value = parts == 1 || self.depth > 0;
        match self.peek() {
            // `Message(role='user')`
            Some(b'(') => {
                self.put_word(key, word, visit);
                return self.walk_value(key, visit).filter(|()| is_value);
            }
            // `b'…'`
            Some(b'"' | b'\'') if word.len() <= 2 => {
                self.out.push_str(word);
                let raw = self.read_string();
                self.leaf_text(key, raw, unescape(strip_quotes(raw)), visit);
                return Some(()).filter(|()| is_value);
            }
            _ if word.trim().is_empty() || !is_value => return None,
            _ => {}
        }
        self.put_word(key, word, visit);
        Some(())
    }

    fn put_word(&mut self, key: &str, word: &str, visit: &mut impl StructureVisitor) {
        let inner = word.trim();
        match if inner.is_empty() { None } else { visit.replace_word(key, inner) } {
            Some(new) => {
                self.changed = true;
                push_escaped(&new, '"', &mut self.out);
            }
            None => self.out.push_str(word),
        }
    }

    fn leaf_text(&mut self, key: &str, raw: &str, text: Cow<'_, str>, visit: &mut impl StructureVisitor) {
        let may_hold_structure = if self.skip_prose { may_contain_structure(&text) } else { may_be_structure(&text) };
        let inner = match may_hold_structure && self.level < MAX_TEXT_LEVELS {
            true => rewrite_at(&text, visit, self.level + 1, self.skip_prose),
            false => WalkOutcome::NotStructure,
        };
        let new = match inner {
            // The text around the structure may hold announced content too.
            WalkOutcome::Changed(new) if self.skip_prose => visit.replace_text(key, &new).or(Some(new)),
            WalkOutcome::Unchanged if self.skip_prose => visit.replace_text(key, &text),
            WalkOutcome::Changed(new) => Some(new),
            WalkOutcome::Unchanged => None,
            WalkOutcome::NotStructure | WalkOutcome::TooDeep => {
                if self.skip_prose && may_hold_structure {
                    visit.on_unparsable(&text, self.level < MAX_TEXT_LEVELS);
                }
                visit.replace_text(key, &text)
            }
        };
        match new {
            Some(new) => {
                self.changed = true;
                push_escaped(&new, if raw.starts_with('\'') { '\'' } else { '"' }, &mut self.out);
            }
            None => self.out.push_str(raw),
        }
    }
}
