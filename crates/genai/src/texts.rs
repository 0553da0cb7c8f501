//! [`rewrite`] walks structure in text (JSON, or Python's printed dicts, lists and objects) and lets a visitor remove
//! entries and change leaves. Content occurs in such text, and the rest must stay readable.
//!
//! Linear in the text and bounded in depth. Unchanged parts are copied byte for byte; truncated text is walked to its
//! end. `nested` decides what is content, `processors/redact` what is private.

mod scan;

use std::borrow::Cow;

use super::messages;
pub use super::messages::{Doubt, Marks};
pub use super::quoted::unescape;
use super::quoted::{escape, unquoted};

/// Maximum nesting depth.
const DEPTH: usize = 64;
/// Maximum nesting of structured texts inside structured texts.
const LEVELS: usize = 3;
/// Maximum number of entries of a map examined for marks.
const NEIGHBOURS: usize = 1024;

/// The value at a place in the structure.
pub enum Leaf<'t> {
    /// A string, with its escapes decoded.
    Text(Cow<'t, str>),
    /// A number, `true`, `None`.
    Word(&'t str),
    /// A map or list.
    Nested,
}

/// Decides what happens to each entry and leaf of a text.
pub trait Visit {
    /// Returns true if [`Visit::takes`] is to be called for entries with this key.
    fn listed(&mut self, _key: &str) -> bool {
        false
    }
    /// Returns true if the entry is to be removed, with everything in it. `raw` is the value as written in the text.
    fn takes(&mut self, _key: &str, _leaf: &Leaf<'_>, _raw: &str) -> bool {
        false
    }
    /// The evidence that is required before the entry is removed.
    fn doubt(&mut self, _key: &str, _leaf: &Leaf<'_>, _raw: &str) -> Doubt {
        Doubt::Nothing
    }
    /// The evidence from a map's entries: keys, with the texts of those that matter (`type`, `role`, a stop reason).
    fn marks(&mut self, _entries: &[(Cow<'_, str>, Cow<'_, str>)]) -> Marks {
        Marks::default()
    }
    /// Called when part of a text could not be parsed. `rest` is the text that stays. `hard`: an entry may have ended
    /// elsewhere than assumed. Only [`search`] calls this.
    fn broken(&mut self, _rest: &str, _hard: bool) {}
    /// The replacement for a key, if it changes.
    fn key(&mut self, _key: &str) -> Option<String> {
        None
    }
    /// The replacement for a string under `key` (the innermost entry's key), if it changes.
    fn text(&mut self, _key: &str, _text: &str) -> Option<String> {
        None
    }
    /// The replacement for an unquoted word such as a number under `key`, as a string.
    fn word(&mut self, _key: &str, _word: &str) -> Option<String> {
        None
    }
}

/// The result of walking a text.
pub enum Walked {
    /// Nothing was changed.
    Same,
    /// The new text.
    Changed(String),
    /// The text is not structure. Whatever the visitor collected so far must not be used.
    Broken,
    /// The structure nests too deep.
    TooDeep,
}

/// Returns true if a text may be structure. This is the only cost of any other text.
pub fn is_structured(text: &str) -> bool {
    let first = text.bytes().find(|byte| !byte.is_ascii_whitespace());
    text.len() > 4 && matches!(first, Some(b'{' | b'['))
}

/// Returns true if a text may hold entries somewhere, even behind other text. This is the only cost of any other text.
pub fn holds_structure(text: &str) -> bool {
    let Some(inside) = begin(text, 0).and_then(|at| text.get(at..)) else { return false };
    is_structured(inside)
        || memchr::memchr2(b':', b'=', inside.as_bytes()).is_some()
        || inside.contains("('")
        || inside.contains("(\"")
}

/// The position of the next structure: `{`, `[`, the bracket of `Name(`, or the quote before one of them.
fn begin(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let named = |at: &usize| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        bytes.get(*at) != Some(&b'(') || before.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    };
    let at = from + memchr::memchr3_iter(b'{', b'[', b'(', bytes.get(from..)?).find(|at| named(&(from + at)))?;
    let quotes = bytes.get(from..at)?.iter().rev().take_while(|byte| matches!(byte, b'"' | b'\'' | b'\\')).count();
    Some(at - quotes)
}

