//! [`Moment`]: a point in time given as an option.

use std::time::Duration;

use super::error::CommandError;
use kernel::clock::UnixNanos;
use vault::names::rfc3339;

/// A point in time, absolute or relative.
#[derive(Clone)]
pub(super) enum Moment {
    /// RFC 3339, or a prefix of it.
    At(String),
    /// This long before now.
    Ago(Duration),
}

pub(super) fn moment(text: &str) -> Result<Moment, CommandError> {
    if let Some(ago) = ago(text) {
        return Ok(Moment::Ago(ago));
    }
    let shape = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
    let shaped: Vec<u8> = text.bytes().map(shape).collect();
    let shape = shaped == b"0000-00-00" || (shaped.starts_with(b"0000-00-00T00:00:00") && text.ends_with('Z'));
    if shape && is_time(text) {
        return Ok(Moment::At(text.trim_end_matches('Z').to_owned()));
    }
    Err(CommandError::Usage("is no time: `24h`, `7d`, `2026-11-20` or `2026-11-20T08:00:00Z`".to_owned()))
}

/// Whether the fields of a well-formed time are in range. An invalid month, say, would silently match nothing or
/// everything.
fn is_time(text: &str) -> bool {
    let number = |from: usize| text.get(from..from + 2).and_then(|digits| digits.parse::<u8>().ok());
    let within = |from: usize, least: u8, most: u8| number(from).is_none_or(|number| (least..=most).contains(&number));
    let rest = text.get(19..).map_or("", |rest| rest.trim_end_matches('Z'));
    let fraction = rest.is_empty() || rest.strip_prefix('.').is_some_and(|digits| digits.parse::<u64>().is_ok());
    within(5, 1, 12) && within(8, 1, 31) && within(11, 0, 23) && within(14, 0, 59) && within(17, 0, 60) && fraction
}

pub(super) fn ago(text: &str) -> Option<Duration> {
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

impl Moment {
    pub(super) fn text(&self, now: UnixNanos) -> String {
        match self {
            Self::At(text) => text.clone(),
            Self::Ago(ago) => {
                let ago = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
                rfc3339(UnixNanos(now.0.saturating_sub(ago)))
            }
        }
    }
}
