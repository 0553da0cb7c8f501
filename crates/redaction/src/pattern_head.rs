//! [`PatternHead`]: the bytes that may occur at each of the first positions of a pattern's matches. A pattern is tried
//! at every occurrence of its word; a few table look-ups reject most of them before the automaton runs. A text that
//! does not fit can't match; one that fits may still not match. Words are in `stems`, matching in `patterns`.

use std::collections::BTreeSet;

use regex_automata::nfa::thompson::{self, NFA, State};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;

use super::sets::ByteBitSet;

/// Most positions.
const MOST: usize = 16;
/// Most states of a pattern at one position; beyond that, the head ends there.
const STATES: usize = 4096;

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
        let (mut places, mut states) = (Vec::new(), BTreeSet::new());
        add_reachable_states(nfa, nfa.start_anchored(), &mut states);
        while places.len() < MOST && states.len() < STATES {
            let (mut bytes, mut next) = (ByteBitSet::default(), BTreeSet::new());
            for state in states.iter().map(|state| nfa.state(*state)) {
                let mut goes = |(from, to): (u8, u8), state: StateID| {
                    bytes.add(from, to);
                    add_reachable_states(nfa, state, &mut next);
                };
                match state {
                    State::ByteRange { trans } => goes((trans.start, trans.end), trans.next),
                    State::Sparse(steps) => {
                        steps.transitions.iter().for_each(|step| goes((step.start, step.end), step.next));
                    }
                    State::Dense(steps) => (0..=u8::MAX)
                        .filter_map(|byte| Some((byte, steps.matches_byte(byte)?)))
                        .for_each(|(byte, state)| goes((byte, byte), state)),
                    // a match may end here
                    State::Match { .. } => return Self(places),
                    _ => {}
                }
            }
            places.push(bytes);
            states = next;
        }
        Self(places)
    }

    /// Whether a match may begin at the start of `rest`.
    #[inline]
    pub(super) fn may_match(&self, rest: &[u8]) -> bool {
        rest.len() >= self.0.len() && self.0.iter().zip(rest).all(|(bytes, byte)| bytes.contains(*byte))
    }
}

/// Adds a state and all states reachable without a byte; look-arounds are assumed to succeed.
fn add_reachable_states(nfa: &NFA, from: StateID, states: &mut BTreeSet<StateID>) {
    let mut open = vec![from];
    while let Some(state) = open.pop() {
        if !states.insert(state) {
            continue;
        }
        match nfa.state(state) {
            State::Look { next, .. } | State::Capture { next, .. } => open.push(*next),
            State::Union { alternates } => open.extend(alternates.iter().copied()),
            State::BinaryUnion { alt1, alt2 } => open.extend([*alt1, *alt2]),
            _ => {}
        }
    }
}
