//! Formats an explanation for a terminal. A value takes one line and is cut unless `full` is set. Control characters of
//! the payload are escaped. The data is made in `look`.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::look::{Change, Item, Part, Price, Request, Tokens};
use kernel::terminal::{clean, counted};

/// Formatting options.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) colour: bool,
    pub(super) full: bool,
}

/// The longest value on a line, in characters.
const WIDTH: usize = 96;
/// The most vault entries, and the most rule hits of a value, that are listed.
const CONTENT: usize = 8;

/// Formats one request.
pub(super) fn request(request: &Request, look: Look) -> String {
    let mut out = String::new();
    let items = counted(request.items.len(), "item");
    let steps = request.processors.join(" ▸ ");
    let privacy = request.privacy.map_or_else(String::new, |profile| format!(" · privacy: {profile}"));
    line(&mut out, &format!("{} · {items} · pipeline {}: {steps}{privacy}", request.signal, clean(&request.pipeline)));
    request.items.iter().for_each(|one| item(one, look, &mut out));
    for part in &request.shared {
        line(&mut out, &format!("\n{}", paint(look, "1", &clean(&part.what))));
        changes(part, look, &mut out);
    }
    out
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{text}"); // can't fail
}

fn item(item: &Item, look: Look, out: &mut String) {
    let place =
        [&item.trace_id, &item.span_id].into_iter().filter(|id| !id.is_empty()).map(String::as_str).collect::<Vec<_>>();
    line(out, &format!("\n{}  {}", paint(look, "1", &format!("{} {}", item.kind, clean(&item.name))), place.join("/")));
    let mut row = |name: &str, text: String| line(out, &format!("  {name:<8} {text}"));
    match item.dialect {
        Some(dialect) => row(
            "dialect",
            format!("{dialect}: {}", item.because.iter().map(|why| clean(why)).collect::<Vec<_>>().join("; ")),
        ),
        None if item.agent => row("dialect", "none; an agent's, as others of its trace or session are".to_owned()),
        None => row("dialect", "none".to_owned()),
    }
    let ids: Vec<String> = item.ids.iter().map(|(name, id)| format!("{name} {}", clean(id))).collect();
    row("is", [vec![item.is.to_owned()], ids].concat().join(" · "));
    if let Some(told) = &item.tokens {
        row("tokens", tokens(told));
    }
    if let Some(told) = &item.price {
        price(told).into_iter().enumerate().for_each(|(at, text)| row(if at == 0 { "price" } else { "" }, text));
    }
    let most = if look.full { usize::MAX } else { CONTENT };
    for vaulted in item.vault.iter().take(most) {
        row("vault", format!("{} ({}, {} bytes): {}", clean(&vaulted.key), vaulted.part, vaulted.bytes, vaulted.rule));
    }
    if item.vault.len() > most {
        row("", format!("… and {} more", item.vault.len() - most));
    }
    if let Some(dropped) = &item.dropped {
        row("dropped", paint(look, "31", &format!("by {}: rule {}", clean(&dropped.by), clean(&dropped.rule))));
    }
    if !item.missing.is_empty() {
        row("missing", item.missing.join(", "));
    }
    for (at, part) in item.parts.iter().enumerate() {
        if at > 0 {
            line(out, &format!("  {}", clean(&part.what)));
        }
        changes(part, look, out);
    }
}

fn tokens(told: &Tokens) -> String {
    let list = |counts: &std::collections::BTreeMap<&str, u64>| {
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(" + ")
    };
    let includes = match told.input_includes_cached {
        Some(true) => ", input includes cached",
        Some(false) => ", input without cached",
        None => "",
    };
    format!("{}   (reported: {}{includes})", list(&told.buckets), list(&told.reported).replace(" + ", ", "))
}

fn price(price: &Price) -> Vec<String> {
    let usd = price.usd.as_ref().map(|usd| format!(" {usd} USD")).unwrap_or_default();
    let row = price.row.as_ref().map(|row| format!(" · row {}", clean(row))).unwrap_or_default();
    let reason = price.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let table = if price.table.is_empty() { String::new() } else { format!(" · table {}", clean(&price.table)) };
    let status = match price.status {
        "not_counted" => "not counted: a copy of a call that is counted elsewhere",
        "deferred" => "deferred: another span or record of this call tells its price",
        status => status,
    };
    let mut out = vec![format!("{status}{usd}{reason}{row}{table}")];
    for one in &price.sum {
        let times = one.usd_per_million.as_ref().map(|each| format!(" × {each} USD/million")).unwrap_or_default();
        out.push(format!("{:<12} {:>10}{times} = {}", one.bucket, one.tokens, one.usd));
    }
    out.extend(price.flags.as_ref().map(|flags| format!("assumed: {}", value(flags, true))));
    out
}

fn changes(part: &Part, look: Look, out: &mut String) {
    for Change { key, now, before, after, rules, whole } in &part.changes {
        let shown = |json: &Option<Json>| json.as_ref().map(|json| value(json, look.full)).unwrap_or_default();
        let key = clean(key);
        let text = match *now {
            "kept" => format!("    {key} = {}", shown(before)),
            "changed" => paint(look, "33", &format!("  ~ {key} = {}\n      → {}", shown(before), shown(after))),
            "added" => paint(look, "32", &format!("  + {key} = {}", shown(after))),
            other => paint(look, "31", &format!("  - {key} = {}  [{other}]", shown(before))),
        };
        line(out, &text);
        if let Some(why) = whole {
            line(out, &format!("        the whole text went: {why}"));
        }
        let most = if look.full { usize::MAX } else { CONTENT };
        for hit in rules.iter().take(most) {
            let place = format!("characters {} to {}", hit.start, hit.end);
            line(out, &format!("        {} by {}: {} ({place})", hit.placeholder, clean(&hit.rule), hit.why));
        }
        if rules.len() > most {
            line(out, &format!("        … and {} more", rules.len() - most));
        }
    }
}

fn value(json: &Json, full: bool) -> String {
    let text = clean(&json.to_string());
    if full || text.chars().count() <= WIDTH {
        return text;
    }
    let cut: String = text.chars().take(WIDTH).collect();
    format!("{cut}… ({} bytes)", text.len())
}

fn paint(look: Look, code: &str, text: &str) -> String {
    if look.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
