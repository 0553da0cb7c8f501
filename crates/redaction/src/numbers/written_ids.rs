//! Ids that are recognised without a word: by the forms in which they are written and their check (`ids` in `pii.yaml`).
//! A form is found by the length of its first run with digits and the byte after it, which rejects nearly all others.

use std::ops::Range;
use std::sync::Arc;

use super::super::rule::{IdData, RuleData, RuleFamily};
use super::super::scan::TextScan;
use super::super::validate::id_check::CompiledCheck;
use super::number_site::{NumberFinding, follows_thing_word, is_free_after, is_free_before};

/// Longest first run of a form.
const MAX_RUN: usize = 20;

/// A form of an id.
struct WrittenForm {
    /// `9` is a digit, `A` a capital, `X` either.
    text: Box<[u8]>,
    /// Length of the part before the first run with digits.
    lead: usize,
    /// The byte after that run; 0 if the form ends there.
    after: u8,
    check: Arc<CompiledCheck>,
    family: RuleFamily,
}

/// All forms, by the length of their first run with digits, and the checks of all ids.
#[derive(Default)]
pub(crate) struct WrittenForms {
    by_run_len: [Vec<WrittenForm>; MAX_RUN],
    checks: Vec<(Box<str>, Arc<CompiledCheck>)>,
}

impl WrittenForms {
    /// Adds the ids of a rule; their forms only if the rule is on.
    pub(crate) fn add(&mut self, rule: &RuleData) {
        for id in &rule.ids {
            let Some(check) = CompiledCheck::new(&id.check).map(Arc::new) else { continue };
            self.checks.push((rule.name.as_str().into(), check.clone()));
            if let Some(family) = rule.family.filter(|_| rule.on) {
                self.add_forms(id, family, &check);
            }
        }
    }

    fn add_forms(&mut self, id: &IdData, family: RuleFamily, check: &Arc<CompiledCheck>) {
        for form in id.written.iter().map(|form| form.as_bytes()) {
            let first_digit = form.iter().position(|byte| byte.is_ascii_digit() || *byte == b'X').unwrap_or(0);
            let run_len = |rest: &[u8]| rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            let (head, tail) = form.split_at(first_digit);
            let lead = head.len() - head.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            let len = head.len() - lead + run_len(tail);
            let form = WrittenForm {
                text: form.into(),
                lead,
                after: form.get(lead + len).copied().unwrap_or(0),
                check: check.clone(),
                family,
            };
            self.by_run_len.get_mut(len).map(|forms| forms.push(form)).unwrap_or_default();
        }
    }

    /// Whether a value passes the check of one of a rule's ids.
    pub(crate) fn passes_any(&self, rule: &str, value: &[u8]) -> bool {
        self.checks.iter().any(|(owner, check)| **owner == *rule && check.passes(value))
    }

    /// Finds the id whose first run with digits is `run`.
    pub(super) fn match_run(&self, scan: &TextScan<'_>, run: &Range<usize>) -> Option<NumberFinding> {
        let after = scan.byte(run.end);
        let mut forms = self.by_run_len.get(run.len())?.iter();
        forms.find_map(|form| if form.after == after || form.after == 0 { form.match_run(scan, run) } else { None })
    }
}

impl WrittenForm {
    fn match_run(&self, scan: &TextScan<'_>, run: &Range<usize>) -> Option<NumberFinding> {
        let start = run.start.checked_sub(self.lead)?;
        let range = start..start + self.text.len();
        let text = scan.bytes(range.clone());
        let fits = |(byte, wanted): (&u8, &u8)| match wanted {
            b'9' => byte.is_ascii_digit(),
            b'A' => byte.is_ascii_uppercase(),
            b'X' => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            literal => byte == literal,
        };
        let is_free = || is_free_before(scan, start) && is_free_after(scan, range.end);
        let has_form = text.len() == self.text.len() && text.iter().zip(&self.text).all(fits) && is_free();
        if !has_form || text.contains(&b' ') && !is_alone(scan, &range) {
            return None;
        }
        let is_plain = || !self.check.has_check_character() && !text.iter().any(u8::is_ascii_alphabetic);
        let is_count = || is_plain() && follows_thing_word(scan, start, false);
        (self.check.passes(text) && !is_count()).then_some(NumberFinding { family: self.family, range })
    }
}

/// Whether a value has no digits or placeholders next to it, not even after a blank.
fn is_alone(scan: &TextScan<'_>, range: &Range<usize>) -> bool {
    let is_joint = |byte: u8| b" ()".contains(&byte);
    let is_group = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'[' | b']');
    let is_beside = |joint: u8, byte: u8| is_joint(joint) && is_group(byte);
    !(is_beside(scan.byte_before(range.start, 1), scan.byte_before(range.start, 2))
        || is_beside(scan.byte(range.end), scan.byte(range.end + 1)))
}
