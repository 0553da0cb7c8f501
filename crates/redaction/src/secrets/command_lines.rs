//! Finds secrets that command lines carry without a key: `curl -u user:x`, `mysql -px`, `rabbitmqctl add_user u x`.
//! `command_arguments` has the places. At most [`MAX_LINE`] bytes after a command are read. `--password x` is in
//! `assign`.

use std::ops::Range;

use super::byte_counts::ByteCounts;
use super::command_arguments::{ArgumentContent, ArgumentRule, COMMANDS};
use super::headers;
use super::references::is_reference;
use super::value_facts::ValueFacts;
use crate::rule::RuleFamily;
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};
use crate::stems::StemMatch;

/// Most bytes of a command's line.
const MAX_LINE: usize = 512;

/// Fewest bytes between two commands of a row, because the patterns of the first one read further than that.
pub(super) const MIN_DISTANCE: usize = 64;

/// Checks the command at `name`, whose rules are in this row.
pub(super) fn check_command(scan: &TextScan<'_>, name: &StemMatch, row: usize, claims: &mut PrivateClaims) {
    let has_extension = scan.bytes(name.end..name.end + 4).eq_ignore_ascii_case(b".exe");
    let at = if has_extension { name.end + 4 } else { name.end };
    // `.net user` is the platform, not a command
    if !b" \t\"'\\,".contains(&scan.byte(at)) || scan.byte_before(name.start, 1) == b'.' {
        return;
    }
    let line = bytes_ahead(scan, at, MAX_LINE);
    let ends_line = |two: &[u8]| matches!(two, [before, b'\n'] if !b"\\\r".contains(before));
    let line = line.get(..line.windows(2).position(ends_line).unwrap_or(line.len())).unwrap_or_default();
    for rule in COMMANDS.get(row).into_iter().flat_map(|(_, rules)| rules) {
        for word in rule.words(line) {
            claim_word(scan, at + word.start..at + word.end, rule, claims);
        }
    }
}

/// Claims the secret in a word, if it may be one.
fn claim_word(scan: &TextScan<'_>, range: Range<usize>, rule: &ArgumentRule, claims: &mut PrivateClaims) {
    let word = scan.bytes(range.clone());
    let word = word.strip_suffix(b",").unwrap_or(word);
    let range = range.start..range.start + word.len();
    let counts = ByteCounts::count(word);
    let is_plain = counts.digits == 0 && counts.marks <= counts.joints;
    if rule.is_counted && (is_plain || ValueFacts::of(word).names_a_secret()) {
        return;
    }
    let (family, skip, secret) = match rule.content {
        ArgumentContent::Cookie if word.contains(&b'=') => {
            return headers::claim_cookie_values(scan, range, (false, true), claims);
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
    if secret.is_some_and(|secret| may_be_secret(secret, rule.content == ArgumentContent::Login)) {
        claims.add_for(scan, family, range.start + skip..range.end);
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
