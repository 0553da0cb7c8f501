//! `--access FILE` of `vault serve`: the address of a page for several people, and who they are. The file has keys of
//! the admin extension, so that both ports know the same credentials. It is a file of its own, because whoever may use
//! a gateway need not read evidence. Without a credential, or off loopback without TLS, nothing is served.

use std::path::Path;

use serde::Deserialize;

use command::error::{CommandError, Result};
use command::output::use_colour_on_stderr;
use config::env::{ProcessLookup, SubstitutionLookup};
use config::file::{ParsedFile, read_tree};
use config::{FieldProblem, PortTls, Problem, ProblemSeverity, de, sort_and_dedup};
use kernel::files::{describe_io_error, read_text};
use telemetry::admin::auth::AdminAuthConfig;
use telemetry::admin::{AdminConfig, AdminSettings};

/// Largest file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The keys of the file; see [`AdminConfig`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessConfig {
    /// Default: the option `--port` on 127.0.0.1.
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    allowed_hosts: Vec<String>,
    auth: AdminAuthConfig,
    #[serde(default)]
    public_url: Option<String>,
    #[serde(default)]
    tls: Option<PortTls>,
}

impl AccessConfig {
    fn settings(self, default_endpoint: &str) -> Result<AdminSettings, Vec<FieldProblem>> {
        let Self { endpoint, allowed_hosts, auth, public_url, tls } = self;
        let endpoint = endpoint.unwrap_or_else(|| default_endpoint.to_owned());
        let admin = AdminConfig { endpoint, allowed_hosts, auth, public_url, tls, ..AdminConfig::default() };
        let settings = admin.settings()?;
        if settings.auth.is_none() {
            return Err(vec![FieldProblem::new("auth", "has no credential, and the page shows opened content")]);
        }
        if settings.tls.is_none() && !settings.endpoint.is_local() {
            return Err(vec![FieldProblem::new("endpoint", "needs `tls`, unless it is an address on loopback")]);
        }
        Ok(settings)
    }
}

/// Reads and checks the file.
///
/// # Errors
/// Every problem, rendered with its position.
pub(super) fn read_access(path: &Path, default_endpoint: &str) -> Result<AdminSettings> {
    let text = read_text(path, MAX_FILE_BYTES).map_err(|error| {
        CommandError::Config(format!("can't read {}: {}", path.display(), describe_io_error(error.kind())))
    })?;
    parse_access(&path.display().to_string(), &text, &ProcessLookup, default_endpoint)
}

/// Checks the file's text; `name` is for messages.
pub(super) fn parse_access(
    name: &str,
    text: &str,
    lookup: &dyn SubstitutionLookup,
    default_endpoint: &str,
) -> Result<AdminSettings> {
    let ParsedFile { source, content, mut problems, .. } = read_tree(name, text, lookup);
    let settings = content.and_then(|root| {
        let (typed, type_problems) = de::deserialize_partial::<AccessConfig>(&root, "");
        problems.extend(type_problems);
        let found = typed.filter(|_| problems.is_empty())?.settings(default_endpoint);
        let place = |FieldProblem { path, message }| Problem::error(Some(root.nearest_position(&path)), path, message);
        found.map_err(|faults| problems.extend(faults.into_iter().map(place))).ok()
    });
    sort_and_dedup(&mut problems);
    let has_errors = problems.iter().any(|problem| problem.severity == ProblemSeverity::Error);
    settings
        .filter(|_| !has_errors)
        .ok_or_else(|| CommandError::Problems(source.render(&problems, use_colour_on_stderr()).trim_end().to_owned()))
}
