//! Tests of the walk through structured texts.

use super::super::texts::{Leaf, Visit, rewrite};
use fixtures::guard::ends;

/// Looks at everything and changes nothing.
struct Look;

impl Visit for Look {
    fn listed(&mut self, _: &str) -> bool {
        true
    }
    fn takes(&mut self, _: &str, _: &Leaf<'_>, _: &str) -> bool {
        false
    }
    fn text(&mut self, _: &str, _: &str) -> Option<String> {
        None
    }
    fn word(&mut self, _: &str, _: &str) -> Option<String> {
        None
    }
}

/// A text of one mark for ever neither overflows the stack of a worker nor takes quadratic time: one request of 40 KB
/// ended the process, which no panic handler sees.
#[test]
fn one_mark_for_ever() {
    for mark in [":", "(", ")", "{", "[", ",", "'", "\"", "\\", "a:", "a(", "{a:", "'a':", "b'"] {
        for head in ["[", "{a:", "{'a': x"] {
            let text = format!("{head}{}", mark.repeat((1 << 20) / mark.len()));
            ends(mark, move || drop(rewrite(&text, &mut Look)));
        }
    }
}
