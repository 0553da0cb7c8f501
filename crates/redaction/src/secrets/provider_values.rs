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
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes between a provider's name and the value.
const REACH: usize = 56;
/// Longest value, in bytes.
const MAX_VALUE: usize = 256;

/// Checks the text after the provider's name that ends at `end`. Returns the position from which the search for
/// providers continues.
pub(super) fn check_provider(scan: &TextScan<'_>, end: usize, claims: &mut PrivateClaims) -> usize {
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
                let is_claimed = claims.add_for(scan, RuleFamily::ProviderValue, end + from..end + from + value.len());
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
pub(super) fn claim_random_token(scan: &TextScan<'_>, word: &Range<usize>, claims: &mut PrivateClaims) {
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
            claims.add_for(scan, RuleFamily::Entropy, run.clone());
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
pub(super) fn check_token_shapes(scan: &TextScan<'_>, digit_run: &DigitRun, claims: &mut PrivateClaims) {
    // Nearly all runs are too short for the shapes that these bytes suggest
    let may_begin =
        AFTER_RUN.contains(digit_run.after) && (digit_run.len() >= 8 || matches!(digit_run.after, b'$' | b'~'));
    let may_end = BEFORE_RUN.contains(digit_run.before) && (digit_run.len() >= 18 || digit_run.before == b'/');
    if may_begin || may_end {
        claim_token_shape(scan, digit_run, claims);
    }
}

fn claim_token_shape(scan: &TextScan<'_>, digit_run: &DigitRun, claims: &mut PrivateClaims) {
    let run = &digit_run.range();
    let (family, found) = match (digit_run.after, digit_run.len()) {
        (b':', 8..=13) => (RuleFamily::TelegramToken, telegram_token(scan, run)),
        (b'|', 14..=17) => (RuleFamily::MarkedToken, facebook_token(scan, run)),
        (b'-', 32) => (RuleFamily::MailchimpKey, mailchimp_key(scan, run)),
        (b'.', 23..=28) if b"MNO".contains(&scan.byte(run.start)) => {
            (RuleFamily::DiscordToken, discord_token(scan, run))
        }
        (b'$', ..=8) => (RuleFamily::PasswordHash, password_hash(scan, run)),
        (_, 24) if digit_run.before == b'.' => (RuleFamily::MarkedToken, prefixed_token(scan, run, b"s.")),
        (_, 18) if digit_run.before == b'+' => (RuleFamily::MarkedToken, prefixed_token(scan, run, b"u+")),
        (_, _) if digit_run.before == b'/' && scan.byte(run.start) == b'0' => {
            (RuleFamily::MarkedToken, refresh_token(scan, run))
        }
        (_, 40) if digit_run.before == b'*' => (RuleFamily::PasswordHash, mysql_hash(scan, run)),
        (b'~', _) if scan.byte_before(run.end, 1) == b'Q' => (RuleFamily::AzureKey, azure_secret(scan, run)),
        _ => return,
    };
    if let Some(range) = found {
        claims.add_for(scan, family, range);
    }
}

/// The text from `at` on, up to `max_len` bytes, as far as it has only letters, digits and `marks`.
fn body_after<'t>(scan: &TextScan<'t>, at: usize, max_len: usize, marks: &[u8]) -> &'t [u8] {
    let rest = bytes_ahead(scan, at, max_len);
    let len = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || marks.contains(byte)).count();
    rest.get(..len).unwrap_or_default()
}

fn telegram_token(scan: &TextScan<'_>, run: &Range<usize>) -> Option<Range<usize>> {
    let digits = scan.bytes(run.clone()).iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let start = run.end - digits;
    let body = body_after(scan, run.end + 1, 64, b"-_");
    let is_bot = start == run.start || scan.bytes(run.start..start).eq_ignore_ascii_case(b"bot");
    let has_form = (8..=10).contains(&digits) && is_bot && body.starts_with(b"A") && (28..=40).contains(&body.len());
    (has_form && ByteCounts::count(body).distinct > 9).then(|| start..run.end + 1 + body.len())
}

