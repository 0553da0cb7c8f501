//! `tollgate top`: shows the gateway's first page in a terminal and refreshes it. Without a terminal it prints no
//! escape codes; control characters are removed from names. If the gateway is unreachable, that is shown and it is
//! queried again. A reader that goes away ends the command quietly. `history/figures` computes the figures.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::ask::{Asker, parsed};
use super::common::Common;
use super::error::{CommandError, Exit};
use super::output::{self, colour_out};
use super::place::{Where, with};
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::{clean, counted};
use runs::words::{self, NO_PRICE};

/// Rows per table.
const ROWS: usize = 8;
/// Columns of a name.
const NAME: usize = 24;
/// Moves to the first line and clears the rest of the screen.
const HOME: &str = "\x1b[H\x1b[J";

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    at: Where,
    /// Time window: `1h`, `6h` or `24h`.
    #[arg(long, default_value = "24h", value_parser = ["1h", "6h", "24h"])]
    window: String,
    /// Seconds between two refreshes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Prints the screen once and exits.
    #[arg(long)]
    once: bool,
}

pub(super) fn run(common: &Common, options: &Options) -> Result<Exit, CommandError> {
    with(common, &options.at, |gateway| watch(gateway, options))
}

async fn watch(gateway: Asker, options: &Options) -> Result<(), CommandError> {
    let (clock, colour) = (SystemClock::new(), colour_out());
    loop {
        let answer = gateway.get(&format!("/?window={}", options.window), "application/json").await;
        let shown = match answer {
            Ok(text) => screen(&parsed(&text)?, colour),
            Err(why) if options.once => return Err(why),
            Err(why) => format!("{why}\n"),
        };
        let shown = if colour && !options.once { format!("{HOME}{shown}") } else { shown };
        output::print(&shown)?;
        if options.once {
            return Ok(());
        }
        tokio::select! {
            () = clock.sleep(Duration::from_secs(options.every)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// A name cut to its columns.
fn name(value: &Value) -> String {
    let text = clean(value.as_str().filter(|text| !text.is_empty()).unwrap_or("-"));
    let mut cut: String = text.chars().take(NAME).collect();
    if text.chars().count() > NAME {
        cut.pop();
        cut.push('…');
    }
    cut
}

fn money(value: &Value) -> String {
    let usd = value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_f64());
    usd.map_or_else(|| NO_PRICE.to_owned(), words::dollars)
}

fn seconds(value: &Value) -> String {
    let seconds = value.as_f64().unwrap_or(0.0);
    match seconds {
        few if few < 60.0 => format!("{few:.1}s"),
        some if some < 3600.0 => format!("{}m{:02}s", some as u64 / 60, some as u64 % 60),
        many if many < 172_800.0 => format!("{}h{:02}m", many as u64 / 3600, many as u64 % 3600 / 60),
        days => format!("{}d{:02}h", days as u64 / 86_400, days as u64 % 86_400 / 3600),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Writes one figure with its change since yesterday.
fn line(out: &mut String, title: &str, number: &Value, as_text: &dyn Fn(&Value) -> String) {
    let value = if number["value"].is_null() { "-".to_owned() } else { as_text(&number["value"]) };
    let change = number["change"].as_f64();
    let change = change.map_or("-".to_owned(), |change| format!("{:+.0} % vs. yesterday", change * 100.0));
    // Writing to a String can't fail.
    let _ = writeln!(out, "  {title:<20} {value:>12}   {change}");
}

/// Formats the whole screen.
pub(super) fn screen(all: &Value, colour: bool) -> String {
    let paint = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let mut out = String::new();
    let window = all["window"].as_str().unwrap_or("");
    let (runs, live) = (number(&all["runs"]), number(&all["live_runs"]));
    let head =
        format!("tollgate  last {window}  {}, {live} live now  {}", counted(runs, "run"), money(&all["cost_usd"]));
    let _ = writeln!(out, "{}\n", paint("1", &head));
    line(&mut out, "iterations per run", &all["iterations_per_run"], &|value| {
        format!("{:.2}", value.as_f64().unwrap_or(0.0))
    });
    line(&mut out, "p95 time per run", &all["p95_seconds_per_run"], &seconds);
    line(&mut out, "failure rate", &all["failure_rate"], &|value| {
        format!("{:.1} %", value.as_f64().unwrap_or(0.0) * 100.0)
    });
    line(&mut out, "cost per run", &all["cost_usd_per_run"], &money);
    let none = Vec::new();
    let list = |key: &str| all[key].as_array().unwrap_or(&none);
    for alert in list("alerts").iter().filter(|alert| alert["state"] == "firing").take(ROWS) {
        let measured = clean(alert["measured"].as_str().unwrap_or(""));
        let [severity, rule, run] = ["severity", "rule", "run_id"].map(|key| name(&alert[key]));
        let said = format!("{severity} {rule}: {measured}  {run}");
        let _ = writeln!(out, "  {}", paint("31", &said));
    }
    for (title, key) in [("most expensive runs", "most_expensive"), ("longest runs", "longest")] {
        let heading = format!(
            "\n{title:<26} {:<8} {:>10} {:>9} {:>6} {:>6}  {:<16} trace",
            "state", "cost", "time", "iter", "tools", "tenant"
        );
        let _ = writeln!(out, "{}", paint("1", &heading));
        let links = list(&format!("{key}_trace_urls"));
        for (at, run) in list(key).iter().take(ROWS).enumerate() {
            let link = links.get(at).filter(|link| link.is_string()).unwrap_or(&run["trace_id"]);
            let _ = writeln!(
                out,
                "{:<26} {:<8} {:>10} {:>9} {:>6} {:>6}  {:<16} {}",
                name(&run["id"]),
                name(&run["state"]),
                money(&run["cost_usd"]),
                seconds(&run["duration_seconds"]),
                number(&run["iterations"]),
                number(&run["tool_calls"]),
                name(&run["tenant"]).chars().take(16).collect::<String>(),
                clean(link.as_str().unwrap_or("-")),
            );
        }
    }
    for (title, key) in
        [("cost by tenant", "by_tenant"), ("cost by model", "by_model"), ("cost by feature", "by_feature")]
    {
        let _ = writeln!(out, "{}", paint("1", &format!("\n{title}")));
        for share in list(key).iter().take(ROWS) {
            let _ = writeln!(
                out,
                "{:<26} {:>10} {:>13}",
                name(&share["name"]),
                money(&share["cost_usd"]),
                counted(number(&share["runs"]), "run")
            );
        }
    }
    out
}
