//! The gateway's own page: what came in, what went out, what it cost, where the content is, which keys moved to the
//! vault, and which agents are not declared. It is made from the metrics alone; each number is formatted for people and
//! names its metric. It works without script, and everything is escaped. `mod` has the routes.

use askama::Template;

use super::super::Meter;
use super::super::moved_keys::{KEEP_RULE, MovedKey, UndeclaredAgent, VaultSummary};
use super::super::names::{self, MetricDefinition};
use super::super::notices::find_notices;
use super::super::series::{Histogram, MetricSeries};

struct PanelRow {
    what: String,
    labels: String,
    /// The value formatted for people.
    value: String,
    /// The value as in `/metrics`.
    exact: String,
    metric: String,
}

/// A key whose values moved to the vault.
struct MovedKeyRow {
    key: String,
    processor: String,
    count: String,
    exact: u64,
}

struct Panel {
    title: &'static str,
    rows: Vec<PanelRow>,
}

#[derive(Template)]
#[template(path = "page.html")]
struct GatewayPage<'a> {
    version: &'static str,
    troubles: &'a [(String, &'static str)],
    /// Problems of a gateway that is ready.
    notices: Vec<(String, &'static str)>,
    panels: Vec<Panel>,
    privacies: Vec<(String, String)>,
    moved: Vec<MovedKeyRow>,
    metric: &'static str,
    keeps: &'static str,
    keep_lines: Vec<String>,
    agents: Vec<UndeclaredAgent>,
    agents_lines: Vec<String>,
}

