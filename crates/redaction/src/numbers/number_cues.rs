//! [`NumberCues`]: the kinds of numbers that the words around a value announce, the nearest first. Most ids are bare
//! digits; only a word or key distinguishes a phone number from an order number. If a value has its own key, only that
//! key counts, unless it is neutral (`value`). At most [`FAR`] bytes on one line are read. The words are in `pii.yaml`;
//! `cued_numbers` checks the values.

use std::ops::Range;
use std::sync::LazyLock;

use crate::sets::{ByteSet, WordSet};

use super::super::action::WordAction;
use super::super::rule::RuleFamily;
use super::super::scan::TextScan;
use crate::wordlists;

/// Most bytes between a value and the end of its word.
const FAR: usize = 40;
/// Most bytes between a value and a word behind it.
const BEHIND: usize = 16;
/// Most bytes of a key and the characters between it and its value.
const KEY: usize = 48;
/// Most cues of one value.
const MOST: usize = 12;

/// How close a word is to a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CueDistance {
    /// On the same line.
    Near,
    /// Separated by small words only.
    Close,
    /// Part of the value's key.
    Key,
}

/// The kinds of numbers that the words around a value announce.
pub(super) struct NumberCues {
    list: [Option<(RuleFamily, CueDistance)>; MOST],
    count: usize,
    behind: u64,
    /// Whether the words behind announce a one-time code: `482913 is your code`.
    pub(super) announces_code: bool,
    /// The value's own key, if it has one.
    pub(super) key: Option<Range<usize>>,
}

impl NumberCues {
    /// No cues.
    pub(super) const NONE: Self = Self { list: [None; MOST], count: 0, behind: 0, announces_code: false, key: None };

    /// Reads the words around `value`.
    pub(super) fn around(scan: &TextScan<'_>, value: &Range<usize>) -> Self {
        // `VAT number FR 736 220 50 318`
        let value = &(country_start(scan, value.start)..value.end);
        let foreign = foreign_cue_before(scan, value.start);
        let words = &scan.anchors.words_by_use.number_words;
        let upto = words.partition_point(|word| word.start < value.start);
        if foreign.is_none() && !is_near_word(scan, value, upto) {
            return Self::NONE;
        }
        let mut cues = Self { key: own_key(scan, value.start), ..Self::NONE };
        if let Some(family) = foreign {
            cues.push(family, CueDistance::Close);
        }
        let mute = cues.key.clone().is_none_or(|key| is_neutral_key(scan.bytes(key)));
        let far = cues.key.as_ref().map_or(value.start, |key| key.start).saturating_sub(FAR);
        for word in words.get(..upto).unwrap_or_default().iter().rev().take_while(|word| word.start >= far) {
            let (family, prose) = match word.action {
                WordAction::Number(family) => (family, false),
                WordAction::NumberProse(family) => (family, true),
                _ => continue,
            };
            let part = prose && is_part_of_name(scan, word.start, word.end);
            let plain = prose && !is_specific_enough(scan, family, value);
            if word.end > value.start || part || plain || scan.cuts_placeholder(&(word.start..word.end)) {
                continue;
            }
            let in_key = cues.key.as_ref().is_some_and(|key| word.start >= key.start && word.end <= key.end);
            let between = scan.bytes(word.end..value.start);
            let grade = match in_key {
                true if prose && is_json_key(scan, cues.key.as_ref()) => continue,
                true => CueDistance::Key,
                false if !mute => continue,
                false if between.len() > FAR || scan.contains_placeholder(&(word.end..value.start)) => break,
                false if is_linking_text(between) => CueDistance::Close,
                false if between.iter().any(|byte| byte.is_ascii_digit() || *byte == b'\n') => break,
                false => CueDistance::Near,
            };
            cues.push(family, grade);
        }
        if mute {
            cues.read_words_behind(scan, upto, value.end);
        }
        cues
    }

    /// Adds the kind of the previous value in a list, which this value continues.
    pub(super) fn continue_list(&mut self, family: RuleFamily) {
        self.push(family, CueDistance::Close);
    }

