//! `validate` and `components`: commands about a configuration that need no running gateway. Nothing is created, bound
//! or connected. The checks are in `app/resolve` and `app/start_checks`; `print_config` prints a configuration.

use clap::Args;

use super::common::{CommonArgs, RejectFileArg};
use super::config_loading::{FileAccess, load_config, load_with_warnings};
use crate::app::start_checks::finding::MachineContext;
use crate::app::{start_checks, volume};
use crate::components::SECTIONS;
use command::error::{CommandError, ExitStatus};
use command::output::{print_result, print_to_stderr};
use config::file::ConfigFile;
use config::tree::TreeNode;
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::format_count;
use receivers::otlp::OtlpReceiverSettings;

#[derive(Args, Clone, Copy)]
pub(super) struct ValidateArgs {
    /// Checks the file alone, without the certificates, keys and folders it names, e.g. on another machine than the
    /// gateway's. Variables that are not set here are not checked either.
    #[arg(long)]
    file_only: bool,
    #[command(flatten)]
    _none: RejectFileArg,
}

/// Reports that a configuration is valid, or everything wrong with it and the files it names.
pub(super) fn validate(common: &CommonArgs, options: ValidateArgs) -> Result<ExitStatus, CommandError> {
    let loaded = if options.file_only {
        load_with_warnings(common, FileAccess::None, |_, _| Vec::new())?
    } else {
        load_with_warnings(common, FileAccess::Read, |typed, valid| {
            let (file, now) = (&typed.file, SystemClock::new().now());
            start_checks::find_problems(MachineContext { file, valid, now, embedded: false })
        })?
    };
    let warning = (!options.file_only).then(|| volume::warn_if_in_memory(&loaded.valid.spool.directory)).flatten();
    if let Some(warning) = warning {
        print_to_stderr(&format!("warning: {warning}"));
    }
    if has_unknown_values(&loaded.typed.file) {
        print_to_stderr("note: values of `${…}` that are not on this machine were not checked");
    }
    start_checks::list_skipped_checks(&loaded.valid).iter().for_each(|note| print_to_stderr(&format!("note: {note}")));
    let pipelines = format_count(loaded.typed.file.pipelines.len(), "pipeline");
    let name = common.config.as_ref().map_or("the embedded default".to_owned(), ToString::to_string);
    let profiles =
        loaded.valid.processors.iter().filter_map(|placed| Some((&placed.id, placed.value.spec().profile().privacy?)));
    let profiles: String = profiles.map(|(id, profile)| format!("{id}: privacy `{profile}`\n")).collect();
    print_result(&format!("{name} is valid: {pipelines}\n{profiles}"))
}

/// Whether a `${…}` names a variable or file of another machine.
fn has_unknown_values(file: &ConfigFile) -> bool {
    let bodies = file.sections().into_iter().flat_map(|(_, sections)| sections).map(|section| &section.body);
    let mut nodes = bodies.chain([&file.telemetry, &file.spool, &file.pseudonyms, &file.limits]);
    nodes.any(TreeNode::has_unknown)
}

pub(super) fn list_components() -> Result<ExitStatus, CommandError> {
    let mut text = String::new();
    for (section, rows) in SECTIONS {
        text.push_str(&format!("{section}:\n"));
        rows.iter().for_each(|row| text.push_str(&format!("  {:<17} {}\n", row.name, row.summary)));
    }
    print_result(&text)
}

/// The OTLP receivers of the configuration.
///
/// # Errors
/// The configuration is invalid.
pub(super) fn list_otlp_receivers(common: &CommonArgs) -> Result<Vec<OtlpReceiverSettings>, CommandError> {
    let receivers = load_config(common, FileAccess::Read)?.valid.receivers;
    Ok(receivers.iter().filter_map(|placed| placed.value.otlp().cloned()).collect())
}
