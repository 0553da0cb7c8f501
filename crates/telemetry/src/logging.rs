//! tollgate's own log: text on a terminal, JSON otherwise, always on stderr. No line contains payload text: callers
//! log reasons, counts and component ids. Metrics are in `meter`.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use super::log_limiter::LogRateLimiter;
use kernel::clock::{Clock, SystemClock};

/// Log level, as in the Collector's `service.telemetry.logs.level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
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

/// The crates of this workspace that write to the log; a test compares them with the workspace.
pub const OWN_CRATES: &str = "access audit bills budgets calls command config connectors echoes exporters genai history \
    kafka kernel net onboarding otlp pages pipeline processors rates receivers recogniser redaction runs telemetry tollgate \
    tracker vault";

/// Starts logging. Later calls have no effect.
pub fn init(level: LogLevel) {
    let own_level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    // Libraries log connections and bodies, so only their warnings are written, whatever the level. Those of krafka say
    // what the receiver and the exporter say again, with a remedy.
    let own = OWN_CRATES.split(' ').map(|name| format!(",{name}={own_level}"));
    let filter = EnvFilter::new(format!("warn,krafka=error{}", own.collect::<String>()));
    let is_terminal = std::io::stderr().is_terminal();
    let limiter = LOG_LIMITER.get_or_init(|| LogRateLimiter::new(Arc::new(SystemClock::new()))).clone();
    let registry = tracing_subscriber::registry().with(filter).with(limiter);
    let init_result = if is_terminal {
        let layer =
            fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false).with_timer(LogTimestamp);
        registry.with(layer).try_init()
    } else {
        registry
            .with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).with_timer(LogTimestamp))
            .try_init()
    };
    drop(init_result);
}

/// The limiter of this process's log.
static LOG_LIMITER: OnceLock<LogRateLimiter> = OnceLock::new();

/// Logs how many lines were left out. Call it about once a second.
pub fn report_left_out() {
    if let Some(limiter) = LOG_LIMITER.get() {
        limiter.report_left_out();
    }
}

/// Formats time stamps as RFC 3339 in UTC, from tollgate's own clock.
struct LogTimestamp;

impl fmt::time::FormatTime for LogTimestamp {
    fn format_time(&self, writer: &mut fmt::format::Writer<'_>) -> std::fmt::Result {
        let now = kernel::calendar::utc(SystemClock::new().now());
        let format =
            time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        writer.write_str(&now.format(&format).unwrap_or_default())
    }
}
