//! Searches one text for hits. One pass (`anchors`) finds every position where something could begin; a pattern that
//! begins with a known word is tried only there, within a window. If a match fails a check, the search resumes at its
//! next byte, so that a false match never hides a real one. `resolve` settles overlaps.

use std::ops::Range;

use super::anchors::Anchors;
use super::detector::{Detector, UNSCANNED};
use super::json;
use super::keys;
use super::names::{self, NameScratch};
use super::patterns::States;
use super::resolve::{Hit, reserved, reserved_at, resolve};
use super::rule::{Class, Family};
use super::scan::{Claims, Scan};
use super::secrets;
use super::views::{self, Kind, Origin, View};

/// Buffers of one worker, reused between texts.
#[derive(Default)]
pub struct Scratch {
    pub(super) hits: Vec<Hit>,
    work: Work,
    /// The text itself, then views of views.
    levels: [Level; views::LEVELS + 1],
}

/// State shared by all levels of a search.
#[derive(Default)]
struct Work {
    state: States,
    read: usize,
    /// Bytes that may still be decoded.
    left: usize,
}

/// Buffers for one text under search: the input or a view of it.
#[derive(Default)]
struct Level {
    anchors: Anchors,
    claims: Claims,
    reserved: Vec<Range<usize>>,
    names: NameScratch,
    view: View,
    windows: Vec<Range<usize>>,
    /// Windows that were decoded.
    done: Vec<Range<usize>>,
}

impl Scratch {
    /// Creates empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to accept every key as if its siblings confirmed it.
    pub(super) fn trust_keys(&mut self, trust: bool) {
        self.levels.iter_mut().for_each(|level| level.names.trust_keys(trust));
    }

    /// Bytes that patterns read in the last search, including repeated reads after a rejected match. Linear in the
    /// text.
    pub fn read(&self) -> usize {
        self.work.read
    }

    /// Size of the largest regex cache in use, in bytes.
    #[cfg(test)]
    pub(super) fn largest_cache(&self) -> usize {
        self.work.state.iter().flatten().map(|(cache, _)| cache.memory_usage()).max().unwrap_or(0)
    }
}

