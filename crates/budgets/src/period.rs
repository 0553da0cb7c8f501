//! [`Period`]: the time after which a budget's sum begins anew, by the calendar of a time zone.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, ZonedDateTime};

kernel::word_enum! {
    /// The time after which a sum begins anew.
    #[derive(Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    #[serde(rename_all = "snake_case")]
    pub Period {
        #[default]
        None = "none",
        Hour = "hour",
        Day = "day",
        /// From Monday.
        Week = "week",
        Month = "month",
    }
}

impl Period {
    /// Begin and end of the period around `at`, unix ns; all of time for [`Period::None`].
    pub fn around(self, at: u64, zone: &TimeZone) -> (u64, u64) {
        self.find(at, zone).unwrap_or((0, u64::MAX))
    }

    fn find(self, at: u64, zone: &TimeZone) -> Option<(u64, u64)> {
        let now = Timestamp::from_nanosecond(i128::from(at)).ok()?.to_zoned_datetime(zone.clone());
        let day = || now.start_of_day().ok();
        let (begin, span) = match self {
            Self::None => return None,
            // counted in elapsed time, so that an hour that a clock change repeats is two hours
            Self::Hour => {
                let into = i64::from(now.minute()) * 60 + i64::from(now.second());
                let whole = now.with().subsec_nanosecond(0).build().ok()?;
                (whole.checked_sub(into.seconds()).ok()?, 1.hour())
            }
            Self::Day => (day()?, 1.day()),
            Self::Week => {
                let since = now.weekday().since(Weekday::Monday);
                (day()?.checked_sub(i64::from(since).days()).ok()?.start_of_day().ok()?, 1.week())
            }
            Self::Month => (now.first_of_month().ok()?.start_of_day().ok()?, 1.month()),
        };
        let end = begin.checked_add(span).ok()?;
        Some((nanos(&begin)?, nanos(&end)?)).filter(|(begin, end)| *begin <= at && at < *end)
    }
}

fn nanos(time: &ZonedDateTime) -> Option<u64> {
    u64::try_from(time.timestamp().as_nanosecond()).ok()
}