/// Returns true if the whole text parses as structure.
pub fn is_read(text: &str) -> bool {
    struct Nobody;
    impl Visit for Nobody {}
    matches!(rewrite(text, &mut Nobody), Walked::Same | Walked::Changed(_))
}

/// Walks `text`, which must consist of structured values.
pub fn rewrite(text: &str, visit: &mut impl Visit) -> Walked {
    rewrite_at(text, visit, 0, false)
}

/// Walks the structures in `text`. Text around them and unparsable parts are copied.
pub fn search(text: &str, visit: &mut impl Visit) -> Walked {
    rewrite_at(text, visit, 0, true)
}

fn rewrite_at(text: &str, visit: &mut impl Visit, level: usize, search: bool) -> Walked {
    let mut walk =
        Walk { text, at: 0, out: String::new(), depth: 0, level, search, changed: false, torn: false, too_deep: false };
    let mut hard = false;
    loop {
        if search {
            walk.prose();
        }
        walk.space();
        match walk.peek() {
            None => break,
            Some(b'{' | b'[') if walk.value("", visit).is_some() => {}
            Some(b'(' | b'"' | b'\'') if search && walk.value("", visit).is_some() => {}
            _ if walk.too_deep => return Walked::TooDeep,
            Some(_) if search => {
                (walk.depth, hard) = (0, true);
                walk.byte();
            }
            _ => return Walked::Broken,
        }
    }
    if search && (hard || walk.torn) {
        visit.broken(&walk.out, hard);
    }
    if walk.changed { Walked::Changed(walk.out) } else { Walked::Same }
}

struct Walk<'t> {
    text: &'t str,
    at: usize,
    out: String,
    depth: usize,
    level: usize,
    /// Skip the text around structures.
    search: bool,
    changed: bool,
    /// A string did not end, or a backslash appears outside of a string.
    torn: bool,
    too_deep: bool,
}

/// A map being walked: its closing bracket, the position of its entries, and its marks once computed.
struct Members {
    close: u8,
    from: usize,
    marks: Option<Marks>,
}

impl<'t> Walk<'t> {
    fn value(&mut self, key: &str, visit: &mut impl Visit) -> Option<()> {
        match self.peek() {
            Some(b'{') => self.members(b'}', key, visit),
            Some(b'[') => self.members(b']', key, visit),
            Some(b'(') if self.pair(visit) => Some(()),
            Some(b'(') => self.members(b')', key, visit),
            Some(b'"' | b'\'') => {
                let (raw, text) = self.strings();
                self.leaf_text(key, raw, text, visit);
                Some(())
            }
            Some(b'<') if self.angle() > 0 => {
                let raw = self.slice(self.at, self.at + self.angle());
                self.at += raw.len();
                self.leaf_text(key, raw, raw.into(), visit);
                Some(())
            }
            mark => {
                self.torn |= mark == Some(b'\\');
                self.word_or_call(key, visit)
            }
        }
    }

    /// Handles `('key', value)`: the value under a listed key is removed.
    fn pair(&mut self, visit: &mut impl Visit) -> bool {
        let from = self.at;
        self.at += 1;
        let taken = self.pair_taken(visit);
        match taken {
            Some(to) => {
                self.changed = true;
                self.out.push_str(self.slice(from, to));
                self.out.push(')');
            }
            None => self.at = from,
        }
        taken.is_some()
    }

