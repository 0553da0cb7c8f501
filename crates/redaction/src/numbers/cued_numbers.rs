//! Finds values that only a word or key next to them identifies: accounts, passports, licences, medical, tax and
//! national ids, devices, vehicles. A value must have a plausible size for its kind; the farther its word, the stricter
//! the shape or check. Dates, times and hashes are excluded. The words are in `pii.yaml`.

use std::ops::{Range, RangeInclusive};

use super::super::rule::RuleFamily;
use super::super::scan::TextScan;
use super::super::sets::ByteSet;
use super::super::validate::{bank, lettered_checks, national};
use super::number_cues::{CueDistance, NumberCues, country_start, series_start};
use super::number_site::{self, NumberFinding, NumberSite};
use super::{card, date, phone};

/// Most bytes in a value.
const MAX_TOKEN: usize = 40;

/// Letters, digits and dashes.
static IN_TOKEN: ByteSet = ByteSet::new(b"-").and_alnum();

/// A value of letters, digits and dashes.
pub(super) struct AlnumToken {
    /// Its range in the text.
    range: Range<usize>,
    digits: usize,
    letters: usize,
    lower: usize,
}

impl AlnumToken {
    /// Reads the token around a run: letters, digits and single dashes.
    pub(super) fn around(scan: &TextScan<'_>, run: &Range<usize>) -> Option<Self> {
        let before = scan.bytes(run.start.saturating_sub(MAX_TOKEN)..run.start);
        let start = run.start - IN_TOKEN.count_trailing(before);
        let end = run.start + IN_TOKEN.count_leading(scan.bytes(run.start..run.start + MAX_TOKEN + 1));
        let text = scan.bytes(start..end);
        let leading_dashes = text.iter().take_while(|byte| **byte == b'-').count();
        let trailing_dashes = text.iter().rev().take_while(|byte| **byte == b'-').count();
        let mut start = start + leading_dashes;
        if scan.is_escape_letter(start + 1) {
            start += 1;
        } else if scan.byte_before(start, 1) == b'\\' {
            // An escape such as \u2556 is not a value
            return None;
        }
        Self::from_range(scan, start..end.checked_sub(trailing_dashes)?)
    }

    /// Makes the token of a range; `None` if it is too long or part of something longer.
    fn from_range(scan: &TextScan<'_>, range: Range<usize>) -> Option<Self> {
        let text = scan.bytes(range.clone());
        let (after, second_after) = (scan.byte(range.end), scan.byte(range.end + 1));
        let is_attached = after == b'_'
            || scan.byte_before(range.start, 1) == b'_'
            || (b".:@".contains(&after) && (second_after.is_ascii_alphanumeric() || second_after == b'['));
        if is_attached || !(1..=MAX_TOKEN).contains(&text.len()) {
            return None;
        }
        let (mut digits, mut letters, mut lower, mut previous) = (0, 0, 0, b' ');
        for byte in text {
            if *byte == b'-' && previous == b'-' {
                return None;
            }
            previous = *byte;
            digits += usize::from(byte.is_ascii_digit());
            letters += usize::from(byte.is_ascii_alphabetic());
            lower += usize::from(byte.is_ascii_lowercase());
        }
        Some(Self { range, digits, letters, lower })
    }

    fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether it has only capitals and digits, as printed ids do.
    fn is_upper(&self) -> bool {
        self.lower == 0
    }
}

/// Finds the value at a site that the words around it announce.
pub(super) fn match_announced(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    if site.cues().is_empty() {
        return match_code_before_word(site);
    }
    for (family, distance) in site.cues().by_distance() {
        let found = match_spaced_digits(site, family, distance).or_else(|| match family {
            RuleFamily::PhoneCued => phone::match_announced_phone(site, distance),
            RuleFamily::CardCued => card::match_announced_card(site, distance),
            RuleFamily::CardCode => card::match_card_code(site, distance),
            RuleFamily::OneTimeCode => match_one_time_code(site, distance),
            RuleFamily::CardExpiry => card::match_expiry_date(site, distance),
            RuleFamily::Birth => date::match_birth_date(site),
            RuleFamily::SsnCued => match_ssn(site, distance),
            RuleFamily::Routing => match_routing_number(site, distance),
            _ => match_grouped(site, family, distance).or_else(|| {
                let run = site.chain.range(site.first, site.first);
                let token = AlnumToken::around(site.scan, &run).filter(|_| site.is_detached_before())?;
                match_token(site.scan, &token, family, distance)
            }),
        });
        if found.is_some() {
            return found.map(|found| extend_by_country(site.scan, found));
        }
    }
    match_code_before_word(site)
}

