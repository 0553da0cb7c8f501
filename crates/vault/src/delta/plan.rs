//! [`DeltaPlan`]: how one item's content is encoded as references to an earlier item ([`ItemFingerprints`]). The code
//! is pure and handles hashes, not text; every piece is encoded once, in order.

use std::collections::HashMap;
use std::sync::Arc;

use super::fingerprint::{ContentFingerprint, MIN_REFERENCE_BYTES, ValueChunk};

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
    fingerprint: ContentFingerprint,
    /// The piece whose stored element holds the value, whole or as a delta.
    source: PieceSource,
    /// Number of references to follow from `source` to a whole piece.
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

    /// Encodes content, given the fingerprints of its pieces, as references to the content of `base`.
    pub fn relative_to(fingerprints: &[ContentFingerprint], base: &ItemFingerprints) -> Self {
        let mut positions_by_head: HashMap<u64, Vec<usize>> = HashMap::new();
        for (position, known) in base.pieces.iter().enumerate().rev().filter(|(_, known)| known.fingerprint.is_context)
        {
            positions_by_head.entry(known.fingerprint.head_hash).or_default().push(position);
        }
        let mut plan = Self::default();
        for fingerprint in fingerprints {
            let same_head = positions_by_head.get_mut(&fingerprint.head_hash).and_then(Vec::pop);
            let position = same_head.filter(|_| fingerprint.is_context);
            let known = position.and_then(|position| Some((position, base.pieces.get(position)?)));
            let step = known.and_then(|(position, known)| plan.plan_piece(fingerprint, position, known, base));
            plan.push_step(step.unwrap_or(DeltaStep::Whole));
        }
        plan.without_short_copies(fingerprints)
    }

    /// Stores copied pieces whole where they are shorter than [`MIN_REFERENCE_BYTES`] together.
    fn without_short_copies(self, fingerprints: &[ContentFingerprint]) -> Self {
        let (mut plan, mut rest) = (Self { steps: Vec::with_capacity(self.steps.len()), ..self }, fingerprints.iter());
        for step in self.steps {
            let count = if let DeltaStep::Copy(_, count) = step { count as usize } else { 1 };
            let bytes: u64 = rest.by_ref().take(count).map(|fingerprint| u64::from(fingerprint.bytes)).sum();
            if matches!(step, DeltaStep::Copy(..)) && bytes < MIN_REFERENCE_BYTES as u64 {
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

    /// Chooses the step for a piece; `known` is the piece of `base` at `position`. `None` if the piece is stored whole.
    fn plan_piece(
        &mut self,
        piece: &ContentFingerprint,
        position: usize,
        known: &KnownPiece,
        base: &ItemFingerprints,
    ) -> Option<DeltaStep> {
        let known_in_base = || PieceSource {
            fragment: Arc::clone(&base.fragment),
            item: base.item,
            piece: u32::try_from(position).unwrap_or(u32::MAX),
        };
        let (chunks, known_chunks) = (&piece.chunks, &known.fingerprint.chunks);
        let is_equal = |(chunk, known): &(&ValueChunk, &ValueChunk)| chunk == known;
        let prefix = chunks.iter().zip(known_chunks).take_while(is_equal).count();
        let is_same_value = prefix == chunks.len() && prefix == known_chunks.len() && prefix > 0;
        let is_same_element =
            piece.element_hash == known.fingerprint.element_hash && piece.bytes == known.fingerprint.bytes;
        // instructions and tool definitions are stored once for the whole object
        if is_same_value && (piece.is_fixed || !is_same_element) {
            let (chars, bytes) = sum_sizes(chunks);
            self.saved += bytes as u64;
            let source = known.source.clone();
            return Some(DeltaStep::Delta { source, prefix_len: prefix, chars: [chars, 0], bytes: [bytes, 0] });
        }
        if known.depth >= MAX_DEPTH {
            return None;
        }
        if is_same_element {
            self.saved += u64::from(piece.bytes);
            return Some(DeltaStep::Copy(known_in_base(), 1));
        }
        let max_suffix = chunks.len().min(known_chunks.len()) - prefix;
        let from_end = chunks.iter().rev().zip(known_chunks.iter().rev());
        let suffix = from_end.take(max_suffix).take_while(is_equal).count();
        let (prefix_chars, prefix_bytes) = sum_sizes(chunks.get(..prefix)?);
        let (suffix_chars, suffix_bytes) = sum_sizes(chunks.get(chunks.len() - suffix..)?);
        let shared_bytes = prefix_bytes + suffix_bytes;
        if shared_bytes < MIN_REFERENCE_BYTES {
            return None;
        }
        self.saved += shared_bytes as u64;
        let (chars, bytes) = ([prefix_chars, suffix_chars], [prefix_bytes, suffix_bytes]);
        Some(DeltaStep::Delta { source: known_in_base(), prefix_len: prefix, chars, bytes })
    }

    fn push_step(&mut self, step: DeltaStep) {
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
        fingerprints: Vec<ContentFingerprint>,
        plan: &DeltaPlan,
        base: Option<&Self>,
    ) -> Self {
        let mut steps = plan.steps.iter().flat_map(|step| {
            let pieces = if let DeltaStep::Copy(_, count) = step { *count } else { 1 };
            (0..pieces).map(move |nth| (step, nth))
        });
        let pieces = (0..).zip(fingerprints).map(|(piece, fingerprint)| {
            let own = PieceSource { fragment: Arc::clone(fragment), item, piece };
            let known_in_base = |source: &PieceSource, nth: u32| {
                let position = usize::try_from(source.piece + nth).ok()?;
                let is_base = |base: &&Self| base.fragment == source.fragment && base.item == source.item;
                base.filter(is_base)?.pieces.get(position)
            };
            let (source, depth) = match steps.next() {
                Some((DeltaStep::Copy(first, _), nth)) => match known_in_base(first, nth) {
                    Some(known) => (known.source.clone(), known.depth + 1),
                    None => (own, MAX_DEPTH),
                },
                Some((DeltaStep::Delta { source, bytes: [_, suffix], prefix_len, .. }, _)) => {
                    let is_whole_value = *suffix == 0 && *prefix_len == fingerprint.chunks.len();
                    let known = base.and_then(|base| base.pieces.iter().find(|known| known.source == *source));
                    match (is_whole_value, known.or_else(|| known_in_base(source, 0))) {
                        (true, Some(known)) => (source.clone(), known.depth),
                        (false, Some(known)) => (own, known.depth + 1),
                        (_, None) => (own, MAX_DEPTH),
                    }
                }
                Some((DeltaStep::Whole, _)) | None => (own, 0),
            };
            KnownPiece { fingerprint, source, depth }
        });
        Self { fragment: Arc::clone(fragment), item, pieces: pieces.collect() }
    }

    pub fn location(&self) -> (&Arc<str>, u32) {
        (&self.fragment, self.item)
    }

    /// Bytes used in memory.
    pub fn size(&self) -> usize {
        let sources = self.pieces.len() * (size_of::<KnownPiece>() - size_of::<ContentFingerprint>());
        size_of::<Self>() + sources + self.pieces.iter().map(|known| known.fingerprint.size()).sum::<usize>()
    }
}
