//! Calls that arrive on two signals, as a log and a span, and which of the two is billed. Only the log has all details
//! (the lifetime of cache writes), but some clients send spans only, and a span waiting for such a log would never be
//! priced.
//!
//! A span waits for its log if its session has recently sent such logs, or if the configuration names the signal that
//! bills. Otherwise it is priced at once, or counted as unpriced; a log that arrives later costs the difference, or the
//! full price. Each call is billed once. `genai` says which calls arrive on two signals.

use genai::ItemFacts;
use genai::usage::{PricingFlags, TokenSplit};
use otlp::Payload;
use pipeline::{ClaimKey, ClaimResult};
use rates::RateTable;

use super::config::BillingSignal;
use super::price::{CallPriceInput, price_call};
use super::waiting_calls::LedgerKey;
use super::{BatchPass, CostProcessor, CountDecision, CountedBy, two_signal_claim};

/// A session is considered to send logs if one arrived within this time, ns.
const RECENT_LOG_WINDOW: u64 = 600_000_000_000;
/// Maximum number of calls of one size that are distinguished without an id.
const MAX_EQUAL_CALLS: u8 = 64;

/// The key of a client's session. Where records carry no response id (Codex), spans do not carry the session of the
/// logs either, so all clients share one key.
fn session_key(account: &str, item: &ItemFacts) -> LedgerKey {
    let session = item.session.as_deref().filter(|_| item.response_id.is_some()).unwrap_or("");
    let dialect = item.dialect.unwrap_or_default();
    ClaimKey::from_parts(&[b"client", account.as_bytes(), dialect.as_bytes(), session.as_bytes()]).to_bytes()
}

/// The keys under which a call's span and log find each other: its response id, else its size and a number.
fn pairing_keys(account: &str, item: &ItemFacts) -> Vec<ClaimKey> {
    let Some(key) = two_signal_claim(account, item) else { return Vec::new() };
    if item.response_id.is_some() {
        return vec![key];
    }
    (0..MAX_EQUAL_CALLS).map(|number| ClaimKey::from_parts(&[&key.to_bytes(), &[number]])).collect()
}

impl CostProcessor {
    /// Returns true if the call is billed by its record on the other signal.
    pub(super) fn is_other_signal(&self, payload: &Payload, item: &ItemFacts) -> bool {
        item.on_two_signals && payload.signal() != self.billed_signal
    }

    /// Records that a session's client sends the billing record.
    pub(super) fn record_log_session(&self, pass: &mut BatchPass<'_>, item: &ItemFacts) {
        if item.on_two_signals && !pass.is_repeat && pass.payload.signal() == self.billed_signal {
            pass.changes.log_sessions.insert(session_key(&pass.account, item));
        }
    }

    /// Decides about a span whose client may send spans only and has not recently sent logs for the session: the tokens
    /// that it is billed for, or `Some(None)` if it has no price, so that a log that arrives later is billed in full.
    /// `None`: the span waits for its log.
    pub(super) fn decide_lone_span(
        &self,
        pass: &BatchPass<'_>,
        table: &RateTable,
        item: &ItemFacts,
    ) -> Option<Option<TokenSplit>> {
        if !item.may_lack_other_signal || self.config.bill.claude_code != BillingSignal::Auto {
            return None;
        }
        let last_log = self.ledger.last_log_time(&session_key(&pass.account, item));
        if last_log.is_some_and(|time| pass.now.0.saturating_sub(time) <= RECENT_LOG_WINDOW) {
            return None;
        }
        let call = CallPriceInput::from_item(item, pass.payload.time(item.node)).ok();
        Some(call.filter(|call| price_call(table, call, self.config.fees).is_ok()).map(|call| call.split))
    }

    /// Remembers the tokens that a span was billed for (`None`: it has no price) until its log arrives.
    pub(super) fn remember_billed_span(&self, pass: &mut BatchPass<'_>, item: &ItemFacts, tokens: Option<TokenSplit>) {
        let claims = &self.ledger.claims;
        for pairing_key in pairing_keys(&pass.account, item) {
            let key = ClaimKey::from_parts(&[b"span billed", &pairing_key.to_bytes()]);
            if claims.claim(key, &pass.batch, pass.now) == ClaimResult::First {
                pass.changes.add_claim(key);
                // Stored before the commit, because span and log arrive within milliseconds of each other. If the batch
                // is not committed, the claim is released, and without it the tokens are not looked up.
                self.ledger.put_billed_span(&*pass.account, key.to_bytes(), tokens);
                pass.changes.billed_spans.push((key.to_bytes(), tokens));
                return;
            }
        }
    }

    /// Decides about a log whose span was counted before: the log is charged the difference or nothing, or in full if
    /// the span was unpriced. `None`: no span was counted.
    pub(super) fn decide_log_after_span(&self, pass: &mut BatchPass<'_>, item: &ItemFacts) -> Option<CountDecision> {
        if !item.on_two_signals || pass.payload.signal() != self.billed_signal {
            return None;
        }
        let claims = &self.ledger.claims;
        for pairing_key in pairing_keys(&pass.account, item) {
            let key = ClaimKey::from_parts(&[b"span billed", &pairing_key.to_bytes()]);
            // Pairing keys are claimed in order, so those after the first free one are free too.
            claims.holder(key)?;
            let span_tokens = self.ledger.billed_span(&key.to_bytes())?;
            let log_claim = ClaimKey::from_parts(&[b"log of", &pairing_key.to_bytes()]);
            let by = match claims.claim(log_claim, &pass.batch, pass.now) {
                ClaimResult::First => {
                    pass.changes.add_claim(log_claim);
                    CountedBy::ThisRecord
                }
                ClaimResult::ClaimedBy(holder)
                    if holder == pass.batch && !pass.span_priced_logs.contains(&log_claim) =>
                {
                    self.own_counting(pass, log_claim)
                }
                ClaimResult::ClaimedBy(_) => continue,
            };
            pass.span_priced_logs.insert(log_claim);
            return Some(match span_tokens {
                Some(billed) => CountDecision::PriceDifference { by, billed, flag: PricingFlags::AFTER_SPAN },
                None => CountDecision::AfterUnpriced { by },
            });
        }
        None
    }
}
