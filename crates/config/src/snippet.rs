//! Chooses what a snippet may show of a file beside an error ([`visible_ranges`]): keys, ids of components, numbers,
//! booleans, patterns, public keys, hosts and ports of addresses, words of fixed lists, names of variables, paths,
//! names, and comments in plain words. A value below a key that may name a secret, or is a misspelling of one, stays
//! masked, even when an alias uses it elsewhere. Any value not recognised here is masked. The masking itself is in
//! `problem`.

use std::ops::Range;

use super::problem::SourcePosition;
use super::tree::{NodeValue, TreeNode};

/// A key that contains one of these may hold a secret, as may all keys below it.
const SECRET_KEY_PARTS: &str =
    "key token secret pass pwd pw auth credential bearer basic header cookie signing salt private";
/// A key within two typing errors of one of these may hold a secret.
const SECRET_KEY_WORDS: [&str; 7] =
    ["password", "passphrase", "token", "secret", "api_key", "credentials", "authorization"];
/// Keys whose values are patterns.
pub(super) const PATTERN_KEYS: [&str; 7] =
    ["pattern", "patterns", "allow", "regex", "blocked_values", "allowed_values", "blocked_key_patterns"];
/// Keys whose values are addresses with paths that hold no credentials.
const ADDRESS_KEYS: [&str; 4] = ["endpoint", "public_url", "allowed_origins", "allowed_hosts"];
/// Keys whose values are addresses with paths that may be credentials.
const CALLBACK_KEYS: [&str; 3] = ["url", "base", "template"];
/// Keys whose values are words of a fixed list.
const WORD_KEYS: &str = "ack action as back_end compression content details_event durability forward layout leave level \
    mode on_error on_full preset presets privacy private_addresses protocol severity severity_below signals sizer \
    store transport trust unlisted user_ids verbosity";
/// Keys whose values are words of a fixed list and may contain digits.
const WORD_WITH_DIGIT_KEYS: [&str; 5] = ["rules", "region", "retention", "semconv", "validator"];
/// Words for yes and no, of which YAML knows only `true` and `false`.
const SWITCH_WORDS: [&str; 6] = ["true", "false", "yes", "no", "on", "off"];

/// Names of units, without their plural's `s`. Any other word after a number may be part of a password.
const UNIT_NAMES: &str = "byte kilobyte megabyte gigabyte terabyte kibibyte mebibyte gibibyte tebibyte kilo meg gig tera \
    second minute hour day week month sec min msec usec millisecond microsecond nanosecond percent";

/// Keys whose values are file paths; keys that end like them (`cert_file`) count too.
const PATH_KEY_ENDINGS: [&str; 6] = ["path", "file", "directory", "folder", "rates", "overlays"];
/// Keys whose values are names given by operators.
const OPERATOR_NAME_KEYS: [&str; 7] = ["name", "bucket", "prefix", "writer", "account", "tenant", "dataset"];

/// The ranges of `text` below `root` that a snippet may show.
pub(super) fn visible_ranges(root: &TreeNode, text: &str) -> Vec<SourcePosition> {
    let mut ranges =
        VisibleRanges { text, keys: Vec::new(), shown: Vec::new(), hidden: Vec::new(), scalars: Vec::new() };
    ranges.visit_node(root, "", false);
    ranges.show_comments();
    let VisibleRanges { keys, mut shown, hidden, .. } = ranges;
    // An alias may be used below another key than its anchor.
    shown.retain(|at| {
        !hidden.iter().any(|range| at.offset < range.end && range.start < at.offset.saturating_add(at.len))
    });
    shown.extend(keys);
    shown
}

/// What a snippet may show of a text that is not valid YAML: quotes, and what must be a key.
pub(super) fn visible_syntax(text: &str) -> Vec<SourcePosition> {
    let quotes = text.char_indices().filter(|(_, c)| matches!(c, '"' | '\''));
    let quotes = quotes.map(|(offset, _)| SourcePosition { offset, len: 1, ..SourcePosition::default() });
    quotes.chain(find_keys(text)).collect()
}

