//! Days and seconds in a time zone, for all commands.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// The day of a time (Unix seconds).
pub(crate) fn day_at(second: i64, zone: &TimeZone) -> Option<Date> {
    Some(Timestamp::from_second(second).ok()?.to_zoned_datetime(zone.clone()).date())
}

/// The day of a time (Unix ns), UTC.
pub(crate) fn utc_day_at(nanos: u64) -> Option<Date> {
    day_at(i64::try_from(nanos / 1_000_000_000).ok()?, &TimeZone::UTC)
}

/// When a day has come to this hour, Unix seconds.
pub(crate) fn second_of(day: Date, hour: i8, zone: &TimeZone) -> Option<u64> {
    let time = day.at(hour, 0, 0, 0).to_zoned_datetime(zone.clone()).ok()?.timestamp();
    u64::try_from(time.as_second()).ok()
}
