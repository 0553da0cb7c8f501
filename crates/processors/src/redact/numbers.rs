//! **What**: integers and doubles: a number under a key that says that it is private, or with a card's issuer, length
//! and sum, becomes its placeholder. **Why**: clients send `card_number: 4111111111111111` as an integer.
//! **Invariants**: the rules decide as for the same digits in a string; counts, sizes, ports, times and ids stay; a
//! clean number costs no allocation. **Not here**: numbers of JSON in texts (`redaction`), measurements (never read).

use std::collections::HashSet;
use std::fmt::Write as _;

use otlp::{Node, NumberAt, PlaceKind, Value};
use pipeline::Batch;

use super::ask::Asked;
use super::config::UserIds;
use super::policy::Treatment;
use super::{Redact, Visit, Worker, named};

/// Numbers that a double holds whole.
const WHOLE: f64 = 9_007_199_254_740_992.0;

impl Redact {
    /// Puts placeholders in place of private numbers.
    pub(super) fn numbers(&self, batch: &mut Batch, points: &HashSet<Node>, worker: &mut Worker) {
        let account = std::sync::Arc::clone(&batch.origin.account);
        let signal = batch.payload.signal();
        batch.payload.edit_numbers(|number| {
            let mut room = Room::default();
            let digits = room.of(number)?;
            // a user's number is an id as its text is
            let person = self.settings.user_ids == UserIds::Pseudonym && self.vocabulary.is_person(number.key);
            if !person && !self.settings.detector.may_be_private(number.key, digits) {
                return None;
            }
            let visit = Visit {
                account: &account,
                node: self.settings.record_lengths.then_some(number.node),
                tells: None,
                signal,
                place: named(PlaceKind::Value),
                keyed: points.contains(&number.node),
                echoes: None,
                asked: Asked::Nobody,
            };
            let treatment = worker.treatment(&self.vocabulary, signal, number.key);
            match treatment {
                // a version of one number is none
                Treatment::Version => None,
                _ => self.by_rules(&visit, (treatment, number.key), digits, worker),
            }
        });
    }
}

/// Where digits are written.
#[derive(Default)]
struct Room {
    text: [u8; 24],
    len: usize,
}

impl Room {
    /// The digits of a number; none where it is negative, broken, or too large.
    fn of(&mut self, number: &NumberAt<'_>) -> Option<&str> {
        match number.value {
            Value::Int(number) if number >= 0 => write!(self, "{number}").ok()?,
            Value::Double(number) if (0.0..WHOLE).contains(&number) => write!(self, "{number}").ok()?,
            _ => return None,
        }
        std::str::from_utf8(self.text.get(..self.len)?).ok()
    }
}

impl std::fmt::Write for Room {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        self.text.get_mut(self.len..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
