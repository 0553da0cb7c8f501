//! `tollgate top`: shows the gateway's first page in a terminal and refreshes it. Without a terminal it prints no
//! escape codes; control characters are removed from names. If the gateway is unreachable, the error is shown and the
//! gateway is queried again. A reader that goes away ends the command quietly. `history/figures` computes the figures.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::admin_address::run_with_client;
use super::common::CommonArgs;
use command::admin_client::AdminPortArgs;
use command::admin_client::{AdminClient, parse_json};
use command::error::{CommandError, ExitStatus};
use command::output::{self, use_colour_on_stdout};
use command::time_option::parse_duration;
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::{escape_unsafe, format_count};
use runs::amounts::{self, NO_PRICE};

/// Rows per table.
const MAX_ROWS: usize = 8;
const NAME_COLUMNS: usize = 24;
const MIN_ID_COLUMNS: usize = 26;
/// Moves to the first line and clears the rest of the screen.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[J";

#[derive(Args)]
pub(super) struct TopArgs {
    #[command(flatten)]
    admin_port: AdminPortArgs,
    /// Time window: `1h`, `6h` or `24h`.
    #[arg(long, default_value = "24h", value_parser = ["1h", "6h", "24h"])]
    window: String,
    /// Time between two refreshes, from `1s` to `1h`; a number alone is in seconds.
    #[arg(long, alias = "every", default_value = "5s", value_name = "TIME", value_parser = parse_interval)]
    interval: Duration,
    /// Prints the screen once and exits.
    #[arg(long)]
    once: bool,
}

fn parse_interval(text: &str) -> Result<Duration, CommandError> {
    let span = text.parse().ok().map(Duration::from_secs).or_else(|| parse_duration(text));
    let usage = || CommandError::Usage("must be a time from `1s` to `1h`, such as `5s`".to_owned());
    span.filter(|span| (1..=3600).contains(&span.as_secs())).ok_or_else(usage)
}

pub(super) fn run(common: &CommonArgs, options: &TopArgs) -> Result<ExitStatus, CommandError> {
    run_with_client(common, &options.admin_port, |gateway| refresh_screen(gateway, options))
}

