//! Builds the clients that a start would build, and discards them.

use std::sync::Arc;

use crate::app::exporters::build_exporter;
use crate::app::gateway_deps::GatewayDeps;
use crate::app::oidc::{OidcClient, OidcParts};
use crate::app::own_metrics;
use crate::app::tasks::Tasks;
use crate::app::valid_settings::ValidSettings;
use crate::components::ExtensionSettings;
use config::env;
use exporters::remote::ExporterDeps;
use exporters::spec::ExportTarget;
use net::{ProxyError, ProxyRules};

/// Services of clients whose metrics are discarded. Use them in a runtime.
///
/// # Errors
/// A proxy set in the environment can't be used.
pub(super) fn exporter_deps() -> Result<ExporterDeps, ProxyError> {
    let GatewayDeps { clock, meter, .. } = GatewayDeps::system();
    let proxies = Arc::new(ProxyRules::from_env(&env::var)?);
    Ok(ExporterDeps { tasks: Tasks::new(&meter), clock, proxies, meter, partitioner: Arc::default() })
}

/// The faults of clients that prevent a start.
pub(super) fn find_client_faults(valid: &ValidSettings) -> Vec<String> {
    let deps = match exporter_deps() {
        Ok(deps) => deps,
        Err(why) => return vec![why.to_string()],
    };
    let rng = GatewayDeps::system().rng;
    let mut faults = Vec::new();
    for placed in &valid.exporters {
        // Building a file exporter would open the file that the running round still has open. The others read no more
        // than the files that were checked.
        if let ExportTarget::Server { .. } = placed.value.spec().profile().target {
            faults.extend(build_exporter(&placed.id, &placed.value, deps.clone()).err().map(|error| error.text));
        }
    }
    faults.extend(own_metrics::build_export_tasks(valid.own_metrics.clone(), &deps, &*rng).err().map(|why| why.text));
    for placed in &valid.extensions {
        let ExtensionSettings::Admin(admin) = &placed.value else { continue };
        let ExporterDeps { proxies, tasks, clock, .. } = deps.clone();
        let parts = OidcParts { proxies, tasks, clock, rng: Arc::clone(&rng) };
        let settings = admin.auth.as_ref().and_then(|auth| auth.oidc.clone());
        let client = settings.map(|settings| OidcClient::build(settings, parts));
        faults.extend(client.and_then(Result::err).map(|why| format!("extensions.{}.auth.oidc: {why}", placed.id)));
    }
    faults
}
