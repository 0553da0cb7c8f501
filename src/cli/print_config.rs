//! `print-config`: prints a configuration with every default filled in, so that it can be used as a file. Secrets are
//! printed as the reference that the file has in their place, or else as `[redacted]`, which no command accepts.

use super::common::CommonArgs;
use super::config_loading::{FileCreation, LoadedConfig, load_config};
use super::error::{CommandError, ExitStatus};
use super::output::print_result;
use crate::app::resolve::{ConfiguredComponent, TypedConfig};
use crate::components::ProcessorConfig;
use config::file::{ComponentSection, PipelineConfig};
use config::schema::DocumentedValue;
use config::{ComponentId, SourcePosition};

/// The reference that a printed configuration has for the auditor's public key, if there is no key yet.
const AUDITOR_REFERENCE: &str = "${env:AUDITOR_PUBLIC_KEY}";

const AUDITOR_COMMENT: &str = "\
# Set AUDITOR_PUBLIC_KEY to the public key of an auditor, who alone can open the vault:
#   export AUDITOR_PUBLIC_KEY=$(tollgate vault keygen --output auditor.key)
";

const REDACTED_COMMENT: &str = "\
# Each `[redacted]` is in place of a secret: put `${env:NAME}` or `${file:PATH}` back before you use this file.
";

/// Prints the configuration with every default filled in.
pub(super) fn print_config(common: &CommonArgs, comments: bool) -> Result<ExitStatus, CommandError> {
    let LoadedConfig { mut typed, temporary_recipient, .. } = load_config(common, FileCreation::Nothing)?;
    let unknown_auditor = temporary_recipient.is_some_and(|recipient| replace_recipient(&mut typed, &recipient));
    let mut printer = ConfigPrinter { text: String::new(), comments, redacted: false };
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
    printer.print_service(&typed);
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

fn documented<C>(
    components: &[ConfiguredComponent<C>],
    to_documented: impl Fn(&C) -> DocumentedValue,
) -> Vec<(&ComponentId, DocumentedValue)> {
    components.iter().map(|placed| (&placed.id, to_documented(&placed.value))).collect()
}

struct ConfigPrinter {
    text: String,
    comments: bool,
    /// Whether a secret was printed as `[redacted]`.
    redacted: bool,
}

impl ConfigPrinter {
    fn print_components(
        &mut self,
        section: &str,
        written: &[ComponentSection],
        components: Vec<(&ComponentId, DocumentedValue)>,
    ) {
        if components.is_empty() {
            return;
        }
        self.text.push_str(&format!("{section}:\n"));
        for (id, mut value) in components {
            if let Some(written) = written.iter().find(|written| written.id == *id) {
                self.redacted |= value.restore_references(&written.body);
            }
            self.print_body(&format!("  {id}:"), 4, &value);
        }
    }

    fn print_body(&mut self, key: &str, indent: usize, value: &DocumentedValue) {
        let mut body = String::new();
        value.write(&mut body, indent, self.comments);
        let is_empty = body.lines().all(|line| line.trim_start().starts_with('#'));
        self.text.push_str(&format!("{key}{}\n{body}", if is_empty { " {}" } else { "" }));
    }

    fn print_service(&mut self, typed: &TypedConfig) {
        let list = |ids: &[(ComponentId, SourcePosition)]| {
            ids.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(", ")
        };
        self.text.push_str(&format!("service:\n  extensions: [{}]\n  telemetry:\n", list(&typed.file.enabled)));
        let mut telemetry = DocumentedValue::from_value(&typed.telemetry);
        self.redacted |= telemetry.restore_references(&typed.file.telemetry);
        telemetry.write(&mut self.text, 4, self.comments);
        self.text.push_str("  pipelines:\n");
        for PipelineConfig { id, receivers, processors, exporters, .. } in &typed.file.pipelines {
            self.text.push_str(&format!(
                "    {id}: {{ receivers: [{}], processors: [{}], exporters: [{}] }}\n",
                list(receivers),
                list(processors),
                list(exporters)
            ));
        }
    }
}
