//! Finds the anchors of a text in one pass. An anchor is a position where something private could begin: a known word,
//! a run with digits, `@`, `://`, a capitalised word or a long base64-like run. Patterns are slow, so they are tried
//! only at anchors. The pass is linear and allocates nothing once its lists have grown; anchors are in order. `find`
//! and the families read the text at an anchor.

use std::ops::Range;

use super::action::WordAction;
use super::byte_masks::{self, ByteMasks};
use super::glued_words;
use super::names::name_lists::may_begin_given_name;
use super::offsets::{PieceOffsets, PieceWindow};
use super::sets::ByteSet;
use super::stems::{StemMatch, Stems};
use super::views::entities::is_entity;

/// Kinds of bytes in a text, from which the views to decode are chosen. A field is not 0 if the text has, or may have,
/// such a byte; its bits mean nothing else.
#[derive(Clone, Copy, Default)]
pub(super) struct ByteKinds {
    pub(super) backslash: u64,
    /// `%` before a letter or digit.
    pub(super) percent: u64,
    /// `&` that begins an entity.
    pub(super) ampersand: u64,
    /// `=` before a digit or capital letter.
    pub(super) equals: u64,
    /// `"` and `'`.
    pub(super) quote: u64,
    /// `<` before a letter or digit.
    pub(super) tag: u64,
    /// Non-ASCII bytes.
    pub(super) high: u64,
    /// The escape character of terminals.
    pub(super) escape: u64,
}

impl ByteKinds {
    #[inline(always)]
    fn add(&mut self, block: &ByteMasks) {
        // The byte after the block is not known here, so it counts as a match
        let before_alnum = (block.alnum >> 1) | (1 << 63);
        self.backslash |= block.backslash;
        self.quote |= block.quote;
        self.tag |= block.less & before_alnum;
        self.percent |= block.percent & before_alnum;
        self.equals |= block.equals & (((block.digit | block.upper) >> 1) | (1 << 63));
        self.high |= block.high;
        self.escape |= block.escape;
    }

    /// Whether any byte may begin an escape.
    pub(super) fn may_have_escape(&self) -> bool {
        self.backslash | self.percent | self.ampersand | self.equals | self.high | self.escape != 0
    }
}

/// Anchors of one text, ordered by position. Reused between texts.
#[derive(Default)]
pub(super) struct Anchors {
    /// Known words that begin at a word boundary or within camelCase.
    pub(super) words: Vec<StemMatch>,
    /// The same words, grouped by their users; filled by [`Self::group_words`].
    pub(super) words_by_use: WordsByUse,
    /// Runs of letters and digits that hold a digit.
    pub(super) digit_runs: Vec<DigitRun>,
    /// Positions of `@`.
    pub(super) at_signs: Vec<usize>,
    /// Positions of `[` before a capital letter.
    pub(super) brackets: Vec<usize>,
    /// Positions of the colon in `://`.
    pub(super) schemes: Vec<usize>,
    /// Runs of 40 or more bytes of the base64 alphabets.
    pub(super) base64_runs: Vec<Range<usize>>,
    /// Capitalised words that may be given names of the list.
    pub(super) given_names: Vec<usize>,
    pub(super) byte_kinds: ByteKinds,
    /// Masks of the current piece.
    masks: Vec<ByteMasks>,
    /// Word starts in the current piece.
    word_starts: PieceOffsets,
    /// `=` and `:` in the current piece, before which a key may end.
    key_separators: PieceOffsets,
    window: PieceWindow,
}

/// A run of letters and digits that contains a digit, with the properties by which most are rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DigitRun {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The bytes on both sides; a line feed at the ends of the text.
    pub(super) before: u8,
    pub(super) after: u8,
    /// Number of leading digits, at most [`MAX_DIGITS`].
    pub(super) digits: u8,
}

impl DigitRun {
    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn from_run(text: &[u8], start: usize, end: usize, digits: usize) -> Self {
        let byte = |at: usize| text.get(at).copied().unwrap_or(b'\n');
        Self { start, end, before: byte(start.wrapping_sub(1)), after: byte(end), digits: digits.min(MAX_DIGITS) as u8 }
    }
}

/// Most leading digits that are counted; no kind of number has so many.
const MAX_DIGITS: usize = 33;
/// Shortest run that may be base64 text.
const SHORTEST_BASE64: usize = 40;

