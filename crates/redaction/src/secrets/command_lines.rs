//! Finds secrets that command lines carry without a key: `curl -u user:x`, `mysql -px`, `rabbitmqctl add_user u x`.
//! `command_arguments` has the places. At most [`MAX_LINE`] bytes after a command are read, and commands are
//! searched again after them; a line may also be a list of strings (`"-p", "x"`), or part of a string whose quotes are
//! escaped. `--password x` is in `assign`.

use std::ops::Range;

use super::byte_counts::ByteCounts;
use super::command_arguments::{ArgumentContent, ArgumentPlace, ArgumentRule};
use super::headers;
use super::references::is_reference;
use super::value_facts::ValueFacts;
use crate::rule::RuleFamily;
use crate::scan::{TextScan, bytes_ahead};
use crate::stems::StemMatch;

/// Most bytes of a command's line.
const MAX_LINE: usize = 512;

/// Checks the command at `name`. Returns the position from which the search for commands continues.
pub(super) fn check_command(scan: &TextScan<'_>, name: &StemMatch, rules: &[ArgumentRule]) -> usize {
    let has_extension = scan.bytes(name.end..name.end + 4).eq_ignore_ascii_case(b".exe");
    let at = if has_extension { name.end + 4 } else { name.end };
    // `.net user` is the platform, not a command
    if !b" \t\"'\\,".contains(&scan.byte(at)) || scan.byte_before(name.start, 1) == b'.' {
        return at;
    }
    let line = bytes_ahead(scan, at, MAX_LINE);
    let command = CommandLine { scan, at, line };
    let mut words = CommandWords::new(line);
    for rule in rules {
        if let ArgumentPlace::After(word, count) = rule.place {
            command.claim_argument(words.clone(), word, count, rule.content);
        }
    }
    while let Some(word) = words.next() {
        let text = command.word(&word);
        let Some((len, content)) = rules.iter().find_map(|rule| Some((rule.flag_len(text)?, rule.content))) else {
            continue;
        };
        let value = if len < text.len() { Some(word.start + len..word.end) } else { words.next() };
        if let Some(value) = value {
            command.claim_value(value, content);
        }
    }
    at + words.position()
}

/// A command's line being searched.
struct CommandLine<'s, 'a> {
    scan: &'s TextScan<'a>,
    /// Start of the line.
    at: usize,
    line: &'a [u8],
}

impl<'a> CommandLine<'_, 'a> {
    fn word(&self, range: &Range<usize>) -> &'a [u8] {
        self.line.get(range.clone()).unwrap_or_default()
    }

    /// Claims the argument that comes `count` others after `name`. Prose may also follow such words, so that a plain
    /// word is no secret.
    fn claim_argument(&self, mut words: CommandWords<'_>, name: &str, count: usize, content: ArgumentContent) {
        if !name.is_empty() && !words.by_ref().any(|word| self.word(&word) == name.as_bytes()) {
            return;
        }
        let is_flag = |word: &Range<usize>| self.word(word).starts_with(b"-");
        let Some(word) = words.filter(|word| !is_flag(word)).nth(count) else { return };
        let counts = ByteCounts::count(self.word(&word));
        if (counts.digits > 0 || counts.marks > counts.joints)
            && !ValueFacts::of(self.word(&word)).names_a_secret(false)
        {
            self.claim_value(word, content);
        }
    }

    /// Claims the secret in the word at `range`, if it may be one.
    fn claim_value(&self, range: Range<usize>, content: ArgumentContent) {
        let is_mark = |byte: &&u8| b"\"'".contains(*byte);
        let word = self.word(&range);
        let lead = usize::from(word.first().filter(is_mark).is_some() && word.last().filter(is_mark).is_some());
        let trail = lead + usize::from(word.ends_with(b","));
        let range = range.start + lead..range.end.saturating_sub(trail).max(range.start + lead);
        let word = self.word(&range);
        let start = self.at + range.start;
        let (family, skip, secret) = match content {
            ArgumentContent::Cookie if word.contains(&b'=') => {
                let cookies = start..start + word.len();
                return headers::claim_cookie_values(self.scan, cookies, (false, true));
            }
            ArgumentContent::Cookie => return,
            ArgumentContent::Login => match word.iter().position(|byte| *byte == b':') {
                Some(colon) if colon + 1 < word.len() => (RuleFamily::BasicCredentials, 0, word.get(colon + 1..)),
                Some(colon) => (RuleFamily::BasicCredentials, 0, word.get(..colon)),
                None => return,
            },
            ArgumentContent::Secret("") => (RuleFamily::Password, 0, Some(word)),
            ArgumentContent::Secret(mark) => {
                let Some(at) = memchr::memmem::find(word, mark.as_bytes()) else { return };
                // The key of `key=x` may name anything
                let family = if mark == "=" { RuleFamily::SecretValue } else { RuleFamily::Password };
                (family, at + mark.len(), word.get(at + mark.len()..))
            }
        };
        if secret.is_some_and(|secret| may_be_secret(secret, content == ArgumentContent::Login)) {
            self.scan.claim_for(family, start + skip..start + word.len());
        }
    }
}

