//! Finds names next to e-mail addresses: `"X" <a@b>`, `X <a@b>`, `X (a@b)`, and words that also occur in the address's
//! local part. At most 64 bytes on either side are read. `email` finds the addresses.

use std::ops::Range;

use crate::detector::Says;
use crate::rule::Family;
use crate::scan::{Claims, Scan};
use crate::sets::Bytes;

use super::cues::organisation;
use super::shape::{self, Name};

/// Claims names next to each claimed e-mail address.
pub(super) fn claim(scan: &Scan<'_>, seeds: &mut Vec<Range<usize>>, claims: &mut Claims) {
    let Some(rule) = scan.rule(Family::NameMail) else { return };
    let is_mail = |rule: u16| scan.detector.rules.get(usize::from(rule)).is_some_and(|rule| rule.says == Says::Mail);
    let mut index = 0;
    while let Some(claim) = claims.list.get(index) {
        index += 1;
        if !is_mail(claim.rule) {
            continue;
        }
        let mail = claim.range.clone();
        for name in [before(scan, &mail), behind(scan, &mail)].into_iter().flatten() {
            if claims.add(scan, rule, name.range.clone()) && (name.words > 1 || name.given) {
                seeds.push(name.range);
            }
        }
    }
}

/// How an address is separated from the name before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    Angle,
    Round,
    Loose,
}

/// Characters between a name and its address.
static LOOSE: Bytes = Bytes::of(b" \t,:;|-\"'*");
static SET_OFF: Bytes = Bytes::of(b" \t\"'\\*");
/// Characters between an address and a name behind it.
static BEHIND: Bytes = Bytes::of(b" \t,;|(>-\"");

fn before(scan: &Scan<'_>, mail: &Range<usize>) -> Option<Name> {
    let mut at = mail.start;
    if scan.part(at.saturating_sub(7)..at).eq_ignore_ascii_case("mailto:") {
        at -= 7;
    }
    let set = match scan.before(at, 1) {
        b'<' => Set::Angle,
        b'(' | b'[' => Set::Round,
        _ => Set::Loose,
    };
    at -= usize::from(set != Set::Loose && at > 0);
    let head = scan.bytes(at.saturating_sub(12)..at);
    let filled = if set == Set::Loose { &LOOSE } else { &SET_OFF }.trailing(head);
    let end = at - filled;
    let name = ending_at(scan, end)?;
    let fits = match set {
        Set::Angle => {
            let person = !organisation(scan, &name) && (!name.common || likely(scan, &name));
            name.given || person || in_address(scan, &name, mail)
        }
        Set::Round => {
            name.given || in_address(scan, &name, mail) || name.words > 1 && !name.common && !organisation(scan, &name)
        }
        Set::Loose => filled > 0 && in_address(scan, &name, mail),
    };
    fits.then_some(name)
}

/// Whether the last word of a name is not a common word.
fn likely(scan: &Scan<'_>, name: &Name) -> bool {
    let last = scan.part(name.range.clone()).rsplit(' ').next().unwrap_or("");
    name.words > 1 && !super::words::is_common(last)
}

fn behind(scan: &Scan<'_>, mail: &Range<usize>) -> Option<Name> {
    let rest = scan.bytes(mail.end..scan.text.len().min(mail.end + 6));
    let filled = BEHIND.leading(rest);
    let name = (filled > 0).then(|| shape::read(scan.text, mail.end + filled)).flatten()?;
    let round = rest.get(..filled).is_some_and(|rest| rest.contains(&b'(')) && scan.byte(name.range.end) == b')';
    (in_address(scan, &name, mail) || (round && name.given)).then_some(name)
}

/// Characters that a name before an address may contain.
static WITHIN: Bytes = Bytes::of(b"\n\"<>:;,()=|\t{[").others();

/// The longest name that ends at `end`.
fn ending_at(scan: &Scan<'_>, end: usize) -> Option<Name> {
    let start = scan.widen(end.saturating_sub(60)..end).start;
    let head = scan.part(start..end);
    let line = head.len() - WITHIN.trailing(head.as_bytes());
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
        let name = shape::read(scan.text, start + line + at);
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
fn in_address(scan: &Scan<'_>, name: &Name, mail: &Range<usize>) -> bool {
    let address = scan.part(mail.clone());
    let local = address.split('@').next().unwrap_or("");
    scan.part(name.range.clone()).split([' ', '-', '.']).any(|word| {
        word.len() > 2
            && word.is_ascii()
            && local.len() >= word.len()
            && local.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    })
}
