//! Views: decoded parts of a text, with a map back to it. A value written as `bob\u0040example.com`,
//! `bob%40example.com` or in base64 leaks like a plain one.
//!
//! A view covers only windows around escapes that a cheap test finds relevant. A claim on a view maps to whole escapes
//! of the text, so that the text around it stays unchanged. Depth and decoded bytes are bounded; text beyond the bounds
//! becomes `[UNSCANNED]`. The order is fixed. `find` searches views.

pub(super) mod base64;
pub(super) mod blobs;
mod controls;
pub(super) mod decoded_view;
pub(super) mod entities;
pub(super) mod escapes;
mod html;
pub(super) mod percent;
mod quoted_printable;
mod split_values;
#[cfg(test)]
mod tests;
mod unicode;
mod windows;

use std::ops::Range;

pub(super) use split_values::claim_pieces;

use super::resolve::RedactionHit;
use super::scan::TextScan;
pub(super) use decoded_view::DecodedView;

/// Most nested views. More than the depth that users can choose, because adjacent encodings are also decoded in nested
/// views.
pub(super) const LEVELS: usize = 12;
/// Most decoded bytes for one text: a base, and a multiple of its length.
pub(super) const MAX_DECODED: (usize, usize) = (4 << 10, 4);
/// Bytes that a view costs at least.
pub(super) const MIN_COST: usize = 32;
/// Levels of nested percent-encoding that are decoded.
const MAX_PERCENT_LEVELS: u8 = 2;

/// Encodings in the order in which they are tried. If two are adjacent, the later one is decoded within the view of the
/// earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum ViewEncoding {
    /// `\n`, `\"`, `\u0040`, `\x40`: JSON within strings, C, shells.
    Escapes,
    /// `&#64;`, `&commat;`, `<b></b>` within a word.
    Html,
    /// `%40`, `+`.
    Percent,
    /// `=40`, `=\n`.
    QuotedPrintable,
    /// Terminal colours.
    Terminal,
    /// Full-width and invisible characters, other digits, look-alikes.
    Unicode,
    /// Base64, base32 and hex, and gzip in all of them.
    Blobs,
    /// List items into which a value was split.
    SplitValues,
}

impl ViewEncoding {
    /// All encodings, in order.
    pub(super) const ALL: [Self; 8] = {
        use ViewEncoding::{Blobs, Escapes, Html, Percent, QuotedPrintable, SplitValues, Terminal, Unicode};
        [Escapes, Html, Percent, QuotedPrintable, Terminal, Unicode, Blobs, SplitValues]
    };

    /// Whether any encoding may have a window; most short texts have nothing that begins one.
    pub(super) fn may_have_any(scan: &TextScan<'_>) -> bool {
        scan.anchors.byte_kinds.may_have_escape()
            || !scan.anchors.base64_runs.is_empty()
            || Self::has_short_blob(scan)
            || split_values::may_have_items(scan)
            || html::may_have_empty_element(scan)
    }

    fn has_short_blob(scan: &TextScan<'_>) -> bool {
        scan.anchors.digit_runs.iter().any(|run| blobs::is_short_blob(scan, run))
    }

    /// Whether a text may have a window of this encoding.
    pub(super) fn may_have_window(self, scan: &TextScan<'_>) -> bool {
        let byte_kinds = &scan.anchors.byte_kinds;
        match self {
            Self::Escapes => byte_kinds.backslash != 0,
            Self::Html => byte_kinds.ampersand != 0 || html::may_have_empty_element(scan),
            Self::Percent => byte_kinds.percent != 0,
            Self::QuotedPrintable => byte_kinds.equals != 0,
            Self::Terminal => byte_kinds.escape != 0,
            Self::Unicode => byte_kinds.high != 0,
            Self::Blobs => !scan.anchors.base64_runs.is_empty() || Self::has_short_blob(scan),
            Self::SplitValues => split_values::may_have_items(scan),
        }
    }

