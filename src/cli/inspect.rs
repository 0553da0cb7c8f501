//! `validate`, `print-config` and `components`: commands about a configuration that need no running gateway. Nothing is
//! created, bound or connected; secrets print as `[redacted]`. The checks are in `app/resolve` and `app/outside`.

use clap::Args;

use super::common::{Common, NoFile};
use super::error::{CommandError, Exit};
use super::output::{complain, out};
use super::source::{Make, load, load_alone, load_with};
use crate::app::{outside, volume};
use crate::components::{ConnectorKind, ExporterKind, ExtensionKind, ProcessorKind, ReceiverKind};
use config::ComponentId;
use config::schema::Documented;
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::counted;

#[derive(Args, Clone, Copy)]
pub(super) struct ValidateOptions {
    /// Checks the file alone, without the certificates, keys and folders it names, e.g. on another machine than the
    /// gateway's.
    #[arg(long)]
    file_only: bool,
    #[command(flatten)]
    _none: NoFile,
}

/// Reports that a configuration is valid, or everything wrong with it and the files it names.
pub(super) fn validate(common: &Common, options: ValidateOptions) -> Result<Exit, CommandError> {
    let loaded = if options.file_only {
        load_alone(common)?
    } else {
        load_with(common, |typed, valid| outside::problems(&typed.file, valid, SystemClock::new().now()))?
    };
    let warning = (!options.file_only).then(|| volume::warning(&loaded.valid.spool.directory)).flatten();
    if let Some(warning) = warning {
        complain(&format!("warning: {warning}"));
    }
    outside::untried(&loaded.valid).iter().for_each(|what| complain(&format!("note: {what}")));
    let pipelines = counted(loaded.typed.file.pipelines.len(), "pipeline");
    let name = common.config.as_ref().map_or("the embedded default".to_owned(), |path| path.display().to_string());
    let profiles = loaded.valid.processors.iter().filter_map(|placed| Some((&placed.id, placed.what.privacy()?)));
    let profiles: String = profiles.map(|(id, profile)| format!("{id}: privacy `{profile}`\n")).collect();
    out(&format!("{name} is valid: {pipelines}\n{profiles}"))
}

/// Prints the configuration with every default filled in.
pub(super) fn print_config(common: &Common, comments: bool) -> Result<Exit, CommandError> {
    let loaded = load(common, Make::Nothing)?;
    let (typed, mut text) = (&loaded.typed, String::new());
    let mut section = |name: &str, components: Vec<(&ComponentId, Documented)>| {
        if components.is_empty() {
            return;
        }
        text.push_str(&format!("{name}:\n"));
        for (id, documented) in components {
            let mut body = String::new();
            documented.write(&mut body, 4, comments);
            let empty = body.lines().all(|line| line.trim_start().starts_with('#'));
            text.push_str(&format!("  {id}:{}\n{body}", if empty { " {}" } else { "" }));
        }
    };
    section("receivers", typed.receivers.iter().map(|placed| (&placed.id, placed.what.documented())).collect());
    section("processors", typed.processors.iter().map(|placed| (&placed.id, placed.what.documented())).collect());
    section("exporters", typed.exporters.iter().map(|placed| (&placed.id, placed.what.documented())).collect());
    section("connectors", typed.connectors.iter().map(|placed| (&placed.id, placed.what.documented())).collect());
    section("extensions", typed.extensions.iter().map(|placed| (&placed.id, placed.what.documented())).collect());
    for (name, documented) in [
        ("spool", Documented::of(&typed.spool)),
        ("pseudonyms", Documented::of(&typed.pseudonyms)),
        ("limits", Documented::of(&typed.limits)),
    ] {
        let mut body = String::new();
        documented.write(&mut body, 2, comments);
        let empty = body.lines().all(|line| line.trim_start().starts_with('#'));
        text.push_str(&format!("{name}:{}\n{body}", if empty { " {}" } else { "" }));
    }
    text.push_str("service:\n");
    let list =
        |ids: &[(ComponentId, config::At)]| ids.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(", ");
    text.push_str(&format!("  extensions: [{}]\n  telemetry:\n", list(&typed.file.enabled)));
    Documented::of(&typed.telemetry).write(&mut text, 4, comments);
    text.push_str("  pipelines:\n");
    for pipeline in &typed.file.pipelines {
        text.push_str(&format!(
            "    {}: {{ receivers: [{}], processors: [{}], exporters: [{}] }}\n",
            pipeline.id,
            list(&pipeline.receivers),
            list(&pipeline.processors),
            list(&pipeline.exporters)
        ));
    }
    out(&text)
}

/// Lists every component.
pub(super) fn components() -> Result<Exit, CommandError> {
    let mut text = String::new();
    let mut section = |name: &str, rows: Vec<(&str, &str)>| {
        text.push_str(&format!("{name}:\n"));
        for (id, summary) in rows {
            text.push_str(&format!("  {id:<14} {summary}\n"));
        }
    };
    section("receivers", ReceiverKind::ALL.iter().map(|kind| (kind.name(), kind.summary())).collect());
    section("processors", ProcessorKind::ALL.iter().map(|kind| (kind.name(), kind.summary())).collect());
    section("exporters", ExporterKind::ALL.iter().map(|kind| (kind.name(), kind.summary())).collect());
    section("connectors", ConnectorKind::ALL.iter().map(|kind| (kind.name(), kind.summary())).collect());
    section("extensions", ExtensionKind::ALL.iter().map(|kind| (kind.name(), kind.summary())).collect());
    out(&text)
}
