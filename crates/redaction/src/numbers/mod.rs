//! Finds private data made of digits: phone numbers, cards, accounts, national, tax and medical ids, dates of birth,
//! network and device addresses, vehicles. Separate patterns would each read every number again; here each run with
//! digits is read once.
//!
//! A run starts a chain of digit groups, each chain is read once, and at each of its groups a few look-ups by length
//! reject most. The text read around a group is bounded, and nothing is allocated. Checksums are in `validate`, words
//! and examples in `pii.yaml`, e-mail addresses in `email`.

use std::ops::Range;

use super::action::WordAction;
use super::anchors::{self, DigitRun};
use super::rule::{CueDistance, RuleFamily};
use super::scan::TextScan;
use super::validate::bank;

mod accounts;
mod announced;
mod card;
mod digit_chain;
mod net;
mod number_cues;
mod number_site;
mod phone;
mod written_ids;

use digit_chain::DigitChain;
use number_site::{MAX_LIST_GAP, NumberFinding, NumberSite};

/// Most bytes before a value in which its cue may begin.
const MAX_CUE_DISTANCE: usize = 96;

/// Claims everything that is recognised by its digits.
pub(super) fn claim_numbers(scan: &TextScan<'_>) {
    let mut search = NumberSearch {
        scan,
        has_cues: scan.anchors.words_by_use.number_words.iter().any(|word| is_cue(word.action)),
        has_foreign_words: scan.anchors.byte_kinds.high != 0 && !scan.detector.foreign_words.is_empty(),
        next_word: 0,
        decided_end: 0,
        last_claim: None,
    };
    search.claim_from_words();
    for run in &scan.anchors.digit_runs {
        if run.start >= search.decided_end && !search.can_be_skipped(run) {
            search.search_run(run);
        }
    }
}

/// State of the search.
struct NumberSearch<'a, 't> {
    scan: &'a TextScan<'t>,
    /// Whether the text has any cue.
    has_cues: bool,
    /// Whether words of other scripts may announce a number.
    has_foreign_words: bool,
    /// Index of the first word after the start of the last run.
    next_word: usize,
    /// End of the text that was already decided.
    decided_end: usize,
    /// Kind and end of the last finding.
    last_claim: Option<(RuleFamily, usize)>,
}

impl NumberSearch<'_, '_> {
    /// Whether a run can't be anything, by its length and the bytes next to it, in a text without cues. Excludes most
    /// numbers in logs.
    #[inline]
    fn can_be_skipped(&self, run: &DigitRun) -> bool {
        if self.has_cues || self.has_foreign_words || run.len() > 8 || is_next_to_joint(run) {
            return false;
        }
        match usize::from(run.digits) == run.len() {
            true => run.len() < 8 && !(matches!(run.after, b' ' | b'/' | b'(' | b')') && self.has_digit_after(run.end)),
            // All short ids with letters begin with two letters
            false => run.digits > 0 || run.len() < 4,
        }
    }

    /// Handles one run of letters and digits, and the groups chained to it.
    fn search_run(&mut self, digit_run: &DigitRun) {
        let (scan, run) = (self.scan, &digit_run.range());
        if run.len() <= 4 && may_be_address(digit_run) {
            let (found, end) = net::match_address_around(scan, run);
            if let Some(found) = found {
                self.decided_end = found.range.end.max(end);
                self.claim(&found);
                return;
            }
            // Fingerprints and dumps are skipped, so that they are not read again at each pair
            if end > run.start + 24 {
                self.decided_end = end;
                return;
            }
        }
        let before = digit_run.before;
        let second_before = || scan.byte_before(run.start, 2);
        if usize::from(digit_run.digits) < run.len() || before == b'-' && second_before().is_ascii_alphabetic() {
            return self.search_mixed_run(digit_run);
        }
        // The rest of a time, version or name
        let is_tied = before == b'_' || (matches!(before, b'.' | b':') && second_before().is_ascii_digit());
        if is_tied && !(before == b':' && digit_run.after == b'.') {
            self.decided_end = run.end;
            return;
        }
        let is_single =
            !matches!(digit_run.after, b' ' | b'.' | b'-' | b'/' | b'(' | b')') || !self.has_digit_after(run.end);
        let has_cue = self.has_cue_near(run);
        if is_single && run.len() < 8 && !has_cue {
            self.decided_end = run.end;
            return;
        }
        if !has_cue && is_iso_date(digit_run, scan.bytes(run.start..run.start + 11)) {
            self.decided_end = run.start + 10;
            return;
        }
        let chain = DigitChain::read(scan.text.as_bytes(), run.start);
        self.decided_end = chain.end.max(run.start + 1);
        // Dates, times and amounts have too few digits to be recognised without a word
        let may_be_nino = chain.len(0) == 2 && before == b' ';
        let has_few_digits = chain.count < 4 && !may_be_nino && !chain.has_digits(0, 7);
        if has_cue || !has_few_digits {
            self.search_chain(&chain, has_cue);
        }
    }