/// Keys in a text that is not valid YAML: lower-case words followed by `: ` or `:` and a line end, where an entry can
/// begin.
fn find_keys(text: &str) -> Vec<SourcePosition> {
    let mut found = Vec::new();
    for (end, _) in text.match_indices(':') {
        let after = text.get(end.saturating_add(1)..).unwrap_or_default();
        let before = text.get(..end).unwrap_or_default();
        let is_name_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_/.-".contains(c);
        let start = before.trim_end_matches(is_name_char).len();
        let len = end.saturating_sub(start);
        let opening = before.get(..start).unwrap_or_default().trim_end_matches([' ', '\t']);
        let is_entry_start = opening.is_empty() || opening.ends_with(['\n', '{', ',', '-']);
        if is_entry_start && (1..=40).contains(&len) && (after.is_empty() || after.starts_with([' ', '\n', '\r'])) {
            found.push(SourcePosition { offset: start, len, ..SourcePosition::default() });
        }
    }
    found
}

struct VisibleRanges<'t> {
    text: &'t str,
    /// Keys and ids of components, which are always shown.
    keys: Vec<SourcePosition>,
    shown: Vec<SourcePosition>,
    hidden: Vec<Range<usize>>,
    /// Ranges of keys and values; a `#` inside one does not start a comment.
    scalars: Vec<Range<usize>>,
}

impl VisibleRanges<'_> {
    fn visit_node(&mut self, node: &TreeNode, key: &str, secret: bool) {
        if !matches!(node.value, NodeValue::Map(_) | NodeValue::Seq(_)) {
            self.scalars.push(node.at.offset..node.at.offset.saturating_add(node.at.len));
        }
        match &node.value {
            NodeValue::Map(entries) => {
                for (key, item) in entries {
                    self.keys.push(key.at);
                    if let (NodeValue::Seq(ids), "receivers" | "processors" | "exporters" | "extensions") =
                        (&item.value, key.name.as_str())
                    {
                        self.keys.extend(ids.iter().map(|id| id.at));
                    }
                    self.scalars.push(key.at.offset..key.at.offset.saturating_add(key.at.len));
                    self.visit_node(item, &key.name, secret || may_be_secret(&key.name));
                }
            }
            NodeValue::Seq(items) => items.iter().for_each(|item| self.visit_node(item, key, secret)),
            NodeValue::Null => {}
            NodeValue::Bool(_) => self.show(node.at, 0..node.at.len),
            NodeValue::Int(_) | NodeValue::UInt(_) | NodeValue::Float(_) if secret => self.hide(node.at),
            NodeValue::Int(_) | NodeValue::UInt(_) | NodeValue::Float(_) => self.show(node.at, 0..node.at.len),
            NodeValue::Str(value) => self.visit_string(node.at, key, value, secret),
        }
    }

    fn visit_string(&mut self, at: SourcePosition, key: &str, value: &str, secret: bool) {
        let end = at.offset.saturating_add(at.len);
        let Some(raw) = self.text.get(at.offset..end) else { return };
        let quoted = |quote: char| raw.strip_prefix(quote).and_then(|raw| raw.strip_suffix(quote));
        let inner = quoted('"').or_else(|| quoted('\'')).unwrap_or(raw);
        let quote_len = usize::from(inner.len() != raw.len());
        let is_unescaped = inner == value;
        if is_unescaped && is_public_key(inner) {
            return self.show(at, 0..at.len);
        }
        if secret {
            return self.hide(at);
        }
        let in_node = |range: &Range<usize>| range.start.saturating_add(quote_len)..range.end.saturating_add(quote_len);
        let parts = match key {
            // The default of a variable may be a secret, because the variable may hold one.
            _ if PATTERN_KEYS.contains(&key) && !raw.contains('\n') && !raw.contains("${") => whole_range(inner),
            _ if !is_unescaped => Vec::new(),
            _ if ADDRESS_KEYS.contains(&key) || key.ends_with("_endpoint") => address_ranges(inner, true),
            _ if CALLBACK_KEYS.contains(&key) => address_ranges(inner, false),
            _ if is_measure(inner) || is_word(key, inner) || is_switch(inner) => whole_range(inner),
            _ if OPERATOR_NAME_KEYS.contains(&key) && is_plain(inner, "_-.") => whole_range(inner),
            _ if is_path_key(key) && is_plain(inner, "_-./~") => whole_range(inner),
            _ => Vec::new(),
        };
        let names = find_variables(inner);
        parts.iter().chain(&names).for_each(|range| self.show(at, in_node(range)));
        if quote_len > 0 && !(parts.is_empty() && names.is_empty()) {
            self.show(at, 0..1);
            self.show(at, at.len.saturating_sub(1)..at.len);
        }
    }

    /// Shows comments of plain words. A comment is masked if its line contains a word for a secret, or if it looks like
    /// configuration. If the file has block scalars, in which `#` starts no comment, all comments are masked.
    fn show_comments(&mut self) {
        let starts_block_scalar = |line: &str| line.trim_end().trim_end_matches(['+', '-']).ends_with(['|', '>']);
        if self.text.lines().any(starts_block_scalar) {
            return;
        }
        let (mut offset, mut found) = (0_usize, Vec::new());
        for (line, text) in self.text.split_inclusive('\n').enumerate() {
            let starts_comment = |at: usize| {
                let file_offset = offset.saturating_add(at);
                text.get(..at).is_some_and(|before| before.is_empty() || before.ends_with([' ', '\t']))
                    && !self.scalars.iter().any(|scalar| scalar.contains(&file_offset))
            };
            let lower = text.to_ascii_lowercase();
            let has_secret_word = SECRET_KEY_PARTS.split(' ').any(|part| lower.contains(part));
            let comment =
                text.match_indices('#').filter(|_| !has_secret_word).map(|(at, _)| at).find(|at| starts_comment(*at));
            if let Some((at, words)) = comment.and_then(|at| Some((at, text.get(at..)?.trim_end())))
                && is_prose(words)
            {
                let position = SourcePosition { offset: offset.saturating_add(at), len: words.len(), line, column: at };
                found.push(position);
            }
            offset = offset.saturating_add(text.len());
        }
        self.shown.extend(found);
    }

    fn show(&mut self, at: SourcePosition, range: Range<usize>) {
        let offset = at.offset.saturating_add(range.start);
        self.shown.push(SourcePosition { offset, len: range.len(), ..at });
    }

    fn hide(&mut self, at: SourcePosition) {
        self.hidden.push(at.offset..at.offset.saturating_add(at.len));
    }
}

