//! **What**: [`Bill`]: each model call, what tollgate says it cost and what the client said. **Why**: a price that
//! nobody checks is a guess. **Invariants**: decimals; a call is priced once: on one item that went out, or on a span
//! with the rest on its log; at most [`TOLERANCE`] apart from the client's own figure. **Not here**: how prices are
//! made (`processors/cost`).

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::seen::{Item, Seen};

/// 1e-9 USD: the client's figure is a double.
const TOLERANCE: Decimal = Decimal::from_parts(1, 0, 0, false, 9);

/// One model call.
pub(super) struct Call {
    /// The provider's id of the request.
    pub(super) request: String,
    /// Model.
    pub(super) model: String,
    /// Tokens: input, read from cache, written to cache, output.
    pub(super) tokens: [String; 4],
    /// USD as the client said.
    pub(super) theirs: Decimal,
    /// USD on each item that went out priced: one, or a span's and the rest on its log.
    pub(super) ours: Vec<Decimal>,
}

/// All calls of a session.
pub(super) struct Bill {
    /// In order.
    pub(super) calls: Vec<Call>,
    /// Version and digest of the rate table, as stamped.
    pub(super) rates: Option<String>,
}

impl Bill {
    /// Compares what went out with what came in.
    pub(super) fn of(came: &Seen, went: &Seen) -> Self {
        let mut priced: BTreeMap<String, Vec<Decimal>> = BTreeMap::new();
        let mut rates = None;
        for item in went.items().filter(|item| item.text("tollgate.cost.status").as_deref() == Some("priced")) {
            rates = rates.or_else(|| item.text("tollgate.cost.rates"));
            let usd = item.text("tollgate.cost.usd").and_then(|usd| usd.parse::<Decimal>().ok());
            priced.entry(request(item).unwrap_or_default()).or_default().extend(usd);
        }
        let calls = came.items().filter(|item| item.name() == "api_request").filter_map(|item| {
            let tokens = ["input_tokens", "cache_read_tokens", "cache_creation_tokens", "output_tokens"];
            let request = request(item)?;
            Some(Call {
                model: item.text("model").unwrap_or_default(),
                tokens: tokens.map(|key| item.text(key).unwrap_or_default()),
                theirs: item.text("cost_usd")?.parse().ok()?,
                ours: priced.remove(&request).unwrap_or_default(),
                request,
            })
        });
        let mut calls: Vec<Call> = calls.collect();
        // What is priced and is no call of the client's is wrong as well.
        calls.extend(priced.into_iter().map(|(request, ours)| Call {
            request,
            model: String::new(),
            tokens: Default::default(),
            theirs: Decimal::ZERO,
            ours,
        }));
        Self { calls, rates }
    }

    /// Sums: ours, theirs.
    pub(super) fn totals(&self) -> (Decimal, Decimal) {
        let ours = self.calls.iter().flat_map(|call| &call.ours).sum();
        (ours, self.calls.iter().map(|call| call.theirs).sum())
    }

    /// Whether there are calls and each of them agrees.
    pub(super) fn agrees(&self) -> bool {
        !self.calls.is_empty() && self.calls.iter().all(Call::agrees)
    }
}

impl Call {
    /// What it costs; `None` if no item that went out was priced.
    pub(super) fn usd(&self) -> Option<Decimal> {
        (!self.ours.is_empty()).then(|| self.ours.iter().sum())
    }

    /// Whether tollgate priced it as the client did.
    pub(super) fn agrees(&self) -> bool {
        self.usd().is_some_and(|usd| (usd - self.theirs).abs() <= TOLERANCE)
    }
}

fn request(item: Item<'_>) -> Option<String> {
    item.text("request_id").or_else(|| item.text("gen_ai.response.id"))
}
