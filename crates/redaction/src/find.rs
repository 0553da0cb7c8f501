//! Searches one text for hits. `anchors` finds in one pass every position where something private could begin; patterns
//! that begin with a known word are tried only there. If a match fails a check, the search resumes at its next byte, so
//! that a false match never hides a real one. `resolve` settles overlaps.

use std::cell::RefCell;
use std::ops::Range;

use kernel::bounded_map::BoundedMap;

use super::anchors::Anchors;
use super::detector::{Detector, UNSCANNED};
use super::json_repair;
use super::keys;
use super::names;
use super::patterns::AutomatonCaches;
use super::resolve::{RedactionHit, find_placeholders, find_placeholders_at, resolve_overlaps};
use super::rule::{RuleClass, RuleFamily};
use super::scan::{PrivateClaims, TextScan};
use super::secrets;
use super::validate::bank;
use super::views::{self, DecodedView, ViewEncoding, ViewOrigin};

/// Maximum number of remembered keys, and maximum size of one, bytes.
const MAX_KEYS: usize = 1024;
const MAX_KEY_BYTES: usize = 128;

/// Buffers of one worker, reused between texts.
#[derive(Default)]
pub struct SearchScratch {
    pub(super) hits: Vec<RedactionHit>,
    pub(super) state: SearchState,
    /// The text itself, then views of views.
    levels: [LevelBuffers; views::LEVELS + 1],
}

/// State shared by all levels of a search.
#[derive(Default)]
pub(super) struct SearchState {
    pub(super) automaton_caches: AutomatonCaches,
    /// Keys that were asked for, and whether their values may be private because of them.
    private_keys: BoundedMap<Box<str>, bool, MAX_KEYS>,
    bytes_read: usize,
    /// Bytes that may still be decoded.
    decode_budget: usize,
}

/// Buffers for one text under search: the input or a view of it.
#[derive(Default)]
struct LevelBuffers {
    anchors: Anchors,
    claims: Vec<RedactionHit>,
    reserved: Vec<Range<usize>>,
    /// Names that are searched in the rest of the text.
    carried_names: Vec<Range<usize>>,
    view: DecodedView,
    windows: Vec<Range<usize>>,
    decoded_windows: Vec<Range<usize>>,
}

impl SearchScratch {
    /// Creates empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that patterns read in the last search, including repeated reads after a rejected match. Linear in the
    /// text.
    pub fn bytes_read(&self) -> usize {
        self.state.bytes_read
    }
}

