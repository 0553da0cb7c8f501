//! The reports of `tollgate rates`, as text and JSON.

use serde_json::{Value as Json, json};

use rates::{FindingSeverity, ListedModel, OverlayChange, TableFinding, TableSource};

pub(super) fn model_json(listed: &ListedModel) -> Json {
    let windows: Vec<Json> = (listed.windows.iter())
        .map(|window| {
            let prices: serde_json::Map<String, Json> =
                window.prices.iter().map(|price| (price.unit.clone(), json!(price.price))).collect();
            let sources: serde_json::Map<String, Json> = (window.prices.iter())
                .filter_map(|price| Some((price.unit.clone(), json!(price.source.as_ref()?))))
                .collect();
            let window = json!({"from": window.from, "to": window.to, "prices": prices});
            if sources.is_empty() { window } else { with_entry(window, "sources", Json::Object(sources)) }
        })
        .collect();
    json!({"model": listed.place, "ids": listed.ids, "windows": windows})
}

fn with_entry(mut object: Json, key: &str, value: Json) -> Json {
    if let Json::Object(map) = &mut object {
        map.insert(key.to_owned(), value);
    }
    object
}

pub(super) fn model_text(listed: &ListedModel) -> String {
    let mut text = format!("{}\n  ids: {}\n", listed.place, listed.ids.join(", "));
    for window in &listed.windows {
        text.push_str(&format!("  {}:\n", format_period(window.from.as_deref(), window.to.as_deref())));
        for price in &window.prices {
            let line = format!("    {:<44} {:<12} {:<22}", price.unit, price.price, price.measure());
            text.push_str(format!("{line} {}", price.source.as_deref().unwrap_or_default()).trim_end());
            text.push('\n');
        }
    }
    text
}

/// The period in which prices apply.
fn format_period(from: Option<&str>, to: Option<&str>) -> String {
    match (from, to) {
        (None, None) => "at any time".to_owned(),
        (Some(from), None) => format!("from {from}"),
        (None, Some(to)) => format!("before {to}"),
        (Some(from), Some(to)) => format!("from {from}, before {to}"),
    }
}

pub(super) fn change_json(change: &OverlayChange) -> Json {
    json!({
        "overlay": change.overlay, "tenant": change.tenant, "model": change.place, "from": change.from, "to": change.to,
        "unit": change.unit, "before": change.before, "after": change.after, "inherited": change.inherited,
    })
}

pub(super) fn change_text(change: &OverlayChange) -> String {
    let before = change.before.as_deref().unwrap_or("-");
    let mut line = format!("  {:<40} {:<32} {before:>10} -> {:<10}", change.place, change.unit, change.after);
    match (&change.from, &change.to) {
        (None, None) => {}
        (from, to) => line.push_str(&format!(" {},", format_period(from.as_deref(), to.as_deref()))),
    }
    line.push_str(&format!(" {}", change.overlay));
    if change.inherited {
        line.push_str(" (not set by the overlay: kept from the table below)");
    }
    line.push('\n');
    line
}

pub(super) fn severity_word(severity: FindingSeverity) -> &'static str {
    match severity {
        FindingSeverity::Change => "change",
        FindingSeverity::Warning => "warning",
        FindingSeverity::Refusal => "refusal",
    }
}

pub(super) fn findings_json(old: &TableSource, new: &TableSource, findings: &[TableFinding]) -> Json {
    let list: Vec<Json> = (findings.iter())
        .map(|finding| json!({"severity": severity_word(finding.severity), "model": finding.place, "message": finding.description}))
        .collect();
    json!({"old": old.version(), "new": new.version(), "findings": list})
}