impl Anchors {
    /// Whether nothing private can begin anywhere, also not in decoded views.
    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
            && self.digit_runs.is_empty()
            && self.at_signs.is_empty()
            && self.given_names.is_empty()
            && self.schemes.is_empty()
            && self.base64_runs.is_empty()
            && !self.byte_kinds.may_have_escape()
    }

    /// Groups the words; called when those within placeholders are removed.
    pub(super) fn group_words(&mut self) {
        self.words_by_use.group(&self.words);
    }

    /// Replaces the anchors by those of `text`; [`Self::group_words`] has to follow.
    pub(super) fn find(&mut self, text: &[u8], stems: &Stems) {
        self.words.clear();
        self.digit_runs.clear();
        self.at_signs.clear();
        self.brackets.clear();
        self.schemes.clear();
        self.base64_runs.clear();
        self.given_names.clear();
        // A search that panicked may have left offsets behind
        self.word_starts.clear();
        self.key_separators.clear();
        let mut masks = std::mem::take(&mut self.masks);
        let mut pass = AnchorPass {
            text,
            stems,
            has_numeric_words: stems.has_numeric,
            anchors: self,
            previous: ByteMasks::default(),
            seen: ByteKinds::default(),
            run_start: 0,
        };
        byte_masks::read_text(text, &mut masks, &mut pass);
        self.byte_kinds = pass.seen;
        self.masks = masks;
    }
}

/// State of the pass.
struct AnchorPass<'a> {
    text: &'a [u8],
    stems: &'a Stems,
    /// Whether a known word may begin with a digit that no letter follows, as users' words may.
    has_numeric_words: bool,
    anchors: &'a mut Anchors,
    /// Masks of the previous block.
    previous: ByteMasks,
    seen: ByteKinds,
    /// Start of the run of letters and digits at the end of the last block, if there is one.
    run_start: usize,
}

impl byte_masks::MaskReader for AnchorPass<'_> {
    #[inline(always)]
    fn read_block(&mut self, base: usize, block: &ByteMasks, next_alnum: u64) {
        let previous = &self.previous;
        let lower = block.alnum & !block.upper & !block.digit;
        let previous_lower = previous.alnum & !previous.upper & !previous.digit;
        // A letter or digit after any other byte, and a capital after a lower-case letter
        let run_starts = block.alnum & !((block.alnum << 1) | (previous.alnum >> 63));
        let camel_starts = block.upper & ((lower << 1) | (previous_lower >> 63));
        // The letter of an escape such as \n is not part of the word after it
        let after_escape = block.alnum & ((block.backslash << 2) | (previous.backslash >> 62));
        // A digit begins a word only before a letter, except for users' words; the byte after the block is not known
        // here
        let letter_next = ((block.alnum & !block.digit) >> 1) | (1 << 63);
        let wordless_digits = if self.has_numeric_words { 0 } else { block.digit & !letter_next };
        let offset = (base % byte_masks::PIECE) as u16;
        self.anchors.word_starts.add(offset, (run_starts | camel_starts | after_escape) & !wordless_digits);
        self.anchors.key_separators.add(offset, block.equals | block.colon);
        self.find_given_names(base, block, next_alnum, (run_starts | after_escape) & block.upper);
        self.record_digit_runs(base, block, next_alnum, run_starts);
        self.find_signs(base, block);
        self.find_long_runs(base, block);
        self.seen.add(block);
        self.previous = *block;
    }

    // Separate from the loop over blocks, so that each loop has all registers
    #[inline(always)]
    fn end_piece(&mut self, base: usize) {
        self.find_words(base);
        self.find_glued_words(base);
    }
}

