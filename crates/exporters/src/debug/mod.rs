//! The `debug` exporter: prints the requests that would be sent, so that a person can check what leaves the gateway.
//! It is treated as a third party unless `trust` says otherwise. Control characters of telemetry never reach the
//! terminal. A closed pipe is not an error: printing just stops. A slow reader blocks only this exporter. The
//! gateway's own log is in `telemetry/logging`.

mod config;
mod render;
mod spans;
mod tree;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;

use crate::spec::{BuildError, ExportTarget, ExporterDeps, ExporterProfile, ExporterSpec};
use ::config::ComponentId;
use kernel::clock::Clock;
use otlp::{Signal, json};
use pipeline::{ExportRequest, Exporter, Outcome, Reason, Trust};

use spans::SpanRateLimiter;
use tree::JsonNode;

pub use config::{DebugExporterConfig, DebugExporterSettings, Verbosity};
pub use render::render_request;

/// Batches are merged up to this size and split above it, because a person reads them. A single item may be as large
/// as receivers accept.
const MAX_REQUEST: usize = 1 << 20;

/// The destination of the printed text.
type DebugOutput = Box<dyn AsyncWrite + Send + Unpin>;

pub struct DebugExporter {
    id: Arc<str>,
    settings: DebugExporterSettings,
    /// `None` once the output is closed.
    sink: Mutex<Option<DebugOutput>>,
    span_limiter: parking_lot::Mutex<SpanRateLimiter>,
    clock: Arc<dyn Clock>,
}

/// Creates the exporter. It prints to standard output, if there is one.
pub fn build(id: &ComponentId, settings: DebugExporterSettings, clock: Arc<dyn Clock>) -> DebugExporter {
    // A duplicate descriptor: writes then go to the runtime's file threads, not through the shared, blocking handle.
    let stdout = io::stdout().as_fd().try_clone_to_owned().ok();
    let sink = stdout.map(|stdout| Box::new(tokio::fs::File::from_std(File::from(stdout))) as DebugOutput);
    with_sink(id, settings, sink, clock)
}

fn with_sink(
    id: &ComponentId,
    settings: DebugExporterSettings,
    sink: Option<DebugOutput>,
    clock: Arc<dyn Clock>,
) -> DebugExporter {
    DebugExporter {
        id: id.to_string().into(),
        settings,
        sink: Mutex::new(sink),
        span_limiter: Default::default(),
        clock,
    }
}

impl DebugExporter {
    fn render(&self, request: &ExportRequest) -> Option<String> {
        let mut out = render_request(request, self.settings.verbosity)?;
        if self.settings.verbosity == Verbosity::Spans && request.signal == Signal::Traces {
            let mut text = String::new();
            json::encode(request.signal, &request.body.joined(), &mut text).ok()?;
            let (tree, now) = (JsonNode::read(&text)?, self.clock.monotonic());
            let open_with = self.settings.open_with.as_deref().unwrap_or_default();
            spans::write_spans(&mut out, &tree, open_with, &mut self.span_limiter.lock(), now);
        }
        Some(out)
    }
}

impl ExporterSpec for DebugExporterSettings {
    fn profile(&self) -> ExporterProfile<'_> {
        ExporterProfile::local(self.trust, ExportTarget::Output)
    }

    fn accepts_signal(&self, _: Signal) -> bool {
        true
    }

    fn build(&self, id: &ComponentId, deps: ExporterDeps) -> Result<Arc<dyn Exporter>, BuildError> {
        Ok(Arc::new(build(id, self.clone(), deps.services.clock)))
    }
}

impl Exporter for DebugExporter {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn trust(&self) -> Trust {
        self.settings.trust
    }

    fn max_request_bytes(&self) -> usize {
        MAX_REQUEST
    }

    fn max_item_bytes(&self) -> usize {
        usize::MAX
    }

    fn send<'a>(&'a self, request: &'a ExportRequest) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let Some(text) = self.render(request) else {
                return Outcome::Refused { reason: Reason::BadData };
            };
            let mut open = self.sink.lock().await;
            let Some(sink) = open.as_mut() else { return Outcome::Accepted };
            match write_and_flush(sink, text.as_bytes()).await {
                Ok(()) => Outcome::Accepted,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    *open = None;
                    Outcome::Accepted
                }
                Err(_) => Outcome::Retry { after: None, reason: Reason::Unavailable },
            }
        })
    }
}

async fn write_and_flush(sink: &mut DebugOutput, text: &[u8]) -> io::Result<()> {
    sink.write_all(text).await?;
    sink.flush().await
}
