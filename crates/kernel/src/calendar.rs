//! Formats instants as UTC days and RFC 3339 times. Every 64-bit instant has a form, and the forms sort like the
//! instants. `clock` reads the time.

use time::{Date, OffsetDateTime};

use crate::clock::UnixNanos;

/// The UTC day, such as `2026-11-20`.
pub fn date(at: UnixNanos) -> String {
    let day = utc(at).date();
    format_date(day)
}

fn format_date(day: Date) -> String {
    format!("{:04}-{:02}-{:02}", day.year(), u8::from(day.month()), day.day())
}

/// RFC 3339 in UTC with nanoseconds.
pub fn rfc3339(at: UnixNanos) -> String {
    let time = utc(at);
    let (hour, minute, second, nano) = time.time().as_hms_nano();
    format!("{}T{hour:02}:{minute:02}:{second:02}.{nano:09}Z", format_date(time.date()))
}

/// Converts to a UTC calendar date and time.
pub fn utc(at: UnixNanos) -> OffsetDateTime {
    // u64 nanoseconds end in the year 2554, which is always in range
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