fn may_be_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    // The `value` of an attribute action may be anything.
    key != "public_key"
        && (key == "value"
            || key == "pin"
            || SECRET_KEY_PARTS.split(' ').any(|part| key.contains(part))
            || SECRET_KEY_WORDS.iter().any(|word| strsim::damerau_levenshtein(word, &key) <= 2))
}

fn whole_range(text: &str) -> Vec<Range<usize>> {
    std::iter::once(0..text.len()).collect()
}

/// Whether the text looks like an age recipient, valid or not. age's secret keys are upper case.
fn is_public_key(text: &str) -> bool {
    text.starts_with("age1")
        && text.len() <= 80
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// A number with an optional unit, also one that no setting has: `10s`, `256KiB`, `0.5`, `-1`, `20 gigs`.
fn is_measure(text: &str) -> bool {
    let number = text.strip_prefix('-').unwrap_or(text);
    let unit = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let word = unit.trim_start_matches(' ').to_ascii_lowercase();
    let singular = word.strip_suffix('s').unwrap_or(&word);
    (1..=12).contains(&number.len().saturating_sub(unit.len()))
        && word.bytes().all(|byte| byte.is_ascii_alphabetic())
        && (word.len() <= 3 || UNIT_NAMES.split_whitespace().any(|name| name == singular))
}

fn is_word(key: &str, text: &str) -> bool {
    let digits_allowed = WORD_WITH_DIGIT_KEYS.contains(&key);
    (digits_allowed || WORD_KEYS.split(' ').any(|word| word == key))
        && text.len() <= 40
        && text.bytes().all(|byte| {
            byte.is_ascii_alphabetic() || b"_-/".contains(&byte) || (digits_allowed && byte.is_ascii_digit())
        })
}

fn is_switch(text: &str) -> bool {
    SWITCH_WORDS.iter().any(|word| word.eq_ignore_ascii_case(text.trim()))
}

pub(super) fn is_path_key(key: &str) -> bool {
    PATH_KEY_ENDINGS
        .iter()
        .any(|path| key.strip_suffix(path).is_some_and(|rest| rest.is_empty() || rest.ends_with('_')))
}

/// Whether the text consists of alphabetic words, each with at most four digits after it, separated by characters of
/// `separators`. Randomly generated text does not look like this.
fn is_plain(text: &str, separators: &str) -> bool {
    let is_plain_word = |word: &str| {
        let letters = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let is_lower_after_first = letters.get(1..).unwrap_or_default().bytes().all(|byte| byte.is_ascii_lowercase());
        let has_usual_case = is_lower_after_first || letters.bytes().all(|byte| byte.is_ascii_uppercase());
        letters.bytes().all(|byte| byte.is_ascii_alphabetic())
            && has_usual_case
            && letters.len() <= 20
            && word.len().saturating_sub(letters.len()) <= 4
    };
    !text.is_empty() && text.len() <= 120 && text.split(|c: char| separators.contains(c)).all(is_plain_word)
}

/// Whether a comment reads as a sentence, as opposed to a single noted word or commented-out configuration.
fn is_prose(comment: &str) -> bool {
    let words = comment.trim_start_matches('#').trim();
    let has_letters_and_digits =
        |word: &str| word.contains(|c: char| c.is_ascii_digit()) && word.contains(|c: char| c.is_ascii_alphabetic());
    words.split(' ').count() >= 3 && !words.split(' ').any(has_letters_and_digits) && is_plain(words, " _-./,;()`'!?")
}

/// Ranges of `${env:NAME}`. References with a default are left out, because the default may be a secret.
fn find_variables(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices("${env:") {
        let rest = text.get(start..).unwrap_or_default();
        let Some(end) = rest.find('}') else { continue };
        let name = rest.get(6..end).unwrap_or_default();
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            found.push(start..start.saturating_add(end).saturating_add(1));
        }
    }
    found
}