/// Tokens with a letter and a sign before them: old Vault tokens (`s.`), PagerDuty user tokens (`u+`).
fn prefixed_token(scan: &TextScan<'_>, run: &Range<usize>, prefix: &[u8]) -> Option<Range<usize>> {
    let start = run.start.saturating_sub(prefix.len());
    let body = scan.bytes(run.clone());
    let counts = ByteCounts::count(body);
    let is_mixed =
        counts.upper > 1 && counts.lower > 1 && counts.digits > 1 && counts.distinct >= 11 && !is_words(body);
    let is_separate = scan.bytes(start..run.start) == prefix
        && !(scan.byte_before(start, 1).is_ascii_alphanumeric() || b"_$.".contains(&scan.byte_before(start, 1)))
        && !b"(_+/".contains(&scan.byte(run.end));
    (is_mixed && is_separate).then_some(start..run.end)
}

/// Google refresh tokens: `1//0` and a long body.
fn refresh_token(scan: &TextScan<'_>, run: &Range<usize>) -> Option<Range<usize>> {
    let start = run.start.checked_sub(3).filter(|start| scan.bytes(*start..run.start) == b"1//")?;
    let body = body_after(scan, run.start, 160, b"-_");
    let counts = ByteCounts::count(body);
    let is_mixed = body.len() >= 32 && counts.upper > 3 && counts.lower > 3 && counts.distinct >= 16 && !is_words(body);
    (is_mixed && !scan.byte_before(start, 1).is_ascii_alphanumeric()).then(|| start..run.start + body.len())
}

fn mailchimp_key(scan: &TextScan<'_>, run: &Range<usize>) -> Option<Range<usize>> {
    let rest = bytes_ahead(scan, run.end, 5);
    let digits = rest.iter().skip(3).take_while(|byte| byte.is_ascii_digit()).count();
    let is_hex = scan.bytes(run.clone()).iter().all(u8::is_ascii_hexdigit);
    (rest.starts_with(b"-us") && digits > 0 && is_hex).then(|| run.start..run.end + 3 + digits)
}

/// Facebook app tokens: a number, `|`, and 22 to 34 characters.
fn facebook_token(scan: &TextScan<'_>, run: &Range<usize>) -> Option<Range<usize>> {
    let body = body_after(scan, run.end + 1, 40, b"-_");
    let is_number = scan.bytes(run.clone()).iter().all(u8::is_ascii_digit);
    let counts = ByteCounts::count(body);
    (is_number && (22..=34).contains(&body.len()) && counts.distinct > 9 && counts.upper > 1)
        .then(|| run.start..run.end + 1 + body.len())
}

/// Claims Terraform Cloud tokens, around `atlasv1` at `at..end`.
pub(super) fn claim_terraform_token(scan: &TextScan<'_>, at: usize, end: usize, claims: &mut PrivateClaims) {
    let head = scan.bytes(at.saturating_sub(24)..at.saturating_sub(1));
    let head_len = head.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let len = body_after(scan, end + 1, 128, b"-_=").len();
    if scan.byte_before(at, 1) == b'.' && scan.byte(end) == b'.' && head_len >= 10 && len >= 40 {
        claims.add_for(scan, RuleFamily::MarkedToken, at - 1 - head_len..end + 1 + len);
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

/// MySQL password hashes: `*` and 40 upper-case hex digits.
fn mysql_hash(scan: &TextScan<'_>, run: &Range<usize>) -> Option<Range<usize>> {
    let is_upper_hex = |byte: &u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte);
    scan.bytes(run.clone()).iter().all(is_upper_hex).then(|| run.start - 1..run.end)
}

/// Discord bot tokens: the id in base64, a time, a digest.
fn discord_token(scan: &TextScan<'_>, run: &Range<usize>) -> Option<Range<usize>> {
    let rest = bytes_ahead(scan, run.end + 1, 64);
    let mut parts = rest.split(|byte| !byte.is_ascii_alphanumeric() && !b"-_".contains(byte));
    let (time, digest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let has_second_dot = rest.get(time.len()) == Some(&b'.');
    (has_second_dot && (5..=7).contains(&time.len()) && digest.len() >= 24)
        .then(|| run.start..run.end + 2 + time.len() + digest.len())
}

/// Azure client secrets: three characters, a digit, `Q~`, and 25 to 40 more.
fn azure_secret(scan: &TextScan<'_>, run: &Range<usize>) -> Option<Range<usize>> {
    let start = run.end.checked_sub(5)?;
    let body = body_after(scan, run.end + 1, 48, b"-_.~");
    let head = scan.bytes(start..run.end);
    let has_digits = head.get(3).is_some_and(u8::is_ascii_digit) && body.iter().any(u8::is_ascii_digit);
    let is_head = head.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte));
    (has_digits && is_head && (25..=40).contains(&body.len())).then(|| start..run.end + 1 + body.len())
}
