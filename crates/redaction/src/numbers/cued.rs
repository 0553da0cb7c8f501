//! Finds values that only the word or key before them identifies: accounts, passports, licences, medical, tax and
//! national ids, devices, vehicles. A value must have a plausible size for its kind; the farther its word, the stricter
//! the shape or check. Dates, times and hashes are excluded. The words are in `pii.yaml`.

use std::ops::Range;
use std::sync::LazyLock;

use super::super::rule::Family;
use super::super::scan::Scan;
use super::super::sets::{Bytes, Words};
use super::super::validate::{bank, lettered, national};
use super::cues::{Cues, Grade, country, series};
use super::site::{self, Found, Site};
use super::{card, date, phone};
use crate::wordlists;

/// Most bytes in a value.
const MOST: usize = 40;

/// Letters, digits and dashes.
static IN_TOKEN: Bytes = Bytes::of(b"-").and_alnum();

/// A value of letters, digits and dashes.
pub(super) struct Token {
    /// Its range in the text.
    range: Range<usize>,
    digits: usize,
    letters: usize,
    lower: usize,
}

impl Token {
    /// Reads the token around a run: letters, digits and single dashes.
    pub(super) fn around(scan: &Scan<'_>, run: &Range<usize>) -> Option<Self> {
        let before = scan.bytes(run.start.saturating_sub(MOST)..run.start);
        let start = run.start - IN_TOKEN.trailing(before);
        let end = run.start + IN_TOKEN.leading(scan.bytes(run.start..run.start + MOST + 1));
        let text = scan.bytes(start..end);
        let lead = text.iter().take_while(|byte| **byte == b'-').count();
        let tail = text.iter().rev().take_while(|byte| **byte == b'-').count();
        let mut start = start + lead;
        if scan.escaped(start + 1) {
            start += 1;
        } else if scan.before(start, 1) == b'\\' {
            // An escape such as \u2556 is not a value
            return None;
        }
        Self::of(scan, start..end.checked_sub(tail)?)
    }

