//! Reads the files that a start would need while another configuration still runs, because once the running round has
//! ended, an unusable certificate, key or table leaves no gateway at all. Nothing is created or bound, and the only
//! connection is to the KMS of an encrypted key. All faults are reported at once; what was read or decrypted is kept
//! for the start (`net/last_good`). Findings that prevent no start, such as dates of certificates, are in
//! `external_checks`; only a start can try the ports.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::app::configured_component::ConfiguredComponent;
use crate::app::exporters::build_exporter;
use crate::app::key_opening::{ConfiguredKey, configured_keys};
use crate::app::oidc::{OidcClient, OidcParts};
use crate::app::start_error::StartError;
use crate::app::tasks::Tasks;
use crate::app::valid_settings::ValidSettings;
use crate::app::{gateway_keys, own_metrics, volume};
use crate::components::{ExtensionSettings, ProcessorSettings, id_text};
use config::{ComponentId, env};
use exporters::remote::ExporterDeps;
use exporters::spec::ExportTarget;
use genai::Vocabulary;
use kernel::clock::Clock;
use kernel::rng::SystemRng;
use net::{ProxyRules, ServerTls, server_tls};
use processors::cost::CostProcessor;
use processors::vault::{self, StoreSettings};
use receivers::ReceiverPortsView;
use recogniser::{self, PresidioClient};
use telemetry::Meter;

/// The faults of files and folders that would prevent `valid` from starting. Call this in a runtime, on a thread that
/// may block.
pub fn find_start_faults(valid: &ValidSettings, clock: &Arc<dyn Clock>) -> Vec<String> {
    // These metrics are discarded.
    let (meter, clock) = (Meter::new(), Arc::clone(clock));
    let deps = ProxyRules::from_env(&env::var).map(|proxies| {
        let (tasks, proxies) = (Tasks::new(&meter), Arc::new(proxies));
        ExporterDeps { tasks, clock, proxies, meter, partitioner: Arc::default() }
    });
    let deps = match deps {
        Ok(deps) => deps,
        Err(why) => return vec![why.to_string()],
    };
    let spool = &valid.spool.directory;
    let mut faults: Vec<String> =
        volume::find_write_problem(spool).map(|why| format!("spool.directory: {why}")).into_iter().collect();
    faults.extend(gateway_keys::find_key_problems(valid).into_iter().map(|(setting, why)| format!("{setting}: {why}")));
    // The keys first: exporters are built with theirs.
    for key in configured_keys(valid).iter().filter(|key| key.needs_service()) {
        faults.extend(Handle::current().block_on(key.open()).err().map(|error| error.text));
    }
    for ConfiguredComponent { id, value } in &valid.receivers {
        let Some(ports) = value.ports() else { continue };
        faults.extend(check_receiver(&ports).map(|why| format!("receivers.{id}: {why}")));
    }
    for ConfiguredComponent { id, value } in &valid.processors {
        let fault = check_processor(id, value, valid, &deps).err();
        faults.extend(fault.map(|why| format!("processors.{id}: {why}")));
    }
    for ConfiguredComponent { id, value } in &valid.exporters {
        match value.spec().profile().target {
            ExportTarget::Server { .. } => {
                faults.extend(build_exporter(id, value, deps.clone()).err().map(|error| error.text))
            }
            // Building a file exporter would open the file that the running round still has open. The others read no
            // file when they are built.
            ExportTarget::File { .. } | ExportTarget::Output | ExportTarget::Brokers { .. } => {}
        }
    }
    faults.extend(
        own_metrics::build_export_tasks(valid.own_metrics.clone(), &deps, &SystemRng).err().map(|error| error.text),
    );
    for ConfiguredComponent { id, value } in &valid.extensions {
        let ExtensionSettings::Admin(admin) = value else { continue };
        let port = admin
            .tls
            .as_ref()
            .map(|port| server_tls::ServerTlsSettings::from(port).sharing_last_good(&valid.admin_certificates));
        faults.extend(port.and_then(|port| ServerTls::read(port).err()).map(|why| format!("extensions.{id}: {why}")));
        let oidc = admin.auth.as_ref().and_then(|auth| auth.oidc.clone());
        let parts = OidcParts {
            proxies: Arc::clone(&deps.proxies),
            tasks: Arc::clone(&deps.tasks),
            clock: Arc::clone(&deps.clock),
            rng: Arc::new(SystemRng),
        };
        let client = oidc.map(|settings| OidcClient::build(settings, parts));
        faults.extend(client.and_then(Result::err).map(|why| format!("extensions.{id}.auth.oidc: {why}")));
    }
    faults
}

fn check_receiver(view: &ReceiverPortsView<'_>) -> impl Iterator<Item = String> + use<> {
    let ports = view.ports.iter().filter_map(|port| port.tls.cloned());
    let ports: Vec<String> = ports.filter_map(|port| ServerTls::read(port).err()).map(|why| why.to_string()).collect();
    ports.into_iter().chain(view.read_clients().err().map(|why| why.to_string()))
}

fn check_processor(
    id: &ComponentId,
    settings: &ProcessorSettings,
    valid: &ValidSettings,
    deps: &ExporterDeps,
) -> Result<(), StartError> {
    match settings {
        ProcessorSettings::Vault(settings) => check_vault(settings, valid),
        ProcessorSettings::Cost(settings) => {
            let vocabulary = Arc::new(Vocabulary::builtin().map_err(|error| StartError::new(error.0))?);
            CostProcessor::new(id_text(id), settings, vocabulary, &deps.meter)
                .map(drop)
                .map_err(|error| StartError::new(error.0))
        }
        ProcessorSettings::Redact(settings) => {
            let Some(recogniser_settings) = settings.recogniser.clone() else { return Ok(()) };
            let ExporterDeps { tasks, clock, proxies, meter, .. } = deps.clone();
            let client = PresidioClient::build(
                id_text(id),
                recogniser_settings,
                recogniser::ClientDependencies { tasks, clock, proxies, meter },
            );
            client.map(drop).map_err(|why| StartError::from(why).with_place("recogniser"))
        }
        _ => Ok(()),
    }
}

fn check_vault(settings: &vault::VaultSettings, valid: &ValidSettings) -> Result<(), StartError> {
    let Some(store) = settings.store.as_ref().map(StoreSettings::spec) else { return Ok(()) };
    if let Some(why) = store.folder().and_then(volume::find_write_problem) {
        return Err(StartError::new(format!("store.{}: {why}", store.key())));
    }
    store.check_files()?;
    let problem = gateway_keys::find_signing_key_problem(settings, &valid.spool.directory, &SystemRng);
    problem.map_or(Ok(()), |why| Err(StartError::new(format!("signing_key: {why}"))))
}

/// Whether [`find_start_faults`] would ask a KMS or run a command, which somebody may count.
pub fn needs_network(valid: &ValidSettings) -> bool {
    configured_keys(valid).iter().any(ConfiguredKey::needs_service)
}
