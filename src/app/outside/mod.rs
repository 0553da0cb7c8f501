//! Checks what a configuration names outside of itself: certificates, keys, folders, tables. `validate` thereby reports
//! what would keep a gateway from starting, or would make it useless a day later. It only reads: nothing is created,
//! bound or connected. All faults are reported at once, at their positions in the file. `tollgate check` tries
//! connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::components::{ExtensionSettings, ProcessorSettings, ReceiverSettings, id_text};
use config::file::{File, Pipeline, Section};
use config::tree::{Node, Val};
use config::{At, ComponentId, Gravity, Problem};
use exporters::spec::Target;
use genai::Vocabulary;
use kernel::clock::UnixNanos;
use kernel::files::folder_of;
use kernel::rng::SystemRng;
use net::{Trouble, server_tls, tls};
use processors::cost::Cost;
use processors::vault::{self, StoreSettings};
use telemetry::Meter;

use super::placed::Placed;
use super::valid::{StandsIn, Valid};
use super::{destinations, keyfile, keys, volume};

#[cfg(test)]
mod tests;

/// All faults, with positions in `file`.
pub fn problems(file: &File, valid: &Valid, now: UnixNanos) -> Vec<Problem> {
    let mut found = Found { file, now: now.seconds(), stands_in: valid.stands_in, problems: Vec::new() };
    found.receivers(valid);
    found.processors(valid);
    found.exporters(valid);
    for Placed { id, what } in &valid.extensions {
        if let ExtensionSettings::Admin(admin) = what
            && let Some(port) = &admin.tls
        {
            found.port(("extensions", id), "tls", &server_tls::Settings::from(port));
        }
    }
    found.faulty();
    found.spool(valid);
    found.problems
}

/// Warnings about certificates of ports and exporters that have expired or expire soon; equal lines are merged.
pub fn aged(valid: &Valid, now: UnixNanos) -> Vec<String> {
    let now = now.seconds();
    let ports = valid.receivers.iter().flat_map(|Placed { what: ReceiverSettings::Otlp(otlp), .. }| {
        let grpc = otlp.grpc.as_ref().and_then(|grpc| grpc.tls.clone());
        [grpc, otlp.http.as_ref().and_then(|http| http.tls.clone())].into_iter().flatten()
    });
    let admin = valid.extensions.iter().filter_map(|placed| match &placed.what {
        ExtensionSettings::Admin(admin) => admin.tls.as_ref().map(server_tls::Settings::from),
        ExtensionSettings::HealthCheck(_) => None,
    });
    let clients = valid.exporters.iter().filter_map(|placed| match placed.what.spec().profile().target {
        Target::Server { tls, .. } => Some(tls),
        Target::File { .. } | Target::Output => None,
    });
    let found = ports.chain(admin).flat_map(|port| port.aged(now)).chain(clients.flat_map(|client| client.aged(now)));
    let mut lines: Vec<String> = Vec::new();
    for Trouble { what, .. } in found {
        if !lines.contains(&what) {
            lines.push(what);
        }
    }
    lines
}

/// Checks that need a connection and were therefore not made, one line each.
pub fn untried(valid: &Valid) -> Vec<String> {
    let sealed = valid.processors.iter().filter_map(|placed| match &placed.what {
        ProcessorSettings::Vault(settings) if settings.store.is_some() => settings.sealed_key().map(|_| &placed.id),
        _ => None,
    });
    let line =
        |id| format!("processors.{id}.signing_key_kms: KMS was not asked to open the key; `tollgate check` asks");
    sealed.map(line).collect()
}

struct Found<'f> {
    file: &'f File,
    /// Present time, unix seconds.
    now: u64,
    stands_in: StandsIn,
    problems: Vec<Problem>,
}

