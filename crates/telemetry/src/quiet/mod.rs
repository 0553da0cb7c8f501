//! **What**: [`Quiet`]: a line of the log that comes again and again is written a few times, then counted. **Why**: a
//! back end that is away for a night, or a client that can't be made to stop, must not fill the log's disk.
//! **Invariants**: what is counted is each place in the code, for each component that it speaks of, up to [`PLACES`],
//! so memory is bounded; the count is told once the time is over, whether or not the line comes again. **Not here**:
//! levels and formats (`logging`).

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

/// Lines of one place in the code that are written in one [`WINDOW`].
pub(super) const LINES: u32 = 10;
/// Time from the first of them to when they count anew.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
/// Target of the lines that tell what was left out: they are bounded by what they tell of.
const TARGET: &str = "tollgate::left_out";

/// Places that are told apart by component; those of more components share one each.
pub(super) const PLACES: usize = 1024;
/// Fields that name a component.
const COMPONENTS: [&str; 7] = ["exporter", "receiver", "processor", "connector", "consumer", "vault", "port"];

/// Modules that tell what an operator did and what came of it: starts, reloads, ends. Each line counts.
const LIFE: [&str; 2] = ["tollgate::cli", "tollgate::app::shutdown"];

/// See the module. Clones share it.
#[derive(Clone)]
pub(super) struct Quiet {
    clock: Arc<dyn Clock>,
    places: Arc<Mutex<HashMap<(Identifier, String), Place>>>,
}

/// The component that a line speaks of; none is "".
#[derive(Default)]
struct Component(String);

impl Component {
    fn of(event: &Event<'_>) -> String {
        let mut found = Self::default();
        if COMPONENTS.iter().any(|name| event.metadata().fields().field(name).is_some()) {
            event.record(&mut found);
        }
        found.0
    }
}

impl Visit for Component {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.0.is_empty() && COMPONENTS.contains(&field.name()) {
            self.0 = format!("{value:?}").trim_matches('"').to_owned();
        }
    }
}

/// A place in the code that logs.
struct Place {
    /// When its window began, monotonic.
    began: Duration,
    lines: u32,
    left_out: u64,
    /// Left out in windows before this one.
    untold: u64,
    file: &'static str,
    line: u32,
    component: String,
}

impl Quiet {
    /// Nothing was written yet.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, places: Arc::default() }
    }

    /// Tells what was left out of windows that are over. Call it about once a second.
    pub(super) fn upkeep(&self) {
        let now = self.clock.monotonic();
        let mut told = Vec::new();
        self.places.lock().retain(|_, place| {
            let over = now.saturating_sub(place.began) >= WINDOW;
            let left_out = place.untold + if over { place.left_out } else { 0 };
            if left_out > 0 {
                told.push((left_out, place.file, place.line, place.component.clone()));
                place.untold = 0;
            }
            !over
        });
        for (left_out, file, line, component) in told {
            let component = Some(component).filter(|name| !name.is_empty());
            tracing::warn!(target: TARGET, left_out, file, line, component, "lines like some before were left out");
        }
    }
}

impl<S: Subscriber> Layer<S> for Quiet {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let target = metadata.target();
        if target == TARGET || LIFE.iter().any(|module| target.starts_with(module)) {
            return true;
        }
        let (now, mut component) = (self.clock.monotonic(), Component::of(event));
        let mut places = self.places.lock();
        if places.len() >= PLACES && !places.contains_key(&(metadata.callsite(), component.clone())) {
            component.clear();
        }
        let place = places.entry((metadata.callsite(), component.clone())).or_insert_with(|| Place {
            began: now,
            lines: 0,
            left_out: 0,
            untold: 0,
            file: metadata.file().unwrap_or(""),
            line: metadata.line().unwrap_or(0),
            component,
        });
        if now.saturating_sub(place.began) >= WINDOW {
            place.untold += std::mem::take(&mut place.left_out);
            (place.began, place.lines) = (now, 0);
        }
        if place.lines >= LINES {
            place.left_out += 1;
            return false;
        }
        place.lines += 1;
        true
    }
}
