//! Shows each span as a few lines for a person at a terminal, with the command that opens its content. Only the span's
//! name, numbers, references and up to [`MAX_REDACTED_TEXTS`] texts with a placeholder are shown; at most
//! [`MAX_SPANS_PER_SECOND`] spans a second, the rest as a count. The printed command contains no character that a
//! shell interprets. `render` shows every field.

use std::fmt::Write as _;
use std::time::Duration;

use super::render::{elements, write_escaped};
use super::tree::JsonNode;

/// Maximum number of spans shown in a second: a person can't read more.
const MAX_SPANS_PER_SECOND: u32 = 20;
/// Maximum length of a name or text, in characters.
const MAX_TEXT_CHARS: usize = 120;
/// Maximum number of redacted texts shown for a span.
const MAX_REDACTED_TEXTS: usize = 3;

/// Counts the spans shown in the current second.
#[derive(Default)]
pub(super) struct SpanRateLimiter {
    second: u64,
    shown: u32,
}

impl SpanRateLimiter {
    fn admit_span(&mut self, now: Duration) -> bool {
        if now.as_secs() != self.second {
            *self = Self { second: now.as_secs(), shown: 0 };
        }
        self.shown = self.shown.saturating_add(1);
        self.shown <= MAX_SPANS_PER_SECOND
    }
}

/// Appends the spans of a request.
pub(super) fn write_spans(
    out: &mut String,
    tree: &JsonNode<'_>,
    open_with: &str,
    limiter: &mut SpanRateLimiter,
    now: Duration,
) {
    let scopes = elements(tree, "resourceSpans").iter().flat_map(|resource| elements(resource, "scopeSpans"));
    let mut not_shown = 0_u64;
    for span in scopes.flat_map(|scope| elements(scope, "spans")) {
        if limiter.admit_span(now) {
            write_span(out, span, open_with);
        } else {
            not_shown += 1;
        }
    }
    if not_shown > 0 {
        let _ = writeln!(
            out,
            "  {not_shown} more not shown: at most {MAX_SPANS_PER_SECOND} spans a second are printed (`verbosity: normal` prints all)"
        );
    }
}

fn write_span(out: &mut String, span: &JsonNode<'_>, open_with: &str) {
    let field = |name: &str| span.get(name).map(JsonNode::scalar).unwrap_or_default();
    out.push_str("  ");
    write_truncated(out, field("name"));
    let nanos = |name: &str| field(name).parse::<u64>().ok();
    if let Some((from, to)) = nanos("startTimeUnixNano").zip(nanos("endTimeUnixNano")) {
        let _ = write!(out, "  {:.3} s", Duration::from_nanos(to.saturating_sub(from)).as_secs_f64());
    }
    let tokens = ["input", "output"].map(|side| attribute_number(span, &format!("gen_ai.usage.{side}_tokens")));
    if let [Some(input), Some(output)] = tokens {
        let _ = write!(out, "  tokens {input} in, {output} out");
    }
    match (attribute_number(span, "tollgate.cost.usd"), attribute_value(span, "tollgate.cost.status")) {
        (Some(usd), _) => {
            let _ = write!(out, "  {usd} USD");
        }
        (None, Some(status)) => {
            out.push_str("  no price: ");
            write_escaped(out, no_price_reason(status, shell_safe_attribute(span, "tollgate.cost.reason")));
        }
        (None, None) => {}
    }
    let _ = write!(out, "  {} redacted", count_placeholders(span));
    if span.get("status").and_then(|status| status.get("code")).is_some_and(|code| code.scalar() == "2") {
        out.push_str("  failed");
    }
    out.push_str("\n    trace ");
    write_escaped(out, field("traceId"));
    out.push_str(" span ");
    write_escaped(out, field("spanId"));
    out.push('\n');
    write_redacted_texts(out, span);
    let (uri, range) =
        (shell_safe_attribute(span, "gen_ai.payload.s3_uri"), shell_safe_attribute(span, "gen_ai.payload.range"));
    if let Some((uri, range)) = uri.zip(range) {
        let _ = writeln!(out, "    content: tollgate vault get {uri} --range {range} {open_with}");
    }
}

/// Why a call has no price, from its cost status and reason.
fn no_price_reason<'a>(status: &str, reason: Option<&'a str>) -> &'a str {
    match status {
        "not_counted" => "a copy of a call that is counted elsewhere",
        "included" => "counted in other spans",
        "deferred" => "priced on another span or record of this call",
        _ => reason.unwrap_or("unknown"),
    }
}

/// Appends the first attributes whose text contains a placeholder.
fn write_redacted_texts(out: &mut String, span: &JsonNode<'_>) {
    let texts = elements(span, "attributes").iter().filter_map(|attribute| {
        let string = attribute.get("value")?.get("stringValue")?;
        (count_placeholders(string) > 0)
            .then(|| (attribute.get("key").map(JsonNode::scalar).unwrap_or_default(), string.scalar()))
    });
    for (key, string) in texts.take(MAX_REDACTED_TEXTS) {
        out.push_str("    ");
        write_truncated(out, key);
        out.push_str(": ");
        write_truncated(out, string);
        out.push('\n');
    }
}

/// Appends the beginning of a text, at most [`MAX_TEXT_CHARS`] characters.
fn write_truncated(out: &mut String, text: &str) {
    let end = text.char_indices().nth(MAX_TEXT_CHARS).map(|(at, _)| at);
    write_escaped(out, end.and_then(|end| text.get(..end)).unwrap_or(text));
    out.push_str(if end.is_some() { "…" } else { "" });
}

fn attribute_value<'a>(span: &JsonNode<'a>, key: &str) -> Option<&'a str> {
    let has_key = |attribute: &&JsonNode<'_>| attribute.get("key").is_some_and(|name| name.scalar() == key);
    let (_, value) = elements(span, "attributes").iter().find(has_key)?.get("value")?.members().first()?;
    Some(value.scalar())
}

fn attribute_number<'a>(span: &JsonNode<'a>, key: &str) -> Option<&'a str> {
    attribute_value(span, key).filter(|text| text.len() <= 40 && text.parse::<f64>().is_ok())
}

/// An attribute's value, if a shell reads it as one plain word.
fn shell_safe_attribute<'a>(span: &JsonNode<'a>, key: &str) -> Option<&'a str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:@%+=".contains(&byte);
    attribute_value(span, key).filter(|text| !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_plain))
}

/// Counts redaction placeholders in all texts of a span, except `[CONTENT]`, which marks content moved to the vault.
fn count_placeholders(node: &JsonNode<'_>) -> usize {
    match node {
        JsonNode::Object(members) => members.iter().map(|(_, member)| count_placeholders(member)).sum(),
        JsonNode::List(list) => list.iter().map(count_placeholders).sum(),
        JsonNode::Literal(_) => 0,
        JsonNode::Text(text) => {
            let names = text.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(name, _)| name);
            let is_placeholder = |name: &&str| {
                name.len() > 2
                    && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
                    && *name != "CONTENT"
            };
            names.filter(is_placeholder).count()
        }
    }
}