impl Detector {
    /// Finds the hits of `text`: sorted, without overlap, valid until the next call with this scratch.
    pub fn find<'s>(&self, text: &str, scratch: &'s mut Scratch) -> &'s [Hit] {
        self.find_under("", text, scratch)
    }

    /// Finds the hits of `text` as the value of `key` (of an attribute, or of a list in it): the whole value if the key
    /// says that it is private, otherwise like [`Self::find`]. Keys of ids (`user.id`, `session.id`) do not count as
    /// private.
    pub fn find_under<'s>(&self, key: &str, text: &str, scratch: &'s mut Scratch) -> &'s [Hit] {
        scratch.work.read = 0;
        self.find_once(key, text, scratch);
        self.find_again(key, text, scratch);
        &scratch.hits
    }

    /// Runs one search pass over the value of `key` ("" if it has none) and stores the hits in `scratch.hits`.
    pub(super) fn find_once(&self, key: &str, text: &str, scratch: &mut Scratch) {
        let Scratch { hits, work, levels } = scratch;
        hits.clear();
        work.left = text.len().saturating_mul(views::MOST.1).saturating_add(views::MOST.0);
        if work.state.len() != self.rules.len() {
            work.state.clear();
            work.state.resize_with(self.rules.len(), || None);
        }
        self.level(text, Origin::default(), work, levels);
        if key.is_empty() && levels.first().is_none_or(|level| level.claims.list.is_empty()) {
            return;
        }
        let claims = levels.first_mut().map(|level| level.claims.list.drain(..));
        hits.extend(claims.into_iter().flatten().map(|claim| Hit {
            range: claim.range,
            rule: usize::from(claim.rule),
            bare: claim.bare,
        }));
        if keys::is_id(key.as_bytes()) {
            // Bare digits under an id key are not a card number
            hits.retain(|hit| hit.range != (0..text.len()) || !self.is_bare_card(text, hit));
        }
        let whole = levels.first_mut().filter(|_| !key.is_empty()).and_then(|level| self.whole(key, text, level));
        hits.extend(whole);
        if let Some(level) = levels.first_mut().filter(|_| self.choices.carry_over && !hits.is_empty()) {
            resolve(hits, &|hit| self.rules.get(hit.rule).map(|rule| rule.class));
            reserved(text, &|name| self.is_placeholder(name), &mut level.reserved);
            let carried = self.carried(text, &level.reserved, hits);
            hits.extend(carried);
        }
        resolve(hits, &|hit| self.rules.get(hit.rule).map(|rule| rule.class));
        json::mend(text, hits, &|name| self.is_placeholder(name));
    }

    fn is_bare_card(&self, text: &str, hit: &Hit) -> bool {
        let family = self.rules.get(hit.rule).and_then(|rule| rule.family);
        family == Some(Family::Card) && text.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// Whether a numeric attribute, given as its digits, has to be searched: its key is private, or it may be a card
    /// number. All other numbers are counts, sizes, times and ids.
    pub fn may_be_private(&self, key: &str, digits: &str) -> bool {
        keys::under(&self.keys, key, digits).is_some()
            || secrets::is_password(&self.secrets, key.as_bytes(), digits.as_bytes())
            || (matches!(digits.len(), 12..=19) && super::validate::is_card(digits))
    }

    /// The part of `text` that is private as the value of `key`, and the rule.
    pub(super) fn under(&self, key: &str, text: &str) -> Option<(Range<usize>, u16)> {
        let secret = || Some((0..text.len(), secrets::under(&self.secrets, key.as_bytes(), text.as_bytes())?));
        keys::under(&self.keys, key, text).or_else(secret)
    }

    /// The hit that the key of a text gives, unless it cuts a placeholder or is allowed.
    fn whole(&self, key: &str, text: &str, level: &mut Level) -> Option<Hit> {
        let (range, rule) = self.under(key, text)?;
        reserved(text, &|name| self.is_placeholder(name), &mut level.reserved);
        let cuts = level.reserved.iter().any(|held| {
            held.contains(&range.start) || (held.start < range.end && range.end < held.end) || held.end == range.end
        });
        let allow = self.rules.get(usize::from(rule)).and_then(|rule| rule.allow.as_ref());
        let allowed = allow.is_some_and(|allow| allow.is_match(text.get(range.clone()).unwrap_or_default()));
        (!cuts && !allowed).then_some(Hit { range, rule: usize::from(rule), bare: None })
    }

    /// Collects the claims on one text and its views in the first of `levels`.
    fn level(&self, text: &str, origin: Origin<'_>, work: &mut Work, levels: &mut [Level]) {
        let Some((level, deeper)) = levels.split_first_mut() else { return };
        level.claims.list.clear();
        if text.len() < 3 {
            return;
        }
        level.anchors.find(text.as_bytes(), &self.stems);
        if level.anchors.is_empty() && self.needs_anchors() {
            return;
        }
        let starts = level.anchors.brackets.iter().copied();
        reserved_at(text, starts, &|name| self.is_placeholder(name), &mut level.reserved);
        if !level.reserved.is_empty() {
            // A placeholder is not a key and gives no context
            let mut held = level.reserved.iter().peekable();
            level.anchors.words.retain(|word| {
                while held.next_if(|held| held.end <= word.at).is_some() {}
                held.peek().is_none_or(|held| held.start > word.at)
            });
        }
        level.anchors.sort();
        let scan = Scan { text, anchors: &level.anchors, reserved: &level.reserved, detector: self };
        work.read += self.patterns(&scan, &mut work.state, &mut level.claims);
        work.read += self.users_patterns(&scan, &mut work.state, &mut level.claims);
        work.read += self.loose_patterns(&scan, &mut work.state, &mut level.claims);
        super::email::find(&scan, &mut level.claims);
        super::spelled::find(&scan, &mut level.claims);
        super::numbers::find(&scan, &mut level.claims);
        secrets::find(&scan, &self.secrets, &mut level.claims);
        names::claim(&scan, &mut level.names, &mut level.claims);
        let Level { claims, view, windows, done, names, .. } = level;
        done.clear();
        let kinds: &[Kind] = if Kind::any(&scan) { &Kind::ALL } else { &[] };
        for kind in kinds.iter().copied().filter(|kind| kind.may(&scan)) {
            windows.clear();
            kind.windows(&scan, &origin, claims, windows);
            for window in windows.drain(..) {
                // Text next to escapes of an earlier kind was decoded in the view of those
                if !kind.is_within(done, &window)
                    && self.view(&scan, (kind, window.clone()), &origin, work, claims, view, deeper)
                {
                    done.push(window);
                }
            }
            done.sort_by_key(|window| (window.start, window.end));
        }
        if self.choices.carry_over {
            names::carry(&scan, names, claims);
        }
    }

    /// Decodes a window of a text, searches it, and maps the claims back. Returns false if nothing was decoded.
    #[expect(clippy::too_many_arguments, reason = "the parts of a level are borrowed apart")]
    fn view(
        &self,
        scan: &Scan<'_>,
        (kind, window): (Kind, Range<usize>),
        origin: &Origin<'_>,
        work: &mut Work,
        claims: &mut Claims,
        view: &mut View,
        deeper: &mut [Level],
    ) -> bool {
        if !kind.decode(scan, window.clone(), work.left, view) {
            return false;
        }
        let origin = origin.of(kind, view);
        // A view costs more than its bytes, so a window of a few bytes must not be free
        let cost = view.text().len().max(views::LEAST);
        match work.left.checked_sub(cost) {
            Some(left) if !deeper.is_empty() && !origin.is_deeper_than(self.choices.depth) && !view.is_cut() => {
                work.left = left
            }
            _ => {
                claims.close(scan, UNSCANNED, window);
                return true;
            }
        }
        self.level(view.text(), origin, work, deeper);
        let below = deeper.first_mut().map(|below| below.claims.list.drain(..));
        let below = below.into_iter().flatten();
        if kind == Kind::Joints {
            views::put_pieces(scan, &window, view, below, claims);
            return true;
        }
        for claim in below.filter_map(|claim| kind.map(view, claim)) {
            claims.put(scan, claim);
        }
        true
    }

    /// The positions at which patterns are tried because of a word, for the test against a naive search.
    #[cfg(test)]
    pub(super) fn tries(&self, text: &str) -> Vec<usize> {
        use super::action::Action;
        let mut anchors = Anchors::default();
        anchors.find(text.as_bytes(), &self.stems);
        let pattern = |index: u16| self.rules.get(usize::from(index))?.pattern.as_ref()?.matcher.made();
        let rest = |at: usize| text.as_bytes().get(at..).unwrap_or_default();
        let fits = |at: usize, rule: u16| pattern(rule).is_some_and(|made| made.may_begin(rest(at)));
        let words = anchors.words.iter().map(|word| (word.at, word.action));
        let tried = words.filter(|(at, action)| matches!(action, Action::Pattern(rule) if fits(*at, *rule)));
        tried.map(|(at, _)| at).collect()
    }

    /// Whether everything is found at anchors only.
    fn needs_anchors(&self) -> bool {
        self.loose.is_empty() && self.users.is_empty() && !self.choices.spelled_emails
    }

    /// Whether any pattern is tried at every position.
    #[cfg(test)]
    pub(super) fn is_loose(&self) -> bool {
        !self.loose.is_empty()
    }

    /// Whether `text` contains anything private.
    pub fn is_private(&self, text: &str, scratch: &mut Scratch) -> bool {
        !self.find(text, scratch).is_empty()
    }

    /// The placeholder of a hit, with its brackets.
    pub fn placeholder(&self, hit: &Hit) -> &str {
        self.rules.get(hit.rule).map_or("[REDACTED]", |rule| &rule.placeholder)
    }

    /// The placeholder of a rule, without its brackets.
    pub fn type_of(&self, rule: usize) -> &str {
        self.rules.get(rule).map_or("REDACTED", |rule| rule.placeholder.trim_matches(['[', ']']))
    }

    /// The class of a hit's rule.
    pub fn class(&self, hit: &Hit) -> Class {
        self.rules.get(hit.rule).map_or(Class::Secret, |rule| rule.class)
    }

    /// The name of a hit's rule, used as a metric label.
    pub fn rule_name(&self, hit: &Hit) -> &str {
        self.rules.get(hit.rule).map_or("unknown", |rule| &rule.name)
    }

    /// Whether some rule's placeholder is `[name]`.
    pub(super) fn is_placeholder(&self, name: &str) -> bool {
        self.placeholders.contains(name)
    }
}
