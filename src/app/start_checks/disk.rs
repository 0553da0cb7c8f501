//! Checks how settings fit together, and the files and folders that they name on this machine; reads only: nothing is
//! created, bound or connected. TLS files are checked in `tls_files`.

use std::path::PathBuf;

use super::finding::{FileContext, FileFinding, MachineContext, MachineFindings};
use crate::app::configured_component::{ConfiguredComponent, vaults};
use crate::app::gateway_deps::GatewayDeps;
use crate::app::key_opening::configured_keys;
use crate::app::processors::{build_processor, dry_run_deps};
use crate::app::{destinations, gateway_keys, volume};
use crate::components::{ExporterKind, ExtensionSettings, ProcessorSettings, ReceiverSettings};
use command::keyfile;
use config::{ByteSize, ComponentId, FieldProblem, ProblemSeverity};
use exporters::spec::ExportTarget;
use kernel::files::parent_folder;
use kernel::key_source::{KeyService, KeySource};
use kernel::rng::SystemRng;
use kernel::terminal::format_count;
use net::tls::ClientTlsSettings;
use pipeline::RealDisk;
use pipeline::spool::Spool;

/// Notes on valid settings.
pub(super) fn list_notes(context: &FileContext<'_>) -> Vec<FileFinding> {
    fn notes<'c, S>(
        section: &'static str,
        components: &'c [ConfiguredComponent<S>],
        of: impl Fn(&'c S) -> &'c [FieldProblem] + 'c,
    ) -> impl Iterator<Item = FileFinding> + 'c {
        components.iter().flat_map(move |ConfiguredComponent { id, value }| {
            let note = |problem: &FieldProblem| (id.clone(), problem.clone());
            let notes: Vec<_> = of(value).iter().map(note).collect();
            let severity = ProblemSeverity::Warning;
            notes.into_iter().map(move |(id, problem)| FileFinding { section, id, severity, problem })
        })
    }
    let valid = context.valid;
    notes("receivers", &valid.receivers, ReceiverSettings::notes)
        .chain(notes("processors", &valid.processors, |settings| settings.spec().profile().notes))
        .chain(notes("exporters", &valid.exporters, |settings| settings.spec().profile().notes))
        .chain(notes("extensions", &valid.extensions, ExtensionSettings::notes))
        .collect()
}

/// Vaults in the folder of the spool: each would take the other's files for damaged ones of its own.
pub(super) fn find_shared_folders(context: &FileContext<'_>) -> Vec<FileFinding> {
    let FileContext { valid, .. } = context;
    let spool = Some(valid.spool.directory.as_path()).filter(|_| !valid.placeholders.spool);
    let message = "is the folder of the spool: give the vault a folder of its own";
    let stores = vaults(&valid.processors).map(|(id, _, store)| (id, store.profile()));
    let shared = stores.filter(|(_, store)| spool.is_some() && store.folder == spool);
    shared.map(|(id, store)| FileFinding::error("processors", id, &format!("store.{}", store.key), message)).collect()
}

pub(super) fn check_receivers(context: MachineContext<'_>, findings: &mut MachineFindings<'_>) {
    for ConfiguredComponent { id, value } in &context.valid.receivers {
        let Some(view) = value.ports() else { continue };
        for port in &view.ports {
            let folder = port.endpoint.socket().map(parent_folder);
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                let why = format!("the folder of the socket, {}, does not exist: create it", folder.display());
                findings.add_error(format!("receivers.{id}.{}", port.key("endpoint")), why);
            }
        }
        if let Err(why) = view.read_clients() {
            let why = why.to_string();
            let (field, message) = why.split_once(": ").unwrap_or(("auth", &why));
            findings.add_error(format!("receivers.{id}.{field}"), message);
        }
    }
}

/// Builds each processor as a dry run does.
pub(super) fn check_processors(context: MachineContext<'_>, findings: &mut MachineFindings<'_>) {
    let deps = match dry_run_deps(context.valid, &GatewayDeps::system()) {
        Ok((deps, _)) => deps,
        Err(why) => return findings.add_error("processors", why.text),
    };
    for component in &context.valid.processors {
        let path = |field: &str| format!("processors.{}.{field}", component.id);
        match build_processor(component, &context.valid.pipelines, &deps) {
            Ok(built) => built.warnings.into_iter().for_each(|why| findings.add_warning(path(&why.path), why.message)),
            Err(why) => findings.add_error(path(why.field()), why.to_string()),
        }
    }
}

pub(super) fn check_signing_keys(context: MachineContext<'_>, findings: &mut MachineFindings<'_>) {
    let MachineContext { valid, .. } = context;
    for (id, settings, _) in vaults(&valid.processors) {
        if settings.signing_key.is_none() && valid.placeholders.spool {
            continue;
        }
        let problem = gateway_keys::find_signing_key_problem(settings, &valid.spool.directory, &SystemRng);
        problem.into_iter().for_each(|why| findings.add_error(format!("processors.{id}.signing_key"), why));
    }
}

pub(super) fn check_export_files(context: MachineContext<'_>, findings: &mut MachineFindings<'_>) {
    for ConfiguredComponent { id, value } in &context.valid.exporters {
        let ExportTarget::File { path, appends } = value.spec().profile().target else { continue };
        let folder = parent_folder(path);
        let missing = || (!folder.is_dir()).then(|| format!("the folder {} does not exist", folder.display()));
        let unusable = || volume::find_write_problem(folder).filter(|_| !(appends && path.exists()));
        if let Some(why) = missing().or_else(unusable) {
            findings.add_error(format!("exporters.{id}.path"), why);
        }
    }
}