/// `482913 is your code`.
fn match_code_before_word(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    if site.cues().announces_code { match_one_time_code(site, CueDistance::Close) } else { None }
}

/// Finds a one-time code: four to eight digits, or a few groups such as `482 913`. Its word must be next to it, because
/// most short numbers count something.
fn match_one_time_code(site: &NumberSite<'_, '_>, distance: CueDistance) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let groups: [&[usize]; 3] = [&[3, 3], &[2, 2, 2], &[4, 4]];
    let last = match groups.iter().find(|lens| chain.has_groups(first, lens, b" -").is_some()) {
        Some(lens) => first + lens.len() - 1,
        None => first,
    };
    let has_code_length = distance != CueDistance::Near && (4..=8).contains(&chain.digit_count(first, last));
    let range = chain.range(first, last);
    // `auth.rs:1234` is a line number, `20251125` a day
    let key = if site.scan.byte_before(range.start, 1) == b':' { site.cues().key.clone() } else { None };
    let is_line_number = key.is_some_and(|key| site.scan.bytes(key).contains(&b'.'));
    let is_date = last == first && date::numeric_date(site).is_some();
    (has_code_length && !is_line_number && !is_date && site.is_separate(last) && !is_amount(site.scan, range.end))
        .then_some(NumberFinding { family: RuleFamily::OneTimeCode, range })
}

/// Whether the word after a number says what it counts: `your code is 1200 lines long`.
fn is_amount(scan: &TextScan<'_>, end: usize) -> bool {
    let rest = scan.bytes(end..end + 16);
    let word = rest.strip_prefix(b" ").unwrap_or_default();
    let len = word.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    number_site::is_thing(word.get(..len).unwrap_or_default())
}

/// Extends a tax or national id, or a passport number, by the country letters or series before it.
fn extend_by_country(scan: &TextScan<'_>, found: NumberFinding) -> NumberFinding {
    let start = match found.family {
        RuleFamily::TaxCued | RuleFamily::NationalCued => country_start(scan, found.range.start),
        RuleFamily::Passport => series_start(scan, found.range.start),
        _ => found.range.start,
    };
    NumberFinding { range: start..found.range.end, ..found }
}

/// Finds single digits separated from each other, `4 1 1 1 …`, as many as the kind has.
fn match_spaced_digits(site: &NumberSite<'_, '_>, family: RuleFamily, distance: CueDistance) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let count = match family {
        RuleFamily::PhoneCued => 10..=11,
        RuleFamily::CardCued => 13..=16,
        RuleFamily::SsnCued => 9..=9,
        _ => return None,
    };
    let last = chain.count.checked_sub(1)?;
    let has_single_digits = first == 0 && chain.len(0) == 1 && (0..=last).all(|index| chain.len(index) == 1);
    (has_single_digits && distance != CueDistance::Near && count.contains(&chain.count) && site.is_detached_after(last))
        .then(|| NumberFinding { family, range: chain.range(first, last) })
}

/// Finds the value in a run with letters that the words before it announce.
pub(super) fn match_announced_run(scan: &TextScan<'_>, run: &Range<usize>) -> Option<NumberFinding> {
    let token = AlnumToken::around(scan, run)?;
    let mut cues = NumberCues::around(scan, &token.range);
    if cues.is_empty() && !cues.announces_code && token.range.start < run.start {
        // MRN-123456: the word is the first part of the value
        cues = NumberCues::around(scan, &(run.start..token.range.end));
    }
    let one_time_code = if cues.announces_code { Some((RuleFamily::OneTimeCode, CueDistance::Close)) } else { None };
    cues.by_distance()
        .chain(one_time_code)
        .find_map(|(family, distance)| match_token(scan, &token, family, distance))
        .map(|found| extend_by_country(scan, found))
}

