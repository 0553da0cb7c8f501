//! The TLS files that a configuration names. Each use has a setting, so that a problem is shown at its place.

use std::path::{Path, PathBuf};

use super::finding::{MachineContext, MachineFindings};
use crate::app::configured_component::{admin_ports, vaults};
use crate::app::valid_settings::ValidSettings;
use crate::components::ReceiverSettings;
use command::keyfile;
use config::tree::{NodeValue, TreeNode};
use exporters::spec::ExportTarget;
use kafka::BrokerSettings;
use kernel::clock::UnixNanos;
use net::TlsFileProblem;
use net::server_tls::ServerTlsSettings;
use net::tls::{self, ClientTlsSettings};

/// The files of one `tls:`.
enum TlsFiles {
    Port(ServerTlsSettings),
    Client(ClientTlsSettings),
    /// By key, for a client that reads its files itself.
    Named([(&'static str, Option<PathBuf>); 3]),
}

impl TlsFiles {
    fn authority(file: Option<&Path>) -> Self {
        Self::Client(ClientTlsSettings { ca_file: file.map(Path::to_owned), ..ClientTlsSettings::default() })
    }

    fn brokers(brokers: &BrokerSettings) -> Option<Self> {
        let files = brokers.tls.as_ref()?;
        let named = [("ca_file", &files.ca_file), ("cert_file", &files.cert_file), ("key_file", &files.key_file)];
        Some(Self::Named(named.map(|(key, path)| (key, path.clone()))))
    }

    fn find_problems(&self, now: u64) -> Vec<TlsFileProblem> {
        match self {
            Self::Port(port) => port.find_problems(now),
            Self::Client(client) => client.find_problems(now),
            Self::Named(files) => tls::find_file_problems(files, now),
        }
    }

    fn key_file(&self) -> Option<&PathBuf> {
        match self {
            Self::Port(port) => Some(&port.key_file),
            Self::Client(client) => client.identity.as_ref().map(|(_, key)| key),
            Self::Named([.., (_, key)]) => key.as_ref(),
        }
    }
}

/// Every use of TLS files, with the path of its setting.
fn tls_uses(valid: &ValidSettings) -> Vec<(String, TlsFiles)> {
    let mut uses = Vec::new();
    for placed in &valid.receivers {
        let path = format!("receivers.{}", placed.id);
        if let ReceiverSettings::Kafka(kafka) = &placed.value {
            uses.extend(TlsFiles::brokers(&kafka.brokers).map(|files| (format!("{path}.tls"), files)));
        }
        let view = placed.value.ports();
        let provider = view.as_ref().and_then(|view| view.auth?.oidc.as_ref()).map(|oidc| &oidc.provider);
        let authority = provider.map(|provider| TlsFiles::authority(provider.ca_file.as_deref()));
        uses.extend(authority.map(|files| (format!("{path}.auth.oidc"), files)));
        for port in view.into_iter().flat_map(|view| view.ports) {
            let settings = port.tls.cloned();
            uses.extend(settings.map(|tls| (format!("{path}.{}", port.key("tls")), TlsFiles::Port(tls))));
        }
    }
    for (id, _, store) in vaults(&valid.processors) {
        let path = format!("processors.{id}.store.{}", store.profile().key);
        uses.extend(store.profile().server.map(|server| (path, TlsFiles::authority(server.ca_file))));
    }
    for placed in &valid.exporters {
        let files = match placed.value.spec().profile().target {
            ExportTarget::Server { tls, .. } => Some(TlsFiles::Client(tls.clone())),
            ExportTarget::Brokers { brokers, .. } => TlsFiles::brokers(brokers),
            ExportTarget::File { .. } | ExportTarget::Output => None,
        };
        uses.extend(files.map(|files| (format!("exporters.{}.tls", placed.id), files)));
    }
    for (id, admin) in admin_ports(&valid.extensions) {
        let path = format!("extensions.{id}");
        let port = admin.tls.as_ref().map(ServerTlsSettings::from);
        let port = port.map(|port| port.sharing_last_good(&valid.admin_certificates));
        uses.extend(port.map(|port| (format!("{path}.tls"), TlsFiles::Port(port))));
        let oidc = admin.auth.as_ref().and_then(|auth| auth.oidc.as_ref());
        let authority = |ca_file: &Option<PathBuf>| TlsFiles::authority(ca_file.as_deref());
        uses.extend(oidc.map(|oidc| (format!("{path}.auth.oidc"), authority(&oidc.config.ca_file))));
    }
    uses
}

pub(super) fn check_tls_files(context: MachineContext<'_>, findings: &mut MachineFindings<'_>) {
    let now = context.now.seconds();
    for (path, files) in tls_uses(context.valid) {
        files.find_problems(now).into_iter().for_each(|problem| findings.add_tls(&path, problem));
        let open = files.key_file().and_then(|path| keyfile::warn_if_open_to_all(path));
        open.into_iter().for_each(|why| findings.add_warning(format!("{path}.key_file"), why));
    }
    if context.valid.placeholders.components {
        check_faulty_components(context, findings);
    }
}

/// Warnings about certificates of ports and exporters that have expired or expire soon; equal lines are merged.
pub(crate) fn find_expiring_certificates(valid: &ValidSettings, now: UnixNanos) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (_, files) in tls_uses(valid) {
        let problems = match files {
            TlsFiles::Port(port) => port.find_own_date_problems(now.seconds()),
            TlsFiles::Client(client) => client.find_own_date_problems(now.seconds()),
            TlsFiles::Named(_) => Vec::new(),
        };
        for TlsFileProblem { message, .. } in problems {
            if !lines.contains(&message) {
                lines.push(message);
            }
        }
    }
    lines
}

/// Checks the TLS files named by used components of a faulty configuration, whose settings may be missing.
fn check_faulty_components(context: MachineContext<'_>, findings: &mut MachineFindings<'_>) {
    for name in ["receivers", "exporters", "extensions"] {
        let sections = context.file.section(name).iter();
        for section in sections.filter(|section| context.file.uses(name, &section.id)) {
            check_tls_below(context, &format!("{name}.{}", section.id), &section.body, findings);
        }
    }
}

fn check_tls_below(context: MachineContext<'_>, path: &str, node: &TreeNode, findings: &mut MachineFindings<'_>) {
    for (key, below) in node.entries() {
        let path_here = format!("{path}.{}", key.name);
        if key.name != "tls" {
            check_tls_below(context, &path_here, below, findings);
            continue;
        }
        let files = ["cert_file", "key_file", "client_ca_file", "ca_file", "crl_file"].map(|name| {
            let text = below.get(name).and_then(|(_, node)| match &node.value {
                NodeValue::Str(text) if !text.is_empty() && !text.contains("${") => Some(PathBuf::from(text)),
                _ => None,
            });
            (name, text)
        });
        let known_count = findings.all.len();
        let problems = tls::find_file_problems(&files, context.now.seconds());
        problems.into_iter().for_each(|problem| findings.add_tls(&path_here, problem));
        // Problems that were already reported with the component's settings are not repeated.
        let new = findings.all.split_off(known_count).into_iter();
        let is_new =
            |found: &super::finding::MachineFinding| !findings.all.iter().any(|known| known.problem == found.problem);
        let new: Vec<_> = new.filter(is_new).collect();
        findings.all.extend(new);
    }
}