    fn push(&mut self, family: RuleFamily, grade: CueDistance) {
        let known = self.list.iter_mut().flatten().find(|(known, _)| *known == family);
        match known {
            Some((_, best)) => *best = (*best).max(grade),
            None => {
                if let Some(slot) = self.list.get_mut(self.count) {
                    *slot = Some((family, grade));
                    self.count += 1;
                }
            }
        }
    }

    /// Reads the words behind the value that ends at `end`; `upto` words begin before the value.
    fn read_words_behind(&mut self, scan: &TextScan<'_>, upto: usize, end: usize) {
        let words = scan.anchors.words_by_use.number_words.get(upto..).unwrap_or_default().iter();
        for word in words.skip_while(|word| word.start < end).take_while(|word| word.start <= end + BEHIND) {
            let between = scan.bytes(end..word.start);
            if let WordAction::Number(family) = word.action
                && !scan.cuts_placeholder(&(word.start..word.end))
                && !between.iter().any(|byte| b"\n,;:\"'=.[".contains(byte) || byte.is_ascii_digit())
            {
                self.behind |= family.bit();
                self.announces_code |= family == RuleFamily::OneTimeCode && is_sentence(between);
            }
        }
    }

    /// Distance of the nearest word of a kind.
    pub(super) fn grade(&self, family: RuleFamily) -> Option<CueDistance> {
        self.list.iter().flatten().find(|(known, _)| *known == family).map(|(_, grade)| *grade)
    }

    /// Whether a word of a kind comes before or behind.
    pub(super) fn announces(&self, family: RuleFamily) -> bool {
        self.grade(family).is_some() || self.behind & family.bit() != 0
    }

    /// The kinds, best first: keys, then the nearest words.
    pub(super) fn by_distance(&self) -> impl Iterator<Item = (RuleFamily, CueDistance)> + '_ {
        let graded =
            |wanted: CueDistance| self.list.iter().flatten().filter(move |(_, grade)| *grade == wanted).copied();
        graded(CueDistance::Key).chain(graded(CueDistance::Close)).chain(graded(CueDistance::Near))
    }

    /// Whether there are no cues before the value.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Punctuation and small words between a word and its number, in scripts without blanks.
const BETWEEN: &[char] = &[
    ' ', ':', '：', '=', '\u{3000}', '是', '为', '為', '号', '號', 'は', '는', '은', '（', '(', '「', '"', '\'', '.',
    '，', '、', '*', '№',
];

/// ASCII punctuation in that place.
static MARKS: ByteSet = ByteSet::new(b" :=.('\"*");

/// The kind that a word of another script right before `at` announces (`电话`, `телефон`). The anchor pass does not find
/// these words, because they do not begin with an ASCII letter.
pub(super) fn foreign_cue_before(scan: &TextScan<'_>, at: usize) -> Option<RuleFamily> {
    let at = series_start(scan, at);
    let marks = MARKS.count_trailing(scan.bytes(at.saturating_sub(6)..at));
    if scan.byte_before(at, marks + 1).is_ascii() {
        return None;
    }
    let mut from = at.saturating_sub(64);
    while !scan.text.is_char_boundary(from) {
        from += 1;
    }
    let head = scan.part(from..at).trim_end_matches(BETWEEN);
    let ends = |word: &str| {
        let mut near = head.chars().rev();
        word.chars().rev().all(|c| near.next().is_some_and(|near| near == c || near.to_lowercase().next() == Some(c)))
    };
    let words = scan.detector.foreign_words.iter().filter(|(word, _)| ends(word));
    words.max_by_key(|(word, _)| word.len()).map(|(_, family)| *family)
}