    /// Whether a digit follows the separator at `end` within two bytes, or a bracket within three.
    fn has_digit_after(&self, end: usize) -> bool {
        self.scan.bytes(end + 1..end + 3).iter().any(u8::is_ascii_digit)
            || self.scan.bytes(end..end + 3).contains(&b'(')
    }

    /// Handles a run that has letters, in it or before its dash.
    fn search_mixed_run(&mut self, digit_run: &DigitRun) {
        let (scan, run) = (self.scan, &digit_run.range());
        self.decided_end = run.end;
        let has_cue = self.has_cue_near(run);
        let is_mixed = usize::from(digit_run.digits) < run.len();
        let by_form = || {
            let found = accounts::match_iban(scan, run, has_cue).or_else(|| accounts::match_wallet(scan, run));
            found.or_else(|| written_ids::match_run(scan, run))
        };
        let by_word = || if has_cue { announced::match_announced_run(scan, run) } else { None };
        // A card number may follow letters and a dash, or the first letter of a magnetic stripe: `%B4111111111111111^`
        let card = || match (is_mixed, digit_run.after) {
            (true, b'^') => {
                let digits = run.start + 1..run.end;
                let is_card = bank::has_card_number(scan.bytes(digits.clone()));
                is_card.then_some(NumberFinding { family: RuleFamily::Card, range: digits })
            }
            (false, b'-') => {
                let chain = DigitChain::read(scan.text.as_bytes(), run.start);
                card::match_card(&NumberSite::new(scan, &chain, 0, false))
            }
            _ => None,
        };
        let found = if is_mixed && run.len() >= 4 { by_form() } else { None };
        if let Some(found) = found.or_else(card).or_else(by_word) {
            self.decided_end = found.range.end.max(run.end);
            self.claim(&found);
        }
    }

    /// Tries every group of a chain at which a number may start; none starts within dates, times and versions.
    fn search_chain(&mut self, chain: &DigitChain, has_cue: bool) {
        let mut end = 0;
        for index in 0..chain.count {
            let (at, sep) = (chain.at(index), chain.sep(index));
            let may_be_ipv4 = || chain.len(index) <= 3 && chain.sep(index + 1) == b'.' && chain.sep(index + 2) == b'.';
            let may_begin = sep != b':' && chain.is_free_before(index) || sep == b'.' && may_be_ipv4();
            if at < end || !may_begin {
                continue;
            }
            let mut site = NumberSite::new(self.scan, chain, index, has_cue);
            site.last_claim = self.last_claim;
            if let Some(found) = match_at(&site).filter(|found| !number_site::is_in_hex_dump(self.scan, &found.range)) {
                self.claim(&found);
                end = found.range.end;
                self.decided_end = self.decided_end.max(end);
            }
        }
    }

    fn has_cue_near(&mut self, run: &Range<usize>) -> bool {
        if self.has_foreign_words && number_cues::foreign_cue_before(self.scan, run.start).is_some() {
            return true;
        }
        if !self.has_cues {
            return false;
        }
        let words = &self.scan.anchors.words_by_use.number_words;
        while words.get(self.next_word).is_some_and(|word| word.start < run.start) {
            self.next_word += 1;
        }
        let (before, after) = words.split_at_checked(self.next_word).unwrap_or_default();
        let before = before.iter().rev().take_while(|word| word.start + MAX_CUE_DISTANCE >= run.start);
        let after = after.iter().take_while(|word| word.start <= run.end + MAX_CUE_DISTANCE / 2);
        before.chain(after).any(|word| is_cue(word.action))
            || self.last_claim.is_some_and(|(_, end)| run.start <= end + MAX_LIST_GAP)
    }

    /// Claims values that are read from their word on: BICs, which have no digits, and plates, which have blanks.
    fn claim_from_words(&mut self) {
        for word in &self.scan.anchors.words_by_use.number_words {
            if let WordAction::Number(family @ (RuleFamily::Swift | RuleFamily::VehicleCued)) = word.action
                && let Some(range) = announced::value_after(self.scan, family, word.end)
            {
                self.scan.claim_for(family, range);
            }
        }
    }

    /// Claims a finding; a bare JSON number gets quotes.
    fn claim(&mut self, found: &NumberFinding) {
        use RuleFamily::{PhoneCued, PhoneInternational, PhoneNational};
        let Some(rule) = self.scan.rule(found.family) else { return };
        let end = match found.family {
            RuleFamily::Card => track_end(self.scan, found.range.end),
            PhoneNational | PhoneInternational | PhoneCued => number_site::extension_end(self.scan, found.range.end),
            _ => found.range.end,
        };
        let range = found.range.start..end;
        let kind = if matches!(found.family, PhoneNational | PhoneInternational) { PhoneCued } else { found.family };
        self.last_claim = Some((kind, range.end));
        if is_bare_json(self.scan, &range) {
            self.scan.claim_bare(rule, range);
        } else {
            self.scan.claim(rule, range);
        }
    }
}

