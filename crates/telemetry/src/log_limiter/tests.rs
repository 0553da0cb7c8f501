use std::io::{self, Write};

use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use kernel::clock::{ManualClock, UnixNanos};

/// Collects the written lines.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn lines(&self, holding: &str) -> usize {
        String::from_utf8(self.0.lock().clone()).unwrap().lines().filter(|line| line.contains(holding)).count()
    }
}

/// A line that repeats without end is written a few times per window, its count is logged once the window is over, and
/// no other line is lost because of it.
#[test]
fn the_same_line_is_written_a_few_times_and_counted() {
    let (clock, written) = (ManualClock::at(UnixNanos(0)), Written::default());
    let quiet = LogRateLimiter::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let to = written.clone();
    let layer = fmt::layer().with_ansi(false).with_writer(move || to.clone());
    let subscriber = tracing_subscriber::registry().with(quiet.clone()).with(layer);
    let flood = |times: u64| (0..times).for_each(|n| tracing::error!(n, "the back end is away"));
    tracing::subscriber::with_default(subscriber, || {
        flood(1000);
        tracing::warn!("something else");
        assert_eq!(written.lines("the back end is away"), MAX_LINES as usize);
        assert_eq!(written.lines("something else"), 1, "another place in the code has lines of its own");
        (0..12).for_each(|_| tracing::info!(target: "tollgate::cli::reload", "read again"));
        assert_eq!(written.lines("read again"), 12, "what the operator does is told each time");
        quiet.report_left_out();
        assert_eq!(written.lines("left_out"), 0, "the window is not over");
        clock.advance(WINDOW);
        quiet.report_left_out();
        assert_eq!(written.lines("left_out=990"), 1);
        quiet.report_left_out();
        assert_eq!(written.lines("left_out"), 1, "told once");
        flood(12);
        clock.advance(WINDOW);
        flood(11);
        assert_eq!(written.lines("the back end is away"), 3 * MAX_LINES as usize, "again in each window");
        quiet.report_left_out();
        assert_eq!(written.lines("left_out=2"), 1, "what was left out before a window began anew is told, too");
    });
}

/// One exporter's noise must not hide another's failure, and component names that clients can choose must not use
/// unlimited memory.
#[test]
fn each_component_has_lines_of_its_own() {
    let (clock, written) = (ManualClock::at(UnixNanos(0)), Written::default());
    let quiet = LogRateLimiter::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let to = written.clone();
    let layer = fmt::layer().with_ansi(false).with_writer(move || to.clone());
    let subscriber = tracing_subscriber::registry().with(quiet.clone()).with(layer);
    let warn = |exporter: &str| tracing::warn!(exporter, "requests to the back end fail");
    tracing::subscriber::with_default(subscriber, || {
        (0..100).for_each(|_| warn("otlp/noisy"));
        warn("otlp/other");
        assert_eq!(written.lines("exporter=\"otlp/noisy\""), MAX_LINES as usize);
        assert_eq!(written.lines("exporter=\"otlp/other\""), 1);
        (0..2 * MAX_PLACES).for_each(|n| warn(&format!("otlp/{n}")));
        assert!(quiet.counters.lock().len() <= MAX_PLACES + 1);
        clock.advance(WINDOW);
        quiet.report_left_out();
        assert_eq!(written.lines("left_out=90"), 1);
        assert_eq!(written.lines("component=\"otlp/noisy\""), 1, "it is told whose lines they were");
    });
}
