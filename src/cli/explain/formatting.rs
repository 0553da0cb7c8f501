//! Formats an explanation for a terminal. A value takes one line and is cut unless `full` is set. Control characters of
//! the payload are escaped. `compare` makes the explanation.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::compare::{
    AttributeChange, ExplainedPart, ItemExplanation, PriceExplanation, RequestExplanation, TokenCounts, UNKNOWN_MODEL,
    VaultedContent,
};
use crate::app::dry_run::DropReason;
use kernel::terminal::{escape_unsafe, format_count};

#[derive(Clone, Copy)]
pub(super) struct FormatOptions {
    pub(super) colour: bool,
    pub(super) full: bool,
}

/// The longest value on a line, in characters.
const MAX_VALUE_CHARS: usize = 96;
/// Maximum number of listed vault entries of an item, and of listed rule hits of a value.
const MAX_LISTED: usize = 8;

pub(super) fn format_request(request: &RequestExplanation, options: FormatOptions) -> String {
    let mut out = String::new();
    let items = format_count(request.items.len(), "item");
    let steps = request.processors.join(" ▸ ");
    let privacy = request.privacy.map_or_else(String::new, |profile| format!(" · privacy: {profile}"));
    let pipeline = escape_unsafe(&request.pipeline);
    write_line(&mut out, &format!("{} · {items} · pipeline {pipeline}: {steps}{privacy}", request.signal));
    request.items.iter().for_each(|item| write_item(item, options, &mut out));
    for part in &request.shared {
        write_line(&mut out, &format!("\n{}", colour_text(options, "1", &escape_unsafe(&part.node))));
        write_changes(part, options, &mut out);
    }
    out
}

fn write_line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{text}"); // can't fail
}

fn write_item(item: &ItemExplanation, options: FormatOptions, out: &mut String) {
    let ids: Vec<&str> = [&*item.trace_id, &*item.span_id].into_iter().filter(|id| !id.is_empty()).collect();
    let head = colour_text(options, "1", &format!("{} {}", item.kind, escape_unsafe(&item.name)));
    write_line(out, &format!("\n{head}  {}", ids.join("/")));
    let mut row = |name: &str, text: String| write_line(out, &format!("  {name:<8} {text}"));
    let red = |text: String| colour_text(options, "31", &text);
    if let Some(reason) = item.refused {
        row("refused", red(format!("the gateway rejects this {}: {reason}", item.kind)));
    }
    let conditions = || item.dialect_conditions.iter().map(|why| escape_unsafe(why)).collect::<Vec<_>>().join("; ");
    let dialect = match item.dialect {
        Some(dialect) => format!("{dialect}: {}", conditions()),
        None if item.agent => "none; an agent's for runs and costs, as others of its trace or session are".to_owned(),
        None => "none".to_owned(),
    };
    row("dialect", dialect);
    let ids: Vec<String> = item.ids.iter().map(|(name, id)| format!("{name} {}", escape_unsafe(id))).collect();
    row("is", [vec![item.role.to_owned()], ids].concat().join(" · "));
    item.tokens.iter().for_each(|tokens| row("tokens", format_tokens(tokens)));
    let lines = item.price.iter().flat_map(format_price).enumerate();
    lines.for_each(|(at, text)| row(if at == 0 { "price" } else { "" }, text));
    let max_listed = if options.full { usize::MAX } else { MAX_LISTED };
    for VaultedContent { key, part, bytes, rule } in item.vault.iter().take(max_listed) {
        row("vault", format!("{} ({part}, {bytes} bytes): {rule}", escape_unsafe(key)));
    }
    if item.vault.len() > max_listed {
        row("", format!("… and {} more", item.vault.len() - max_listed));
    }
    if let Some(DropReason { filter, rule }) = &item.dropped {
        row("dropped", red(format!("by {}: rule {}", escape_unsafe(filter), escape_unsafe(rule))));
    }
    if !item.missing.is_empty() {
        row("missing", item.missing.join(", "));
    }
    for (at, part) in item.parts.iter().enumerate() {
        if at > 0 {
            write_line(out, &format!("  {}", escape_unsafe(&part.node)));
        }
        write_changes(part, options, out);
    }
}

