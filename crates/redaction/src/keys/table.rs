//! The table of keys: the rules of each key, and its evidence about sibling keys. A look-up is linear in the key, reads
//! at most [`LONGEST`] bytes and does not allocate. Values are checked in `private_values`.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::error::RuleErrorKind;
use crate::rule::{KeyValueForm, RuleClass, RuleData};
use crate::sets::{ByteSet, hash};

/// Longest key that is looked up, in bytes.
pub(crate) const LONGEST: usize = 64;
/// Most rules that depend on evidence.
const MAX_EVIDENCE_RULES: usize = 32;
/// Bits of the filter for last letters: five bits for each of three.
const LAST_LETTERS_BITS: usize = 1 << 15;

/// Evidence from sibling keys: one bit for each rule that depends on it, for and against.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct SiblingEvidence {
    /// Rules that it supports.
    pub(crate) supports: u32,
    /// Rules that it contradicts.
    pub(crate) contradicts: u32,
}

impl SiblingEvidence {
    /// Supports every rule.
    pub(crate) fn all() -> Self {
        Self { supports: u32::MAX, contradicts: 0 }
    }

    /// Returns the union of both.
    pub(crate) fn combine(self, other: Self) -> Self {
        Self { supports: self.supports | other.supports, contradicts: self.contradicts | other.contradicts }
    }
}

/// The result of a look-up.
#[derive(Clone, Copy, Default)]
pub(crate) struct KeyMatch<'t> {
    /// The rules of the key; none if it is not in the table.
    rules: &'t [KeyRule],
    /// Evidence of the key's own first words (`customer` of `customer_name`).
    own_evidence: SiblingEvidence,
    /// Whether further words come before the matched ones.
    has_words_before: bool,
}

impl<'t> KeyMatch<'t> {
    /// Whether the key has no rule.
    pub(crate) fn is_none(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules that apply to the key, given the evidence of its siblings.
    pub(crate) fn rules(self, siblings: SiblingEvidence) -> impl Iterator<Item = &'t KeyRule> {
        self.rules.iter().filter(move |rule| rule.is_allowed(self, siblings))
    }
}

#[derive(Clone)]
pub(crate) struct KeyRule {
    /// Index of the rule.
    pub(crate) rule: u16,
    /// The accepted form of values.
    pub(crate) value_form: KeyValueForm,
    /// Its evidence bit; 0 if it does not depend on evidence.
    evidence_bit: u32,
    /// Whether it also applies after other words (`*_phone`).
    allows_words_before: bool,
}

impl KeyRule {
    /// Whether the rule depends on evidence of sibling keys.
    pub(crate) fn needs_evidence(&self) -> bool {
        self.evidence_bit != 0
    }

    /// Whether the rule applies to a key, given the evidence of its siblings.
    pub(crate) fn is_allowed(&self, key_match: KeyMatch<'_>, siblings: SiblingEvidence) -> bool {
        let supports = |evidence: SiblingEvidence| {
            evidence.supports & self.evidence_bit != 0 && evidence.contradicts & self.evidence_bit == 0
        };
        if self.evidence_bit == 0 {
            return self.allows_words_before || !key_match.has_words_before || key_match.own_evidence.supports != 0;
        }
        let needs_own_words = key_match.has_words_before && !self.allows_words_before;
        supports(key_match.own_evidence) || (!needs_own_words && supports(siblings))
    }
}

/// The table's data about one key.
#[derive(Default)]
struct KeyEntry {
    rules: Vec<KeyRule>,
    evidence: SiblingEvidence,
}

/// Hashes names with [`hash`]: the table is fixed, so that nobody can provoke collisions.
#[derive(Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = (self.0 ^ hash(bytes) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// All keys.
#[derive(Default)]
pub(crate) struct KeyTable {
    /// The keys by name, in snake case.
    entries: HashMap<Box<[u8]>, KeyEntry, BuildHasherDefault<NameHasher>>,
    /// Filter by the last three bytes of names; rejects most keys.
    last_letters_filter: Vec<u64>,
    /// Number of evidence bits in use.
    evidence_bits: u32,
}

impl KeyTable {
    /// Whether no rule has keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds the keys of a rule.
    pub(crate) fn add(&mut self, rule: &RuleData, index: u16) -> Result<(), RuleErrorKind> {
        let needs_evidence = !rule.beside.is_empty() || !rule.against.is_empty();
        let evidence_bit = if needs_evidence { self.next_evidence_bit()? } else { 0 };
        for key in &rule.keys {
            let (name, allows_words_before) = key.strip_prefix("*_").map_or((key.as_str(), false), |name| (name, true));
            let key_rule = KeyRule { rule: index, value_form: rule.value, evidence_bit, allows_words_before };
            for form in singular_and_plural(name) {
                // Users' rules come first
                let position = |rules: &Vec<KeyRule>| if rule.class == RuleClass::Custom { 0 } else { rules.len() };
                self.edit_entry(&form, |entry| entry.rules.insert(position(&entry.rules), key_rule.clone()));
            }
        }
        for key in &rule.beside {
            singular_and_plural(key)
                .for_each(|form| self.edit_entry(&form, |entry| entry.evidence.supports |= evidence_bit));
        }
        for key in &rule.against {
            singular_and_plural(key)
                .for_each(|form| self.edit_entry(&form, |entry| entry.evidence.contradicts |= evidence_bit));
        }
        Ok(())
    }

