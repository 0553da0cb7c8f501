//! Finds values that are secret because of a word before them: a provider's name (`datadog: 0f1e…`), AWS's name or
//! key id, or `API key` in prose. Half of the providers' keys have no prefix, so patterns can't find them. A value
//! begins at most [`REACH`] bytes after a name, on its line or the next one; commits, digests and ids stay. Keys that
//! name a secret are in `assign`, tokens with a shape are patterns.

use super::byte_counts::ByteCounts;
use super::references::is_reference;
use super::value_facts::{contains_any_case, is_path, is_twilio_id, is_uuid};
use super::word_score::is_words;
use crate::rule::RuleFamily;
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes between a provider's name and the value.
const REACH: usize = 56;
/// Longest value, in bytes.
const MAX_VALUE: usize = 256;

/// Claims the first value with the form of a key after the word that ends at `end`: a provider's name, or a word of the
/// family. Returns the position from which the search for providers continues.
pub(super) fn claim_value_after(
    scan: &TextScan<'_>,
    end: usize,
    family: RuleFamily,
    claims: &mut PrivateClaims,
) -> usize {
    let rest = bytes_ahead(scan, end, REACH + MAX_VALUE);
    let has_form = |value: &[u8], between: &[u8]| match family {
        RuleFamily::AwsSecret => is_aws_secret(value),
        RuleFamily::Entropy => {
            value.len() >= 20
                && has_key_form(value)
                && (between == b" " || is_mixed(value) && !between.contains(&b'\n'))
        }
        _ => has_key_form(value),
    };
    if rest.first().is_none_or(|byte| byte.is_ascii_lowercase() || *byte == b'/' || *byte == b'@') {
        return end;
    }
    let (mut at, mut is_separated, mut line_breaks) = (0, false, 0);
    while at < REACH {
        let Some(byte) = rest.get(at) else { break };
        if !is_value_byte(*byte) {
            is_separated = true;
            let is_line_break = *byte == b'\n' && !rest.get(..at).unwrap_or_default().ends_with(b">");
            line_breaks += usize::from(is_line_break);
            if line_breaks > 1 || b"(){}".contains(byte) && at > 40 {
                break;
            }
            at += 1;
            continue;
        }
        let len = rest.iter().skip(at).take_while(|byte| is_value_byte(**byte)).count();
        let (from, value) = strip_key(at, rest.get(at..at + len).unwrap_or_default());
        let between = rest.get(..from).unwrap_or_default();
        if (is_separated || from > at) && has_form(value, between) {
            let range = end + from..end + from + value.len();
            let is_claimed = !is_harmless(between) && claims.add_for(scan, family, range.clone());
            return if is_claimed { range.end } else { end };
        }
        at += len.max(1);
    }
    end
}

/// Whether the text between a word and a value shows that the value is no key: a path, a word for digests and ids, more
/// than a few words, or a line break without `=` or `:` before the value.
fn is_harmless(between: &[u8]) -> bool {
    let words = between.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').filter(|word| !word.is_empty());
    between.contains(&b'/')
        || byte_list!("secrets.harmless_random_cues").iter().any(|word| contains_any_case(between, word))
        || words.count() > 4
        || between.contains(&b'\n') && !between.trim_ascii_end().last().is_some_and(|byte| b"=:>".contains(byte))
}

fn is_value_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.+/=~".contains(&byte)
}

/// The value in `KEY=value`, or the whole token, and its position. Padding stays, full stops at the end do not.
fn strip_key(at: usize, token: &[u8]) -> (usize, &[u8]) {
    let equals = token.iter().position(|byte| *byte == b'=').filter(|equals| token.len() > equals + 3);
    let from = equals.map_or(0, |equals| equals + 1);
    let value = token.get(from..).unwrap_or_default();
    let dots = value.iter().rev().take_while(|byte| **byte == b'.').count();
    (at + from, value.get(..value.len() - dots).unwrap_or_default())
}

/// Whether a value has the form of a key: a UUID, at least 20 hex digits, or at least 16 mixed letters and digits.
fn has_key_form(value: &[u8]) -> bool {
    let counts = ByteCounts::count(value);
    if counts.len < 16 || is_reference(value, true) || is_path(value) || is_twilio_id(value) {
        return false;
    }
    if is_uuid(value) || (counts.hex && counts.digits > 2 && counts.len >= 20) {
        return counts.distinct >= 6;
    }
    counts.distinct >= 9
        && counts.digits >= 2
        && counts.letters() >= 4
        && !is_words(value)
        && counts.joints * 6 <= counts.len
        && !value.starts_with(b"/")
        && !value.starts_with(b"-")
        && !value.starts_with(b".")
}

/// Whether a value has both cases and digits, and nothing that joins words.
fn is_mixed(value: &[u8]) -> bool {
    let counts = ByteCounts::count(value);
    counts.upper > 1 && counts.lower > 1 && counts.digits > 1 && counts.joints == 0
}

/// Whether a value is forty characters of base64, as AWS secrets are.
fn is_aws_secret(value: &[u8]) -> bool {
    value.len() == 40 && is_mixed(value) && !is_path(value) && !is_reference(value, true)
}