/// The parts of an address to show: scheme, host, port, and, if `show_path`, plain words of its path. Of an address
/// with a user or a variable only the scheme.
fn address_ranges(text: &str, show_path: bool) -> Vec<Range<usize>> {
    let host_start = text.find("://").map_or(0, |at| at.saturating_add(3));
    if text.contains('@') || text.contains('$') {
        let scheme = text.get(..host_start).unwrap_or_default();
        let known = ["http://", "https://", "ftp://", "grpc://", "tcp://"].contains(&scheme);
        return if known { whole_range(scheme) } else { Vec::new() };
    }
    let host_start = if text.starts_with("unix:") && host_start == 0 { 5 } else { host_start };
    let rest = text.get(host_start..).unwrap_or_default();
    let host_end = host_start.saturating_add(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let authority = text.get(host_start..host_end).unwrap_or_default();
    if !authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]*+".contains(&byte)) {
        return Vec::new();
    }
    // Only digits are shown as a port: anything else may be the password of an address whose `@` is missing.
    let bracket_end = authority.rfind(']').map_or(0, |at| at.saturating_add(1));
    let host_len = authority
        .get(bracket_end..)
        .and_then(|rest| rest.find(':'))
        .map_or(authority.len(), |at| bracket_end.saturating_add(at));
    let port = authority.get(host_len..).unwrap_or_default();
    let is_port_numeric = port.len() > 1
        && port.len() <= 11
        && port.trim_start_matches([':', '+']).bytes().all(|byte| byte.is_ascii_digit());
    let host = authority.get(..host_len).unwrap_or_default();
    let is_host_byte = |byte: u8| byte.is_ascii_lowercase() || byte == b'-' || byte == b'.';
    let is_address = host_start > 0
        || is_port_numeric
        || host.bytes().all(is_host_byte)
        || host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !is_address {
        return Vec::new();
    }
    let shown_end = host_start.saturating_add(if is_port_numeric { authority.len() } else { host_len });
    let mut parts: Vec<Range<usize>> = std::iter::once(0..shown_end).collect();
    if show_path {
        let tail = text.get(host_end..).unwrap_or_default();
        let tail = tail.split(['?', '#']).next().unwrap_or_default();
        let mut at = host_end;
        for segment in tail.split_inclusive('/') {
            let word = segment.trim_end_matches('/');
            let is_version = word.len() <= 3 && word.starts_with('v');
            if is_version || (word.len() <= 16 && word.bytes().all(is_host_byte)) {
                parts.push(at..at.saturating_add(segment.len()));
            }
            at = at.saturating_add(segment.len());
        }
    }
    // A `?` or `#` may be the fault itself.
    parts.extend(
        text.char_indices()
            .filter(|(at, c)| *at >= host_end && "?#/".contains(*c))
            .map(|(at, _)| at..at.saturating_add(1)),
    );
    parts
}
