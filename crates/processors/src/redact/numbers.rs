//! Redacts integers and doubles: a number under a key that marks it as private, or with the issuer, length and checksum
//! of a card number, becomes its placeholder. Clients send `card_number: 4111111111111111` as an integer.
//!
//! The rules decide as for the same digits in a string; counts, sizes, ports, times and ids stay, and a harmless number
//! costs no allocation. The crate `redaction` handles numbers of JSON in text. Values of data points are not visited.

use std::collections::HashSet;
use std::fmt::Write as _;

use otlp::{NodeId, NumberOccurrence, Value};
use pipeline::Batch;

use super::config::UserIdPolicy;
use super::policy::Treatment;
use super::recogniser_texts::RecogniserMode;
use super::{PlaceContext, RedactProcessor, WorkerBuffers};

/// Upper bound of whole numbers that a double represents exactly.
const MAX_EXACT_WHOLE: f64 = 9_007_199_254_740_992.0;
/// The smallest number with as many digits as a card.
const MIN_CARD: i64 = 100_000_000_000;
/// Longest text of a number that is searched.
const MAX_NUMBER_BYTES: usize = 24;

impl RedactProcessor {
    /// Replaces private numbers with placeholders.
    pub(super) fn redact_numbers(&self, batch: &mut Batch, data_points: &HashSet<NodeId>, worker: &mut WorkerBuffers) {
        let account = std::sync::Arc::clone(&batch.origin.account);
        let signal = batch.payload.signal();
        let mut buffer = String::new();
        batch.payload.edit_numbers(|number| {
            let rule = self.key_rule(signal, number.key, worker);
            // A user's number is an id, like a user id in text.
            let is_person_id = self.settings.config.user_ids == UserIdPolicy::Pseudonym && rule.is_person;
            // Most numbers are too small for a card, and their keys are neither those of users nor private.
            if !is_person_id && !rule.names_private && matches!(number.value, Value::Int(..MIN_CARD)) {
                return None;
            }
            let digits = format_number(number, &mut buffer)?;
            let key = if rule.names_private { number.key } else { "" };
            if !is_person_id && !self.settings.detector.may_be_private(key, digits) {
                return None;
            }
            let context = PlaceContext {
                node: self.settings.config.record_lengths.then_some(number.node),
                with_pseudonym: data_points.contains(&number.node),
                ..PlaceContext::of_values(&account, signal, RecogniserMode::NoRecogniser)
            };
            match rule.treatment {
                // A single number can't be mistaken for an address, so a version stays.
                Treatment::Version => None,
                treatment => self.apply_rules(&context, (treatment, number.key), digits, worker),
            }
        });
    }
}

/// Writes a number as text into `buffer`. `None` if it is negative, not finite, too large, or has too many decimals.
fn format_number<'b>(number: &NumberOccurrence<'_>, buffer: &'b mut String) -> Option<&'b str> {
    buffer.clear();
    match number.value {
        Value::Int(number) if number >= 0 => write!(buffer, "{number}").ok()?,
        Value::Double(number) if (0.0..MAX_EXACT_WHOLE).contains(&number) => write!(buffer, "{number}").ok()?,
        _ => return None,
    }
    Some(buffer.as_str()).filter(|text| text.len() <= MAX_NUMBER_BYTES)
}
