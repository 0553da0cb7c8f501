//! Generates `config/default.yaml`: the embedded default configuration with every option documented, so that users can
//! read what runs without `--config`. It is generated from the components' defaults and doc comments; a test compares
//! it with the file.

use crate::app::resolve::{LimitsConfig, PseudonymsConfig, TelemetryConfig};
use crate::components::{ComponentRow, ProcessorKind, SECTIONS, component_rows};
use config::graph::StepRole;
use config::schema::DocumentedValue;
use pipeline::spool;

/// The committed file, which is the configuration used without `--config`.
pub const DEFAULT_CONFIG: &str = include_str!("../../config/default.yaml");

/// The variable for the data directory in the embedded default.
pub const DATA_DIR_VARIABLE: &str = "TOLLGATE_DATA_DIR";
/// The variable for the try-out auditor's public key in the embedded default.
pub const TRYOUT_RECIPIENT_VARIABLE: &str = "TOLLGATE_TRYOUT_RECIPIENT";

const FILE_HEADER: &str = "\
# The configuration used without `--config`, with every option and its default. Generated from the code: change a default
# there, then run `TOLLGATE_UPDATE=1 cargo test default_yaml`.
#
# The vault, the spool and try-out keys are in the data directory ($TOLLGATE_DATA_DIR, else the XDG state directory).
# Components that are not part of the default are commented out.

";

/// Changes to the components' own defaults: component or section, line, replacement.
const OPTION_OVERRIDES: &[(&str, &str, &str)] = &[
    (
        "vault",
        "recipients: []",
        "recipients: [\"${env:TOLLGATE_TRYOUT_RECIPIENT}\"] # a try-out auditor's key, generated in the data directory",
    ),
    (
        "vault",
        "# store:",
        "store: { directory: { path: \"${env:TOLLGATE_DATA_DIR}/vault\", max_size: 1GiB, on_full: expire } } # for trying out",
    ),
    ("vault", "# object_age:", "object_age: 2s # short for trying out: `vault find` sees new runs soon"),
    ("vault", "index_interval: 1m", "index_interval: 2s # short for trying out"),
    ("debug", "verbosity: basic", "verbosity: spans # prints each span, for trying out"),
    (
        "debug",
        "# open_with:",
        "open_with: \"--store '${env:TOLLGATE_DATA_DIR}/vault' --identity '${env:TOLLGATE_DATA_DIR}/auditor.key'\"",
    ),
    ("spool", "max_size: 20GiB", "max_size: 4GiB # fits a small disk; in production see `config/examples`"),
    ("spool", "# directory:", "directory: \"${env:TOLLGATE_DATA_DIR}/spool\""),
];

/// Whether the embedded default uses a component; the others are written as comments.
fn is_used(section: &str, name: &str) -> bool {
    match section {
        "receivers" => true,
        "processors" => ProcessorKind::parse(name).is_some_and(|kind| kind.step() != StepRole::Last),
        "exporters" => name == "debug",
        "extensions" => name == "admin",
        _ => false,
    }
}

/// Generates the text of `config/default.yaml`.
pub fn generate() -> String {
    let mut out = FILE_HEADER.to_owned();
    for (section, rows) in SECTIONS {
        out.push_str(&format!("{section}:\n"));
        rows.iter().for_each(|row| write_component(&mut out, row, is_used(section, row.name)));
    }
    for (name, documented) in [
        ("spool", DocumentedValue::from_value(&spool::SpoolConfig::default())),
        ("pseudonyms", DocumentedValue::from_value(&PseudonymsConfig::default())),
        ("limits", DocumentedValue::from_value(&LimitsConfig::default())),
    ] {
        out.push_str(&format!("{name}:\n{}", render_with_overrides(name, &documented, 2)));
    }
    out.push_str(&render_service());
    out
}

/// Writes `name:` and its options; as comments unless the component is used by the default configuration.
fn write_component(out: &mut String, ComponentRow { name, summary, defaults, .. }: &ComponentRow, is_used: bool) {
    let body = render_with_overrides(name, &defaults(), 4);
    let head = if body.lines().all(|line| line.trim_start().starts_with('#')) {
        format!("  # {summary}\n  {name}: {{}}\n{body}")
    } else {
        format!("  # {summary}\n  {name}:\n{body}")
    };
    if is_used {
        out.push_str(&head);
        return;
    }
    for line in head.lines() {
        out.push_str(&format!("  # {}\n", line.strip_prefix("  ").unwrap_or(line)));
    }
}

fn render_with_overrides(name: &str, documented: &DocumentedValue, indent: usize) -> String {
    let mut body = String::new();
    documented.write(&mut body, indent, true);
    let pad = " ".repeat(indent);
    for (_, from, to) in OPTION_OVERRIDES.iter().filter(|(owner, ..)| *owner == name) {
        body = body.replace(&format!("{pad}{from}\n"), &format!("{pad}{to}\n"));
    }
    body
}

fn render_service() -> String {
    let [processors, exporters, extensions] = ["processors", "exporters", "extensions"].map(|section| {
        let used = component_rows(section).iter().map(|row| row.name).filter(|name| is_used(section, name));
        format!("[{}]", used.collect::<Vec<_>>().join(", "))
    });
    let mut telemetry = String::new();
    DocumentedValue::from_value(&TelemetryConfig::default()).write(&mut telemetry, 4, true);
    format!(
        "service:\n  extensions: {extensions}\n  telemetry:\n{telemetry}  pipelines:\n\
         \x20   traces: {{ receivers: [otlp], processors: {processors}, exporters: {exporters} }}\n\
         \x20   logs: {{ receivers: [otlp], processors: {processors}, exporters: {exporters} }}\n\
         \x20   metrics: {{ receivers: [otlp], processors: [redact], exporters: {exporters} }}\n"
    )
}
