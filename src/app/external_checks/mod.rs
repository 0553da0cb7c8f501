//! Checks what a configuration names outside of itself: certificates, keys, folders, tables. `validate` thereby reports
//! what would keep a gateway from starting, or would make it useless a day later. It only reads: nothing is created,
//! bound or connected. All faults are reported at once, at their positions in the file. `tollgate check` tries
//! connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::components::{ExtensionSettings, ProcessorSettings, ReceiverSettings, id_text};
use config::file::{ComponentSection, ConfigFile, PipelineConfig};
use config::tree::{NodeValue, TreeNode};
use config::{ComponentId, Problem, ProblemSeverity, SourcePosition};
use exporters::spec::ExportTarget;
use genai::Vocabulary;
use kafka::BrokerSettings;
use kernel::clock::UnixNanos;
use kernel::files::parent_folder;
use kernel::key_source::{KeyService, KeySource};
use kernel::rng::SystemRng;
use net::{TlsFileProblem, server_tls, tls};
use processors::cost::CostProcessor;
use processors::vault::{self, StoreSettings};
use telemetry::Meter;

use super::configured_component::ConfiguredComponent;
use super::key_opening::{ConfiguredKey, configured_keys};
use super::valid_settings::{PlaceholderSettings, ValidSettings};
use super::{destinations, gateway_keys, keyfile, volume};

#[cfg(test)]
mod tests;

/// All faults, with positions in `file`.
pub fn find_problems(file: &ConfigFile, valid: &ValidSettings, now: UnixNanos) -> Vec<Problem> {
    let mut collector =
        ProblemCollector { file, now: now.seconds(), placeholders: valid.placeholders, problems: Vec::new() };
    collector.check_receivers(valid);
    collector.check_processors(valid);
    collector.check_exporters(valid);
    for ConfiguredComponent { id, value } in &valid.extensions {
        let ExtensionSettings::Admin(admin) = value else { continue };
        let component = ("extensions", id);
        if let Some(port) = &admin.tls {
            collector.check_port(component, "tls", &server_tls::ServerTlsSettings::from(port));
        }
        if let Some(oidc) = admin.auth.as_ref().and_then(|auth| auth.oidc.as_ref()) {
            let tls = tls::ClientTlsSettings { ca_file: oidc.ca_file.clone(), ..tls::ClientTlsSettings::default() };
            collector.add_tls_problems(component, "auth.oidc", tls.find_problems(collector.now));
        }
    }
    collector.check_faulty_tls();
    collector.check_spool(valid);
    collector.check_key_sources(valid);
    collector.problems
}

/// Warnings about certificates of ports and exporters that have expired or expire soon; equal lines are merged.
pub fn find_expiring_certificates(valid: &ValidSettings, now: UnixNanos) -> Vec<String> {
    let now = now.seconds();
    let receivers = valid.receivers.iter().filter_map(|component| component.value.ports());
    let ports = receivers.flat_map(|view| view.ports).filter_map(|port| port.tls.cloned());
    let admin = valid.extensions.iter().filter_map(|component| match &component.value {
        ExtensionSettings::Admin(admin) => admin.tls.as_ref().map(server_tls::ServerTlsSettings::from),
        ExtensionSettings::HealthCheck(_) => None,
    });
    let clients = valid.exporters.iter().filter_map(|component| match component.value.spec().profile().target {
        ExportTarget::Server { tls, .. } => Some(tls),
        ExportTarget::File { .. } | ExportTarget::Output | ExportTarget::Brokers { .. } => None,
    });
    let problems = ports
        .chain(admin)
        .flat_map(|port| port.find_own_date_problems(now))
        .chain(clients.flat_map(|client| client.find_own_date_problems(now)));
    let mut lines: Vec<String> = Vec::new();
    for TlsFileProblem { message, .. } in problems {
        if !lines.contains(&message) {
            lines.push(message);
        }
    }
    lines
}

