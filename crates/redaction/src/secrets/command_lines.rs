//! Finds secrets that command lines carry without a key: `curl -u user:x`, `mysql -px`, `rabbitmqctl add_user u x`.
//! `command_arguments` has the places, `command_words` splits the line. At most [`MAX_LINE`] bytes after a command are
//! read, and none twice. `--password x` is in `assign`.

use std::ops::Range;

use super::byte_counts::ByteCounts;
use super::command_arguments::{ArgumentContent, ArgumentPlace, ArgumentRule};
use super::command_words::CommandWords;
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
