//! [`LogRateLimiter`]: writes a repeated log line a few times, then only counts it, so that a back end that is down for
//! a night, or a client that keeps failing, does not fill the log's disk. Lines are counted by place in the code and
//! component, for up to [`MAX_PLACES`] pairs, so memory is limited. The count is logged when its window is over,
//! whether or not the line occurs again. `logging` has levels and formats.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use kernel::clock::Clock;

#[cfg(test)]
mod tests;

/// Maximum number of lines of one place and component that are written within one [`WINDOW`].
pub(super) const MAX_LINES: u32 = 10;
/// Length of a window, from its first line.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
/// Target of the lines that report a count. They are not limited themselves: each reports lines that are.
const REPORT_TARGET: &str = "tollgate::left_out";

/// Maximum number of pairs of place and component; further components share one entry per place.
pub(super) const MAX_PLACES: usize = 1024;
/// Log fields whose value names a component.
const COMPONENT_FIELDS: [&str; 7] = ["exporter", "receiver", "processor", "connector", "consumer", "vault", "port"];

/// Modules that log an operator's actions and their results: starts, reloads, ends. Their lines are never left out.
const NEVER_LIMITED: [&str; 3] = ["tollgate::cli", "tollgate::app::shutdown", "tollgate::app::spool_changes"];

/// The rate limiter of log lines; see the module. Clones share the same state.
#[derive(Clone)]
pub(super) struct LogRateLimiter {
    clock: Arc<dyn Clock>,
    counters: Arc<Mutex<HashMap<(Identifier, String), LineCounter>>>,
}

/// Finds the component that a line names; "" if there is none.
#[derive(Default)]
struct ComponentVisitor(String);

impl ComponentVisitor {
    fn find_in(event: &Event<'_>) -> String {
        let mut found = Self::default();
        if COMPONENT_FIELDS.iter().any(|name| event.metadata().fields().field(name).is_some()) {
            event.record(&mut found);
        }
        found.0
    }
}

impl Visit for ComponentVisitor {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.0.is_empty() && COMPONENT_FIELDS.contains(&field.name()) {
            self.0 = format!("{value:?}").trim_matches('"').to_owned();
        }
    }
}

/// Counts of one place in the code and one component.
struct LineCounter {
    /// When the current window began, by the monotonic clock.
    window_start: Duration,
    written: u32,
    left_out: u64,
    /// Lines left out in earlier windows and not reported yet.
    unreported: u64,
    file: &'static str,
    line: u32,
}

impl LogRateLimiter {
    /// A limiter that has counted nothing yet.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, counters: Arc::default() }
    }

    /// Logs the counts of windows that are over. Call it about once a second.
    pub(super) fn report_left_out(&self) {
        let now = self.clock.monotonic();
        let mut reports = Vec::new();
        self.counters.lock().retain(|(_, component), counter| {
            let is_over = now.saturating_sub(counter.window_start) >= WINDOW;
            let left_out = counter.unreported + if is_over { counter.left_out } else { 0 };
            if left_out > 0 {
                reports.push((left_out, counter.file, counter.line, component.clone()));
                counter.unreported = 0;
            }
            !is_over
        });
        for (left_out, file, line, component) in reports {
            let component = Some(component).filter(|name| !name.is_empty());
            tracing::warn!(target: REPORT_TARGET, left_out, file, line, component, "repeated log lines were suppressed");
        }
    }
}

impl<S: Subscriber> Layer<S> for LogRateLimiter {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let target = metadata.target();
        if target == REPORT_TARGET || NEVER_LIMITED.iter().any(|module| target.starts_with(module)) {
            return true;
        }
        let (now, mut component) = (self.clock.monotonic(), ComponentVisitor::find_in(event));
        let mut counters = self.counters.lock();
        if counters.len() >= MAX_PLACES && !counters.contains_key(&(metadata.callsite(), component.clone())) {
            component.clear();
        }
        let counter = counters.entry((metadata.callsite(), component)).or_insert_with(|| LineCounter {
            window_start: now,
            written: 0,
            left_out: 0,
            unreported: 0,
            file: metadata.file().unwrap_or(""),
            line: metadata.line().unwrap_or(0),
        });
        if now.saturating_sub(counter.window_start) >= WINDOW {
            counter.unreported += std::mem::take(&mut counter.left_out);
            (counter.window_start, counter.written) = (now, 0);
        }
        if counter.written >= MAX_LINES {
            counter.left_out += 1;
            return false;
        }
        counter.written += 1;
        true
    }
}
