//! [`DeltaPlan`]: how one item's content is encoded as references to an earlier item ([`ItemFingerprints`]). The code
//! is pure and handles hashes, not text; every piece is encoded once, in order.

use std::collections::HashMap;
use std::sync::Arc;

use super::fingerprint::{ContentFingerprint, MIN_CHARS, ValueChunk};

/// Longest chain of references before content is stored whole again: every sixteenth turn is a snapshot.
pub const MAX_DEPTH: u8 = 15;

/// A piece of an earlier item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PieceSource {
    /// Fragment id, hex.
    pub fragment: Arc<str>,
    /// Position of the item in the fragment.
    pub item: u32,
    /// Position of the piece in the item's whole content.
    pub piece: u32,
}

/// How one or more pieces are encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeltaStep {
    /// One piece, stored whole.
    Whole,
    /// This many pieces, equal to those from the source on.
    Copy(PieceSource, u32),
    /// One piece that shares the beginning and the end of the source's value.
    Delta {
        /// The piece referred to.
        source: PieceSource,
        /// Number of equal messages at the beginning.
        prefix_len: usize,
        /// Characters of the equal beginning and of the equal end.
        chars: [u64; 2],
        /// The same in bytes.
        bytes: [usize; 2],
    },
}

struct KnownPiece {
    print: ContentFingerprint,
    /// The piece whose stored element holds the value, whole or as a delta.
    source: PieceSource,
    depth: u8,
}

/// Fingerprints of an earlier item's content.
pub struct ItemFingerprints {
    fragment: Arc<str>,
    item: u32,
    pieces: Vec<KnownPiece>,
}

/// The encoding of one item's content.
#[derive(Default)]
pub struct DeltaPlan {
    /// The steps, in order of the pieces.
    pub steps: Vec<DeltaStep>,
    /// Approximate number of bytes that need not be stored.
    pub saved: u64,
}

impl DeltaPlan {
    /// A plan that stores every piece whole.
    pub fn whole(pieces: usize) -> Self {
        Self { steps: vec![DeltaStep::Whole; pieces], saved: 0 }
    }

    /// Encodes `prints` as references to the content of `base`.
    pub fn relative_to(prints: &[ContentFingerprint], base: &ItemFingerprints) -> Self {
        let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
        for (at, known) in base.pieces.iter().enumerate().rev().filter(|(_, known)| known.print.context) {
            places.entry(known.print.head_hash).or_default().push(at);
        }
        let mut plan = Self::default();
        for print in prints {
            let twin = places.get_mut(&print.head_hash).and_then(Vec::pop).filter(|_| print.context);
            let found = twin.and_then(|at| Some((at, base.pieces.get(at)?)));
            let step = found.and_then(|(at, known)| plan.plan_piece(print, at, known, base));
            plan.push(step.unwrap_or(DeltaStep::Whole));
        }
        plan.without_small(prints)
    }

    /// Replaces runs by whole pieces if the pieces are no longer than the reference.
    fn without_small(self, prints: &[ContentFingerprint]) -> Self {
        let (mut plan, mut rest) = (Self { steps: Vec::with_capacity(self.steps.len()), ..self }, prints.iter());
        for step in self.steps {
            let count = if let DeltaStep::Copy(_, count) = step { count as usize } else { 1 };
            let bytes: u64 = rest.by_ref().take(count).map(|print| u64::from(print.bytes)).sum();
            if matches!(step, DeltaStep::Copy(..)) && bytes < MIN_CHARS as u64 {
                plan.saved -= bytes;
                plan.steps.extend(std::iter::repeat_n(DeltaStep::Whole, count));
            } else {
                plan.steps.push(step);
            }
        }
        plan
    }