    /// Makes the token of a range; `None` if it is too long or part of something longer.
    fn of(scan: &Scan<'_>, range: Range<usize>) -> Option<Self> {
        let text = scan.bytes(range.clone());
        let (near, next) = (scan.byte(range.end), scan.byte(range.end + 1));
        let cut = near == b'_'
            || scan.before(range.start, 1) == b'_'
            || (b".:@".contains(&near) && (next.is_ascii_alphanumeric() || next == b'['));
        if cut || !(1..=MOST).contains(&text.len()) {
            return None;
        }
        let (mut digits, mut letters, mut lower, mut last) = (0, 0, 0, b' ');
        for byte in text {
            if *byte == b'-' && last == b'-' {
                return None;
            }
            last = *byte;
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

/// Finds the value at a site that the words before it announce.
pub(super) fn at_site(site: &Site<'_, '_>) -> Option<Found> {
    if site.cues().is_empty() {
        return code_before(site);
    }
    for (family, grade) in site.cues().best() {
        let found = spaced(site, family, grade).or_else(|| match family {
            Family::PhoneCued => phone::cued(site, grade),
            Family::CardCued => card::cued(site, grade),
            Family::CardCode => card::code(site, grade),
            Family::OneTimeCode => one_time(site, grade),
            Family::CardExpiry => card::expiry(site, grade),
            Family::Birth => date::cued(site, grade),
            Family::SsnCued => social(site, grade),
            Family::Routing => routing(site, grade),
            _ => grouped(site, family, grade).or_else(|| {
                let run = site.chain.range(site.first, site.first);
                let token = Token::around(site.scan, &run).filter(|_| site.is_free())?;
                token_of(site.scan, &token, family, grade)
            }),
        });
        if found.is_some() {
            return found.map(|found| with_country(site.scan, found));
        }
    }
    code_before(site)
}

/// `482913 is your code`.
fn code_before(site: &Site<'_, '_>) -> Option<Found> {
    if site.cues().announces_code { one_time(site, Grade::Close) } else { None }
}

/// Finds a one-time code: four to eight digits, or a few groups such as `482 913`. Its word must be next to it, because
/// most short numbers count something.
fn one_time(site: &Site<'_, '_>, grade: Grade) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    let groups: [&[usize]; 3] = [&[3, 3], &[2, 2, 2], &[4, 4]];
    let last = match groups.iter().find(|lens| chain.is(first, lens, b" -").is_some()) {
        Some(lens) => first + lens.len() - 1,
        None => first,
    };
    let fits = grade != Grade::Near && (4..=8).contains(&chain.digits(first, last)) && chain.is_free_behind(last);
    let range = chain.range(first, last);
    // `auth.rs:1234` is a line number, `20251125` a day
    let key = if site.scan.before(range.start, 1) == b':' { site.cues().key.clone() } else { None };
    let line = key.is_some_and(|key| site.scan.bytes(key).contains(&b'.'));
    let day = last == first && date::numeric(site).is_some();
    (fits && !line && !day && site.ends_well(last) && site.is_free() && !is_amount(site.scan, range.end))
        .then_some(Found { family: Family::OneTimeCode, range })
}

/// Whether the word behind a number says what it counts: `your code is 1200 lines long`.
fn is_amount(scan: &Scan<'_>, end: usize) -> bool {
    let rest = scan.bytes(end..end + 16);
    let word = rest.strip_prefix(b" ").unwrap_or_default();
    let len = word.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    site::is_thing(word.get(..len).unwrap_or_default())
}

/// Extends a tax or national id, or a passport number, by the country letters or series before it.
fn with_country(scan: &Scan<'_>, found: Found) -> Found {
    let start = match found.family {
        Family::TaxCued | Family::NationalCued => country(scan, found.range.start),
        Family::Passport => series(scan, found.range.start),
        _ => found.range.start,
    };
    Found { range: start..found.range.end, ..found }
}

/// Finds single digits separated from each other, `4 1 1 1 …`, as many as the kind has.
fn spaced(site: &Site<'_, '_>, family: Family, grade: Grade) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    let count = match family {
        Family::PhoneCued => 10..=11,
        Family::CardCued => 13..=16,
        Family::SsnCued => 9..=9,
        _ => return None,
    };
    let last = chain.count.checked_sub(1)?;
    let single = first == 0 && chain.len(0) == 1 && (0..=last).all(|index| chain.len(index) == 1);
    (single && grade != Grade::Near && count.contains(&chain.count) && site.ends_well(last))
        .then(|| Found { family, range: chain.range(first, last) })
}

/// Finds the value in a run with letters that the words before it announce.
pub(super) fn at_run(scan: &Scan<'_>, run: &Range<usize>) -> Option<Found> {
    let token = Token::around(scan, run)?;
    let mut cues = Cues::of(scan, &token.range);
    if cues.is_empty() && !cues.announces_code && token.range.start < run.start {
        // MRN-123456: the word is the first part of the value
        cues = Cues::of(scan, &(run.start..token.range.end));
    }
    let code = if cues.announces_code { Some((Family::OneTimeCode, Grade::Close)) } else { None };
    cues.best()
        .chain(code)
        .find_map(|(family, grade)| token_of(scan, &token, family, grade))
        .map(|found| with_country(scan, found))
}

/// Finds a social security number: nine digits in any groups.
fn social(site: &Site<'_, '_>, grade: Grade) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    let last = (first..chain.count.min(first + 3)).find(|last| chain.digits(first, *last) >= 9)?;
    let (digits, length) = site.digits::<12>(first, last)?;
    let whole = length == 9 && chain.is_free_behind(last) && site.ends_well(last) && site.is_free();
    let shaped = last == first || chain.is(first, &[3, 2, 4], b"-. /").is_some();
    let fits = grade != Grade::Near || (shaped && national::ssn(digits.get(..length)?) && !site.is_denied());
    (whole && fits).then(|| Found { family: Family::SsnCued, range: chain.range(first, last) })
}

/// Finds a routing number (nine digits of the ABA) or a sort code (six digits, `12-34-56`, `123-456`).
fn routing(site: &Site<'_, '_>, grade: Grade) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    let single = chain.is(first, &[9], b"").is_some();
    let (digits, length) = site.digits::<9>(first, first)?;
    let nine = single && (grade != Grade::Near || bank::routing(digits.get(..length)?));
    let six = grade != Grade::Near
        && (chain.is(first, &[6], b"").is_some()
            || chain.is(first, &[2, 2, 2], b"- ").is_some()
            || chain.is(first, &[3, 3], b"- ").is_some());
    let last = match (chain.len(first), six) {
        (2, true) => first + 2,
        (3, true) => first + 1,
        _ => first,
    };
    ((nine || six) && site.ends_well(last) && site.is_free())
        .then(|| Found { family: Family::Routing, range: chain.range(first, last) })
}

