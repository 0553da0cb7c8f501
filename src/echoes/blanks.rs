//! **What**: runs of white space, and of its escapes (`\n`, `\\r\\n`, `\u00a0` …), count as one blank, in content as in texts
//! that may quote it. **Invariants**: linear, whatever stands in a text; both sides are folded by the same rule
//! ([`blank`]). **Not here**: which byte of a text a folded byte comes from (`forms`).

use std::borrow::Cow;

/// Backslashes of one escape at most: of a text in JSON in JSON in JSON.
const BACKSLASHES: usize = 8;
/// Bytes looked at in one go.
const BLOCK: usize = 16;

/// Length of the white space, or of the escape that stands for it, at the beginning of a text; 0: there is none.
pub(super) fn blank(text: &[u8]) -> usize {
    match text {
        [b' ' | b'\t'..=b'\r', ..] => 1,
        [0xc2, 0xa0, ..] => 2,
        [b'\\', ..] => escape(text),
        _ => 0,
    }
}

fn escape(text: &[u8]) -> usize {
    let slashes = text.iter().take(BACKSLASHES).take_while(|byte| **byte == b'\\').count();
    match text.get(slashes..) {
        Some([b'n' | b'r' | b't', ..]) => slashes + 1,
        Some([b'u', b'0', b'0', b'a' | b'A', b'0', ..]) => slashes + 5,
        _ => 0,
    }
}

/// Content with one blank for each run.
pub(super) fn folded(text: &[u8]) -> Cow<'_, [u8]> {
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let mut after = false;
    let same = blocks.iter().take_while(|block| plain(block, &mut after)).count() * BLOCK;
    let (same, mut rest) = text.split_at_checked(same).unwrap_or((text, &[]));
    if rest.iter().enumerate().all(|(at, byte)| *byte != b' ' && blank(rest.get(at..).unwrap_or_default()) == 0) {
        return Cow::Borrowed(text);
    }
    let mut after = same.last() == Some(&b' ');
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(same);
    while !rest.is_empty() {
        while let Some((block, next)) = rest.split_first_chunk::<BLOCK>()
            && plain(block, &mut after)
        {
            out.extend_from_slice(block);
            rest = next;
        }
        for _ in 0..BLOCK {
            let Some((first, next)) = rest.split_first() else { break };
            let length = blank(rest);
            if length == 0 {
                out.push(*first);
                rest = next;
            } else {
                if !after {
                    out.push(b' ');
                }
                rest = rest.get(length..).unwrap_or_default();
            }
            after = length > 0;
        }
    }
    Cow::Owned(out)
}

/// Whether a block has nothing to fold; `after`: whether a blank stands before it, then whether one ends it.
fn plain(block: &[u8; BLOCK], after: &mut bool) -> bool {
    let [first, .., last] = block;
    let odd = block.iter().fold(false, |odd, byte| odd | (*byte < b' ') | (*byte == b'\\') | (*byte == 0xc2));
    let two = block.array_windows::<2>().fold(false, |two, pair| two | (*pair == [b' ', b' ']));
    let plain = !(odd | two | (*after && *first == b' '));
    if plain {
        *after = *last == b' ';
    }
    plain
}