/// Finds a social security number: nine digits in any groups.
fn match_ssn(site: &NumberSite<'_, '_>, distance: CueDistance) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let last = (first..chain.count.min(first + 3)).find(|last| chain.digit_count(first, *last) >= 9)?;
    let (digits, length) = site.digits::<12>(first, last)?;
    let has_nine_digits = length == 9 && site.is_separate(last);
    let is_grouped = last == first || chain.has_groups(first, &[3, 2, 4], b"-. /").is_some();
    let is_plausible = distance != CueDistance::Near
        || (is_grouped && national::is_ssn(digits.get(..length)?) && !site.counts_thing());
    (has_nine_digits && is_plausible)
        .then(|| NumberFinding { family: RuleFamily::SsnCued, range: chain.range(first, last) })
}

/// Finds a routing number (nine digits of the ABA) or a sort code (six digits, `12-34-56`, `123-456`).
fn match_routing_number(site: &NumberSite<'_, '_>, distance: CueDistance) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let has_nine_digits = chain.has_groups(first, &[9], b"").is_some();
    let (digits, length) = site.digits::<9>(first, first)?;
    let may_be_routing_number =
        has_nine_digits && (distance != CueDistance::Near || bank::is_routing_number(digits.get(..length)?));
    let may_be_sort_code = distance != CueDistance::Near
        && (chain.has_groups(first, &[6], b"").is_some()
            || chain.has_groups(first, &[2, 2, 2], b"- ").is_some()
            || chain.has_groups(first, &[3, 3], b"- ").is_some());
    let last = match (chain.len(first), may_be_sort_code) {
        (2, true) => first + 2,
        (3, true) => first + 1,
        _ => first,
    };
    ((may_be_routing_number || may_be_sort_code) && site.is_detached_after(last) && site.is_detached_before())
        .then(|| NumberFinding { family: RuleFamily::Routing, range: chain.range(first, last) })
}

/// Finds digits in groups between blanks, dashes, dots or slashes, for kinds that are written so.
fn match_grouped(site: &NumberSite<'_, '_>, family: RuleFamily, distance: CueDistance) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let sep = chain.group(first).sep;
    if distance == CueDistance::Near || !matches!(sep, b' ' | b'-' | b'.' | b'/') || is_date(site) {
        return None;
    }
    let mut last = first;
    // `59 123/4562`
    let continues = |next_sep: u8| {
        next_sep == sep || family == RuleFamily::TaxCued && matches!((sep, next_sep), (b' ' | b'-', b'/'))
    };
    while last + 1 < chain.count && continues(chain.group(last).sep) && last < first + 6 {
        last += 1;
    }
    // A decimal number is not an id
    if sep == b'.' && last < first + 2 {
        return None;
    }
    let digits = chain.digit_count(first, last);
    let has_long_groups = (first..=last)
        .all(|index| chain.len(index) >= 2 || index == first && family == RuleFamily::NationalCued)
        || family == RuleFamily::MedicalCued
        || family == RuleFamily::TaxCued;
    let (min_digits, max_digits) = match family {
        RuleFamily::Account => (7, 24),
        RuleFamily::TaxCued => (8, 15),
        RuleFamily::NationalCued => (8, 18),
        RuleFamily::MedicalCued => (7, 14),
        RuleFamily::License | RuleFamily::Passport => (7, 16),
        RuleFamily::Device => (14, 16),
        _ => return None,
    };
    let has_plausible_size = (min_digits..=max_digits).contains(&digits) && (has_long_groups || sep != b' ');
    (has_plausible_size && site.is_separate(last)).then(|| NumberFinding { family, range: chain.range(first, last) })
}

fn is_date(site: &NumberSite<'_, '_>) -> bool {
    let (chain, first) = (site.chain, site.first);
    let lens = (chain.len(first), chain.len(first + 1), chain.len(first + 2));
    matches!(lens, (4, 1 | 2, 1 | 2) | (1 | 2, 1 | 2, 4)) && chain.group(first).sep == chain.group(first + 1).sep
}

