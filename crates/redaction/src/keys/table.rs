//! The table of keys: the rules of each key, and its evidence about sibling keys. A look-up is linear in the key, reads
//! at most [`LONGEST`] bytes and does not allocate. Keys are located in `json_tree`, `columns` and `flat_keys`,
//! values are checked in `private_values`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::RuleErrorKind;
use crate::rule::{KeyValueForm, RuleClass, RuleData};
use crate::sets::{ByteSet, hash};

/// Longest key that is looked up, in bytes.
pub(crate) const LONGEST: usize = 64;
/// Most rules that depend on evidence.
const MAX_EVIDENCE_RULES: usize = 32;
/// Bits of the filter for last words.
const LAST_WORD_BITS: usize = 1 << 16;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyMatch {
    /// Index of the entry; `u16::MAX` for none.
    entry: u16,
    /// Evidence of the key's own first words (`customer` of `customer_name`).
    own_evidence: SiblingEvidence,
    /// Whether further words come before the matched ones.
    has_words_before: bool,
}

impl KeyMatch {
    /// No entry matches.
    pub(crate) const NONE: Self = Self {
        entry: u16::MAX,
        own_evidence: SiblingEvidence { supports: 0, contradicts: 0 },
        has_words_before: false,
    };
}

/// A rule on a key.
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
    pub(crate) fn is_allowed(&self, key_match: KeyMatch, siblings: SiblingEvidence) -> bool {
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
    name: Box<[u8]>,
    rules: Vec<KeyRule>,
    evidence: SiblingEvidence,
}

/// Number of tables created, to give each an id.
static TABLES: AtomicU64 = AtomicU64::new(1);

/// All keys.
pub(crate) struct KeyTable {
    /// Unique id of this table.
    id: u64,
    entries: Vec<KeyEntry>,
    /// Hash slots: index of an entry plus one, 0 if free. At least half are free.
    slots: Vec<u16>,
    /// Filter by first and last bytes and length of last words; rejects most keys.
    last_word_filter: Vec<u64>,
    /// Filter by the last three bytes of names, checked before `last_word_filter`.
    last_letters_filter: Vec<u64>,
    /// Number of evidence bits in use.
    evidence_bits: u32,
}

impl Default for KeyTable {
    fn default() -> Self {
        let id = TABLES.fetch_add(1, Ordering::Relaxed);
        Self {
            id,
            entries: Vec::new(),
            slots: Vec::new(),
            last_word_filter: Vec::new(),
            last_letters_filter: Vec::new(),
            evidence_bits: 0,
        }
    }
}

/// Longest key that is cached, in bytes.
const MAX_CACHED_LEN: usize = 24;

/// Cache of look-ups, by the first and last bytes and length of a key, because objects repeat the same keys. It serves
/// one table at a time and allocates at the first look-up.
#[derive(Default)]
pub(crate) struct KeyCache {
    table: u64,
    slots: Vec<CachedKey>,
}

/// A cached key with its result.
#[derive(Clone)]
struct CachedKey {
    key: [u8; MAX_CACHED_LEN],
    len: u8,
    key_match: KeyMatch,
    evidence: SiblingEvidence,
}