impl Detector {
    /// Finds the hits of `text`: sorted, without overlap, valid until the next call with this scratch.
    pub fn find<'s>(&self, text: &str, scratch: &'s mut SearchScratch) -> &'s [RedactionHit] {
        self.find_for_key("", text, scratch)
    }

    /// Finds the hits of `text` as the value of `key` (of an attribute, or of a list in it): the whole value if the key
    /// says that it is private, otherwise like [`Self::find`]. Keys of ids (`user.id`, `session.id`) do not count as
    /// private.
    pub fn find_for_key<'s>(&self, key: &str, text: &str, scratch: &'s mut SearchScratch) -> &'s [RedactionHit] {
        scratch.state.bytes_read = 0;
        self.find_single_pass(key, text, scratch);
        self.find_exposed(key, text, scratch);
        &scratch.hits
    }

    /// Runs one search pass over the value of `key` ("" if it has none) and stores the hits in `scratch.hits`.
    pub(super) fn find_single_pass(&self, key: &str, text: &str, scratch: &mut SearchScratch) {
        let SearchScratch { hits, state, levels } = scratch;
        hits.clear();
        state.decode_budget = text.len().saturating_mul(views::MAX_DECODED.1).saturating_add(views::MAX_DECODED.0);
        if state.automaton_caches.len() != self.rules.len() {
            state.automaton_caches.clear();
            state.automaton_caches.resize_with(self.rules.len(), || None);
        }
        self.search_level(text, ViewOrigin::default(), state, levels);
        if key.is_empty() && levels.first().is_none_or(|level| level.claims.is_empty()) {
            return;
        }
        hits.extend(levels.first_mut().into_iter().flat_map(|level| level.claims.drain(..)));
        if keys::is_id_key(key.as_bytes()) {
            // Bare digits under an id key are not a card number
            hits.retain(|hit| hit.range != (0..text.len()) || !self.is_bare_card(text, hit));
        }
        let names_private = !key.is_empty() && self.known_names_private(key, &mut state.private_keys);
        let whole_value =
            levels.first_mut().filter(|_| names_private).and_then(|level| self.whole_value_hit(key, text, level));
        hits.extend(whole_value);
        if let Some(level) = levels.first_mut().filter(|_| self.options.redact_repeats && !hits.is_empty()) {
            resolve_overlaps(hits, |rule| self.rules.get(rule).map(|rule| rule.class));
            find_placeholders(text, &|name| self.is_placeholder(name), &mut level.reserved);
            let repeated = self.find_repeated_values(text, &level.reserved, hits);
            hits.extend(repeated);
        }
        self.settle_hits(text, hits);
    }

    /// Makes hits disjoint, and keeps a JSON document valid.
    pub(super) fn settle_hits(&self, text: &str, hits: &mut Vec<RedactionHit>) {
        resolve_overlaps(hits, |rule| self.rules.get(rule).map(|rule| rule.class));
        json_repair::split_breaking_hits(text, hits, &|name| self.is_placeholder(name));
    }

    fn is_bare_card(&self, text: &str, hit: &RedactionHit) -> bool {
        let family = self.compiled_rule(hit.rule).and_then(|rule| rule.family);
        family == Some(RuleFamily::Card) && text.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// [`Self::names_private`], remembered, because classifying a key costs as much as searching a short text.
    fn known_names_private(&self, key: &str, known: &mut BoundedMap<Box<str>, bool, MAX_KEYS>) -> bool {
        if let Some(known) = known.get(key) {
            return *known;
        }
        let names_private = self.names_private(key);
        if key.len() <= MAX_KEY_BYTES {
            known.insert(key.into(), names_private);
        }
        names_private
    }

    /// Whether values of an attribute's key may be private because of the key.
    pub fn names_private(&self, key: &str) -> bool {
        !self.keys.find(key.as_bytes()).0.is_none() || secrets::is_secret_key(key.as_bytes())
    }

    /// Whether a numeric attribute, given as its digits, has to be searched: its key ("" if it says nothing) is
    /// private, or it may be a card number. All other numbers are counts, sizes, times and ids.
    pub fn may_be_private(&self, key: &str, digits: &str) -> bool {
        !key.is_empty()
            && (keys::private_under_key(&self.keys, key, digits).is_some()
                || secrets::is_password(&self.families, key.as_bytes(), digits.as_bytes()))
            || (digits.bytes().all(|byte| byte.is_ascii_digit()) && bank::has_card_number(digits.as_bytes()))
    }

    /// The part of `text` that is private as the value of `key`, and the rule.
    pub(super) fn private_under_key(&self, key: &str, text: &str) -> Option<(Range<usize>, u16)> {
        let secret =
            || Some((0..text.len(), secrets::rule_under_key(&self.families, key.as_bytes(), text.as_bytes())?));
        keys::private_under_key(&self.keys, key, text).or_else(secret)
    }

    /// The hit on the private value of `key`, unless it would cut a placeholder or is allowed.
    fn whole_value_hit(&self, key: &str, text: &str, level: &mut LevelBuffers) -> Option<RedactionHit> {
        let (range, rule) = self.private_under_key(key, text)?;
        find_placeholders(text, &|name| self.is_placeholder(name), &mut level.reserved);
        let cuts = level.reserved.iter().any(|placeholder| {
            placeholder.contains(&range.start)
                || (placeholder.start < range.end && range.end < placeholder.end)
                || placeholder.end == range.end
        });
        let allow = self.compiled_rule(rule).and_then(|rule| rule.allow.as_ref());
        let allowed = allow.is_some_and(|allow| allow.is_match(text.get(range.clone()).unwrap_or_default()));
        (!cuts && !allowed).then_some(RedactionHit { range, rule, added_quotes: None })
    }

    /// Collects the claims on one text and its views in the first of `levels`.
    fn search_level(&self, text: &str, origin: ViewOrigin<'_>, state: &mut SearchState, levels: &mut [LevelBuffers]) {
        let Some((level, deeper)) = levels.split_first_mut() else { return };
        level.claims.clear();
        if text.len() < 3 {
            return;
        }
        level.anchors.find(text.as_bytes(), &self.stems);
        if level.anchors.is_empty() && self.unanchored.is_empty() && self.users_words.is_empty() {
            return;
        }
        let starts = level.anchors.brackets.iter().copied();
        find_placeholders_at(text, starts, &|name| self.is_placeholder(name), &mut level.reserved);
        if !level.reserved.is_empty() {
            // A placeholder is not a key and gives no context
            let mut placeholders_ahead = level.reserved.iter().peekable();
            level.anchors.words.retain(|word| {
                while placeholders_ahead.next_if(|placeholder| placeholder.end <= word.start).is_some() {}
                placeholders_ahead.peek().is_none_or(|placeholder| placeholder.start > word.start)
            });
        }
        level.anchors.group_words();
        let LevelBuffers { anchors, reserved, view, windows, decoded_windows, carried_names, .. } = level;
        let claims = PrivateClaims {
            list: RefCell::new(std::mem::take(&mut level.claims)),
            carried_names: RefCell::new(std::mem::take(carried_names)),
        };
        let scan = TextScan { text, anchors, placeholders: reserved, detector: self, claims: &claims };
        state.bytes_read += self.run_patterns(&scan, &mut state.automaton_caches);
        super::email::claim_emails(&scan);
        super::numbers::claim_numbers(&scan);
        secrets::claim_secrets(&scan);
        names::claim_names(&scan);
        decoded_windows.clear();
        let encodings: &[ViewEncoding] = if ViewEncoding::may_have_any(&scan) { &ViewEncoding::ALL } else { &[] };
        for encoding in encodings.iter().copied().filter(|encoding| encoding.may_have_window(&scan)) {
            windows.clear();
            encoding.find_windows(&scan, &origin, windows);
            for window in windows.drain(..) {
                // Text next to escapes of an earlier encoding was decoded in their view
                if !encoding.is_within(decoded_windows, &window)
                    && self.search_view(&scan, (encoding, window.clone()), &origin, state, view, deeper)
                {
                    decoded_windows.push(window);
                }
            }
            decoded_windows.sort_by_key(|window| (window.start, window.end));
        }
        if self.options.redact_repeats {
            names::claim_carried_names(&scan);
        }
        level.claims = claims.list.into_inner();
        level.carried_names = claims.carried_names.into_inner();
    }

    /// Decodes a window of a text, searches it, and maps the claims back. Returns false if nothing was decoded.
    fn search_view(
        &self,
        scan: &TextScan<'_>,
        (encoding, window): (ViewEncoding, Range<usize>),
        origin: &ViewOrigin<'_>,
        state: &mut SearchState,
        view: &mut DecodedView,
        deeper: &mut [LevelBuffers],
    ) -> bool {
        if !encoding.decode(scan, window.clone(), state.decode_budget, view) {
            return false;
        }
        let origin = origin.extended(encoding, view);
        // A view costs more than its bytes, so a window of a few bytes must not be free
        let cost = view.text.len().max(views::MIN_COST);
        match state.decode_budget.checked_sub(cost) {
            Some(rest) if !deeper.is_empty() && origin.depth <= self.options.depth && !view.is_cut => {
                state.decode_budget = rest
            }
            _ => {
                scan.claim_unscanned(UNSCANNED, window);
                return true;
            }
        }
        self.search_level(&view.text, origin, state, deeper);
        let view_claims = deeper.first_mut().map(|level| level.claims.drain(..));
        let view_claims = view_claims.into_iter().flatten();
        if encoding == ViewEncoding::SplitValues {
            views::claim_pieces(scan, &window, view, view_claims);
            return true;
        }
        for claim in view_claims.filter_map(|claim| encoding.map_claim(view, claim)) {
            scan.add_claim(claim);
        }
        true
    }

    /// Whether `text` contains anything private.
    pub fn is_private(&self, text: &str, scratch: &mut SearchScratch) -> bool {
        !self.find(text, scratch).is_empty()
    }

    /// The placeholder of a hit, with its brackets.
    pub fn placeholder(&self, hit: &RedactionHit) -> &str {
        self.compiled_rule(hit.rule).map_or("[REDACTED]", |rule| &rule.placeholder)
    }

    /// The placeholder of a rule, without its brackets.
    pub fn placeholder_name(&self, rule: usize) -> &str {
        self.rules.get(rule).map_or("REDACTED", |rule| rule.placeholder.trim_matches(['[', ']']))
    }

    /// The class of a hit's rule.
    pub fn class(&self, hit: &RedactionHit) -> RuleClass {
        self.compiled_rule(hit.rule).map_or(RuleClass::Secret, |rule| rule.class)
    }

    /// The name of a hit's rule, used as a metric label.
    pub fn rule_name(&self, hit: &RedactionHit) -> &str {
        self.compiled_rule(hit.rule).map_or("unknown", |rule| &rule.name)
    }

    /// Whether some rule's placeholder is `[name]`.
    pub(super) fn is_placeholder(&self, name: &str) -> bool {
        self.placeholders.contains(name)
    }
}
