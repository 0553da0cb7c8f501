//! The input of the checks of a configuration, and their findings.

use crate::app::valid_settings::{TypedConfig, ValidSettings};
use config::file::{ComponentSection, ConfigFile};
use config::{ComponentId, FieldProblem, Problem, ProblemSeverity, SourcePosition};
use kernel::clock::UnixNanos;
use net::TlsFileProblem;

/// A configuration whose settings were checked one by one.
pub(crate) struct FileContext<'c> {
    pub(crate) typed: &'c TypedConfig,
    pub(crate) valid: &'c ValidSettings,
}

/// A problem with one component's settings beside those of others.
pub(crate) struct FileFinding {
    pub(crate) section: &'static str,
    pub(crate) id: ComponentId,
    pub(crate) severity: ProblemSeverity,
    pub(crate) problem: FieldProblem,
}

impl FileFinding {
    pub(crate) fn error(section: &'static str, id: &ComponentId, field: &str, message: impl Into<String>) -> Self {
        let problem = FieldProblem::new(field, message);
        Self { section, id: id.clone(), severity: ProblemSeverity::Error, problem }
    }
}

/// A configuration on the machine that is to run it.
#[derive(Clone, Copy)]
pub(crate) struct MachineContext<'c> {
    pub(crate) file: &'c ConfigFile,
    pub(crate) valid: &'c ValidSettings,
    pub(crate) now: UnixNanos,
    /// Whether this is the embedded default, whose try-out keys lie beside the spool.
    pub(crate) embedded: bool,
}

/// A problem with something that the configuration names on this machine.
pub(crate) struct MachineFinding {
    pub(crate) problem: Problem,
    /// Whether a gateway with this problem does not start.
    pub(crate) prevents_start: bool,
}

pub(crate) struct MachineFindings<'c> {
    file: &'c ConfigFile,
    pub(crate) all: Vec<MachineFinding>,
}

impl<'c> MachineFindings<'c> {
    pub(crate) fn new(file: &'c ConfigFile) -> Self {
        Self { file, all: Vec::new() }
    }

    /// Adds a fault that prevents a start. `path` is a setting, such as `receivers.otlp.auth`.
    pub(crate) fn add_error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.add(ProblemSeverity::Error, true, path.into(), message.into());
    }

    pub(crate) fn add_warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.add(ProblemSeverity::Warning, false, path.into(), message.into());
    }

    pub(crate) fn add_tls(&mut self, path: &str, problem: TlsFileProblem) {
        let path = format!("{path}.{}", problem.key).trim_end_matches('.').to_owned();
        self.add(problem.gravity, problem.prevents_start, path, problem.message);
    }

    pub(super) fn add(&mut self, severity: ProblemSeverity, prevents_start: bool, path: String, message: String) {
        let problem = Problem { severity, ..Problem::error(self.position(&path), path, message) };
        self.all.push(MachineFinding { problem, prevents_start });
    }

    /// The position of a setting in the file, or of the nearest one around it.
    pub(crate) fn position(&self, path: &str) -> Option<SourcePosition> {
        let (section, rest) = path.split_once('.')?;
        let node = match section {
            "spool" => &self.file.spool,
            "pseudonyms" => &self.file.pseudonyms,
            _ => {
                let field_of = |known: &'c ComponentSection| {
                    let field = rest.strip_prefix(&known.id.to_string())?;
                    (field.is_empty() || field.starts_with('.')).then(|| (known, field.trim_start_matches('.')))
                };
                let found = self.file.section(section).iter().filter_map(field_of);
                let (known, field) = found.min_by_key(|(_, field)| field.len())?;
                let body = &known.body;
                return Some(if body.entries().is_empty() { known.at } else { body.nearest_position(field) });
            }
        };
        Some(node.nearest_position(rest)).filter(|at| at.line > 0)
    }
}
