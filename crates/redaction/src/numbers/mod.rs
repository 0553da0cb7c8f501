//! Finds private data made of digits: phone numbers, cards, accounts, national, tax and medical ids, dates of birth,
//! network and device addresses, vehicles. Separate patterns would each read every number again; here each run with
//! digits is read once.
//!
//! Each run starts one chain, each chain is read once, and at each of its groups a few look-ups by length reject what
//! can't be an id. The text read around a group is bounded, and nothing is allocated. Checksums are in `validate`,
//! words and examples in `pii.yaml`, e-mail addresses in `email`.

use std::ops::Range;

use super::action::Action;
use super::anchors::Number;
use super::rule::Family;
use super::scan::{Claims, Scan};

mod card;
mod chain;
mod cued;
mod cues;
mod date;
mod dump;
mod letters;
mod net;
mod phone;
mod shapes;
mod site;

use chain::Chain;
use site::{Found, Site};

/// Most bytes before a value in which its cue may begin.
const REACH: usize = 96;

/// Claims everything that is recognised by its digits.
pub(super) fn find(scan: &Scan<'_>, claims: &mut Claims) {
    let cued = scan.anchors.by.numbers.iter().any(|word| is_cue(word.action));
    let foreign = scan.anchors.facts.high && !scan.detector.foreign.is_empty();
    let mut walk = Walk { scan, claims, cued, foreign, word: 0, done: 0, claimed: 0, listed: None };
    walk.ahead();
    for run in &scan.anchors.numbers {
        if run.start >= walk.done && !walk.is_dull(run) {
            walk.run(run);
        }
    }
}

/// State of the search.
struct Walk<'a, 't> {
    scan: &'a Scan<'t>,
    claims: &'a mut Claims,
    /// Whether the text has any cue.
    cued: bool,
    /// Whether words of other scripts may announce a number.
    foreign: bool,
    /// Index of the first word behind the last run.
    word: usize,
    /// End of the text that was already decided.
    done: usize,
    /// End of the last finding.
    claimed: usize,
    /// Kind and end of the last finding that a word announced.
    listed: Option<(Family, usize)>,
}

impl Walk<'_, '_> {
    /// Whether a run can't be anything, by its length and the bytes next to it, in a text without cues. Excludes most
    /// numbers in logs.
    #[inline]
    fn is_dull(&self, number: &Number) -> bool {
        if self.cued || self.foreign || number.len() > 8 || is_joined(number) {
            return false;
        }
        match usize::from(number.digits) == number.len() {
            true => {
                number.len() < 8 && !(matches!(number.behind, b' ' | b'/' | b'(' | b')') && self.goes_on(number.end))
            }
            // All short ids with letters begin with two of them
            false => number.digits > 0 || number.len() < 4,
        }
    }

    /// Handles one run of letters and digits, and the groups chained to it.
    fn run(&mut self, number: &Number) {
        let (scan, run) = (self.scan, &number.range());
        if run.len() <= 4 && is_joined(number) && self.may_be_address(run) {
            let (found, end) = net::around(scan, run);
            if let Some(found) = found {
                self.done = found.range.end.max(end);
                self.claim(&found);
                return;
            }
            // Fingerprints and dumps are skipped, so that they are not read again at each pair
            if end > run.start + 24 {
                self.done = end;
                return;
            }
        }
        if usize::from(number.digits) < run.len() {
            return self.mixed(number);
        }
        let near = number.before;
        let next = || scan.before(run.start, 2);
        // The rest of a time, version or name
        let tied = near == b'_' || (matches!(near, b'.' | b':') && next().is_ascii_digit());
        if tied && !(near == b':' && number.behind == b'.') {
            self.done = run.end;
            return;
        }
        if near == b'-' && next().is_ascii_alphabetic() {
            return self.joined(run);
        }
        let single = !matches!(number.behind, b' ' | b'.' | b'-' | b'/' | b'(' | b')') || !self.goes_on(run.end);
        let cue = self.cue_near(run);
        if single && run.len() < 8 && !cue {
            self.done = run.end;
            return;
        }
        let chain = Chain::read(scan.text.as_bytes(), run.start);
        self.done = chain.end.max(run.start + 1);
        // Five digits alone need a word
        if chain.count == 1 && chain.len(0) < 6 && !cue && self.listed_before(run.start).is_none() {
            return;
        }
        // Dates, times and amounts have too few digits to be recognised without a word
        let nino = chain.len(0) == 2 && near == b' ';
        let few = chain.count < 4 && !nino && chain.digits(0, chain.count.saturating_sub(1)) < 7;
        if !(few && !cue && self.listed_before(run.start).is_none()) {
            self.chain(&chain, cue);
        }
    }