/// Finds a token that its word announces, if size and shape fit the kind.
fn match_token(
    scan: &TextScan<'_>,
    token: &AlnumToken,
    family: RuleFamily,
    distance: CueDistance,
) -> Option<NumberFinding> {
    let text = scan.bytes(token.range.clone());
    let is_near = distance == CueDistance::Near;
    let (len, digits) = (token.len(), token.digits);
    let is_key_value = distance == CueDistance::Key;
    let is_printed = token.is_upper() || token.letters <= 4;
    let may_be_hash = token.lower > 0 && len >= 16;
    let is_id = |lengths: RangeInclusive<usize>, min_digits: usize, passes_check: &dyn Fn() -> bool| {
        let has_size = lengths.contains(&len) && digits >= min_digits;
        has_size && is_printed && (!is_near || passes_check()) && !begins_with_date(text)
    };
    let has_shape = match family {
        RuleFamily::Account => {
            // `X509v3` is not an account
            let min_digits = if token.lower > 0 { 6 } else { 4 + usize::from(!is_key_value) };
            !is_near && digits >= min_digits && len <= 34 && is_printed && !begins_with_date(text)
        }
        RuleFamily::TaxCued => is_id(7..=18, 7 - 2 * usize::from(token.letters > 0), &|| is_tax_id(text)),
        RuleFamily::NationalCued => is_id(5..=20, 5, &|| is_national_id(text)),
        RuleFamily::Passport => is_id(6..=12, 4, &|| is_lettered(token, text, 6)),
        RuleFamily::License => is_id(5..=20, 3, &|| is_lettered(token, text, 6)),
        RuleFamily::MedicalCued => is_id(5..=20, 4, &|| is_medical_id(text)),
        RuleFamily::Device => is_device(token, text) && (!is_near || digits == 15 || len == 36),
        RuleFamily::VehicleCued => is_vehicle(token, text) && (!is_near || len == 17),
        RuleFamily::Wallet => (26..=64).contains(&len) && digits >= 2 && !is_near && !text.contains(&b'-'),
        // `G-482913`, `A7K2P9`
        RuleFamily::OneTimeCode => {
            !is_near && (4..=9).contains(&len) && digits >= 3 && token.is_upper() && !begins_with_date(text)
        }
        RuleFamily::SsnCued => is_key_value && digits == 9 && token.letters == 0,
        _ => false,
    };
    (has_shape && (!may_be_hash || matches!(family, RuleFamily::Wallet | RuleFamily::Device)))
        .then(|| NumberFinding { family, range: token.range.clone() })
}

/// Whether a text begins with a date such as `2024-05-06`.
fn begins_with_date(text: &[u8]) -> bool {
    matches!(text, [b'1' | b'2', _, _, _, b'-', a, b, b'-', ..] if a.is_ascii_digit() && b.is_ascii_digit())
}

/// Whether a token has one or two letters, a capital first, and at least `min_digits` digits.
fn is_lettered(token: &AlnumToken, text: &[u8], min_digits: usize) -> bool {
    matches!(token.letters, 1 | 2)
        && token.is_upper()
        && token.digits >= min_digits
        && text.first().is_some_and(u8::is_ascii_uppercase)
}

/// The digits of a text; `None` if it has more than eighteen, or anything other than digits and dashes.
fn parse_digits(text: &[u8]) -> Option<([u8; 18], usize)> {
    let (mut digits, mut length) = ([0_u8; 18], 0);
    for byte in text.iter().filter(|byte| **byte != b'-') {
        *digits.get_mut(length)? = byte.is_ascii_digit().then(|| byte - b'0')?;
        length += 1;
    }
    Some((digits, length))
}

fn passes_any_check(text: &[u8], checks: &[fn(&[u8]) -> bool]) -> bool {
    parse_digits(text)
        .is_some_and(|(digits, length)| checks.iter().any(|check| check(digits.get(..length).unwrap_or_default())))
}

fn is_tax_id(text: &[u8]) -> bool {
    use national::*;
    let checks: [fn(&[u8]) -> bool; 10] = [
        is_abn,
        is_acn,
        is_tfn,
        is_cuit,
        is_steuer_id,
        is_uk_vat,
        is_itin,
        is_partita_iva,
        is_belgian_enterprise,
        is_rnokpp,
    ];
    let is_ein = lettered_checks::matches_shape(text, "99-9999999");
    is_ein || passes_any_check(text, &checks)
}