/// Finds digits in groups between blanks, dashes, dots or slashes, for kinds that are written so.
fn grouped(site: &Site<'_, '_>, family: Family, grade: Grade) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    let sep = chain.group(first).sep;
    if grade == Grade::Near || !matches!(sep, b' ' | b'-' | b'.' | b'/') || is_date(site) {
        return None;
    }
    let mut last = first;
    // `59 123/4562`
    let joins = |found: u8| found == sep || family == Family::TaxCued && matches!((sep, found), (b' ' | b'-', b'/'));
    while last + 1 < chain.count && joins(chain.group(last).sep) && last < first + 6 {
        last += 1;
    }
    // A decimal number is not an id
    if sep == b'.' && last < first + 2 {
        return None;
    }
    let digits = chain.digits(first, last);
    let sizes = (first..=last).all(|index| chain.len(index) >= 2 || index == first && family == Family::NationalCued)
        || family == Family::MedicalCued
        || family == Family::TaxCued;
    let (least, most) = match family {
        Family::Account => (7, 24),
        Family::TaxCued => (8, 15),
        Family::NationalCued => (8, 18),
        Family::MedicalCued => (7, 14),
        Family::License | Family::Passport => (7, 16),
        Family::Device => (14, 16),
        _ => return None,
    };
    let fits = (least..=most).contains(&digits) && (sizes || sep != b' ');
    (fits && chain.is_free_behind(last) && site.ends_well(last) && site.is_free())
        .then(|| Found { family, range: chain.range(first, last) })
}

fn is_date(site: &Site<'_, '_>) -> bool {
    let (chain, first) = (site.chain, site.first);
    let lens = (chain.len(first), chain.len(first + 1), chain.len(first + 2));
    matches!(lens, (4, 1 | 2, 1 | 2) | (1 | 2, 1 | 2, 4)) && chain.group(first).sep == chain.group(first + 1).sep
}

/// Finds a token that its word announces, if size and shape fit the kind.
fn token_of(scan: &Scan<'_>, token: &Token, family: Family, grade: Grade) -> Option<Found> {
    let text = scan.bytes(token.range.clone());
    let near = grade == Grade::Near;
    let (len, digits) = (token.len(), token.digits);
    let sure = grade == Grade::Key;
    let printed = token.is_upper() || token.letters <= 4;
    let hash = token.lower > 0 && len >= 16;
    let fits = match family {
        Family::Account => {
            // `X509v3` is not an account
            let least = if token.lower > 0 { 6 } else { 4 + usize::from(!sure) };
            !near && digits >= least && len <= 34 && printed && !is_day(text)
        }
        Family::TaxCued => {
            (7..=18).contains(&len)
                && digits >= 7 - 2 * usize::from(token.letters > 0)
                && printed
                && (!near || is_tax(text))
                && !is_day(text)
        }
        Family::NationalCued => {
            (5..=20).contains(&len) && digits >= 5 && printed && (!near || is_national(text)) && !is_day(text)
        }
        Family::Passport => {
            (6..=12).contains(&len) && digits >= 4 && printed && (!near || is_lettered(token, text, 6)) && !is_day(text)
        }
        Family::License => {
            (5..=20).contains(&len) && digits >= 3 && printed && (!near || is_lettered(token, text, 6)) && !is_day(text)
        }
        Family::MedicalCued => {
            (5..=20).contains(&len) && digits >= 4 && printed && (!near || is_medical(text)) && !is_day(text)
        }
        Family::Device => is_device(token, text) && (!near || digits == 15 || len == 36),
        Family::VehicleCued => is_vehicle(token, text) && (!near || len == 17),
        Family::Wallet => (26..=64).contains(&len) && digits >= 2 && !near && !text.contains(&b'-'),
        // `G-482913`, `A7K2P9`
        Family::OneTimeCode => !near && (4..=9).contains(&len) && digits >= 3 && token.is_upper() && !is_day(text),
        Family::SsnCued => sure && digits == 9 && token.letters == 0,
        _ => false,
    };
    (fits && !(hash && family != Family::Wallet && family != Family::Device))
        .then(|| Found { family, range: token.range.clone() })
}

/// Whether a text begins with a date such as `2024-05-06`.
fn is_day(text: &[u8]) -> bool {
    matches!(text, [b'1' | b'2', _, _, _, b'-', a, b, b'-', ..] if a.is_ascii_digit() && b.is_ascii_digit())
}

/// Whether a token has one or two letters, a capital first, and at least `least` digits.
fn is_lettered(token: &Token, text: &[u8], least: usize) -> bool {
    matches!(token.letters, 1 | 2)
        && token.is_upper()
        && token.digits >= least
        && text.first().is_some_and(u8::is_ascii_uppercase)
}

/// The digits of a text; `None` if it has more than eighteen, or anything other than digits and dashes.
fn digits_of(text: &[u8]) -> Option<([u8; 18], usize)> {
    let (mut digits, mut length) = ([0_u8; 18], 0);
    for byte in text.iter().filter(|byte| **byte != b'-') {
        *digits.get_mut(length)? = byte.is_ascii_digit().then(|| byte - b'0')?;
        length += 1;
    }
    Some((digits, length))
}

