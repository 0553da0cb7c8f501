//! Views: decoded parts of a text, with a map back to it. A value written as `bob\u0040example.com`,
//! `bob%40example.com` or in base64 leaks like a plain one.
//!
//! A view covers only windows around escapes that a cheap test finds relevant. A claim on a view maps to whole escapes
//! of the text, so that the text around it stays unchanged. Depth and decoded bytes are bounded; text beyond the bounds
//! becomes `[UNSCANNED]`. The order is fixed. `find` searches views.

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

/// Most nested views. More than the depth that users can choose, because adjacent encodings are also decoded one after
/// another.
pub(super) const LEVELS: usize = 12;
/// Most decoded bytes for one text: a base, and a multiple of its length.
pub(super) const MOST: (usize, usize) = (4 << 10, 4);
/// Least cost of a view in these bytes.
pub(super) const LEAST: usize = 32;
/// Levels of nested percent-encoding that are decoded.
const PERCENTS: u8 = 2;

/// Encodings in the order in which they are tried. If two are adjacent, the later one is decoded within the view of the
/// earlier one.
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
    /// Terminal colours, Markdown within an address.
    Controls,
    /// Full-width and invisible characters, other digits, look-alikes.
    Unicode,
    /// Base64, hex, and gzip in them.
    Blobs,
    /// List items into which a value was split.
    Joints,
}

impl Kind {
    /// All encodings, in order.
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

    /// Whether any encoding may have a window; most short texts have nothing that begins one.
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

    /// Whether a text may have a window of this encoding.
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

    /// Adds the windows worth decoding, in order, without overlap. Only valid if `may` was true.
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

    /// Whether `window` lies in one of `done`, which are in order. Never for blobs, which are decoded in place.
    pub(super) fn is_within(self, done: &[Range<usize>], window: &Range<usize>) -> bool {
        let upto = done.partition_point(|done| done.start <= window.start);
        let near = done.get(upto.saturating_sub(8)..upto).unwrap_or_default();
        self != Self::Blobs && near.iter().any(|done| done.end >= window.end)
    }

    /// Decodes a window; false if that changes nothing. `most`: largest number of bytes to produce.
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

    /// Maps a claim on a view to the text from which it was decoded.
    pub(super) fn map(self, view: &View, claim: Claim) -> Option<Claim> {
        let range = view.map(&claim.range);
        let bare = claim.bare.filter(|_| self == Self::Escapes).map(|bare| bare.saturating_mul(2).saturating_add(1));
        let told = self != Self::Quoted || view.touches(&claim.range);
        told.then_some(Claim { range, rule: claim.rule, bare })
    }
}

/// The chain of views from which a text was decoded.
#[derive(Clone, Copy, Default)]
pub(super) struct Origin<'a> {
    above: Option<(Kind, &'a View)>,
    depth: u8,
    percents: u8,
}

impl<'a> Origin<'a> {
    /// The origin of a view of a text with this origin.
    pub(super) fn of(&self, kind: Kind, view: &'a View) -> Self {
        let deeper = self.above.is_none_or(|(above, view)| kind <= above || view.whole.is_some());
        let percents = self.percents + u8::from(kind == Kind::Percent);
        Self { above: Some((kind, view)), depth: self.depth + u8::from(deeper), percents }
    }

    /// Whether the nesting exceeds `depth`.
    pub(super) fn is_deeper_than(&self, depth: u8) -> bool {
        self.depth > depth
    }

    /// Whether an escape is new in this view. Escapes that were already in the text above, of an earlier encoding or a
    /// blob, were decoded there.
    fn is_fresh(&self, kind: Kind, range: Range<usize>) -> bool {
        match self.above {
            Some((above, view)) if view.whole.is_none() && (kind <= above || kind == Kind::Blobs) => {
                view.touches(&range)
            }
            _ => true,
        }
    }
}