    fn next_evidence_bit(&mut self) -> Result<u32, RuleErrorKind> {
        let bit = 1_u32.checked_shl(self.evidence_bits).filter(|_| (self.evidence_bits as usize) < MAX_EVIDENCE_RULES);
        self.evidence_bits += 1;
        bit.ok_or(RuleErrorKind::TooManySiblingRules(MAX_EVIDENCE_RULES))
    }

    fn edit_entry(&mut self, name: &str, edit: impl FnOnce(&mut KeyEntry)) {
        self.last_letters_filter.resize(LAST_LETTERS_BITS / 64, 0);
        // If the word is shorter than three bytes, any byte may come before it
        let last_word = name.rsplit('_').next().unwrap_or(name).as_bytes();
        let known_bits = 5 * last_word.len().min(3);
        for bits_before in 0..LAST_LETTERS_BITS >> known_bits {
            let slot = last_letters_slot(last_word) | bits_before << known_bits;
            self.last_letters_filter.get_mut(slot / 64).into_iter().for_each(|word| *word |= 1 << (slot % 64));
        }
        edit(self.entries.entry(name.as_bytes().into()).or_default());
    }

    /// Looks up a key, and returns its match and its evidence about sibling keys.
    pub(crate) fn find(&self, key: &[u8]) -> (KeyMatch<'_>, SiblingEvidence) {
        let mut evidence = SiblingEvidence::default();
        let key = key.get(key.len().saturating_sub(LONGEST)..).unwrap_or_default();
        // Most keys are found as they are
        if let Some(entry) = self.entries.get(key).filter(|entry| !entry.rules.is_empty()) {
            return (KeyMatch { rules: &entry.rules, ..KeyMatch::default() }, entry.evidence);
        }
        // A key may end with a separator after its last word
        let slot = last_letters_slot(key);
        let is_filtered = || self.last_letters_filter.get(slot / 64).is_none_or(|word| word >> (slot % 64) & 1 == 0);
        if !key.last().is_some_and(|last| SEPARATORS.contains(*last)) && is_filtered() {
            return (KeyMatch::default(), evidence);
        }
        let mut buffer = [0_u8; LONGEST + 16];
        let Some((name, last_segment)) = to_snake_case(key, &mut buffer) else {
            return (KeyMatch::default(), evidence);
        };
        let (mut own_evidence, mut from) = (SiblingEvidence::default(), 0);
        for _ in 0..8 {
            let rest = name.get(from..).unwrap_or_default();
            if let Some(entry) = self.entries.get(rest) {
                evidence = evidence.combine(entry.evidence);
                if !entry.rules.is_empty() {
                    let has_words_before = from > 0 && from != last_segment;
                    return (KeyMatch { rules: &entry.rules, own_evidence, has_words_before }, evidence);
                }
            }
            let Some(cut) = rest.iter().position(|byte| *byte == b'_') else { break };
            if let Some(first) = self.entries.get(rest.get(..cut).unwrap_or_default()) {
                own_evidence = own_evidence.combine(first.evidence);
            }
            from += cut + 1;
        }
        (KeyMatch::default(), evidence)
    }
}

/// A key and its plural.
fn singular_and_plural(name: &str) -> impl Iterator<Item = String> {
    let plural = if name.ends_with('s') { format!("{name}es") } else { format!("{name}s") };
    [name.to_owned(), plural].into_iter()
}

/// Hash of the last three bytes of a key, five bits each, the last one lowest.
fn last_letters_slot(key: &[u8]) -> usize {
    let byte =
        |back: usize| key.len().checked_sub(back).and_then(|at| key.get(at)).map_or(0, |byte| usize::from(byte & 31));
    byte(1) | byte(2) << 5 | byte(3) << 10
}

/// Separators between the words of a key.
static SEPARATORS: ByteSet = ByteSet::new(b"-. /:[]_+?#*");

/// Writes `billing.firstName` as `billing_first_name` to `buffer`, and returns it with the start of its last segment;
/// `None` if it is empty or too long.
fn to_snake_case<'b>(key: &[u8], buffer: &'b mut [u8; LONGEST + 16]) -> Option<(&'b [u8], usize)> {
    let (mut len, mut last_segment) = (0, 0);
    let mut previous = b'_';
    for byte in key {
        if byte.is_ascii_uppercase() && (previous.is_ascii_lowercase() || previous.is_ascii_digit()) {
            *buffer.get_mut(len)? = b'_';
            len += 1;
        }
        let written = if SEPARATORS.contains(*byte) { b'_' } else { byte.to_ascii_lowercase() };
        previous = *byte;
        let is_repeated = written == b'_' && (len == 0 || buffer.get(len - 1) == Some(&b'_'));
        if !is_repeated {
            *buffer.get_mut(len)? = written;
            len += 1;
        }
        if b"./[:".contains(byte) {
            last_segment = len;
        }
    }
    let name = buffer.get(..len)?;
    let name = name.strip_suffix(b"_").unwrap_or(name);
    (!name.is_empty()).then_some((name, last_segment))
}
