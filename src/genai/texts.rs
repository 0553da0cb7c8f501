//! **What**: [`rewrite`]: walks structure in text (JSON, or what Python prints of dicts, lists and objects) and lets a
//! visitor take entries out and change leaves. **Why**: content stands in such text, and what stays must stay readable.
//! **Invariants**: linear in the text; bounded in depth; what is not changed is copied byte for byte; text that was cut
//! off is walked to its end. **Not here**: what is content (`nested`), what is private (`processors/redact`).

use std::borrow::Cow;

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
    fn listed(&mut self, key: &str) -> bool;
    /// Whether the entry goes, with all in it; `raw` is what it holds as it stands there.
    fn takes(&mut self, key: &str, leaf: &Leaf<'_>, raw: &str) -> bool;
    /// Whether it goes only if its neighbours say so.
    fn in_doubt(&mut self, _key: &str, _leaf: &Leaf<'_>, _raw: &str) -> bool {
        false
    }
    /// Whether the entries of a map with these keys mark each other as content.
    fn are_marked(&mut self, _keys: &[Cow<'_, str>]) -> bool {
        false
    }
    /// What a key becomes, if it changes.
    fn key(&mut self, _key: &str) -> Option<String> {
        None
    }
    /// What a text under `key` (of the innermost entry) becomes, if it changes.
    fn text(&mut self, key: &str, text: &str) -> Option<String>;
    /// What a number under `key` becomes: a text.
    fn word(&mut self, key: &str, word: &str) -> Option<String>;
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

/// Walks `text`: values one after the other.
pub fn rewrite(text: &str, visit: &mut impl Visit) -> Walked {
    rewrite_at(text, visit, 0)
}

fn rewrite_at(text: &str, visit: &mut impl Visit, level: usize) -> Walked {
    let mut walk = Walk { text, at: 0, out: String::new(), depth: 0, level, changed: false, too_deep: false };
    loop {
        walk.space();
        match walk.peek() {
            None => break,
            Some(b'{' | b'[') if walk.value("", visit).is_some() => {}
            _ if walk.too_deep => return Walked::TooDeep,
            _ => return Walked::Broken,
        }
    }
    if walk.changed { Walked::Changed(walk.out) } else { Walked::Same }
}

struct Walk<'t> {
    text: &'t str,
    at: usize,
    out: String,
    depth: usize,
    level: usize,
    changed: bool,
    too_deep: bool,
}

/// A map that is walked: what closes it, where its entries begin, whether they mark each other as content.
struct Members {
    close: u8,
    from: usize,
    marked: Option<bool>,
}

impl<'t> Walk<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn slice(&self, from: usize, to: usize) -> &'t str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// Copies white space.
    fn space(&mut self) {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
        let space = self.slice(from, self.at);
        self.out.push_str(space);
    }

    fn value(&mut self, key: &str, visit: &mut impl Visit) -> Option<()> {
        match self.peek() {
            Some(b'{') => self.members(b'}', key, visit),
            Some(b'[') => self.members(b']', key, visit),
            Some(b'(') => self.members(b')', key, visit),
            Some(b'"' | b'\'') => {
                let raw = self.string();
                self.leaf(key, raw, visit);
                Some(())
            }
            _ => self.word_or_call(key, visit),
        }
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
        let mut map = Members { close, from: self.at, marked: None };
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
            _ => Some(self.word()),
        };
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
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
            let sure = !visit.in_doubt(&key, &leaf, raw) || self.are_marked(map, visit);
            if sure && visit.takes(&key, &leaf, raw) {
                self.changed = true;
                return Some(false);
            }
            self.at = start;
        }
        self.value(&key, visit).map(|()| true)
    }

    /// Whether the keys of this map speak for content; asked once.
    fn are_marked(&mut self, map: &mut Members, visit: &mut impl Visit) -> bool {
        if let Some(marked) = map.marked {
            return marked;
        }
        let (from, mut keys) = (std::mem::replace(&mut self.at, map.from), Vec::new());
        while let Some(byte) = self.peek().filter(|byte| *byte != map.close && keys.len() < NEIGHBOURS) {
            if byte.is_ascii_whitespace() || byte == b',' {
                self.at += 1;
                continue;
            }
            let start = self.at;
            let name = if matches!(byte, b'"' | b'\'') { self.string() } else { self.word() };
            while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
                self.at += 1;
            }
            if self.peek() == Some(b':') {
                self.at += 1;
                keys.push(unescape(unquoted(name)));
            } else if name.trim_end().ends_with('=') {
                keys.push(unescape(unquoted(name)));
            }
            while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
                self.at += 1;
            }
            self.skip();
            // a mark that fits nothing
            self.at = self.at.max(start + 1);
        }
        self.at = from;
        *map.marked.insert(visit.are_marked(&keys))
    }

    /// The string that begins here, with its quotes.
    fn string(&mut self) -> &'t str {
        let from = self.at;
        let quote = self.peek();
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                // the byte behind it may begin a longer character: the bytes that follow are no quotes
                b'\\' => self.at += 1,
                byte if Some(byte) == quote => break,
                _ => {}
            }
        }
        while !self.text.is_char_boundary(self.at.min(self.text.len())) {
            self.at += 1;
        }
        self.at = self.at.min(self.text.len());
        self.slice(from, self.at)
    }

    /// What stands up to the next mark.
    fn word(&mut self) -> &'t str {
        let from = self.at;
        let marks = b",:{}[]()'\"";
        while self.peek().is_some_and(|byte| !marks.contains(&byte)) {
            self.at += 1;
        }
        self.slice(from, self.at)
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
        let text = unescape(unquoted(raw));
        let inner = match is_structured(&text) && self.level < LEVELS {
            true => rewrite_at(&text, visit, self.level + 1),
            false => Walked::Broken,
        };
        let new = match inner {
            Walked::Changed(new) => Some(new),
            Walked::Same => None,
            Walked::Broken | Walked::TooDeep => visit.text(key, &text),
        };
        match new {
            Some(new) => {
                self.changed = true;
                escape(&new, if raw.starts_with('\'') { '\'' } else { '"' }, &mut self.out);
            }
            None => self.out.push_str(raw),
        }
    }

    /// Passes over one value.
    fn skip(&mut self) -> Leaf<'t> {
        match self.peek() {
            Some(b'"' | b'\'') => return Leaf::Text(unescape(unquoted(self.string()))),
            Some(b'{' | b'[' | b'(') => {}
            _ => {
                let word = self.word();
                if !matches!(self.peek(), Some(b'(' | b'"' | b'\'' | b':')) {
                    return Leaf::Word(word.trim());
                }
            }
        }
        let mut open = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' | b'\'' => {
                    self.string();
                    continue;
                }
                b'{' | b'[' | b'(' => open += 1,
                b'}' | b']' | b')' if open == 0 => break,
                b'}' | b']' | b')' => open -= 1,
                b',' if open == 0 => break,
                _ => {}
            }
            self.at += 1;
            if open == 0 && matches!(byte, b'}' | b']' | b')') {
                break;
            }
        }
        Leaf::Nested
    }
}