fn is_national_id(text: &[u8]) -> bool {
    use national::*;
    let checks: [fn(&[u8]) -> bool; 15] = [
        is_cpf,
        is_pesel,
        is_sin,
        is_aadhaar,
        is_bsn,
        is_nir,
        is_personnummer,
        is_kimlik,
        is_thai_id,
        is_emirates_id,
        is_my_number,
        is_belgian_national_number,
        is_austrian_insurance_number,
        is_snils,
        is_israeli_id,
    ];
    passes_any_check(text, &checks)
}

fn is_medical_id(text: &[u8]) -> bool {
    passes_any_check(text, &[national::is_nhs_number, national::is_npi, national::is_australian_medicare])
        || lettered_checks::is_dea(text)
}

/// Whether a token may be an IMEI or an advertising id.
fn is_device(token: &AlnumToken, text: &[u8]) -> bool {
    let is_imei = token.letters == 0 && (14..=16).contains(&token.digits);
    let is_uuid = text.len() == 36 && text.iter().filter(|byte| **byte == b'-').count() == 4;
    is_imei || is_uuid || (token.len() >= 12 && token.digits >= 4 && token.is_upper())
}

/// Whether a token may be a VIN or a number plate.
fn is_vehicle(token: &AlnumToken, text: &[u8]) -> bool {
    lettered_checks::is_vin_shape(text)
        || ((4..=10).contains(&token.len()) && token.digits >= 1 && token.letters >= 1 && token.is_upper())
        || ((5..=9).contains(&token.len()) && token.letters == 0 && token.digits >= 5)
}

/// Finds a number plate after its word, which ends at `end`: capitals and digits in up to three parts.
pub(super) fn plate_after(scan: &TextScan<'_>, end: usize) -> Option<Range<usize>> {
    const LINKING_WORDS: [&str; 7] = ["number", "no", "is", "plate", "nr", "the", "was"];
    let rest = scan.bytes(end..end + 48);
    let mut at = 0;
    loop {
        at += rest.get(at..)?.iter().take_while(|byte| b" :=\"'\\_-#*(".contains(byte)).count();
        let word = rest.get(at..)?;
        let length = word.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let name = word.get(..length).filter(|name| !name.is_empty())?;
        if !LINKING_WORDS.iter().any(|link| link.as_bytes().eq_ignore_ascii_case(name)) {
            break;
        }
        at += length;
    }
    let is_printed = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let (mut length, mut parts, mut digits) = (0, 0, 0);
    let word = rest.get(at..)?;
    while parts < 3 {
        let gap = usize::from(parts > 0);
        if gap == 1 && !word.get(length).is_some_and(|byte| b" -".contains(byte)) {
            break;
        }
        let part = word.get(length + gap..)?;
        let part_len = part.iter().take_while(|byte| is_printed(byte)).count();
        let is_whole = part.get(part_len).is_none_or(|next| !next.is_ascii_alphanumeric() && *next != b'_');
        if part_len == 0 || !is_whole || length + gap + part_len > 11 {
            break;
        }
        digits += part.iter().take(part_len).filter(|byte| byte.is_ascii_digit()).count();
        length += gap + part_len;
        parts += 1;
    }
    let is_plate = length >= 4 && (1..=8).contains(&digits) && digits < length;
    is_plate.then_some(end + at..end + at + length)
}

/// Finds a BIC after its word, which ends at `end`.
pub(super) fn bic_after(scan: &TextScan<'_>, end: usize) -> Option<Range<usize>> {
    let rest = scan.bytes(end..end + 40);
    if rest.first() == Some(&b'_') && rest.get(1).is_some_and(u8::is_ascii_uppercase) {
        return None;
    }
    let mut at = 0;
    loop {
        at += rest.get(at..)?.iter().take_while(|byte| !byte.is_ascii_alphanumeric() && **byte != b'\n').count();
        let word = rest.get(at..)?;
        let length = word.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let word = word.get(..length).filter(|word| !word.is_empty())?;
        if bank::is_bic(word) && scan.byte(end + at + length) != b'_' {
            return Some(end + at..end + at + length);
        }
        if !word_set!("numbers.bic_linking_words").contains(word) {
            return None;
        }
        at += length;
    }
}
