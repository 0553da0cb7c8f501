//! Ids that are recognised without a word: by the forms in which they are written and their check (`number_forms`).
//! Forms are found by the length of their first run with digits and the byte after it, which rejects nearly all others.

use std::ops::Range;

use super::super::number_forms::WrittenForm;
use super::super::scan::TextScan;
use super::number_site::{NumberFinding, follows_thing_word, is_free_after, is_free_before};

/// Finds the id whose first run with digits is `run`.
pub(super) fn match_run(scan: &TextScan<'_>, run: &Range<usize>) -> Option<NumberFinding> {
    let find = |after: u8| {
        let mut forms = scan.detector.written_forms.with_run(run.len(), after).iter();
        forms.find_map(|form| match_form(scan, run, form))
    };
    find(scan.byte(run.end)).or_else(|| find(0))
}

fn match_form(scan: &TextScan<'_>, run: &Range<usize>, form: &WrittenForm) -> Option<NumberFinding> {
    let start = run.start.checked_sub(form.lead)?;
    let range = start..start + form.len();
    let text = scan.bytes(range.clone());
    let is_free = || is_free_before(scan, start) && is_free_after(scan, range.end);
    if !form.fits(text) || !is_free() || text.contains(&b' ') && !is_alone(scan, &range) {
        return None;
    }
    let is_plain = || !form.check.has_check_character() && !text.iter().any(u8::is_ascii_alphabetic);
    let is_count = || is_plain() && follows_thing_word(scan, start, false);
    (form.check.passes(text) && !is_count()).then_some(NumberFinding { family: form.family, range })
}

/// Whether a value has no digits or placeholders next to it, not even after a blank.
fn is_alone(scan: &TextScan<'_>, range: &Range<usize>) -> bool {
    let is_joint = |byte: u8| b" ()".contains(&byte);
    let is_group = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'[' | b']');
    let is_beside = |joint: u8, byte: u8| is_joint(joint) && is_group(byte);
    !(is_beside(scan.byte_before(range.start, 1), scan.byte_before(range.start, 2))
        || is_beside(scan.byte(range.end), scan.byte(range.end + 1)))
}
