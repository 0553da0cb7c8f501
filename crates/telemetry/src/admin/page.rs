//! The gateway's own page: what came in, what went out, what it cost, where the content is, and which keys moved to
//! the vault. It is made from the text of `/metrics` alone; each number is formatted for people and names its metric.
//! It works without script, and everything is escaped. `mod` has the routes.

use askama::Template;

use super::super::moved::{KEEPS, Moved, Vaults};
use super::super::names::{self, Def};
use super::super::samples::{Sample, parse};

/// One row of a panel.
struct Row {
    what: String,
    labels: String,
    /// The value formatted for people.
    value: String,
    /// The value as in `/metrics`.
    exact: String,
    metric: String,
}

/// A key whose values moved to the vault.
struct Key {
    key: String,
    processor: String,
    count: String,
    exact: u64,
    keep: String,
}

struct Panel {
    title: &'static str,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    version: &'static str,
    troubles: &'a [(String, &'static str)],
    panels: Vec<Panel>,
    privacies: Vec<(String, String)>,
    moved: Vec<Key>,
    metric: &'static str,
    keeps: &'static str,
}

/// Renders the page from the text of `/metrics`.
///
/// # Errors
/// An error of the template.
pub(super) fn render(
    metrics: &str,
    troubles: &[(String, &'static str)],
    money: fn(f64) -> String,
) -> Result<String, askama::Error> {
    let samples = parse(metrics);
    let panel = |(title, lines): &(&'static str, &[Line])| Panel { title, rows: rows(&samples, title, lines, money) };
    let panels = PANELS.iter().map(panel).collect();
    let key = |moved: Moved| Key {
        count: number(moved.count as f64),
        exact: moved.count,
        keep: moved.keep.unwrap_or_default(),
        key: moved.key,
        processor: moved.processor,
    };
    let Vaults { privacies, moved } = Vaults::of_samples(&samples);
    let moved = moved.into_iter().take(MAX_ROWS).map(key).collect();
    let metric = names::VAULT_MOVED_VALUES.name;
    Page { version: env!("CARGO_PKG_VERSION"), troubles, panels, privacies, moved, metric, keeps: KEEPS }.render()
}

/// Formats a number for people: whole numbers with commas, others with a useful number of decimals.
fn number(value: f64) -> String {
    let size = value.abs();
    let places = match size {
        _ if !value.is_finite() => return value.to_string(),
        _ if size >= 100.0 || value == value.trunc() => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{value:.places$}");
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut out = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    let part = part.trim_end_matches('0');
    if part.is_empty() { out } else { format!("{out}.{part}") }
}

/// A line of a panel: the text before the labels, and the metric.
type Line = (&'static str, &'static Def);

/// The panels and their metrics.
static PANELS: &[(&str, &[Line])] = &[
    (
        "What came in",
        &[
            ("spans", &names::RECEIVER_ACCEPTED_SPANS),
            ("log records", &names::RECEIVER_ACCEPTED_LOGS),
            ("metric points", &names::RECEIVER_ACCEPTED_POINTS),
            ("spans pushed back", &names::RECEIVER_REFUSED_SPANS),
            ("log records pushed back", &names::RECEIVER_REFUSED_LOGS),
            ("metric points pushed back", &names::RECEIVER_REFUSED_POINTS),
            ("requests refused", &names::RECEIVER_REJECTIONS),
        ],
    ),
    (
        "What went out",
        &[
            ("spans", &names::SENT_SPANS),
            ("log records", &names::SENT_LOGS),
            ("metric points", &names::SENT_POINTS),
            ("batches waiting", &names::QUEUE_SIZE),
            ("oldest waits, s", &names::QUEUE_AGE),
            ("retries", &names::RETRIES),
            ("credential or address refused", &names::DENIED),
            ("batches held: not cleared", &names::HELD),
            ("items set aside", &names::SET_ASIDE),
        ],
    ),
    (
        "What it cost",
        &[
            ("USD", &names::COST_USD),
            ("calls", &names::COST_CALLS),
            ("calls without a price", &names::COST_UNPRICED),
            ("calls left unbilled", &names::COST_UNBILLED),
            ("tokens without a price", &names::COST_UNPRICED_TOKENS),
            ("calls whose client said another cost", &names::COST_MISMATCH),
            ("rate table", &names::RATES_INFO),
            ("newer rate table not taken", &names::RATES_REFRESH_FAILED),
        ],
    ),
    (
        "Where the content is",
        &[
            ("fragments sealed", &names::VAULT_FRAGMENTS),
            ("content, bytes", &names::VAULT_CONTENT_BYTES),
            ("waiting for upload, bytes", &names::VAULT_PENDING_BYTES),
            ("upload lag, s", &names::VAULT_UPLOAD_LAG),
            ("uploads", &names::VAULT_UPLOADS),
            ("items dropped (store: none)", &names::VAULT_DROPPED_ITEMS),
        ],
    ),
    (
        "What was private",
        &[
            ("replaced", &names::REDACTIONS),
            ("credentials dropped", &names::REDACT_DROPPED_ATTRIBUTES),
            ("values cut", &names::REDACT_CUT_VALUES),
        ],
    ),
    (
        "Health",
        &[
            ("spool, bytes", &names::SPOOL_BYTES),
            ("spool limit, bytes", &names::SPOOL_LIMIT_BYTES),
            ("oldest in the spool, s", &names::SPOOL_OLDEST_SECONDS),
            ("in flight, bytes", &names::IN_FLIGHT_BYTES),
            ("items quarantined", &names::QUARANTINED_ITEMS),
            ("panics", &names::PANICS),
            ("memory, bytes", &names::RSS),
            ("uptime, s", &names::UPTIME),
        ],
    ),
];

/// Maximum rows of one metric on the page; `/metrics` has all of them.
const MAX_ROWS: usize = 12;
/// Panels that show zero values too, because there zero is informative.
const ALWAYS: &[&str] = &["Health"];

fn rows(samples: &[Sample], title: &str, lines: &[Line], money: fn(f64) -> String) -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, def) in lines {
        let mut found: Vec<&Sample> = samples.iter().filter(|sample| sample.name == def.name).collect();
        found.retain(|sample| sample.number() != 0.0 || ALWAYS.contains(&title));
        found.sort_by(|a, b| b.number().total_cmp(&a.number()));
        for sample in found.into_iter().take(MAX_ROWS) {
            let labels: Vec<&str> = sample.labels.values().map(String::as_str).collect();
            let labels = labels.join(" · ");
            let shown = if def.name == names::COST_USD.name { money } else { number };
            let (what, value) = ((*what).to_owned(), shown(sample.number()));
            rows.push(Row { what, labels, value, exact: sample.value.clone(), metric: def.name.to_owned() });
        }
    }
    rows
}
