//! Tests of the anchor pass against a naive reading of the same words.

use proptest::prelude::*;

use super::super::anchors::{Anchors, DigitRun};
use super::super::byte_masks::{ByteMasks, MaskReader, portable_masks, read_text};
use super::super::stems::Stems;
use super::custom;

/// Collects all masks with their positions.
struct All(Vec<(usize, ByteMasks)>);

impl MaskReader for All {
    fn read_block(&mut self, base: usize, masks: &ByteMasks, _: u64) {
        self.0.push((base, *masks));
    }
}

proptest! {
    /// The fast and the portable masks agree on every byte, in every block, across pieces and in the rest behind the
    /// last block.
    #[test]
    fn masks_agree(bytes in proptest::collection::vec(any::<u8>(), 0..400), times in 1_usize..40) {
        let bytes = bytes.repeat(times);
        let mut all = All(Vec::new());
        read_text(&bytes, &mut Vec::new(), &mut all);
        prop_assert_eq!(all.0.len(), bytes.len().div_ceil(64));
        for (index, made) in all.0.iter().enumerate() {
            let mut block = [b' '; 64];
            let rest = &bytes[index * 64..];
            block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            prop_assert_eq!(*made, (index * 64, portable_masks(&block)));
        }
    }

    /// Runs with a digit are each found once and whole, across the borders of blocks (stems: `tables`).
    #[test]
    fn anchors_are_what_a_plain_reading_finds(text in "([a-z]{1,3}[0-9]{0,3}[ ._:/-]{0,2}|[A-Z0-9]{1,40}|token|apiToken|x_token| token=){0,60}") {
        let mut anchors = Anchors::default();
        anchors.find(text.as_bytes(), &Stems::new(Vec::new()));
        let bytes = text.as_bytes();
        let (mut runs, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let end = at + bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            if bytes[at..end].iter().any(u8::is_ascii_digit) {
                runs.push(at..end);
            }
            at = end.max(at + 1);
        }
        let found: Vec<_> = anchors.digit_runs.iter().map(DigitRun::range).collect();
        prop_assert_eq!(&found, &runs);
        for number in &anchors.digit_runs {
            let byte = |at: usize| bytes.get(at).copied().unwrap_or(b'\n');
            prop_assert_eq!((number.before, number.after), (byte(number.start.wrapping_sub(1)), byte(number.end)));
            let digits = bytes[number.range()].iter().take_while(|byte| byte.is_ascii_digit()).count();
            prop_assert_eq!(usize::from(number.digits), digits.min(33));
        }
    }
}

/// A user's pattern matches within words, and where words of two rules overlap, whatever it begins with.
#[test]
fn users_patterns_match_anywhere() {
    let mut rules: Vec<_> = (0..150).map(|i| custom(&format!("RULE_{i}"), &format!("w{i:03}x-[0-9]+"))).collect();
    rules.extend([custom("ABCD", "abcd[0-9]"), custom("BCD", "bcd[0-9]z"), custom("CASE", "(?i)kase-[0-9]+")]);
    rules.extend([custom("WIDE", "äöü[0-9]+"), custom("DIGITS", "[0-9]{4}kg"), custom("LONGER", "w001x-[0-9]+y")]);
    let detector = super::super::Detector::new(&[], &rules).unwrap_or_else(|errors| panic!("{errors:?}"));
    for (text, wanted) in [
        ("aw149x-12 w003x-7", "a[RULE_149] [RULE_3]"),
        ("zabcd1z", "z[ABCD]"),
        ("abcd1z bcd2z", "[ABCD] [BCD]"),
        ("xKaSe-9", "x[CASE]"),
        ("aäöü12", "a[WIDE]"),
        ("1234kg", "[DIGITS]"),
        ("w001x-1y", "[LONGER]"),
    ] {
        assert_eq!(super::redact(&detector, text), wanted);
    }
}