    /// The position after the key and its comma, if the value is to be removed.
    fn pair_taken(&mut self, visit: &mut impl Visit) -> Option<usize> {
        self.pass();
        self.peek().filter(|byte| matches!(byte, b'"' | b'\''))?;
        let key = unescape(unquoted(self.string()));
        self.pass();
        self.peek().filter(|byte| *byte == b',' && visit.listed(&key))?;
        self.at += 1;
        let comma = self.at;
        self.pass();
        let (start, leaf) = (self.at, self.skip());
        let raw = self.slice(start, self.at);
        self.pass();
        self.at += usize::from(self.peek() == Some(b','));
        self.pass();
        let ends = self.peek().is_none_or(|byte| byte == b')');
        let sure = visit.doubt(&key, &leaf, raw) == Doubt::Nothing;
        let takes = ends && sure && visit.takes(&key, &leaf, raw);
        self.at += usize::from(self.peek().is_some());
        takes.then_some(comma)
    }

    /// Walks the members between brackets: entries of a map, elements of a list, arguments of a call.
    fn members(&mut self, close: u8, parent: &str, visit: &mut impl Visit) -> Option<()> {
        self.depth += 1;
        if self.depth > DEPTH {
            self.too_deep = true;
            return None;
        }
        let open = self.slice(self.at, self.at + 1);
        self.out.push_str(open);
        self.at += 1;
        let mut map = Members { close, from: self.at, marks: None };
        let mut kept = false;
        loop {
            let mark = self.out.len();
            self.space();
            match self.peek() {
                None => break,
                Some(byte) if byte == close => {
                    let end = self.slice(self.at, self.at + 1);
                    self.out.push_str(end);
                    self.at += 1;
                    break;
                }
                Some(_) if kept => self.out.insert(mark, ','),
                Some(_) => {}
            }
            match self.member(&mut map, parent, visit)? {
                true => kept = true,
                false => self.out.truncate(mark),
            }
            let mark = self.out.len();
            self.space();
            match self.peek() {
                Some(b',') => {
                    self.out.truncate(mark);
                    self.at += 1;
                }
                Some(byte) if byte == close => {}
                None => {}
                Some(_) => return None,
            }
        }
        self.depth -= 1;
        Some(())
    }

    /// Walks one member. Returns `Some(false)` if it was removed.
    fn member(&mut self, map: &mut Members, parent: &str, visit: &mut impl Visit) -> Option<bool> {
        let from = self.at;
        let name = match self.peek() {
            Some(b'"' | b'\'') => {
                let raw = self.string();
                Some(raw)
            }
            Some(b'{' | b'[' | b'(') => None,
            Some(b'<') if self.angle() > 0 => {
                let name = self.slice(self.at, self.at + self.angle());
                self.at += name.len();
                Some(name)
            }
            _ => Some(self.word()),
        };
        self.pass();
        let called = name.and_then(|name| name.trim_end().strip_suffix('=')).filter(|_| map.close != b'}');
        let key = match self.peek() {
            Some(b':') if map.close == b'}' => {
                self.at += 1;
                name
            }
            _ => called,
        };
        let Some(key) = key else {
            self.at = from;
            return self.value(parent, visit).map(|()| true);
        };
        let (name, key) = (key, unescape(unquoted(key)));
        let head = self.slice(from, self.at);
        match visit.key(&key) {
            Some(new) => {
                self.changed = true;
                escape(&new, if name.starts_with('\'') { '\'' } else { '"' }, &mut self.out);
                self.out.push_str(head.strip_prefix(name).unwrap_or(":"));
            }
            None => self.out.push_str(head),
        }
        self.space();
        if visit.listed(&key) {
            let (start, leaf) = (self.at, self.skip());
            let raw = self.slice(start, self.at);
            let doubt = visit.doubt(&key, &leaf, raw);
            let sure = doubt == Doubt::Nothing || self.marks(map, visit).settle(doubt);
            if sure && visit.takes(&key, &leaf, raw) {
                self.changed = true;
                return Some(false);
            }
            self.at = start;
        }
        self.value(&key, visit).map(|()| true)
    }

