//! [`NumberCues`]: the kinds of numbers that the words around a value announce, the nearest first. Most ids are bare
//! digits; only a word or key distinguishes a phone number from an order number. If a value has its own key, only that
//! key counts, unless it is neutral (`value`). A word is at most [`MAX_DISTANCE`] bytes before the value or its key.
//! The words are in `pii.yaml`; `announced` checks the values.

use std::ops::Range;

use crate::sets::ByteSet;

use super::super::action::WordAction;
use super::super::rule::{CueDistance, RuleFamily};
use super::super::scan::TextScan;
use super::super::stems::StemMatch;

/// Most bytes between a value and the end of its word.
const MAX_DISTANCE: usize = 40;
/// Most bytes between a value and a word after it.
const MAX_DISTANCE_AFTER: usize = 16;
/// Most bytes of a key and the characters between it and its value.
const MAX_KEY: usize = 48;

/// Most cues of one value.
const MAX_CUES: usize = 12;

/// The kinds of numbers that the words around a value announce.
pub(super) struct NumberCues {
    list: [Option<(RuleFamily, CueDistance)>; MAX_CUES],
    /// Kinds that words after the value announce, one bit each.
    kinds_after: u64,
    /// Whether the words after the value announce a one-time code: `482913 is your code`.
    pub(super) announces_code: bool,
    /// The value's own key, if it has one.
    pub(super) key: Option<Range<usize>>,
}

impl NumberCues {
    pub(super) const NONE: Self = Self { list: [None; MAX_CUES], kinds_after: 0, announces_code: false, key: None };

    /// Reads the words around `value`.
    pub(super) fn around(scan: &TextScan<'_>, value: &Range<usize>) -> Self {
        // `VAT number FR 736 220 50 318`
        let value = &(country_start(scan, value.start)..value.end);
        let foreign_kind = foreign_cue_before(scan, value.start);
        let words = &scan.anchors.words_by_use.number_words;
        let next_word = words.partition_point(|word| word.start < value.start);
        let is_near = |word: &StemMatch| {
            word.start + MAX_DISTANCE + MAX_KEY >= value.start && word.start <= value.end + MAX_DISTANCE_AFTER
        };
        let nearest = [next_word.wrapping_sub(1), next_word].map(|index| words.get(index));
        if foreign_kind.is_none() && !nearest.into_iter().flatten().any(is_near) {
            return Self::NONE;
        }
        let mut cues = Self { key: own_key(scan, value.start), ..Self::NONE };
        if let Some(family) = foreign_kind {
            cues.add(family, CueDistance::Close);
        }
        let has_telling_key = cues.key.clone().is_some_and(|key| !is_neutral_key(scan.bytes(key)));
        let floor = cues.key.as_ref().map_or(value.start, |key| key.start).saturating_sub(MAX_DISTANCE);
        for word in words.get(..next_word).unwrap_or_default().iter().rev().take_while(|word| word.start >= floor) {
            let (family, is_prose) = match word.action {
                WordAction::Number(family) => (family, false),
                WordAction::NumberProse(family) => (family, true),
                _ => continue,
            };
            let is_in_name = is_prose && is_part_of_name(scan, word.start, word.end);
            let is_unspecific = is_prose && !is_specific_enough(scan, family, value);
            if word.end > value.start || is_in_name || is_unspecific || scan.cuts_placeholder(&(word.start..word.end)) {
                continue;
            }
            let in_key = cues.key.as_ref().is_some_and(|key| word.start >= key.start && word.end <= key.end);
            let between = scan.bytes(word.end..value.start);
            let distance = match in_key {
                true if is_prose && is_json_key(scan, cues.key.as_ref()) => continue,
                true => CueDistance::Key,
                false if has_telling_key => continue,
                false if between.len() > MAX_DISTANCE || scan.contains_placeholder(&(word.end..value.start)) => break,
                false if is_linking_text(between) => CueDistance::Close,
                false if between.iter().any(|byte| byte.is_ascii_digit() || *byte == b'\n') => break,
                false => CueDistance::Near,
            };
            cues.add(family, distance);
        }
        if !has_telling_key {
            cues.read_words_after(scan, next_word, value.end);
        }
        cues
    }

    /// Adds a kind, or keeps the closest of its distances.
    pub(super) fn add(&mut self, family: RuleFamily, distance: CueDistance) {
        let slot = self.list.iter_mut().find(|slot| slot.is_none_or(|(known, _)| known == family));
        if let Some(slot) = slot {
            *slot = Some((family, slot.map_or(distance, |(_, nearest)| nearest.max(distance))));
        }
    }

