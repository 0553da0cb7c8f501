//! Decides whether a value is the secret that its key names. A random value is judged alike in every notation.
//! Words are a password only where the notation marks a value: in quotes, in a line of settings, in a query.
//! `value_facts` tells words from random values, `references` recognises placeholders, references and code.

use super::pair_context::PairContext;
use super::references::is_reference;
use super::secret_keys::SecretKind;
use super::value_facts::{ValueFacts, is_path, is_twilio_id, is_uuid};
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
    if context.is_type
        || value.len() < if context.is_parameter { 3 } else { 4 }
        || (is_quoted || context.is_foreign) && non_ascii * 3 > value.len()
        || is_reference(value, matches!(pair.quote, Some(b'"' | b'\'')))
        || pair.sep == PairSeparator::Comma && value.starts_with(b"--")
        || (kind != SecretKind::Password || !is_quoted) && word_set!("secrets.prose_words").contains(value)
        || kind != SecretKind::Password && memchr::memmem::find(value, b"EXAMPLE").is_some()
    {
        return false;
    }
    let facts = ValueFacts::of(value);
    let counts = &facts.counts;
    let is_public_id = || is_uuid(value) || is_twilio_id(value);
    match kind {
        SecretKind::Pin => {
            counts.digits == counts.len && (4..=8).contains(&counts.len) && pair.sep != PairSeparator::Space
        }
        SecretKind::Weak => facts.is_random() && !is_public_id(),
        SecretKind::Doubtful => facts.is_strong() || facts.is_random() && !is_public_id(),
        SecretKind::Parameter => {
            let is_token = counts.len >= 8 && facts.has_digits_and_letters() && !facts.is_words();
            counts.blanks == 0 && (context.is_always_secret || is_token)
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
    if facts.names_a_secret(pair.quote.is_some()) {
        return false;
    }
    if counts.blanks > 0 {
        // A salt of WordPress, `define('AUTH_KEY', '…')`, has all kinds of characters; a passphrase is a few words
        let is_salt = pair.sep == PairSeparator::Comma
            && (40..=96).contains(&counts.len)
            && counts.kind_count() == 4
            && !facts.is_words();
        let is_phrase = counts.blanks <= 3 && counts.lower + counts.blanks == counts.len && counts.len >= 10;
        return kind == SecretKind::Secret
            && (is_salt || is_literal && is_phrase && !facts.has_secret_word() && !facts.is_sentence());
    }
    if facts.is_random() || context.is_always_secret || facts.is_strong() && counts.len >= 8 {
        return true;
    }
    // A constant that names a secret: `CKV_SECRET_16`
    let is_constant = counts.lower == 0 && facts.value.contains(&b'_') && facts.is_words() && facts.has_secret_word();
    if counts.len < 8 || is_constant || is_path(facts.value) {
        return false;
    }
    if counts.digits == counts.len {
        return counts.len >= 14 && kind == SecretKind::Secret;
    }
    let is_token = facts.has_digits_and_letters() && !facts.is_words();
    if kind == SecretKind::Token || place == ValuePlace::Doubtful {
        return is_token || is_literal && facts.has_digits_and_letters() && !facts.is_identifier();
    }
    // `SECRET=blueharbor`, `secret = "blueharbor"`
    let is_one_word =
        is_literal && counts.lower == counts.len && !context.is_argument && pair.sep == PairSeparator::Equals;
    if !facts.is_words() {
        return facts.is_mixed() || is_one_word || is_literal && pair.quote.is_some() && counts.kind_count() >= 2;
    }
    // The name of a message: `e2.api.client.secret.key`
    let is_member = facts.value.iter().filter(|byte| **byte == b'.').count() > 2;
    let may_be_name = counts.digits == 0 || is_member || !is_literal;
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
    // Without quotes, `my-secret-pw` is a password rather than a name
    let may_be_name = is_quoted || !is_literal || facts.value.contains(&b'.');
    let is_absolute = facts.value.starts_with(b"/") && is_path(facts.value);
    if is_absolute || may_be_name && facts.names_a_secret(is_quoted) {
        return false;
    }
    // `pass` alone may be a test result
    let may_be_result = kind == SecretKind::Pass
        && !context.is_flag
        && (place == ValuePlace::Doubtful || pair.sep == PairSeparator::Space);
    if facts.is_strong() || may_be_result || facts.value.ends_with(b":") {
        return facts.is_strong();
    }
    if is_literal {
        let is_title = counts.upper == 1
            && counts.is_only_letters()
            && facts.value.first().is_some_and(u8::is_ascii_uppercase)
            && matches!(pair.sep, PairSeparator::Colon | PairSeparator::Element);
        return !is_title;
    }
    if facts.is_algorithm() {
        return false;
    }
    if counts.digits == counts.len {
        let is_stated = is_quoted && matches!(pair.sep, PairSeparator::Is | PairSeparator::Compare);
        return place == ValuePlace::Line || is_stated || context.is_stored;
    }
    let is_plain_name = || facts.value.contains(&b'.') || counts.digits == 0 && facts.has_secret_word();
    if place == ValuePlace::Line {
        let may_be_word = !context.is_argument && (pair.sep != PairSeparator::Space || context.is_last_word);
        return facts.is_mixed() && !facts.is_identifier() || may_be_word && counts.upper == 0 && !is_plain_name();
    }
    if pair.sep == PairSeparator::Equals && !context.is_spaced && !context.is_argument {
        return !is_plain_name() && !is_path(facts.value);
    }
    let is_stated = matches!(pair.sep, PairSeparator::Is | PairSeparator::Space | PairSeparator::Compare);
    if is_stated || context.is_foreign {
        let is_word_and_digits = counts.digits > 0
            && counts.letters() >= 3
            && counts.len >= 6
            && (counts.joints == 0 || counts.digits >= 2 || !facts.is_words());
        return is_word_and_digits && !is_path(facts.value) || facts.is_mixed() && !facts.is_words();
    }
    counts.digits > 0
        && facts.is_mixed()
        && !facts.is_identifier()
        && !is_path(facts.value)
        && (!facts.is_words() || counts.marks <= counts.joints + 1)
        && (counts.digits > 1 || pair.sep != PairSeparator::Comma)
}
