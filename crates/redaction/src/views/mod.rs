//! **What**: views: what a text says once its escapes are decoded, with a map back. **Why**: a value that is written
//! `bob\u0040example.com`, `bob%40example.com` or in base64 leaks as the plain one does.
//! **Invariants**: a view is made of windows around escapes only, where a cheap test says that it may matter; a claim
//! on a view is mapped to whole escapes of the text, so that what surrounds it stays byte for byte; depth and decoded
//! bytes are bounded, and what lies beyond becomes `[UNSCANNED]`; order is fixed.
//! **Not here**: searching (`find`), what is private.

pub(super) mod blobs;
mod controls;
pub(super) mod entities;
mod escapes;
mod html;
mod items;
mod joints;
mod lines;
pub(super) mod percent;
mod pieces;
mod quoted;
pub(super) mod soft;
#[cfg(test)]
mod tests;
mod unicode;
pub(super) mod view;
mod windows;

use std::ops::Range;

pub(super) use joints::put as put_pieces;

use super::anchors::Facts;
use super::scan::{Claim, Claims, Scan};
pub(super) use view::View;

/// Views of views of a text: more than the depth that users choose, as ways of writing side by side are decoded one
/// after the other.
pub(super) const LEVELS: usize = 12;
/// Bytes that may be decoded for one text: so many, and this many times its length.
pub(super) const MOST: (usize, usize) = (4 << 10, 4);
/// What each view costs of that at least.
pub(super) const LEAST: usize = 32;
/// Percent-encoding over percent-encoding that is decoded.
const PERCENTS: u8 = 2;

/// Ways of writing, in the order in which they are tried. Where two stand side by side, one is decoded within the
/// view of the one before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// `\n`, `\"`, `\u0040`, `\x40`: JSON within strings, C, shells.
    Escapes,
    /// `&#64;`, `&commat;`, `<b></b>` within a word.
    Html,
    /// `%40`, `+`.
    Percent,
    /// `=40`, `=\n`.
    Quoted,
    /// Colours of terminals, marks of Markdown within an address.
    Controls,
    /// Full-width and invisible characters, other digits, look-alikes.
    Unicode,
    /// Base64, gzip in it, hex.
    Blobs,
    /// Items of a list that one value was cut into.
    Joints,
}

impl Kind {
    /// All, in order.
    pub(super) const ALL: [Self; 8] = [
        Self::Escapes,
        Self::Html,
        Self::Percent,
        Self::Quoted,
        Self::Controls,
        Self::Unicode,
        Self::Blobs,
        Self::Joints,
    ];

    /// Whether any could have a window; most short texts hold nothing that one begins with.
    pub(super) fn any(scan: &Scan<'_>) -> bool {
        let Facts { backslash, percent, ampersand, equals, high, escape, soft: _, digit: _ } = scan.anchors.facts;
        let runs = !scan.anchors.runs.is_empty()
            || !scan.anchors.ats.is_empty()
            || Self::has_short(scan)
            || Self::has_token(scan)
            || scan.anchors.numbers.iter().any(|number| pieces::ends(scan, number).is_some());
        backslash | percent | ampersand | equals | high | escape | runs || html::has_empty(scan.text)
    }

    fn has_short(scan: &Scan<'_>) -> bool {
        scan.anchors.numbers.iter().any(|run| blobs::is_short(scan, run))
    }

    fn has_token(scan: &Scan<'_>) -> bool {
        !scan.anchors.by.tokens.is_empty()
    }

    /// Whether a text may have a window of this kind.
    pub(super) fn may(self, scan: &Scan<'_>) -> bool {
        let facts: &Facts = &scan.anchors.facts;
        match self {
            Self::Escapes => facts.backslash,
            Self::Html => facts.ampersand || html::has_empty(scan.text),
            Self::Percent => facts.percent,
            Self::Quoted => facts.equals,
            Self::Controls => facts.escape || !scan.anchors.ats.is_empty(),
            Self::Unicode => facts.high,
            Self::Blobs => !scan.anchors.runs.is_empty() || Self::has_short(scan),
            Self::Joints => !scan.anchors.ats.is_empty() || !scan.anchors.numbers.is_empty() || Self::has_token(scan),
        }
    }

