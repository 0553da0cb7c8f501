//! `bill forecast`: each tenant's cost of a month, projected by plain arithmetic: what is known so far, divided by the
//! time that has passed, times the length of the month. It knows no weekends, trends or plans.

use std::collections::BTreeMap;

use clap::Args;
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::amounts::{format_amount, share};
use super::calls::OwnStatus;
use super::days::{second_of, utc_day_at};
use super::own::{IndexArgs, read_calls};
use super::prices::{Prices, parse_month};
use command::error::{CommandError, ExitStatus};
use command::output::{print, print_json};
use kernel::clock::{Clock as _, SystemClock};
use kernel::terminal::escape_unsafe;
use rates::Usd;

/// Options of `bill forecast`.
#[derive(Args)]
pub struct ForecastArgs {
    #[command(flatten)]
    index: IndexArgs,
    /// The month, such as `2026-11`, in UTC [default: this one].
    #[arg(long)]
    month: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Default)]
struct TenantSum {
    atto: i128,
    unpriced: u64,
}

/// Begin and end of a month, and how much of it has passed, in seconds.
struct MonthTime {
    begin: u64,
    end: u64,
    passed: u64,
}

impl MonthTime {
    fn new(first: Date, now: u64) -> Option<Self> {
        let begin_of = |day: Date| second_of(day, 0, &TimeZone::UTC);
        let (begin, end) = (begin_of(first)?, begin_of(first.checked_add(1.month()).ok()?)?);
        Some(Self { begin, end, passed: now.min(end).saturating_sub(begin) })
    }

    /// What an amount of the time that has passed makes in the whole month.
    fn project(&self, atto: i128) -> i128 {
        share(atto, self.end.saturating_sub(self.begin), self.passed)
    }
}

pub(crate) fn run(args: &ForecastArgs, prices: &Prices) -> Result<ExitStatus, CommandError> {
    let now = SystemClock::new().now().0;
    let first = match &args.month {
        Some(month) => parse_month(month)?.0,
        None => utc_day_at(now).ok_or("the clock is wrong")?.first_of_month(),
    };
    let time = MonthTime::new(first, now / 1_000_000_000).ok_or("the month is too far away")?;
    if time.passed == 0 {
        return Err(format!("{} has not begun (UTC)", first.strftime("%Y-%m")).into());
    }
    let mut tenants: BTreeMap<String, TenantSum> = BTreeMap::new();
    read_calls(&args.index, prices, first, &mut |call| {
        if (time.begin..time.end).contains(&(call.at / 1_000_000_000)) {
            let sum = tenants.entry(call.tail.tenant.clone()).or_default();
            sum.atto = sum.atto.saturating_add(call.atto());
            sum.unpriced += u64::from(call.status == OwnStatus::Unpriced);
        }
        Ok(())
    })?;
    if args.json {
        print_json(&serde_json::to_string_pretty(&as_json(first, &time, &tenants)).unwrap_or_default())?;
    } else {
        print(&as_text(first, &time, &tenants))?;
    }
    Ok(ExitStatus::Success)
}

fn as_json(first: Date, time: &MonthTime, tenants: &BTreeMap<String, TenantSum>) -> Json {
    let rows: Vec<Json> = (tenants.iter())
        .map(|(tenant, sum)| {
            json!({"tenant": tenant, "usd": Usd(sum.atto).to_string(), "unpriced_calls": sum.unpriced,
                "forecast_usd": Usd(time.project(sum.atto)).to_string()})
        })
        .collect();
    json!({"month": first.strftime("%Y-%m").to_string(), "seconds_passed": time.passed,
        "seconds_of_month": time.end.saturating_sub(time.begin), "tenants": rows})
}

fn as_text(first: Date, time: &MonthTime, tenants: &BTreeMap<String, TenantSum>) -> String {
    let (days, hours) = (time.passed / 86_400, time.passed % 86_400 / 3_600);
    let whole = time.end.saturating_sub(time.begin) / 86_400;
    let month = first.strftime("%Y-%m");
    let mut out = format!(
        "{month}: {days} days and {hours} hours of {whole} days have passed. Forecast: the cost so far, over the time \
         that has passed, for the whole month. It knows no weekends and no trends. Calls that a plan covers are in it, \
         at their API price.\n\n{:<34} {:>14} {:>14}\n",
        "tenant", "so far, USD", "forecast, USD"
    );
    let mut line = |name: &str, sum: &TenantSum| {
        let [so_far, forecast] = [sum.atto, time.project(sum.atto)].map(format_amount);
        let unpriced =
            if sum.unpriced > 0 { format!("  and {} calls without a price", sum.unpriced) } else { String::new() };
        out.push_str(&format!("{:<34} {so_far:>14} {forecast:>14}{unpriced}\n", escape_unsafe(name)));
    };
    let mut total = TenantSum::default();
    for (tenant, sum) in tenants {
        line(tenant, sum);
        total.atto = total.atto.saturating_add(sum.atto);
        total.unpriced += sum.unpriced;
    }
    line("total", &total);
    out
}