fn format_tokens(tokens: &TokenCounts) -> String {
    let list = |counts: &std::collections::BTreeMap<&str, u64>| {
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(" + ")
    };
    let includes = match tokens.input_includes_cached {
        Some(true) => ", input includes cached",
        Some(false) => ", input without cached",
        None => "",
    };
    let unrecognized: String =
        tokens.unrecognized.iter().map(|key| format!(", unrecognized: {}", escape_unsafe(key))).collect();
    let reported = list(&tokens.reported).replace(" + ", ", ");
    format!("{}   (reported: {reported}{includes}{unrecognized})", list(&tokens.buckets))
}

fn format_price(price: &PriceExplanation) -> Vec<String> {
    let usd = price.usd.as_ref().map(|usd| format!(" {usd} USD")).unwrap_or_default();
    let row = price.row.as_ref().map(|row| format!(" · row {}", escape_unsafe(row))).unwrap_or_default();
    let reason = price.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let table =
        if price.table.is_empty() { String::new() } else { format!(" · table {}", escape_unsafe(&price.table)) };
    let status = match price.status {
        "not_counted" => "not counted: a copy of a call that is counted elsewhere",
        "correction" => "correction: what earlier spans or records were charged changes by",
        "deferred" => "deferred: the price is on another span or record of this call",
        status => status,
    };
    let mut out = vec![format!("{status}{usd}{reason}{row}{table}")];
    if price.reason == Some(UNKNOWN_MODEL) {
        let nearest = price.nearest.as_deref().unwrap_or("none");
        let nearest = escape_unsafe(nearest);
        out.push(format!("closest listed model: {nearest}; an overlay (`cost.overlays`) can set a price or an alias"));
    }
    out.extend(
        price.config_line.iter().map(|line| format!("to set a price, add under `processors`: {}", escape_unsafe(line))),
    );
    for line in &price.sum {
        let times = line.usd_per_million.as_ref().map(|price| format!(" × {price} USD/million")).unwrap_or_default();
        out.push(format!("{:<12} {:>10}{times} = {}", line.bucket, line.tokens, line.usd));
    }
    out.extend(price.flags.as_ref().map(|flags| format!("assumed: {}", format_value(flags, true))));
    out
}

fn write_changes(part: &ExplainedPart, options: FormatOptions, out: &mut String) {
    for AttributeChange { key, outcome, before, after, rules, replaced_because } in &part.changes {
        let shown =
            |json: &Option<Json>| json.as_ref().map(|json| format_value(json, options.full)).unwrap_or_default();
        let key = escape_unsafe(key);
        let text = match *outcome {
            "kept" => format!("    {key} = {}", shown(before)),
            "changed" => {
                colour_text(options, "33", &format!("  ~ {key} = {}\n      → {}", shown(before), shown(after)))
            }
            "added" => colour_text(options, "32", &format!("  + {key} = {}", shown(after))),
            removed => {
                let place = if removed == "moved_to_vault" { "to the vault" } else { removed };
                colour_text(options, "31", &format!("  - {key} = {}  [{place}]", shown(before)))
            }
        };
        write_line(out, &text);
        if let Some(why) = replaced_because {
            write_line(out, &format!("        the whole text was replaced: {why}"));
        }
        let max_listed = if options.full { usize::MAX } else { MAX_LISTED };
        for hit in rules.iter().take(max_listed) {
            let range = format!("characters {} to {}", hit.start, hit.end);
            let rule = escape_unsafe(&hit.rule);
            write_line(out, &format!("        {} by {rule}: {} ({range})", hit.placeholder, hit.why));
        }
        if rules.len() > max_listed {
            write_line(out, &format!("        … and {} more", rules.len() - max_listed));
        }
    }
}

fn format_value(json: &Json, full: bool) -> String {
    let text = escape_unsafe(&json.to_string());
    if full || text.chars().count() <= MAX_VALUE_CHARS {
        return text;
    }
    let cut: String = text.chars().take(MAX_VALUE_CHARS).collect();
    format!("{cut}… ({} bytes)", text.len())
}

fn colour_text(options: FormatOptions, code: &str, text: &str) -> String {
    if options.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
