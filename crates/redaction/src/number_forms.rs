//! The forms of ids and of announced values (`ids` and `values` in `pii.yaml`), ready to use. The values are found by
//! `numbers::written_ids` and `numbers::announced`.

use std::sync::Arc;

use super::regex::WholePattern;
use super::rule::{CueDistance, IdData, RuleData, RuleFamily, ValueData};
use super::validate::id_check::CompiledCheck;

/// Longest first run of a form.
const MAX_RUN: usize = 20;

/// A form of an id.
pub(crate) struct WrittenForm {
    /// `9` is a digit, `A` a capital, `X` either.
    text: Box<[u8]>,
    /// Length of the part before the first run with digits.
    pub(crate) lead: usize,
    /// The byte after that run; 0 if the form ends there.
    after: u8,
    pub(crate) check: Arc<CompiledCheck>,
    pub(crate) family: RuleFamily,
}

/// All forms, and the checks of all ids.
#[derive(Default)]
pub(crate) struct WrittenForms {
    /// The forms by the length of their first run with digits and the byte after it.
    by_run: [Vec<(u8, Vec<WrittenForm>)>; MAX_RUN + 1],
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
            let Some(by_next) = self.by_run.get_mut(len) else { continue };
            match by_next.iter_mut().find(|(after, _)| *after == form.after) {
                Some((_, forms)) => forms.push(form),
                None => by_next.push((form.after, vec![form])),
            }
        }
    }

    /// Whether a value passes the check of one of a rule's ids.
    pub(crate) fn passes_any(&self, rule: &str, value: &[u8]) -> bool {
        self.checks.iter().any(|(owner, check)| **owner == *rule && check.passes(value))
    }

    /// The forms whose first run with digits has this length, before this byte (0: the form ends there).
    pub(crate) fn with_run(&self, len: usize, after: u8) -> &[WrittenForm] {
        let by_next = self.by_run.get(len).map(Vec::as_slice).unwrap_or_default();
        by_next.iter().find(|(next, _)| *next == after).map(|(_, forms)| forms.as_slice()).unwrap_or_default()
    }
}

impl WrittenForm {
    /// Length of the form.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether a text has this form.
    pub(crate) fn fits(&self, text: &[u8]) -> bool {
        let fits = |(byte, wanted): (&u8, &u8)| match wanted {
            b'9' => byte.is_ascii_digit(),
            b'A' => byte.is_ascii_uppercase(),
            b'X' => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            literal => byte == literal,
        };
        text.len() == self.text.len() && text.iter().zip(&self.text).all(fits)
    }
}

/// A form of the values that words announce, ready to use.
pub(crate) struct AnnouncedForm {
    grouped: bool,
    len: (usize, usize),
    digits: (usize, usize),
    pattern: Option<WholePattern>,
    ids: Vec<Box<str>>,
    reach: CueDistance,
}

impl AnnouncedForm {
    /// Prepares a form.
    pub(crate) fn new(data: &ValueData) -> Self {
        Self {
            grouped: data.grouped,
            len: data.len.unwrap_or((1, usize::MAX)),
            digits: data.digits.unwrap_or((0, usize::MAX)),
            pattern: (!data.pattern.is_empty()).then(|| WholePattern::new(&data.pattern)),
            ids: data.ids.iter().map(|rule| rule.as_str().into()).collect(),
            reach: data.reach,
        }
    }

    /// Whether a word at this distance announces a value of this form. `grouped`: its digits are in groups.
    pub(crate) fn fits(&self, ids: &WrittenForms, text: &[u8], grouped: bool, distance: CueDistance) -> bool {
        let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
        let has_size = self.grouped == grouped
            && self.reach <= distance
            && (self.len.0..=self.len.1).contains(&text.len())
            && (self.digits.0..=self.digits.1).contains(&digits);
        let has_pattern = || self.pattern.as_ref().map_or_else(|| grouped || is_printed(text), |it| it.fits(text));
        let is_id = || self.ids.iter().any(|rule| ids.passes_any(rule, text));
        has_size && has_pattern() && (self.ids.is_empty() || is_id())
    }
}

/// Whether a value looks like a printed id, not like a word, hash or date.
fn is_printed(text: &[u8]) -> bool {
    let lower = text.iter().filter(|byte| byte.is_ascii_lowercase()).count();
    let letters = text.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let begins_with_date =
        matches!(text, [b'1' | b'2', _, _, _, b'-', a, b, b'-', ..] if a.is_ascii_digit() && b.is_ascii_digit());
    (lower == 0 || letters <= 4 && text.len() < 16) && !begins_with_date
}