    /// The fragments that the plan refers to.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<str>> {
        self.steps.iter().filter_map(|step| match step {
            DeltaStep::Whole => None,
            DeltaStep::Copy(source, _) | DeltaStep::Delta { source, .. } => Some(&source.fragment),
        })
    }

    fn plan_piece(
        &mut self,
        print: &ContentFingerprint,
        at: usize,
        known: &KnownPiece,
        base: &ItemFingerprints,
    ) -> Option<DeltaStep> {
        let here = || PieceSource {
            fragment: Arc::clone(&base.fragment),
            item: base.item,
            piece: u32::try_from(at).unwrap_or(u32::MAX),
        };
        let prefix = print.chunks.iter().zip(&known.print.chunks).take_while(|(one, other)| one == other).count();
        let equal = prefix == print.chunks.len() && prefix == known.print.chunks.len() && prefix > 0;
        // instructions and tool definitions are stored once for the whole object
        if equal && (print.fixed || print.element_hash != known.print.element_hash) {
            let (chars, bytes) = sum_sizes(&print.chunks);
            self.saved += bytes as u64;
            let source = known.source.clone();
            return Some(DeltaStep::Delta { source, prefix_len: prefix, chars: [chars, 0], bytes: [bytes, 0] });
        }
        if known.depth >= MAX_DEPTH {
            return None;
        }
        if print.element_hash == known.print.element_hash {
            self.saved += u64::from(print.bytes);
            return Some(DeltaStep::Copy(here(), 1));
        }
        let most = print.chunks.len().min(known.print.chunks.len()) - prefix;
        let (ours, theirs) = (print.chunks.iter().rev(), known.print.chunks.iter().rev());
        let suffix = ours.zip(theirs).take(most).take_while(|(one, other)| one == other).count();
        let (prefix_chars, prefix_bytes) = sum_sizes(print.chunks.get(..prefix)?);
        let (suffix_chars, suffix_bytes) = sum_sizes(print.chunks.get(print.chunks.len() - suffix..)?);
        let same = prefix_bytes + suffix_bytes;
        if same < MIN_CHARS {
            return None;
        }
        self.saved += same as u64;
        let (chars, bytes) = ([prefix_chars, suffix_chars], [prefix_bytes, suffix_bytes]);
        Some(DeltaStep::Delta { source: here(), prefix_len: prefix, chars, bytes })
    }

    fn push(&mut self, step: DeltaStep) {
        if let (Some(DeltaStep::Copy(first, count)), DeltaStep::Copy(next, 1)) = (self.steps.last_mut(), &step)
            && next.piece == first.piece + *count
        {
            *count += 1;
            return;
        }
        self.steps.push(step);
    }
}

fn sum_sizes(chunks: &[ValueChunk]) -> (u64, usize) {
    chunks.iter().fold((0, 0), |(chars, bytes), chunk| (chars + u64::from(chunk.chars), bytes + chunk.bytes as usize))
}

impl ItemFingerprints {
    /// Remembers item number `item` of a fragment, encoded by `plan` relative to `base`.
    pub fn new(
        fragment: &Arc<str>,
        item: u32,
        prints: Vec<ContentFingerprint>,
        plan: &DeltaPlan,
        base: Option<&Self>,
    ) -> Self {
        let mut steps = plan.steps.iter().flat_map(|step| {
            let times = if let DeltaStep::Copy(_, count) = step { *count } else { 1 };
            (0..times).map(move |nth| (step, nth))
        });
        let pieces = (0..).zip(prints).map(|(piece, print)| {
            let own = PieceSource { fragment: Arc::clone(fragment), item, piece };
            let of = |source: &PieceSource, nth: u32| {
                let at = usize::try_from(source.piece + nth).ok()?;
                base.filter(|base| base.fragment == source.fragment && base.item == source.item)?.pieces.get(at)
            };
            let (source, depth) = match steps.next() {
                Some((DeltaStep::Copy(first, _), nth)) => match of(first, nth) {
                    Some(known) => (known.source.clone(), known.depth + 1),
                    None => (own, MAX_DEPTH),
                },
                Some((DeltaStep::Delta { source, bytes: [_, suffix], prefix_len, .. }, _)) => {
                    let all = *suffix == 0 && *prefix_len == print.chunks.len();
                    let known = base.and_then(|base| base.pieces.iter().find(|known| known.source == *source));
                    match (all, known.or_else(|| of(source, 0))) {
                        (true, Some(known)) => (source.clone(), known.depth),
                        (false, Some(known)) => (own, known.depth + 1),
                        (_, None) => (own, MAX_DEPTH),
                    }
                }
                Some((DeltaStep::Whole, _)) | None => (own, 0),
            };
            KnownPiece { print, source, depth }
        });
        Self { fragment: Arc::clone(fragment), item, pieces: pieces.collect() }
    }

    /// Fragment and item.
    pub fn location(&self) -> (&Arc<str>, u32) {
        (&self.fragment, self.item)
    }

    /// Whether the item has content that a later context may begin with.
    pub fn is_context(&self) -> bool {
        self.pieces.iter().any(|known| known.print.context)
    }

    /// Bytes used in memory.
    pub fn size(&self) -> usize {
        let sources = self.pieces.len() * (size_of::<KnownPiece>() - size_of::<ContentFingerprint>());
        size_of::<Self>() + sources + self.pieces.iter().map(|known| known.print.size()).sum::<usize>()
    }
}
