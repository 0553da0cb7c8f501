//! **What**: [`rewrite`]: walks structure in text (JSON, or what Python prints of dicts, lists and objects) and lets a
//! visitor take entries out and change leaves. **Why**: content stands in such text, and what stays must stay readable.
//! **Invariants**: linear in the text; bounded in depth; what is not changed is copied byte for byte; text that was cut
//! off is walked to its end. **Not here**: what is content (`nested`), what is private (`processors/redact`).

mod scan;

use std::borrow::Cow;

use super::messages;
pub use super::messages::{Doubt, Marks};
pub use super::quoted::unescape;
use super::quoted::{escape, unquoted};

/// Deepest nesting.
const DEPTH: usize = 64;
/// Deepest nesting of structure in texts of structure.
const LEVELS: usize = 3;
/// Entries of a map that are asked for a mark.
const NEIGHBOURS: usize = 1024;

/// What stands at a place.
pub enum Leaf<'t> {
    /// A text, without its escapes.
    Text(Cow<'t, str>),
    /// A number, `true`, `None`.
    Word(&'t str),
    /// A map or list.
    Nested,
}

/// Who looks at a text.
pub trait Visit {
    /// Whether [`Visit::takes`] is to be asked for entries of this key.
    fn listed(&mut self, _key: &str) -> bool {
        false
    }
    /// Whether the entry goes, with all in it; `raw` is what it holds as it stands there.
    fn takes(&mut self, _key: &str, _leaf: &Leaf<'_>, _raw: &str) -> bool {
        false
    }
    /// What its neighbours must say for it to go.
    fn doubt(&mut self, _key: &str, _leaf: &Leaf<'_>, _raw: &str) -> Doubt {
        Doubt::Nothing
    }
    /// What the entries of a map say of it: keys, and the texts of those that tell (`type`, `role`, a reason to stop).
    fn marks(&mut self, _entries: &[(Cow<'_, str>, Cow<'_, str>)]) -> Marks {
        Marks::default()
    }
    /// Something in a text could not be read; `rest` is what stays of the text. `hard`: an entry may have ended
    /// elsewhere than it seemed. Told by [`search`] alone.
    fn broken(&mut self, _rest: &str, _hard: bool) {}
    /// What a key becomes, if it changes.
    fn key(&mut self, _key: &str) -> Option<String> {
        None
    }
    /// What a text under `key` (of the innermost entry) becomes, if it changes.
    fn text(&mut self, _key: &str, _text: &str) -> Option<String> {
        None
    }
    /// What a number under `key` becomes: a text.
    fn word(&mut self, _key: &str, _word: &str) -> Option<String> {
        None
    }
}

/// What became of a text.
pub enum Walked {
    /// Nothing was changed.
    Same,
    /// The new text.
    Changed(String),
    /// It is no structure. What the visitor was shown until then may not be used.
    Broken,
    /// It nests too deep to be read.
    TooDeep,
}

/// Whether a text may hold structure: all that other text costs.
pub fn is_structured(text: &str) -> bool {
    let first = text.bytes().find(|byte| !byte.is_ascii_whitespace());
    text.len() > 4 && matches!(first, Some(b'{' | b'['))
}

/// Whether a text may hold entries somewhere, behind other text: all that other text costs.
pub fn holds_structure(text: &str) -> bool {
    let Some(inside) = begin(text, 0).and_then(|at| text.get(at..)) else { return false };
    is_structured(inside)
        || memchr::memchr2(b':', b'=', inside.as_bytes()).is_some()
        || inside.contains("('")
        || inside.contains("(\"")
}

/// Where the next structure begins: `{`, `[`, the bracket of `Name(`, or the quote before one.
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

/// Whether the whole text is structure.
pub fn is_read(text: &str) -> bool {
    struct Nobody;
    impl Visit for Nobody {}
    matches!(rewrite(text, &mut Nobody), Walked::Same | Walked::Changed(_))
}

/// Walks `text`: values one after the other.
pub fn rewrite(text: &str, visit: &mut impl Visit) -> Walked {
    rewrite_at(text, visit, 0, false)
}

/// Walks the structure in `text`, whatever stands around it and wherever it is broken; that is copied.
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
    /// Texts around structure are passed over.
    search: bool,
    changed: bool,
    /// A string did not end, or a mark stands where none may.
    torn: bool,
    too_deep: bool,
}

/// A map that is walked: what closes it, where its entries begin, what they say of it once that was asked.
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

    /// `('key', …)`: what stands under a listed key is taken out.
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

    /// Where the key and its comma end.
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

    /// What stands between brackets: entries of a map, elements of a list, arguments of a call.
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

    /// One member; false: it was taken out.
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

    /// What the entries of this map say of it; asked once.
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
            // a mark that fits nothing
            self.at = self.at.max(start + 1);
        }
        self.at = from;
        *map.marks.insert(visit.marks(&entries))
    }

    /// A word without quotes (`12:30` and `<a: b>` are one), or a call with its arguments.
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
            // what stands around structure may say something too
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