    /// Digits behind letters and a dash: the end of a longer id, if a word announces one.
    fn joined(&mut self, run: &Range<usize>) {
        self.done = run.end;
        if run.len() == 4 && self.scan.byte(run.end) == b'-' {
            let chain = Chain::read(self.scan.text.as_bytes(), run.start);
            if let Some(found) = card::shaped(&Site::new(self.scan, &chain, 0, false, None)) {
                self.done = found.range.end;
                return self.claim(&found);
            }
        }
        if self.cue_near(run)
            && let Some(found) = cued::at_run(self.scan, run)
        {
            self.done = found.range.end.max(run.end);
            self.claim(&found);
        }
    }

    /// Whether a digit follows within two bytes behind a separator.
    fn goes_on(&self, end: usize) -> bool {
        self.scan.bytes(end + 1..end + 3).iter().any(u8::is_ascii_digit)
            || self.scan.bytes(end..end + 3).contains(&b'(')
    }

    /// Whether a short run may be part of an IPv6 or hardware address: colons or dashes are where those have them.
    fn may_be_address(&self, run: &Range<usize>) -> bool {
        let scan = self.scan;
        let hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
        let (behind, before) = (scan.byte(run.end), scan.before(run.start, 1));
        let (further, earlier) = (scan.byte(run.end + 1), scan.before(run.start, 2));
        match (behind, before) {
            (b':', _) if hex(further) => {
                // Excludes times
                let pairs = run.len() == 2 && further != b':';
                !pairs
                    || scan.byte(run.start + 5) != b':'
                        && !scan.byte(run.start + 5).is_ascii_digit()
                        && scan.byte(run.start + 5).is_ascii_hexdigit()
                    || (scan.byte(run.start + 5) == b':' && scan.byte(run.start + 8) == b':')
                    || (before == b':' && hex(earlier))
            }
            (_, b':') if hex(earlier) => {
                earlier == b':'
                    || (run.len() == 2 && scan.before(run.start, 4) == b':' && scan.before(run.start, 7) == b':')
                    || run.len() > 2
            }
            (b'-', _) if run.len() == 2 => scan.byte(run.end + 3) == b'-' && scan.byte(run.end + 6) == b'-',
            (_, b'-') if run.len() == 2 => scan.before(run.start, 4) == b'-' && scan.before(run.start, 7) == b'-',
            (b'.', _) if run.len() == 4 => scan.byte(run.end + 5) == b'.',
            (_, b'.') if run.len() == 4 => scan.before(run.start, 6) == b'.' || scan.byte(run.end) == b'.',
            _ => false,
        }
    }

    /// Handles a run with letters.
    fn mixed(&mut self, number: &Number) {
        let (scan, run) = (self.scan, &number.range());
        self.done = run.end;
        let cue = self.cue_near(run);
        let shaped = if run.len() >= 4 { letters::find(scan, run, cue) } else { None };
        let shaped = shaped.or_else(|| match (run.len(), number.behind) {
            (4, b'-') => letters::dashed_mbi(scan, run),
            (13..20, b'^') => card::first_track(scan, run),
            (20.., _) => letters::passport_line(scan, run),
            _ => None,
        });
        let found = shaped.or_else(|| {
            if !cue {
                return None;
            }
            // 15th June 1991
            if matches!(number.digits, 1 | 2) && run.len() <= 4 {
                let chain = Chain::read(scan.text.as_bytes(), run.start);
                let site = Site::new(scan, &chain, 0, true, None);
                return site.cues().grade(Family::Birth).and_then(|grade| date::cued(&site, grade));
            }
            cued::at_run(scan, run)
        });
        if let Some(found) = found {
            self.done = found.range.end.max(run.end);
            self.claim(&found);
        }
    }

