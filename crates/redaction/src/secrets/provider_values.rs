//! Finds values that are secret because of a provider's name before them (`datadog: 0f1e…`), because half of the
//! providers' keys have no prefix; AWS secrets near a key id or the word `aws`. A provider's value begins at most
//! [`REACH`] bytes after the name, on its line or the next one; commits, digests and ids stay. Keys that name a secret
//! are in `assign`.

use std::ops::Range;

use super::super::anchors::DigitRun;
use super::super::pairs::ends_with;
use super::byte_counts::ByteCounts;
use super::references::is_reference;
use super::value_facts::{contains_any_case, is_path, is_twilio_id, is_uuid};
use super::word_score::is_words;
use crate::rule::RuleFamily;
use crate::scan::{TextScan, bytes_ahead};

/// Most bytes between a provider's name and the value.
const REACH: usize = 56;
const MAX_VALUE: usize = 256;

/// Checks the text after the provider's name that ends at `end`. Returns the position from which the search for
/// providers continues.
pub(super) fn check_provider(scan: &TextScan<'_>, end: usize) -> usize {
    let rest = bytes_ahead(scan, end, REACH + MAX_VALUE);
    if rest.first().is_none_or(|byte| byte.is_ascii_lowercase() || *byte == b'/' || *byte == b'@') {
        return end;
    }
    let mut at = 0;
    let (mut is_separated, mut line_breaks) = (false, 0);
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
        if (is_separated || from > at) && has_key_form(value) {
            let is_harmless = between.contains(&b'/')
                || byte_list!("secrets.harmless_random_cues").iter().any(|word| contains_any_case(between, word));
            let word_count = between
                .split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
                .filter(|word| !word.is_empty())
                .count();
            let is_near = line_breaks == 0 || ends_in_secret_key(between);
            if !is_harmless && word_count <= 4 && is_near && !ends_in_id_key(between) && !is_call_or_message_id(value) {
                let is_claimed = scan.claim_for(RuleFamily::ProviderValue, end + from..end + from + value.len());
                return if is_claimed { end + from + value.len() } else { end };
            }
            return end;
        }
        at += len.max(1);
    }
    end
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

/// Whether the text before a value ends in `key`, `token` or `secret` and a separator. Then the value may be on the
/// line below the provider's name.
fn ends_in_secret_key(between: &[u8]) -> bool {
    let Some((last, before)) = between.trim_ascii_end().split_last() else { return false };
    b"=:".contains(last) && ["key", "token", "secret"].iter().any(|word| ends_with(before, word.as_bytes()))
}

/// Whether a value is the id of a call or message: a listed word before `_` or `-` (`call_…`).
fn is_call_or_message_id(value: &[u8]) -> bool {
    let word_len = value.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
    value.get(word_len).is_some_and(|byte| b"-_".contains(byte))
        && byte_list!("secrets.id_prefixes").contains(&value.get(..word_len).unwrap_or_default())
}