/// Start of the passport series before a number, as in `45 10 № 123456` or `АА 123456`; otherwise `at`.
pub(super) fn series_start(scan: &TextScan<'_>, at: usize) -> usize {
    let blank = usize::from(scan.byte_before(at, 1) == b' ');
    if scan.byte_before(at, blank + 1).is_ascii() {
        return at;
    }
    let floor = scan.text.ceil_char_boundary(at.saturating_sub(24));
    let head = scan.part(floor..at - blank);
    if let Some(head) = head.strip_suffix('№') {
        let head = head.trim_end_matches(' ');
        let rest = head.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
        let found = head.get(rest.len()..).unwrap_or_default().trim_start_matches(' ');
        let four = found.bytes().filter(u8::is_ascii_digit).count() == 4;
        return if four { floor + head.len() - found.len() } else { at };
    }
    let capital = |c: &char| ('А'..='Я').contains(c) || "ІЇЄҐ".contains(*c);
    let mut letters = head.chars().rev();
    let two: Vec<usize> = letters.by_ref().take(2).filter(capital).map(char::len_utf8).collect();
    let whole = two.len() == 2 && !letters.next().is_some_and(char::is_alphabetic);
    if whole { at - blank - two.iter().sum::<usize>() } else { at }
}

/// Start of the country letters before an id, as in `FR 736 220 50 318`; otherwise `at`.
pub(super) fn country_start(scan: &TextScan<'_>, at: usize) -> usize {
    if scan.byte_before(at, 1) != b' ' || !scan.byte_before(at, 2).is_ascii_uppercase() {
        return at;
    }
    let [edge, first, second] = [4, 3, 2].map(|back| scan.byte_before(at, back));
    let austrian = [edge, first, second] == *b"ATU" && !scan.byte_before(at, 5).is_ascii_alphanumeric();
    let known = !edge.is_ascii_alphanumeric()
        && !b"_-.".contains(&edge)
        && COUNTRIES.iter().any(|known| *known == [first, second]);
    at - if austrian { 4 } else { 3 * usize::from(known) }
}

/// Country letters before tax and national ids. Norway's are missing, because they are the word `no`.
static COUNTRIES: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("numbers.tax_id_countries"));

/// Whether a value is specific enough for a word of prose: few of the values behind `claim`, `referral` and `state id`
/// are ids.
fn is_specific_enough(scan: &TextScan<'_>, family: RuleFamily, value: &Range<usize>) -> bool {
    let text = scan.bytes(value.start..value.end.min(value.start + 24));
    let lettered = family == RuleFamily::License || text.first().is_some_and(u8::is_ascii_uppercase);
    let digits = || text.iter().filter(|byte| byte.is_ascii_digit()).count();
    // The number of a published document
    let standard = || {
        STANDARDS
            .iter()
            .any(|name| text.strip_prefix(*name).is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphabetic)))
    };
    !matches!(family, RuleFamily::MedicalCued | RuleFamily::License) || (lettered && digits() >= 6 && !standard())
}

/// Publishers of numbered documents, such as standards.
static STANDARDS: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("numbers.document_series"));

/// Whether any word of numbers is close enough to matter; `upto` words begin before the value.
fn is_near_word(scan: &TextScan<'_>, value: &Range<usize>, upto: usize) -> bool {
    let (before, behind) = scan.anchors.words_by_use.number_words.split_at_checked(upto).unwrap_or_default();
    let before = before.iter().rev().take_while(|word| word.start + FAR + KEY >= value.start);
    let behind = behind.iter().take_while(|word| word.start <= value.end + BEHIND);
    before.chain(behind).next().is_some()
}

/// Whether only small words and one name are between a code and its word: ` is your Google `.
fn is_sentence(between: &[u8]) -> bool {
    let words = || between.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let others = || words().filter(|word| !LINKS.contains(word));
    let named = |word: &[u8]| word.first().is_some_and(u8::is_ascii_uppercase);
    words().count() > 0 && others().count() < 2 && others().all(named)
}

/// Whether a word is part of a longer name: `call_id`, `re-call`.
fn is_part_of_name(scan: &TextScan<'_>, at: usize, end: usize) -> bool {
    let joint = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    joint(scan.byte_before(at, 1)) || (joint(scan.byte(end)) && (scan.byte(end) != b'.' || joint(scan.byte(end + 1))))
}

fn is_json_key(scan: &TextScan<'_>, key: Option<&Range<usize>>) -> bool {
    key.is_some_and(|key| b"\"'".contains(&scan.byte(key.end)) || scan.byte(key.end) == b'\\')
}

/// Small words that may come between a word and its value.
static LINKS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("numbers.linking_words")));