    /// Reads the words after the value that ends at `end`, from `next_word` on.
    fn read_words_after(&mut self, scan: &TextScan<'_>, next_word: usize, end: usize) {
        let words = scan.anchors.words_by_use.number_words.get(next_word..).unwrap_or_default().iter();
        for word in words.skip_while(|word| word.start < end).take_while(|word| word.start <= end + MAX_DISTANCE_AFTER)
        {
            let between = scan.bytes(end..word.start);
            if let WordAction::Number(family) = word.action
                && !scan.cuts_placeholder(&(word.start..word.end))
                && !between.iter().any(|byte| b"\n,;:\"'=.[".contains(byte) || byte.is_ascii_digit())
            {
                self.kinds_after |= family.bit();
                self.announces_code |= family == RuleFamily::OneTimeCode && is_sentence(between);
            }
        }
    }

    /// Distance of the nearest word of a kind.
    pub(super) fn distance(&self, family: RuleFamily) -> Option<CueDistance> {
        self.list.iter().flatten().find(|(known, _)| *known == family).map(|(_, distance)| *distance)
    }

    /// Whether a word of a kind comes before or after.
    pub(super) fn announces(&self, family: RuleFamily) -> bool {
        self.distance(family).is_some() || self.kinds_after & family.bit() != 0
    }

    /// The kinds, best first: keys, then the nearest words.
    pub(super) fn by_distance(&self) -> impl Iterator<Item = (RuleFamily, CueDistance)> + '_ {
        [CueDistance::Key, CueDistance::Close, CueDistance::Near]
            .into_iter()
            .flat_map(|wanted| self.list.iter().flatten().copied().filter(move |(_, distance)| *distance == wanted))
    }

    /// Whether there are no cues before the value.
    pub(super) fn is_empty(&self) -> bool {
        self.list.iter().all(Option::is_none)
    }
}

/// Punctuation and small words between a word and its number, in scripts without blanks.
const LINKING_CHARACTERS: &[char] = &[
    ' ', ':', '：', '=', '\u{3000}', '是', '为', '為', '号', '號', 'は', '는', '은', '（', '(', '「', '"', '\'', '.',
    '，', '、', '*', '№',
];

/// ASCII characters among them.
static LINKING_BYTES: ByteSet = ByteSet::new(b" :=.('\"*");

/// The kind that a word of another script right before `at` announces (`电话`, `телефон`). The anchor pass does not find
/// these words, because they do not begin with an ASCII letter.
pub(super) fn foreign_cue_before(scan: &TextScan<'_>, at: usize) -> Option<RuleFamily> {
    let links = LINKING_BYTES.count_trailing(scan.bytes(at.saturating_sub(6)..at));
    if scan.byte_before(at, links + 1).is_ascii() {
        return None;
    }
    let head = scan.part(scan.text.ceil_char_boundary(at.saturating_sub(64))..at).trim_end_matches(LINKING_CHARACTERS);
    // The series of a passport: `паспорт АА 123456`
    let series = head.trim_end_matches(|c: char| c.is_uppercase());
    let has_series = head.chars().count() == series.chars().count() + 2;
    let head = if has_series { series.trim_end_matches(LINKING_CHARACTERS) } else { head };
    let ends_head = |word: &str| {
        let mut letters = head.chars().rev();
        word.chars()
            .rev()
            .all(|c| letters.next().is_some_and(|letter| letter == c || letter.to_lowercase().next() == Some(c)))
    };
    let words = scan.detector.foreign_words.iter().filter(|(word, _)| ends_head(word));
    words.max_by_key(|(word, _)| word.len()).map(|(_, family)| *family)
}

/// Start of the country letters before an id, as in `FR 736 220 50 318`; otherwise `at`.
pub(super) fn country_start(scan: &TextScan<'_>, at: usize) -> usize {
    if scan.byte_before(at, 1) != b' ' || !scan.byte_before(at, 2).is_ascii_uppercase() {
        return at;
    }
    let [before, first, second] = [4, 3, 2].map(|back| scan.byte_before(at, back));
    let is_austrian = [before, first, second] == *b"ATU" && !scan.byte_before(at, 5).is_ascii_alphanumeric();
    let has_country = !before.is_ascii_alphanumeric()
        && !b"_-.".contains(&before)
        && byte_list!("numbers.tax_id_countries").iter().any(|country| *country == [first, second]);
    at - if is_austrian { 4 } else { 3 * usize::from(has_country) }
}

/// Whether a value is specific enough for a word of prose: few of the values after `claim`, `referral` and `state id`
/// are ids.
fn is_specific_enough(scan: &TextScan<'_>, family: RuleFamily, value: &Range<usize>) -> bool {
    let text = scan.bytes(value.start..value.end.min(value.start + 24));
    let begins_like_id = family == RuleFamily::License || text.first().is_some_and(u8::is_ascii_uppercase);
    let count_digits = || text.iter().filter(|byte| byte.is_ascii_digit()).count();
    // The number of a published document
    let is_standard = || {
        byte_list!("numbers.document_series")
            .iter()
            .any(|name| text.strip_prefix(*name).is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphabetic)))
    };
    !matches!(family, RuleFamily::MedicalCued | RuleFamily::License)
        || (begins_like_id && count_digits() >= 6 && !is_standard())
}