/// A string without its quotes; one that was cut off has only the first.
fn unquoted(raw: &str) -> &str {
    let Some(quote) = raw.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        return raw.trim().trim_end_matches('=').trim_end();
    };
    let inner = raw.get(1..).unwrap_or_default();
    inner.strip_suffix(quote).unwrap_or(inner)
}

/// A string's text: escapes of JSON and Python.
pub fn unescape(raw: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        return raw.into();
    }
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    let mut high: Option<u32> = None;
    while let Some(c) = chars.next() {
        let code = match c {
            '\\' => match chars.next() {
                Some('n') => u32::from(b'\n'),
                Some('t') => u32::from(b'\t'),
                Some('r') => u32::from(b'\r'),
                Some('b') => 8,
                Some('f') => 12,
                Some('u') => hex(&mut chars, 4),
                Some('x') => hex(&mut chars, 2),
                Some('U') => hex(&mut chars, 8),
                Some(other) => u32::from(other),
                None => break,
            },
            c => u32::from(c),
        };
        match (high.take(), code) {
            (None, 0xd800..=0xdbff) => high = Some(code),
            (Some(first), 0xdc00..=0xdfff) => {
                let both = 0x10000 + ((first - 0xd800) << 10) + (code - 0xdc00);
                out.push(char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (_, code) => out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }
    out.into()
}

fn hex(chars: &mut std::str::Chars<'_>, digits: usize) -> u32 {
    let text = chars.as_str();
    let Some((head, rest)) = text.split_at_checked(digits) else { return 0xfffd };
    match u32::from_str_radix(head, 16) {
        Ok(code) => {
            *chars = rest.chars();
            code
        }
        Err(_) => 0xfffd,
    }
}

fn escape(text: &str, quote: char, out: &mut String) {
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                out.push_str("\\u00");
                crate::hex::push(out, &[c as u8]);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}
