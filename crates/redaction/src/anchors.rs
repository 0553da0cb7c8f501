//! Finds in one pass every position where something private could begin: known words, runs with digits, `@`, `://`, and
//! long base64-like runs. Patterns are slow, so they are tried only at anchors. The pass is linear and allocates
//! nothing once its lists have grown; positions are in order; AVX2 and the portable path give the same masks (`tests`).
//! `find` and the families read the text at an anchor.

use std::ops::Range;

use super::byte_masks::{self, ByteMasks};
use super::glued_words;
use super::offsets::{PieceOffsets, PieceWindow};
use super::sets::ByteSet;
use super::stems::{GivenNameFilter, StemMatch, Stems};
use super::views::entities::is_entity;
use super::views::soft_breaks::may_be_quoted_printable;
use super::words_by_use::WordsByUse;

/// Kinds of bytes in a text, from which the views to decode are chosen.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct ByteKinds {
    /// A backslash.
    pub(super) backslash: bool,
    /// `%` before a letter or digit.
    pub(super) percent: bool,
    /// `&` that begins an entity.
    pub(super) ampersand: bool,
    /// `=` before a digit or capital letter.
    pub(super) equals: bool,
    /// `=` that ends a soft line break or begins an escape with a letter.
    pub(super) soft: bool,
    /// A non-ASCII byte.
    pub(super) high: bool,
    /// A digit.
    pub(super) digit: bool,
    /// The escape character of terminals.
    pub(super) escape: bool,
}

/// Anchors of one text, ordered by position. Reused between texts.
#[derive(Default)]
pub(super) struct Anchors {
    /// Known words that begin at a word boundary or within camelCase.
    pub(super) words: Vec<StemMatch>,
    /// The same words, grouped by their users; filled by [`Self::sort`].
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
    /// Kinds of bytes in the text.
    pub(super) byte_kinds: ByteKinds,
    /// Masks of the current piece.
    masks: Vec<ByteMasks>,
    /// Word starts in the current piece, and signs that a secret's word may be glued to.
    starts: PieceOffsets,
    key_signs: PieceOffsets,
    window: PieceWindow,
}

/// A run of letters and digits that contains a digit, with the properties by which most are rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DigitRun {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The bytes on both sides; a line feed at the ends of the text.
    pub(super) before: u8,
    pub(super) behind: u8,
    /// Number of leading digits, at most [`DIGITS`].
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
        Self { start, end, before: byte(start.wrapping_sub(1)), behind: byte(end), digits: digits.min(DIGITS) as u8 }
    }
}

/// Most leading digits that are counted; no kind of number has so many.
const DIGITS: usize = 33;
/// Shortest run that may be base64 text.
const LONG_RUN: usize = 40;

impl Anchors {
    /// Whether nothing private can begin anywhere, also not in decoded views.
    pub(super) fn is_empty(&self) -> bool {
        let ByteKinds { backslash, percent, ampersand, equals, soft: _, high, digit: _, escape } = self.byte_kinds;
        let nothing = self.words.is_empty()
            && self.digit_runs.is_empty()
            && self.at_signs.is_empty()
            && self.given_names.is_empty();
        nothing
            && self.schemes.is_empty()
            && self.base64_runs.is_empty()
            && !(backslash | percent | ampersand | equals | high | escape)
    }

    /// Groups the words; called when those within placeholders are removed.
    pub(super) fn group_words(&mut self) {
        self.words_by_use.group(&self.words);
    }

    /// Replaces the anchors by those of `text`; [`Self::sort`] has to follow.
    pub(super) fn find(&mut self, text: &[u8], stems: &Stems) {
        self.words.clear();
        self.digit_runs.clear();
        self.at_signs.clear();
        self.brackets.clear();
        self.schemes.clear();
        self.base64_runs.clear();
        self.given_names.clear();
        self.byte_kinds = ByteKinds::default();
        // A search that panicked may have left offsets behind
        self.starts.clear();
        self.key_signs.clear();
        let mut masks = std::mem::take(&mut self.masks);
        let (before, seen, given) = (ByteMasks::default(), SeenByteKinds::default(), stems.given_names());
        let numeric = stems.has_numeric();
        let mut walk = AnchorPass { text, stems, given, numeric, out: self, before, seen, run_start: 0 };
        byte_masks::read_text(text, &mut masks, &mut walk);
        self.byte_kinds = walk.seen.byte_kinds();
        self.masks = masks;
    }
}