/// Whether only small words and one name are between a code and its word: ` is your Google `.
fn is_sentence(between: &[u8]) -> bool {
    let words = || between.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let others = || words().filter(|word| !word_set!("numbers.linking_words").contains(word));
    let is_capitalised = |word: &[u8]| word.first().is_some_and(u8::is_ascii_uppercase);
    words().count() > 0 && others().count() < 2 && others().all(is_capitalised)
}

/// Whether a word is part of a longer name: `call_id`, `re-call`.
fn is_part_of_name(scan: &TextScan<'_>, at: usize, end: usize) -> bool {
    let is_joint = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    is_joint(scan.byte_before(at, 1))
        || (is_joint(scan.byte(end)) && (scan.byte(end) != b'.' || is_joint(scan.byte(end + 1))))
}

fn is_json_key(scan: &TextScan<'_>, key: Option<&Range<usize>>) -> bool {
    key.is_some_and(|key| b"\"'".contains(&scan.byte(key.end)) || scan.byte(key.end) == b'\\')
}

/// Whether `between` has only small words and punctuation. A line may end in it if no word follows the line break.
fn is_linking_text(between: &[u8]) -> bool {
    // ` on file,` only says where a value is kept
    let head = between.trim_ascii_end();
    let head = head.strip_suffix(b",").or_else(|| head.strip_suffix(b":")).unwrap_or(head);
    let between = head.strip_suffix(b" on file").unwrap_or(between);
    // `n°` and `nº` end a word; other non-ASCII letters belong to it: `è`
    let separates_words =
        |byte: &u8| !byte.is_ascii_alphanumeric() && (byte.is_ascii() || b"\xc2\xba\xb0".contains(byte));
    let is_mark = |byte: &u8| b" \t\n\r:=#\"'\\()[]<>{}-*_.|`/+&?\xc2\xba\xb0".contains(byte);
    // A comma, and the end of a sentence or list item, end the word's reach; `no. ` does not
    let ends_sentence = |at: usize| {
        let head = between.get(..at).unwrap_or_default();
        let last_word = head.rsplit(|byte| !byte.is_ascii_alphanumeric()).next().unwrap_or_default();
        let is_number_word = [&b"no"[..], b"nr", b"num"].iter().any(|word| last_word.eq_ignore_ascii_case(word));
        between.get(at..at + 2) == Some(b". ") && !is_number_word
    };
    let mut words = between.split(separates_words).filter(|word| !word.is_empty());
    between.len() <= 32
        && between
            .iter()
            .enumerate()
            .all(|(at, byte)| !separates_words(byte) || is_mark(byte) || at == 0 && *byte == b',')
        && !(1..between.len()).any(ends_sentence)
        && words.all(|word| word_set!("numbers.linking_words").contains(word) && !between.contains(&b'\n'))
}

fn is_neutral_key(key: &[u8]) -> bool {
    let last_word = key.rsplit(|byte| !byte.is_ascii_alphanumeric()).next().unwrap_or_default();
    // `42:` is not a key, and neither is the end of a sentence
    let is_numeric = last_word.iter().all(u8::is_ascii_digit);
    is_numeric || word_set!("numbers.uninformative_keys").contains(last_word)
}

/// Characters between a key and its value, from the value backwards, and characters of keys.
static BEFORE_VALUE: ByteSet = ByteSet::new(b" \t\"'`\\[({<*+$#_");
static SEPARATORS: ByteSet = ByteSet::new(b":=>");
static BLANK: ByteSet = ByteSet::new(b" ");
static AFTER_KEY: ByteSet = ByteSet::new(b"\"'`\\])*_");
static IN_KEY: ByteSet = ByteSet::new(b"_-. #()'/").and_alnum().and_non_ascii();
static IN_QUOTES: ByteSet = ByteSet::new(b"\"\\\n{").complement();

/// The key of the value at `start`: the text before `:`, `=` or `>` on the same line.
pub(super) fn own_key(scan: &TextScan<'_>, start: usize) -> Option<Range<usize>> {
    let floor = start.saturating_sub(MAX_KEY);
    let count_before = |from: usize, set: &ByteSet, most: usize| {
        set.count_trailing(scan.bytes(floor.max(from.saturating_sub(most))..from))
    };
    let mut at = start - count_before(start, &BEFORE_VALUE, 12);
    let separators = count_before(at, &SEPARATORS, 3);
    if separators == 0 || scan.bytes(at - separators..at) == b"::" {
        return None;
    }
    at -= separators;
    at -= count_before(at, &BLANK, 4);
    let quotes = count_before(at, &AFTER_KEY, 8);
    at -= quotes;
    let is_quoted = quotes > 0 && matches!(scan.byte(at + quotes - 1), b'"' | b'\'');
    let len = count_before(at, if is_quoted { &IN_QUOTES } else { &IN_KEY }, MAX_KEY);
    (len > 0).then_some(at - len..at)
}