    /// Tries every group of a chain at which an id may start.
    fn chain(&mut self, chain: &Chain, cue: bool) {
        let mut index = 0;
        while index < chain.count {
            if !may_begin(chain, index) {
                index += 1;
                continue;
            }
            let listed = self.listed_before(chain.group(index).at);
            let mut site = Site::new(self.scan, chain, index, cue || listed.is_some(), listed);
            site.claimed = self.claimed;
            let Some(found) = at(&site).filter(|found| !dump::holds(self.scan, &found.range)) else {
                index += 1;
                continue;
            };
            self.claim(&found);
            self.done = self.done.max(found.range.end);
            index += 1;
            while index < chain.count && chain.group(index).at < found.range.end {
                index += 1;
            }
        }
    }

    /// The kind of the finding right before `at`, if both are items of a list.
    fn listed_before(&self, at: usize) -> Option<Family> {
        let (family, end) = self.listed?;
        let between = self.scan.bytes(end..at);
        let list = between.len() <= 6
            && between.iter().all(|byte| b" ,;/\"'\\|&+(".contains(byte) || b"andory".contains(byte));
        (at > end && list && !between.is_empty()).then_some(family)
    }

    /// Whether a cue is near before a run, or right behind it.
    fn cue_near(&mut self, run: &Range<usize>) -> bool {
        if self.foreign && cues::foreign(self.scan, run.start).is_some() {
            return true;
        }
        if !self.cued {
            return false;
        }
        let words = &self.scan.anchors.by.numbers;
        while words.get(self.word).is_some_and(|word| word.at < run.start) {
            self.word += 1;
        }
        let before = words.get(..self.word).unwrap_or_default();
        let near = before.iter().rev().take_while(|word| word.at + REACH >= run.start).any(|word| is_cue(word.action));
        let behind = words.get(self.word..).unwrap_or_default();
        near || behind.iter().take_while(|word| word.at <= run.end + REACH / 2).any(|word| is_cue(word.action))
            || self.listed.is_some_and(|(_, end)| run.start <= end + 8)
    }

    /// Claims values that are read from their word on: BICs, which have no digits, and plates, which have blanks.
    fn ahead(&mut self) {
        for word in &self.scan.anchors.by.numbers {
            let Action::Number(family) = word.action else { continue };
            let range = match family {
                Family::Swift => cued::bic(self.scan, word.end),
                Family::VehicleCued => cued::plate(self.scan, word.end),
                _ => None,
            };
            if let (Some(range), Some(rule)) = (range, self.scan.rule(family)) {
                self.claims.add(self.scan, rule, range);
            }
        }
    }

    /// Claims a finding; a bare JSON number gets quotes.
    fn claim(&mut self, found: &Found) {
        let Some(rule) = self.scan.rule(found.family) else { return };
        self.claimed = found.range.end;
        let cued = matches!(
            found.family,
            Family::PhoneCued
                | Family::PhoneNational
                | Family::PhoneInternational
                | Family::CardCued
                | Family::Account
                | Family::SsnCued
        );
        if cued {
            let family = if matches!(found.family, Family::PhoneNational | Family::PhoneInternational) {
                Family::PhoneCued
            } else {
                found.family
            };
            self.listed = Some((family, found.range.end));
        }
        if is_bare_json(self.scan, &found.range) {
            self.claims.add_bare(self.scan, rule, found.range.clone());
        } else {
            self.claims.add(self.scan, rule, found.range.clone());
        }
    }
}

/// Whether a word may make digits an id. Words for IP addresses only distinguish these from versions.
fn is_cue(action: Action) -> bool {
    match action {
        Action::Number(family) => !matches!(family, Family::Ipv4 | Family::Swift),
        Action::NumberProse(_) => true,
        _ => false,
    }
}

/// Whether colons, dashes or dots are next to a run, as in network and device addresses.
#[inline]
fn is_joined(number: &Number) -> bool {
    matches!(number.before, b':' | b'-' | b'.') || matches!(number.behind, b':' | b'-' | b'.')
}