impl KeyCache {
    /// Like [`KeyTable::find`].
    pub(crate) fn find(&mut self, table: &KeyTable, key: &[u8]) -> (KeyMatch, SiblingEvidence) {
        if self.table != table.id {
            self.table = table.id;
            self.slots.clear();
            // No key has this length, so it marks an empty slot
            let empty = CachedKey {
                key: [0; MAX_CACHED_LEN],
                len: u8::MAX,
                key_match: KeyMatch::NONE,
                evidence: SiblingEvidence::default(),
            };
            self.slots.resize(128, empty);
        }
        let head: [u8; 4] = key.first_chunk().copied().unwrap_or_else(|| [0, 0, 0, key.first().copied().unwrap_or(0)]);
        let tail: [u8; 4] = key.last_chunk().copied().unwrap_or_else(|| [0, 0, 0, key.last().copied().unwrap_or(0)]);
        let mixed = u32::from_le_bytes(head) ^ u32::from_le_bytes(tail).rotate_left(9) ^ key.len() as u32;
        let Some(slot) = self.slots.get_mut((mixed.wrapping_mul(0x9E37_79B1) >> 25) as usize) else {
            return table.find(key);
        };
        if slot.key.get(..usize::from(slot.len)) == Some(key) {
            return (slot.key_match, slot.evidence);
        }
        let (key_match, evidence) = table.find(key);
        if let Some(cached) = slot.key.get_mut(..key.len()) {
            cached.copy_from_slice(key);
            (slot.len, slot.key_match, slot.evidence) = (key.len() as u8, key_match, evidence);
        }
        (key_match, evidence)
    }
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
        if self.entries.len() >= usize::from(u16::MAX) {
            return Err(RuleErrorKind::TooManyKeys(u16::MAX - 1));
        }
        Ok(())
    }

    fn next_evidence_bit(&mut self) -> Result<u32, RuleErrorKind> {
        let bit = 1_u32.checked_shl(self.evidence_bits).filter(|_| (self.evidence_bits as usize) < MAX_EVIDENCE_RULES);
        self.evidence_bits += 1;
        bit.ok_or(RuleErrorKind::TooManySiblingRules(MAX_EVIDENCE_RULES))
    }

    fn edit_entry(&mut self, name: &str, edit: impl FnOnce(&mut KeyEntry)) {
        let index = match self.get(name.as_bytes()) {
            Some((index, _)) => index,
            None => self.insert(name.as_bytes()),
        };
        self.last_word_filter.resize(LAST_WORD_BITS / 64, 0);
        self.last_letters_filter.resize(LAST_LETTERS_BITS / 64, 0);
        let last_word = name.rsplit('_').next().unwrap_or(name).as_bytes();
        set_bit(&mut self.last_word_filter, last_word_slot(last_word));
        // If the word is shorter than three bytes, any byte may come before it
        let known_bits = 5 * last_word.len().min(3);
        (0..LAST_LETTERS_BITS >> known_bits).for_each(|bits_before| {
            set_bit(&mut self.last_letters_filter, last_letters_slot(last_word) | bits_before << known_bits)
        });
        if let Some(entry) = self.entries.get_mut(usize::from(index)) {
            edit(entry);
        }
    }

    /// The rules of a matched key.
    pub(crate) fn rules(&self, key_match: KeyMatch) -> &[KeyRule] {
        self.entries.get(usize::from(key_match.entry)).map_or(&[], |entry| &entry.rules)
    }

    /// Looks up a key, and returns its match and its evidence about sibling keys.
    pub(crate) fn find(&self, key: &[u8]) -> (KeyMatch, SiblingEvidence) {
        let mut evidence = SiblingEvidence::default();
        let key = key.get(key.len().saturating_sub(LONGEST)..).unwrap_or_default();
        // A key may end with a separator after its last word
        let may_end = key.last().is_some_and(|last| SEPARATORS.contains(*last))
            || has_bit(&self.last_letters_filter, last_letters_slot(key));
        if !may_end || !has_bit(&self.last_word_filter, last_word_slot(last_word(key))) {
            return (KeyMatch::NONE, evidence);
        }
        let mut buffer = [0_u8; LONGEST + 16];
        let Some((name, last_segment)) = to_snake_case(key, &mut buffer) else { return (KeyMatch::NONE, evidence) };
        let (mut own_evidence, mut from) = (SiblingEvidence::default(), 0);
        for _ in 0..8 {
            let rest = name.get(from..).unwrap_or_default();
            if let Some((index, entry)) = self.get(rest) {
                evidence = evidence.combine(entry.evidence);
                if !entry.rules.is_empty() {
                    let has_words_before = from > 0 && from != last_segment;
                    return (KeyMatch { entry: index, own_evidence, has_words_before }, evidence);
                }
            }
            let Some(cut) = rest.iter().position(|byte| *byte == b'_') else { break };
            if let Some((_, first)) = self.get(rest.get(..cut).unwrap_or_default()) {
                own_evidence = own_evidence.combine(first.evidence);
            }
            from += cut + 1;
        }
        (KeyMatch::NONE, evidence)
    }

    fn get(&self, name: &[u8]) -> Option<(u16, &KeyEntry)> {
        let (mut slot, mask) = (hash(name), self.slots.len().wrapping_sub(1));
        loop {
            let index = self.slots.get(slot & mask)?.checked_sub(1)?;
            let entry = self.entries.get(usize::from(index))?;
            if *entry.name == *name {
                return Some((index, entry));
            }
            slot += 1;
        }
    }

    /// Adds an entry without rules, and returns its index.
    fn insert(&mut self, name: &[u8]) -> u16 {
        let index = u16::try_from(self.entries.len()).unwrap_or(u16::MAX - 1).min(u16::MAX - 1);
        self.entries.push(KeyEntry { name: name.into(), ..KeyEntry::default() });
        if self.entries.len() * 2 > self.slots.len() {
            self.slots = vec![0; (self.entries.len() * 4).next_power_of_two()];
            (0..=index).for_each(|index| self.fill_slot(index));
        } else {
            self.fill_slot(index);
        }
        index
    }

    fn fill_slot(&mut self, index: u16) {
        let Some(entry) = self.entries.get(usize::from(index)) else { return };
        let (mut slot, mask) = (hash(&entry.name), self.slots.len().wrapping_sub(1));
        while self.slots.get(slot & mask).is_some_and(|used| *used != 0) {
            slot += 1;
        }
        if let Some(free) = self.slots.get_mut(slot & mask) {
            *free = index + 1;
        }
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

fn set_bit(bits: &mut [u64], slot: usize) {
    if let Some(word) = bits.get_mut(slot / 64) {
        *word |= 1 << (slot % 64);
    }
}

#[inline(always)]
fn has_bit(bits: &[u64], slot: usize) -> bool {
    bits.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
}

/// Hash of a last word by its first and last letters and its length, ignoring case.
fn last_word_slot(last_word: &[u8]) -> usize {
    let byte = |at: usize| usize::from(last_word.get(at).copied().unwrap_or(0).to_ascii_lowercase());
    let end = usize::from(last_word.last().copied().unwrap_or(0).to_ascii_lowercase());
    (byte(0) ^ byte(1) << 3 ^ byte(2) << 6 ^ end << 9 ^ last_word.len() << 12) % LAST_WORD_BITS
}

/// Separators between the words of a key.
static SEPARATORS: ByteSet = ByteSet::new(b"-. /:[]_+?#*");

/// The last word of a key, split as by [`to_snake_case`].
fn last_word(key: &[u8]) -> &[u8] {
    let key = key.get(..key.len() - SEPARATORS.count_trailing(key)).unwrap_or_default();
    let mut next = b'_';
    for (at, byte) in key.iter().enumerate().rev() {
        let is_camel_border = next.is_ascii_uppercase() && (byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if is_camel_border || SEPARATORS.contains(*byte) {
            return key.get(at + 1..).unwrap_or_default();
        }
        next = *byte;
    }
    key
}

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