    /// Adds the windows of a text that are worth decoding, in order, without overlap. Only where there may be any.
    pub(super) fn windows(self, scan: &Scan<'_>, origin: &Origin<'_>, claims: &Claims, out: &mut Vec<Range<usize>>) {
        if self == Self::Percent && origin.percents >= PERCENTS {
            return;
        }
        let fresh = |range: Range<usize>| origin.is_fresh(self, range);
        match self {
            Self::Escapes => escapes::windows(scan, &fresh, out),
            Self::Html => html::windows(scan, &fresh, out),
            Self::Percent => percent::windows(scan, &fresh, out),
            Self::Quoted => quoted::windows(scan, &fresh, out),
            Self::Controls => controls::windows(scan, &fresh, out),
            Self::Unicode => unicode::windows(scan, &fresh, out),
            Self::Blobs => blobs::windows(scan, &fresh, claims, out),
            Self::Joints => joints::windows(scan, &fresh, claims, out),
        }
    }

    /// Whether `window` lies in one of `done`, which are in order; blobs are read where they stand.
    pub(super) fn is_within(self, done: &[Range<usize>], window: &Range<usize>) -> bool {
        let upto = done.partition_point(|done| done.start <= window.start);
        let near = done.get(upto.saturating_sub(8)..upto).unwrap_or_default();
        self != Self::Blobs && near.iter().any(|done| done.end >= window.end)
    }

    /// Decodes a window; false where that changes nothing. `most`: bytes that may be made.
    pub(super) fn decode(self, scan: &Scan<'_>, window: Range<usize>, most: usize, view: &mut View) -> bool {
        view.begin(window.start);
        let text = scan.part(window.clone());
        match self {
            Self::Escapes => escapes::decode(text, view),
            Self::Html => html::decode(text, view),
            Self::Percent => percent::decode(text, view),
            Self::Quoted => quoted::decode(text, view),
            Self::Controls => controls::decode(text, view),
            Self::Unicode => unicode::decode(text, view),
            Self::Blobs => blobs::decode(text, window, most, view),
            Self::Joints if text.ends_with(']') => pieces::decode(text, view),
            Self::Joints => items::decode(text, view),
        }
        view.whole.is_some() || !view.marks.is_empty()
    }

    /// A claim on a view, as one on the text that it was made from.
    pub(super) fn map(self, view: &View, claim: Claim) -> Option<Claim> {
        let range = view.map(&claim.range);
        let bare = claim.bare.filter(|_| self == Self::Escapes).map(|bare| bare.saturating_mul(2).saturating_add(1));
        let told = self != Self::Quoted || view.touches(&claim.range);
        told.then_some(Claim { range, rule: claim.rule, bare })
    }
}

/// Where a text comes from.
#[derive(Clone, Copy, Default)]
pub(super) struct Origin<'a> {
    above: Option<(Kind, &'a View)>,
    depth: u8,
    percents: u8,
}

impl<'a> Origin<'a> {
    /// Of a view of a text of this origin.
    pub(super) fn of(&self, kind: Kind, view: &'a View) -> Self {
        let deeper = self.above.is_none_or(|(above, view)| kind <= above || view.whole.is_some());
        let percents = self.percents + u8::from(kind == Kind::Percent);
        Self { above: Some((kind, view)), depth: self.depth + u8::from(deeper), percents }
    }

    /// Whether it is deeper than what is decoded.
    pub(super) fn is_deeper_than(&self, depth: u8) -> bool {
        self.depth > depth
    }

    /// Whether an escape was not seen when the text above was searched: what stood there already, of a kind that comes
    /// before, or that needs no context, was decoded there.
    fn is_fresh(&self, kind: Kind, range: Range<usize>) -> bool {
        match self.above {
            Some((above, view)) if view.whole.is_none() && (kind <= above || kind == Kind::Blobs) => {
                view.touches(&range)
            }
            _ => true,
        }
    }
}