/// State of the pass.
struct AnchorPass<'a> {
    text: &'a [u8],
    stems: &'a Stems,
    given: Option<&'a GivenNameFilter>,
    /// Whether a known word may begin with a digit that no letter follows, as users' words may.
    numeric: bool,
    out: &'a mut Anchors,
    /// Masks of the previous block.
    before: ByteMasks,
    seen: SeenByteKinds,
    /// Start of the run of letters and digits at the end of the last block, if there is one.
    run_start: usize,
}

/// Kinds of bytes seen so far, as the union of all blocks' masks.
#[derive(Default)]
struct SeenByteKinds {
    backslash: u64,
    percent: u64,
    ampersand: u64,
    equals: u64,
    soft: u64,
    high: u64,
    digit: u64,
    escape: u64,
}

impl SeenByteKinds {
    #[inline(always)]
    fn add(&mut self, now: &ByteMasks) {
        // The byte after the block is not known here, so it counts as a match
        self.backslash |= now.backslash;
        self.percent |= now.percent & ((now.alnum >> 1) | (1 << 63));
        self.equals |= now.equals & (((now.digit | now.upper) >> 1) | (1 << 63));
        self.high |= now.high;
        self.digit |= now.digit;
        self.escape |= now.escape;
    }

    fn byte_kinds(&self) -> ByteKinds {
        ByteKinds {
            backslash: self.backslash != 0,
            percent: self.percent != 0,
            ampersand: self.ampersand != 0,
            equals: self.equals != 0,
            soft: self.soft != 0,
            high: self.high != 0,
            digit: self.digit != 0,
            escape: self.escape != 0,
        }
    }
}

