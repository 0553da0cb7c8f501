//! The engine as a whole.

/// The estimated time until the spool is full follows the rate at which it fills, and is bounded if it does not fill.
#[test]
fn the_time_left_follows_the_rate() {
    let mut trend = super::SpoolFillTrend::default();
    let mut hours = |seconds: u64, bytes: u64| {
        trend.update(std::time::Duration::from_secs(seconds), 1_000_000_000 - bytes) / 3600.0
    };
    assert_eq!(hours(0, 0), 10_000.0);
    for second in 1..=3600 {
        hours(second, second * 10_000);
    }
    let left = hours(3601, 36_010_000);
    assert!((26.0..28.0).contains(&left), "964 MB at 10 kB a second: {left}");
    for second in 3602..=7300 {
        hours(second, 36_010_000);
    }
    assert_eq!(hours(7301, 36_010_000), 10_000.0);
    assert_eq!(hours(7302, 1_000_000_000), 0.0, "while it refuses");
}
