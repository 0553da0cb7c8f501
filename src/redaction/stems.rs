//! **What**: the words that make a pattern or family worth trying, found at the start of words. **Why**: a bit test
//! for each word costs less than any multi-pattern search. **Invariants**: at most two bit tests and one short list a
//! word; comparing is without ASCII case unless the stem says so. **Not here**: where words start (`anchors`).

use super::find::Action;

/// A word to look for.
#[derive(Clone)]
pub(super) struct Stem {
    /// Its bytes: lower case unless `exact`.
    pub(super) text: Box<[u8]>,
    /// Case counts.
    pub(super) exact: bool,
    /// A letter or digit must not follow.
    pub(super) whole: bool,
    /// What to do there.
    pub(super) action: Action,
}

/// A stem that was found.
#[derive(Clone, Copy)]
pub(super) struct WordAt {
    /// Its first byte.
    pub(super) at: usize,
    /// Behind its last byte.
    pub(super) end: usize,
    /// What to do.
    pub(super) action: Action,
}

/// Bits of a filter.
const BITS: usize = 1 << 16;
/// Shortest stem.
pub(super) const SHORTEST: usize = 2;
/// What may follow a stem of two letters.
const BEHIND: &[u8] = b" \t\n\r.,:;=_-/\"'`|)]}>\\*&";

/// All stems.
pub(super) struct Stems {
    /// By the first four bytes, and by the first three of those that are shorter.
    four: Filter<{ u32::MAX }>,
    three: Filter<0xFF_FFFF>,
    /// Given names, if they are looked for.
    pub(super) given: Option<Given>,
}

/// Stems by one width of key.
struct Filter<const MASK: u32> {
    bits: Box<[u64; BITS / 64]>,
    /// Stems in order of slot; `slots[s]..slots[s + 1]` is a slot's.
    slots: Vec<u32>,
    stems: Vec<Stem>,
}

#[inline]
fn hash(key: u32) -> usize {
    usize::from((key.wrapping_mul(0x9E37_79B1) >> 16) as u16)
}

impl<const MASK: u32> Filter<MASK> {
    fn new(keyed: Vec<(u32, Stem)>) -> Self {
        let mut bits = Box::new([0_u64; BITS / 64]);
        let mut keyed: Vec<(usize, Stem)> = keyed.into_iter().map(|(key, stem)| (hash(key & MASK), stem)).collect();
        keyed.sort_by_key(|(slot, _)| *slot);
        let mut slots = vec![0_u32; BITS + 1];
        for (slot, _) in &keyed {
            if let Some(word) = bits.get_mut(slot / 64) {
                *word |= 1 << (slot % 64);
            }
            if let Some(count) = slots.get_mut(slot + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for count in &mut slots {
            sum += *count;
            *count = sum;
        }
        Self { bits, slots, stems: keyed.into_iter().map(|(_, stem)| stem).collect() }
    }

    #[inline]
    fn may(&self, key: u32) -> bool {
        let slot = hash(key & MASK);
        self.bits.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    fn at(&self, key: u32, text: &[u8], at: usize, out: &mut Vec<WordAt>) {
        let slot = hash(key & MASK);
        let bound = |slot: usize| self.slots.get(slot).map_or(0, |bound| *bound as usize);
        for stem in self.stems.get(bound(slot)..bound(slot + 1)).unwrap_or_default() {
            let end = at + stem.text.len();
            let Some(found) = text.get(at..end) else { continue };
            let same = if stem.exact { found == &*stem.text } else { found.eq_ignore_ascii_case(&stem.text) };
            let whole = || !stem.whole || text.get(end).is_none_or(|next| !next.is_ascii_alphanumeric());
            if same && whole() {
                out.push(WordAt { at, end, action: stem.action });
            }
        }
    }
}

/// Bits of [`Given`].
const GIVEN_BITS: usize = 1 << 17;

/// Given names by their first four letters and the length of their first run of ASCII letters.
pub(super) struct Given {
    bits: Box<[u64; GIVEN_BITS / 64]>,
}

impl Given {
    fn new(names: impl Iterator<Item = &'static str>) -> Self {
        let mut bits = Box::new([0; GIVEN_BITS / 64]);
        for name in names {
            let run = name.bytes().take_while(u8::is_ascii_alphanumeric).count();
            let slot = Self::slot(name.as_bytes(), 0, run);
            if let Some(word) = bits.get_mut(slot / 64) {
                *word |= 1 << (slot % 64);
            }
        }
        Self { bits }
    }

    #[inline]
    fn slot(text: &[u8], at: usize, run: usize) -> usize {
        let letters = key(text, at) & [0, 0xFF, 0xFFFF, 0xFF_FFFF].get(run).copied().unwrap_or(u32::MAX);
        let mixed = (letters ^ (run as u32).wrapping_mul(0x85EB_CA6B)).wrapping_mul(0x9E37_79B1);
        (mixed >> 15) as usize % GIVEN_BITS
    }

    /// Whether a given name may stand at `at`, where a run of so many letters and digits begins.
    #[inline]
    pub(super) fn may(&self, text: &[u8], at: usize, run: usize) -> bool {
        let slot = Self::slot(text, at, run);
        self.bits.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }
}

/// Four bytes in lower case, blanks behind the end.
#[inline]
fn key(text: &[u8], at: usize) -> u32 {
    let rest = text.get(at..).unwrap_or_default();
    let bytes = match rest.first_chunk::<4>() {
        Some(bytes) => *bytes,
        None => {
            let mut bytes = [b' '; 4];
            bytes.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            bytes
        }
    };
    u32::from_le_bytes(bytes) | 0x2020_2020
}

impl Stems {
    /// The table of `stems`; those shorter than two bytes are never found.
    pub(super) fn new(stems: Vec<Stem>) -> Self {
        let (mut four, mut three) = (Vec::new(), Vec::new());
        for stem in stems {
            match stem.text.len() {
                0 | 1 => {}
                2 => three.extend(BEHIND.iter().map(|next| {
                    let text: Vec<u8> = stem.text.iter().copied().chain([*next]).collect();
                    (key(&text, 0), Stem { whole: true, ..stem.clone() })
                })),
                3 => three.push((key(&stem.text, 0), stem)),
                _ => four.push((key(&stem.text, 0), stem)),
            }
        }
        // two followers may be one key: `\t` and `)` in lower case
        three.sort_by(|(a, one), (b, other)| (a & 0xFF_FFFF, &one.text).cmp(&(b & 0xFF_FFFF, &other.text)));
        three.dedup_by(|(a, one), (b, other)| {
            *a & 0xFF_FFFF == *b & 0xFF_FFFF && one.text == other.text && one.action == other.action
        });
        Self { four: Filter::new(four), three: Filter::new(three), given: None }
    }

    /// Looks for words with a capital letter that may be one of `names`, too.
    pub(super) fn with_given(self, names: impl Iterator<Item = &'static str>) -> Self {
        Self { given: Some(Given::new(names)), ..self }
    }

    /// Whether a stem may begin at `at`.
    #[inline]
    pub(super) fn may(&self, text: &[u8], at: usize) -> bool {
        let key = key(text, at);
        self.four.may(key) || self.three.may(key)
    }

    /// The stems that begin at `at`.
    pub(super) fn at(&self, text: &[u8], at: usize, out: &mut Vec<WordAt>) {
        let key = key(text, at);
        self.four.at(key, text, at, out);
        self.three.at(key, text, at, out);
    }
}
