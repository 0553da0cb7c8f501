//! Finds values that are secret because of a provider's name before them (`datadog: 0f1e…`), because half of the
//! providers' keys have no prefix; and tokens with a shape of their own, found from a run with digits (Telegram,
//! Mailchimp, Azure's `Q~`). A value begins at most [`REACH`] bytes after a name, on its line or the next one; commits,
//! digests and ids stay. Keys that name a secret are in `assign`.

use std::ops::Range;

use super::super::anchors::DigitRun;
use super::super::pairs::ends_with;
use super::super::sets::ByteSet;
use super::byte_counts::ByteCounts;
use super::references::is_reference;
use super::value_facts::{contains_any_case, is_path, is_twilio_id, is_uuid};
use super::word_score::is_words;
use crate::rule::RuleFamily;
use crate::scan::{TextScan, bytes_ahead};

/// Most bytes between a provider's name and the value.
const REACH: usize = 56;
/// Longest value, in bytes.
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

/// Bytes after and before the runs from which token shapes are found.
static AFTER_RUN: ByteSet = ByteSet::new(b":|-.$~");
static BEFORE_RUN: ByteSet = ByteSet::new(b".+/*");

/// Checks a run of letters and digits; the bytes next to it reject most.
#[inline]
pub(super) fn check_token_shapes(scan: &TextScan<'_>, digit_run: &DigitRun) {
    // Nearly all runs are too short for the shapes that these bytes suggest
    let may_begin =
        AFTER_RUN.contains(digit_run.after) && (digit_run.len() >= 8 || matches!(digit_run.after, b'$' | b'~'));
    let may_end = BEFORE_RUN.contains(digit_run.before) && (digit_run.len() >= 18 || digit_run.before == b'/');
    if may_begin || may_end {
        claim_token_shape(scan, digit_run);
    }
}

fn claim_token_shape(scan: &TextScan<'_>, digit_run: &DigitRun) {
    use RuleFamily::{AzureKey, DiscordToken, MailchimpKey, MarkedToken, PasswordHash, TelegramToken};
    let (run, before) = (&digit_run.range(), digit_run.before);
    let bot = 3 * usize::from(scan.bytes(run.start..run.start + 3).eq_ignore_ascii_case(b"bot"));
    // Where the token begins, its form, where its random part begins, and the fewest different bytes and digits of that
    let (family, start, form, (random, distinct, digits)) = match (digit_run.after, digit_run.len()) {
        (b':', 8..=13) => {
            let form = code_pattern!(r"((?-u:\d{8,10}:A[\w-]{27,39}))(?:[^\w-]|$)");
            (TelegramToken, run.start + bot, form, (run.end + 1, 10, 0))
        }
        // Facebook's app tokens
        (b'|', 14..=17) => {
            let form = code_pattern!(r"((?-u:\d+\|[\w-]{22,34}))(?:[^\w-]|$)");
            (MarkedToken, run.start, form, (run.end + 1, 10, 0))
        }
        (b'-', 32) => (MailchimpKey, run.start, code_pattern!(r"[A-Fa-f0-9]{32}-us[0-9]{1,2}"), (run.start, 0, 0)),
        // The id in base64, a time, a digest
        (b'.', 23..=28) => {
            let form = code_pattern!(r"(?-u:[MNO][A-Za-z\d]+\.[\w-]{5,7}\.[\w-]{24,})");
            (DiscordToken, run.start, form, (run.start, 0, 0))
        }
        (b'$', ..=8) => {
            password_hash(scan, run).into_iter().for_each(|range| drop(scan.claim_for(PasswordHash, range)));
            return;
        }
        // Old tokens of Vault, and of users of PagerDuty
        (_, 24 | 18) if matches!(before, b'.' | b'+') => {
            let start = run.start.saturating_sub(2);
            let form = code_pattern!(r"(s\.[A-Za-z0-9]{24}|u\+[A-Za-z0-9]{18})(?:[^(_+/]|$)");
            let before = scan.byte_before(start, 1);
            if before.is_ascii_alphanumeric() || b"_$.".contains(&before) {
                return;
            }
            (MarkedToken, start, form, (run.start, 11, 2))
        }
        // Google's refresh tokens
        (_, _) if before == b'/' && !scan.byte_before(run.start, 4).is_ascii_alphanumeric() => {
            let form = code_pattern!(r"1//(?-u:0[\w-]{31,})");
            (MarkedToken, run.start.saturating_sub(3), form, (run.start, 16, 0))
        }
        // MySQL's passwords
        (_, 40) if before == b'*' => (PasswordHash, run.start - 1, code_pattern!(r"\*[0-9A-F]{40}"), (run.start, 0, 0)),
        (b'~', 5..) => {
            let form = code_pattern!(r"((?-u:[\w.~-]{3}\dQ~[\w.~-]{25,40}))(?:[^\w.~-]|$)");
            (AzureKey, run.end - 5, form, (run.end + 1, 1, 1))
        }
        _ => return,
    };
    let Some(len) = form.match_len(scan.text_after(start, MAX_VALUE)) else { return };
    let random = scan.bytes(random..start + len);
    let counts = ByteCounts::count(random);
    let is_random = distinct < 2 || counts.distinct >= distinct && counts.upper > 1 && !is_words(random);
    if is_random && counts.digits >= digits {
        scan.claim_for(family, start..start + len);
    }
}

/// The text from `at` on, up to `max_len` bytes, as far as it has only letters, digits and `marks`.
fn body_after<'t>(scan: &TextScan<'t>, at: usize, max_len: usize, marks: &[u8]) -> &'t [u8] {
    let rest = bytes_ahead(scan, at, max_len);
    let len = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || marks.contains(byte)).count();
    rest.get(..len).unwrap_or_default()
}

/// Claims Terraform Cloud tokens, around `atlasv1` at `at..end`.
pub(super) fn claim_terraform_token(scan: &TextScan<'_>, at: usize, end: usize) {
    let head = scan.bytes(at.saturating_sub(24)..at.saturating_sub(1));
    let head_len = head.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let len = body_after(scan, end + 1, 128, b"-_=").len();
    if scan.byte_before(at, 1) == b'.' && scan.byte(end) == b'.' && head_len >= 10 && len >= 40 {
        scan.claim_for(RuleFamily::MarkedToken, at - 1 - head_len..end + 1 + len);
    }
}

/// Password hashes in crypt format, `$2y$10$…`, `$6$salt$…`, `$apr1$…`, `$argon2id$…`, and Django's `pbkdf2_sha256$…`.
fn password_hash(scan: &TextScan<'_>, run: &Range<usize>) -> Option<Range<usize>> {
    let scheme = scan.bytes(run.clone());
    let is_pbkdf2 = scan.bytes(run.start.saturating_sub(7)..run.start) == b"pbkdf2_" && scheme.starts_with(b"sha");
    let is_crypt = scan.byte_before(run.start, 1) == b'$'
        && byte_list!("secrets.crypt_schemes").contains(&scheme)
        && (!scan.byte_before(run.start, 2).is_ascii_alphanumeric() || scan.is_escape_letter(run.start - 1));
    if !is_pbkdf2 && !is_crypt {
        return None;
    }
    let hash = body_after(scan, run.end, 160, b"./$=,+-");
    // The hash follows a cost or salt
    let longest = hash.split(|byte| *byte == b'$').skip(2).map(<[u8]>::len).max().unwrap_or(0);
    let start = run.start - if is_pbkdf2 { 7 } else { 1 };
    (longest >= 18).then(|| start..run.end + hash.len())
}
