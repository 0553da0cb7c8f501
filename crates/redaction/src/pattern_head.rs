//! [`PatternHead`]: the bytes that may occur at each of the first positions of a pattern's matches. A pattern is tried
//! at every occurrence of its word; a few table look-ups reject most of them before the automaton runs. A text that
//! does not fit can't match; one that fits may still not match. `stems` finds the words, `patterns` runs the patterns.

use std::collections::BTreeSet;

use regex_automata::nfa::thompson::{self, NFA, State};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;

use super::sets::ByteBitSet;

/// Most positions in a head.
const MAX_POSITIONS: usize = 16;
/// A head ends before a position at which the automaton may be in so many states.
const MAX_STATES: usize = 4096;

/// The set of allowed bytes for each position.
#[derive(Default)]
pub(super) struct PatternHead(Vec<ByteBitSet>);

impl PatternHead {
    /// Computes the head of a built-in pattern, up to the length of its shortest match.
    pub(super) fn new(pattern: &str) -> Self {
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let nfa = NFA::compiler().syntax(syntax).configure(thompson::Config::new().utf8(false)).build(pattern);
        nfa.map(|nfa| Self::from_nfa(&nfa)).unwrap_or_default()
    }

    fn from_nfa(nfa: &NFA) -> Self {
        let (mut positions, mut states) = (Vec::new(), BTreeSet::new());
        add_reachable_states(nfa, nfa.start_anchored(), &mut states);
        while positions.len() < MAX_POSITIONS && states.len() < MAX_STATES {
            let (mut bytes, mut next_states) = (ByteBitSet::default(), BTreeSet::new());
            for state in states.iter().map(|state| nfa.state(*state)) {
                let mut add_transition = |(from, to): (u8, u8), state: StateID| {
                    bytes.add(from, to);
                    add_reachable_states(nfa, state, &mut next_states);
                };
                match state {
                    State::ByteRange { trans } => add_transition((trans.start, trans.end), trans.next),
                    State::Sparse(steps) => {
                        steps.transitions.iter().for_each(|step| add_transition((step.start, step.end), step.next));
                    }
                    State::Dense(steps) => (0..=u8::MAX)
                        .filter_map(|byte| Some((byte, steps.matches_byte(byte)?)))
                        .for_each(|(byte, state)| add_transition((byte, byte), state)),
                    // a match may end here
                    State::Match { .. } => return Self(positions),
                    _ => {}
                }
            }
            positions.push(bytes);
            states = next_states;
        }
        Self(positions)
    }

    /// Whether a match may begin at the start of `rest`.
    #[inline]
    pub(super) fn may_match(&self, rest: &[u8]) -> bool {
        rest.len() >= self.0.len() && self.0.iter().zip(rest).all(|(bytes, byte)| bytes.contains(*byte))
    }
}

/// Adds a state and all states reachable without a byte; look-arounds are assumed to succeed.
fn add_reachable_states(nfa: &NFA, from: StateID, states: &mut BTreeSet<StateID>) {
    let mut pending = vec![from];
    while let Some(state) = pending.pop() {
        if !states.insert(state) {
            continue;
        }
        match nfa.state(state) {
            State::Look { next, .. } | State::Capture { next, .. } => pending.push(*next),
            State::Union { alternates } => pending.extend(alternates.iter().copied()),
            State::BinaryUnion { alt1, alt2 } => pending.extend([*alt1, *alt2]),
            _ => {}
        }
    }
}
