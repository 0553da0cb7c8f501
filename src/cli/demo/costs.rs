//! [`SessionCosts`]: compares tollgate's price of each model call with the client's own figure. Amounts are decimals. A
//! call is priced once: on one item that went out, or on a span with the remainder on its log. The two figures may
//! differ by at most [`TOLERANCE`]. Prices are computed in `processors/cost`.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::captured::{CapturedItem, CapturedTelemetry};

/// 1e-9 USD, because the client's figure is a double.
const TOLERANCE: Decimal = Decimal::from_parts(1, 0, 0, false, 9);

/// One model call.
pub(super) struct BilledCall {
    /// The provider's request id.
    pub(super) request: String,
    /// Name of the model.
    pub(super) model: String,
    /// Tokens: input, read from cache, written to cache, output.
    pub(super) tokens: [String; 4],
    /// The client's price in USD.
    pub(super) client_usd: Decimal,
    /// tollgate's price in USD on each item that went out priced: one, or a span and the remainder on its log.
    pub(super) tollgate_usd: Vec<Decimal>,
}

/// All calls of a session.
pub(super) struct SessionCosts {
    /// The calls in order.
    pub(super) calls: Vec<BilledCall>,
    /// Version and digest of the rate table, as written on the items.
    pub(super) rates: Option<String>,
}

impl SessionCosts {
    /// Compares what went out with what came in.
    pub(super) fn compare(incoming: &CapturedTelemetry, outgoing: &CapturedTelemetry) -> Self {
        let mut priced: BTreeMap<String, Vec<Decimal>> = BTreeMap::new();
        let mut rates = None;
        for item in outgoing.items().filter(|item| item.text("tollgate.cost.status").as_deref() == Some("priced")) {
            rates = rates.or_else(|| item.text("tollgate.cost.rates"));
            let usd = item.text("tollgate.cost.usd").and_then(|usd| usd.parse::<Decimal>().ok());
            priced.entry(request_id(item).unwrap_or_default()).or_default().extend(usd);
        }
        let calls = incoming.items().filter(|item| item.name() == "api_request").filter_map(|item| {
            let tokens = ["input_tokens", "cache_read_tokens", "cache_creation_tokens", "output_tokens"];
            let request = request_id(item)?;
            Some(BilledCall {
                model: item.text("model").unwrap_or_default(),
                tokens: tokens.map(|key| item.text(key).unwrap_or_default()),
                client_usd: item.text("cost_usd")?.parse().ok()?,
                tollgate_usd: priced.remove(&request).unwrap_or_default(),
                request,
            })
        });
        let mut calls: Vec<BilledCall> = calls.collect();
        // A priced item that is no call of the client is an error too.
        calls.extend(priced.into_iter().map(|(request, tollgate_usd)| BilledCall {
            request,
            model: String::new(),
            tokens: Default::default(),
            client_usd: Decimal::ZERO,
            tollgate_usd,
        }));
        Self { calls, rates }
    }

    /// The totals: tollgate's and the client's.
    pub(super) fn totals(&self) -> (Decimal, Decimal) {
        let tollgate_total = self.calls.iter().flat_map(|call| &call.tollgate_usd).sum();
        (tollgate_total, self.calls.iter().map(|call| call.client_usd).sum())
    }

    /// Whether there are calls and all prices agree.
    pub(super) fn agrees(&self) -> bool {
        !self.calls.is_empty() && self.calls.iter().all(BilledCall::agrees)
    }
}

impl BilledCall {
    /// tollgate's price; `None` if no item that went out was priced.
    pub(super) fn usd(&self) -> Option<Decimal> {
        (!self.tollgate_usd.is_empty()).then(|| self.tollgate_usd.iter().sum())
    }

    /// Whether tollgate's price agrees with the client's.
    pub(super) fn agrees(&self) -> bool {
        self.usd().is_some_and(|usd| (usd - self.client_usd).abs() <= TOLERANCE)
    }
}

fn request_id(item: CapturedItem<'_>) -> Option<String> {
    item.text("request_id").or_else(|| item.text("gen_ai.response.id"))
}
