//! Formats instants as UTC days and RFC 3339 times. Every 64-bit instant has a form, and the forms sort like the
//! instants. `clock` reads the time.

use time::{Date, OffsetDateTime};

use crate::clock::UnixNanos;

/// The UTC day, such as `2026-11-20`.
pub fn date(at: UnixNanos) -> String {
    let mut out = String::with_capacity("2026-11-20".len());
    push_date(&mut out, utc(at).date());
    out
}

/// Appends the last `digits` decimal digits of `number`. Each item of a batch has several times, and `format!` is much
/// slower.
fn push_digits(out: &mut String, number: u32, digits: u32) {
    for power in (0..digits).rev() {
        let digit = number / 10_u32.pow(power) % 10;
        out.push(char::from(b'0' + digit as u8));
    }
}

fn push_date(out: &mut String, day: Date) {
    push_digits(out, day.year().unsigned_abs(), 4);
    out.push('-');
    push_digits(out, u8::from(day.month()).into(), 2);
    out.push('-');
    push_digits(out, day.day().into(), 2);
}

/// RFC 3339 in UTC with nanoseconds.
pub fn rfc3339(at: UnixNanos) -> String {
    let time = utc(at);
    let (hour, minute, second, nano) = time.time().as_hms_nano();
    let mut out = String::with_capacity("2026-11-20T00:00:00.000000000Z".len());
    push_date(&mut out, time.date());
    for (mark, number) in [('T', hour), (':', minute), (':', second)] {
        out.push(mark);
        push_digits(&mut out, number.into(), 2);
    }
    out.push('.');
    push_digits(&mut out, nano, 9);
    out.push('Z');
    out
}

/// A time of [`rfc3339`] for people, in minutes: `2026-11-20 23:05Z`.
pub fn cut_to_minutes(time: &str) -> String {
    time.get(..16).map_or_else(|| time.to_owned(), |minutes| format!("{}Z", minutes.replace('T', " ")))
}

/// Converts to a UTC calendar date and time.
pub fn utc(at: UnixNanos) -> OffsetDateTime {
    // u64 nanoseconds end in the year 2554, which is always in range
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