async fn refresh_screen(gateway: AdminClient, options: &TopArgs) -> Result<(), CommandError> {
    let (clock, colour) = (SystemClock::new(), use_colour_on_stdout());
    loop {
        let answer = gateway.get(&format!("/?window={}", options.window), "application/json").await;
        let shown = match answer {
            Ok(text) => format_screen(&parse_json(&text)?, colour),
            Err(why) if options.once => return Err(why),
            Err(why) => format!("{why}\n"),
        };
        let shown = if colour && !options.once { format!("{CLEAR_SCREEN}{shown}") } else { shown };
        output::print(&shown)?;
        if options.once {
            return Ok(());
        }
        tokio::select! {
            () = clock.sleep(options.interval) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// A whole id, for `/runs/ID`.
fn format_id(value: &Value) -> String {
    escape_unsafe(value.as_str().filter(|text| !text.is_empty()).unwrap_or("-"))
}

/// A name cut to its columns.
fn format_name(value: &Value) -> String {
    let text = format_id(value);
    let mut cut: String = text.chars().take(NAME_COLUMNS).collect();
    if text.chars().count() > NAME_COLUMNS {
        cut.pop();
        cut.push('…');
    }
    cut
}

fn format_money(value: &Value) -> String {
    let usd = value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_f64());
    usd.map_or_else(|| NO_PRICE.to_owned(), amounts::format_dollars)
}

fn format_seconds(value: &Value) -> String {
    let seconds = value.as_f64().unwrap_or(0.0);
    match seconds {
        few if few < 60.0 => format!("{few:.1}s"),
        some if some < 3600.0 => format!("{}m{:02}s", some as u64 / 60, some as u64 % 60),
        many if many < 172_800.0 => format!("{}h{:02}m", many as u64 / 3600, many as u64 % 3600 / 60),
        days => format!("{}d{:02}h", days as u64 / 86_400, days as u64 % 86_400 / 3600),
    }
}

fn to_number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Writes one figure with its change since yesterday.
fn write_figure(out: &mut String, title: &str, figure: &Value, as_text: &dyn Fn(&Value) -> String) {
    let value = if figure["value"].is_null() { "-".to_owned() } else { as_text(&figure["value"]) };
    let change = figure["change"].as_f64();
    let change = change.map_or("-".to_owned(), |change| format!("{:+.0} % vs. yesterday", change * 100.0));
    // Writing to a String can't fail.
    let _ = writeln!(out, "  {title:<20} {value:>12}   {change}");
}

pub(super) fn format_screen(overview: &Value, colour: bool) -> String {
    let paint = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let mut out = String::new();
    let window = overview["window"].as_str().unwrap_or("");
    let (runs, live) = (to_number(&overview["runs"]), to_number(&overview["live_runs"]));
    let mut cost = format_money(&overview["cost_usd"]);
    if !overview["payable_usd"].is_null() && overview["payable_usd"] != overview["cost_usd"] {
        cost = format!("{} to pay, {cost} API-equivalent", format_money(&overview["payable_usd"]));
    }
    let head = format!("tollgate  last {window}  {}, {live} live now  {cost}", format_count(runs, "run"));
    let _ = writeln!(out, "{}\n", paint("1", &head));
    write_figure(&mut out, "iterations per run", &overview["iterations_per_run"], &|value| {
        format!("{:.2}", value.as_f64().unwrap_or(0.0))
    });
    write_figure(&mut out, "p95 time per run", &overview["p95_seconds_per_run"], &format_seconds);
    write_figure(&mut out, "failure rate", &overview["failure_rate"], &|value| {
        format!("{:.1} %", value.as_f64().unwrap_or(0.0) * 100.0)
    });
    write_figure(&mut out, "cost per run", &overview["cost_usd_per_run"], &format_money);
    let none = Vec::new();
    let rows = |key: &str| overview[key].as_array().unwrap_or(&none);
    for alert in rows("alerts").iter().filter(|alert| alert["state"] == "firing").take(MAX_ROWS) {
        let measured = escape_unsafe(alert["measured"].as_str().unwrap_or(""));
        let [severity, rule] = ["severity", "rule"].map(|key| format_name(&alert[key]));
        let alert_text = format!("{severity} {rule}: {measured}  {}", format_id(&alert["run_id"]));
        let _ = writeln!(out, "  {}", paint("31", &alert_text));
    }
    for (title, key) in [("most expensive runs", "most_expensive"), ("longest runs", "longest")] {
        let ids: Vec<String> = rows(key).iter().take(MAX_ROWS).map(|run| format_id(&run["id"])).collect();
        let width = ids.iter().map(|id| id.chars().count()).fold(MIN_ID_COLUMNS, usize::max);
        let heading = format!(
            "\n{title:<width$} {:<8} {:>10} {:>9} {:>6} {:>6}  {:<16} trace",
            "state", "cost", "time", "iter", "tools", "tenant"
        );
        let _ = writeln!(out, "{}", paint("1", &heading));
        let links = rows(&format!("{key}_trace_urls"));
        for (index, (id, run)) in std::iter::zip(&ids, rows(key)).enumerate() {
            let link = links.get(index).filter(|link| link.is_string()).unwrap_or(&run["trace_id"]);
            let _ = writeln!(
                out,
                "{id:<width$} {:<8} {:>10} {:>9} {:>6} {:>6}  {:<16} {}",
                format_name(&run["state"]),
                format_money(&run["cost_usd"]),
                format_seconds(&run["duration_seconds"]),
                to_number(&run["iterations"]),
                to_number(&run["tool_calls"]),
                format_name(&run["tenant"]).chars().take(16).collect::<String>(),
                escape_unsafe(link.as_str().unwrap_or("-")),
            );
        }
    }
    for (title, key) in
        [("cost by tenant", "by_tenant"), ("cost by model", "by_model"), ("cost by feature", "by_feature")]
    {
        let _ = writeln!(out, "{}", paint("1", &format!("\n{title}")));
        for share in rows(key).iter().take(MAX_ROWS) {
            let _ = writeln!(
                out,
                "{:<26} {:>10} {:>13}",
                format_name(&share["name"]),
                format_money(&share["cost_usd"]),
                format_count(to_number(&share["runs"]), "run")
            );
        }
    }
    out
}