/// Whether `between` has only small words and punctuation. A line may end in it if no word follows the line break.
fn is_linking_text(between: &[u8]) -> bool {
    let between = strip_on_file(between);
    if between.len() > 32 {
        return false;
    }
    let line_end = between.contains(&b'\n');
    // `n°` and `nº` end a word; other non-ASCII letters belong to it: `è`
    let parts = |byte: &u8| !byte.is_ascii_alphanumeric() && (byte.is_ascii() || b"\xc2\xba\xb0".contains(byte));
    let mut words = between.split(parts).filter(|word| !word.is_empty());
    let small = |word: &[u8]| LINKS.contains(word);
    let marks =
        between.iter().all(|byte| !parts(byte) || b" \t\n\r:=#\"'\\()[]<>{}-*_.|`/+&,?\xc2\xba\xb0".contains(byte));
    // The end of a sentence or list item ends the word's reach
    let stop = |at: usize| {
        between.get(at..at + 2) == Some(b". ") && !ends_in_number_abbreviation(between.get(..at).unwrap_or_default())
    };
    let ends = (1..between.len()).any(|at| stop(at) || between.get(at) == Some(&b','));
    marks
        && !ends
        && (!line_end || words.next().is_none())
        && between.split(parts).filter(|word| !word.is_empty()).all(small)
}

/// Removes ` on file,`, which only says where a value is kept.
fn strip_on_file(between: &[u8]) -> &[u8] {
    let own = between.trim_ascii_end();
    let own = own.strip_suffix(b",").or_else(|| own.strip_suffix(b":")).unwrap_or(own);
    own.strip_suffix(b" on file").unwrap_or(between)
}

/// Whether `head` ends in an abbreviation of "number", whose dot does not end a sentence: `no. `.
fn ends_in_number_abbreviation(head: &[u8]) -> bool {
    [&b"no"[..], b"nr", b"num"].iter().any(|word| {
        let (before, last) = head.split_at_checked(head.len().saturating_sub(word.len())).unwrap_or_default();
        last.eq_ignore_ascii_case(word) && !before.last().is_some_and(u8::is_ascii_alphanumeric)
    })
}

/// Neutral keys, which do not describe their values.
static NEUTRAL_KEYS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("numbers.uninformative_keys")));

fn is_neutral_key(key: &[u8]) -> bool {
    let last = key.rsplit(|byte| !byte.is_ascii_alphanumeric()).next().unwrap_or_default();
    // `42:` is not a key, and neither is the end of a sentence
    let numeric = last.iter().all(u8::is_ascii_digit);
    numeric || NEUTRAL_KEYS.contains(last)
}

/// Characters between a key and its value, from the value backwards, and characters of keys.
static OPENING: ByteSet = ByteSet::new(b" \t\"'`\\[({<*+$#_");
static SEPARATORS: ByteSet = ByteSet::new(b":=>");
static BLANK: ByteSet = ByteSet::new(b" ");
static CLOSING: ByteSet = ByteSet::new(b"\"'`\\])*_");
static IN_KEY: ByteSet = ByteSet::new(b"_-. #()'/").and_alnum().and_non_ascii();
static IN_QUOTES: ByteSet = ByteSet::new(b"\"\\\n{").complement();

/// The key of the value at `start`: the text before `:`, `=` or `>` on the same line.
pub(super) fn own_key(scan: &TextScan<'_>, start: usize) -> Option<Range<usize>> {
    let floor = start.saturating_sub(KEY);
    let back = |from: usize, like: &ByteSet, most: usize| {
        like.count_trailing(scan.bytes(floor.max(from.saturating_sub(most))..from))
    };
    let mut at = start - back(start, &OPENING, 12);
    let seps = back(at, &SEPARATORS, 3);
    if seps == 0 || scan.bytes(at - seps..at) == b"::" {
        return None;
    }
    at -= seps;
    at -= back(at, &BLANK, 4);
    let quotes = back(at, &CLOSING, 8);
    at -= quotes;
    let quoted = quotes > 0 && matches!(scan.byte(at + quotes - 1), b'"' | b'\'');
    let length = back(at, if quoted { &IN_QUOTES } else { &IN_KEY }, KEY);
    (length > 0).then_some(at - length..at)
}
