//! Reads the files that a start would need while another configuration still runs, because once the running round has
//! ended, an unusable certificate, key or table leaves no gateway at all. Nothing is created or bound, and the only
//! connection is to the KMS of an encrypted key. All faults are reported at once; what was read or decrypted is kept
//! for the start (`net/kept`). Findings that prevent no start, such as dates of certificates, are in `outside`; ports
//! can be tried by a start only.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::app::exporters::exporter;
use crate::app::placed::Placed;
use crate::app::start_error::StartError;
use crate::app::tasks::Tasks;
use crate::app::valid::Valid;
use crate::app::{keys, own, volume};
use crate::components::{ExtensionSettings, ProcessorSettings, ReceiverSettings, id_text};
use config::{ComponentId, env};
use exporters::remote::Deps;
use exporters::spec::Target;
use genai::Vocabulary;
use kernel::clock::Clock;
use kernel::rng::SystemRng;
use net::{Proxies, ServerTls, server_tls};
use processors::cost::Cost;
use processors::vault::{self, StoreSettings};
use receivers::otlp;
use recogniser::{self, Presidio};
use telemetry::Meter;

/// The faults of files and folders that would prevent `valid` from starting. Call this in a runtime, on a thread that
/// may block.
pub fn faults(valid: &Valid, clock: &Arc<dyn Clock>) -> Vec<String> {
    // These metrics are discarded.
    let (meter, clock) = (Meter::new(), Arc::clone(clock));
    let deps = Proxies::from_env(&env::var).map(|proxies| {
        let (tasks, proxies) = (Tasks::new(&meter), Arc::new(proxies));
        Deps { tasks, clock, proxies, meter }
    });
    let deps = match deps {
        Ok(deps) => deps,
        Err(why) => return vec![why.to_string()],
    };
    let spool = &valid.spool.directory;
    let mut faults: Vec<String> =
        volume::unusable(spool).map(|why| format!("spool.directory: {why}")).into_iter().collect();
    faults.extend(keys::trouble(valid).into_iter().map(|(setting, why)| format!("{setting}: {why}")));
    for Placed { id, what } in &valid.receivers {
        let ReceiverSettings::Otlp(settings) = what;
        faults.extend(receiver(settings).map(|why| format!("receivers.{id}: {why}")));
    }
    for Placed { id, what } in &valid.processors {
        let wrong = processor(id, what, valid, &deps).err();
        faults.extend(wrong.map(|why| format!("processors.{id}: {why}")));
    }
    for Placed { id, what } in &valid.exporters {
        match what.spec().profile().target {
            Target::Server { .. } => faults.extend(exporter(id, what, deps.clone()).err().map(|error| error.text)),
            // Building one would open the file that the running round still has open.
            Target::File { .. } | Target::Output => {}
        }
    }
    faults.extend(own::companions(valid.own_metrics.clone(), &deps, &SystemRng).err().map(|error| error.text));
    for Placed { id, what } in &valid.extensions {
        let ExtensionSettings::Admin(admin) = what else { continue };
        let port = admin.tls.as_ref().map(|port| server_tls::Settings::from(port).keeping(&valid.admin_files));
        faults.extend(port.and_then(|port| ServerTls::read(port).err()).map(|why| format!("extensions.{id}: {why}")));
    }
    faults
}

fn receiver(settings: &otlp::Settings) -> impl Iterator<Item = String> + use<> {
    let grpc = settings.grpc.as_ref().and_then(|grpc| grpc.tls.clone());
    let http = settings.http.as_ref().and_then(|http| http.tls.clone());
    let ports = [grpc, http].into_iter().flatten();
    let ports: Vec<String> = ports.filter_map(|port| ServerTls::read(port).err()).map(|why| why.to_string()).collect();
    ports.into_iter().chain(settings.read_clients().err().map(|why| why.to_string()))
}

fn processor(id: &ComponentId, settings: &ProcessorSettings, valid: &Valid, deps: &Deps) -> Result<(), StartError> {
    match settings {
        ProcessorSettings::Vault(settings) => vault_of(settings, valid),
        ProcessorSettings::Cost(settings) => {
            let words = Arc::new(Vocabulary::builtin().map_err(|error| StartError::new(error.0))?);
            Cost::new(id_text(id), settings, words, &deps.meter).map(drop).map_err(|error| StartError::new(error.0))
        }
        ProcessorSettings::Redact(settings) => {
            let Some(asks) = settings.recogniser.clone() else { return Ok(()) };
            let Deps { tasks, clock, proxies, meter } = deps.clone();
            let made = Presidio::build(id_text(id), asks, recogniser::Deps { tasks, clock, proxies, meter });
            made.map(drop).map_err(|why| StartError::from(why).at("recogniser"))
        }
        _ => Ok(()),
    }
}

fn vault_of(settings: &vault::Settings, valid: &Valid) -> Result<(), StartError> {
    let Some(store) = settings.store.as_ref().map(StoreSettings::spec) else { return Ok(()) };
    if let Some(why) = store.folder().and_then(volume::unusable) {
        return Err(StartError::new(format!("store.{}: {why}", store.key())));
    }
    store.rehearse()?;
    let wrong = keys::signing_trouble(settings, &valid.spool.directory, &SystemRng);
    let asked = || {
        let (path, sealed) = settings.sealed_key()?;
        Handle::current().block_on(keys::opened(path, sealed)).err().map(|error| error.text)
    };
    wrong.or_else(asked).map_or(Ok(()), |why| Err(StartError::new(format!("signing_key: {why}"))))
}

/// Whether [`faults`] would make a network request, which the other side may count.
pub fn asks(valid: &Valid) -> bool {
    valid.processors.iter().any(|placed| match &placed.what {
        ProcessorSettings::Vault(settings) if settings.store.is_some() => {
            settings.sealed_key().is_some_and(|(_, sealed)| sealed.opened.last().is_none())
        }
        _ => false,
    })
}
