//! Shows each span as a few lines for a person at a terminal, with the command that opens its content.
//! Only the span's name, numbers, references and up to [`CLEANED`] texts with a placeholder are shown; at most
//! [`MOST`] spans a second, the rest as a count. The printed command contains no character that a shell interprets.
//! `render` shows every field.

use std::fmt::Write as _;
use std::time::Duration;

use super::render::{elements, text};
use super::tree::Node;

/// Maximum number of spans shown in a second: a person can't read more.
const MOST: u32 = 20;
/// Maximum length of a name or text, in characters.
const WIDTH: usize = 120;
/// Maximum number of redacted texts shown for a span.
const CLEANED: usize = 3;

/// Counts the spans shown in the current second.
#[derive(Default)]
pub(super) struct Pace {
    second: u64,
    shown: u32,
}

impl Pace {
    fn may(&mut self, now: Duration) -> bool {
        if now.as_secs() != self.second {
            *self = Self { second: now.as_secs(), shown: 0 };
        }
        self.shown = self.shown.saturating_add(1);
        self.shown <= MOST
    }
}

/// Appends the spans of a request.
pub(super) fn spans(out: &mut String, tree: &Node<'_>, open_with: &str, pace: &mut Pace, now: Duration) {
    let groups = elements(tree, "resourceSpans").iter().flat_map(|group| elements(group, "scopeSpans"));
    let mut more = 0_u64;
    for span in groups.flat_map(|scope| elements(scope, "spans")) {
        if pace.may(now) {
            one(out, span, open_with);
        } else {
            more += 1;
        }
    }
    if more > 0 {
        let _ = writeln!(out, "  and {more} more: {MOST} a second are shown (`verbosity: normal` shows all)");
    }
}

fn one(out: &mut String, span: &Node<'_>, open_with: &str) {
    let field = |name: &str| span.get(name).map(Node::scalar).unwrap_or_default();
    out.push_str("  ");
    cut(out, field("name"));
    let nanos = |name: &str| field(name).parse::<u64>().ok();
    if let Some((from, to)) = nanos("startTimeUnixNano").zip(nanos("endTimeUnixNano")) {
        let _ = write!(out, "  {:.3} s", Duration::from_nanos(to.saturating_sub(from)).as_secs_f64());
    }
    let tokens = ["input", "output"].map(|side| number(span, &format!("gen_ai.usage.{side}_tokens")));
    if let [Some(input), Some(output)] = tokens {
        let _ = write!(out, "  tokens {input} in, {output} out");
    }
    match (number(span, "tollgate.cost.usd"), value(span, "tollgate.cost.status")) {
        (Some(usd), _) => {
            let _ = write!(out, "  {usd} USD");
        }
        (None, Some(status)) => {
            out.push_str("  no price: ");
            text(out, no_price(status, word(span, "tollgate.cost.reason")));
        }
        (None, None) => {}
    }
    let _ = write!(out, "  {} redacted", placeholders(span));
    if span.get("status").and_then(|status| status.get("code")).is_some_and(|code| code.scalar() == "2") {
        out.push_str("  failed");
    }
    out.push_str("\n    trace ");
    text(out, field("traceId"));
    out.push_str(" span ");
    text(out, field("spanId"));
    out.push('\n');
    cleaned(out, span);
    let (uri, range) = (word(span, "gen_ai.payload.s3_uri"), word(span, "gen_ai.payload.range"));
    if let Some((uri, range)) = uri.zip(range) {
        let _ = writeln!(out, "    content: tollgate vault get {uri} --range {range} {open_with}");
    }
}

/// Why a call has no price, from its cost status and reason.
fn no_price<'a>(status: &str, reason: Option<&'a str>) -> &'a str {
    match status {
        "not_counted" => "a copy of a call that is counted elsewhere",
        "deferred" => "told by another span or record of this call",
        _ => reason.unwrap_or("unknown"),
    }
}

/// Appends attributes that redaction changed, in their redacted form.
fn cleaned(out: &mut String, span: &Node<'_>) {
    let texts = elements(span, "attributes").iter().filter_map(|one| {
        let string = one.get("value")?.get("stringValue")?;
        (placeholders(string) > 0).then(|| (one.get("key").map(Node::scalar).unwrap_or_default(), string.scalar()))
    });
    for (key, string) in texts.take(CLEANED) {
        out.push_str("    ");
        cut(out, key);
        out.push_str(": ");
        cut(out, string);
        out.push('\n');
    }
}

/// Appends the beginning of a text, at most [`WIDTH`] characters.
fn cut(out: &mut String, all: &str) {
    let end = all.char_indices().nth(WIDTH).map(|(at, _)| at);
    text(out, end.and_then(|end| all.get(..end)).unwrap_or(all));
    out.push_str(if end.is_some() { "…" } else { "" });
}

fn value<'a>(span: &Node<'a>, key: &str) -> Option<&'a str> {
    let named = |one: &&Node<'_>| one.get("key").is_some_and(|own| own.scalar() == key);
    let (_, value) = elements(span, "attributes").iter().find(named)?.get("value")?.members().first()?;
    Some(value.scalar())
}

fn number<'a>(span: &Node<'a>, key: &str) -> Option<&'a str> {
    value(span, key).filter(|text| text.len() <= 40 && text.parse::<f64>().is_ok())
}

/// An attribute's value, if a shell reads it as one plain word.
fn word<'a>(span: &Node<'a>, key: &str) -> Option<&'a str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:@%+=".contains(&byte);
    value(span, key).filter(|text| !text.is_empty() && !text.starts_with('-') && text.bytes().all(plain))
}

/// Counts redaction placeholders in all texts of a span, except `[CONTENT]`, which marks content moved to the vault.
fn placeholders(node: &Node<'_>) -> usize {
    match node {
        Node::Object(members) => members.iter().map(|(_, member)| placeholders(member)).sum(),
        Node::List(list) => list.iter().map(placeholders).sum(),
        Node::Bare(_) => 0,
        Node::Text(text) => {
            let names = text.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(name, _)| name);
            let upper = |name: &&str| {
                name.len() > 2
                    && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
                    && *name != "CONTENT"
            };
            names.filter(upper).count()
        }
    }
}
