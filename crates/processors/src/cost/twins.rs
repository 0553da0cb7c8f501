//! **What**: calls that come on two signals, a log and a span: which of them is billed. **Why**: only the log tells
//! everything (how long cache writes are kept), but a client may send spans alone, and a span that waits for it has no
//! price for ever. **Invariants**: a span waits for its log where its session sends such logs; otherwise it is priced
//! at once, or unpriced, and a log that comes after all costs the difference, or everything; each call once. **Not
//! here**: which records are twins (`genai`).

use genai::ItemFacts;
use genai::usage::{Flags, Split};
use otlp::Payload;
use pipeline::{Claim, ClaimKey};
use rates::Table;

use super::config::BillOn;
use super::late::Place;
use super::price::{Call, price};
use super::{Cost, Counted, Pass, twin_claim};

/// A session sends logs if one came so short a time ago, ns.
const RECENT: u64 = 600_000_000_000;
/// Calls of one size that are told apart without an id.
const ALIKE: u8 = 64;

/// A client's session; where records tell no id (Codex), its spans do not tell the session of its logs either: all
/// clients.
fn client(account: &str, item: &ItemFacts) -> Place {
    let session = item.session.as_deref().filter(|_| item.response_id.is_some()).unwrap_or("");
    let dialect = item.dialect.unwrap_or_default();
    ClaimKey::of(&[b"client", account.as_bytes(), dialect.as_bytes(), session.as_bytes()]).to_bytes()
}

/// Where a call's span and log find each other: its id, else the nth of its size.
fn places(account: &str, item: &ItemFacts) -> Vec<ClaimKey> {
    let Some(key) = twin_claim(account, item) else { return Vec::new() };
    if item.response_id.is_some() {
        return vec![key];
    }
    let numbered = |number| ClaimKey::of(&[&key.to_bytes(), &[number]]);
    (0..ALIKE).map(numbered).collect()
}

/// A span that has to do without its log.
#[derive(Clone, Copy)]
pub(super) enum LoneSpan {
    /// It has a price for these tokens.
    Priced(Split),
    /// It has none: a log that comes later is billed in full.
    Unpriced,
}

impl LoneSpan {
    /// The tokens that it is billed for.
    fn billed(self) -> Option<Split> {
        match self {
            Self::Priced(units) => Some(units),
            Self::Unpriced => None,
        }
    }
}

impl Cost {
    /// Whether the other record of this call bills it.
    pub(super) fn is_other_signal(&self, payload: &Payload, item: &ItemFacts) -> bool {
        item.twin && payload.signal() != self.billed
    }

    /// Notes that a session's client sends the records that bill.
    pub(super) fn hear(&self, pass: &mut Pass<'_>, item: &ItemFacts) {
        if item.twin && !pass.repeat && pass.payload.signal() == self.billed {
            pass.changes.heard(client(&pass.account, item));
        }
    }

    /// Judges a span whose client may send spans alone and sent no log of its session lately. `None`: it waits for its
    /// log.
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

    /// Remembers what a span was billed for, until its log comes.
    pub(super) fn keep_billed_span(&self, pass: &mut Pass<'_>, item: &ItemFacts, span: LoneSpan) {
        let (claims, units) = (&self.ledger.claims, span.billed());
        for place in places(&pass.account, item) {
            let key = ClaimKey::of(&[b"span billed", &place.to_bytes()]);
            if claims.claim(key, &pass.batch, pass.now) == Claim::First {
                pass.changes.claim(key);
                // at once: span and log come within milliseconds; a batch that is not committed loses the claim
                self.ledger.put_billed_span(key.to_bytes(), units);
                pass.changes.billed_span(key.to_bytes(), units);
                return;
            }
        }
    }

    /// What the span of a log's call was billed for, if it was: the log costs the difference, or nothing. Where the
    /// span had no price, the log costs everything.
    pub(super) fn billed_span(&self, pass: &mut Pass<'_>, item: &ItemFacts) -> Option<Counted> {
        if !item.twin || pass.payload.signal() != self.billed {
            return None;
        }
        let claims = &self.ledger.claims;
        for place in places(&pass.account, item) {
            let key = ClaimKey::of(&[b"span billed", &place.to_bytes()]);
            // the first place that no span took is followed by free ones only
            claims.holder(key)?;
            let before = self.ledger.billed_span(&key.to_bytes())?;
            let taken = ClaimKey::of(&[b"log of", &place.to_bytes()]);
            let count = match claims.claim(taken, &pass.batch, pass.now) {
                Claim::First => true,
                // another branch of the pipelines saw this very batch
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
