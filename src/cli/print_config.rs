//! `print-config`: prints a configuration with every default filled in, so that it can be used as a file. Secrets are
//! printed as the reference that the file has in their place, or else as `[redacted]`, which no command accepts.
//! `migrate` prints its result with the same [`ConfigPrinter`].

use super::common::CommonArgs;
use super::config_loading::{FileAccess, LoadedConfig, load_config};
use crate::app::resolve::{ConfiguredComponent, TypedConfig};
use crate::components::ProcessorConfig;
use command::error::{CommandError, ExitStatus};
use command::output::print_result;
use config::file::{ComponentSection, ConfigFile, PipelineConfig};
use config::schema::{DocumentedValue, format_text, write_comment};
use config::{ComponentId, SourcePosition};
use kernel::terminal::escape_unsafe;

/// The reference that a printed configuration has for the auditor's public key, if there is no key yet.
pub(super) const AUDITOR_REFERENCE: &str = "${env:AUDITOR_PUBLIC_KEY}";

pub(super) const AUDITOR_COMMENT: &str = "\
# Set AUDITOR_PUBLIC_KEY to the public key of an auditor, who alone can open the vault:
#   export AUDITOR_PUBLIC_KEY=$(tollgate vault keygen --output auditor.key)
";

const REDACTED_COMMENT: &str = "\
# Each `[redacted]` is in place of a secret: put `${env:NAME}` or `${file:PATH}` back before you use this file.
";

/// Prints the configuration with every default filled in.
pub(super) fn print_config(common: &CommonArgs, comments: bool) -> Result<ExitStatus, CommandError> {
    let LoadedConfig { mut typed, temporary_recipient, .. } = load_config(common, FileAccess::Read)?;
    let unknown_auditor = temporary_recipient.is_some_and(|recipient| replace_recipient(&mut typed, &recipient));
    let mut printer = ConfigPrinter { comments, ..ConfigPrinter::default() };
    let file = &typed.file;
    printer.print_components("receivers", &file.receivers, documented(&typed.receivers, |one| one.documented()));
    printer.print_components("processors", &file.processors, documented(&typed.processors, |one| one.documented()));
    printer.print_components("exporters", &file.exporters, documented(&typed.exporters, |one| one.documented()));
    printer.print_components("connectors", &file.connectors, documented(&typed.connectors, |one| one.documented()));
    printer.print_components("extensions", &file.extensions, documented(&typed.extensions, |one| one.documented()));
    for (name, written, mut value) in [
        ("spool", &file.spool, DocumentedValue::from_value(&typed.spool)),
        ("pseudonyms", &file.pseudonyms, DocumentedValue::from_value(&typed.pseudonyms)),
        ("limits", &file.limits, DocumentedValue::from_value(&typed.limits)),
    ] {
        printer.redacted |= value.restore_references(written);
        printer.print_body(&format!("{name}:"), 2, &value);
    }
    let mut telemetry = DocumentedValue::from_value(&typed.telemetry);
    printer.redacted |= telemetry.restore_references(&file.telemetry);
    printer.print_service(file, &telemetry);
    let header_comments = [(AUDITOR_COMMENT, unknown_auditor), (REDACTED_COMMENT, printer.redacted)];
    let header: String =
        header_comments.iter().filter(|(_, is_shown)| *is_shown).map(|(comment, _)| *comment).collect();
    print_result(&format!("{header}{}", printer.text))
}

/// Replaces the recipient whose secret key was not stored. Returns whether a vault had this recipient.
fn replace_recipient(typed: &mut TypedConfig, recipient: &str) -> bool {
    let vaults = typed.processors.iter_mut().filter_map(|placed| match &mut placed.value {
        ProcessorConfig::Vault(vault) => Some(vault.recipients.keys_mut()),
        _ => None,
    });
    let mut replaced = false;
    for vault_recipient in vaults.flatten().filter(|vault_recipient| *vault_recipient == recipient) {
        AUDITOR_REFERENCE.clone_into(vault_recipient);
        replaced = true;
    }
    replaced
}

