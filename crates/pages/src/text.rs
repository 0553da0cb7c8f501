//! **What**: numbers, times and names as people read them. **Invariants**: a name is cut, and loses control characters, marks
//! that turn its direction, and what nobody sees; escaping is the templates'. **Not here**: JSON, which has values as they are.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use kernel::calendar::rfc3339;
use kernel::clock::UnixNanos;
use rates::Usd;

/// Longest name that is shown, characters.
const LONGEST: usize = 60;

/// Control characters, marks that turn the direction of a text, and what nobody sees.
pub(super) fn unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{061c}' | '\u{feff}' | '\u{180e}' | '\u{fff9}'..='\u{fffb}')
}

/// A name.
pub(super) fn name(text: &str) -> String {
    let mut shown: String = text.chars().filter(|c| !unseen(*c)).take(LONGEST + 1).collect();
    if shown.chars().count() > LONGEST {
        shown.pop();
        shown.pop();
        shown.push('…');
    }
    if shown.trim().is_empty() { "(no name)".to_owned() } else { shown }
}

/// A part of an address.
pub(super) fn part(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 run`, `12 runs`.
pub(super) fn runs(number: u64) -> String {
    if number == 1 { "1 run".to_owned() } else { format!("{} runs", count(number)) }
}

/// Tokens: `950`, `12.3 k`, `4.6 M`.
pub(super) fn tokens(number: u64) -> String {
    match number as f64 {
        few if few < 10_000.0 => count(number),
        some if some < 1e6 => format!("{:.1} k", some / 1e3),
        many if many < 1e9 => format!("{:.1} M", many / 1e6),
        lots => format!("{:.1} G", lots / 1e9),
    }
}

/// A decimal with as many places as say something.
pub(super) fn decimal(number: f64) -> String {
    match number.abs() {
        large if large >= 100.0 => count(number.round().max(0.0) as u64),
        middle if middle >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// Seconds as `0.42 s`, `12.3 s`, `4 min 5 s`, `2 h 3 min`.
pub(super) fn seconds(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match seconds {
        0.0 => "0 s".to_owned(),
        short if short < 0.001 && short > 0.0 => "< 1 ms".to_owned(),
        short if short < 1.0 => format!("{:.0} ms", short * 1e3),
        some if some < 60.0 => format!("{some:.1} s"),
        _ if whole < 3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ if whole < 172_800 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// Money for people, from 1e-18 USD.
pub(super) fn usd(atto: i128) -> String {
    dollars(atto as f64 / 1e18)
}

/// Money for people.
pub(super) fn dollars(usd: f64) -> String {
    match usd.abs() {
        0.0 => "$0".to_owned(),
        tiny if tiny < 0.0001 => "< $0.0001".to_owned(),
        small if small < 0.1 => format!("${usd:.4}"),
        some if some < 1000.0 => format!("${usd:.2}"),
        _ => format!("${}", count(usd.round().max(0.0) as u64)),
    }
}

/// The exact amount, for whoever points at it.
pub(super) fn exact(atto: i128) -> String {
    format!("{} USD", Usd(atto))
}

/// `12.3 %`.
pub(super) fn percent(share: f64) -> String {
    if share != 0.0 && share.abs() < 0.1 {
        format!("{:.1} %", share * 100.0)
    } else {
        format!("{:.0} %", share * 100.0)
    }
}

/// `2026-11-20 23:05:12`, UTC; "–" of 0.
pub(super) fn time(at: u64) -> String {
    if at == 0 {
        return "–".to_owned();
    }
    rfc3339(UnixNanos(at)).get(..19).unwrap_or("").replace('T', " ")
}

/// How long ago.
pub(super) fn ago(at: u64, now: u64) -> String {
    let passed = now.saturating_sub(at) / 1_000_000_000;
    match passed {
        0..60 => format!("{passed} s ago"),
        60..3600 => format!("{} min ago", passed / 60),
        3600..172_800 => format!("{} h ago", passed / 3600),
        _ => format!("{} d ago", passed / 86_400),
    }
}