pub(super) fn check_folders(context: MachineContext<'_>, findings: &mut MachineFindings<'_>) {
    let MachineContext { valid, .. } = context;
    for (id, _, store) in vaults(&valid.processors) {
        if let Some(why) = store.profile().folder.and_then(volume::find_write_problem) {
            findings.add_error(format!("processors.{id}.store.{}", store.profile().key), why);
        }
    }
    if valid.placeholders.spool {
        return;
    }
    let directory = &valid.spool.directory;
    if let Some(why) = volume::find_write_problem(directory) {
        findings.add_error("spool.directory", why);
    }
    let needed = valid.spool.max_size.saturating_sub(volume::used_bytes(directory));
    if let Some(free) = volume::free_bytes(directory).filter(|free| *free < needed) {
        let message = format!(
            "{}: when the volume is full, clients must wait: lower `spool.max_size`, or enlarge the volume",
            volume::describe_shortage(free, needed)
        );
        findings.add_warning("spool.max_size", message);
    }
}

/// Checks key files, and the files and commands that give keys, without asking a KMS or running a command.
pub(super) fn check_key_files(context: MachineContext<'_>, findings: &mut MachineFindings<'_>) {
    let MachineContext { valid, .. } = context;
    if !valid.placeholders.spool && !valid.placeholders.keys {
        let at = findings.position("spool.keys");
        for (setting, why) in gateway_keys::find_key_problems(valid) {
            findings.add_error(setting, why);
            // Keys beside the spool follow from its settings.
            findings.all.iter_mut().next_back().into_iter().for_each(|found| found.problem.at = at);
        }
    }
    for key in configured_keys(valid) {
        if let KeySource::Service(KeyService::Kms(kms)) = key.source() {
            let tls = ClientTlsSettings { ca_file: kms.ca_file.clone(), ..ClientTlsSettings::default() };
            for problem in tls.find_problems(context.now.seconds()) {
                findings.add(ProblemSeverity::Error, problem.prevents_start, key.path(), problem.message);
            }
        }
        key.find_source_problem().into_iter().for_each(|why| findings.add_error(key.path(), why));
    }
}

/// Warns about files with secrets that others may read.
pub(super) fn check_secret_files(context: MachineContext<'_>, findings: &mut MachineFindings<'_>) {
    let MachineContext { file, valid, .. } = context;
    for ConfiguredComponent { id, value } in &valid.receivers {
        let tokens = value.ports().and_then(|view| view.auth?.tokens_file.clone());
        let why = tokens.and_then(|path| keyfile::warn_if_open_to_all(&path));
        why.into_iter().for_each(|why| findings.add_warning(format!("receivers.{id}.auth.tokens_file"), why));
    }
    if valid.placeholders.spool {
        return;
    }
    for (section, field, node) in [("spool", "keys", &file.spool), ("pseudonyms", "key", &file.pseudonyms)] {
        for path in node.get(field).into_iter().flat_map(|(_, node)| node.named_files()) {
            let why = keyfile::warn_if_open_to_all(path);
            why.into_iter().for_each(|why| findings.add_warning(format!("{section}.{field}"), why));
        }
    }
    let beside_spool = parent_folder(&valid.spool.directory);
    let files = ["spool.key", "pseudonym.key", "signing.key"].map(|name| beside_spool.join(name));
    let configured = valid.processors.iter().filter_map(|component| match &component.value {
        ProcessorSettings::Vault(settings) => settings.signing_key.clone(),
        _ => None,
    });
    for path in files.into_iter().chain(configured).collect::<Vec<PathBuf>>() {
        let why = keyfile::warn_if_open_to_others(&path);
        why.into_iter().for_each(|why| findings.add_warning("", why));
    }
}

/// Warns about exporters that point elsewhere than when they last ran.
pub(super) fn check_destinations(context: MachineContext<'_>, findings: &mut MachineFindings<'_>) {
    if !context.valid.placeholders.spool {
        for (id, why) in destinations::find_changed_destinations(context.valid) {
            findings.add_warning(format!("exporters.{id}.endpoint"), why);
        }
    }
}

/// Warns about exporters that the file does not name any more and that data in the spool still waits for. It reads the
/// whole spool, so only `validate` does it; a start logs the same. If the spool can't be read here, it is not judged.
pub(super) fn warn_of_orphans(context: MachineContext<'_>, findings: &mut MachineFindings<'_>) {
    let MachineContext { file, valid, .. } = context;
    if valid.placeholders.spool || valid.placeholders.keys {
        return;
    }
    let Ok(keys) = gateway_keys::read_existing_spool_keys(valid) else { return };
    let Ok(found) = Spool::peek(&RealDisk, &valid.spool, &keys) else { return };
    for consumer in found.status.consumers.iter().filter(|consumer| consumer.records > 0) {
        let Ok(id) = ComponentId::parse(&consumer.name) else { continue };
        if ExporterKind::parse(&id.kind).is_none() || file.uses("exporters", &id) {
            continue;
        }
        let waiting = format!("{} ({})", format_count(consumer.records, "record"), ByteSize(consumer.bytes));
        let message = format!(
            "no pipeline uses it any more, and {waiting} in the spool wait for it; they are held until it is used \
             again, or moved with `tollgate spool reassign {id} EXPORTER`"
        );
        findings.add_warning(format!("exporters.{id}"), message);
    }
}
