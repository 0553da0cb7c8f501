//! Tests of the walk through structured texts.

use super::super::texts::{Visit, rewrite};
use fixtures::guard::ends;

/// Looks at everything and changes nothing.
struct Look;

impl Visit for Look {
    fn listed(&mut self, _: &str) -> bool {
        true
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