/// Whether the content of a secret's place is one, rather than a variable, a file or a number. After a user, a number
/// or a text with blanks may be a password.
fn may_be_secret(value: &[u8], is_after_user: bool) -> bool {
    let value = value.trim_ascii_start();
    let value = value.strip_prefix(b"'").or_else(|| value.strip_prefix(b"\"")).unwrap_or(value);
    let counts = ByteCounts::count(value);
    let is_file_or_variable = value.first().is_some_and(|first| b"$-@".contains(first)) || value.starts_with(b"file:");
    let is_constant = counts.upper + value.iter().filter(|byte| **byte == b'_').count() == counts.len;
    (3..=256).contains(&counts.len)
        && (is_after_user || counts.blanks == 0 && counts.digits < counts.len && !is_file_or_variable)
        && !is_constant
        && !is_reference(value, true)
}

/// Iterator over the words of a line, without their quotes.
#[derive(Clone)]
struct CommandWords<'a> {
    line: &'a [u8],
    at: usize,
    /// Whether the line is a list of strings.
    is_list: bool,
    /// Whether the string around the command has ended.
    is_over: bool,
}

impl<'a> CommandWords<'a> {
    /// The words of `line`, which begins right after a word.
    fn new(line: &'a [u8]) -> Self {
        let escapes = count_backslashes(line);
        let is_quoted = line.get(escapes).is_some_and(|byte| b"\"'".contains(byte));
        let after_quote = line.get(escapes + 1..).unwrap_or_default().trim_ascii_start();
        let is_list = is_quoted && after_quote.first() == Some(&b',');
        Self { line, at: if is_list { escapes + 1 } else { 0 }, is_list, is_over: false }
    }

    /// Length of the line that was read.
    fn position(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    /// Skips blanks, and line breaks after a backslash, raw or escaped.
    fn skip_blanks(&mut self) {
        let blanks: &[u8] = if self.is_list { b" \t\r\n,[" } else { b" \t" };
        loop {
            self.at += self.rest().iter().take_while(|byte| blanks.contains(byte)).count();
            let backslashes = count_backslashes(self.rest());
            let is_continued = match self.rest().get(backslashes) {
                Some(b'\n') => backslashes % 2 == 1,
                Some(b'n') => backslashes > 1 && backslashes % 2 == 1,
                _ => false,
            };
            if !is_continued {
                return;
            }
            self.at += backslashes + 1;
        }
    }

    /// Reads a quoted text; returns its content.
    fn read_quoted(&mut self) -> Option<Range<usize>> {
        let quote = self.at + count_backslashes(self.rest());
        self.line.get(quote).filter(|byte| b"\"'".contains(byte))?;
        let (content, close) = read_string(self.line, quote)?;
        self.at = close + 1;
        Some(content)
    }
}

impl Iterator for CommandWords<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.is_over {
            return None;
        }
        self.skip_blanks();
        let first = self.read_quoted();
        // `"user":"x"`
        if first.is_some() && (self.is_list || !self.rest().starts_with(b":")) {
            return first;
        }
        let start = first.as_ref().map_or(self.at, |content| content.start);
        let rest = self.rest();
        let is_end = |(at, byte): (usize, &u8)| match byte {
            b'\\' => rest.get(at + 1).is_none_or(|next| b"nrt\"'\\\n".contains(next)) && !rest.starts_with(b"\\\\"),
            byte => byte.is_ascii_whitespace() || b"\"'`<>|;)".contains(byte),
        };
        let len = rest.iter().enumerate().position(|(at, byte)| is_end((at, byte))).unwrap_or(rest.len());
        if len == 0 || self.is_list {
            return None;
        }
        let part = rest.get(..len).unwrap_or_default();
        self.at += len;
        // `key="x"`, `user:'x'`, `-b"x"`
        if part.ends_with(b"=") || part.ends_with(b":") || part.len() == 2 && part.starts_with(b"-") {
            let quoted = self.read_quoted();
            if let Some(quoted) = quoted {
                return Some(start..if first.is_some() { quoted.end } else { self.at });
            }
        }
        let end = self.at;
        if self.rest().first().is_some_and(|byte| b"\"'`\\<>)".contains(byte)) {
            self.is_over = true;
        }
        Some(start..end)
    }
}

fn count_backslashes(text: &[u8]) -> usize {
    text.iter().take(8).take_while(|byte| **byte == b'\\').count()
}

/// The content of the string whose quote, perhaps escaped, is at `at`, and the position of its closing quote; quotes
/// with more backslashes are part of the string.
fn read_string(rest: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let count_backslashes_before =
        |at: usize| rest.get(..at).unwrap_or_default().iter().rev().take(16).take_while(|byte| **byte == b'\\').count();
    let quote = *rest.get(at)?;
    let (start, opening_backslashes) = (at + 1, count_backslashes_before(at));
    // In C#'s `@"C:\"`, a backslash is literal
    let is_verbatim = rest.get(..at - opening_backslashes)?.ends_with(b"@");
    let mut end = start;
    loop {
        end += rest.get(end..)?.iter().position(|byte| *byte == quote || *byte == b'\n')?;
        if rest.get(end) == Some(&b'\n') {
            return None;
        }
        let backslashes = count_backslashes_before(end).min(end - start);
        if is_verbatim
            || (backslashes.saturating_sub(opening_backslashes) / (opening_backslashes + 1)).is_multiple_of(2)
        {
            return Some((start..end - backslashes.min(opening_backslashes), end));
        }
        end += 1;
    }
}
