//! Tests of the anchor pass over pieces of a text.

use super::super::anchors::Anchors;
use super::super::byte_masks::PIECE;
use super::super::offsets::{PieceOffsets, PieceWindow};
use super::detector;

/// Words, including those with letters glued to them, are found in order at any position around a piece's border and
/// the end of a text; one search leaves nothing for the next.
#[test]
fn words_are_found_across_pieces() {
    let (all, mut anchors) = (detector(), Anchors::default());
    let line = "password: ftppassword=x Dear customer_name, MYAPITOKEN: ";
    let places = |text: &str, anchors: &mut Anchors| -> Vec<(usize, usize)> {
        anchors.find(text.as_bytes(), &all.stems);
        anchors.words.iter().map(|word| (word.start, word.end)).collect()
    };
    let alone = places(line, &mut anchors);
    assert!(alone.contains(&(0, 8)) && alone.contains(&(13, 21)) && alone.contains(&(46, 54)), "{alone:?}");
    for pad in (PIECE - 70..=PIECE + 3).chain([2 * PIECE - 60, 5 * PIECE - 7]) {
        for cut in [0, 1, 9] {
            let text = format!("{}{line}{}", " ".repeat(pad), " ".repeat(cut));
            let found = places(&text, &mut anchors);
            assert!(found.is_sorted_by_key(|(at, _)| *at), "{pad}");
            let moved: Vec<_> = alone.iter().map(|(at, end)| (at + pad, end + pad)).collect();
            assert_eq!(found, moved, "{pad}");
        }
    }
}

/// A list can hold as many positions as a piece has bytes, filtered positions stay in order, and a cleared list is
/// empty.
#[test]
fn places_are_kept() {
    let (mut offsets, mut window) = (PieceOffsets::default(), PieceWindow::default());
    let text: Vec<u8> = (0..PIECE).map(|at| (at % 251) as u8).collect();
    let bytes = *window.at_piece(&text, 0);
    for round in 0..2 {
        (0..PIECE / 64).for_each(|block| offsets.add((64 * block) as u16, u64::MAX));
        offsets.retain(&bytes, |eight| eight & 1 ^ round);
        let kept: Vec<usize> = offsets.drain().map(usize::from).collect();
        let wanted: Vec<usize> = (0..PIECE).filter(|at| (at % 251) as u64 & 1 ^ round == 1).collect();
        assert_eq!(kept, wanted);
    }
    offsets.add(0, 7);
    offsets.clear();
    assert_eq!(offsets.drain().count(), 0);
}