/// Renders the page.
///
/// # Errors
/// An error of the template.
pub(super) fn render(
    meter: &Meter,
    troubles: &[(String, &'static str)],
    money: fn(f64) -> String,
) -> Result<String, askama::Error> {
    let to_panel =
        |(title, lines): &(&'static str, &[PanelLine])| Panel { title, rows: panel_rows(meter, title, lines, money) };
    let durations = Panel { title: "Times of the last minutes: median and p95", rows: duration_rows(meter) };
    let panels = PANELS.iter().map(to_panel).chain([durations]).collect();
    let to_row = |moved: MovedKey| MovedKeyRow {
        count: format_number(moved.count as f64),
        exact: moved.count,
        key: moved.key,
        processor: moved.processor,
    };
    let vaults = VaultSummary::from_meter(meter);
    let page = GatewayPage {
        version: env!("CARGO_PKG_VERSION"),
        troubles,
        notices: find_notices(meter),
        panels,
        privacies: vaults.privacy_profiles,
        moved: vaults.moved_keys.into_iter().map(to_row).collect(),
        metric: names::VAULT_MOVED_VALUES.name,
        keeps: KEEP_RULE,
        keep_lines: vaults.keep_lines,
        agents: vaults.undeclared_agents,
        agents_lines: vaults.agents_lines,
    };
    page.render()
}

/// Formats a number for people: whole numbers with commas, others with a useful number of decimals.
fn format_number(value: f64) -> String {
    let magnitude = value.abs();
    let places = match magnitude {
        _ if !value.is_finite() => return value.to_string(),
        _ if magnitude >= 100.0 || value == value.trunc() => 0,
        _ if magnitude >= 10.0 => 1,
        _ if magnitude >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{value:.places$}");
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut out = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    let decimals = decimals.trim_end_matches('0');
    if decimals.is_empty() { out } else { format!("{out}.{decimals}") }
}

/// A line of a panel: the text before the labels, and the metric.
type PanelLine = (&'static str, &'static MetricDefinition);

static PANELS: &[(&str, &[PanelLine])] = &[
    (
        "Received",
        &[
            ("spans", &names::RECEIVER_ACCEPTED_SPANS),
            ("log records", &names::RECEIVER_ACCEPTED_LOGS),
            ("metric points", &names::RECEIVER_ACCEPTED_POINTS),
            ("spans refused", &names::RECEIVER_REFUSED_SPANS),
            ("log records refused", &names::RECEIVER_REFUSED_LOGS),
            ("metric points refused", &names::RECEIVER_REFUSED_POINTS),
            ("requests refused", &names::RECEIVER_REJECTIONS),
            ("requests to the admin port refused", &names::ADMIN_REJECTIONS),
        ],
    ),
    (
        "Sent",
        &[
            ("spans", &names::SENT_SPANS),
            ("log records", &names::SENT_LOGS),
            ("metric points", &names::SENT_POINTS),
            ("batches waiting", &names::QUEUE_SIZE),
            ("bytes waiting", &names::SPOOL_PENDING_BYTES),
            ("age of the oldest batch, s", &names::QUEUE_AGE),
            ("age of data that nothing reads, s", &names::SPOOL_UNREAD_SECONDS),
            ("records in Kafka's dead topic", &names::KAFKA_DEAD_TOPIC),
            ("retries", &names::RETRIES),
            ("credential or address refused", &names::DENIED),
            ("batches blocked: not cleared", &names::HELD),
            ("refused items quarantined", &names::SET_ASIDE),
        ],
    ),
    (
        "Cost",
        &[
            ("USD", &names::COST_USD),
            ("calls", &names::COST_CALLS),
            ("calls without a price", &names::COST_UNPRICED),
            ("calls without billing data", &names::COST_UNBILLED),
            ("tokens without a price", &names::COST_UNPRICED_TOKENS),
            ("calls with an unrecognized token count", &names::COST_UNRECOGNIZED_USAGE),
            ("calls whose client reported a different cost", &names::COST_MISMATCH),
            ("rate table", &names::RATES_INFO),
            ("newer rate table rejected", &names::RATES_REFRESH_FAILED),
        ],
    ),
    (
        "Vault",
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
        "Redaction",
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
            ("age of the oldest spool record, s", &names::SPOOL_OLDEST_SECONDS),
            ("free on the volume, bytes", &names::VOLUME_FREE_BYTES),
            ("in flight, bytes", &names::IN_FLIGHT_BYTES),
            ("items quarantined", &names::QUARANTINED_ITEMS),
            ("panics", &names::PANICS),
            ("memory, bytes", &names::RSS),
            ("uptime, s", &names::UPTIME),
        ],
    ),
];

/// The steps of a batch whose times the page shows.
static DURATIONS: &[PanelLine] = &[
    ("answer", &names::RECEIVER_ANSWER_SECONDS),
    ("commit", &names::COMMIT_SECONDS),
    ("sync of the spool", &names::SPOOL_FSYNC_SECONDS),
    ("Kafka's acknowledgement", &names::KAFKA_PRODUCE_SECONDS),
    ("send", &names::SEND_SECONDS),
    ("put into the vault", &names::VAULT_PUT_SECONDS),
];

/// Begins a new interval of the times that the page shows: it shows the last two.
pub fn mark_durations(meter: &Meter) {
    let series = DURATIONS.iter().flat_map(|(_, def)| meter.series(def));
    series.for_each(|series| series.histogram().into_iter().for_each(|histogram| histogram.mark()));
}

fn duration_rows(meter: &Meter) -> Vec<PanelRow> {
    let bound = |bound: f64| match bound.is_finite() {
        true => format!("≤ {} s", format_number(bound)),
        false => "over 10 min".to_owned(),
    };
    let mut rows = Vec::new();
    for (what, def) in DURATIONS {
        for series in meter.series(def).into_iter().take(MAX_ROWS) {
            let Some(recent) = series.histogram().map(Histogram::recent) else { continue };
            let (Some(median), Some(p95)) = (recent.percentile_bound(0.5), recent.percentile_bound(0.95)) else {
                continue;
            };
            rows.push(PanelRow {
                what: (*what).to_owned(),
                labels: label_values(&series),
                value: format!("{} · {}", bound(median), bound(p95)),
                exact: format!("{} times", recent.counts.iter().sum::<u64>()),
                metric: def.name.to_owned(),
            });
        }
    }
    rows
}

fn label_values(series: &MetricSeries) -> String {
    let labels: Vec<&str> = series.sorted_labels().into_iter().map(|(_, value)| value).collect();
    labels.join(" · ")
}

/// Maximum rows of one metric on the page; `/metrics` has all of them.
const MAX_ROWS: usize = 12;
/// Panels that show zero values too, because there zero is informative.
const ALWAYS_SHOWN: &[&str] = &["Health"];

fn panel_rows(meter: &Meter, title: &str, lines: &[PanelLine], money: fn(f64) -> String) -> Vec<PanelRow> {
    let mut rows = Vec::new();
    for (what, def) in lines {
        let series = meter.series(def).into_iter().filter_map(|series| Some((series.number()?, series)));
        let mut shown: Vec<_> = series.filter(|(number, _)| *number != 0.0 || ALWAYS_SHOWN.contains(&title)).collect();
        shown.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        for (number, series) in shown.into_iter().take(MAX_ROWS) {
            let format = if def.name == names::COST_USD.name { money } else { format_number };
            rows.push(PanelRow {
                what: (*what).to_owned(),
                labels: label_values(&series),
                value: format(number),
                exact: series.value.to_string(),
                metric: def.name.to_owned(),
            });
        }
    }
    rows
}