/// Whether the last word before a value ends in `id`: `client_id`, `appId`.
fn ends_in_id_key(between: &[u8]) -> bool {
    let reversed_word = between.iter().rev().skip_while(|byte| !byte.is_ascii_alphanumeric());
    reversed_word.take(2).map(u8::to_ascii_lowercase).eq(*b"di")
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

/// Claims random tokens in the prose around a word such as `key`; ids, digests and parts of paths stay.
pub(super) fn claim_random_token(scan: &TextScan<'_>, word: &Range<usize>) {
    let runs = &scan.anchors.digit_runs;
    let is_announced = announces(scan, word);
    let first_index = runs.partition_point(|run| run.end + 24 < word.start);
    for run in runs.iter().skip(first_index).map(DigitRun::range).take_while(|run| run.start < word.end + 56).take(6) {
        let between = scan.bytes(run.end.min(word.end)..run.start.max(word.start));
        let is_separator = |byte: u8| byte.is_ascii_whitespace() || b"\"'`,:;()".contains(&byte);
        let is_separate = is_separator(scan.byte_before(run.start, 1))
            && (is_separator(scan.byte(run.end)) || scan.byte(run.end) == b'.');
        if (20..=128).contains(&run.len())
            && is_separate
            && between.contains(&b' ')
            && !between.contains(&b'\n')
            && !scan.contains_placeholder(&(run.end.min(word.end)..run.start.max(word.start)))
            && (is_random_token(scan.bytes(run.clone()))
                || is_announced && run.start == word.end + 1 && is_mixed(scan.bytes(run.clone())))
        {
            scan.claim_for(RuleFamily::Entropy, run.clone());
        }
    }
}

/// Whether a word certainly announces the value after it: `secret 0f1e…`, but not `next token 0f1e…`.
fn announces(scan: &TextScan<'_>, word: &Range<usize>) -> bool {
    let text = scan.bytes(word.clone());
    if !text.eq_ignore_ascii_case(b"secret") && !text.eq_ignore_ascii_case(b"token") {
        return false;
    }
    let head = scan.bytes(word.start.saturating_sub(24)..word.start.saturating_sub(1));
    let word_len = head.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
    super::secret_keys::classify_key(scan.bytes(word.start.saturating_sub(1 + word_len)..word.end)).is_some()
}

/// Whether a value is a mix of letters and digits.
fn is_mixed(value: &[u8]) -> bool {
    let counts = ByteCounts::count(value);
    counts.digits >= 4 && counts.letters() >= 4 && counts.distinct >= 9 && !is_words(value)
}

fn is_random_token(value: &[u8]) -> bool {
    let counts = ByteCounts::count(value);
    counts.upper > 1 && counts.lower > 1 && counts.digits > 1 && counts.distinct >= 14 && !is_words(value)
}

/// Claims Terraform Cloud tokens, around `atlasv1` at `at..end`.
pub(super) fn claim_terraform_token(scan: &TextScan<'_>, at: usize, end: usize) {
    let head = scan.bytes(at.saturating_sub(24)..at.saturating_sub(1));
    let head_len = head.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let is_in_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-_=".contains(byte);
    let len = bytes_ahead(scan, end + 1, 128).iter().take_while(is_in_token).count();
    if scan.byte_before(at, 1) == b'.' && scan.byte(end) == b'.' && head_len >= 10 && len >= 40 {
        scan.claim_for(RuleFamily::MarkedToken, at - 1 - head_len..end + 1 + len);
    }
}

/// Claims the AWS secret within three lines and `reach` bytes (before and after) of `at`, where a key id or the word
/// `aws` is.
pub(super) fn claim_aws_secret(scan: &TextScan<'_>, at: usize, reach: (usize, usize)) {
    let runs = &scan.anchors.base64_runs;
    let first_index = runs.partition_point(|run| run.end + reach.0 < at);
    for run in runs.iter().skip(first_index).take_while(|run| run.start < at + reach.1).take(8) {
        let counts = ByteCounts::count(scan.bytes(run.clone()));
        let between = scan.bytes(run.end.min(at)..run.start.max(at));
        let line_breaks = between.iter().filter(|byte| **byte == b'\n').count();
        let is_example = contains_any_case(scan.bytes(run.clone()), b"EXAMPLE");
        if run.len() == 40
            && !is_example
            && line_breaks <= 3
            && counts.upper > 2
            && counts.lower > 2
            && counts.digits > 0
            && counts.joints == 0
            && scan.byte(run.end) != b'='
            && !is_in_path(scan, run)
            && !scan.contains_placeholder(&(run.end.min(at)..run.start.max(at)))
        {
            scan.claim_for(RuleFamily::AwsSecret, run.clone());
        }
    }
}

/// Whether a run is part of a path: it has words between slashes, or is in a URL.
fn is_in_path(scan: &TextScan<'_>, run: &Range<usize>) -> bool {
    let content = scan.bytes(run.clone());
    let is_word = |piece: &&[u8]| piece.len() >= 4 && piece.iter().all(u8::is_ascii_alphabetic) && is_words(piece);
    let word_count = content.split(|byte| *byte == b'/').filter(is_word).count();
    word_count > 1 || word_count == 1 && content.contains(&b'/') && b"./".contains(&scan.byte_before(run.start, 1))
}
