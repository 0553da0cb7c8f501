//! Points in time and durations given as options.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::CommandError;
use kernel::calendar::rfc3339;
use kernel::clock::{Clock as _, SystemClock, UnixNanos};

/// A point in time, given as RFC 3339 in UTC, as a day, or as the time since it. The result is RFC 3339 or a prefix of
/// it, to be compared as text.
///
/// # Errors
/// The text has none of these forms.
pub fn parse_time_option(text: &str) -> Result<String, CommandError> {
    if let Some(ago) = parse_duration(text) {
        // in whole seconds, so that equal times of one command are equal
        let now = SystemClock::new().now().0;
        return Ok(time_before(UnixNanos(now - now % 1_000_000_000), ago));
    }
    let time = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let is_utc = time.get(10..11) == Some("T") && time.ends_with('Z');
    if is_utc && OffsetDateTime::parse(&time, &Rfc3339).is_ok() {
        return Ok(text.trim_end_matches('Z').to_owned());
    }
    Err(CommandError::Usage("must be a time such as `24h`, `7d`, `2026-11-20` or `2026-11-20T08:00:00Z`".to_owned()))
}

/// The time `ago` before `now`, RFC 3339.
pub fn time_before(now: UnixNanos, ago: Duration) -> String {
    let ago = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
    rfc3339(UnixNanos(now.0.saturating_sub(ago)))
}

pub fn parse_duration(text: &str) -> Option<Duration> {
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(count.parse::<u64>().ok()?.checked_mul(seconds)?))
}