impl Found<'_> {
    /// Adds an error of a component.
    fn error(&mut self, of: (&str, &ComponentId), field: &str, what: String) {
        self.found(Gravity::Error, of, field, what);
    }

    fn found(&mut self, gravity: Gravity, (section, id): (&str, &ComponentId), field: &str, what: String) {
        let sections = match section {
            "receivers" => &self.file.receivers,
            "processors" => &self.file.processors,
            "exporters" => &self.file.exporters,
            _ => &self.file.extensions,
        };
        let written = sections.iter().find(|known: &&Section| known.id == *id);
        let at =
            written.map(|known| if known.body.entries().is_empty() { known.at } else { known.body.nearest(field) });
        self.problems.push(Problem { gravity, ..Problem::error(at, format!("{section}.{id}.{field}"), what) });
    }

    fn port(&mut self, of: (&str, &ComponentId), path: &str, tls: &server_tls::Settings) {
        self.certificates(of, path, tls.trouble(self.now));
        self.open(of, &format!("{path}.key_file"), Some(&tls.key_file));
    }

    /// Warns about a file with a secret that every user of the machine may read.
    fn open(&mut self, of: (&str, &ComponentId), field: &str, path: Option<&PathBuf>) {
        let why = path.and_then(|path| keyfile::open(path));
        why.into_iter().for_each(|why| self.found(Gravity::Warning, of, field, why));
    }

    fn certificates(&mut self, of: (&str, &ComponentId), path: &str, troubles: Vec<Trouble>) {
        for Trouble { key, what, gravity } in troubles {
            self.found(gravity, of, format!("{path}.{key}").trim_end_matches('.'), what);
        }
    }

    fn receivers(&mut self, valid: &Valid) {
        for Placed { id, what } in &valid.receivers {
            let ReceiverSettings::Otlp(otlp) = what;
            let of = ("receivers", id);
            let grpc = otlp.grpc.as_ref().and_then(|grpc| grpc.tls.clone());
            let http = otlp.http.as_ref().and_then(|http| http.tls.clone());
            for (name, tls) in [("grpc", grpc), ("http", http)] {
                tls.iter().for_each(|tls| self.port(of, &format!("protocols.{name}.tls"), tls));
            }
            let tokens = otlp.auth.as_ref().and_then(|auth| auth.tokens_file.as_ref());
            self.open(of, "auth.tokens_file", tokens);
            if let Err(why) = otlp.read_clients() {
                let why = why.to_string();
                let (field, what) = why.split_once(": ").unwrap_or(("auth", &why));
                self.error(of, field, what.to_owned());
            }
        }
    }

    /// Checks the TLS files named by used components of a faulty configuration, whose settings may be missing.
    fn faulty(&mut self) {
        if !self.stands_in.components {
            return;
        }
        let file = self.file;
        let used =
            |pick: fn(&Pipeline) -> &[(ComponentId, At)]| file.pipelines.iter().flat_map(pick).collect::<Vec<_>>();
        let (receivers, exporters) = (used(|pipeline| &pipeline.receivers), used(|pipeline| &pipeline.exporters));
        for (name, sections, used) in [
            ("receivers", &file.receivers, receivers),
            ("exporters", &file.exporters, exporters),
            ("extensions", &file.extensions, file.enabled.iter().collect()),
        ] {
            for section in sections.iter().filter(|section| used.iter().any(|(id, _)| *id == section.id)) {
                self.written((name, &section.id), "", &section.body);
            }
        }
    }

    /// Checks the TLS files of one component, at `path` and below.
    fn written(&mut self, of: (&str, &ComponentId), path: &str, node: &Node) {
        for (key, below) in node.entries() {
            let at = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
            if key.name != "tls" {
                self.written(of, &at, below);
                continue;
            }
            let named = ["cert_file", "key_file", "client_ca_file", "ca_file", "crl_file"].map(|name| {
                let text = below.get(name).and_then(|(_, node)| match &node.value {
                    Val::Str(text) if !text.is_empty() && !text.contains("${") => Some(PathBuf::from(text)),
                    _ => None,
                });
                (name, text)
            });
            let known = self.problems.len();
            self.certificates(of, &at, tls::trouble_of(&named, self.now));
            // Most of them were reported with the component's settings.
            let new = self.problems.split_off(known);
            let new = new.into_iter().filter(|one| !self.problems.contains(one)).collect::<Vec<_>>();
            self.problems.extend(new);
        }
    }

    fn processors(&mut self, valid: &Valid) {
        for Placed { id, what } in &valid.processors {
            let of = ("processors", id);
            match what {
                ProcessorSettings::Vault(settings) => self.vault(of, settings, &valid.spool.directory),
                ProcessorSettings::Cost(settings) => {
                    let made = Vocabulary::builtin().map_err(|error| error.0).and_then(|words| {
                        Cost::new(id_text(id), settings, Arc::new(words), &Meter::new()).map_err(|error| error.0)
                    });
                    match made {
                        Ok(cost) => {
                            let doubts = cost.warnings().into_iter();
                            doubts.for_each(|what| self.found(Gravity::Warning, of, "overlays", what));
                        }
                        Err(why) => self.error(of, "rates", why),
                    }
                }
                _ => {}
            }
        }
    }

    fn vault(&mut self, of: (&str, &ComponentId), settings: &vault::Settings, spool: &Path) {
        let Some(store) = settings.store.as_ref().map(StoreSettings::spec) else { return };
        let at = format!("store.{}", store.key());
        if let Some(why) = store.folder().and_then(volume::unusable) {
            self.error(of, &at, why);
        }
        if let Some(server) = store.server() {
            let tls = tls::Settings { ca_file: server.ca_file.map(Path::to_owned), ..tls::Settings::default() };
            self.certificates(of, &at, tls.trouble(self.now));
        }
        if settings.signing_key.is_none() && self.stands_in.spool {
            return;
        }
        if let Some((_, sealed)) = settings.sealed_key() {
            let tls = tls::Settings { ca_file: sealed.kms.ca_file.clone(), ..tls::Settings::default() };
            self.certificates(of, "signing_key_kms", tls.trouble(self.now));
        }
        let trouble = keys::signing_trouble(settings, spool, &SystemRng);
        trouble.into_iter().for_each(|why| self.error(of, "signing_key", why));
    }

    fn exporters(&mut self, valid: &Valid) {
        for Placed { id, what } in &valid.exporters {
            let of = ("exporters", id);
            let tls = match what.spec().profile().target {
                Target::Server { tls, .. } => tls,
                Target::File { path, appends } => {
                    let folder = folder_of(path);
                    let missing =
                        || (!folder.is_dir()).then(|| format!("the folder {} does not exist", folder.display()));
                    let unusable = || volume::unusable(folder).filter(|_| !(appends && path.exists()));
                    if let Some(why) = missing().or_else(unusable) {
                        self.error(of, "path", why);
                    }
                    continue;
                }
                Target::Output => continue,
            };
            self.certificates(of, "tls", tls.trouble(self.now));
            self.open(of, "tls.key_file", tls.identity.as_ref().map(|(_, key)| key));
        }
    }

    fn spool(&mut self, valid: &Valid) {
        if self.stands_in.spool {
            return;
        }
        let directory = &valid.spool.directory;
        let at = |path: &str| Some(self.file.spool.nearest(path)).filter(|at| at.line > 0);
        let mut found = Vec::new();
        if let Some(why) = volume::unusable(directory) {
            found.push(Problem::error(at("directory"), "spool.directory", why));
        }
        let needed = valid.spool.max_size.saturating_sub(volume::taken(directory));
        if let Some(free) = volume::free(directory).filter(|free| *free < needed) {
            let what = format!(
                "{}: harmless until then, but a full volume makes clients wait: lower `spool.max_size`, or give it more room",
                volume::too_small(free, needed)
            );
            found.push(Problem::warning(at("max_size"), "spool.max_size", what));
        }
        for (setting, why) in keys::trouble(valid).into_iter().filter(|_| !self.stands_in.keys) {
            found.push(Problem::error(at("keys"), setting, why));
        }
        for (section, field, node) in
            [("spool", "keys", &self.file.spool), ("pseudonyms", "key", &self.file.pseudonyms)]
        {
            for path in node.get(field).into_iter().flat_map(|(_, node)| node.named_files()) {
                let at = Some(node.nearest(field));
                found.extend(keyfile::open(path).map(|why| Problem::warning(at, format!("{section}.{field}"), why)));
            }
        }
        let files = ["spool.key", "pseudonym.key", "signing.key"].map(|name| folder_of(directory).join(name));
        let configured = valid.processors.iter().filter_map(|placed| match &placed.what {
            // Ciphertext need not be protected.
            ProcessorSettings::Vault(settings) if settings.sealed_key().is_none() => settings.signing_key.clone(),
            _ => None,
        });
        for path in files.into_iter().chain(configured).collect::<Vec<PathBuf>>() {
            found.extend(keyfile::loose(&path).map(|why| Problem::warning(None, "", why)));
        }
        self.problems.append(&mut found);
        for (id, why) in destinations::changes(valid) {
            self.found(Gravity::Warning, ("exporters", &id), "endpoint", why);
        }
    }
}