impl AnchorPass<'_> {
    /// Finds known words in the piece that begins at `base`. The first filter is branchless: half of the words of a
    /// text begin like one of the table, unpredictably.
    #[inline(always)]
    fn find_words(&mut self, base: usize) {
        let Anchors { words, word_starts, window, .. } = &mut *self.anchors;
        let window = window.at_piece(self.text, base);
        word_starts.retain(window, |bytes| self.stems.may_begin(bytes));
        for at in word_starts.drain() {
            self.stems.match_at(PieceWindow::eight_bytes_at(window, at), self.text, base + usize::from(at), words);
        }
    }

    /// Finds words that may be given names.
    #[inline(always)]
    fn find_given_names(&mut self, base: usize, block: &ByteMasks, next_alnum: u64, capitals: u64) {
        let mut rest = if self.stems.has_given_names { capitals } else { 0 };
        while rest != 0 {
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            let at = base + bit as usize;
            let len = (block.alnum >> bit).trailing_ones();
            let len = if bit + len == 64 { self.run_end(base, next_alnum) - at } else { len as usize };
            if len > 1 && may_begin_given_name(self.text.get(at..at + len).unwrap_or_default()) {
                self.anchors.given_names.push(at);
            }
        }
    }

    /// Records each run of letters and digits that contains a digit, once.
    #[inline(always)]
    fn record_digit_runs(&mut self, base: usize, block: &ByteMasks, next_alnum: u64, run_starts: u64) {
        // A run from the previous block was recorded there if it had a digit by then
        let continues = block.alnum & 1 == 1 && run_starts & 1 == 0;
        let is_recorded = continues && self.anchors.digit_runs.last().is_some_and(|last| last.end > base);
        let searched = if continues && !is_recorded { run_starts | 1 } else { run_starts };
        // The first digit of each run: adding at a run's start carries across its letters
        let letters = block.alnum & !block.digit;
        let after_letters = letters.wrapping_add(searched & letters) & !letters;
        let mut rest = (after_letters | searched) & block.digit;
        while rest != 0 {
            let bit = rest.trailing_zeros();
            let starts_up_to_digit = run_starts & (rest ^ (rest - 1));
            rest &= rest - 1;
            let end = bit + (block.alnum >> bit).trailing_ones();
            let run = if starts_up_to_digit != 0 && end < 64 {
                let start = 63 - starts_up_to_digit.leading_zeros();
                let digits = (block.digit >> start).trailing_ones();
                DigitRun::from_run(self.text, base + start as usize, base + end as usize, digits as usize)
            } else {
                self.run_across_blocks(base, (starts_up_to_digit, end), next_alnum)
            };
            self.anchors.digit_runs.push(run);
        }
        if block.alnum >> 63 == 1 && run_starts != 0 {
            self.run_start = base + 63 - run_starts.leading_zeros() as usize;
        }
    }

    /// The run with a digit that crosses a border of the block at `base`. `end_bit`: its end in the block, 64 if it
    /// continues after it.
    #[inline(never)]
    fn run_across_blocks(&self, base: usize, (starts_up_to_digit, end_bit): (u64, u32), next_alnum: u64) -> DigitRun {
        let start = match starts_up_to_digit {
            0 => self.run_start,
            starts => base + 63 - starts.leading_zeros() as usize,
        };
        let end = if end_bit < 64 { base + end_bit as usize } else { self.run_end(base, next_alnum) };
        let run = self.text.get(start..end.min(start + MAX_DIGITS)).unwrap_or_default();
        DigitRun::from_run(self.text, start, end, run.iter().take_while(|byte| byte.is_ascii_digit()).count())
    }

    /// End of a run of letters and digits that continues after the block at `base`.
    #[inline(always)]
    fn run_end(&self, base: usize, next_alnum: u64) -> usize {
        match next_alnum {
            u64::MAX => base + 64 + IN_WORD.count_leading(self.text.get(base + 64..).unwrap_or_default()),
            _ => base + 64 + next_alnum.trailing_ones() as usize,
        }
    }

    /// Finds `@`, `://` and `[A`, and whether there is an entity.
    #[inline(always)]
    fn find_signs(&mut self, base: usize, block: &ByteMasks) {
        let mut rest = block.at;
        while rest != 0 {
            self.anchors.at_signs.push(base + rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
        let mut rest = block.bracket & ((block.upper >> 1) | (1 << 63));
        while rest != 0 {
            self.anchors.brackets.push(base + rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
        // Few `&` belong to an entity; one is enough
        let mut rest = if self.seen.ampersand == 0 { block.ampersand } else { 0 };
        while rest != 0 {
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            let end = bit + 1 + (block.alnum >> bit >> 1).trailing_ones();
            if end > 63 || matches!(self.text.get(base + end as usize), Some(b';' | b'#')) {
                self.seen.ampersand |= u64::from(is_entity(self.text, base + bit as usize));
            }
        }
        let may_be_slash = |on: u32| (block.joint >> on) | (u64::MAX << (64 - on));
        let mut rest = block.colon & may_be_slash(1) & may_be_slash(2);
        while rest != 0 {
            let at = base + rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if self.text.get(at + 1..at + 3) == Some(b"//") {
                self.anchors.schemes.push(at);
            }
        }
    }

    /// Finds words of secrets with letters glued in front, from the separators after them.
    #[inline(always)]
    fn find_glued_words(&mut self, base: usize) {
        let Anchors { words, key_separators, .. } = &mut *self.anchors;
        let Some(action) = self.stems.suffix_word_action else { return key_separators.clear() };
        let (known_count, mut first_start) = (words.len(), None);
        for separator in key_separators.drain() {
            if let Some(word) = glued_words::glued_word_before(self.text, base + usize::from(separator)) {
                first_start = first_start.or(Some(word.start));
                words.push(StemMatch { start: word.start, end: word.end, action });
            }
        }
        if let Some(first_start) = first_start {
            let before = words.iter().take(known_count).rposition(|other| other.start <= first_start);
            if let Some(unsorted) = words.get_mut(before.map_or(0, |at| at + 1)..) {
                unsorted.sort_by_key(|word| word.start);
            }
        }
    }

    /// Finds long runs of the base64 alphabets.
    #[inline(always)]
    fn find_long_runs(&mut self, base: usize, block: &ByteMasks) {
        let in_run = block.alnum | block.joint;
        // 20 in a row within a block: a run of 40 has that in one of its blocks
        let two = in_run & (in_run >> 1);
        let four = two & (two >> 2);
        let eight = four & (four >> 4);
        let sixteen = eight & (eight >> 8);
        let twenty = sixteen & (four >> 16);
        if twenty != 0 {
            self.record_long_runs(base, twenty, in_run);
        }
    }

    fn record_long_runs(&mut self, base: usize, twenty: u64, in_run: u64) {
        let mut rest = twenty;
        while rest != 0 {
            let bit = rest.trailing_zeros();
            let at = base + bit as usize;
            if self.anchors.base64_runs.last().is_none_or(|last| last.end <= at) {
                let (before, after) = ((in_run << (63 - bit)).leading_ones(), (in_run >> bit).trailing_ones());
                // A run that reaches a border of the block may continue in the next one
                let start = match before > bit {
                    true => base - IN_RUN.count_trailing(self.text.get(..base).unwrap_or_default()),
                    false => at + 1 - before as usize,
                };
                let end = match bit + after > 63 {
                    true => base + 64 + IN_RUN.count_leading(self.text.get(base + 64..).unwrap_or_default()),
                    false => at + after as usize,
                };
                // Short runs are recorded as empty ranges, so that no byte is read twice
                self.anchors.base64_runs.push(if end - start >= SHORTEST_BASE64 { start..end } else { end..end });
            }
            let end = self.anchors.base64_runs.last().map_or(at + 1, |last| last.end.max(at + 1));
            rest &= if end >= base + 64 { 0 } else { u64::MAX << (end - base) };
        }
    }
}

/// Letters and digits.
static IN_WORD: ByteSet = ByteSet::new(b"").and_alnum();
/// The base64 alphabets.
static IN_RUN: ByteSet = ByteSet::new(b"+/-_").and_alnum();

/// End of the run of bytes from `at` on for which `belongs` holds.
pub(super) fn run_end(text: &[u8], at: usize, belongs: impl Fn(&u8) -> bool) -> usize {
    at + text.get(at..).unwrap_or_default().iter().take_while(|byte| belongs(byte)).count()
}

/// Start of the run of bytes before `at` for which `belongs` holds.
pub(super) fn run_start(text: &[u8], at: usize, belongs: impl Fn(&u8) -> bool) -> usize {
    at - text.get(..at).unwrap_or_default().iter().rev().take_while(|byte| belongs(byte)).count()
}

/// Known words grouped by their users, each in order. Reused.
#[derive(Default)]
pub(super) struct WordsByUse {
    /// Words that begin patterns.
    pub(super) pattern_words: Vec<StemMatch>,
    /// Words of keys.
    pub(super) key_words: Vec<StemMatch>,
    /// Cues of names and post boxes.
    pub(super) cue_words: Vec<StemMatch>,
    /// Context words of numbers.
    pub(super) number_words: Vec<StemMatch>,
    /// Words that lead to secrets.
    pub(super) secret_words: Vec<StemMatch>,
}

impl WordsByUse {
    /// Replaces the lists by those of `words`, which must be in order.
    pub(super) fn group(&mut self, words: &[StemMatch]) {
        let Self { pattern_words, key_words, cue_words, number_words, secret_words } = self;
        [&mut *pattern_words, key_words, cue_words, number_words, secret_words].into_iter().for_each(Vec::clear);
        for word in words {
            match word.action {
                WordAction::Key => key_words.push(*word),
                WordAction::Secret(_) => secret_words.push(*word),
                WordAction::Pattern(_) => pattern_words.push(*word),
                WordAction::Cue(_) => cue_words.push(*word),
                WordAction::Number(_) | WordAction::NumberProse(_) => number_words.push(*word),
                WordAction::Context(_) | WordAction::NotNear(_) => {}
            }
        }
    }
}