/// Checks that need a connection and were therefore not made, one line each.
pub fn list_skipped_checks(valid: &ValidSettings) -> Vec<String> {
    let keys = configured_keys(valid).into_iter().filter(ConfiguredKey::needs_service);
    let line = |key: ConfiguredKey| {
        let skipped = match key.source() {
            KeySource::Service(KeyService::Command(_)) => "its command was not run",
            _ => "decryption by KMS was not tried",
        };
        format!("{}: {skipped}; `tollgate check` tries it", key.path())
    };
    keys.map(line).collect()
}

struct ProblemCollector<'f> {
    file: &'f ConfigFile,
    /// Present time, unix seconds.
    now: u64,
    placeholders: PlaceholderSettings,
    problems: Vec<Problem>,
}

impl ProblemCollector<'_> {
    /// Adds an error of a component.
    fn add_error(&mut self, component: (&str, &ComponentId), field: &str, message: String) {
        self.add_problem(ProblemSeverity::Error, component, field, message);
    }

    fn add_problem(
        &mut self,
        severity: ProblemSeverity,
        (section, id): (&str, &ComponentId),
        field: &str,
        message: String,
    ) {
        let sections = match section {
            "receivers" => &self.file.receivers,
            "processors" => &self.file.processors,
            "exporters" => &self.file.exporters,
            _ => &self.file.extensions,
        };
        let written = sections.iter().find(|known: &&ComponentSection| known.id == *id);
        let position = written
            .map(|known| if known.body.entries().is_empty() { known.at } else { known.body.nearest_position(field) });
        self.problems
            .push(Problem { severity, ..Problem::error(position, format!("{section}.{id}.{field}"), message) });
    }

    fn check_port(&mut self, component: (&str, &ComponentId), path: &str, tls: &server_tls::ServerTlsSettings) {
        self.add_tls_problems(component, path, tls.find_problems(self.now));
        self.warn_open_file(component, &format!("{path}.key_file"), Some(&tls.key_file));
    }

    /// Warns about a file with a secret that every user of the machine may read.
    fn warn_open_file(&mut self, component: (&str, &ComponentId), field: &str, path: Option<&PathBuf>) {
        let why = path.and_then(|path| keyfile::warn_if_open_to_all(path));
        why.into_iter().for_each(|why| self.add_problem(ProblemSeverity::Warning, component, field, why));
    }

    fn add_tls_problems(&mut self, component: (&str, &ComponentId), path: &str, problems: Vec<TlsFileProblem>) {
        for TlsFileProblem { key, message, gravity } in problems {
            self.add_problem(gravity, component, format!("{path}.{key}").trim_end_matches('.'), message);
        }
    }

    fn check_receivers(&mut self, valid: &ValidSettings) {
        for ConfiguredComponent { id, value } in &valid.receivers {
            let component = ("receivers", id);
            if let ReceiverSettings::Kafka(kafka) = value {
                self.check_broker_files(component, &kafka.brokers);
            }
            let Some(view) = value.ports() else { continue };
            for port in &view.ports {
                let folder = port.endpoint.socket().map(parent_folder);
                if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                    let why = format!("the folder of the socket, {}, does not exist: create it", folder.display());
                    self.add_error(component, &port.key("endpoint"), why);
                }
            }
            for port in &view.ports {
                port.tls.iter().for_each(|tls| self.check_port(component, &port.key("tls"), tls));
            }
            let tokens = view.auth.and_then(|auth| auth.tokens_file.as_ref());
            self.warn_open_file(component, "auth.tokens_file", tokens);
            if let Err(why) = view.read_clients() {
                let why = why.to_string();
                let (field, message) = why.split_once(": ").unwrap_or(("auth", &why));
                self.add_error(component, field, message.to_owned());
            }
        }
    }

    /// Checks the TLS files named by used components of a faulty configuration, whose settings may be missing.
    fn check_faulty_tls(&mut self) {
        if !self.placeholders.components {
            return;
        }
        let file = self.file;
        let used = |list: fn(&PipelineConfig) -> &[(ComponentId, SourcePosition)]| {
            file.pipelines.iter().flat_map(list).collect::<Vec<_>>()
        };
        let (receivers, exporters) = (used(|pipeline| &pipeline.receivers), used(|pipeline| &pipeline.exporters));
        for (name, sections, used) in [
            ("receivers", &file.receivers, receivers),
            ("exporters", &file.exporters, exporters),
            ("extensions", &file.extensions, file.enabled.iter().collect()),
        ] {
            for section in sections.iter().filter(|section| used.iter().any(|(id, _)| *id == section.id)) {
                self.check_tls_files((name, &section.id), "", &section.body);
            }
        }
    }

    /// Checks the TLS files of one component, at `path` and below.
    fn check_tls_files(&mut self, component: (&str, &ComponentId), path: &str, node: &TreeNode) {
        for (key, below) in node.entries() {
            let path_here = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
            if key.name != "tls" {
                self.check_tls_files(component, &path_here, below);
                continue;
            }
            let files = ["cert_file", "key_file", "client_ca_file", "ca_file", "crl_file"].map(|name| {
                let text = below.get(name).and_then(|(_, node)| match &node.value {
                    NodeValue::Str(text) if !text.is_empty() && !text.contains("${") => Some(PathBuf::from(text)),
                    _ => None,
                });
                (name, text)
            });
            let known_count = self.problems.len();
            self.add_tls_problems(component, &path_here, tls::find_file_problems(&files, self.now));
            // Problems that were already reported with the component's settings are not repeated.
            let new = self.problems.split_off(known_count);
            let new = new.into_iter().filter(|problem| !self.problems.contains(problem)).collect::<Vec<_>>();
            self.problems.extend(new);
        }
    }

    fn check_processors(&mut self, valid: &ValidSettings) {
        for ConfiguredComponent { id, value } in &valid.processors {
            let component = ("processors", id);
            match value {
                ProcessorSettings::Vault(settings) => self.check_vault(component, settings, &valid.spool.directory),
                ProcessorSettings::Cost(settings) => {
                    let built = Vocabulary::builtin().map_err(|error| error.0).and_then(|vocabulary| {
                        CostProcessor::new(id_text(id), settings, Arc::new(vocabulary), &Meter::new())
                            .map_err(|error| error.0)
                    });
                    match built {
                        Ok(cost) => {
                            let warnings = cost.warnings().into_iter();
                            warnings.for_each(|warning| {
                                self.add_problem(ProblemSeverity::Warning, component, "overlays", warning)
                            });
                        }
                        Err(why) => {
                            // The error begins with the path of the file.
                            let overlay = settings.overlays.iter().position(|path| {
                                why.strip_prefix(&path.display().to_string()).is_some_and(|rest| rest.starts_with(':'))
                            });
                            let field = overlay.map_or("rates".to_owned(), |at| format!("overlays[{at}]"));
                            self.add_error(component, &field, why);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn check_vault(&mut self, component: (&str, &ComponentId), settings: &vault::VaultSettings, spool: &Path) {
        let Some(store) = settings.store.as_ref().map(StoreSettings::spec) else { return };
        let field = format!("store.{}", store.key());
        if let Some(why) = store.folder().and_then(volume::find_write_problem) {
            self.add_error(component, &field, why);
        }
        if let Some(server) = store.server() {
            let tls = tls::ClientTlsSettings {
                ca_file: server.ca_file.map(Path::to_owned),
                ..tls::ClientTlsSettings::default()
            };
            self.add_tls_problems(component, &field, tls.find_problems(self.now));
        }
        if settings.signing_key.is_none() && self.placeholders.spool {
            return;
        }
        let problem = gateway_keys::find_signing_key_problem(settings, spool, &SystemRng);
        problem.into_iter().for_each(|why| self.add_error(component, "signing_key", why));
    }

    fn check_exporters(&mut self, valid: &ValidSettings) {
        for ConfiguredComponent { id, value } in &valid.exporters {
            let component = ("exporters", id);
            let tls = match value.spec().profile().target {
                ExportTarget::Server { tls, .. } => tls,
                ExportTarget::File { path, appends } => {
                    let folder = parent_folder(path);
                    let missing =
                        || (!folder.is_dir()).then(|| format!("the folder {} does not exist", folder.display()));
                    let unusable = || volume::find_write_problem(folder).filter(|_| !(appends && path.exists()));
                    if let Some(why) = missing().or_else(unusable) {
                        self.add_error(component, "path", why);
                    }
                    continue;
                }
                ExportTarget::Brokers { brokers, .. } => {
                    self.check_broker_files(component, brokers);
                    continue;
                }
                ExportTarget::Output => continue,
            };
            self.add_tls_problems(component, "tls", tls.find_problems(self.now));
            self.warn_open_file(component, "tls.key_file", tls.identity.as_ref().map(|(_, key)| key));
        }
    }

    fn check_broker_files(&mut self, component: (&str, &ComponentId), brokers: &BrokerSettings) {
        let Some(files) = &brokers.tls else { return };
        let named = [("ca_file", &files.ca_file), ("cert_file", &files.cert_file), ("key_file", &files.key_file)];
        let named = named.map(|(key, path)| (key, path.clone()));
        self.add_tls_problems(component, "tls", tls::find_file_problems(&named, self.now));
        self.warn_open_file(component, "tls.key_file", files.key_file.as_ref());
    }

    /// Checks the files and commands that give keys, as far as that calls nobody.
    fn check_key_sources(&mut self, valid: &ValidSettings) {
        for key in configured_keys(valid) {
            let ca_file = match key.source() {
                KeySource::Service(KeyService::Kms(kms)) => kms.ca_file.clone(),
                _ => None,
            };
            let tls = tls::ClientTlsSettings { ca_file, ..tls::ClientTlsSettings::default() };
            let problems = tls.find_problems(self.now).into_iter().map(|problem| problem.message);
            for message in problems.chain(key.find_source_problem()).collect::<Vec<_>>() {
                let section = key.section_node(self.file);
                let at = section.map(|node| node.nearest_position(&key.field)).filter(|at| at.line > 0);
                self.problems.push(Problem::error(at, key.path(), message));
            }
        }
    }

    fn check_spool(&mut self, valid: &ValidSettings) {
        if self.placeholders.spool {
            return;
        }
        let directory = &valid.spool.directory;
        let at = |path: &str| Some(self.file.spool.nearest_position(path)).filter(|at| at.line > 0);
        let mut found = Vec::new();
        if let Some(why) = volume::find_write_problem(directory) {
            found.push(Problem::error(at("directory"), "spool.directory", why));
        }
        let needed = valid.spool.max_size.saturating_sub(volume::used_bytes(directory));
        if let Some(free) = volume::free_bytes(directory).filter(|free| *free < needed) {
            let message = format!(
                "{}: when the volume is full, clients must wait: lower `spool.max_size`, or enlarge the volume",
                volume::describe_shortage(free, needed)
            );
            found.push(Problem::warning(at("max_size"), "spool.max_size", message));
        }
        for (setting, why) in gateway_keys::find_key_problems(valid).into_iter().filter(|_| !self.placeholders.keys) {
            found.push(Problem::error(at("keys"), setting, why));
        }
        for (section, field, node) in
            [("spool", "keys", &self.file.spool), ("pseudonyms", "key", &self.file.pseudonyms)]
        {
            for path in node.get(field).into_iter().flat_map(|(_, node)| node.named_files()) {
                let at = Some(node.nearest_position(field));
                found.extend(
                    keyfile::warn_if_open_to_all(path)
                        .map(|why| Problem::warning(at, format!("{section}.{field}"), why)),
                );
            }
        }
        let files = ["spool.key", "pseudonym.key", "signing.key"].map(|name| parent_folder(directory).join(name));
        let configured = valid.processors.iter().filter_map(|component| match &component.value {
            ProcessorSettings::Vault(settings) => settings.signing_key.clone(),
            _ => None,
        });
        for path in files.into_iter().chain(configured).collect::<Vec<PathBuf>>() {
            found.extend(keyfile::warn_if_open_to_others(&path).map(|why| Problem::warning(None, "", why)));
        }
        self.problems.append(&mut found);
        for (id, why) in destinations::find_changed_destinations(valid) {
            self.add_problem(ProblemSeverity::Warning, ("exporters", &id), "endpoint", why);
        }
    }
}
