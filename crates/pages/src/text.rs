//! Formats numbers, times and names for people. A name is cut and loses control characters, direction marks and
//! invisible characters; the templates escape. JSON keeps values unchanged.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use kernel::calendar::rfc3339;
use kernel::clock::UnixNanos;
use kernel::terminal::is_unsafe;
use runs::RunState;
pub(super) use runs::amounts::{
    format_cost, format_count, format_decimal, format_dollars, format_exact_usd, format_seconds,
};

/// Longest name that is shown, in characters.
const MAX_NAME_CHARS: usize = 60;
/// Longest id, in characters: a person who searches for an id needs all of it.
const MAX_ID_CHARS: usize = 200;

pub(super) fn clean_name(text: &str) -> String {
    clean_and_cut(text, MAX_NAME_CHARS)
}

/// Cleans and cuts the id of a run or session.
pub(super) fn clean_id(text: &str) -> String {
    clean_and_cut(text, MAX_ID_CHARS)
}

fn clean_and_cut(text: &str, max_chars: usize) -> String {
    let mut shown: String = text.chars().filter(|c| !is_unsafe(*c)).take(max_chars + 1).collect();
    if shown.chars().count() > max_chars {
        shown.pop();
        shown.pop();
        shown.push('…');
    }
    if shown.trim().is_empty() { "(no name)".to_owned() } else { shown }
}

/// The state of a run in words.
pub(super) fn format_state(state: &str) -> &str {
    if state == RunState::Idle.as_str() { "no end seen" } else { state }
}

/// Percent-encodes a part of an address.
pub(super) fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Formats a count of runs: `1 run`, `12 runs`, `12 runs (3 live)`.
pub(super) fn format_runs(number: u64, live: u64) -> String {
    let runs = if number == 1 { "1 run".to_owned() } else { format!("{} runs", format_count(number)) };
    if live == 0 { runs } else { format!("{runs} ({} live)", format_count(live)) }
}

/// What of a cost is to pay, if plans cover a part of it; else "".
pub(super) fn format_payable(payable: i128, atto: i128) -> String {
    if payable == atto { String::new() } else { runs::amounts::format_usd(payable) }
}

/// What caching saved, or cost more; "" if it is nothing.
pub(super) fn format_cache_savings(saved: i128) -> String {
    match (saved, runs::amounts::format_usd(saved.saturating_abs())) {
        (0, _) => String::new(),
        (1.., usd) => format!("caching saved {usd}"),
        (_, usd) => format!("caching cost {usd} more"),
    }
}

/// The exact cost, and the number of calls it leaves out.
pub(super) fn format_exact_cost(atto: i128, unpriced: u64) -> String {
    match unpriced {
        0 => format_exact_usd(atto),
        1 => format!("{}, 1 call without a price", format_exact_usd(atto)),
        calls => format!("{}, {} calls without a price", format_exact_usd(atto), format_count(calls)),
    }
}

/// Formats a count of tokens: `950`, `12.3 k`, `4.6 M`.
pub(super) fn format_tokens(number: u64) -> String {
    match number as f64 {
        few if few < 10_000.0 => format_count(number),
        some if some < 1e6 => format!("{:.1} k", some / 1e3),
        many if many < 1e9 => format!("{:.1} M", many / 1e6),
        lots => format!("{:.1} G", lots / 1e9),
    }
}

/// Formats a share: `12.3 %`.
pub(super) fn format_percent(share: f64) -> String {
    if share != 0.0 && share.abs() < 0.1 {
        format!("{:.1} %", share * 100.0)
    } else {
        format!("{:.0} %", share * 100.0)
    }
}

/// Formats a time in UTC: `2026-11-20 23:05:12`; "–" for 0.
pub(super) fn format_time(at: u64) -> String {
    if at == 0 {
        return "–".to_owned();
    }
    rfc3339(UnixNanos(at)).get(..19).unwrap_or("").replace('T', " ")
}

/// The time since `at`, such as `5 min ago`.
pub(super) fn format_age(at: u64, now: u64) -> String {
    let passed = now.saturating_sub(at) / 1_000_000_000;
    match passed {
        0..60 => format!("{passed} s ago"),
        60..3600 => format!("{} min ago", passed / 60),
        3600..172_800 => format!("{} h ago", passed / 3600),
        _ => format!("{} d ago", passed / 86_400),
    }
}
