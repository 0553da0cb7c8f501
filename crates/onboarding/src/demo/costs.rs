//! [`BilledCall`]: compares tollgate's price of each model call with the client's own figure. A call is priced once: on
//! one item that went out, or on a span with a correction on its log. Prices are computed in `processors/cost`.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::items::TelemetryItem;

/// The largest difference, in USD: 1e-9, because the client's figure is a double.
const TOLERANCE: Decimal = Decimal::from_parts(1, 0, 0, false, 9);

pub(super) struct BilledCall {
    /// The provider's request id, the model, and the tokens: input, read from cache, written to cache, output.
    pub(super) cells: Vec<String>,
    pub(super) client_usd: Decimal,
    /// tollgate's price; `None` if no item that went out was priced.
    pub(super) usd: Option<Decimal>,
}

impl BilledCall {
    /// The calls that came in, and what went out priced without being one of them.
    pub(super) fn compare(incoming: &[TelemetryItem], outgoing: &[TelemetryItem]) -> Vec<Self> {
        let text = |item: &TelemetryItem, key: &str| item.text(key).unwrap_or_default().to_owned();
        let request_id = |item: &TelemetryItem| {
            item.text("request_id").or_else(|| item.text("gen_ai.response.id")).unwrap_or_default().to_owned()
        };
        let mut priced = BTreeMap::<String, Decimal>::new();
        let is_charged =
            |item: &&TelemetryItem| matches!(item.text("tollgate.cost.status"), Some("priced" | "correction"));
        for item in outgoing.iter().filter(is_charged).filter(|item| !is_covered(item)) {
            let usd: Decimal = text(item, "tollgate.cost.usd").parse().unwrap_or_default();
            *priced.entry(request_id(item)).or_default() += usd;
        }
        let shown = ["model", "input_tokens", "cache_read_tokens", "cache_creation_tokens", "output_tokens"];
        let mut calls = Vec::new();
        for item in incoming.iter().filter(|item| item.name == "api_request") {
            calls.push(Self {
                cells: std::iter::once(request_id(item)).chain(shown.map(|key| text(item, key))).collect(),
                client_usd: text(item, "cost_usd").parse().unwrap_or_default(),
                usd: priced.remove(&request_id(item)),
            });
        }
        for (id, usd) in priced {
            let cells = std::iter::once(id).chain(shown.map(|_| String::new())).collect();
            calls.push(Self { cells, client_usd: Decimal::ZERO, usd: Some(usd) });
        }
        calls
    }

    /// Whether the call was priced, and the price is the client's. Each recorded call costs something.
    pub(super) fn agrees(&self) -> bool {
        self.usd.is_some_and(|usd| usd > Decimal::ZERO && (usd - self.client_usd).abs() <= TOLERANCE)
    }
}

/// Whether a subscription covers the item's call. Its client reports no figure of its own.
fn is_covered(item: &TelemetryItem) -> bool {
    item.text("tollgate.billing") == Some("subscription")
}

/// The number of calls that a subscription covers, their price by the rate table, and what of it is to pay.
pub(super) fn covered_calls(outgoing: &[TelemetryItem]) -> (usize, [Decimal; 2]) {
    let covered = || outgoing.iter().filter(|item| is_covered(item));
    let sum = |key| covered().filter_map(|item| item.text(key)?.parse::<Decimal>().ok()).sum();
    (covered().count(), ["tollgate.cost.usd", "tollgate.cost.payable_usd"].map(sum))
}