fn checked(text: &[u8], checks: &[fn(&[u8]) -> bool]) -> bool {
    digits_of(text)
        .is_some_and(|(digits, length)| checks.iter().any(|check| check(digits.get(..length).unwrap_or_default())))
}

fn is_tax(text: &[u8]) -> bool {
    let ein = lettered::is_like(text, "99-9999999");
    ein || checked(
        text,
        &[
            national::abn,
            national::acn,
            national::tfn,
            national::cuit,
            national::steuer_id,
            national::vat_gb,
            national::itin,
            national::partita_iva,
            national::enterprise,
            national::rnokpp,
        ],
    )
}

fn is_national(text: &[u8]) -> bool {
    let checks: [fn(&[u8]) -> bool; 15] = [
        national::cpf,
        national::pesel,
        national::sin,
        national::aadhaar,
        national::bsn,
        national::nir,
        national::personnummer,
        national::kimlik,
        national::thai,
        national::emirates,
        national::my_number,
        national::belgian,
        national::austrian,
        national::snils,
        national::israeli,
    ];
    checked(text, &checks)
}

fn is_medical(text: &[u8]) -> bool {
    checked(text, &[national::nhs, national::npi, national::medicare]) || lettered::dea(text)
}

/// Whether a token may be an IMEI or an advertising id.
fn is_device(token: &Token, text: &[u8]) -> bool {
    let imei = token.letters == 0 && (14..=16).contains(&token.digits);
    let uuid = text.len() == 36 && text.iter().filter(|byte| **byte == b'-').count() == 4;
    imei || uuid || (token.len() >= 12 && token.digits >= 4 && token.is_upper())
}

/// Whether a token may be a VIN or a number plate.
fn is_vehicle(token: &Token, text: &[u8]) -> bool {
    lettered::is_vin_shape(text)
        || ((4..=10).contains(&token.len()) && token.digits >= 1 && token.letters >= 1 && token.is_upper())
        || ((5..=9).contains(&token.len()) && token.letters == 0 && token.digits >= 5)
}

/// Finds a number plate behind its word at `end`: capitals and digits in up to three parts.
pub(super) fn plate(scan: &Scan<'_>, end: usize) -> Option<Range<usize>> {
    const SMALL: [&str; 7] = ["number", "no", "is", "plate", "nr", "the", "was"];
    let rest = scan.bytes(end..end + 48);
    let mut at = 0;
    loop {
        at += rest.get(at..)?.iter().take_while(|byte| b" :=\"'\\_-#*(".contains(byte)).count();
        let word = rest.get(at..)?;
        let length = word.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let name = word.get(..length).filter(|name| !name.is_empty())?;
        if !SMALL.iter().any(|small| small.as_bytes().eq_ignore_ascii_case(name)) {
            break;
        }
        at += length;
    }
    let printed = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let (mut length, mut parts, mut digits) = (0, 0, 0);
    let word = rest.get(at..)?;
    while parts < 3 {
        let gap = usize::from(parts > 0);
        if gap == 1 && !word.get(length).is_some_and(|byte| b" -".contains(byte)) {
            break;
        }
        let part = word.get(length + gap..)?;
        let size = part.iter().take_while(|byte| printed(byte)).count();
        let whole = part.get(size).is_none_or(|next| !next.is_ascii_alphanumeric() && *next != b'_');
        if size == 0 || !whole || length + gap + size > 11 {
            break;
        }
        digits += part.iter().take(size).filter(|byte| byte.is_ascii_digit()).count();
        length += gap + size;
        parts += 1;
    }
    let whole = length >= 4 && (1..=8).contains(&digits) && digits < length;
    whole.then_some(end + at..end + at + length)
}

/// Words between the word for a BIC and the BIC itself.
static LINKS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("numbers.bic_links")));

/// Finds a BIC behind its word at `end`.
pub(super) fn bic(scan: &Scan<'_>, end: usize) -> Option<Range<usize>> {
    let rest = scan.bytes(end..end + 40);
    if rest.first() == Some(&b'_') && rest.get(1).is_some_and(u8::is_ascii_uppercase) {
        return None;
    }
    let mut at = 0;
    loop {
        let gap = rest.get(at..)?.iter().take_while(|byte| !byte.is_ascii_alphanumeric() && **byte != b'\n').count();
        at += gap;
        let word = rest.get(at..)?;
        let length = word.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let word = word.get(..length).filter(|word| !word.is_empty())?;
        if bank::bic(word) && scan.byte(end + at + length) != b'_' {
            return Some(end + at..end + at + length);
        }
        if !LINKS.has(word) {
            return None;
        }
        at += length;
    }
}