/// Whether `path` is `owner`, or a key or item below it.
pub(super) fn is_below(path: &str, owner: &str) -> bool {
    path.strip_prefix(owner).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn documented<C>(
    components: &[ConfiguredComponent<C>],
    to_documented: impl Fn(&C) -> DocumentedValue,
) -> Vec<(&ComponentId, DocumentedValue)> {
    components.iter().map(|placed| (&placed.id, to_documented(&placed.value))).collect()
}

/// Writes the sections of a configuration.
#[derive(Default)]
pub(super) struct ConfigPrinter {
    pub(super) text: String,
    /// Whether each option has its description.
    comments: bool,
    /// Whether a secret was printed as `[redacted]`.
    redacted: bool,
    /// Paths of components or their keys, each with a comment. A comment on a component that is not printed follows the
    /// head of its section, one on any other path is before `service`.
    remarks: Vec<(String, String)>,
}

impl ConfigPrinter {
    pub(super) fn with_remarks(remarks: Vec<(String, String)>) -> Self {
        Self { remarks, ..Self::default() }
    }

    pub(super) fn print_components(
        &mut self,
        section: &str,
        written: &[ComponentSection],
        components: Vec<(&ComponentId, DocumentedValue)>,
    ) {
        let paths: Vec<String> = components.iter().map(|(id, _)| format!("{section}.{id}")).collect();
        let indent = if components.is_empty() { 0 } else { 2 };
        if !components.is_empty() {
            self.text.push_str(&format!("{section}:\n"));
        }
        self.print_remarks(indent, |path| is_below(path, section) && !paths.iter().any(|one| is_below(path, one)));
        for ((id, mut value), path) in components.into_iter().zip(&paths) {
            if let Some(written) = written.iter().find(|written| written.id == *id) {
                self.redacted |= value.restore_references(&written.body);
            }
            self.print_remarks(indent, |remarked| is_below(remarked, path));
            self.print_body(&format!("  {}:", format_text(&id.to_string())), 4, &value);
        }
    }

    fn print_remarks(&mut self, indent: usize, is_shown: impl Fn(&str) -> bool) {
        let remarks = std::mem::take(&mut self.remarks);
        let (shown, left): (Vec<_>, Vec<_>) = remarks.into_iter().partition(|(path, _)| is_shown(path));
        self.remarks = left;
        shown.iter().for_each(|(_, text)| write_comment(&mut self.text, &escape_unsafe(text), indent));
    }

    pub(super) fn print_body(&mut self, key: &str, indent: usize, value: &DocumentedValue) {
        let mut body = String::new();
        value.write(&mut body, indent, self.comments);
        let is_empty = body.lines().all(|line| line.trim_start().starts_with('#'));
        self.text.push_str(&format!("{key}{}\n{body}", if is_empty { " {}" } else { "" }));
    }

    pub(super) fn print_service(&mut self, file: &ConfigFile, telemetry: &DocumentedValue) {
        let list = |ids: &[(ComponentId, SourcePosition)]| {
            ids.iter().map(|(id, _)| format_text(&id.to_string())).collect::<Vec<_>>().join(", ")
        };
        self.print_remarks(0, |_| true);
        self.text.push_str(&format!("service:\n  extensions: [{}]\n", list(&file.enabled)));
        if !telemetry.is_empty() {
            self.print_body("  telemetry:", 4, telemetry);
        }
        self.text.push_str("  pipelines:\n");
        for PipelineConfig { id, receivers, processors, exporters, .. } in &file.pipelines {
            self.text.push_str(&format!(
                "    {}: {{ receivers: [{}], processors: [{}], exporters: [{}] }}\n",
                format_text(&id.to_string()),
                list(receivers),
                list(processors),
                list(exporters)
            ));
        }
    }
}