/// Whether [`at`] could find anything at a group; not so in dates, times and versions.
fn may_begin(chain: &Chain, index: usize) -> bool {
    let sep = chain.sep(index);
    let dotted = || chain.len(index) <= 3 && chain.sep(index + 1) == b'.' && chain.sep(index + 2) == b'.';
    (sep != b':' && chain.is_free_before(index)) || (sep == b'.' && dotted())
}

/// Finds the id that starts at a site: by shape first, then by its words.
fn at(site: &Site<'_, '_>) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    let (head, sep) = (chain.len(first), chain.group(first).sep);
    let single = first + 1 == chain.count || sep == 0;
    if sep == b'.'
        && head <= 3
        && let Some(found) = net::ipv4(site)
    {
        return Some(found);
    }
    if !chain.is_free_before(first) || sep == b':' {
        return None;
    }
    let few = is_few(site);
    let rut = sep == b'.' && head <= 2 && chain.len(first + 1) == 3;
    let grouped = || if few && !rut { None } else { shapes::grouped(site) };
    let phone = || match few && head != 3 {
        true => None,
        // A word that identifies the value takes precedence over the shape of a phone number
        false if is_told(site) => cued::at_site(site).or_else(|| phone::shaped(site)),
        false => phone::shaped(site),
    };
    let shaped = match head {
        _ if site.scan.before(site.start(), 1) == b'+' => phone::shaped(site),
        4 if !single && !few => card::shaped(site).or_else(grouped).or_else(phone),
        12..=19 => card::shaped(site).or_else(|| shapes::bare(site)),
        2 if !single && site.scan.before(site.start(), 1) == b' ' => {
            letters::spaced_nino(site.scan, site.start()).or_else(grouped).or_else(phone)
        }
        3 if !single => grouped()
            .or_else(|| {
                if few || site.is_bracketed(first) {
                    None
                } else {
                    shapes::health(site).filter(|_| site.speaks_of(Family::MedicalCued))
                }
            })
            .or_else(phone)
            .or_else(|| if few { None } else { shapes::health(site) }),
        6 | 8 if site.scan.byte(site.start() + head) == b'-' || site.scan.byte(site.start() + head) == b'+' => {
            grouped().or_else(|| letters::tailed(site.scan, site.start())).or_else(phone)
        }
        1..=8 if !single => grouped().or_else(phone),
        _ => None,
    };
    shaped.or_else(|| if site.cued { cued::at_site(site) } else { None })
}

/// Whether a word or key right before a site announces an id, and none announces a phone number.
fn is_told(site: &Site<'_, '_>) -> bool {
    const IDS: [Family; 4] = [Family::NationalCued, Family::TaxCued, Family::SsnCued, Family::Passport];
    site.cued && {
        let close = |family: Family| site.cues().grade(family).is_some_and(|grade| grade != cues::Grade::Near);
        !close(Family::PhoneCued) && IDS.iter().any(|family| close(*family))
    }
}

/// Whether too few digits follow for any shape except `555-0123` and `1.234.567-8`; most groups are dates, versions and
/// amounts. Eight digits are enough only behind a bracket or with a leading zero.
fn is_few(site: &Site<'_, '_>) -> bool {
    let eight = || site.scan.before(site.start(), 1) == b'(' || site.part(site.first).starts_with(b"0");
    !(site.chain.reaches(site.first, 9) || site.chain.reaches(site.first, 8) && eight())
}

/// Whether a range is a whole unquoted JSON number: behind `"key":`, or in a list.
fn is_bare_json(scan: &Scan<'_>, range: &Range<usize>) -> bool {
    let digits = scan.bytes(range.clone()).iter().all(u8::is_ascii_digit);
    let blank = |byte: &u8| b" \t\r\n".contains(byte);
    let behind = scan.bytes(range.end..range.end + 16).iter().find(|byte| !blank(byte)).copied();
    if !digits || !matches!(behind, Some(b',' | b'}' | b']')) {
        return false;
    }
    let before = scan.bytes(range.start.saturating_sub(256)..range.start);
    let list = before
        .iter()
        .rev()
        .take_while(|byte| blank(byte) || byte.is_ascii_digit() || b",.-+eE[".contains(byte))
        .count();
    let before = before.get(..before.len() - list).unwrap_or_default();
    matches!(before, [.., a, b'"', b':'] if *a != b'\\')
}
