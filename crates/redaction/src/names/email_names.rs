//! Finds names next to e-mail addresses: `"X" <a@b>`, `X <a@b>`, `X (a@b)`, and words that also occur in the address's
//! local part. At most 64 bytes on either side are read. `email` finds the addresses.

use std::ops::Range;

use crate::resolve::RedactionHit;
use crate::rule::RuleFamily;
use crate::scan::TextScan;
use crate::secrets::value_facts::contains_any_case;
use crate::sets::ByteSet;

use super::name_cues::is_organisation_name;
use super::name_shape::{self, PersonName};

/// Claims names next to each claimed e-mail address.
pub(super) fn claim_names_at_emails(scan: &TextScan<'_>) {
    let Some(rule) = scan.rule(RuleFamily::NameMail) else { return };
    let is_email = |rule: u16| scan.detector.compiled_rule(rule).is_some_and(|rule| rule.has_placeholder("EMAIL"));
    let emails = |claim: &RedactionHit| is_email(claim.rule).then(|| claim.range.clone());
    let emails: Vec<Range<usize>> = scan.claims.list.borrow().iter().filter_map(emails).collect();
    for email in emails {
        if let Some(name) = name_before_email(scan, &email)
            && scan.claim(rule, name.range.clone())
            && (name.word_count > 1 || name.has_given_name)
        {
            scan.claims.carried_names.borrow_mut().push(name.range);
        }
    }
}

/// Characters between a name and its address, without and with a bracket.
static BEFORE_ADDRESS: ByteSet = ByteSet::new(b" \t,:;|-\"'*");
static BEFORE_BRACKET: ByteSet = ByteSet::new(b" \t\"'\\*");

fn name_before_email(scan: &TextScan<'_>, email: &Range<usize>) -> Option<PersonName> {
    let mut at = email.start;
    if scan.part(at.saturating_sub(7)..at).eq_ignore_ascii_case("mailto:") {
        at -= 7;
    }
    let bracket = scan.byte_before(at, 1);
    let has_bracket = b"<([".contains(&bracket);
    at -= usize::from(has_bracket);
    let head = scan.bytes(at.saturating_sub(12)..at);
    let gap = if has_bracket { &BEFORE_BRACKET } else { &BEFORE_ADDRESS }.count_trailing(head);
    let name = name_ending_at(scan, at - gap)?;
    let may_be_owner = has_bracket
        && (name.has_given_name
            || (bracket == b'<' || name.word_count > 1)
                && !name.starts_with_common_word
                && !is_organisation_name(scan, &name));
    (may_be_owner || (has_bracket || gap > 0) && is_in_address(scan, &name, email)).then_some(name)
}

/// Characters that a name before an address may contain.
static IN_NAME: ByteSet = ByteSet::new(b"\n\"<>:;,()=|\t{[").complement();

/// The longest name that ends at `end`.
fn name_ending_at(scan: &TextScan<'_>, end: usize) -> Option<PersonName> {
    let start = scan.widen_to_characters(end.saturating_sub(60)..end).start;
    let head = scan.part(start..end);
    let line_start = head.len() - IN_NAME.count_trailing(head.as_bytes());
    let line = head.get(line_start..)?;
    if !line.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
        return None;
    }
    // `at 7:08 AM Jane Miller <`
    let is_hour = |at: usize| line.get(at..).is_some_and(|rest| rest.starts_with("AM ") || rest.starts_with("PM "));
    let starts = line.char_indices().filter(|(at, c)| {
        c.is_uppercase()
            && !is_hour(*at)
            && line.get(..*at).and_then(|head| head.chars().next_back()).is_none_or(|c| !c.is_alphanumeric())
    });
    let mut best = None;
    for (at, _) in starts.take(8) {
        let name = name_shape::read_name(scan.text, start + line_start + at);
        let Some(name) = name.filter(|name| name.range.end == end) else { continue };
        // A common word before a name is not part of it if the rest is a name
        let is_uncommon = !name.starts_with_common_word;
        if is_uncommon || best.is_none() {
            best = Some(name);
        }
        if is_uncommon {
            break;
        }
    }
    best
}

/// Whether the local part of an address contains a word of the name (three letters or more).
fn is_in_address(scan: &TextScan<'_>, name: &PersonName, email: &Range<usize>) -> bool {
    let address = scan.part(email.clone());
    let local = address.split('@').next().unwrap_or("");
    scan.part(name.range.clone())
        .split([' ', '-', '.'])
        .any(|word| word.len() > 2 && word.is_ascii() && contains_any_case(local.as_bytes(), word.as_bytes()))
}
