//! The `file` exporter: appends OTLP/JSON, one request per line, for other tools to read.
//! A request is accepted only after its line is on disk, complete or not at all. The file is created with mode 0600,
//! and an advisory lock keeps a second writer out. `otlp/json` encodes; `pipeline/outlet` retries.

mod config;
mod line_file;
mod rotate;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use crate::spec::{BuildError, ExportTarget, ExporterDeps, ExporterProfile, ExporterSpec};
use ::config::ComponentId;
use kernel::clock::Clock;
use otlp::Signal;
use otlp::json;
use pipeline::{ExportRequest, Exporter, Outcome, Reason, Trust};

pub use config::{FileExporterConfig, FileExporterSettings, RotationConfig, RotationLimits};
use line_file::LineFile;

/// Batches are merged up to this size and split above it, so that other tools can read the lines. A single item may be
/// as large as receivers accept.
const MAX_REQUEST: usize = 4 << 20;

pub struct FileExporter {
    id: Arc<str>,
    trust: Trust,
    lines: Mutex<LineFile>,
}

/// Creates the exporter. The file is opened with the first request; `clock` provides the time in names of renamed
/// files.
pub fn build(id: &ComponentId, settings: FileExporterSettings, clock: Arc<dyn Clock>) -> FileExporter {
    let id: Arc<str> = id.to_string().into();
    FileExporter {
        id,
        trust: settings.trust,
        lines: Mutex::new(LineFile::new(settings.path, settings.rotation, clock)),
    }
}

impl ExporterSpec for FileExporterSettings {
    fn profile(&self) -> ExporterProfile<'_> {
        ExporterProfile::local(self.trust, ExportTarget::File { path: &self.path, appends: self.rotation.is_none() })
    }

    fn accepts_signal(&self, _: Signal) -> bool {
        true
    }

    fn build(&self, id: &ComponentId, deps: ExporterDeps) -> Result<Arc<dyn Exporter>, BuildError> {
        Ok(Arc::new(build(id, self.clone(), deps.services.clock)))
    }
}

impl Exporter for FileExporter {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn trust(&self) -> Trust {
        self.trust
    }

    fn max_request_bytes(&self) -> usize {
        MAX_REQUEST
    }

    fn max_item_bytes(&self) -> usize {
        usize::MAX
    }

    fn send<'a>(&'a self, request: &'a ExportRequest) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let mut line = String::with_capacity(request.body.len().saturating_mul(2));
            if json::encode(request.signal, &request.body.joined(), &mut line).is_err() {
                return Outcome::Refused { reason: Reason::BadData };
            }
            line.push('\n');
            match self.lines.lock().await.append(line.as_bytes()).await {
                Ok(()) => Outcome::Accepted,
                Err(error) => {
                    tracing::warn!(exporter = &*self.id, error = %error.kind(), "the file can't be written");
                    Outcome::Retry { after: None, reason: Reason::Unavailable }
                }
            }
        })
    }
}
