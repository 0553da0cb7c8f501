//! [`TimeOption`]: a point in time given as an option.

use std::time::Duration;

use crate::error::CommandError;
use kernel::calendar::rfc3339;
use kernel::clock::UnixNanos;

/// A point in time, absolute or relative.
#[derive(Clone)]
pub enum TimeOption {
    /// RFC 3339, or a prefix of it.
    Absolute(String),
    /// This long before now.
    Relative(Duration),
}

pub fn parse_time_option(text: &str) -> Result<TimeOption, CommandError> {
    if let Some(ago) = parse_duration(text) {
        return Ok(TimeOption::Relative(ago));
    }
    let digit_to_zero = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
    let shaped: Vec<u8> = text.bytes().map(digit_to_zero).collect();
    let is_time = shaped == b"0000-00-00" || (shaped.starts_with(b"0000-00-00T00:00:00") && text.ends_with('Z'));
    if is_time && is_valid_time(text) {
        return Ok(TimeOption::Absolute(text.trim_end_matches('Z').to_owned()));
    }
    Err(CommandError::Usage("must be a time such as `24h`, `7d`, `2026-11-20` or `2026-11-20T08:00:00Z`".to_owned()))
}

/// Whether the fields of a well-formed time are in range. For example, an invalid month would silently match
/// nothing or everything.
fn is_valid_time(text: &str) -> bool {
    let number = |from: usize| text.get(from..from + 2).and_then(|digits| digits.parse::<u8>().ok());
    let in_range =
        |from: usize, least: u8, most: u8| number(from).is_none_or(|number| (least..=most).contains(&number));
    let rest = text.get(19..).map_or("", |rest| rest.trim_end_matches('Z'));
    let fraction_ok = rest.is_empty() || rest.strip_prefix('.').is_some_and(|digits| digits.parse::<u64>().is_ok());
    in_range(5, 1, 12)
        && in_range(8, 1, 31)
        && in_range(11, 0, 23)
        && in_range(14, 0, 59)
        && in_range(17, 0, 60)
        && fraction_ok
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

impl TimeOption {
    pub fn to_text(&self, now: UnixNanos) -> String {
        match self {
            Self::Absolute(text) => text.clone(),
            Self::Relative(ago) => {
                let ago = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
                rfc3339(UnixNanos(now.0.saturating_sub(ago)))
            }
        }
    }
}
