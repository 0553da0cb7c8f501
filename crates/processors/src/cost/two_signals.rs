//! Calls that arrive on two signals, as a log and a span, and which of the two is billed. Only the log has all details
//! (the lifetime of cache writes), but some clients send spans only, and a span waiting for such a log would never be
//! priced.
//!
//! A span waits for its log if its session has recently sent such logs. Otherwise it is priced at once, or counted as
//! unpriced; a log that arrives later costs the difference, or the full price. Each call is billed once. `genai`
//! says which calls arrive on two signals.

use genai::ItemFacts;
use genai::usage::{PricingFlags, TokenSplit};
use otlp::Payload;
use pipeline::{ClaimKey, ClaimResult};
use rates::RateTable;

use super::config::BillingSignal;
use super::price::{CallPriceInput, price_call};
use super::waiting_calls::UnitKey;
use super::{BatchPass, CostProcessor, CountDecision, two_signal_claim};

/// A session is considered to send logs if one arrived within this time, ns.
const RECENT_LOG_WINDOW: u64 = 600_000_000_000;
/// Maximum number of calls of one size that are distinguished without an id.
const MAX_EQUAL_CALLS: u8 = 64;

/// The key of a client's session. Where records carry no response id (Codex), spans do not carry the session of the
/// logs either, so all clients share one key.
fn session_key(account: &str, item: &ItemFacts) -> UnitKey {
    let session = item.session.as_deref().filter(|_| item.response_id.is_some()).unwrap_or("");
    let dialect = item.dialect.unwrap_or_default();
    ClaimKey::from_parts(&[b"client", account.as_bytes(), dialect.as_bytes(), session.as_bytes()]).to_bytes()
}

/// The keys under which a call's span and log find each other: its response id, or the nth call of its size.
fn pairing_keys(account: &str, item: &ItemFacts) -> Vec<ClaimKey> {
    let Some(key) = two_signal_claim(account, item) else { return Vec::new() };
    if item.response_id.is_some() {
        return vec![key];
    }
    let numbered = |number| ClaimKey::from_parts(&[&key.to_bytes(), &[number]]);
    (0..MAX_EQUAL_CALLS).map(numbered).collect()
}

/// A span that is counted without its log.
#[derive(Clone, Copy)]
pub(super) enum LoneSpan {
    /// The span was priced for these tokens.
    Priced(TokenSplit),
    /// The span has no price; a log that arrives later is billed in full.
    Unpriced,
}

impl LoneSpan {
    /// The tokens that the span is billed for.
    fn billed_tokens(self) -> Option<TokenSplit> {
        match self {
            Self::Priced(units) => Some(units),
            Self::Unpriced => None,
        }
    }
}

impl CostProcessor {
    /// Returns true if the call is billed by its record on the other signal.
    pub(super) fn is_other_signal(&self, payload: &Payload, item: &ItemFacts) -> bool {
        item.on_two_signals && payload.signal() != self.billed_signal
    }

    /// Records that a session's client sends the billing record.
    pub(super) fn record_log_session(&self, pass: &mut BatchPass<'_>, item: &ItemFacts) {
        if item.on_two_signals && !pass.is_repeat && pass.payload.signal() == self.billed_signal {
            pass.changes.add_log_session(session_key(&pass.account, item));
        }
    }

    /// Decides about a span whose client may send spans only and has not recently sent logs for the session. `None`:
    /// the span waits for its log.
    pub(super) fn decide_lone_span(
        &self,
        pass: &BatchPass<'_>,
        table: &RateTable,
        item: &ItemFacts,
    ) -> Option<LoneSpan> {
        if !item.may_lack_other_signal || self.billing_signal != BillingSignal::Auto {
            return None;
        }
        let heard = self.ledger.last_log_time(&session_key(&pass.account, item));
        if heard.is_some_and(|heard| pass.now.0.saturating_sub(heard) <= RECENT_LOG_WINDOW) {
            return None;
        }
        Some(match CallPriceInput::from_item(item, pass.payload.time(item.node)) {
            Ok(call) if price_call(table, &call, self.fees).is_ok() => LoneSpan::Priced(call.split()),
            _ => LoneSpan::Unpriced,
        })
    }

    /// Remembers the tokens that a span was billed for until its log arrives.
    pub(super) fn remember_billed_span(&self, pass: &mut BatchPass<'_>, item: &ItemFacts, span: LoneSpan) {
        let (claims, units) = (&self.ledger.claims, span.billed_tokens());
        for place in pairing_keys(&pass.account, item) {
            let key = ClaimKey::from_parts(&[b"span billed", &place.to_bytes()]);
            if claims.claim(key, &pass.batch, pass.now) == ClaimResult::First {
                pass.changes.add_claim(key);
                // Stored before the commit, because span and log arrive within milliseconds of each other. If the batch
                // is not committed it loses the claim.
                self.ledger.put_billed_span(key.to_bytes(), units);
                pass.changes.add_billed_span(key.to_bytes(), units);
                return;
            }
        }
    }

    /// The tokens that the span of a log's call was billed for, if it was. The log is charged the difference or
    /// nothing; if the span was unpriced, the log is charged in full.
    pub(super) fn find_billed_span(&self, pass: &mut BatchPass<'_>, item: &ItemFacts) -> Option<CountDecision> {
        if !item.on_two_signals || pass.payload.signal() != self.billed_signal {
            return None;
        }
        let claims = &self.ledger.claims;
        for place in pairing_keys(&pass.account, item) {
            let key = ClaimKey::from_parts(&[b"span billed", &place.to_bytes()]);
            // Places are taken in order: after the first free one there are only free ones.
            claims.holder(key)?;
            let before = self.ledger.billed_span(&key.to_bytes())?;
            let taken = ClaimKey::from_parts(&[b"log of", &place.to_bytes()]);
            let count = match claims.claim(taken, &pass.batch, pass.now) {
                ClaimResult::First => true,
                // Another pipeline branch already processed this batch.
                ClaimResult::ClaimedBy(holder) if holder == pass.batch && !pass.span_priced_logs.contains(&taken) => {
                    false
                }
                ClaimResult::ClaimedBy(_) => continue,
            };
            if count {
                pass.changes.add_claim(taken);
            }
            pass.span_priced_logs.insert(taken);
            return Some(match before {
                Some(before) => CountDecision::PriceDifference { count, before, flag: PricingFlags::AFTER_SPAN },
                None => CountDecision::AfterUnpriced { count },
            });
        }
        None
    }
}
