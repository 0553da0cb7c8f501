//! Tests of the walk through structured text.

use super::super::structured_text::{StructureVisitor, rewrite};
use fixtures::guard::ends;

/// Visits everything and changes nothing.
struct Look;

impl StructureVisitor for Look {
    fn is_listed(&mut self, _: &str) -> bool {
        true
    }
}

/// Text made of one repeated mark neither overflows a worker's stack nor takes quadratic time. Once, a request of 40 KB
/// overflowed the stack and ended the process, which no panic handler can catch.
#[test]
fn one_mark_for_ever() {
    for mark in [":", "(", ")", "{", "[", ",", "'", "\"", "\\", "a:", "a(", "{a:", "'a':", "b'"] {
        for head in ["[", "{a:", "{'a': x"] {
            let text = format!("{head}{}", mark.repeat((1 << 20) / mark.len()));
            ends(mark, move || drop(rewrite(&text, &mut Look)));
        }
    }
}
