//! Runs a fuzz body over examples mutated by a seed, short enough for every `cargo test`. The including module must
//! provide `SeededRng`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Rng as _, SeededRng};

/// One of the examples, changed in a few places.
fn changed(dice: &SeededRng, examples: &[Vec<u8>]) -> Vec<u8> {
    let below = |n: usize| usize::try_from(dice.next() % n.max(1) as u64).unwrap();
    let mut out = examples[below(examples.len())].clone();
    for _ in 0..1 + below(4) {
        let (at, len) = (below(out.len()), 1 + below(12));
        let end = out.len().min(at + len);
        match dice.next() % 6 {
            0 => out.truncate(at),
            1 if at < out.len() => out[at] ^= 1 << (dice.next() % 8),
            2 => dice.fill(&mut out[at..end]),
            3 => drop(out.drain(at..end)),
            4 => {
                let piece = out[at..end].to_vec();
                let to = below(out.len());
                out.splice(to..to, piece);
            }
            _ => {
                let other = &examples[below(examples.len())];
                let from = below(other.len());
                let piece = other[from..other.len().min(from + 40)].to_vec();
                out.splice(at..end, piece);
            }
        }
    }
    out
}

/// Runs a body over `count` inputs and reports the seed of the one that fails.
pub fn smoke(count: u64, examples: &[Vec<u8>], body: impl Fn(&[u8])) {
    for seed in 0..count {
        let input = changed(&SeededRng::new(seed), examples);
        let run = catch_unwind(AssertUnwindSafe(|| body(&input)));
        assert!(run.is_ok(), "seed {seed}: {:?}", String::from_utf8_lossy(&input));
    }
}
