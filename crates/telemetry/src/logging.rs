//! tollgate's own log: text on a terminal, JSON otherwise, always on stderr. No line contains payload text: callers
//! log reasons, counts and component ids. Metrics are in `meter`.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use super::quiet::Quiet;
use kernel::clock::{Clock, SystemClock};

/// Log level, as in the Collector's `service.telemetry.logs.level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every line.
    Debug,
    /// What an operator usually wants to know. The default.
    #[default]
    Info,
    /// Conditions that need attention soon.
    Warn,
    /// Conditions that need attention now.
    Error,
}

/// Starts logging. Later calls have no effect.
pub fn init(level: Level) {
    let own = match level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    };
    // Libraries log connections and bodies, so only their warnings are written, whatever the level.
    let filter = EnvFilter::new(format!("warn,tollgate={own}"));
    let terminal = std::io::stderr().is_terminal();
    let quiet = QUIET.get_or_init(|| Quiet::new(Arc::new(SystemClock::new()))).clone();
    let registry = tracing_subscriber::registry().with(filter).with(quiet);
    let started = if terminal {
        let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false).with_timer(Stamp);
        registry.with(layer).try_init()
    } else {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).with_timer(Stamp)).try_init()
    };
    drop(started);
}

/// One per process, like the log.
static QUIET: OnceLock<Quiet> = OnceLock::new();

/// Logs how many lines were left out. Call it about once a second.
pub fn upkeep() {
    if let Some(quiet) = QUIET.get() {
        quiet.upkeep();
    }
}

/// Formats time stamps as RFC 3339 in UTC, from tollgate's own clock.
struct Stamp;

impl fmt::time::FormatTime for Stamp {
    fn format_time(&self, writer: &mut fmt::format::Writer<'_>) -> std::fmt::Result {
        let nanos = i128::from(SystemClock::new().now().0);
        let now = time::OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        let format =
            time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        writer.write_str(&now.format(&format).unwrap_or_default())
    }
}