    /// Adds the windows worth decoding, in order, without overlap. Only valid if [`Self::may_have_window`] was true.
    pub(super) fn find_windows(self, scan: &TextScan<'_>, origin: &ViewOrigin<'_>, out: &mut Vec<Range<usize>>) {
        if self == Self::Percent && origin.percent_levels >= MAX_PERCENT_LEVELS {
            return;
        }
        let is_fresh = |range: Range<usize>| origin.is_fresh(self, range);
        match self {
            Self::Escapes => escapes::find_windows(scan, &is_fresh, out),
            Self::Html => html::find_windows(scan, &is_fresh, out),
            Self::Percent => percent::find_windows(scan, &is_fresh, out),
            Self::QuotedPrintable => quoted_printable::find_windows(scan, &is_fresh, out),
            Self::Terminal => controls::find_windows(scan, &is_fresh, out),
            Self::Unicode => unicode::find_windows(scan, &is_fresh, out),
            Self::Blobs => blobs::find_windows(scan, &is_fresh, out),
            Self::SplitValues => split_values::find_windows(scan, &is_fresh, out),
        }
    }

    /// Whether `window` lies in one of the `decoded` windows, which are in order. Never for blobs, which are decoded in
    /// place.
    pub(super) fn is_within(self, decoded: &[Range<usize>], window: &Range<usize>) -> bool {
        let next = decoded.partition_point(|range| range.start <= window.start);
        let near = decoded.get(next.saturating_sub(8)..next).unwrap_or_default();
        self != Self::Blobs && near.iter().any(|range| range.end >= window.end)
    }

    /// Decodes a window; false if that changes nothing. `max_len`: most bytes that gzip may produce.
    pub(super) fn decode(
        self,
        scan: &TextScan<'_>,
        window: Range<usize>,
        max_len: usize,
        view: &mut DecodedView,
    ) -> bool {
        view.reset(window.start);
        let text = scan.part(window.clone());
        match self {
            Self::Escapes => escapes::decode(text, view),
            Self::Html => html::decode(text, view),
            Self::Percent => percent::decode(text, view),
            Self::QuotedPrintable => quoted_printable::decode(text, view),
            Self::Terminal => controls::decode(text, view),
            Self::Unicode => unicode::decode(text, view),
            Self::Blobs => blobs::decode(text, window, max_len, view),
            Self::SplitValues => split_values::decode(text, view),
        }
        view.whole_window.is_some() || !view.units.is_empty()
    }

    /// Maps a claim on a view to the text from which it was decoded.
    pub(super) fn map_claim(self, view: &DecodedView, claim: RedactionHit) -> Option<RedactionHit> {
        let range = view.map_range(&claim.range);
        let added_quotes = claim
            .added_quotes
            .filter(|_| self == Self::Escapes)
            .map(|backslashes| backslashes.saturating_mul(2).saturating_add(1));
        let is_decoded = self != Self::QuotedPrintable || view.touches(&claim.range);
        is_decoded.then_some(RedactionHit { range, rule: claim.rule, added_quotes })
    }
}

/// The chain of views from which a text was decoded.
#[derive(Clone, Copy, Default)]
pub(super) struct ViewOrigin<'a> {
    parent: Option<(ViewEncoding, &'a DecodedView)>,
    pub(super) depth: u8,
    percent_levels: u8,
}

impl<'a> ViewOrigin<'a> {
    /// The origin of a view of a text with this origin.
    pub(super) fn extended(&self, kind: ViewEncoding, view: &'a DecodedView) -> Self {
        let is_deeper = self.parent.is_none_or(|(above, view)| kind <= above || view.whole_window.is_some());
        let percent_levels = self.percent_levels + u8::from(kind == ViewEncoding::Percent);
        Self { parent: Some((kind, view)), depth: self.depth + u8::from(is_deeper), percent_levels }
    }

    /// Whether an escape is new in this view. Escapes that were already in the text above, of an earlier encoding or a
    /// blob, were decoded there.
    fn is_fresh(&self, kind: ViewEncoding, range: Range<usize>) -> bool {
        match self.parent {
            Some((above, view)) if view.whole_window.is_none() && (kind <= above || kind == ViewEncoding::Blobs) => {
                view.touches(&range)
            }
            _ => true,
        }
    }
}