/// End of the rest of a magnetic stripe after its card number: `^DOE/JANE^2512…?`, `=25121010000012300000`.
fn track_end(scan: &TextScan<'_>, end: usize) -> usize {
    let rest = scan.bytes(end..end + 72);
    let is_track = rest.first() == Some(&b'^')
        || rest.first() == Some(&b'=') && rest.iter().skip(1).take(7).all(u8::is_ascii_digit);
    let in_track = |byte: &u8| byte.is_ascii_alphanumeric() || b"^=/ .".contains(byte);
    if is_track && rest.len() > 8 { anchors::run_end(scan.text.as_bytes(), end, in_track).min(end + 72) } else { end }
}

/// Whether a word may make digits an id. Words for IP addresses only distinguish these from versions.
fn is_cue(action: WordAction) -> bool {
    match action {
        WordAction::Number(family) => !matches!(family, RuleFamily::Ipv4 | RuleFamily::Swift),
        WordAction::NumberProse(_) => true,
        _ => false,
    }
}

/// Whether colons, dashes or dots are next to a run, as in network and device addresses.
#[inline]
fn is_next_to_joint(number: &DigitRun) -> bool {
    matches!(number.before, b':' | b'-' | b'.') || matches!(number.after, b':' | b'-' | b'.')
}

/// Whether a short run may be part of an IPv6 or hardware address, by the bytes next to it.
fn may_be_address(run: &DigitRun) -> bool {
    let has = |joint: u8| run.before == joint || run.after == joint;
    has(b':') || run.len() == 2 && has(b'-') || run.len() == 4 && has(b'.')
}

/// Whether a run begins `2026-11-05`, as most lines of logs do.
fn is_iso_date(run: &DigitRun, text: &[u8]) -> bool {
    let [_, _, _, _, b'-', month, of_month, b'-', day, of_day, next @ ..] = text else { return false };
    run.digits == 4
        && [month, of_month, day, of_day].into_iter().all(u8::is_ascii_digit)
        && !next.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-')
}

/// Finds the number that starts at a site: by its form first, then by its words.
fn match_at(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let (first_len, sep, before) = (chain.len(first), chain.sep(first), site.scan.byte_before(site.start(), 1));
    let is_single = first + 1 == chain.count || sep == 0;
    if sep == b'.'
        && first_len <= 3
        && let Some(found) = net::match_ipv4(site)
    {
        return Some(found);
    }
    if !chain.is_free_before(first) || sep == b':' {
        return None;
    }
    let announced = || if site.has_cues { announced::match_announced(site) } else { None };
    if before == b'+' {
        return phone::match_phone(site).or_else(announced);
    }
    // A word that identifies the value takes precedence over the shape of a phone number
    let by_phone = || match is_single || first_len > 8 {
        true => None,
        false if is_announced_id(site) => announced().or_else(|| phone::match_phone(site)),
        false => phone::match_phone(site),
    };
    let card = if matches!(first_len, 4 | 12..=19) { card::match_card(site) } else { None };
    let written = || written_ids::match_run(site.scan, &chain.range(first, first));
    match card.or_else(written) {
        Some(found) if found.family == RuleFamily::PhoneNational && is_announced_id(site) => {
            announced().or(Some(found))
        }
        found => found.or_else(by_phone).or_else(announced),
    }
}

/// Whether a word or key right before a site announces an id, and none announces a phone number.
fn is_announced_id(site: &NumberSite<'_, '_>) -> bool {
    use RuleFamily::{MedicalCued, NationalCued, Passport, SsnCued, TaxCued};
    const ID_FAMILIES: [RuleFamily; 5] = [NationalCued, TaxCued, SsnCued, Passport, MedicalCued];
    site.has_cues && {
        let is_close = |family: RuleFamily| site.cues().distance(family).is_some_and(|it| it != CueDistance::Near);
        !is_close(RuleFamily::PhoneCued) && ID_FAMILIES.iter().any(|family| is_close(*family))
    }
}

/// Whether a range is a whole unquoted JSON number: after `"key":`, or in a list of numbers after it.
fn is_bare_json(scan: &TextScan<'_>, range: &Range<usize>) -> bool {
    let has_only_digits = scan.bytes(range.clone()).iter().all(u8::is_ascii_digit);
    let is_blank = |byte: &u8| b" \t\r\n".contains(byte);
    let next = scan.bytes(range.end..range.end + 16).iter().find(|byte| !is_blank(byte)).copied();
    if !has_only_digits || !matches!(next, Some(b',' | b'}' | b']')) {
        return false;
    }
    let before = scan.bytes(range.start.saturating_sub(256)..range.start);
    let list_len = before
        .iter()
        .rev()
        .take_while(|byte| is_blank(byte) || byte.is_ascii_digit() || b",.-+eE[".contains(byte))
        .count();
    let before = before.get(..before.len() - list_len).unwrap_or_default();
    matches!(before, [.., a, b'"', b':'] if *a != b'\\')
}
