//! Decides whether a value is the secret that its key names. A random value is judged alike in every notation.
//! Words are a password only where the notation marks a value: in quotes, in a line of settings, in a query.
//! `value_facts` tells words from random values, `references` recognises placeholders, references and code.

use super::pair_context::PairContext;
use super::references::is_reference;
use super::secret_keys::SecretKind;
use super::value_facts::{ValueFacts, is_path, is_twilio_id};
use crate::pairs::{KeyValuePair, PairSeparator};

/// How sure the notation around a value is that it is a value, and not code or prose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ValuePlace {
    /// Code or prose: words are no secret.
    Doubtful,
    /// A line of settings of its own, or the argument of a flag.
    Line,
    /// In quotes after its key, in an element, a query, a list of settings, or the environment.
    Literal,
}

impl ValuePlace {
    fn of(value: &[u8], pair: &KeyValuePair, context: &PairContext) -> Self {
        let is_quoted_value = match pair.sep {
            PairSeparator::Equals | PairSeparator::Colon | PairSeparator::Arrow => true,
            PairSeparator::Space => context.is_flag,
            PairSeparator::Is => pair.quote != Some(b'`'),
            _ => false,
        };
        let is_environment =
            context.is_upper && !context.is_spaced && pair.sep == PairSeparator::Equals && !is_path(value);
        if pair.quote.is_some() && is_quoted_value
            || matches!(pair.sep, PairSeparator::Element | PairSeparator::Sibling)
            || context.is_parameter
            || context.is_in_list
            || is_environment
        {
            Self::Literal
        } else if pair.sep == PairSeparator::Comma {
            Self::Doubtful
        } else if context.is_at_line_start && context.is_at_line_end && !context.is_argument || context.is_flag {
            Self::Line
        } else {
            Self::Doubtful
        }
    }
}

/// Whether the value is secret, given the kind of its key.
pub(super) fn is_secret_value(kind: SecretKind, value: &[u8], pair: &KeyValuePair, context: &PairContext) -> bool {
    let is_quoted = pair.quote.is_some();
    let non_ascii = value.iter().filter(|byte| !byte.is_ascii()).count();
    if value.len() < if context.is_parameter { 3 } else { 4 }
        || (is_quoted || pair.sep != PairSeparator::Equals) && non_ascii * 3 > value.len()
        || is_reference(value, matches!(pair.quote, Some(b'"' | b'\'')))
        || (kind != SecretKind::Password || !is_quoted) && word_set!("secrets.prose_words").contains(value)
        || kind != SecretKind::Password && memchr::memmem::find(value, b"EXAMPLE").is_some()
    {
        return false;
    }
    let facts = ValueFacts::of(value);
    let counts = &facts.counts;
    match kind {
        SecretKind::Pin => {
            counts.digits == counts.len && (4..=8).contains(&counts.len) && pair.sep != PairSeparator::Space
        }
        SecretKind::Weak => facts.is_random() && !is_twilio_id(value),
        SecretKind::Parameter => {
            counts.blanks == 0 && counts.len >= 8 && facts.has_digits_and_letters() && !facts.is_words()
        }
        SecretKind::Header | SecretKind::Cookie => false,
        SecretKind::Secret | SecretKind::Token => is_token(kind, &facts, pair, context),
        SecretKind::Password | SecretKind::Pass => is_password(kind, &facts, pair, context),
    }
}

/// Whether a text that is the whole value of a key is secret, judged as in JSON. Numbers with few digits are not.
pub(super) fn is_secret_under(kind: SecretKind, key: &[u8], value: &[u8]) -> bool {
    let pair =
        KeyValuePair { key: 0..0, sep: PairSeparator::Colon, quote: Some(b'"'), json_key: true, value: 0..value.len() };
    let context = PairContext::whole_value(!key.iter().any(u8::is_ascii_lowercase));
    let is_short_number = kind != SecretKind::Pin && value.len() < 6 && value.iter().all(u8::is_ascii_digit);
    !is_short_number
        && !matches!(kind, SecretKind::Header | SecretKind::Cookie | SecretKind::Parameter)
        && is_secret_value(kind, value, &pair, &context)
}

