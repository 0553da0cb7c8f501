//! Calls that arrive on two signals, as a log and a span, and which of the two is billed. Only the log has all details
//! (the lifetime of cache writes), but some clients send spans only, and a span waiting for such a log would never be
//! priced.
//!
//! A span waits for its log if its session has recently sent such logs. Otherwise it is priced at once, or counted as
//! unpriced; a log that arrives later costs the difference, or the full price. Each call is billed once. `genai`
//! decides which records are twins.

use genai::ItemFacts;
use genai::usage::{Flags, Split};
use otlp::Payload;
use pipeline::{Claim, ClaimKey};
use rates::Table;

use super::config::BillOn;
use super::late::Place;
use super::price::{Call, price};
use super::{Cost, Counted, Pass, twin_claim};

/// A session is considered to send logs if one arrived within this time, ns.
const RECENT: u64 = 600_000_000_000;
/// Maximum number of calls of one size that are distinguished without an id.
const ALIKE: u8 = 64;

/// The key of a client's session. Where records carry no response id (Codex), spans do not carry the session of the
/// logs either, so all clients share one key.
fn client(account: &str, item: &ItemFacts) -> Place {
    let session = item.session.as_deref().filter(|_| item.response_id.is_some()).unwrap_or("");
    let dialect = item.dialect.unwrap_or_default();
    ClaimKey::of(&[b"client", account.as_bytes(), dialect.as_bytes(), session.as_bytes()]).to_bytes()
}

/// The keys under which a call's span and log find each other: its response id, or the nth call of its size.
fn places(account: &str, item: &ItemFacts) -> Vec<ClaimKey> {
    let Some(key) = twin_claim(account, item) else { return Vec::new() };
    if item.response_id.is_some() {
        return vec![key];
    }
    let numbered = |number| ClaimKey::of(&[&key.to_bytes(), &[number]]);
    (0..ALIKE).map(numbered).collect()
}

/// A span that is counted without its log.
#[derive(Clone, Copy)]
pub(super) enum LoneSpan {
    /// The span was priced for these tokens.
    Priced(Split),
    /// The span has no price; a log that arrives later is billed in full.
    Unpriced,
}

impl LoneSpan {
    /// The tokens that the span is billed for.
    fn billed(self) -> Option<Split> {
        match self {
            Self::Priced(units) => Some(units),
            Self::Unpriced => None,
        }
    }
}

impl Cost {
    /// Returns true if the call is billed by its record on the other signal.
    pub(super) fn is_other_signal(&self, payload: &Payload, item: &ItemFacts) -> bool {
        item.twin && payload.signal() != self.billed
    }

    /// Records that a session's client sends the billing record.
    pub(super) fn hear(&self, pass: &mut Pass<'_>, item: &ItemFacts) {
        if item.twin && !pass.repeat && pass.payload.signal() == self.billed {
            pass.changes.heard(client(&pass.account, item));
        }
    }

    /// Decides about a span whose client may send spans only and has not recently sent logs for the session. `None`:
    /// the span waits for its log.
    pub(super) fn lone_span(&self, pass: &Pass<'_>, table: &Table, item: &ItemFacts) -> Option<LoneSpan> {
        if !item.may_be_alone || self.bill != BillOn::Auto {
            return None;
        }
        let heard = self.ledger.heard(&client(&pass.account, item));
        if heard.is_some_and(|heard| pass.now.0.saturating_sub(heard) <= RECENT) {
            return None;
        }
        Some(match Call::of(item, pass.payload.time(item.node)) {
            Ok(call) if price(table, &call, self.fees).is_ok() => LoneSpan::Priced(call.split()),
            _ => LoneSpan::Unpriced,
        })
    }

    /// Remembers the tokens that a span was billed for until its log arrives.
    pub(super) fn keep_billed_span(&self, pass: &mut Pass<'_>, item: &ItemFacts, span: LoneSpan) {
        let (claims, units) = (&self.ledger.claims, span.billed());
        for place in places(&pass.account, item) {
            let key = ClaimKey::of(&[b"span billed", &place.to_bytes()]);
            if claims.claim(key, &pass.batch, pass.now) == Claim::First {
                pass.changes.claim(key);
                // Stored before the commit, because span and log arrive within milliseconds of each other. If the batch
                // is not committed it loses the claim.
                self.ledger.put_billed_span(key.to_bytes(), units);
                pass.changes.billed_span(key.to_bytes(), units);
                return;
            }
        }
    }

    /// The tokens that the span of a log's call was billed for, if it was. The log is charged the difference or
    /// nothing; if the span was unpriced, the log is charged in full.
    pub(super) fn billed_span(&self, pass: &mut Pass<'_>, item: &ItemFacts) -> Option<Counted> {
        if !item.twin || pass.payload.signal() != self.billed {
            return None;
        }
        let claims = &self.ledger.claims;
        for place in places(&pass.account, item) {
            let key = ClaimKey::of(&[b"span billed", &place.to_bytes()]);
            // Places are taken in order: after the first free one there are only free ones.
            claims.holder(key)?;
            let before = self.ledger.billed_span(&key.to_bytes())?;
            let taken = ClaimKey::of(&[b"log of", &place.to_bytes()]);
            let count = match claims.claim(taken, &pass.batch, pass.now) {
                Claim::First => true,
                // Another pipeline branch already processed this batch.
                Claim::Held(holder) if holder == pass.batch && !pass.taken.contains(&taken) => false,
                Claim::Held(_) => continue,
            };
            if count {
                pass.changes.claim(taken);
            }
            pass.taken.insert(taken);
            return Some(match before {
                Some(before) => Counted::Rest { count, before, flag: Flags::AFTER_SPAN },
                None => Counted::AfterUnpriced { count },
            });
        }
        None
    }
}
