//! Finds names next to e-mail addresses: `"X" <a@b>`, `X <a@b>`, `X (a@b)`, and words that also occur in the address's
//! local part. At most 64 bytes on either side are read. `email` finds the addresses.

use std::ops::Range;

use crate::detector::PlaceholderMeaning;
use crate::rule::RuleFamily;
use crate::scan::{PrivateClaims, TextScan};
use crate::sets::ByteSet;

use super::name_cues::is_organisation_name;
use super::name_shape::{self, PersonName};

/// Claims names next to each claimed e-mail address.
pub(super) fn claim_names_at_emails(scan: &TextScan<'_>, seeds: &mut Vec<Range<usize>>, claims: &mut PrivateClaims) {
    let Some(rule) = scan.rule(RuleFamily::NameMail) else { return };
    let is_mail = |rule: u16| {
        scan.detector.rules.get(usize::from(rule)).is_some_and(|rule| rule.meaning == PlaceholderMeaning::Mail)
    };
    let mut index = 0;
    while let Some(claim) = claims.list.get(index) {
        index += 1;
        if !is_mail(claim.rule) {
            continue;
        }
        let mail = claim.range.clone();
        for name in [name_before_email(scan, &mail), name_behind_email(scan, &mail)].into_iter().flatten() {
            if claims.add(scan, rule, name.range.clone()) && (name.words > 1 || name.given) {
                seeds.push(name.range);
            }
        }
    }
}

/// How an address is separated from the name before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AddressSeparator {
    Angle,
    Round,
    None,
}

/// Characters between a name and its address.
static LOOSE: ByteSet = ByteSet::new(b" \t,:;|-\"'*");
static SET_OFF: ByteSet = ByteSet::new(b" \t\"'\\*");
/// Characters between an address and a name behind it.
static BEHIND: ByteSet = ByteSet::new(b" \t,;|(>-\"");

fn name_before_email(scan: &TextScan<'_>, mail: &Range<usize>) -> Option<PersonName> {
    let mut at = mail.start;
    if scan.part(at.saturating_sub(7)..at).eq_ignore_ascii_case("mailto:") {
        at -= 7;
    }
    let set = match scan.byte_before(at, 1) {
        b'<' => AddressSeparator::Angle,
        b'(' | b'[' => AddressSeparator::Round,
        _ => AddressSeparator::None,
    };
    at -= usize::from(set != AddressSeparator::None && at > 0);
    let head = scan.bytes(at.saturating_sub(12)..at);
    let filled = if set == AddressSeparator::None { &LOOSE } else { &SET_OFF }.count_trailing(head);
    let end = at - filled;
    let name = name_ending_at(scan, end)?;
    let fits = match set {
        AddressSeparator::Angle => {
            let person = !is_organisation_name(scan, &name) && (!name.common || has_uncommon_last_word(scan, &name));
            name.given || person || is_in_address(scan, &name, mail)
        }
        AddressSeparator::Round => {
            name.given
                || is_in_address(scan, &name, mail)
                || name.words > 1 && !name.common && !is_organisation_name(scan, &name)
        }
        AddressSeparator::None => filled > 0 && is_in_address(scan, &name, mail),
    };
    fits.then_some(name)
}

/// Whether the last word of a name is not a common word.
fn has_uncommon_last_word(scan: &TextScan<'_>, name: &PersonName) -> bool {
    let last = scan.part(name.range.clone()).rsplit(' ').next().unwrap_or("");
    name.words > 1 && !super::name_lists::is_common_word(last)
}

fn name_behind_email(scan: &TextScan<'_>, mail: &Range<usize>) -> Option<PersonName> {
    let rest = scan.bytes(mail.end..scan.text.len().min(mail.end + 6));
    let filled = BEHIND.count_leading(rest);
    let name = (filled > 0).then(|| name_shape::read_name(scan.text, mail.end + filled)).flatten()?;
    let round = rest.get(..filled).is_some_and(|rest| rest.contains(&b'(')) && scan.byte(name.range.end) == b')';
    (is_in_address(scan, &name, mail) || (round && name.given)).then_some(name)
}

/// Characters that a name before an address may contain.
static WITHIN: ByteSet = ByteSet::new(b"\n\"<>:;,()=|\t{[").complement();

/// The longest name that ends at `end`.
fn name_ending_at(scan: &TextScan<'_>, end: usize) -> Option<PersonName> {
    let start = scan.widen_to_characters(end.saturating_sub(60)..end).start;
    let head = scan.part(start..end);
    let line = head.len() - WITHIN.count_trailing(head.as_bytes());
    let mut best = None;
    let part = head.get(line..)?;
    if !part.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
        return None;
    }
    // `at 7:08 AM Jane Miller <`
    let hour = |at: usize| part.get(at..).is_some_and(|rest| rest.starts_with("AM ") || rest.starts_with("PM "));
    let starts = part.char_indices().filter(|(at, c)| {
        c.is_uppercase()
            && !hour(*at)
            && part.get(..*at).and_then(|head| head.chars().next_back()).is_none_or(|c| !c.is_alphanumeric())
    });
    for (at, _) in starts.take(8) {
        let name = name_shape::read_name(scan.text, start + line + at);
        let Some(name) = name.filter(|name| name.range.end == end) else { continue };
        // A common word before a name is not part of it if the rest is a name
        let plain = !name.common;
        if plain || best.is_none() {
            best = Some(name);
        }
        if plain {
            break;
        }
    }
    best
}

/// Whether the local part of an address contains a word of the name (three letters or more).
fn is_in_address(scan: &TextScan<'_>, name: &PersonName, mail: &Range<usize>) -> bool {
    let address = scan.part(mail.clone());
    let local = address.split('@').next().unwrap_or("");
    scan.part(name.range.clone()).split([' ', '-', '.']).any(|word| {
        word.len() > 2
            && word.is_ascii()
            && local.len() >= word.len()
            && local.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    })
}