/// A token, secret or key: random, or at least no words.
fn is_token(kind: SecretKind, facts: &ValueFacts<'_>, pair: &KeyValuePair, context: &PairContext) -> bool {
    let (counts, place) = (&facts.counts, ValuePlace::of(facts.value, pair, context));
    let is_literal = place == ValuePlace::Literal;
    if counts.blanks > 0 {
        // A salt of WordPress, `define('AUTH_KEY', '…')`, has all kinds of characters
        return kind == SecretKind::Secret
            && pair.sep == PairSeparator::Comma
            && (40..=96).contains(&counts.len)
            && counts.kind_count() == 4
            && !facts.is_words();
    }
    if facts.is_random() || facts.is_strong() && counts.len >= 8 {
        return true;
    }
    // A constant that names a secret: `CKV_SECRET_16`
    let is_constant = counts.lower == 0 && facts.value.contains(&b'_') && facts.is_words() && facts.has_secret_word();
    if counts.len < 8 || counts.digits == counts.len || is_constant {
        return false;
    }
    let is_token = facts.has_digits_and_letters() && !facts.is_words();
    if kind == SecretKind::Token || place == ValuePlace::Doubtful {
        return is_token;
    }
    // `SECRET=blueharbor`, `secret = "blueharbor"`
    let is_one_word =
        is_literal && counts.lower == counts.len && !context.is_argument && pair.sep == PairSeparator::Equals;
    if !facts.is_words() {
        return facts.is_mixed() || is_one_word;
    }
    let may_be_name = counts.digits == 0 || !is_literal;
    is_one_word || facts.is_mixed() && !facts.is_identifier() && !(may_be_name && facts.has_secret_word())
}

fn is_password(kind: SecretKind, facts: &ValueFacts<'_>, pair: &KeyValuePair, context: &PairContext) -> bool {
    let (counts, place) = (&facts.counts, ValuePlace::of(facts.value, pair, context));
    let (is_literal, is_quoted) = (place == ValuePlace::Literal, pair.quote.is_some());
    if counts.blanks > 0 {
        return (is_literal || !is_quoted)
            && counts.blanks <= 12
            && counts.blanks * 3 <= counts.len
            && (facts.is_mixed() || counts.upper == 0)
            && !facts.is_sentence();
    }
    // What is not quoted may well be `my-secret-pw`
    let may_be_name = is_quoted || !is_literal || facts.value.contains(&b'.');
    let is_absolute = facts.value.starts_with(b"/") && is_path(facts.value);
    if is_absolute || may_be_name && facts.names_a_secret() {
        return false;
    }
    // `pass` alone may be a test result
    let may_be_result = kind == SecretKind::Pass
        && !context.is_flag
        && (place == ValuePlace::Doubtful || pair.sep == PairSeparator::Space);
    if facts.is_strong() || may_be_result {
        return facts.is_strong();
    }
    if is_literal {
        let is_title = counts.upper == 1
            && counts.is_only_letters()
            && facts.value.first().is_some_and(u8::is_ascii_uppercase)
            && matches!(pair.sep, PairSeparator::Colon | PairSeparator::Element);
        return !is_title;
    }
    if counts.digits == counts.len {
        let is_stated = is_quoted && matches!(pair.sep, PairSeparator::Is | PairSeparator::Compare);
        return place == ValuePlace::Line || is_stated;
    }
    let is_plain_name = || facts.value.contains(&b'.') || counts.digits == 0 && facts.has_secret_word();
    if place == ValuePlace::Line {
        let may_be_word = !context.is_argument && (pair.sep != PairSeparator::Space || context.is_last_word);
        return facts.is_mixed() && !facts.is_identifier() || may_be_word && counts.upper == 0 && !is_plain_name();
    }
    if pair.sep == PairSeparator::Equals && !context.is_spaced && !context.is_argument {
        return !is_plain_name() && !is_path(facts.value);
    }
    counts.digits > 0
        && facts.is_mixed()
        && !facts.is_identifier()
        && !is_path(facts.value)
        && (!facts.is_words() || counts.marks <= counts.joints + 1)
        && (counts.digits > 1 || pair.sep != PairSeparator::Comma)
}
