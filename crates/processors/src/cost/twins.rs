//! **What**: calls that come on two signals, a log and a span: which of them is billed. **Why**: only the log tells everything
//! (how long cache writes are kept), but a client may send spans alone, and a span that waits for it has no price for ever.
//! **Invariants**: a span waits for its log where its session sends such logs; otherwise it is priced at once, and a log that
//! comes after all costs the difference; each call once. **Not here**: which records are twins (`genai`).

use serde::{Deserialize, Serialize};

use genai::ItemFacts;
use otlp::Payload;
use pipeline::{Claim, ClaimKey};
use rates::{Table, Usd};

use super::config::BillOn;
use super::late::Place;
use super::price::Parts;
use super::{Before, Cost, Counted, Pass, twin_claim};

/// A session sends logs if one came so short a time ago, ns.
const RECENT: u64 = 600_000_000_000;
/// Calls of one size that are told apart without an id.
const ALIKE: u8 = 64;

/// What a call cost by its span, until its log comes: 1e-18 USD as text, as JSON holds no such numbers.
#[derive(Clone, Copy, Default)]
pub(super) struct SpanPrice(pub(super) Parts);

impl Serialize for SpanPrice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Parts { input, output, cache_read, cache_write, fees } = self.0;
        [input, output, cache_read, cache_write, fees].map(|usd| usd.0.to_string()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SpanPrice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = <[String; 5]>::deserialize(deserializer)?;
        let [input, output, cache_read, cache_write, fees] = texts.map(|text| Usd(text.parse().unwrap_or(0)));
        Ok(Self(Parts { input, output, cache_read, cache_write, fees }))
    }
}

/// A client's session; where records tell no id (Codex), its spans do not tell the session of its logs either: all clients.
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

    /// What a span costs that has to do without its log: its client may send spans alone, and no log of its session came
    /// lately. One without a price may get it from its log.
    pub(super) fn alone(&self, pass: &Pass<'_>, table: &Table, item: &ItemFacts) -> Option<Parts> {
        if !item.may_be_alone || self.bill != BillOn::Auto {
            return None;
        }
        let heard = self.ledger.heard(&client(&pass.account, item));
        if heard.is_some_and(|heard| pass.now.0.saturating_sub(heard) <= RECENT) {
            return None;
        }
        Some(self.priced_at(table, item, pass.payload.time(item.node))?.parts)
    }

    /// Remembers what a span was billed with, for its log.
    pub(super) fn keep_span_price(&self, pass: &mut Pass<'_>, item: &ItemFacts, parts: Parts) {
        let claims = &self.ledger.claims;
        for place in places(&pass.account, item) {
            let key = ClaimKey::of(&[b"span priced", &place.to_bytes()]);
            if claims.claim(key, &pass.batch, pass.now) == Claim::First {
                pass.changes.claim(key);
                // at once: span and log come within milliseconds; a batch that is not committed loses the claim
                self.ledger.put_span_price(key.to_bytes(), SpanPrice(parts));
                pass.changes.span_price(key.to_bytes(), SpanPrice(parts));
                return;
            }
        }
    }

    /// What the span of a log's call was billed with, if it was: the log costs the difference, or nothing.
    pub(super) fn span_price(&self, pass: &mut Pass<'_>, item: &ItemFacts) -> Option<Counted> {
        if !item.twin || pass.payload.signal() != self.billed {
            return None;
        }
        let claims = &self.ledger.claims;
        for place in places(&pass.account, item) {
            let key = ClaimKey::of(&[b"span priced", &place.to_bytes()]);
            // the first place that no span took is followed by free ones only
            claims.holder(key)?;
            let SpanPrice(before) = self.ledger.span_price(&key.to_bytes())?;
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
            return Some(Counted::Rest { count, before: Before::Span(before) });
        }
        None
    }
}