    /// The evidence from the entries of this map, computed once.
    fn marks(&mut self, map: &mut Members, visit: &mut impl Visit) -> Marks {
        if let Some(marks) = map.marks {
            return marks;
        }
        let (from, mut entries) = (std::mem::replace(&mut self.at, map.from), Vec::new());
        while let Some(byte) = self.peek().filter(|byte| *byte != map.close && entries.len() < NEIGHBOURS) {
            if byte.is_ascii_whitespace() || byte == b',' {
                self.at += 1;
                continue;
            }
            let start = self.at;
            let name = if matches!(byte, b'"' | b'\'') { self.string() } else { self.word() };
            self.pass();
            let colon = self.peek() == Some(b':');
            self.at += usize::from(colon);
            self.pass();
            let leaf = self.skip();
            if colon || name.trim_end().ends_with('=') {
                let key = unescape(unquoted(name));
                let said = match leaf {
                    Leaf::Text(text) if messages::is_telling(&key) => text,
                    Leaf::Nested => messages::STRUCTURE.into(),
                    Leaf::Text(_) | Leaf::Word(_) => "".into(),
                };
                entries.push((key, said));
            }
            // An unexpected character was found: move on by at least one byte.
            self.at = self.at.max(start + 1);
        }
        self.at = from;
        *map.marks.insert(visit.marks(&entries))
    }

    /// Walks a word without quotes (`12:30` and `<a: b>` count as one word), or a call with its arguments.
    fn word_or_call(&mut self, key: &str, visit: &mut impl Visit) -> Option<()> {
        let from = self.at;
        let mut parts = 0;
        loop {
            self.word();
            parts += 1;
            if self.peek() != Some(b':') {
                break;
            }
            self.at += 1;
        }
        let word = self.slice(from, self.at);
        let stands = parts == 1 || self.depth > 0;
        match self.peek() {
            // `Message(role='user')`
            Some(b'(') => {
                self.put_word(key, word, visit);
                return self.value(key, visit).filter(|()| stands);
            }
            // `b'…'`
            Some(b'"' | b'\'') if word.len() <= 2 => {
                self.out.push_str(word);
                let raw = self.string();
                self.leaf(key, raw, visit);
                return Some(()).filter(|()| stands);
            }
            _ if word.trim().is_empty() || !stands => return None,
            _ => {}
        }
        self.put_word(key, word, visit);
        Some(())
    }

    fn put_word(&mut self, key: &str, word: &str, visit: &mut impl Visit) {
        let inner = word.trim();
        match if inner.is_empty() { None } else { visit.word(key, inner) } {
            Some(new) => {
                self.changed = true;
                escape(&new, '"', &mut self.out);
            }
            None => self.out.push_str(word),
        }
    }

    fn leaf(&mut self, key: &str, raw: &str, visit: &mut impl Visit) {
        self.leaf_text(key, raw, unescape(unquoted(raw)), visit);
    }

    fn leaf_text(&mut self, key: &str, raw: &str, text: Cow<'_, str>, visit: &mut impl Visit) {
        let holds = if self.search { holds_structure(&text) } else { is_structured(&text) };
        let inner = match holds && self.level < LEVELS {
            true => rewrite_at(&text, visit, self.level + 1, self.search),
            false => Walked::Broken,
        };
        let new = match inner {
            // The text around the structure may hold announced content too.
            Walked::Changed(new) if self.search => visit.text(key, &new).or(Some(new)),
            Walked::Same if self.search => visit.text(key, &text),
            Walked::Changed(new) => Some(new),
            Walked::Same => None,
            Walked::Broken | Walked::TooDeep => {
                if self.search && holds {
                    visit.broken(&text, self.level < LEVELS);
                }
                visit.text(key, &text)
            }
        };
        match new {
            Some(new) => {
                self.changed = true;
                escape(&new, if raw.starts_with('\'') { '\'' } else { '"' }, &mut self.out);
            }
            None => self.out.push_str(raw),
        }
    }
}