impl byte_masks::MaskReader for AnchorPass<'_> {
    #[inline(always)]
    fn read_block(&mut self, base: usize, now: &ByteMasks, next: u64) {
        let last = &self.before;
        let lower = now.alnum & !now.upper & !now.digit;
        let last_lower = last.alnum & !last.upper & !last.digit;
        let starts = now.alnum & !((now.alnum << 1) | (last.alnum >> 63));
        let camel = now.upper & ((lower << 1) | (last_lower >> 63));
        // The letter of an escape such as \n is not part of the word behind it
        let escaped = now.alnum & ((now.backslash << 2) | (last.backslash >> 62));
        // A digit begins a word only before a letter, except for users' words; the byte after the block is not known
        // here
        let numeric = if self.numeric { 0 } else { now.digit & !(((now.alnum & !now.digit) >> 1) | (1 << 63)) };
        let within = (base % byte_masks::PIECE) as u16;
        self.out.starts.add(within, (starts | camel | escaped) & !numeric);
        self.out.key_signs.add(within, now.equals | now.colon);
        self.find_given_names(base, now, next, (starts | escaped) & now.upper);
        self.record_digit_runs(base, now, next, starts);
        self.find_signs(base, now);
        self.find_long_runs(base, now);
        self.seen.add(now);
        self.before = *now;
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
        let Anchors { words, starts, window, .. } = &mut *self.out;
        let window = window.at_piece(self.text, base);
        starts.retain(window, |bytes| self.stems.may_begin(bytes));
        for at in starts.drain() {
            self.stems.match_at(PieceWindow::eight_bytes_at(window, at), self.text, base + usize::from(at), words);
        }
    }

    /// Finds words that may be given names.
    #[inline(always)]
    fn find_given_names(&mut self, base: usize, now: &ByteMasks, next: u64, starts: u64) {
        let Some(given) = self.given else { return };
        let mut rest = starts;
        while rest != 0 {
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            let at = base + bit as usize;
            let run = (now.alnum >> bit).trailing_ones();
            let run = if bit + run == 64 { self.run_end(base, next) - at } else { run as usize };
            if run > 1 && given.may_match(self.text, at, run) {
                self.out.given_names.push(at);
            }
        }
    }

    /// Records each run of letters and digits that contains a digit, once.
    #[inline(always)]
    fn record_digit_runs(&mut self, base: usize, now: &ByteMasks, next: u64, starts: u64) {
        // A run from the previous block was recorded there if it had a digit by then
        let goes_on = now.alnum & 1 == 1 && starts & 1 == 0;
        let seen = goes_on && self.out.digit_runs.last().is_some_and(|last| last.end > base);
        let begun = if goes_on && !seen { starts | 1 } else { starts };
        // The first digit of each run: adding at a run's start carries across its letters
        let letters = now.alnum & !now.digit;
        let carried = letters.wrapping_add(begun & letters) & !letters;
        let mut rest = (carried | begun) & now.digit;
        while rest != 0 {
            let bit = rest.trailing_zeros();
            let upto = starts & (rest ^ (rest - 1));
            rest &= rest - 1;
            let ends = bit + (now.alnum >> bit).trailing_ones();
            let number = if upto != 0 && ends < 64 {
                let start = 63 - upto.leading_zeros();
                let digits = (now.digit >> start).trailing_ones();
                DigitRun::from_run(self.text, base + start as usize, base + ends as usize, digits as usize)
            } else {
                self.run_across_blocks(base, (upto, ends), next)
            };
            self.out.digit_runs.push(number);
        }
        if now.alnum >> 63 == 1 && starts != 0 {
            self.run_start = base + 63 - starts.leading_zeros() as usize;
        }
    }

    /// A run with a digit that reaches across a border of the block at `base`. `upto`: run starts up to its digit.
    #[inline(never)]
    fn run_across_blocks(&self, base: usize, (upto, ends): (u64, u32), next: u64) -> DigitRun {
        let start = if upto == 0 { self.run_start } else { base + 63 - upto.leading_zeros() as usize };
        let end = if ends < 64 { base + ends as usize } else { self.run_end(base, next) };
        let run = self.text.get(start..end.min(start + DIGITS)).unwrap_or_default();
        DigitRun::from_run(self.text, start, end, run.iter().take_while(|byte| byte.is_ascii_digit()).count())
    }

    /// End of a run of letters and digits that continues behind the block at `base`.
    #[inline(always)]
    fn run_end(&self, base: usize, next: u64) -> usize {
        match next {
            u64::MAX => base + 64 + IN_WORD.count_leading(self.text.get(base + 64..).unwrap_or_default()),
            _ => base + 64 + next.trailing_ones() as usize,
        }
    }

    /// Finds `@`, `://` and `[A`, and whether there is an entity or a soft line break.
    #[inline(always)]
    fn find_signs(&mut self, base: usize, now: &ByteMasks) {
        let mut rest = now.at;
        while rest != 0 {
            self.out.at_signs.push(base + rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
        let mut rest = now.bracket & ((now.upper >> 1) | (1 << 63));
        while rest != 0 {
            self.out.brackets.push(base + rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
        // Few `&` belong to an entity and few `=` to quoted-printable; one of each is enough
        let mut rest = if self.seen.ampersand == 0 { now.ampersand } else { 0 };
        while rest != 0 {
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            let end = bit + 1 + (now.alnum >> bit >> 1).trailing_ones();
            if end > 63 || matches!(self.text.get(base + end as usize), Some(b';' | b'#')) {
                self.seen.ampersand |= u64::from(is_entity(self.text, base + bit as usize));
            }
        }
        // Before a letter or digit, `=` counts only if one of the next two bytes is a capital
        let behind = (now.upper >> 1) | (now.upper >> 2) | !(now.alnum >> 1) | (3 << 62);
        let mut rest = if self.seen.soft == 0 { now.equals & behind } else { 0 };
        while rest != 0 {
            self.seen.soft |= u64::from(may_be_quoted_printable(self.text, base + rest.trailing_zeros() as usize));
            rest &= rest - 1;
        }
        let slash = |on: u32| (now.joint >> on) | (u64::MAX << (64 - on));
        let mut rest = now.colon & slash(1) & slash(2);
        while rest != 0 {
            let at = base + rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if self.text.get(at + 1..at + 3) == Some(b"//") {
                self.out.schemes.push(at);
            }
        }
    }

    /// Finds words of secrets with letters glued in front, from the sign behind them.
    #[inline(always)]
    fn find_glued_words(&mut self, base: usize) {
        let Anchors { words, key_signs: signs, .. } = &mut *self.out;
        let Some(action) = self.stems.glued_action() else { return signs.clear() };
        let (known, mut first) = (words.len(), None);
        for sign in signs.drain() {
            if let Some(word) = glued_words::glued_word_before(self.text, base + usize::from(sign)) {
                first = first.or(Some(word.start));
                words.push(StemMatch { start: word.start, end: word.end, action });
            }
        }
        if let Some(first) = first {
            let before = words.iter().take(known).rposition(|other| other.start <= first);
            if let Some(mixed) = words.get_mut(before.map_or(0, |at| at + 1)..) {
                mixed.sort_by_key(|word| word.start);
            }
        }
    }

    #[inline(always)]
    fn find_long_runs(&mut self, base: usize, now: &ByteMasks) {
        let token = now.alnum | now.joint;
        // 20 in a row within a block: a run of 40 has that in one of its blocks
        let two = token & (token >> 1);
        let four = two & (two >> 2);
        let eight = four & (four >> 4);
        let sixteen = eight & (eight >> 8);
        let twenty = sixteen & (four >> 16);
        if twenty != 0 {
            self.record_long_runs(base, twenty, token);
        }
    }

    fn record_long_runs(&mut self, base: usize, twenty: u64, token: u64) {
        let mut rest = twenty;
        while rest != 0 {
            let bit = rest.trailing_zeros();
            let at = base + bit as usize;
            if self.out.base64_runs.last().is_none_or(|last| last.end <= at) {
                let (before, on) = ((token << (63 - bit)).leading_ones(), (token >> bit).trailing_ones());
                // A run that reaches a border of the block may continue in the next one
                let start = match before > bit {
                    true => base - IN_RUN.count_trailing(self.text.get(..base).unwrap_or_default()),
                    false => at + 1 - before as usize,
                };
                let end = match bit + on > 63 {
                    true => base + 64 + IN_RUN.count_leading(self.text.get(base + 64..).unwrap_or_default()),
                    false => at + on as usize,
                };
                // Short runs are recorded as empty ranges, so that no byte is read twice
                self.out.base64_runs.push(if end - start >= LONG_RUN { start..end } else { end..end });
            }
            let end = self.out.base64_runs.last().map_or(at + 1, |last| last.end.max(at + 1));
            rest &= if end >= base + 64 { 0 } else { u64::MAX << (end - base) };
        }
    }
}

/// Letters and digits.
static IN_WORD: ByteSet = ByteSet::new(b"").and_alnum();
/// The base64 alphabets.
static IN_RUN: ByteSet = ByteSet::new(b"+/-_").and_alnum();

/// End of the run of bytes from `at` on for which `like` holds.
pub(super) fn run_end(text: &[u8], at: usize, like: impl Fn(&u8) -> bool) -> usize {
    at + text.get(at..).unwrap_or_default().iter().take_while(|byte| like(byte)).count()
}

/// Start of the run of bytes before `at` for which `like` holds.
pub(super) fn run_start(text: &[u8], at: usize, like: impl Fn(&u8) -> bool) -> usize {
    at - text.get(..at).unwrap_or_default().iter().rev().take_while(|byte| like(byte)).count()
}
